/*
 * test_core_changes.c - what changes while clients are served: a policy, one client's override, the database
 * itself. It must also reach who was left in the table by an earlier agent, is not in it for want of room, or
 * waits for an answer. Step by step, against a database that the test plays.
 */
#include "core_fixture.h"

static void lease(struct fixture *f, uint16_t policy, const char *id) {
	want_under(f, policy, 1, id);
	grants(f, 9, 0, 90);
	expect_allowed(f, 1);
}

static enum app_verdict app_of(struct fixture *f, uint16_t policy, const char *id) {
	return app_decides(&f->table, policy, id, strlen(id), 1, f->now_ns).verdict;
}

/* ---- In the table ----------------------------------------------------------------------------- */

static void a_change_of_the_policy_lifts_denials_and_voids_leases(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 0, 0, 0);
	want(f, 2, "b", 1);
	struct lease_grant grant = grant_of(f, 5, 0, 0);
	answers(f, LEASE_DONE, &grant);
	policy_changes(f, policy_with(100, 20)); /* the same */
	assert_int_equal(app(f, "a", 1).verdict, APP_DENIED);
	policy_changes(f, policy_with(200, 20));
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	assert_int_equal(app(f, "b", 1).verdict, APP_ASKS);
	pass(f, 5 * MS);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].report[0].sub_window, grant.sub_window);
	assert_int_equal(f->asked[0].report[0].unspent, 4);
}

static void a_clients_override_voids_only_its_own(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 5, 0, 0);
	want(f, 2, "b", 1);
	grants(f, 5, 0, 0);
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	core_client_changed(f->core, f->now_ns, 0, "stranger", 8);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	assert_int_equal(app(f, "b", 1).verdict, APP_ALLOWED);
}

static void a_dropped_policy_is_refilled_no_more(void **state) {
	struct fixture *f = *state;
	struct core_policy dropped = policy_with(100, 20);
	lease(f, 0, "a");
	dropped.live = false;
	policy_changes(f, dropped);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	low(f, "a");
	want(f, 2, "a", 1);
	assert_int_equal(f->told_count, 1);
	assert_int_equal(f->told[0].verdict.status, STINT_ENOPOLICY);
}

/* What it admits is owed to a policy by its place. */
static void lease_of_fallback(struct fixture *f) {
	core_advance(f->core, f->now_ns);
	want(f, 1, "b", 1);
	expect_allowed(f, 1);
}

/* Its place may be another's then. */
static void a_policy_is_unused_when_nobody_is_left_of_it(void **state) {
	struct fixture *f = *state;
	struct core_policy other = policy_with(100, 20);
	core_set_policy(f->core, f->now_ns, 1, &other);
	assert_true(core_policy_is_unused(f->core, 0) && core_policy_is_unused(f->core, 1));
	lease(f, 1, "a");
	assert_true(core_policy_is_unused(f->core, 0));
	assert_false(core_policy_is_unused(f->core, 1));
	restart(f); /* whose client it was isn't known */
	assert_false(core_policy_is_unused(f->core, 0) || core_policy_is_unused(f->core, 1));
	pass(f, 0);
	for (int i = 0; f->table.table.used > 0; i++) {
		assert_true(i < 1000);
		pass(f, 50 * MS);
	}
	assert_true(core_policy_is_unused(f->core, 0) && core_policy_is_unused(f->core, 1));
	core_database_down(f->core, f->now_ns);
	lease_of_fallback(f);
	assert_false(core_policy_is_unused(f->core, 1));
}

/* ---- Left by an earlier agent ------------------------------------------------------------ */

static int make_orphans(void **state) {
	make_up(state);
	struct fixture *f = *state;
	struct core_policy other = policy_with(100, 20);
	core_set_policy(f->core, f->now_ns, 1, &other);
	lease(f, 0, "a");
	lease(f, 0, "b");
	lease(f, 1, "a");
	restart(f);
	core_set_policy(f->core, f->now_ns, 1, &other);
	comes_up(f);
	return 0;
}

static void a_change_of_the_policy_voids_its_own(void **state) {
	struct fixture *f = *state;
	policy_changes(f, policy_with(50, 20));
	assert_int_equal(app_of(f, 0, "a"), APP_ASKS);
	assert_int_equal(app_of(f, 0, "b"), APP_ASKS);
	assert_int_equal(app_of(f, 1, "a"), APP_ALLOWED);
}

/* A larger limit is of use at once, though it was denied under the smaller one. */
static void changes_lift_their_denials(void **state) {
	struct fixture *f = *state;
	for (uint32_t i = 0; i < 2; i++) {
		want(f, 2, i == 0 ? "c" : "d", 1);
		grants(f, 0, 0, 0);
		expect_denied(f, 2);
	}
	restart(f);
	comes_up(f);
	policy_changes(f, policy_with(100, 20)); /* what the directory says */
	assert_int_equal(app_of(f, 0, "c"), APP_DENIED);
	core_client_changed(f->core, f->now_ns, 0, "c", 1);
	assert_int_equal(app_of(f, 0, "c"), APP_ASKS);
	assert_int_equal(app_of(f, 0, "d"), APP_DENIED);
	policy_changes(f, policy_with(200, 20));
	assert_int_equal(app_of(f, 0, "d"), APP_ASKS);
}

static void an_override_voids_its_clients_own(void **state) {
	struct fixture *f = *state;
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	assert_int_equal(app_of(f, 0, "a"), APP_ASKS);
	assert_int_equal(app_of(f, 0, "b"), APP_ALLOWED);
	assert_int_equal(app_of(f, 1, "a"), APP_ALLOWED);
}

static void in_fallback_its_fallback_credits_go_on(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	struct app_decision last = {0};
	for (uint32_t serial = 1; last.left == 0 && serial < 10; serial++) {
		want(f, serial, "a", 1);
		expect_allowed(f, serial);
		last = app(f, "a", 1);
	}
	assert_true(last.fallback && last.left > 0);
	restart(f);
	stays_away(f);
	want(f, 20, "a", 1);
	struct core_verdict v = verdict_of(f, 20);
	assert_true(v.allowed);
	assert_int_equal(v.source, STINT_SOURCE_FALLBACK);
	assert_int_equal(v.limit, 20);
	uint32_t slot = app_find(&f->table, 0, "a", 1);
	assert_int_equal(v.remaining, last.left - 1 + table_remaining(&f->table.table, slot));
}

static void adopt_and_ask(struct fixture *f, const char *id) {
	restart(f);
	comes_up(f);
	policy_changes(f, policy_with(100, 20));
	want(f, 2, id, 20); /* more than is left of it */
	assert_int_equal(f->asked_count, 1);
}

/* How much of its leases was used is unknown: what the database grants takes their place. */
static void new_leases_take_the_place_of_its_own(void **state) {
	struct fixture *f = *state;
	want(f, 1, "c", 1);
	grants(f, 9, 9, 80);
	expect_allowed(f, 1);
	adopt_and_ask(f, "c");
	grants(f, 25, 7, 50);
	expect_allowed(f, 2);
	assert_int_equal(app(f, "c", 1).left, 4);
	pass(f, 61 * MS);
	assert_int_equal(app(f, "c", 1).left, 6);
}

/* Of two leases, apps take the one that ends last for the next: no other may end after it. So what is granted
 * ahead goes back. */
static void one_that_ends_after_the_next_lease_goes_on_alone(void **state) {
	struct fixture *f = *state;
	lease(f, 0, "c");
	struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "c", 1)];
	int bank = word_credits(atomic_load(&slot->word[0])) > 0 ? 0 : 1;
	atomic_store(&slot->deadline_ns[bank], (uint64_t)(f->now_ns + 190 * MS));
	adopt_and_ask(f, "c");
	struct lease_grant grant = grant_of(f, 0, 5, 0);
	answers(f, LEASE_DONE, &grant);
	expect_denied(f, 2);
	for (unsigned left = 8; left-- > 0;)
		assert_int_equal(app(f, "c", 1).left, left);
	assert_int_not_equal(app(f, "c", 1).verdict, APP_ALLOWED);
	pass(f, 61 * MS);
	assert_int_not_equal(app(f, "c", 1).verdict, APP_ALLOWED);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(report_of(f, 0, grant.next_sub_window).unspent, 5);
}

/* The other way round: one for now would pass for the next, which has not begun, and that one for open. */
static void one_that_is_to_begin_ends_when_one_for_now_ends_after_it(void **state) {
	struct fixture *f = *state;
	want(f, 1, "c", 1);
	grants(f, 9, 9, 80); /* the second one to 160 ms from now */
	expect_allowed(f, 1);
	adopt_and_ask(f, "c");
	f->end_ns = f->now_ns + 170 * MS;
	grants(f, 25, 0, 50);
	expect_allowed(f, 2);
	for (unsigned left = 5; left-- > 0;)
		assert_int_equal(app(f, "c", 1).left, left);
	assert_int_not_equal(app(f, "c", 1).verdict, APP_ALLOWED);
}

static void a_lease_ahead_goes_on(void **state) {
	struct fixture *f = *state;
	want(f, 1, "c", 1);
	grants(f, 1, 9, 80);
	expect_allowed(f, 1);
	f->now_ns += 20 * MS;
	adopt_and_ask(f, "c");
	grants(f, 0, 0, 0);
	expect_denied(f, 2);
	assert_int_not_equal(app(f, "c", 1).verdict, APP_ALLOWED);
	pass(f, 41 * MS);
	assert_int_equal(app(f, "c", 1).left, 8);
}

/* An answer that brings nothing takes nothing away. */
static void leases_outlive_a_denial(void **state) {
	struct fixture *f = *state;
	want(f, 1, "c", 1);
	grants(f, 9, 6, 80);
	expect_allowed(f, 1);
	adopt_and_ask(f, "c");
	grants(f, 0, 0, 0);
	expect_denied(f, 2);
	assert_int_equal(app(f, "c", 1).left, 7);
	pass(f, 61 * MS);
	assert_int_equal(app(f, "c", 1).left, 5);
}

/* All of the limit, until so long from now, left by an earlier agent. */
static void takes_over_all_of_the_limit(struct fixture *f, int64_t ns) {
	lease(f, 0, "c");
	uint32_t slot = app_find(&f->table, 0, "c", 1);
	int bank = table_credits(&f->table.table, slot, 0) > 0 ? 0 : 1;
	table_publish(&f->table.table, slot, bank,
	              &(struct table_lease){
					  .credits = 100,
					  .deadline_ns = f->now_ns + ns,
				  });
	restart(f);
	comes_up(f);
	want(f, 2, "c", 1);
}

/* The largest, and the longest, that an agent gives. */
static void a_lease_of_the_whole_limit_goes_on(void **state) {
	struct fixture *f = *state;
	takes_over_all_of_the_limit(f, 11 * SUB_MS * MS);
	expect_no_batch(f);
	expect_allowed(f, 2);
	assert_int_equal(app(f, "c", 1).left, 98);
}

static void one_that_lasts_longer_than_any_does_not(void **state) {
	struct fixture *f = *state;
	takes_over_all_of_the_limit(f, 11 * SUB_MS * MS + 1);
	expect_silence(f);
	grants(f, 0, 0, 0);
	expect_denied(f, 2);
	assert_int_not_equal(app(f, "c", 1).verdict, APP_ALLOWED);
}

static void fresh_ones_stay_and_idle_ones_give_way(void **state) {
	struct fixture *f = *state;
	fill_table(f);
	restart(f);
	comes_up(f);
	want(f, 1, "newcomer", 1);
	grants(f, 1, 0, 9);
	assert_int_equal(app_find(&f->table, 0, "newcomer", 8), TABLE_NO_SLOT);
	assert_int_equal(core_counters(f->core)->evicted_for_room, 0);
	while (f->table.table.owner[f->table.table.slot_count / 2] == TABLE_ORPHAN)
		pass(f, 50 * MS);
	for (int i = 0; i < 100 && core_counters(f->core)->evicted_for_room == 0; i++) {
		char id[16];
		snprintf(id, sizeof(id), "new-%d", i);
		f->told_count = f->asked_count = 0;
		want(f, 2, id, 1);
		grants(f, 1, 0, 9);
	}
	assert_int_equal(core_counters(f->core)->evicted_for_room, 1);
}

/* ---- Not in the table ------------------------------------------------------------------------ */

static void who_has_no_room_is_asked_for_all_the_same(void **state) {
	struct fixture *f = *state;
	fill_table(f);
	want(f, 1, "stranger", 1);
	policy_changes(f, policy_with(50, 20));
	core_client_changed(f->core, f->now_ns, 0, "stranger", 8);
	grants(f, 1, 0, 9);
	expect_allowed(f, 1);
}

/* ---- Another database --------------------------------------------------------------------------- */

static void who_waits_for_one_database_is_asked_for_in_the_next(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	expect_batch(f, "a", 1, 1, 1);
	f->asked_count = 0;
	core_database_changed(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
	assert_int_equal(core_state(f->core), CORE_CONNECTING);
	expect_silence(f);
	pass(f, 100 * MS);
	comes_up(f);
	expect_batch(f, "a", 1, 1, 1);
	grants(f, 1, 0, 9);
	expect_allowed(f, 1);
}

static void an_idle_agent_changes_its_database(void **state) {
	struct fixture *f = *state;
	core_database_changed(f->core, f->now_ns);
	assert_int_equal(core_state(f->core), CORE_CONNECTING);
	comes_up(f);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

/* It would be subtracted from what others were granted there. */
static void what_one_database_granted_never_goes_back_to_the_next(void **state) {
	struct fixture *f = *state;
	lease(f, 0, "a");
	core_database_changed(f->core, f->now_ns);
	comes_up(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	pass(f, 100 * MS);
	want(f, 1, "a", 1);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].report[0].sub_window, 0);
	assert_int_equal(core_counters(f->core)->returned, 0);
}

static void a_shorter_patience_counts_from_the_next_loss(void **state) {
	struct fixture *f = *state;
	core_set_timing(f->core, 200 * MS, 4000 * MS);
	pass(f, 200 * MS); /* or there would be no new one: it was hardly back */
	core_database_lost(f->core, f->now_ns);
	want(f, 1, "a", 1);
	pass(f, 199 * MS);
	expect_silence(f);
	pass(f, MS);
	assert_int_equal(core_state(f->core), CORE_FALLBACK);
	expect_allowed(f, 1);
}

int main(void) {
#define STEP(name)   cmocka_unit_test_setup_teardown(name, make_up, clean)
#define ORPHAN(name) cmocka_unit_test_setup_teardown(name, make_orphans, clean)
	const struct CMUnitTest tests[] = {
		STEP(a_change_of_the_policy_lifts_denials_and_voids_leases),
		STEP(a_clients_override_voids_only_its_own),
		STEP(a_dropped_policy_is_refilled_no_more),
		STEP(a_policy_is_unused_when_nobody_is_left_of_it),
		ORPHAN(a_change_of_the_policy_voids_its_own),
		ORPHAN(changes_lift_their_denials),
		ORPHAN(an_override_voids_its_clients_own),
		STEP(in_fallback_its_fallback_credits_go_on),
		STEP(new_leases_take_the_place_of_its_own),
		STEP(one_that_ends_after_the_next_lease_goes_on_alone),
		STEP(one_that_is_to_begin_ends_when_one_for_now_ends_after_it),
		STEP(a_lease_ahead_goes_on),
		STEP(leases_outlive_a_denial),
		STEP(a_lease_of_the_whole_limit_goes_on),
		STEP(one_that_lasts_longer_than_any_does_not),
		STEP(fresh_ones_stay_and_idle_ones_give_way),
		STEP(who_has_no_room_is_asked_for_all_the_same),
		STEP(who_waits_for_one_database_is_asked_for_in_the_next),
		STEP(an_idle_agent_changes_its_database),
		STEP(what_one_database_granted_never_goes_back_to_the_next),
		STEP(a_shorter_patience_counts_from_the_next_loss),
	};
	return cmocka_run_group_tests_name("core_changes", tests, NULL, NULL);
}
