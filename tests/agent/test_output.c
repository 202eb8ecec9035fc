/*
 * test_output.c - how tables and durations are printed, and what of a stranger's text reaches the terminal.
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

#include "command/output.h"

static void check_printable(const char *text, const char *wanted) {
	char *printable = output_printable(text);
	assert_non_null(printable);
	assert_string_equal(printable, wanted);
	free(printable);
}

static void test_printable(void **state) {
	(void)state;
	check_printable("", "");
	check_printable("plain 'text' \"here\"", "plain 'text' \"here\"");
	check_printable("gr\xc3\xbc\xc3\x9f \xe6\x97\xa5\xe6\x9c\xac", "gr\xc3\xbc\xc3\x9f \xe6\x97\xa5\xe6\x9c\xac");
	check_printable("\x1b[31m\r\n\t\x7f", "\\x1b[31m\\x0d\\x0a\\x09\\x7f");
	check_printable("\xff\xc3", "\\xff\\xc3"); /* no UTF-8; a character cut short */
	check_printable("a\xe2\x80\xae"
	                "b",
	                "a\\xe2\\x80\\xae"
	                "b"); /* this character turns the line round */
	check_printable("\u200d\u2010\u202f", "\u200d\u2010\u202f");
	check_printable("\u200e\u200f", "\\xe2\\x80\\x8e\\xe2\\x80\\x8f");
	check_printable("\u202a\u202e", "\\xe2\\x80\\xaa\\xe2\\x80\\xae");
	check_printable("\u2066\u2069", "\\xe2\\x81\\xa6\\xe2\\x81\\xa9");
	check_printable("\xc2\x9b"
	                "31m",
	                "\\xc2\\x9b"
	                "31m"); /* CSI in one character */
}

static void check_cut(const char *text, size_t columns, const char *wanted) {
	size_t taken = output_cut(text, strlen(text), columns);
	assert_int_equal(taken, strlen(wanted));
	assert_memory_equal(text, wanted, taken);
}

static void test_cut(void **state) {
	(void)state;
	check_cut("", 0, "");
	check_cut("abc", 0, "");
	check_cut("abc", 2, "ab");
	check_cut("abc", 3, "abc");
	check_cut("abc", 80, "abc");
	check_cut("\xc3\xa4\xc3\xb6", 1, "\xc3\xa4");                         /* bytes aren't columns */
	check_cut("\xe6\x97\xa5\xe6\x9c\xac", 4, "\xe6\x97\xa5\xe6\x9c\xac"); /* of two columns each */
	check_cut("\xe6\x97\xa5\xe6\x9c\xac", 3, "\xe6\x97\xa5");
	check_cut("\xe6\x97\xa5", 1, "");
	check_cut("e\xcc\x81x", 1, "e\xcc\x81"); /* an accent of its own goes with its letter */
	assert_int_equal(output_cut("abcd", 2, 3), 2);
}

/* Gives what print() prints; to be freed. */
static char *printed(int (*print)(FILE *)) {
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);
	assert_non_null(file);
	assert_int_equal(print(file), 0);
	assert_int_equal(fclose(file), 0);
	return text;
}

static void check_print(int (*print)(FILE *), const char *wanted) {
	char *text = printed(print);
	assert_string_equal(text, wanted);
	free(text);
}

static int print_table(FILE *file) {
	static const char *const cells[] = {"1", "a\n", NULL, "1000", "\xe6\x97\xa5", NULL, "-2", "", NULL};
	struct output_table table;
	output_table_start(&table, 3, (const char *[]){"n", "name", "none"});
	for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++)
		output_table_add(&table, cells[i]);
	output_table_add_number(&table, INT64_MIN);
	output_table_add(&table, "x");
	output_table_add(&table, "-");
	return output_table_end(&table, file);
}

static void test_table(void **state) {
	(void)state;
	check_print(print_table, "                   n  name   none\n"
	                         "                   1  a\\x0a  -\n"
	                         "                1000  \xe6\x97\xa5     -\n"
	                         "                  -2         -\n"
	                         "-9223372036854775808  x      -\n");
}

static int print_one_row(FILE *file) {
	struct output_table table;
	output_table_start(&table, 2, (const char *[]){"count", "name"});
	output_table_add_number(&table, 7);
	output_table_add(&table, "x");
	return output_table_end(&table, file);
}

/* The table has more cells than there is room for at first. */
static int print_long_table(FILE *file) {
	struct output_table table;
	output_table_start(&table, 1, (const char *[]){"n"});
	for (int i = 0; i < 1000; i++)
		output_table_add_number(&table, i % 10);
	return output_table_end(&table, file);
}

static void test_table_sizes(void **state) {
	(void)state;
	check_print(print_one_row, "count  name\n"
	                           "    7  x\n");
	char *text = printed(print_long_table);
	assert_int_equal(strlen(text), 2 * 1001);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(text[2 * (i + 1)], '0' + i % 10);
	free(text);
}

/* The object has more columns than there may be; those beyond are left out. */
static int print_wide_object(FILE *file) {
	json_t *rows = json_pack("[{}]");
	for (int i = 0; i < OUTPUT_COLUMNS_MAX + 3; i++) {
		char key[8];
		snprintf(key, sizeof(key), "k%d", i);
		json_object_set_new(json_array_get(rows, 0), key, json_integer(i));
	}
	int status = output_objects(rows, 0, NULL, NULL, file);
	json_decref(rows);
	return status;
}

static void test_columns(void **state) {
	(void)state;
	char *text = printed(print_wide_object), *rest = text;
	size_t words = 0;
	while (strtok_r(rest, " \n", &rest) != NULL)
		words++;
	assert_int_equal(words, 2 * OUTPUT_COLUMNS_MAX);
	free(text);
}

static int print_objects(FILE *file) {
	json_t *rows = json_pack("[{s:s, s:b, s:n, s:i}, {s:s, s:b, s:[i]}]", "name", "a", "on", 1, "note", "n", 7,
	                         "name", "b", "on", 0, "note", 1);
	int status = output_objects(rows, 0, NULL, NULL, file);
	json_decref(rows);
	return status;
}

static int print_no_objects(FILE *file) {
	return output_objects(NULL, 0, NULL, NULL, file);
}

static int print_json(FILE *file) {
	return output_json(json_pack("{s:s, s:i}", "z", "\x1b", "a", 1), file);
}

static void test_objects(void **state) {
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);
	(void)state;
	check_print(print_objects, "name  on   note  n\n"
	                           "a     yes  -     7\n"
	                           "b     no   [1]   -\n");
	check_print(print_no_objects, "(none)\n");
	check_print(print_json, "{\n  \"z\": \"\\u001B\",\n  \"a\": 1\n}\n");
	assert_int_equal(output_json(NULL, file), -1);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(size, 0);
	free(text);
}

static void test_durations(void **state) {
	static const struct {
		int64_t ms;
		const char *text;
	} cases[] = {
		{-1, "never"},
		{0, "0 ms"},
		{999, "999 ms"},
		{1000, "1 s"},
		{1500, "1.5 s"},
		{59999, "60 s"},
		{60000, "1 min"},
		{61000, "1 min 1 s"},
		{3599999, "59 min 59 s"},
		{3600000, "1 h"},
		{86399999, "23 h 59 min"},
		{3660000, "1 h 1 min"},
		{86400000, "1 d"},
		{90000000, "1 d 1 h"},
		{INT64_MAX, "106751991167 d 7 h"},
	};
	char text[OUTPUT_TEXT_SIZE];
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_string_equal(output_duration(text, cases[i].ms), cases[i].text);
}

static void test_bytes(void **state) {
	char text[OUTPUT_TEXT_SIZE];
	(void)state;
	assert_string_equal(output_bytes(text, 0), "0 B");
	assert_string_equal(output_bytes(text, 1023), "1023 B");
	assert_string_equal(output_bytes(text, 1024), "1.0 KiB");
	assert_string_equal(output_bytes(text, 1536), "1.5 KiB");
	assert_string_equal(output_bytes(text, INT64_C(3) << 40), "3.0 TiB");
	assert_string_equal(output_bytes(text, INT64_MAX), "8388608.0 TiB");
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_printable), cmocka_unit_test(test_table),   cmocka_unit_test(test_table_sizes),
		cmocka_unit_test(test_columns),   cmocka_unit_test(test_objects), cmocka_unit_test(test_durations),
		cmocka_unit_test(test_bytes),     cmocka_unit_test(test_cut),
	};
	if (setlocale(LC_CTYPE, "C.UTF-8") == NULL)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
