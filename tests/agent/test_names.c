/*
 * test_names.c - which name somebody may have meant.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "command/names.h"

static const char *nearest(const char *word, const char *name) {
	struct names_search search = {.word = word};
	names_consider(&search, name);
	return search.nearest;
}

static void mistakes_of_typing_are_forgiven(void **state) {
	(void)state;
	assert_string_equal(nearest("chekc", "check"), "check");  /* two changed places */
	assert_string_equal(nearest("chek", "check"), "check");   /* one is missing */
	assert_string_equal(nearest("checkk", "check"), "check"); /* one too many */
	assert_string_equal(nearest("chock", "check"), "check");  /* another one */
	assert_string_equal(nearest("ap", "api"), "api");
	assert_string_equal(nearest("API", "api"), "api");
	assert_string_equal(nearest("max-request", "max-requests"), "max-requests");
	assert_string_equal(nearest("histroyy", "history"), "history"); /* two mistakes */
}

static void another_name_is_not_meant(void **state) {
	(void)state;
	assert_null(nearest("drop", "init"));
	assert_null(nearest("api", "web"));
	assert_null(nearest("a", "b")); /* of so short a word any is as near */
	assert_null(nearest("", "a"));
	assert_null(nearest("api", ""));
	assert_null(nearest("nonsense", "json"));
}

static void the_first_of_the_nearest_is_named(void **state) {
	struct names_search search = {.word = "login"};
	(void)state;
	names_consider(&search, "later");
	assert_null(search.nearest);
	names_consider(&search, "logan");
	assert_string_equal(search.nearest, "logan");
	names_consider(&search, "logon");
	assert_string_equal(search.nearest, "logan");
	names_consider(&search, "login"); /* nearer */
	assert_string_equal(search.nearest, "login");
	assert_int_equal(search.distance, 0);
}

static void names_of_any_length_may_come(void **state) {
	char word[300], name[300];
	(void)state;
	memset(word, 'x', sizeof(word));
	memset(name, 'x', sizeof(name));
	word[255] = name[255] = '\0';
	name[7] = 'y';
	assert_ptr_equal(nearest(word, name), name);
	word[255] = 'x';
	word[256] = '\0';
	assert_null(nearest(word, name));
	assert_null(nearest(name, word));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mistakes_of_typing_are_forgiven),
		cmocka_unit_test(another_name_is_not_meant),
		cmocka_unit_test(the_first_of_the_nearest_is_named),
		cmocka_unit_test(names_of_any_length_may_come),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
