/*
 * test_core_generation.c - what concerns all clients: each meets it when it is looked at, or when the walk
 * comes by.
 */
#include "generation_fixture.h"

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

int main(void) {
#define SLOW(name) cmocka_unit_test_setup_teardown(name, make_slow, clean)
#define FAST(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
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
		SLOW(a_limit_of_its_own_goes_with_the_lease),
		SLOW(an_orphans_limit_of_its_own_goes_too),
		FAST(who_is_without_a_slot_is_left_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
