/*
 * test_core_generation.c - what concerns all clients: each meets it when it is looked at, or when the walk
 * comes by, and no call looks at more than a few thousand of them.
 */
#include "core_fixture.h"

/* ---- A walk that takes its time: a slot in a millisecond ------------------------------------ */

static int make_slow(void **state) {
	make_with(state, 64, 1);
	struct fixture *f = *state;
	core_database_up(f->core, f->now_ns, 2);
	core_advance(f->core, f->now_ns);
	while (core_is_walking(f->core))
		pass(f, MS);
	return 0;
}

static int64_t walk(struct fixture *f) {
	int64_t began_ns = f->now_ns;
	while (core_is_walking(f->core))
		pass(f, MS);
	return f->now_ns - began_ns;
}

static void lease(struct fixture *f, const char *id, int32_t credits) {
	want(f, 1, id, 1);
	grants(f, credits, 0, 90);
	f->told_count = 0;
}

/* Its walk has hardly begun. */
static void policy_changes_for(struct fixture *f, const char *id, struct core_policy policy) {
	policy_changes(f, policy);
	assert_true(core_is_walking(f->core));
	assert_int_equal(app(f, id, 1).verdict, APP_ALLOWED); /* the table doesn't know yet */
}

/* One that the first step of a walk doesn't meet. */
static const char *far_id(struct fixture *f) {
	static char id[16];
	for (int i = 0;; i++) {
		snprintf(id, sizeof(id), "far-%d", i);
		struct place place = table_place(&f->table.table, 0, id, strlen(id));
		if (place.home[0] > 40 && place.home[0] < 70) /* it begins at the first slot, and ends before that */
			return id;
	}
}

static void who_asks_has_nothing_of_the_old_terms(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	lease(f, id, 9);
	policy_changes_for(f, id, policy_with(50, 20));
	want(f, 2, id, 1);
	expect_silence(f); /* not from the lease that is there */
	expect_batch(f, id, 1, 1, f->asked[0].want);
	assert_int_equal(f->asked[0].report[0].unspent, 7); /* which goes back along with the request */
}

static void by_the_table_the_old_terms_end_with_the_walk(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	lease(f, id, 9);
	policy_changes_for(f, id, policy_with(50, 20));
	assert_in_range(walk(f), 2 * MS, 2 * (int64_t)f->table.table.slot_count * MS);
	assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
	assert_int_equal(f->asked[0].report[0].unspent, 7);
}

static void what_was_leased_since_is_left_alone(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	lease(f, id, 9);
	f->end_ns = f->now_ns + 1000 * MS;
	policy_changes_for(f, id, policy_with(50, 20));
	low(f, id);
	grants(f, 9, 0, 20);
	walk(f);
	assert_int_equal(app(f, id, 1).left, 8);
}

static void changes_that_follow_one_another_are_all_met(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	lease(f, id, 9);
	policy_changes_for(f, id, policy_with(50, 20));
	low(f, id);
	grants(f, 9, 0, 20);
	policy_changes_for(f, id, policy_with(40, 20));
	walk(f);
	assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
}

/* So many that their numbers begin anew, with a client that is met each time and one that isn't: that one isn't
 * taken for one of today. */
static void numbers_are_used_again(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	f->end_ns = f->now_ns + 90 * MS;
	lease(f, "a", 3);
	lease(f, id, 9);
	for (int i = 0; i < 2048; i++) {
		core_set_policy(f->core, f->now_ns, 0,
		                &(struct core_policy[]){policy_with(50, 20), policy_with(40, 20)}[i % 2]);
		core_low(f->core, f->now_ns, 0, "a", 1);
	}
	want(f, 1, id, 1);
	expect_silence(f);
}

static void a_walk_that_is_over_is_forgotten(void **state) {
	struct fixture *f = *state;
	policy_changes(f, policy_with(50, 20));
	f->end_ns = f->now_ns + 90 * MS;
	lease(f, "a", 9);
	for (int i = 0; i < 5000; i++) {
		struct core_policy other = policy_with(50 + i % 2, 20);
		core_set_policy(f->core, f->now_ns, 1, &other);
		core_advance(f->core, f->now_ns);
		assert_false(core_is_walking(f->core));
	}
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
}

static void an_event_of_others_leaves_alone_what_was_leased_since(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	struct core_policy other = policy_with(100, 20);
	core_set_policy(f->core, f->now_ns, 1, &other);
	lease(f, id, 9);
	f->end_ns = f->now_ns + 1000 * MS;
	policy_changes_for(f, id, policy_with(50, 20));
	low(f, id);
	grants(f, 9, 0, 20);
	other.terms.max_requests = 50;
	core_set_policy(f->core, f->now_ns, 1, &other);
	walk(f);
	assert_int_equal(app(f, id, 1).left, 8);
}

/* Its answer comes under the new terms; the lease that it finds in the table is of the old ones. */
static void what_is_granted_meanwhile_is_not_void(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	lease(f, id, 9);
	want(f, 2, id, 9);
	policy_changes_for(f, id, policy_with(50, 20));
	f->end_ns = f->now_ns + 1000 * MS;
	grants(f, 9 + 7, 0, 20);
	expect_allowed(f, 2);
	assert_int_equal(app(f, id, 1).left, 6);
	walk(f);
	assert_int_equal(app(f, id, 1).left, 5);
}

/* A lease that would have gone on for a window: what is left of it goes back, and what was spent stays where it is
 * charged, since sub-windows may be others now. */
static void a_lease_that_lasts_ends_with_its_terms(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	want(f, 1, id, 1);
	grants_long(f, 1, 9, 80, 10);
	expect_allowed(f, 1);
	pass(f, SUB_MS * MS);
	assert_int_equal(app(f, id, 3).left, 6);
	policy_changes_for(f, id, policy_with(50, 20));
	want(f, 2, id, 1);
	expect_silence(f);
	assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
	struct lease_report report = report_of(f, 0, TOKEN + (60 + 10 * SUB_MS) * 1000);
	assert_int_equal(report.unspent, 5);
	assert_int_equal(report.spent, 0);
	grants(f, 1, 0, 40);
	expect_allowed(f, 2);
	walk(f);
	assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
	assert_int_equal(core_counters(f->core)->returned, 5);
}

/* With no request of the client's to go along, it goes back at once: another host may need it under the new
 * limit. */
static void one_of_a_client_whose_limit_changes_goes_back_at_once(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	want(f, 1, id, 1);
	grants_long(f, 4, 9, 80, 10);
	expect_allowed(f, 1);
	core_client_changed(f->core, f->now_ns, 0, id, (uint8_t)strlen(id));
	assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
	pass(f, 0);
	pass(f, 6 * MS);
	expect_batch(f, id, 0, 0, 0);
	assert_int_equal(report_of(f, 0, TOKEN + 60 * 1000).unspent, 3);
	assert_int_equal(report_of(f, 0, TOKEN + (60 + 10 * SUB_MS) * 1000).unspent, 9);
	assert_int_equal(spent_in(f, 0), 0);
}

static void nothing_of_another_policys_goes_back(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	struct core_policy again = policy_with(100, 20);
	again.policy_id = 10; /* dropped, and declared again */
	lease(f, id, 9);
	policy_changes_for(f, id, again);
	walk(f);
	pass(f, 5 * MS);
	assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
	expect_no_batch(f);
}

static bool has_own_limit(struct fixture *f, const char *id) {
	int64_t limit;
	return table_own_limit(&f->table.table, app_find(&f->table, 0, id, strlen(id)), &limit);
}

/* It may have none any more. Until the database says so again, it is told the policy's. */
static void a_limit_of_its_own_goes_with_the_lease(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	want(f, 1, id, 1);
	struct lease_grant grant = grant_of(f, 9, 0, 30);
	grant.max_requests = 40;
	answers(f, LEASE_DONE, &grant);
	assert_true(has_own_limit(f, id));
	core_client_changed(f->core, f->now_ns, 0, id, (uint8_t)strlen(id));
	assert_false(has_own_limit(f, id));
}

/* Who found no room in the table has no lease that could be void, and is asked for as before. */
static void who_is_without_a_slot_is_left_alone(void **state) {
	struct fixture *f = *state;
	fill_table(f);
	want(f, 1, "newcomer", 1);
	expect_batch(f, "newcomer", 1, 1, 1);
	assert_int_equal(app_find(&f->table, 0, "newcomer", 8), TABLE_NO_SLOT);
	core_client_changed(f->core, f->now_ns, 0, "newcomer", 8);
	policy_changes(f, policy_with(50, 20));
	walk(f);
	struct lease_grant grant = grant_of(f, 1, 0, 9);
	answers(f, LEASE_DONE, &grant);
	expect_allowed(f, 1);
}

/* An earlier agent's as well. */
static void an_orphans_limit_of_its_own_goes_too(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	f->end_ns = f->now_ns + 170 * MS;
	want(f, 1, id, 1);
	struct lease_grant grant = grant_of(f, 9, 0, 30);
	grant.max_requests = 40;
	answers(f, LEASE_DONE, &grant);
	restart(f);
	comes_up(f);
	walk(f);
	assert_true(has_own_limit(f, id));
	core_client_changed(f->core, f->now_ns, 0, id, (uint8_t)strlen(id));
	assert_false(has_own_limit(f, id));
	assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
}

static void is_another_database(struct fixture *f) {
	core_database_changed(f->core, f->now_ns);
	core_database_up(f->core, f->now_ns, 2);
	assert_true(core_is_walking(f->core));
}

static void nothing_of_another_databases_goes_back(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	lease(f, id, 9);
	is_another_database(f);
	core_client_changed(f->core, f->now_ns, 0, id, (uint8_t)strlen(id));
	assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
	pass(f, 6 * MS);
	expect_no_batch(f);
}

static void nor_what_was_to_go_back_already(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	lease(f, id, 9);
	want(f, 2, "b", 1); /* under way, so that the return waits */
	core_client_changed(f->core, f->now_ns, 0, id, (uint8_t)strlen(id));
	f->asked_count = 0;
	is_another_database(f);
	pass(f, 6 * MS);
	expect_batch(f, "b", 1, 1, 1);
}

/* Room is made for a newcomer by one whose credits are to go back: nothing of them is left behind for the
 * newcomer's record. */
static void who_gives_way_leaves_nothing_to_return(void **state) {
	struct fixture *f = *state;
	char id[24];
	fill_table(f);
	f->end_ns = f->now_ns + 10000 * MS;
	for (int i = 0; i < 60; i++)
		pass(f, 50 * MS); /* they are idle */
	for (uint32_t i = 0; i < 2 * f->table.table.slot_count; i++) {
		snprintf(id, sizeof(id), "filler-%u", i);
		if (app_find(&f->table, 0, id, strlen(id)) == TABLE_NO_SLOT)
			continue;
		low(f, id);
		if (f->asked_count > 0)
			grants(f, 9, 0, 20);
	}
	policy_changes(f, policy_with(50, 20));
	assert_true(core_is_walking(f->core));
	want(f, 1, "newcomer", 1);
	assert_string_equal(f->ids[0], "newcomer");
	assert_int_equal(f->asked[0].need, 1);
	assert_int_equal(f->asked[0].report[0].sub_window, 0);
	assert_int_equal(core_queued(f->core), f->asked_count); /* with those that the first step met */
	assert_int_equal(core_counters(f->core)->evicted_for_room, 1);
}

static void who_stops_has_not_drained_before_the_walk_is_over(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	lease(f, id, 9);
	core_drain(f->core, f->now_ns);
	expect_no_batch(f);
	assert_false(core_is_drained(f->core));
	for (int i = 0; i < 500 && !core_is_drained(f->core); i++) {
		pass(f, MS);
		if (f->asked_count > 0) {
			assert_int_equal(f->asked[0].report[0].unspent, 8);
			grants(f, 0, 0, 99);
		}
	}
	assert_true(core_is_drained(f->core));
	assert_int_equal(core_counters(f->core)->returned, 8);
}

static void an_orphan_of_a_policy_that_changes_is_void(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	f->end_ns = f->now_ns + 170 * MS;
	lease(f, id, 9);
	restart(f);
	comes_up(f);
	walk(f);
	struct core_policy known = policy_with(100, 20);
	policy_changes(f, known);
	policy_changes_for(f, id, policy_with(50, 20));
	want(f, 2, id, 1);
	expect_silence(f);
	expect_batch(f, id, 1, 1, 1);
}

static void falls_back(struct fixture *f) {
	core_database_lost(f->core, f->now_ns);
	walk(f);
	core_database_down(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
}

/* Of a client that sends: two are admitted, and its lease holds more. */
static void is_lenient_to(struct fixture *f, const char *id) {
	want(f, 1, id, 1);
	expect_allowed(f, 1);
	low(f, id);
	assert_int_equal(app(f, id, 1).verdict, APP_ALLOWED);
	assert_true(core_counters(f->core)->fallback_granted > 2);
}

static void a_fallbacks_lease_is_void_for_who_asks(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	falls_back(f);
	is_lenient_to(f, id);
	comes_up(f);
	assert_int_equal(core_state(f->core), CORE_RESYNC);
	assert_int_equal(core_uncharged(f->core), 1);
	want(f, 2, id, 1);
	expect_silence(f);
	assert_int_equal(f->asked[0].charge, 2); /* before anything else, and not what the lease leaves */
	assert_int_equal(f->asked[0].need, 1);
	grants(f, 1, 0, 80);
	expect_allowed(f, 2);
	walk(f);
	pass(f, 5 * MS);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	assert_int_equal(core_uncharged(f->core), 0);
	expect_no_batch(f); /* once */
}

/* What was admitted is told, not what lay in leases. */
static void what_goes_back_in_a_fallback_was_not_granted_by_it(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	falls_back(f);
	is_lenient_to(f, id);
	uint64_t granted = core_counters(f->core)->fallback_granted, returned = core_counters(f->core)->returned;
	core_client_changed(f->core, f->now_ns, 0, id, (uint8_t)strlen(id));
	assert_int_equal(core_counters(f->core)->returned - returned, granted - 2);
	assert_int_equal(core_counters(f->core)->fallback_granted, 2);
}

static void who_runs_low_is_charged_first_too(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	falls_back(f);
	is_lenient_to(f, id);
	comes_up(f);
	low(f, id);
	assert_int_equal(f->asked[0].charge, 2);
	assert_true(f->asked[0].want > 0);
}

/* Relaxed: who owes gets no advance. */
static void who_is_not_charged_yet_gets_no_advance(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	struct core_policy relaxed = policy_with(100, 20);
	relaxed.relaxed = true;
	policy_changes(f, relaxed);
	walk(f);
	falls_back(f);
	want(f, 1, id, 9);
	expect_allowed(f, 1);
	comes_up(f);
	want(f, 2, id, 1);
	expect_silence(f);
	assert_int_equal(f->asked[0].charge, 9);
}

static void a_fallbacks_use_is_charged_when_the_walk_is_over(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	falls_back(f);
	is_lenient_to(f, id);
	comes_up(f);
	expect_no_batch(f);
	assert_int_equal(core_uncharged(f->core), 1);
	walk(f);
	pass(f, 5 * MS);
	expect_batch(f, id, 0, 0, 0);
	assert_int_equal(f->asked[0].charge, 2); /* what its lease leaves has gone back */
	assert_int_equal(core_state(f->core), CORE_RESYNC);
	grants(f, 0, 0, 80);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

static void a_database_that_goes_again_before_the_walk_is_over_is_owed_as_much(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	falls_back(f);
	is_lenient_to(f, id);
	comes_up(f);
	core_database_lost(f->core, f->now_ns);
	comes_up(f);
	assert_int_equal(core_state(f->core), CORE_RESYNC);
	core_database_lost(f->core, f->now_ns);
	core_database_down(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
	assert_int_equal(core_uncharged(f->core), 0); /* nobody is being charged */
	comes_up(f);
	walk(f);
	/* of the last one: what went back was of the first */
	assert_int_equal(core_counters(f->core)->fallback_granted, 0);
	pass(f, 5 * MS);
	assert_int_equal(f->asked[0].charge, 2);
	grants(f, 0, 0, 80);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

static void nothing_is_granted_after_a_promotion_before_the_old_leases_are_burnt(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	struct core_policy policy = policy_with(100, 20);
	policy.terms.sub_window_us = 3600 * INT64_C(1000000);
	policy_changes(f, policy);
	walk(f);
	f->end_ns = f->now_ns + 3600 * 1000 * MS;
	lease(f, id, 9);
	loses_the_answer(f);
	core_database_promoted(f->core, f->now_ns, 3600 * 1000 * MS); /* long ago: held no longer */
	comes_up(f);
	assert_int_equal(core_state(f->core), CORE_CONNECTING);
	want(f, 2, "b", 1);
	expect_no_batch(f);
	assert_int_equal(app(f, id, 1).verdict, APP_ALLOWED);
	walk(f);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
	expect_batch(f, "b", 1, 1, 1);
}

/* ---- Many ------------------------------------------------------------------------------------- */

#define CROWD      12000u
#define LOOKS_MAX  6000u /* a step of a walk, of a sweep, timers */
#define QUEUED_MAX 8600u /* what there is room for in the background, a step more, and a batch */

static int make_many(void **state) {
	make_with(state, CROWD * 4 / 3, 0);
	struct fixture *f = *state;
	core_database_up(f->core, f->now_ns, 2);
	core_advance(f->core, f->now_ns);
	return 0;
}

static uint64_t looked(const struct fixture *f) {
	return core_counters(f->core)->looked;
}

#define BOUNDED(f, call)                                                                                          \
	do {                                                                                                          \
		uint64_t before = looked(f);                                                                              \
		call;                                                                                                     \
		assert_in_range(looked(f) - before, 0, LOOKS_MAX);                                                        \
		assert_in_range(core_queued((f)->core), 0, QUEUED_MAX);                                                   \
		(f)->told_count = 0;                                                                                      \
	} while (0)

/* All in flight is answered; each client who waits gets so many, and so many remain. What goes back meanwhile. */
static uint64_t answer_each(struct fixture *f, int32_t credits, int32_t remaining) {
	uint64_t back = 0;
	while (f->asked_count > 0) {
		struct lease_grant all[CORE_BATCH_MAX];
		for (size_t i = 0; i < f->asked_count; i++) {
			all[i] = grant_of(f, f->asked[i].need ? credits : 0, 0, remaining);
			all[i].charged = f->asked[i].charge;
			back += (uint64_t)unspent_in(f, i);
		}
		BOUNDED(f, answers(f, LEASE_DONE, all));
	}
	return back;
}

static uint64_t answer_all(struct fixture *f, int32_t credits) {
	return answer_each(f, credits, 80);
}

static void each_wants(struct fixture *f, int32_t credits, int32_t remaining) {
	char id[16];
	for (uint32_t i = 0; i < CROWD; i++) {
		snprintf(id, sizeof(id), "many-%u", i);
		BOUNDED(f, want(f, i, id, 1));
		if (i % 200 == 0)
			answer_each(f, credits, remaining);
	}
	answer_each(f, credits, remaining);
}

static void all_want(struct fixture *f, int32_t credits) {
	each_wants(f, credits, 80);
}

/* A fifth of their limit is left: what they don't use goes back by itself. */
static void all_are_tight(struct fixture *f, int32_t credits) {
	each_wants(f, credits, 20);
}

static uint64_t pass_for(struct fixture *f, int64_t ns, int32_t credits) {
	uint64_t back = 0;
	for (int64_t until_ns = f->now_ns + ns; f->now_ns < until_ns;) {
		int64_t next_ns = core_next_ns(f->core);
		BOUNDED(f, pass(f, next_ns <= f->now_ns ? 0
		                   : next_ns < until_ns ? next_ns - f->now_ns
		                                        : until_ns - f->now_ns));
		if (next_ns <= f->now_ns)
			f->now_ns += 1000;
		back += answer_all(f, credits);
	}
	return back;
}

/* What there was no room to return goes along when the client asks again, or leaves: when the timer of its lease
 * has run out, and it is idle. */
#define UNTIL_THEY_LEAVE (75000 * MS)

/* Sub-windows of a minute, so that nothing ends meanwhile. */
static void has_long_windows(struct fixture *f) {
	struct core_policy policy = policy_with(100, 20);
	policy.terms.sub_window_us = 60000000;
	policy.time_window_ms = 600000;
	policy_changes(f, policy);
	pass_for(f, 50 * MS, 0);
	f->end_ns = f->now_ns + 60000 * MS;
}

static void a_change_of_policy_looks_at_some_at_a_time(void **state) {
	struct fixture *f = *state;
	has_long_windows(f);
	all_want(f, 3);
	struct core_policy policy = policy_with(50, 20);
	policy.terms.sub_window_us = 60000000;
	policy.time_window_ms = 600000;
	BOUNDED(f, core_set_policy(f->core, f->now_ns, 0, &policy));
	uint64_t back = 0;
	for (int i = 0; core_is_walking(f->core); i++) {
		assert_in_range(i, 0, 100);
		back += pass_for(f, MS, 0);
	}
	char id[16];
	for (uint32_t i = 0; i < CROWD; i++) {
		snprintf(id, sizeof(id), "many-%u", i);
		assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
	}
	back += pass_for(f, UNTIL_THEY_LEAVE, 0);
	assert_int_equal(back, 2 * CROWD); /* there is no room to give them all back at once, but nothing is lost */
}

/* In the crowd's place, of a policy that has changed; whose returns had no room at once are among them. */
static void meets_a_change(struct fixture *f, struct core_policy policy) {
	BOUNDED(f, core_set_policy(f->core, f->now_ns, 0, &policy));
	while (core_is_walking(f->core))
		BOUNDED(f, pass(f, MS)); /* the database takes its time, so that there is no room any more */
}

static struct core_policy long_policy(void) {
	struct core_policy policy = policy_with(50, 20);
	policy.terms.sub_window_us = 60000000;
	policy.time_window_ms = 600000;
	return policy;
}

static struct core_policy short_policy(void) {
	struct core_policy policy = policy_with(50, 20);
	policy.terms.sub_window_us = 100000;
	return policy;
}

/* One more before the walk for the last is over doesn't end that at once. */
static void changes_that_follow_one_another_look_at_some_at_a_time(void **state) {
	struct fixture *f = *state;
	has_long_windows(f);
	all_want(f, 3);
	for (int i = 0; i < 5; i++) {
		struct core_policy policy = long_policy();
		policy.terms.max_requests = 40 + i;
		BOUNDED(f, core_set_policy(f->core, f->now_ns, 0, &policy));
		BOUNDED(f, low(f, "many-7"));
	}
	assert_true(core_is_walking(f->core));
	uint64_t back = answer_all(f, 0) + pass_for(f, UNTIL_THEY_LEAVE, 0);
	assert_int_equal(back, 2 * CROWD);
	assert_false(core_is_walking(f->core));
}

/* Some have spent their lease, some have one credit left. Nobody is given credits of the new terms until the
 * old ones' deadline, though the database calls the sub-window by the same name. */
static void a_crowds_leases_end_with_their_terms(void **state) {
	struct fixture *f = *state;
	char id[16];
	has_long_windows(f);
	all_want(f, 3);
	for (uint32_t i = 0; i < CROWD; i++) {
		snprintf(id, sizeof(id), "many-%u", i);
		assert_int_equal(app(f, id, i % 2 ? 1 : 2).verdict, APP_ALLOWED);
	}
	meets_a_change(f, short_policy());
	answer_all(f, 0);
	for (uint32_t i = 1; i < CROWD; i += 2) {
		snprintf(id, sizeof(id), "many-%u", i);
		assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
	}
	for (uint32_t i = 0; i < CROWD; i += 2) {
		snprintf(id, sizeof(id), "many-%u", i);
		want(f, i, id, 1);
		for (f->told_count = 0; f->asked_count > 0; f->told_count = 0) {
			struct lease_grant all[CORE_BATCH_MAX];
			for (size_t n = 0; n < f->asked_count; n++) {
				all[n] = grant_of(f, f->asked[n].need ? 3 : 0, 0, 40);
				all[n].valid_us = 100000;
			}
			answers(f, LEASE_DONE, all);
		}
		struct app_decision decision = app(f, id, 1);
		assert_int_equal(decision.verdict, APP_ALLOWED);
		assert_in_range(decision.until_ns, f->now_ns, f->now_ns + 100 * MS);
	}
}

/* The agent returns no more than it gave, whatever somebody wrote there. */
static void a_crowd_returns_no_more_than_it_was_given(void **state) {
	struct fixture *f = *state;
	has_long_windows(f);
	all_want(f, 3);
	for (uint32_t slot = 0; slot < f->table.table.slot_count; slot++)
		for (int bank = 0; bank < 2; bank++)
			if (table_credits(&f->table.table, slot, bank) > 0)
				table_add(&f->table.table, slot, bank, 1000);
	meets_a_change(f, long_policy());
	assert_in_range(answer_all(f, 0) + pass_for(f, UNTIL_THEY_LEAVE, 0), 1, 3 * CROWD);
}

/* A policy that was dropped and declared again has counters of its own, even when there is no room for what
 * others return. */
static void nothing_of_another_policys_goes_back_of_a_crowd(void **state) {
	struct fixture *f = *state;
	char id[16];
	has_long_windows(f);
	struct core_policy other = long_policy();
	other.policy_id = 77;
	core_set_policy(f->core, f->now_ns, 1, &other);
	for (uint32_t i = 0; i < CROWD; i++) {
		snprintf(id, sizeof(id), "many-%u", i);
		core_want(f->core, f->now_ns, 1, i, i % 2, id, (uint8_t)strlen(id), 1, f->now_ns + 3600000 * MS);
		BOUNDED(f, core_advance(f->core, f->now_ns));
		if (i % 200 == 0)
			answer_all(f, 3);
	}
	answer_all(f, 3);
	meets_a_change(f, long_policy());
	other.policy_id = 78;
	BOUNDED(f, core_set_policy(f->core, f->now_ns, 1, &other));
	while (core_is_walking(f->core))
		BOUNDED(f, pass(f, MS));
	assert_int_equal(answer_all(f, 0) + pass_for(f, UNTIL_THEY_LEAVE, 0), CROWD / 2 * 2);
}

static void the_end_of_a_fallback_looks_at_some_at_a_time(void **state) {
	struct fixture *f = *state;
	BOUNDED(f, core_database_lost(f->core, f->now_ns));
	pass_for(f, 20 * MS, 0);
	BOUNDED(f, core_database_down(f->core, f->now_ns));
	BOUNDED(f, core_advance(f->core, f->now_ns));
	all_want(f, 0);
	BOUNDED(f, core_database_up(f->core, f->now_ns, 2));
	assert_int_equal(core_uncharged(f->core), CROWD);
	pass_for(f, 200 * MS, 0);
	assert_int_equal(core_counters(f->core)->charged, CROWD);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

static void a_crowd_that_waits_for_the_fallback_is_served_by_and_by(void **state) {
	struct fixture *f = *state;
	char id[16];
	core_database_lost(f->core, f->now_ns);
	for (uint32_t i = 0; i < CROWD; i++) {
		snprintf(id, sizeof(id), "many-%u", i);
		want(f, i, id, 1);
	}
	core_database_down(f->core, f->now_ns);
	uint64_t served = 0;
	for (int i = 0; i < 100 && served < CROWD; i++) {
		core_advance(f->core, f->now_ns); /* on_verdict() takes some at most */
		assert_true(served + f->told_count == CROWD || core_next_ns(f->core) <= f->now_ns);
		served += f->told_count;
		f->told_count = 0;
	}
	assert_int_equal(served, CROWD);
}

static void a_promotion_looks_at_some_at_a_time(void **state) {
	struct fixture *f = *state;
	has_long_windows(f);
	all_want(f, 3);
	BOUNDED(f, core_database_lost(f->core, f->now_ns));
	BOUNDED(f, core_database_promoted(f->core, f->now_ns, 3600 * 1000 * MS));
	BOUNDED(f, core_database_up(f->core, f->now_ns, 2));
	assert_int_equal(pass_for(f, 50 * MS, 0), 0);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	assert_int_equal(app(f, "many-7", 1).verdict, APP_ASKS);
}

static void another_database_looks_at_some_at_a_time(void **state) {
	struct fixture *f = *state;
	has_long_windows(f);
	all_want(f, 3);
	BOUNDED(f, core_database_changed(f->core, f->now_ns));
	BOUNDED(f, core_database_up(f->core, f->now_ns, 2));
	assert_int_equal(pass_for(f, 20000 * MS, 0), 0);
}

/* And who goes returns all of it, as far as there is time. */
static void a_stop_looks_at_some_at_a_time(void **state) {
	struct fixture *f = *state;
	has_long_windows(f);
	all_want(f, 3);
	BOUNDED(f, core_drain(f->core, f->now_ns));
	uint64_t back = answer_all(f, 0) + pass_for(f, 1000 * MS, 0);
	assert_true(core_is_drained(f->core));
	assert_int_equal(back, 2 * CROWD);
}

/* All of them stop at once: their credits go back with as many requests as are good, the rest of them later. If
 * they aren't asked for before, that is when their lease has ended, and another sub-window. */
static void a_crowd_of_timers_is_seen_to_by_and_by(void **state) {
	struct fixture *f = *state;
	has_long_windows(f);
	all_are_tight(f, 3);
	assert_int_equal(pass_for(f, 130000 * MS, 0), 2 * CROWD);
}

/* The same where the leases end, and with a database that takes its time. Whose turn doesn't come within a
 * window has nothing to give back any more. */
static void leases_that_end_together_go_back_by_and_by(void **state) {
	struct fixture *f = *state;
	f->end_ns = f->now_ns + 90 * MS;
	all_are_tight(f, 3);
	for (int i = 0; i < 300; i++)
		BOUNDED(f, pass(f, MS));
	assert_true(core_queued(f->core) > 0);
	assert_in_range(answer_all(f, 0) + pass_for(f, 2000 * MS, 0), CROWD * 3 / 2, 2 * CROWD);
}

static void who_waits_beyond_what_there_is_room_for_is_told_so(void **state) {
	struct fixture *f = *state;
	core_database_lost(f->core, f->now_ns);
	unsigned refused = 0;
	for (uint32_t i = 0; i < 70000; i++, f->told_count = 0) {
		want(f, i, "a", 1);
		refused += f->told_count > 0 && f->told[0].verdict.status == STINT_ENOMEM;
	}
	assert_int_equal(refused, 70000 - 65536);
}

/* ---- Events that come faster than a walk goes round ------------------------------------------ */

/* A step of a walk passes, and with it comes one more event for all clients, which somebody meets. */
static void pass_with_an_event(struct fixture *f) {
	struct core_policy other = policy_with(f->now_ns / MS % 2 ? 50 : 51, 20);
	core_set_policy(f->core, f->now_ns, 1, &other);
	core_low(f->core, f->now_ns, 1, "a", 1);
	pass(f, MS);
	assert_true(core_is_walking(f->core));
}

static void begin_events(struct fixture *f) {
	struct core_policy other = policy_with(100, 20);
	core_set_policy(f->core, f->now_ns, 1, &other);
	pass_with_an_event(f);
}

static uint32_t round_of(const struct fixture *f) {
	return f->table.table.slot_count;
}

static void no_event_puts_off_the_end_of_a_promotion(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	f->end_ns = f->now_ns + 1000 * MS;
	lease(f, id, 9);
	core_database_lost(f->core, f->now_ns);
	begin_events(f);
	core_database_promoted(f->core, f->now_ns, 3600 * 1000 * MS);
	comes_up(f);
	for (uint32_t i = 0; i < round_of(f); i++)
		pass_with_an_event(f);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
}

/* One promotion more: what was burnt for the first is none of its business. */
static void each_promotion_has_a_walk_of_its_own(void **state) {
	struct fixture *f = *state;
	core_database_lost(f->core, f->now_ns);
	core_database_promoted(f->core, f->now_ns, 3600 * 1000 * MS);
	comes_up(f);
	for (uint32_t i = 0; i < round_of(f) / 2; i++)
		pass_with_an_event(f);
	core_database_lost(f->core, f->now_ns);
	core_database_promoted(f->core, f->now_ns, 3600 * 1000 * MS);
	comes_up(f);
	for (uint32_t i = 1; i < round_of(f); i++) {
		pass_with_an_event(f);
		assert_int_equal(core_state(f->core), CORE_CONNECTING);
	}
	pass_with_an_event(f);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

static void no_event_puts_off_what_a_fallback_used(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	falls_back(f);
	is_lenient_to(f, id);
	begin_events(f);
	comes_up(f);
	answer_all(f, 0); /* of the other policy's client */
	for (uint32_t i = 0; i < round_of(f) + 20; i++) {
		pass_with_an_event(f);
		answer_all(f, 0);
	}
	assert_int_equal(core_counters(f->core)->charged, 2);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

static void no_event_puts_off_the_end(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	f->end_ns = f->now_ns + 1000 * MS;
	lease(f, id, 9);
	begin_events(f);
	core_drain(f->core, f->now_ns);
	for (uint32_t i = 0; i < round_of(f) + 20 && !core_is_drained(f->core); i++) {
		struct core_policy other = policy_with(50 + i % 2, 20);
		core_set_policy(f->core, f->now_ns, 1, &other);
		pass(f, MS);
		answer_all(f, 0);
	}
	assert_true(core_is_drained(f->core));
	assert_int_equal(core_counters(f->core)->returned, 8);
}

static void no_event_puts_off_when_another_has_been_met(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	f->end_ns = f->now_ns + 1000 * MS;
	lease(f, id, 9);
	begin_events(f);
	policy_changes_for(f, id, policy_with(50, 20));
	uint64_t end = core_walk_end(f->core);
	uint32_t steps = 0;
	for (; !core_has_walked(f->core, end); steps++) {
		assert_in_range(steps, 0, round_of(f));
		pass_with_an_event(f);
		answer_all(f, 0);
	}
	assert_in_range(steps, round_of(f) - 2, round_of(f));
	assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
	assert_false(core_has_walked(f->core, core_walk_end(f->core))); /* of those that came meanwhile */
}

/* Numbers of generations don't run out: at no event is more looked at than in any step. */
static void events_for_ever_need_no_haste(void **state) {
	struct fixture *f = *state;
	begin_events(f);
	for (uint32_t i = 0; i < 3 * 2048; i++) {
		uint64_t before = core_counters(f->core)->looked;
		pass_with_an_event(f);
		answer_all(f, 0);
		assert_in_range(core_counters(f->core)->looked - before, 0, round_of(f) / 2);
	}
}

int main(void) {
#define SLOW(name) cmocka_unit_test_setup_teardown(name, make_slow, clean)
#define FAST(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
#define MANY(name) cmocka_unit_test_setup_teardown(name, make_many, clean)
	const struct CMUnitTest tests[] = {
		SLOW(who_asks_has_nothing_of_the_old_terms),
		SLOW(by_the_table_the_old_terms_end_with_the_walk),
		SLOW(what_was_leased_since_is_left_alone),
		SLOW(changes_that_follow_one_another_are_all_met),
		SLOW(numbers_are_used_again),
		SLOW(an_orphan_of_a_policy_that_changes_is_void),
		SLOW(a_fallbacks_lease_is_void_for_who_asks),
		SLOW(a_fallbacks_use_is_charged_when_the_walk_is_over),
		SLOW(nothing_is_granted_after_a_promotion_before_the_old_leases_are_burnt),
		FAST(a_walk_that_is_over_is_forgotten),
		SLOW(an_event_of_others_leaves_alone_what_was_leased_since),
		SLOW(what_is_granted_meanwhile_is_not_void),
		SLOW(a_lease_that_lasts_ends_with_its_terms),
		SLOW(one_of_a_client_whose_limit_changes_goes_back_at_once),
		SLOW(nothing_of_another_policys_goes_back),
		SLOW(nothing_of_another_databases_goes_back),
		SLOW(nor_what_was_to_go_back_already),
		SLOW(who_gives_way_leaves_nothing_to_return),
		SLOW(who_stops_has_not_drained_before_the_walk_is_over),
		SLOW(what_goes_back_in_a_fallback_was_not_granted_by_it),
		SLOW(who_runs_low_is_charged_first_too),
		SLOW(who_is_not_charged_yet_gets_no_advance),
		SLOW(a_database_that_goes_again_before_the_walk_is_over_is_owed_as_much),
		SLOW(no_event_puts_off_the_end_of_a_promotion),
		SLOW(each_promotion_has_a_walk_of_its_own),
		SLOW(no_event_puts_off_what_a_fallback_used),
		SLOW(no_event_puts_off_the_end),
		SLOW(no_event_puts_off_when_another_has_been_met),
		SLOW(events_for_ever_need_no_haste),
		MANY(a_change_of_policy_looks_at_some_at_a_time),
		SLOW(a_limit_of_its_own_goes_with_the_lease),
		SLOW(an_orphans_limit_of_its_own_goes_too),
		FAST(who_is_without_a_slot_is_left_alone),
		MANY(changes_that_follow_one_another_look_at_some_at_a_time),
		MANY(a_crowds_leases_end_with_their_terms),
		MANY(a_crowd_returns_no_more_than_it_was_given),
		MANY(nothing_of_another_policys_goes_back_of_a_crowd),
		MANY(the_end_of_a_fallback_looks_at_some_at_a_time),
		MANY(a_crowd_that_waits_for_the_fallback_is_served_by_and_by),
		MANY(a_promotion_looks_at_some_at_a_time),
		MANY(another_database_looks_at_some_at_a_time),
		MANY(a_stop_looks_at_some_at_a_time),
		MANY(a_crowd_of_timers_is_seen_to_by_and_by),
		MANY(leases_that_end_together_go_back_by_and_by),
		MANY(who_waits_beyond_what_there_is_room_for_is_told_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
