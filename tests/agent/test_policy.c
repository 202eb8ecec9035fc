/*
 * test_policy.c - declarations become policies or errors, and policies become terms for the core. What apps and
 * the next agent may know of them stands in the directory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policies.h"
#include "policy.h"
#include "protocol/limits.h"
#include "stint.h"

static struct policies policies;
static struct directory_header *directory;

static int make(void **state) {
	(void)state;
	directory = calloc(1, DIRECTORY_ENTRIES_OFFSET + POLICY_CAPACITY * sizeof(struct policy_entry));
	policies_init(&policies, directory, false);
	return directory ? 0 : -1;
}

static int clean(void **state) {
	(void)state;
	free(directory);
	return 0;
}

static const struct wire_declare plain = {.max_requests = 100, .time_window_ms = 1000};

static int declare(struct policy_row *row, struct wire_declare message, const char *name) {
	return policy_from_declaration(row, &message, name, strlen(name));
}

static void what_is_left_out_gets_its_default(void **state) {
	(void)state;
	struct policy_row row;
	assert_int_equal(declare(&row, plain, "api"), 0);
	assert_string_equal(row.name, "api");
	assert_int_equal(row.fallback_max_requests, 200);
	assert_int_equal(row.fallback_time_window_ms, 1000);
	assert_int_equal(row.resolution, 10);
	struct wire_declare longer = plain;
	longer.time_window_ms = 2000;
	assert_int_equal(declare(&row, longer, "api"), 0);
	assert_int_equal(row.resolution, 20);
	assert_int_equal(row.algorithm, STINT_SLIDING_WINDOW);
	assert_int_equal(row.mode, STINT_STRICT);
	assert_int_equal(row.policy_id, 0);
}

static void names_are_checked(void **state) {
	(void)state;
	struct policy_row row;
	char longest[65];
	memset(longest, 'n', sizeof(longest));
	assert_int_equal(policy_from_declaration(&row, &plain, longest, 63), 0);
	assert_int_equal(strlen(row.name), 63);
	assert_int_equal(policy_from_declaration(&row, &plain, longest, 64), STINT_EPOLICY);
	assert_int_equal(policy_from_declaration(&row, &plain, "", 0), STINT_EPOLICY);
	assert_int_equal(policy_from_declaration(&row, &plain, "a\0b", 3), STINT_EPOLICY);
	assert_int_equal(declare(&row, plain, "Az09_.:/-"), 0);
	const char *bad[] = {"a b", "a\n", "\xc3\xa4", "a'", "a\\", "a*", "a=", "a@"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(declare(&row, plain, bad[i]), STINT_EPOLICY);
}

static void limits_are_checked(void **state) {
	(void)state;
	struct policy_row row;
	const struct {
		int result;
		struct wire_declare message;
	} cases[] = {
		{STINT_ERANGE, {.max_requests = 0, .time_window_ms = 1000}},
		{STINT_ERANGE, {.max_requests = -1, .time_window_ms = 1000}},
		{STINT_ERANGE, {.max_requests = INT64_MIN, .time_window_ms = 1000}},
		{STINT_ERANGE, {.max_requests = INT64_MAX, .time_window_ms = 1000}},
		{STINT_ERANGE, {.max_requests = STINT_MAX_REQUESTS_MAX + INT64_C(1), .time_window_ms = 1000}},
		{0, {.max_requests = STINT_MAX_REQUESTS_MAX, .time_window_ms = STINT_TIME_WINDOW_MS_MAX}},
		{0, {.max_requests = 1, .time_window_ms = STINT_TIME_WINDOW_MS_MIN}},
		{STINT_ERANGE, {.max_requests = 1, .time_window_ms = STINT_TIME_WINDOW_MS_MIN - 1}},
		{STINT_ERANGE, {.max_requests = 1, .time_window_ms = STINT_TIME_WINDOW_MS_MAX + 1}},
		{STINT_ERANGE, {.max_requests = 1, .time_window_ms = INT64_MIN}},
		{STINT_ERANGE, {.max_requests = 1, .time_window_ms = 1000, .fallback_max_requests = -1}},
		{STINT_ERANGE,
	     {.max_requests = 1,
	      .time_window_ms = 1000,
	      .fallback_max_requests = STINT_FALLBACK_REQUESTS_MAX + INT64_C(1)}},
		{STINT_ERANGE, {.max_requests = 1, .time_window_ms = 1000, .fallback_time_window_ms = 99}},
		{STINT_ERANGE, {.max_requests = 1, .time_window_ms = 1000, .algorithm = 2}},
		{STINT_ERANGE, {.max_requests = 1, .time_window_ms = 1000, .algorithm = UINT32_MAX}},
		{STINT_ERANGE, {.max_requests = 1, .time_window_ms = 1000, .mode = 2}},
		{STINT_ERANGE, {.max_requests = 1, .time_window_ms = 1000, .resolution = 61}},
		{STINT_ERANGE, {.max_requests = 1, .time_window_ms = 1000, .resolution = UINT32_MAX}},
		{0, {.max_requests = 1, .time_window_ms = 1000, .resolution = 60}},
		{STINT_ERANGE, {.max_requests = 1, .time_window_ms = 100, .resolution = 12}}, /* sub-windows below 10 ms */
		{0, {.max_requests = 1, .time_window_ms = 100, .resolution = 12, .algorithm = STINT_FIXED_WINDOW}},
		{0, {.max_requests = 1, .time_window_ms = 1000, .mode = STINT_RELAXED, .fallback_max_requests = 1}},
		{0, {.head.flags = WIRE_DECLARE_MUST_EXIST}}, /* asks only for a policy that exists */
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (declare(&row, cases[i].message, "p") != cases[i].result)
			fail_msg("case %zu", i);
}

static void terms_follow_the_limits(void **state) {
	(void)state;
	struct policy_row row;
	struct core_policy core;
	declare(&row,
	        (struct wire_declare){.max_requests = 7,
	                              .time_window_ms = 1000,
	                              .fallback_max_requests = 9,
	                              .fallback_time_window_ms = 2000,
	                              .mode = STINT_RELAXED,
	                              .resolution = 20},
	        "p");
	row.policy_id = 5;
	policy_to_core(&row, true, &core);
	assert_true(core.live && core.relaxed);
	assert_int_equal(core.policy_id, 5);
	assert_int_equal(core.time_window_ms, 1000);
	assert_int_equal(core.terms.max_requests, 7);
	assert_int_equal(core.terms.runs, 20);
	assert_int_equal(core.terms.sub_window_us, grant_sub_window_us(1000, 20));
	assert_int_equal(core.terms.slack_us, 20 * core.terms.sub_window_us - 1000000);
	assert_int_equal(core.fallback_terms.max_requests, 9);
	assert_int_equal(core.fallback_terms.sub_window_us, grant_sub_window_us(2000, 20));
	row.algorithm = STINT_FIXED_WINDOW;
	policy_to_core(&row, false, &core);
	assert_false(core.live);
	assert_int_equal(core.terms.runs, 0);
	assert_int_equal(core.terms.sub_window_us, 1000000);
	assert_int_equal(core.terms.slack_us, 0);
}

static void policies_are_found_by_name_and_id(void **state) {
	(void)state;
	struct policy_row row;
	declare(&row, plain, "one");
	row.policy_id = 11;
	assert_int_equal(policies_add(&policies, &row), 0);
	declare(&row, plain, "two");
	row.policy_id = 12;
	assert_int_equal(policies_add(&policies, &row), 1);
	assert_int_equal(policies_find(&policies, "two"), 1);
	assert_int_equal(policies_find(&policies, "tw"), -1);
	assert_int_equal(policies_find_id(&policies, 11), 0);
	assert_int_equal(policies_find_id(&policies, 13), -1);
	struct policy_entry *entry = &directory_entries(directory)[1];
	assert_string_equal(entry->name, "two");
	assert_int_equal(atomic_load(&entry->state), POLICY_LIVE);
	assert_int_equal(atomic_load(&entry->max_requests), 100);
	assert_int_equal(atomic_load(&entry->sub_window_ms), 100);
	row.max_requests = 55;
	policies_set(&policies, 1, &row);
	assert_int_equal(atomic_load(&entry->max_requests), 55);
	assert_int_equal(policies.policy[1].row.max_requests, 55);
}

/* For apps, which decide by it. */
static void all_of_a_policy_stands_in_the_directory(void **state) {
	(void)state;
	struct policy_row row;
	struct wire_declare message = plain;
	message.fallback_max_requests = 30;
	message.fallback_time_window_ms = 2000;
	message.resolution = 20;
	message.mode = STINT_RELAXED;
	message.head.flags = WIRE_DECLARE_SHADOW;
	declare(&row, message, "one");
	assert_int_equal(policies_add(&policies, &row), 0);
	struct policy_entry *entry = &directory_entries(directory)[0];
	assert_int_equal(atomic_load(&entry->algorithm), STINT_SLIDING_WINDOW);
	assert_int_equal(atomic_load(&entry->mode), STINT_RELAXED);
	assert_int_equal(atomic_load(&entry->shadow), 1);
	assert_int_equal(atomic_load(&entry->resolution), 20);
	assert_int_equal(atomic_load(&entry->time_window_ms), 1000);
	assert_int_equal(atomic_load(&entry->fallback_max_requests), 30);
	assert_int_equal(atomic_load(&entry->fallback_time_window_ms), 2000);
	assert_int_equal(atomic_load(&entry->sub_window_ms), 50);
	/* a window, and half of the slack, which is half a percent of it */
	assert_int_equal(atomic_load(&entry->weighs_ms), 1003);
	assert_int_equal(atomic_load(&entry->fallback_weighs_ms), 2005);
	message.algorithm = STINT_FIXED_WINDOW;
	message.mode = STINT_STRICT;
	message.head.flags = 0;
	declare(&row, message, "two");
	policies_add(&policies, &row);
	entry = &directory_entries(directory)[1];
	assert_int_equal(atomic_load(&entry->algorithm), STINT_FIXED_WINDOW);
	assert_int_equal(atomic_load(&entry->mode), STINT_STRICT);
	assert_int_equal(atomic_load(&entry->shadow), 0);
	struct policies next;
	policies_init(&next, directory, true);
	assert_true(policy_limits_equal(&next.policy[0].row, &policies.policy[0].row));
	assert_true(policy_limits_equal(&next.policy[1].row, &policies.policy[1].row));
}

static void a_full_directory_says_so(void **state) {
	(void)state;
	struct policy_row row;
	char name[16];
	for (int i = 0; i <= (int)POLICY_CAPACITY; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		declare(&row, plain, name);
		assert_int_equal(policies_add(&policies, &row), i < (int)POLICY_CAPACITY ? i : -1);
	}
}

static void one_that_is_replaced_is_not_taken_for_the_new_one(void **state) {
	(void)state;
	struct policy_row row;
	for (int i = 0; i < 3; i++) {
		declare(&row, plain, (const char *[]){"first", "old", "last"}[i]);
		policies_add(&policies, &row);
	}
	uint32_t old = policies_number(&policies, 1);
	assert_int_equal(policies_find_number(&policies, old), 1);
	declare(&row, plain, "new");
	policies_replace(&policies, 1, &row);
	assert_int_equal(policies_find(&policies, "old"), -1);
	assert_int_equal(policies_find(&policies, "new"), 1);
	assert_int_equal(policies_find_number(&policies, old), -1);
	uint32_t number = policies_number(&policies, 1);
	assert_int_equal(policies_find_number(&policies, number), 1);
	policies_init(&policies, directory, true);
	assert_int_equal(policies_number(&policies, 1), number); /* the next agent gives the same number */
	assert_int_equal(policies_find_number(&policies, POLICY_CAPACITY - 1), -1);
	assert_int_equal(policies_find_number(&policies, UINT32_MAX), -1);
}

static void the_next_agent_finds_what_is_sound(void **state) {
	(void)state;
	struct policy_row row;
	for (int i = 0; i < 4; i++) {
		declare(&row, plain, (const char *[]){"sound", "range", "name", "also"}[i]);
		row.policy_id = i + 1;
		policies_add(&policies, &row);
	}
	struct policy_row first = policies.policy[0].row;
	atomic_store(&directory_entries(directory)[1].max_requests, -5);
	memset(directory_entries(directory)[2].name, 'x', 64); /* a name without an end */
	directory_entries(directory)[2].name[5] = ' ';
	policies_init(&policies, directory, true);
	assert_int_equal(policies_find(&policies, "sound"), 0);
	assert_int_equal(policies_find(&policies, "range"), -1);
	assert_int_equal(policies_find(&policies, "also"), 3); /* apps use the index, so it stays */
	assert_false(policies.policy[1].used || policies.policy[2].used);
	assert_true(policy_limits_equal(&policies.policy[0].row, &first));
	assert_int_equal(policies.policy[0].row.policy_id, 0); /* the database is to say it again */
	policies_init(&policies, directory, false);
	assert_int_equal(policies_find(&policies, "sound"), -1);
}

static void each_limit_makes_a_difference(void **state) {
	(void)state;
	struct policy_row a, b;
	declare(&a, plain, "a");
	declare(&b, plain, "b");
	assert_true(policy_limits_equal(&a, &b)); /* names and ids don't count as limits */
	for (int field = 0; field < 8; field++) {
		b = a;
		b.max_requests += field == 0;
		b.time_window_ms += field == 1;
		b.fallback_max_requests += field == 2;
		b.fallback_time_window_ms += field == 3;
		b.algorithm += field == 4;
		b.resolution += field == 5;
		b.mode += field == 6;
		b.shadow = field == 7;
		assert_false(policy_limits_equal(&a, &b));
	}
}

/* Names come from the socket, and nothing stands behind them. (Sanitizers see whether somebody reads on.) */
static void names_have_no_end(void **state) {
	(void)state;
	char *name = malloc(3);
	assert_non_null(name);
	memcpy(name, "abc", 3);
	assert_true(limits_is_policy_name(name, 3));
	name[1] = '\0';
	assert_false(limits_is_policy_name(name, 3));
	free(name);
}

static void names_have_these_bytes_and_no_others(void **state) {
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/-";
	(void)state;
	for (int byte = 0; byte < 256; byte++) {
		const char name[] = {'a', (char)byte, 'z'};
		bool may = memchr(alphabet, byte, sizeof(alphabet) - 1) != NULL;
		assert_int_equal(limits_is_policy_name(name, 3), may);
		assert_int_equal(limits_span_name(name, 3), may ? 3 : 1);
	}
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clean)
	const struct CMUnitTest tests[] = {
		TEST(what_is_left_out_gets_its_default),
		TEST(names_are_checked),
		TEST(names_have_no_end),
		TEST(names_have_these_bytes_and_no_others),
		TEST(limits_are_checked),
		TEST(terms_follow_the_limits),
		TEST(policies_are_found_by_name_and_id),
		TEST(all_of_a_policy_stands_in_the_directory),
		TEST(a_full_directory_says_so),
		TEST(one_that_is_replaced_is_not_taken_for_the_new_one),
		TEST(the_next_agent_finds_what_is_sound),
		TEST(each_limit_makes_a_difference),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
