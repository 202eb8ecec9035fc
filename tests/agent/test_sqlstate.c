/* test_sqlstate.c - which errors of the server end the connection, and what an operator is told of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "database/sqlstate.h"

static void what_a_retry_may_mend_leaves_the_session(void **state) {
	static const char *const harmless[] = {"40001", "40P01", "55P03", "57014", "23505", "42601", "22P02"};
	(void)state;
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		assert_false(sqlstate_ends_session(harmless[i]));
}

static void who_cannot_serve_ends_the_session(void **state) {
	static const char *const fatal[] = {"08006", "0A000", "25006", "26000", "3F000", "40003", "42501", "42883",
	                                    "42P05", "53100", "53300", "57P01", "57P03", "58030", "XX000", "XX001"};
	(void)state;
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		assert_true(sqlstate_ends_session(fatal[i]));
	assert_true(sqlstate_ends_session("")); /* an error of libpq's own */
}

static void a_lock_is_told_from_the_rest(void **state) {
	(void)state;
	assert_true(sqlstate_is_lock("55P03"));
	assert_false(sqlstate_is_lock("55000"));
	assert_false(sqlstate_is_lock(""));
}

static const char *words(const char *sqlstate, struct sqlstate_facts facts) {
	if (!facts.in_hot_standby)
		facts.in_hot_standby = "";
	return sqlstate_words(sqlstate, &facts);
}

static void assert_says(const char *said, const char *part) {
	assert_non_null(said);
	assert_non_null(strstr(said, part));
}

static void a_message_that_says_it_all_needs_no_words(void **state) {
	(void)state;
	assert_null(words("53100", (struct sqlstate_facts){.server_version = 0}));
	assert_null(words("40001", (struct sqlstate_facts){.server_version = 0}));
	assert_null(words("", (struct sqlstate_facts){.server_version = 0}));
	assert_says(words("3F000", (struct sqlstate_facts){.server_version = 0}), "stint db init");
}

static void who_stopped_writes_is_named(void **state) {
	(void)state;
	assert_says(words("25006", (struct sqlstate_facts){.in_hot_standby = "on"}),
	            "standby: connect to the primary");
	assert_says(words("25006", (struct sqlstate_facts){.in_hot_standby = "off"}), "writes are turned off");
	assert_says(words("25006", (struct sqlstate_facts){.in_hot_standby = ""}), "it is a standby, or");
}

static void what_rights_lack_is_named(void **state) {
	(void)state;
	assert_string_equal(words("42501", (struct sqlstate_facts){.server_version = 150000}),
	                    "no rights: grant stint_agent to this role");
	assert_says(words("42501", (struct sqlstate_facts){.not_inherited = true, .server_version = 150004}),
	            "alter role");
	assert_says(words("42501", (struct sqlstate_facts){.not_inherited = true, .server_version = 160000}),
	            "with inherit true");
	assert_says(words("42501", (struct sqlstate_facts){.not_owned = true, .not_inherited = true}),
	            "owner and rights");
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_retry_may_mend_leaves_the_session),
		cmocka_unit_test(who_cannot_serve_ends_the_session),
		cmocka_unit_test(a_lock_is_told_from_the_rest),
		cmocka_unit_test(a_message_that_says_it_all_needs_no_words),
		cmocka_unit_test(who_stopped_writes_is_named),
		cmocka_unit_test(what_rights_lack_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
