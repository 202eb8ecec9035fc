/*
 * test_core_returns.c - of a lease, back goes what nobody used: whose, when, and how much at once. Step by step,
 * against a database that the test plays.
 */
#include "core_fixture.h"

/* ---- Back ------------------------------------------------------------------------------------- */

/* Answers until nothing more is asked: how much was told as unspent. */
static int32_t goes_back_within(struct fixture *f, int64_t ns, int32_t remaining) {
	int32_t returned = 0;
	for (int64_t end_ns = f->now_ns + ns; f->now_ns < end_ns; pass(f, 5 * MS))
		if (f->asked_count > 0) {
			returned += unspent_in(f, 0);
			grants(f, 0, 0, remaining);
		}
	return returned;
}

/* Of a client that is near its limit, others may need what lies idle here. */
static void what_a_tight_client_leaves_goes_back_by_itself(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 10, 0, 24);
	answers(f, LEASE_DONE, &grant);
	pass(f, AT_LEAST(60 * MS));
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	for (int i = 0; i < 60 && (f->asked_count == 0 || unspent_in(f, 0) == 0); i++) {
		if (f->asked_count > 0)
			grants(f, 0, 0, 24);
		pass(f, 5 * MS);
		assert_true(i >= 16 || f->asked_count == 0 || unspent_in(f, 0) == 0); /* not at once: it may come again */
	}
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].need, 0);
	assert_int_equal(report_of(f, 0, grant.sub_window).unspent, 9);
	grants(f, 0, 0, 99);
	assert_int_equal(goes_back_within(f, 1000 * MS, 99), 0);
}

/* As many of the one as of the other. */
static void two_leases_that_a_tight_client_leaves_go_back(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 6, 5, 10);
	expect_allowed(f, 1);
	assert_int_equal(goes_back_within(f, 500 * MS, 10), 5 + 5);
}

/* There is enough left for everybody: it is worth no statement. */
static void what_others_leave_is_told_with_their_next_request(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	struct lease_grant grant = long_grant_of(f, 1, 5, 80, 10);
	answers(f, LEASE_DONE, &grant);
	expect_allowed(f, 1);
	for (int i = 0; i < 360; i++) {
		pass(f, 5 * MS);
		if (f->asked_count == 0)
			continue;
		/* It may go on, and then there is a statement in any case. */
		assert_true(f->asked[0].want > 0 || f->asked[0].next_want > 0);
		grants(f, 0, 0, 80);
		assert_true(f->now_ns < START_NS + 1060 * MS);
	}
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	want(f, 2, "a", 1);
	expect_batch(f, "a", 1, 1, f->asked[0].want);
	assert_int_equal(report_of(f, 0, grant.next_sub_window).unspent, 5);
	assert_int_equal(report_of(f, 0, grant.next_sub_window).spent, 0);
}

/* The window is over that it was charged to. */
static void what_counts_for_nothing_any_more_is_not_told(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants_long(f, 1, 5, 80, 10);
	expect_allowed(f, 1);
	f->now_ns += (60 + 1000 + 1000) * MS;
	want(f, 2, "a", 1);
	expect_batch(f, "a", 1, 1, f->asked[0].want);
	assert_int_equal(unspent_in(f, 0), 0);
}

static void a_fixed_window_that_is_over_gets_nothing_back(void **state) {
	struct fixture *f = *state;
	struct core_policy policy = policy_with(100, 20);
	policy.terms.runs = 0;
	policy_changes(f, policy);
	want(f, 1, "a", 1);
	grants(f, 10, 0, 90);
	int64_t end_ns = f->end_ns;
	while (f->now_ns < end_ns + 300 * MS) {
		pass(f, 1 * MS);
		expect_no_batch(f);
	}
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

/* A day's lease ends 43 s before this host knows for certain that the window is over: until then others may
 * have what is left. */
static void the_rest_of_a_long_fixed_window_can_be_leased_again(void **state) {
	struct fixture *f = *state;
	const int64_t day_ms = 86400000;
	struct core_policy policy = policy_with(100, 20);
	policy.time_window_ms = day_ms;
	policy.terms = (struct grant_terms){.max_requests = 100, .sub_window_us = day_ms * 1000};
	policy_changes(f, policy);
	f->end_ns = f->now_ns + day_ms * MS;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 10, 0, 20); /* it is tight */
	answers(f, LEASE_DONE, &grant);
	f->now_ns += AT_LEAST(day_ms * MS) - 1000 * MS;
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	pass(f, 500 * MS);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	pass(f, 500 * MS);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	pass(f, 10 * MS);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].report[0].sub_window, grant.sub_window);
	assert_int_equal(f->asked[0].report[0].unspent, 7);
}

static void a_scribbled_word_returns_no_more_than_was_granted(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 4, 0, 90);
	uint32_t slot = app_find(&f->table, 0, "a", 1);
	for (int bank = 0; bank < 2; bank++)
		atomic_store(&f->table.table.slots[slot].word[bank], word_make(77, 1000000, 0));
	core_drain(f->core, f->now_ns);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].report[0].unspent, 4);
}

static void drain_returns_everything_and_is_done(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 8, 0, 90);
	struct lease_grant grant = grant_of(f, 8, 6, 90);
	want(f, 2, "b", 1);
	answers(f, LEASE_DONE, &grant);
	core_drain(f->core, f->now_ns);
	assert_false(core_is_drained(f->core));
	assert_int_equal(f->asked_count, 2);
	assert_int_equal(unspent_in(f, 0) + unspent_in(f, 1), 7 + 7 + 6);
	assert_int_equal(report_of(f, 1, grant.next_sub_window).unspent, 6);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	answers(f, LEASE_DONE, (struct lease_grant[]){grant_of(f, 0, 0, 90), grant_of(f, 0, 0, 90)});
	assert_true(core_is_drained(f->core));
	want(f, 3, "a", 1); /* who still asks gets no more than that */
	expect_batch(f, "a", 1, 1, 1);
}

/* ---- When it goes back -------------------------------------------------------------- */

static void both_hold_six(struct fixture *f) {
	f->end_ns = f->now_ns + 1000 * MS;
	for (uint32_t i = 0; i < 2; i++) {
		want(f, i, i ? "b" : "a", 1);
		grants(f, 6, 0, 90);
		expect_allowed(f, i);
	}
}

/* Also of an agent that has nothing else to ask: what nobody waits for is gathered for a while. */
static void returns_of_an_idle_agent_go_together(void **state) {
	struct fixture *f = *state;
	both_hold_six(f);
	client_changes(f, "a");
	expect_no_batch(f);
	assert_in_range(core_next_ns(f->core), f->now_ns + 1, f->now_ns + 5 * MS);
	pass(f, 4 * MS);
	client_changes(f, "b");
	expect_no_batch(f);
	pass(f, 1 * MS); /* no longer for the second's sake */
	assert_int_equal(f->asked_count, 2);
	assert_int_equal(f->asked[0].report[0].unspent, 5);
	assert_int_equal(f->asked[1].report[0].unspent, 5);
}

static void what_comes_after_a_batch_waits_as_long(void **state) {
	struct fixture *f = *state;
	both_hold_six(f);
	client_changes(f, "a");
	pass(f, 5 * MS);
	grants(f, 0, 0, 95);
	client_changes(f, "b");
	expect_no_batch(f);
	pass(f, 5 * MS);
	assert_int_equal(f->asked[0].report[0].unspent, 5);
}

static void a_return_goes_along_with_who_waits(void **state) {
	struct fixture *f = *state;
	both_hold_six(f);
	client_changes(f, "a");
	want(f, 3, "c", 1);
	assert_int_equal(f->asked_count, 2);
	assert_string_equal(f->ids[0], "c");
	assert_int_equal(f->asked[1].report[0].unspent, 5);
}

static void who_stops_returns_at_once(void **state) {
	struct fixture *f = *state;
	both_hold_six(f);
	client_changes(f, "a");
	expect_no_batch(f);
	core_drain(f->core, f->now_ns);
	assert_int_equal(f->asked_count, 2);
	answers(f, LEASE_DONE, (struct lease_grant[]){grant_of(f, 0, 0, 90), grant_of(f, 0, 0, 90)});
	assert_true(core_is_drained(f->core));
}

/* ---- Three sub-windows -------------------------------------------------------------- */

/* So many of a client's credits can be had from the table now. */
static uint32_t credits_of(struct fixture *f, const char *id) {
	uint32_t credits = 0;
	while (app(f, id, 1).verdict == APP_ALLOWED)
		credits++;
	return credits;
}

/* A tight client has a long lease of four. A lease of two ended while this statement was under way, and goes back
 * with the next: that can tell of one other sub-window. */
static void has_four_and_leaves_two(struct fixture *f, uint32_t cost) {
	want(f, 1, "a", 1);
	grants_long(f, 3, 4, 10, 10);
	expect_allowed(f, 1);
	pass(f, 55 * MS);
	want(f, 2, "a", cost);
	assert_int_equal(unspent_in(f, 0), 0);
	pass(f, 10 * MS);
}

static void what_cannot_be_told_stays_in_its_lease(void **state) {
	struct fixture *f = *state;
	has_four_and_leaves_two(f, 8);
	grants(f, 2, 0, 3);
	expect_silence(f);
	assert_int_equal(unspent_in(f, 0), 2 + 2);
	uint64_t returned = core_counters(f->core)->returned;
	assert_int_equal(returned, 2 + 2);
	grants(f, 0, 0, 7);
	assert_int_equal(unspent_in(f, 0), 4);
	grants(f, 8, 0, 3);
	expect_allowed(f, 2);
}

static void what_cannot_be_told_is_not_called_back(void **state) {
	struct fixture *f = *state;
	has_four_and_leaves_two(f, 7);
	grants_long(f, 7, 5, 10, 10);
	expect_allowed(f, 2);
	core_recall(f->core, f->now_ns, 0, "a", 1);
	pass(f, 0);
	assert_int_equal(unspent_in(f, 0), 2 + 5);
	assert_int_equal(credits_of(f, "a"), 4);
}

/* All of the other lease is spent: it stays, too, and what was spent is told once. */
static void what_was_spent_is_told_once_when_nothing_can_be_called_back(void **state) {
	struct fixture *f = *state;
	has_four_and_leaves_two(f, 7);
	grants_long(f, 7, 5, 10, 10);
	expect_allowed(f, 2);
	assert_int_equal(app(f, "a", 5).verdict, APP_ALLOWED);
	core_recall(f->core, f->now_ns, 0, "a", 1);
	pass(f, 0);
	assert_int_equal(unspent_in(f, 0), 2);
	assert_int_equal(spent_in(f, 0), 5);
	assert_int_equal(credits_of(f, "a"), 4);
}

/* ---- Many ----------------------------------------------------------------------------- */

static int make_large(void **state) {
	return make_up_with(state, 8192);
}

static void give_six_to_each(struct fixture *f) {
	struct lease_grant each[CORE_BATCH_MAX];
	for (size_t i = 0; i < f->asked_count; i++)
		each[i] = grant_of(f, 6, 0, 10); /* they are tight: what they leave goes back by itself */
	if (f->asked_count > 0)
		answers(f, LEASE_DONE, each);
	f->told_count = 0;
}

static int32_t take_back(struct fixture *f) {
	struct lease_grant each[CORE_BATCH_MAX];
	int32_t returned = 0;
	for (size_t i = 0; i < f->asked_count; i++) {
		returned += unspent_in(f, i);
		each[i] = grant_of(f, 0, 0, 99);
	}
	if (f->asked_count > 0)
		answers(f, LEASE_DONE, each);
	return returned;
}

/* More than requests are made for at a time: what has no room for now is of use to nobody, but is not lost. */
static void what_is_too_much_at_once_goes_back_later(void **state) {
	struct fixture *f = *state;
	int32_t held = 0, returned = 0;
	char id[16];
	for (uint32_t i = 0; i < 6000; i++) {
		snprintf(id, sizeof(id), "c-%u", i);
		want(f, i, id, 1);
		give_six_to_each(f);
	}
	give_six_to_each(f);
	for (uint32_t slot = 0; slot < f->table.table.slot_count; slot++)
		held += (int32_t)(table_credits(&f->table.table, slot, 0) + table_credits(&f->table.table, slot, 1));
	assert_true(held > 5 * 5000);
	policy_changes(f, policy_with(200, 20));
	for (int i = 0; i < 300; i++) {
		returned += take_back(f);
		pass(f, 2 * MS);
		assert_true(i < 10 || app(f, "c-5999", 1).verdict == APP_ASKS); /* all have been met */
		if (i == 4)
			policy_changes(f, policy_with(300, 20)); /* what is to go back already still does */
	}
	assert_int_equal(returned, held);
}

int main(void) {
#define STEP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(what_a_tight_client_leaves_goes_back_by_itself),
		STEP(two_leases_that_a_tight_client_leaves_go_back),
		STEP(what_others_leave_is_told_with_their_next_request),
		STEP(what_counts_for_nothing_any_more_is_not_told),
		STEP(a_fixed_window_that_is_over_gets_nothing_back),
		STEP(the_rest_of_a_long_fixed_window_can_be_leased_again),
		STEP(a_scribbled_word_returns_no_more_than_was_granted),
		STEP(what_cannot_be_told_stays_in_its_lease),
		STEP(what_cannot_be_told_is_not_called_back),
		STEP(what_was_spent_is_told_once_when_nothing_can_be_called_back),
		cmocka_unit_test_setup_teardown(what_is_too_much_at_once_goes_back_later, make_large, clean),
		STEP(drain_returns_everything_and_is_done),
		STEP(returns_of_an_idle_agent_go_together),
		STEP(what_comes_after_a_batch_waits_as_long),
		STEP(a_return_goes_along_with_who_waits),
		STEP(who_stops_returns_at_once),
	};
	return cmocka_run_group_tests_name("core_returns", tests, NULL, NULL);
}
