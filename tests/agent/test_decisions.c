/*
 * test_decisions.c - what was decided is handed in until the database has it for certain, and outlasts an outage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "decisions.h"

#define S INT64_C(1000000000)

static struct decisions decisions;
static const struct decision_row *rows[DECISIONS_MAX];
static uint64_t told; /* how much is recorded for the first time */

static int begin(void **state) {
	(void)state;
	told = 0;
	return 0;
}

static int end(void **state) {
	(void)state;
	decisions_free(&decisions);
	return 0;
}

/* Of policy n, by a source: so many denials. */
static bool adds(int64_t minute, unsigned n, uint8_t source, uint64_t denied) {
	struct decision_row row = {.minute = minute,
	                           .count = {[TALLY_DENIED] = denied},
	                           .policy_number = n,
	                           .source = source,
	                           .run = 7};
	snprintf(row.policy, sizeof(row.policy), "policy %u", n);
	return decisions_add(&decisions, &row);
}

static size_t chooses(int64_t now_ns) {
	return decisions_choose(&decisions, now_ns, rows, 128);
}

static void tell(void *context, const struct decision_row *row) {
	(void)context;
	told += row->count[TALLY_DENIED];
}

static void records(int64_t now_ns) {
	decisions_recorded(&decisions, now_ns, tell, NULL);
}

static uint64_t sum(void) {
	uint64_t all = 0;
	for (size_t i = 0; i < decisions.count; i++)
		all += decisions.rows[i].count[TALLY_DENIED];
	return all;
}

static void a_row_is_handed_in_twice(void **state) {
	(void)state;
	assert_true(adds(100, 1, 1, 5));
	assert_int_equal(chooses(1 * S), 1);
	assert_int_equal(rows[0]->minute, 100);
	assert_string_equal(rows[0]->policy, "policy 1");
	records(2 * S);
	assert_int_equal(told, 5);
	assert_int_equal(chooses(2 * S + DECISIONS_CONFIRM_NS - 1), 0);
	assert_int_equal(chooses(2 * S + DECISIONS_CONFIRM_NS), 1);
	assert_int_equal(rows[0]->count[TALLY_DENIED], 5);
	records(40 * S);
	assert_int_equal(told, 5); /* only once */
	assert_int_equal(decisions.count, 0);
}

static void what_has_no_answer_is_handed_in_again(void **state) {
	(void)state;
	adds(100, 1, 1, 5);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(chooses(i * S), 1);
		decisions_unanswered(&decisions);
	}
	assert_int_equal(told, 0);
	chooses(4 * S);
	records(4 * S);
	chooses(40 * S);
	decisions_unanswered(&decisions); /* the second time, too */
	assert_int_equal(chooses(41 * S), 1);
	records(41 * S);
	assert_int_equal(told, 5);
	assert_int_equal(decisions.count, 0);
}

static void what_comes_meanwhile_is_not_taken_for_recorded(void **state) {
	(void)state;
	adds(100, 1, 1, 5);
	assert_int_equal(chooses(1 * S), 1);
	adds(101, 1, 1, 7);
	records(1 * S);
	assert_int_equal(told, 5);
	assert_int_equal(chooses(2 * S), 1);
	assert_int_equal(rows[0]->minute, 101);
}

static void statements_are_short_and_of_one_run(void **state) {
	(void)state;
	for (unsigned i = 0; i < 300; i++)
		adds(100 + i, 1, 1, 1);
	decisions.rows[10].run = 8;
	size_t count, statements = 0;
	while ((count = chooses(1 * S)) > 0) {
		for (size_t i = 1; i < count; i++)
			assert_int_equal(rows[i]->run, rows[0]->run);
		records(1 * S);
		statements++;
	}
	assert_int_equal(told, 300);
	assert_int_equal(statements, 4); /* 128, 128, 43, and the one of run 8 between them */
}

/* Ten rows a minute, for longer than there is room: the older minutes become hours, and none is lost. */
static void an_outage_of_days_loses_nothing(void **state) {
	(void)state;
	uint64_t added = 0;
	for (int64_t minute = 60000; minute < 60000 + 3 * 1440; minute++)
		for (unsigned n = 0; n < 10; n++, added += 3)
			assert_true(adds(minute, n / 2, (uint8_t)(1 + n % 2), 3));
	assert_true(decisions.count <= DECISIONS_MAX);
	assert_int_equal(sum(), added);
	for (size_t i = 1; i < decisions.count; i++)
		assert_true(decisions.rows[i - 1].minute / 60 <= decisions.rows[i].minute / 60);
	/* The last hours are whole: each minute of them has its rows. */
	for (size_t i = decisions.count - 10 * 360; i < decisions.count; i++)
		assert_int_equal(decisions.rows[i].count[TALLY_DENIED], 3);
}

/* No two rows of a run have the same minute, policy and source: they would be taken for one. */
static void assert_all_differ(void) {
	for (size_t i = 0; i < decisions.count; i++)
		for (size_t j = i + 1; j < decisions.count && decisions.rows[j].minute == decisions.rows[i].minute; j++)
			assert_false(decisions.rows[i].policy_number == decisions.rows[j].policy_number &&
			             decisions.rows[i].source == decisions.rows[j].source);
}

static void what_the_database_may_have_keeps_its_minute(void **state) {
	(void)state;
	for (int64_t minute = 60000; minute < 60050; minute++)
		adds(minute, 1, 1, 2);
	assert_int_equal(decisions_choose(&decisions, 1 * S, rows, 20), 20);
	decisions_unanswered(&decisions);
	for (int64_t minute = 60050; minute < 60050 + DECISIONS_MAX; minute++)
		assert_true(adds(minute, 1, 1, 2));
	assert_int_equal(sum(), 2 * (50 + DECISIONS_MAX));
	for (int64_t i = 0; i < 20; i++) {
		assert_int_equal(decisions.rows[i].minute, 60000 + i);
		assert_int_equal(decisions.rows[i].count[TALLY_DENIED], 2);
	}
	assert_all_differ();
}

/* More policies than minutes find room for: hours are no help, days are. */
static void even_all_policies_in_all_ways_find_room(void **state) {
	(void)state;
	uint64_t added = 0;
	for (int64_t minute = 0; minute < 5; minute++)
		for (unsigned n = 0; n < 1024 * TALLY_SOURCES; n++, added++)
			assert_true(adds(70000 + minute * 700, n / TALLY_SOURCES, (uint8_t)(1 + n % TALLY_SOURCES), 1));
	assert_int_equal(sum(), added);
	assert_true(decisions.count <= DECISIONS_MAX);
	assert_all_differ();
}

static void what_was_recorded_once_makes_room(void **state) {
	(void)state;
	for (unsigned n = 0; n < DECISIONS_MAX; n++)
		assert_true(adds(100, n, 1, 1));
	while (chooses(1 * S) > 0)
		records(1 * S);
	assert_true(adds(101, 1, 1, 9));
	assert_int_equal(decisions.count, 1);
}

static void another_clock_moves_all(void **state) {
	(void)state;
	adds(3, 1, 1, 1);
	adds(5, 1, 1, 1);
	decisions_shift(&decisions, 29000000);
	assert_int_equal(decisions.rows[0].minute, 29000003);
	assert_int_equal(decisions.rows[1].minute, 29000005);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(a_row_is_handed_in_twice),
		TEST(what_has_no_answer_is_handed_in_again),
		TEST(what_comes_meanwhile_is_not_taken_for_recorded),
		TEST(statements_are_short_and_of_one_run),
		TEST(an_outage_of_days_loses_nothing),
		TEST(what_the_database_may_have_keeps_its_minute),
		TEST(even_all_policies_in_all_ways_find_room),
		TEST(what_was_recorded_once_makes_room),
		TEST(another_clock_moves_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
