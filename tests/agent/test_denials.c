/*
 * test_denials.c - which clients are denied most, by hour: handed in until the database has it for certain, with
 * an error that holds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "denials.h"
#include "random.h"

static struct denials denials;
static struct denial_row rows[1000];

static int end(void **state) {
	(void)state;
	denials_free(&denials);
	memset(&denials, 0, sizeof(denials));
	return 0;
}

static void denies_so(int64_t hour, unsigned policy, const char *client, uint64_t count, double variance) {
	char name[32];
	snprintf(name, sizeof(name), "policy %u", policy);
	denials_add(&denials, hour, 7,
	            &(struct denial){.policy = name,
	                             .client_id = client,
	                             .client_id_len = (uint8_t)strlen(client),
	                             .reason = 1,
	                             .count = count,
	                             .variance = variance});
}

static void denies(int64_t hour, const char *client, uint64_t count) {
	denies_so(hour, 1, client, count, 0);
}

static size_t chooses(void) {
	return denials_choose(&denials, rows, 128);
}

static void the_next_round_comes(void) {
	denials_begin_round(&denials);
}

static void a_client_is_handed_in_when_it_has_changed_and_once_more(void **state) {
	(void)state;
	denies(100, "a", 5);
	the_next_round_comes();
	assert_int_equal(chooses(), 1);
	assert_int_equal(rows[0].hour, 100);
	assert_string_equal(rows[0].client_id, "a");
	assert_int_equal(rows[0].denied, 5);
	assert_int_equal(rows[0].error, 0);
	denials_recorded(&denials, 100);
	assert_int_equal(chooses(), 0);
	the_next_round_comes();
	assert_int_equal(chooses(), 1);
	denials_recorded(&denials, 100);
	the_next_round_comes();
	assert_int_equal(chooses(), 0);
	denies(100, "a", 2);
	assert_int_equal(chooses(), 1);
	assert_int_equal(rows[0].denied, 7);
}

static void what_has_no_answer_is_handed_in_again(void **state) {
	(void)state;
	denies(100, "a", 5);
	assert_int_equal(chooses(), 1);
	denials_unanswered(&denials);
	assert_int_equal(chooses(), 1);
	denies(100, "a", 1); /* meanwhile */
	denials_recorded(&denials, 100);
	assert_int_equal(chooses(), 1);
	assert_int_equal(rows[0].denied, 6);
}

static void an_hour_that_is_recorded_is_forgotten(void **state) {
	(void)state;
	denies(100, "a", 5);
	denies(101, "b", 5);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(denials.count, 2);
		the_next_round_comes();
		chooses();
		denials_recorded(&denials, 101);
	}
	assert_int_equal(denials.count, 1);
	assert_int_equal(denials.hours[0]->hour, 101);
}

static void many_deny(unsigned policies, unsigned first, unsigned clients, uint64_t count) {
	char client[16];
	for (unsigned policy = 1; policy <= policies; policy++)
		for (unsigned i = first; i < first + clients; i++) {
			snprintf(client, sizeof(client), "c%u", i);
			denies_so(100, policy, client, count, 0);
		}
}

static void statements_are_short(void **state) {
	(void)state;
	many_deny(20, 0, DENIALS_CLIENTS, 1);
	size_t count, all = 0, statements = 0;
	for (; (count = chooses()) > 0; statements++, all += count)
		denials_recorded(&denials, 100);
	assert_int_equal(all, 20 * DENIALS_CLIENTS);
	assert_int_equal(statements, 3);
}

/* Rows of 200 hosts are many. */
static void only_those_who_are_denied_most_are_handed_in(void **state) {
	(void)state;
	char client[16];
	for (unsigned i = 0; i < SKETCH_CLIENTS; i++) {
		snprintf(client, sizeof(client), "c%u", i);
		denies(100, client, 10 + i);
	}
	assert_int_equal(chooses(), DENIALS_CLIENTS);
	for (unsigned i = 0; i < DENIALS_CLIENTS; i++)
		assert_int_equal(rows[i].denied, 10 + SKETCH_CLIENTS - DENIALS_CLIENTS + i);
	denials_recorded(&denials, 100);
	assert_int_equal(chooses(), 0);
	denies(100, "late", 1000);
	assert_int_equal(chooses(), 1);
	denials_recorded(&denials, 100);
	denies(101, "c0", 1);
	the_next_round_comes();
	chooses();
	denials_recorded(&denials, 101);
	assert_int_equal(denials.count, 1); /* who isn't handed in keeps no hour */
}

static void what_is_uncertain_says_so(void **state) {
	(void)state;
	denies(100, "exact", 100);
	denies_so(100, 1, "seen once", 100, 99 * 99);
	assert_int_equal(chooses(), 2);
	assert_string_equal(rows[0].client_id, "exact");
	assert_int_equal(rows[0].error, 0);
	assert_string_equal(rows[1].client_id, "seen once");
	assert_int_equal(rows[1].error, 100);
}

/* Whatever comes later, the database has the last word of whom it has heard; and of no more than there is room
 * for. */
static void what_was_handed_in_stays_true(void **state) {
	(void)state;
	uint64_t told = 0;
	denies(100, "first", 100);
	assert_int_equal(chooses(), 1);
	for (unsigned round = 0; round < 12; round++) {
		many_deny(1, 1000 * round, SKETCH_CLIENTS / 2, UINT64_C(200) << round);
		denies(100, "first", 1);
		the_next_round_comes();
		for (size_t count; (count = chooses()) > 0; denials_recorded(&denials, 100))
			for (size_t i = 0; i < count; i++)
				if (strcmp(rows[i].client_id, "first") == 0)
					told = rows[i].denied, assert_int_equal(rows[i].error, 0);
	}
	assert_int_equal(told, 112);
	assert_int_equal(denials.hours[0]->sketch.told, SKETCH_TOLD_MAX);
}

static void an_outage_costs_the_oldest_hours(void **state) {
	(void)state;
	for (int64_t hour = 0; hour < (int64_t)DENIALS_MAX + 10; hour++)
		denies(1000 + hour, "a", 1);
	assert_int_equal(denials.count, DENIALS_MAX);
	assert_int_equal(denials.hours[0]->hour, 1010);
}

static void of_whom_nothing_is_known_nothing_is_said(void **state) {
	(void)state;
	char client[16];
	for (unsigned i = 0; i < 10 * SKETCH_CLIENTS; i++) {
		snprintf(client, sizeof(client), "c%u", i);
		denies(100, client, 1);
	}
	assert_int_equal(chooses(), 0);
	denies(101, "a", 1);
	chooses();
	denials_recorded(&denials, 101);
	assert_int_equal(denials.count, 1); /* the hour is over, and has nothing to be recorded */
}

/* As witness.c does it: many denials of each tick are taken to be one client's, the last of them. */
static void the_error_holds(void **state) {
	(void)state;
	enum { TICKS = 2000, RUNS = 40, CLIENTS = 3 };
	static const unsigned below[CLIENTS] = {5, 8, 10}; /* of ten: five, three, two */
	static const char *const names[CLIENTS] = {"a", "b", "c"};
	unsigned wrong = 0;
	uint64_t seed = 11;
	for (int run = 0; run < RUNS; run++) {
		uint64_t exact[CLIENTS] = {0};
		end(NULL);
		for (int tick = 0; tick < TICKS; tick++) {
			unsigned growth = 1 + (unsigned)(random_next(&seed) % 50), last = 0;
			for (unsigned i = 0; i < growth; i++) {
				unsigned x = (unsigned)(random_next(&seed) % 10);
				for (last = 0; x >= below[last];)
					last++;
				exact[last]++;
			}
			denies_so(100, 1, names[last], growth, (double)(growth - 1) * (growth - 1));
		}
		assert_int_equal(chooses(), CLIENTS);
		for (size_t i = 0; i < CLIENTS; i++) {
			int64_t of = (int64_t)exact[rows[i].client_id[0] - 'a'];
			wrong += llabs((int64_t)rows[i].denied - of) > (int64_t)rows[i].error;
			assert_true(rows[i].error < rows[i].denied / 5); /* and it says something */
		}
	}
	assert_true(wrong <= RUNS * CLIENTS / 10); /* one in twenty is expected */
}

static void one_client_alone_is_nearly_certain(void **state) {
	(void)state;
	for (int i = 0; i < 100; i++)
		denies_so(100, 1, "a", 50, 49 * 49);
	assert_int_equal(chooses(), 1);
	assert_in_range(rows[0].error, 50, 250); /* of 5,000 */
}

/* Though nobody else was seen. */
static void who_was_seen_once_for_many_may_be_one_of_many(void **state) {
	(void)state;
	denies_so(100, 1, "a", 10, 9 * 9);
	assert_int_equal(chooses(), 1);
	assert_int_equal(rows[0].error, 10);
	denies_so(100, 1, "a", 10, 9 * 9);
	denies_so(100, 1, "a", 10, 9 * 9);
	denials_recorded(&denials, 100);
	assert_int_equal(chooses(), 1);
	assert_in_range(rows[0].error, 10, 20); /* of 30 */
}

/* What is estimated may be any number, since apps can write to tallies. */
static void no_error_is_too_large_for_a_number(void **state) {
	(void)state;
	denies(100, "b", UINT64_MAX / 4);
	denies(100, "a", 5);
	assert_int_equal(chooses(), 2);
	denials_recorded(&denials, 100);
	denies_so(100, 1, "a", UINT64_MAX / 2, 1e60);
	assert_int_equal(chooses(), 1);
	assert_true(rows[0].error == INT64_MAX);
}

#define TEST(name) cmocka_unit_test_teardown(name, end)

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(a_client_is_handed_in_when_it_has_changed_and_once_more),
		TEST(what_has_no_answer_is_handed_in_again),
		TEST(an_hour_that_is_recorded_is_forgotten),
		TEST(statements_are_short),
		TEST(only_those_who_are_denied_most_are_handed_in),
		TEST(what_is_uncertain_says_so),
		TEST(what_was_handed_in_stays_true),
		TEST(an_outage_costs_the_oldest_hours),
		TEST(of_whom_nothing_is_known_nothing_is_said),
		TEST(the_error_holds),
		TEST(one_client_alone_is_nearly_certain),
		TEST(who_was_seen_once_for_many_may_be_one_of_many),
		TEST(no_error_is_too_large_for_a_number),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
