/*
 * test_core_promotion.c - a standby takes the place of the database: no grants before the old primary's leases
 * have run out, and nothing of theirs goes back.
 */
#include "core_fixture.h"

#define LEASES_LAST AT_MOST(11 * SUB_MS * MS) /* the running sub-window, and as many more as the window has */

/* So long ago it was, often: then no fallback comes before the end of the hold. */
#define AGE  (900 * MS)
#define HELD (LEASES_LAST - AT_LEAST(AGE))

static void is_promoted(struct fixture *f, int64_t age_ns) {
	core_database_lost(f->core, f->now_ns);
	core_database_promoted(f->core, f->now_ns, age_ns);
	comes_up(f);
}

static void leases(struct fixture *f, const char *id, int32_t granted) {
	want(f, 1, id, 1);
	grants(f, granted, 0, 50);
	expect_allowed(f, 1);
}

/* For as long as a lease may last, which is longer than the hold. */
static void leases_for_long(struct fixture *f, const char *id, int32_t granted) {
	want(f, 1, id, 1);
	grants_long(f, 1, granted, 50, 10);
	expect_allowed(f, 1);
}

static void has_no_reports(const struct fixture *f) {
	assert_int_equal(f->asked_count, 1);
	for (int i = 0; i < LEASE_REPORTS; i++)
		assert_int_equal(f->asked[0].report[i].sub_window, 0);
	assert_int_equal(core_counters(f->core)->returned, 0);
}

static void grants_are_held_until_old_leases_have_run_out(void **state) {
	struct fixture *f = *state;
	is_promoted(f, AGE);
	want(f, 1, "a", 1);
	assert_int_equal(core_held_until_ns(f->core), f->now_ns + HELD);
	assert_true(core_next_ns(f->core) <= f->now_ns + HELD);
	pass(f, HELD - 1);
	expect_no_batch(f);
	expect_silence(f);
	pass(f, 1);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	expect_batch(f, "a", 1, 1, 1);
}

/* Nobody is granted anything of it any more. */
static void a_policy_that_was_dropped_holds_nothing_up(void **state) {
	struct fixture *f = *state;
	struct core_policy dropped = policy_with(100, 20);
	dropped.terms.sub_window_us = 200000;
	core_set_policy(f->core, f->now_ns, 1, &dropped);
	dropped.live = false;
	core_set_policy(f->core, f->now_ns, 1, &dropped);
	is_promoted(f, AGE);
	assert_int_equal(core_held_until_ns(f->core), f->now_ns + HELD);
}

/* Of policies that are unknown here; but nobody waits for longer than the longest hold. */
static void leases_of_other_hosts_are_waited_for(void **state) {
	struct fixture *f = *state;
	core_know_lease(f->core, 4000000);
	is_promoted(f, 0);
	assert_int_equal(core_held_until_ns(f->core), f->now_ns + AT_MOST(4000 * MS));
	core_know_lease(f->core, CORE_HOLD_MAX_NS);
	is_promoted(f, 0);
	assert_int_equal(core_held_until_ns(f->core), f->now_ns + CORE_HOLD_MAX_NS);
}

static void what_has_passed_since_the_promotion_counts(void **state) {
	struct fixture *f = *state;
	is_promoted(f, LEASES_LAST - 30 * MS);
	pass(f, 30 * MS);
	assert_int_equal(core_state(f->core), CORE_CONNECTING);
	pass(f, MS);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

static void a_long_hold_is_a_fallback(void **state) {
	struct fixture *f = *state;
	struct core_policy policy = policy_with(100, 20);
	policy.terms.sub_window_us = 200000;
	policy.time_window_ms = 2000;
	policy_changes(f, policy);
	is_promoted(f, 0);
	want(f, 1, "a", 1);
	pass(f, 500 * MS);
	assert_int_equal(verdict_of(f, 1).source, STINT_SOURCE_FALLBACK);
	pass(f, 1702 * MS);
	assert_int_equal(core_state(f->core), CORE_RESYNC);
	expect_batch(f, "a", 0, 0, 0);
	assert_int_equal(f->asked[0].charge, 1);
}

static void leases_that_outlive_the_longest_hold_are_burnt(void **state) {
	struct fixture *f = *state;
	struct core_policy policy = policy_with(100, 20);
	policy.terms.sub_window_us = 3600 * INT64_C(1000000);
	policy_changes(f, policy);
	f->end_ns = f->now_ns + 3600 * 1000 * MS;
	leases(f, "a", 10);
	is_promoted(f, 0);
	assert_int_equal(core_held_until_ns(f->core), f->now_ns + CORE_HOLD_MAX_NS);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	pass(f, CORE_HOLD_MAX_NS);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

static void who_hears_late_of_it_burns_its_leases_at_once(void **state) {
	struct fixture *f = *state;
	leases(f, "a", 10);
	is_promoted(f, 3600 * 1000 * MS);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

static void an_old_lease_is_good_meanwhile(void **state) {
	struct fixture *f = *state;
	leases(f, "a", 10);
	is_promoted(f, 0);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
}

/* What an idle client left in the sub-window that has ended would go back with its next request. */
static void nothing_of_an_old_lease_goes_back(void **state) {
	struct fixture *f = *state;
	leases(f, "a", 10);
	is_promoted(f, AGE);
	pass(f, HELD);
	want(f, 2, "a", 1);
	has_no_reports(f);
}

/* Some of it is spent, before and in the hold: the new books may know nothing of what that would move. */
static void nothing_of_a_long_lease_is_reported(void **state) {
	struct fixture *f = *state;
	leases_for_long(f, "a", 10);
	assert_int_equal(app(f, "a", 3).verdict, APP_ALLOWED);
	is_promoted(f, AGE);
	assert_int_equal(app(f, "a", 2).left, 5);
	want(f, 2, "a", 9); /* waits */
	pass(f, HELD);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS); /* though its deadline is still to come */
	has_no_reports(f);
	assert_int_equal(f->asked[0].need, 9);
	grants(f, 9, 0, 50);
	expect_allowed(f, 2);
	pass(f, SUB_MS * MS);
	want(f, 3, "a", 9);
	has_no_reports(f);
}

/* What is left of it when it ends is told as little: before the hold is over, and afterwards. */
static void nor_when_it_ends_in_the_hold(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants_long(f, 1, 10, 20, 1);
	expect_allowed(f, 1);
	is_promoted(f, AGE);
	assert_int_equal(app(f, "a", 3).left, 7);
	pass(f, 170 * MS);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	pass(f, HELD - 170 * MS);
	for (int i = 0; i < 20; i++) {
		pass(f, 20 * MS);
		expect_no_batch(f);
	}
	want(f, 2, "a", 1);
	has_no_reports(f);
}

/* In a hold that is longer than the grace. They are the old database's, and count all the same. */
static void what_is_spent_of_old_leases_counts_in_a_fallback(void **state) {
	struct fixture *f = *state;
	leases_for_long(f, "a", 10);
	assert_int_equal(app(f, "a", 3).verdict, APP_ALLOWED); /* before: none of the fallback's */
	is_promoted(f, 0);
	pass(f, 500 * MS);
	assert_int_equal(core_state(f->core), CORE_FALLBACK);
	assert_int_equal(app(f, "a", 4).left, 3);
	want(f, 2, "a", 17);
	expect_denied(f, 2);
	want(f, 3, "a", 16);
	expect_allowed(f, 3);
	assert_int_equal(app(f, "a", 1).verdict, APP_DENIED);
}

static void nor_does_a_return_that_was_noted_already(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 10, 0, 20); /* tight: what is left goes back by itself */
	expect_allowed(f, 1);
	core_database_lost(f->core, f->now_ns);
	pass(f, 170 * MS); /* its sub-window has ended, and one more */
	assert_true(core_counters(f->core)->returned > 0);
	core_database_promoted(f->core, f->now_ns, AGE);
	comes_up(f);
	pass(f, HELD);
	want(f, 2, "a", 1);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].report[0].sub_window, 0);
}

static void a_hold_outlasts_a_broken_connection(void **state) {
	struct fixture *f = *state;
	is_promoted(f, AGE);
	core_database_lost(f->core, f->now_ns);
	pass(f, 50 * MS);
	comes_up(f);
	want(f, 1, "a", 1);
	pass(f, HELD - 50 * MS - 1);
	expect_no_batch(f);
	pass(f, 1);
	expect_batch(f, "a", 1, 1, 1);
}

static void without_a_connection_its_end_means_nothing(void **state) {
	struct fixture *f = *state;
	is_promoted(f, AGE);
	core_database_lost(f->core, f->now_ns);
	want(f, 1, "a", 1);
	pass(f, HELD);
	assert_int_equal(core_state(f->core), CORE_CONNECTING);
	expect_no_batch(f);
}

/* A new agent finds them in the table, and knows nothing of them but their deadlines. */
static void leases_that_an_earlier_agent_left_are_burnt(void **state) {
	struct fixture *f = *state;
	leases(f, "a", 10);
	succeed(f, false, 9);
	core_database_promoted(f->core, f->now_ns, LEASES_LAST - 10 * MS);
	comes_up(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	pass(f, 11 * MS);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_up, clean)

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(grants_are_held_until_old_leases_have_run_out),
		TEST(a_policy_that_was_dropped_holds_nothing_up),
		TEST(leases_of_other_hosts_are_waited_for),
		TEST(what_has_passed_since_the_promotion_counts),
		TEST(a_long_hold_is_a_fallback),
		TEST(leases_that_outlive_the_longest_hold_are_burnt),
		TEST(who_hears_late_of_it_burns_its_leases_at_once),
		TEST(an_old_lease_is_good_meanwhile),
		TEST(nothing_of_an_old_lease_goes_back),
		TEST(nothing_of_a_long_lease_is_reported),
		TEST(nor_when_it_ends_in_the_hold),
		TEST(what_is_spent_of_old_leases_counts_in_a_fallback),
		TEST(nor_does_a_return_that_was_noted_already),
		TEST(a_hold_outlasts_a_broken_connection),
		TEST(without_a_connection_its_end_means_nothing),
		TEST(leases_that_an_earlier_agent_left_are_burnt),
	};
	return cmocka_run_group_tests_name("core_promotion", tests, NULL, NULL);
}
