/*
 * test_top_view.c - what `stint top` shows of a view, and what of it fits a window.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/top_view.h"

static void check_share(size_t lines, size_t first, size_t second, size_t wanted_first, size_t wanted_second) {
	top_view_share(lines, &first, &second);
	assert_int_equal(first, wanted_first);
	assert_int_equal(second, wanted_second);
}

static void test_share(void **state) {
	(void)state;
	check_share(24, 3, 5, 3, 5);       /* all fit */
	check_share(24, 100, 100, 10, 10); /* 20 rows beside 4 lines of empty ones and headings */
	check_share(25, 100, 100, 10, 11);
	check_share(24, 3, 100, 3, 17); /* who needs less than half leaves the rest */
	check_share(24, 100, 3, 17, 3);
	check_share(24, 0, 100, 0, 20);
	check_share(24, 100, 0, 20, 0);
	check_share(4, 7, 7, 0, 0);
	check_share(0, 7, 7, 0, 0);
	check_share(5, 7, 7, 0, 1);
}

/* Gives the view as text; to be freed. */
static char *shown(const char *json, size_t lines) {
	char *text = NULL;
	size_t size;
	json_error_t error;
	json_t *view = json_loads(json, 0, &error);
	if (!view)
		fail_msg("%s", error.text);
	FILE *file = open_memstream(&text, &size);
	assert_int_equal(top_view_print(file, view, lines), 0);
	assert_int_equal(fclose(file), 0);
	json_decref(view);
	return text;
}

static void check_shown(const char *json, size_t lines, const char *wanted) {
	char *text = shown(json, lines);
	assert_string_equal(text, wanted);
	free(text);
}

#define RATES                                                                                                     \
	"'decisions_per_second':[{'policy':'api','decisions':12.5,'allowed':12.25,'denied':0.25,'shadow_denied':0.0," \
	"'lease':12.5,'database':0.0,'fallback':0.0,'local':0.0,'advance':0.0},"                                      \
	"{'policy':'new','decisions':null,'allowed':null,'denied':null,'shadow_denied':null,'lease':null}]"
#define CLIENTS                                                                                                   \
	"'clients':[{'policy':'api','client_id':'a\\u001b[31m','used':90,'max_requests':100,'remaining':10,"          \
	"'percent':90.0,'blocked':false,'resets_in_ms':61234},{'policy':'api','client_id':'\xe6\x97\xa5','used':1,"   \
	"'max_requests':0,'remaining':0,'percent':null,'blocked':true,'resets_in_ms':1234}]"

/* JSON with the other quotes, for reading. */
static const char *quoted(const char *text) {
	static char json[4096];
	snprintf(json, sizeof(json), "%s", text);
	for (char *c = json; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	return json;
}

static void test_all(void **state) {
	(void)state;
	check_shown(quoted("{'at':'now','seconds':2.0,'agent_error':null,'agent':{'version':'1','host':'a\\n','pid':7,"
	                   "'uptime_ms':1000,'apps':2,'database':{'kind':'memory'}},'database_age_ms':7300,"
	                   "'hosts':[{'state':'fallback','hosts':2,'names':['a','b\\u001b']},"
	                   "{'state':'in step','hosts':3,'names':['c','d','e']}]," RATES "," CLIENTS "}"),
	            0,
	            "time      now\n"
	            "agent     1 on host a\\x0a, process 7, up 1 s, apps connected: 2\n"
	            "database  memory: none, this host counts for itself\n"
	            "hosts     2 fallback (a, b\\x1b), 3 in step\n"
	            "clients   as they were 7 s ago: the database was slow to tell\n"
	            "decisions 12.5/s in the last 2.0 s: 12.2 allowed, 0.2 denied, 0.0 shadow_denied\n"
	            "\n"
	            "total/s  allowed  denied  shadow  policy  lease  database  fallback  local  advance\n"
	            "   12.5     12.2     0.2     0.0  api      12.5       0.0       0.0    0.0      0.0\n"
	            "      -        -       -       -  new         -         -         -      -        -\n"
	            "\n"
	            "used  limit  percent  free in    policy  client\n"
	            "  90    100     90.0  1 min 1 s  api     a\\x1b[31m\n"
	            "   1      0        -  blocked    api     \xe6\x97\xa5\n");
}

static void test_away(void **state) {
	(void)state;
	check_shown(quoted(
					"{'at':'now','seconds':null,'agent_error':'gone\\r','agent':null,'decisions_per_second':null,"
					"'hosts':[],'clients':[],'database_age_ms':0}"),
	            0,
	            "time      now\n"
	            "agent     gone\\x0d\n"
	            "\n"
	            "(none)\n");
	check_shown(quoted("{'at':'now','agent_error':'gone','database_error':'away'}"), 0,
	            "time      now\n"
	            "agent     gone\n"
	            "clients   away\n");
}

static size_t count_lines(const char *text) {
	size_t lines = 0;
	for (; *text != '\0'; text++)
		lines += *text == '\n';
	return lines;
}

static void test_fits(void **state) {
	(void)state;
	const char *view = quoted("{'at':'now'," RATES "," CLIENTS "}");
	for (size_t lines = 7; lines < 20; lines++) {
		char *text = shown(view, lines);
		assert_true(count_lines(text) <= lines);
		free(text);
	}
	char *text = shown(view, 7); /* one line of the head; of four that are left for rows, headings take most */
	assert_non_null(strstr(text, "api"));
	assert_null(strstr(text, "new"));
	free(text);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_share),
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_away),
		cmocka_unit_test(test_fits),
	};
	if (setlocale(LC_CTYPE, "C.UTF-8") == NULL)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
