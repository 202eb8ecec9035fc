/*
 * test_core_relaxed.c - relaxed policies: what is admitted in advance, and that it is counted in the end. Step
 * by step, against a database that the test plays.
 */
#include "core_fixture.h"

/* By two hosts, so that 80 make an advance of 5. */
static void is_relaxed(struct fixture *f, int32_t max_requests) {
	struct core_policy policy = policy_with(max_requests, 20);
	policy.relaxed = true;
	policy_changes(f, policy);
}

static void one_advance_is_admitted_and_counted(void **state) {
	struct fixture *f = *state;
	is_relaxed(f, 80);
	for (uint32_t i = 0; i < 5; i++) {
		want(f, i, "a", 1);
		struct core_verdict v = verdict_of(f, i);
		assert_int_equal(v.source, STINT_SOURCE_ADVANCE);
		assert_int_equal(v.limit, 80);
		assert_int_equal(v.deadline_ns, f->now_ns + SUB_MS * MS);
	}
	assert_int_equal(f->asked[0].charge, 1);
	want(f, 5, "a", 1); /* 1 under way and 4 more are what may be uncounted */
	expect_silence(f);
	loses_the_answer(f);
	comes_up(f);
	assert_int_equal(f->asked[0].charge, 5); /* those of the lost batch, and those since */
	assert_int_equal(f->asked[0].need, 1);
	grants(f, 1, 0, 0);
	expect_allowed(f, 5);
}

/* A check of several limits, and a look, take nothing that isn't counted: they wait, as in strict mode. */
static void what_is_provided_is_no_advance(void **state) {
	struct fixture *f = *state;
	is_relaxed(f, 80);
	core_provide(f->core, f->now_ns, 1, 1, 0, "a", 1, 1, f->now_ns + 1000 * MS);
	core_look(f->core, f->now_ns, 1, 2, 0, "a", 1, 1, f->now_ns + 1000 * MS);
	pass(f, MS);
	expect_silence(f);
	assert_int_equal(f->asked[0].charge, 0);
}

static void no_cost_above_the_limit_is_admitted(void **state) {
	struct fixture *f = *state;
	is_relaxed(f, 100);
	want(f, 1, "a", 101);
	expect_silence(f);
	expect_batch(f, "a", 101, 101, 101);
	assert_int_equal(f->asked[0].charge, 0);
}

/* Of 800, shared with another host, an advance is 50; of a limit of its own of 32 it is 2. */
static void has_a_limit_of_its_own(struct fixture *f) {
	is_relaxed(f, 800);
	want(f, 1, "a", 1);
	expect_allowed(f, 1);
	struct lease_grant own = grant_of(f, 0, 0, 31);
	own.charged = 1;
	own.max_requests = 32;
	answers(f, LEASE_DONE, &own);
	pass(f, 60 * MS);
	f->asked_count = 0;
}

static void an_advance_is_of_the_clients_own_limit(void **state) {
	struct fixture *f = *state;
	has_a_limit_of_its_own(f);
	for (uint32_t i = 2; i < 4; i++) {
		want(f, i, "a", 1);
		assert_int_equal(verdict_of(f, i).source, STINT_SOURCE_ADVANCE);
	}
	want(f, 4, "a", 1);
	expect_silence(f);
}

static void no_cost_above_the_clients_own_limit_is_admitted(void **state) {
	struct fixture *f = *state;
	has_a_limit_of_its_own(f);
	want(f, 2, "a", 33);
	expect_silence(f);
	assert_int_equal(f->asked[0].charge, 0);
	assert_int_equal(f->asked[0].need, 33);
}

/* 3 of 4 don't fit. */
static void owes_three(struct fixture *f) {
	is_relaxed(f, 80);
	want(f, 1, "a", 4);
	expect_allowed(f, 1);
	struct lease_grant full = grant_of(f, 0, 0, 0);
	full.charged = 1;
	answers(f, LEASE_DONE, &full);
}

static void what_did_not_fit_is_owed(void **state) {
	struct fixture *f = *state;
	owes_three(f);
	pass(f, 60 * MS);
	want(f, 2, "a", 1); /* no second advance before the first is paid */
	expect_silence(f);
	assert_int_equal(f->asked[0].charge, 3);
	assert_int_equal(f->asked[0].need, 1);
	grants(f, 0, 0, 0);
	expect_denied(f, 2);
}

static void before_the_first_connection_no_hosts_are_known(void **state) {
	struct fixture *f = *state;
	is_relaxed(f, 800);
	want(f, 1, "a", 1);
	expect_allowed(f, 1);
	want(f, 2, "a", 1);
	expect_silence(f);
}

static void has_a_window_of_a_minute(struct fixture *f) {
	struct core_policy minute = policy_with(80, 20);
	minute.relaxed = true;
	minute.time_window_ms = 60000;
	minute.terms.sub_window_us = 6000000;
	policy_changes(f, minute);
}

static void for_a_while(struct fixture *f, enum lease_outcome outcome) {
	for (int i = 0; i < 600; i++) { /* a minute: windows of 1 s, an idle timeout of 4 s */
		pass(f, 100 * MS);
		for (int n = 0; n < 10 && f->asked_count > 0; n++)
			answers(f, outcome, NULL);
	}
}

static void who_owes_is_charged_before_it_leaves(void **state) {
	struct fixture *f = *state;
	owes_three(f);
	has_a_window_of_a_minute(f);
	for (int i = 0; i < 100 && f->asked_count == 0; i++)
		pass(f, 100 * MS);
	assert_int_equal(f->asked[0].charge, 3);
	grants(f, 0, 0, 70);
	for (int i = 0; i < 100; i++)
		pass(f, 100 * MS);
	assert_int_equal(core_client_count(f->core), 0);
}

static void what_is_owed_is_charged_at_the_end(void **state) {
	struct fixture *f = *state;
	owes_three(f);
	core_drain(f->core, f->now_ns);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].charge, 3);
	grants(f, 0, 0, 0);
	assert_true(core_is_drained(f->core));
}

/* Nor is it asked for then: after a window it is of no consequence. */
static void who_is_refused_for_good_leaves(void **state) {
	struct fixture *f = *state;
	is_relaxed(f, 80);
	for (uint32_t i = 0; i < 9; i++) {
		want(f, i, &"a\0b\0c\0d\0e\0f\0g\0h\0i"[2 * i], 4);
		expect_allowed(f, i);
	}
	for_a_while(f, LEASE_REJECTED);
	assert_int_equal(core_client_count(f->core), 0);
	unsigned batches = f->batches;
	for_a_while(f, LEASE_REJECTED);
	assert_int_equal(f->batches, batches);
}

static void in_a_fallback_who_owes_leaves(void **state) {
	struct fixture *f = *state;
	owes_three(f);
	stays_away(f);
	for_a_while(f, LEASE_DONE);
	assert_int_equal(core_client_count(f->core), 0);
	assert_int_equal(core_fallback_clients(f->core), 0);
}

/* Blocked by an operator, or of a policy that the database doesn't know: nothing is charged. */
static void one_who_is_blocked_and_unblocked_still_owes(void **state) {
	struct fixture *f = *state;
	is_relaxed(f, 80);
	want(f, 1, "a", 4);
	expect_allowed(f, 1);
	struct lease_grant blocked = grant_of(f, 0, 0, 0);
	blocked.max_requests = 0;
	blocked.retry_us = -1;
	answers(f, LEASE_DONE, &blocked);
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	want(f, 2, "a", 4);
	expect_silence(f);
}

static void one_whom_the_database_does_not_know_gets_one_advance(void **state) {
	struct fixture *f = *state;
	is_relaxed(f, 80);
	want(f, 1, "a", 5);
	expect_allowed(f, 1);
	answers(f, LEASE_DONE, &(struct lease_grant){.answered = false});
	want(f, 2, "a", 1);
	expect_silence(f);
}

/* A fallback long ago, whose counts would say that nothing of what is owed is recent. */
static void has_fallen_back(struct fixture *f) {
	stays_away(f);
	want(f, 90, "a", 1);
	expect_allowed(f, 90);
	comes_up(f);
	grants(f, 0, 0, 79);
	pass(f, 11 * SUB_MS * MS);
}

static void owes_an_advance_when_the_database_goes_away(struct fixture *f) {
	want(f, 1, "a", 4);
	expect_allowed(f, 1);
	loses_the_answer(f);
	core_database_down(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
	assert_int_equal(core_state(f->core), CORE_FALLBACK);
}

static void an_advance_outlives_a_fallback(void **state) {
	struct fixture *f = *state;
	is_relaxed(f, 80);
	has_fallen_back(f);
	owes_an_advance_when_the_database_goes_away(f);
	want(f, 2, "a", 3);
	expect_allowed(f, 2);
	pass(f, SUB_MS * MS);
	comes_up(f);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].charge, 4 + 3);
}

/* One that is larger than an advance usually is, and with a fallback's use beside it. */
static void an_advance_that_does_not_fit_after_a_fallback_stays_owed(void **state) {
	struct fixture *f = *state;
	is_relaxed(f, 80);
	want(f, 1, "a", 9);
	expect_allowed(f, 1);
	loses_the_answer(f);
	core_database_down(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
	want(f, 2, "a", 3);
	expect_allowed(f, 2);
	comes_up(f);
	assert_int_equal(f->asked[0].charge, 9 + 3);
	struct lease_grant full = grant_of(f, 0, 0, 0);
	full.charged = 1;
	answers(f, LEASE_DONE, &full);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	pass(f, SUB_MS * MS);
	want(f, 3, "a", 1);
	expect_silence(f);
	assert_int_equal(f->asked[0].charge, 9); /* the fallback's has had its chance */
}

static void an_advance_of_a_window_ago_counts_no_more(void **state) {
	struct fixture *f = *state;
	is_relaxed(f, 80);
	owes_an_advance_when_the_database_goes_away(f);
	pass(f, 11 * SUB_MS * MS);
	comes_up(f);
	assert_int_equal(f->asked_count, 0);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

/* By this clock, which may be the faster one. */
static void by_a_clock_that_may_be_too_fast_it_does(void **state) {
	struct fixture *f = *state;
	is_relaxed(f, 80);
	owes_an_advance_when_the_database_goes_away(f);
	pass(f, AT_MOST(10 * SUB_MS * MS) - 1000);
	comes_up(f);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].charge, 4);
}

/* Its row is locked, say: that is no reason to admit one advance after the other. */
static void what_the_database_refuses_to_charge_stays_owed(void **state) {
	struct fixture *f = *state;
	is_relaxed(f, 80);
	want(f, 1, "a", 4);
	expect_allowed(f, 1);
	for (int i = 0; i < 10 && f->asked_count > 0; i++)
		answers(f, LEASE_REJECTED, NULL);
	assert_int_equal(f->asked_count, 0);
	want(f, 2, "a", 3);
	expect_silence(f);
	pass(f, 24 * MS);
	assert_int_equal(f->asked[0].charge, 4);
	grants(f, 3, 0, 73);
	expect_allowed(f, 2);
}

/* Of a strict policy: it comes back and goes away again, while what was admitted grows old. */
static void a_fallbacks_use_grows_old_in_resyncs_that_are_cut_off(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	want(f, 1, "a", 20);
	expect_allowed(f, 1);
	for (int i = 0; i < 2; i++) {
		pass(f, 700 * MS);
		comes_up(f);
		assert_int_equal(f->asked_count, 1 - i);
		loses_the_answer(f);
		core_database_down(f->core, f->now_ns);
		core_advance(f->core, f->now_ns);
	}
	for_a_while(f, LEASE_DONE);
	assert_int_equal(core_fallback_clients(f->core), 0);
}

/* It leaves in a fallback, others take the table up, and what it owes doesn't fit when the database is back. */
static void who_has_left_and_finds_no_room_still_owes(void **state) {
	struct fixture *f = *state;
	char id[16];
	owes_three(f);
	has_a_window_of_a_minute(f);
	stays_away(f);
	for (int i = 0; i < 100; i++)
		pass(f, 100 * MS);
	assert_int_equal(core_client_count(f->core), 0);
	for (uint32_t i = 0; f->table.table.used < f->table.table.slot_count; i++) {
		snprintf(id, sizeof(id), "late-%u", i);
		want(f, i, id, 1);
		f->told_count = 0;
	}
	comes_up(f);
	struct lease_grant each[CORE_BATCH_MAX];
	int32_t charge = 0;
	for (size_t i = 0; i < f->asked_count; i++) {
		charge += strcmp(f->ids[i], "a") == 0 ? f->asked[i].charge : 0;
		each[i] = grant_of(f, 0, 0, 0);
	}
	assert_int_equal(charge, 3);
	answers(f, LEASE_DONE, each);
	want(f, 1, "a", 1);
	expect_silence(f);
	assert_int_equal(f->asked[0].charge, 3);
}

/* The database grants nobody anything, and counts only what it must. Whether it was asked for "a" this time. */
static bool refuses_all(struct fixture *f) {
	struct lease_grant none[CORE_BATCH_MAX];
	bool asked = false;
	for (size_t i = 0; i < f->asked_count; i++) {
		none[i] = grant_of(f, 0, 0, 0);
		asked |= strcmp(f->ids[i], "a") == 0;
	}
	if (f->asked_count > 0)
		answers(f, LEASE_DONE, none);
	f->told_count = 0;
	return asked;
}

/* Counters of a fallback take up all the room in which it could be noted. */
static void owes_what_can_not_be_noted(struct fixture *f) {
	char id[16];
	has_a_window_of_a_minute(f);
	want(f, 1, "a", 1);
	grants(f, 0, 0, 0);
	stays_away(f);
	for (uint32_t i = 0; i < f->table.table.slot_count; i++) {
		snprintf(id, sizeof(id), "late-%u", i);
		want(f, i, id, 1);
		f->told_count = 0;
	}
	comes_up(f);
	while (core_state(f->core) != CORE_IN_STEP) {
		refuses_all(f);
		pass(f, 1 * MS);
	}
	want(f, 1, "a", 4);
	expect_allowed(f, 1);
}

static void what_can_not_be_noted_as_owed_is_not_asked_for_all_the_time(void **state) {
	struct fixture *f = *state;
	int asked = 0;
	owes_what_can_not_be_noted(f);
	for (int ms = 0; ms < 500; ms++) {
		asked += refuses_all(f);
		pass(f, 1 * MS);
	}
	assert_int_equal(asked, 1);
}

static void nor_tried_to_note_in_a_fallback(void **state) {
	struct fixture *f = *state;
	int turns = 0;
	owes_what_can_not_be_noted(f);
	loses_the_answer(f);
	core_database_down(f->core, f->now_ns);
	pass(f, 0);
	assert_int_equal(core_state(f->core), CORE_FALLBACK);
	for (int64_t until_ns = f->now_ns + 1000 * MS; f->now_ns < until_ns; turns++)
		pass(f, core_next_ns(f->core) - f->now_ns);
	assert_in_range(turns, 0, 40); /* a sweep's */
	pass(f, 2000 * MS);
	comes_up(f);
	bool charged = false;
	for (size_t i = 0; i < f->asked_count; i++)
		charged |= strcmp(f->ids[i], "a") == 0 && f->asked[i].charge == 4;
	assert_true(charged);
}

/* What came next would have to wait in any case, for want of a place for its credits. */
static void without_room_nothing_is_admitted_in_advance(void **state) {
	struct fixture *f = *state;
	fill_table(f);
	is_relaxed(f, 80);
	f->asked_count = 0;
	loses_the_answer(f);
	comes_up(f);
	f->told_count = 0;
	want(f, 1, "stranger", 1);
	expect_silence(f);
}

/* All that a fallback has admitted is charged in one statement. */
static int make_small(void **state) {
	return make_up_with(state, 8);
}

int main(void) {
#define FIRST(name) cmocka_unit_test_setup_teardown(name, make, clean)
#define STEP(name)  cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(one_advance_is_admitted_and_counted),
		STEP(what_is_provided_is_no_advance),
		STEP(no_cost_above_the_limit_is_admitted),
		STEP(an_advance_is_of_the_clients_own_limit),
		STEP(no_cost_above_the_clients_own_limit_is_admitted),
		STEP(what_did_not_fit_is_owed),
		FIRST(before_the_first_connection_no_hosts_are_known),
		STEP(who_owes_is_charged_before_it_leaves),
		STEP(what_is_owed_is_charged_at_the_end),
		STEP(who_is_refused_for_good_leaves),
		STEP(in_a_fallback_who_owes_leaves),
		STEP(one_who_is_blocked_and_unblocked_still_owes),
		STEP(one_whom_the_database_does_not_know_gets_one_advance),
		STEP(an_advance_outlives_a_fallback),
		STEP(an_advance_that_does_not_fit_after_a_fallback_stays_owed),
		STEP(an_advance_of_a_window_ago_counts_no_more),
		STEP(by_a_clock_that_may_be_too_fast_it_does),
		STEP(a_fallbacks_use_grows_old_in_resyncs_that_are_cut_off),
		STEP(what_the_database_refuses_to_charge_stays_owed),
		cmocka_unit_test_setup_teardown(who_has_left_and_finds_no_room_still_owes, make_small, clean),
		STEP(what_can_not_be_noted_as_owed_is_not_asked_for_all_the_time),
		STEP(nor_tried_to_note_in_a_fallback),
		STEP(without_room_nothing_is_admitted_in_advance),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
