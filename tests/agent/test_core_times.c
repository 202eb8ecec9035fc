/*
 * test_core_times.c - when the core wants to be called, that nothing is sent that says nothing, and which time
 * counts. Step by step, against a database that the test plays.
 */
#include "generation_fixture.h"

/* ---- When it wants to be called ---------------------------------------------------------------------- */

/* It has no timer: but it leaves some time. */
static void a_client_that_holds_nothing_is_swept_past(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 1, 0, 90);
	pass(f, 0);
	assert_in_range(core_next_ns(f->core), f->now_ns + 1, f->now_ns + 50 * MS);
}

static void nobody_is_waited_for_in_an_empty_table(void **state) {
	struct fixture *f = *state;
	pass(f, 1000 * MS);
	assert_true(core_next_ns(f->core) == INT64_MAX);
}

static void what_was_put_off_is_due_soon(void **state) {
	struct fixture *f = *state;
	struct lease_grant busy = {.busy = true};
	want(f, 1, "a", 1);
	answers(f, LEASE_REJECTED, NULL);
	answers(f, LEASE_DONE, &busy);
	want(f, 2, "b", 1);
	answers(f, LEASE_DONE, &busy);
	assert_in_range(core_next_ns(f->core), f->now_ns + 1, f->now_ns + 3 * MS);
}

/* A walk goes on step by step. */
static void after_a_hold_it_is_not_called_all_the_time(void **state) {
	struct fixture *f = *state;
	f->end_ns = f->now_ns + 1000 * MS;
	lease(f, "a", 9);
	core_database_lost(f->core, f->now_ns);
	walk(f);
	core_database_promoted(f->core, f->now_ns, 3600 * 1000 * MS);
	comes_up(f);
	unsigned steps = 0;
	for (; core_is_walking(f->core); steps++) {
		assert_true(core_next_ns(f->core) > f->now_ns);
		pass(f, MS);
	}
	assert_true(steps > 10);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

/* ---- Nothing to say ------------------------------------------------------------------------------------ */

static void when_all_have_given_up_nothing_is_sent(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	want_until(f, 2, "b", 1, 10 * MS);
	unsigned before = f->batches;
	f->now_ns += 20 * MS;
	grants(f, 1, 0, 90);
	assert_int_equal(f->batches, before);
	assert_int_equal(core_counters(f->core)->batches, before);
}

/* As long as no client has met the last one, they need no numbers of their own. */
static void events_that_nobody_meets_cost_nothing(void **state) {
	struct fixture *f = *state;
	lease(f, "a", 9);
	uint64_t before = looked(f);
	for (int i = 0; i < 5000; i++)
		core_void_policy(f->core, f->now_ns, 1);
	assert_int_equal(looked(f), before);
}

/* ---- The time of an event -------------------------------------------------------------------------------- */

/* It is over, and so is the window that it was charged to; no timer has run since. */
static void a_change_finds_leases_as_they_are_by_then(void **state) {
	struct fixture *f = *state;
	lease(f, "a", 9);
	f->now_ns += 3 * 10 * SUB_MS * MS;
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	for (int i = 0; i < 10; i++) {
		pass(f, MS);
		for (size_t n = 0; n < f->asked_count; n++)
			assert_int_equal(unspent_in(f, n), 0);
	}
}

/* Ten milliseconds before its end; it is charged to a sub-window that counts for a second from then on. */
static void times_are_told_in_whole_milliseconds(void **state) {
	struct fixture *f = *state;
	int64_t end_ns = f->now_ns + AT_LEAST(f->end_ns - f->now_ns);
	lease(f, "a", 9);
	f->now_ns = end_ns - 10 * MS;
	want(f, 2, "a", 1);
	assert_int_equal(verdict_of(f, 2).reset_after_ms, 10 + 1000);
	f->now_ns = end_ns - 10 * MS + 1;
	want(f, 3, "a", 1);
	assert_int_equal(verdict_of(f, 3).reset_after_ms, 10 + 1000);
	f->now_ns = end_ns - 9 * MS - 1;
	want(f, 4, "a", 1);
	assert_int_equal(verdict_of(f, 4).reset_after_ms, 10 + 1000);
}

/* So long as the database said, from its answer on; the denial itself is shorter. */
static void a_denial_by_the_table_tells_the_same_times(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 0, 0, 0);
	grant.retry_us = 360000;
	grant.reset_us = 900000;
	answers(f, LEASE_DONE, &grant);
	struct core_verdict v = verdict_of(f, 1);
	assert_int_equal(v.retry_after_ms, 360);
	assert_int_equal(v.reset_after_ms, 900);
	f->now_ns += 20 * MS;
	want(f, 2, "a", 1);
	v = verdict_of(f, 2);
	expect_no_batch(f);
	assert_in_range(v.retry_after_ms, 339, 342); /* a denial's time is counted in ticks */
	assert_in_range(v.reset_after_ms, 879, 882);
}

int main(void) {
#define STEP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
#define SLOW(name) cmocka_unit_test_setup_teardown(name, make_slow, clean)
	const struct CMUnitTest tests[] = {
		STEP(a_client_that_holds_nothing_is_swept_past),
		STEP(nobody_is_waited_for_in_an_empty_table),
		STEP(what_was_put_off_is_due_soon),
		SLOW(after_a_hold_it_is_not_called_all_the_time),
		STEP(when_all_have_given_up_nothing_is_sent),
		SLOW(events_that_nobody_meets_cost_nothing),
		STEP(a_change_finds_leases_as_they_are_by_then),
		STEP(times_are_told_in_whole_milliseconds),
		STEP(a_denial_by_the_table_tells_the_same_times),
	};
	return cmocka_run_group_tests_name("core_times", tests, NULL, NULL);
}
