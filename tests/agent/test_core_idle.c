/*
 * test_core_idle.c - whether a client still uses what it has: when that is looked at, and that nothing is asked
 * for ahead, or returned, without a reason. Step by step, against a database that the test plays.
 */
#include "core_fixture.h"

/* ---- Clients that send ------------------------------------------------------------------------- */

static int64_t sub_ms; /* a sub-window; ten are a window */

static void has_sub_windows_of(struct fixture *f, int64_t ms) {
	struct core_policy policy = policy_with(1000, 20);
	sub_ms = ms;
	policy.terms.sub_window_us = ms * 1000;
	policy.time_window_ms = 10 * ms;
	policy_changes(f, policy);
	f->end_ns = f->now_ns + ms * MS;
}

static void moves(struct fixture *f, int64_t ns) {
	f->now_ns += ns;
	while (f->end_ns <= f->now_ns)
		f->end_ns += sub_ms * MS;
	core_advance(f->core, f->now_ns);
}

/* What is asked for is granted: for now, and for the next sub-window. Gives what was returned. */
static int32_t grants_all(struct fixture *f, int32_t remaining, unsigned *asked_ahead) {
	int32_t back = 0;
	while (f->asked_count > 0) {
		*asked_ahead += f->asked[0].next_want > 0;
		back += unspent_in(f, 0);
		struct lease_grant grant = grant_of(f, f->asked[0].want, f->asked[0].next_want, remaining);
		grant.next_valid_us = grant.valid_us + sub_ms * 1000;
		grant.next_sub_window = grant.sub_window + sub_ms * 1000;
		answers(f, LEASE_DONE, &grant);
	}
	f->told_count = 0;
	return back;
}

/* For so many sub-windows, so many checks in each. Gives how often the next lease was asked for. */
static unsigned sends(struct fixture *f, int sub_windows, int per_sub_window, int32_t remaining) {
	unsigned asked_ahead = 0;
	for (int i = 0; i < sub_windows * 200; i++) {
		for (int n = i * per_sub_window / 200; n < (i + 1) * per_sub_window / 200; n++) {
			struct app_decision d = app(f, "a", 1);
			if (d.verdict == APP_ASKS)
				want(f, 1, "a", 1);
			else if (d.low)
				low(f, "a");
			grants_all(f, remaining, &asked_ahead);
		}
		moves(f, sub_ms * MS / 200);
		grants_all(f, remaining, &asked_ahead);
	}
	return asked_ahead;
}

/* Until what is left of that sub-window's lease goes back; -1: it doesn't within a minute. */
static int64_t ms_until_it_returns(struct fixture *f, int64_t sub_window, int32_t remaining) {
	unsigned ignored;
	int64_t began_ns = f->now_ns;
	for (int64_t ms = 0; ms < 60000; ms += 20) {
		moves(f, 20 * MS);
		if (f->asked_count > 0 && report_of(f, 0, sub_window).unspent > 0)
			return (f->now_ns - began_ns) / MS;
		grants_all(f, remaining, &ignored);
	}
	return -1;
}
/* It is near its limit and has sent so many in each of many sub-windows; then it has a lease for a whole window,
 * spends one credit and stops. How long until what is left goes back. */
static int64_t ms_until_it_counts_as_idle(struct fixture *f, int64_t ms, int per_sub_window) {
	core_set_timing(f->core, 500 * MS, 600000 * MS);
	has_sub_windows_of(f, ms);
	sends(f, 60, per_sub_window, 20);
	want(f, 1, "a", 500);
	struct lease_grant grant = long_grant_of(f, 500, 30, 20, 1);
	grant.next_valid_us = grant.valid_us + 9 * sub_ms * 1000;
	grant.next_sub_window = grant.sub_window + 9 * sub_ms * 1000;
	answers(f, LEASE_DONE, &grant);
	f->told_count = 0;
	app(f, "a", 1);
	return ms_until_it_returns(f, grant.next_sub_window, 20);
}

/* ---- What lies idle ------------------------------------------------------------------------------ */

/* The first look finds that it was used, the second one that it wasn't. */
static void a_busy_client_is_looked_at_each_five_seconds(void **state) {
	assert_in_range(ms_until_it_counts_as_idle(*state, 60000, 50), 10000, 10100);
}

/* Of what it used, more and more is forgotten while it has just begun not to. */
static void one_that_comes_rarely_after_three_times_as_long(void **state) {
	assert_in_range(ms_until_it_counts_as_idle(*state, 60000, 30), 25000, 35000);
}

static void but_after_twenty_seconds(void **state) {
	assert_in_range(ms_until_it_counts_as_idle(*state, 60000, 4), 40000, 40100);
}

static void and_no_more_often_than_each_half_second(void **state) {
	assert_in_range(ms_until_it_counts_as_idle(*state, 300, 50), 1000, 1100);
}

/* Of one that is far from its limit nobody misses what it holds: it is worth no statement. */
static void who_leaves_with_much_of_its_limit_left_tells_nobody(void **state) {
	struct fixture *f = *state;
	has_sub_windows_of(f, 1000);
	want(f, 1, "a", 1);
	grants(f, 6, 0, 90);
	for (int i = 0; core_client_count(f->core) > 0; i++) {
		assert_true(i < 160); /* before the window is over */
		moves(f, 50 * MS);
		if (f->asked_count > 0) {
			assert_int_equal(unspent_in(f, 0), 0);
			grants(f, 0, 0, 90);
		}
	}
	expect_no_batch(f);
}

/* ---- Ahead ----------------------------------------------------------------------------------------- */

/* So many times the next lease is asked for in the sub-window after the last in which the client sent. */
static unsigned asked_ahead(struct fixture *f, int64_t ms, int32_t remaining) {
	core_set_timing(f->core, 500 * MS, 600000 * MS);
	has_sub_windows_of(f, ms);
	sends(f, 20, 100, remaining);
	return sends(f, 1, 0, remaining);
}

static void short_leases_are_renewed_though_they_were_not_used(void **state) {
	assert_int_equal(asked_ahead(*state, 9000, 20), 1);
}

/* Others need what would lie here for so long. */
static void but_none_for_more_than_ten_seconds(void **state) {
	struct fixture *f = *state;
	assert_int_equal(asked_ahead(f, 11000, 20), 0);
}

static void if_it_is_used_any_is(void **state) {
	struct fixture *f = *state;
	asked_ahead(f, 11000, 20);
	sends(f, 10, 100, 20);
	assert_int_equal(sends(f, 1, 100, 20), 1);
}

/* Of one for which none is asked for ahead, there is nothing to do until its lease ends. */
static void who_gets_none_is_looked_at_no_more_often(void **state) {
	struct fixture *f = *state;
	unsigned ignored;
	core_set_timing(f->core, 500 * MS, 600000 * MS);
	has_sub_windows_of(f, 11000);
	sends(f, 20, 100, 20);
	want(f, 1, "a", 500);
	struct lease_grant grant = grant_of(f, 510, 0, 20);
	answers(f, LEASE_DONE, &grant);
	moves(f, f->end_ns - f->now_ns - 200 * MS);
	grants_all(f, 20, &ignored);
	unsigned calls = 0;
	for (int64_t end_ns = f->now_ns + 190 * MS; core_next_ns(f->core) < end_ns; calls++) {
		moves(f, core_next_ns(f->core) - f->now_ns);
		grants_all(f, 20, &ignored);
	}
	assert_in_range(calls, 0, 15); /* the sweep comes by now and then */
}

/* The answer takes longer than the client is left alone for. */
static void while_the_next_one_is_asked_for_it_is_not_asked_for_again(void **state) {
	struct fixture *f = *state;
	unsigned ahead = 0;
	has_sub_windows_of(f, 1000);
	sends(f, 20, 100, 20);
	while (f->asked_count == 0) {
		app(f, "a", 1);
		moves(f, 5 * MS);
		if (f->asked_count > 0 && f->asked[0].next_want == 0)
			grants_all(f, 20, &ahead);
	}
	for (int i = 0; i < 120; i++) {
		app(f, "a", 1);
		moves(f, 5 * MS);
	}
	struct lease_grant grant = grant_of(f, 0, 5, 20);
	answers(f, LEASE_DONE, &grant);
	assert_true(f->asked_count == 0 || f->asked[0].next_want == 0);
}

/* ---- When a hint is of use --------------------------------------------------------------------------- */

static void has(struct fixture *f, int32_t credits, int32_t remaining) {
	want(f, 1, "a", 1);
	grants(f, credits, 0, remaining);
	expect_allowed(f, 1);
}

static void spends(struct fixture *f, int credits) {
	for (int i = 0; i < credits; i++)
		assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
}

/* Its sub-window is over before one more will be needed. */
static void what_lasts_until_the_lease_ends_is_enough(void **state) {
	struct fixture *f = *state;
	has(f, 4, 90);
	spends(f, 2);
	low(f, "a");
	assert_int_equal(f->asked_count, 1); /* so much in no time: there may be more */
	grants(f, 0, 0, 90);
	f->now_ns += 57 * MS;
	low(f, "a");
	assert_int_equal(f->asked_count, 1);    /* it is time for the next lease */
	assert_true(f->asked[0].next_want > 0); /* and only for that */
}

/* Near its limit it would waste most of what it got. */
static void a_tight_client_has_enough_sooner(void **state) {
	struct fixture *f = *state;
	has(f, 4, 10);
	spends(f, 2);
	f->now_ns += 3 * MS;
	low(f, "a");
	expect_no_batch(f);
}

static void the_one_ahead_is_no_reason_to_do_without(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 3, 5, 10);
	spends(f, 2);
	low(f, "a");
	assert_int_equal(f->asked_count, 1);
}

static void half_a_lease_is_enough(void **state) {
	struct fixture *f = *state;
	has(f, 8, 90);
	spends(f, 3);
	low(f, "a");
	expect_no_batch(f);
	spends(f, 1);
	low(f, "a");
	assert_int_equal(f->asked_count, 1);
}

static void but_one_credit_is_not(void **state) {
	struct fixture *f = *state;
	f->end_ns = f->now_ns + SUB_MS * MS;
	has(f, 2, 90);
	low(f, "a");
	assert_int_equal(f->asked_count, 1);
}

int main(void) {
#define STEP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(a_busy_client_is_looked_at_each_five_seconds),
		STEP(one_that_comes_rarely_after_three_times_as_long),
		STEP(but_after_twenty_seconds),
		STEP(and_no_more_often_than_each_half_second),
		STEP(who_leaves_with_much_of_its_limit_left_tells_nobody),
		STEP(short_leases_are_renewed_though_they_were_not_used),
		STEP(but_none_for_more_than_ten_seconds),
		STEP(if_it_is_used_any_is),
		STEP(who_gets_none_is_looked_at_no_more_often),
		STEP(while_the_next_one_is_asked_for_it_is_not_asked_for_again),
		STEP(what_lasts_until_the_lease_ends_is_enough),
		STEP(a_tight_client_has_enough_sooner),
		STEP(the_one_ahead_is_no_reason_to_do_without),
		STEP(half_a_lease_is_enough),
		STEP(but_one_credit_is_not),
	};
	return cmocka_run_group_tests_name("core_idle", tests, NULL, NULL);
}
