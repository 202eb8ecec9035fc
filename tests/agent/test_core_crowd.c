/*
 * test_core_crowd.c - what concerns all clients of a large table: no call looks at more than a few thousand of
 * them.
 */
#include "generation_fixture.h"

#define CROWD 12000u

static int make_many(void **state) {
	return make_up_with(state, CROWD * 4 / 3);
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
		BOUNDED(f, want_under(f, i % 2, i, id));
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

/* Of an advance of four the database had room for one. There is a lease, too. */
static void owes_three_and_holds_three(struct fixture *f, const char *id) {
	struct lease_grant grant = grant_of(f, 3, 0, 60);
	grant.charged = 1;
	want(f, 1, id, 1);
	answers(f, LEASE_DONE, &grant);
	want(f, 2, id, 4);
	grant.granted = 0;
	answers(f, LEASE_DONE, &grant);
	f->told_count = 0;
}

/* The change takes the client's lease, but not what is known of the client; even when there is no room for what
 * goes back. */
static void who_owes_gets_no_advance_after_a_change(void **state) {
	struct fixture *f = *state;
	struct core_policy relaxed = long_policy(), other = long_policy();
	char id[16];
	relaxed.relaxed = true;
	relaxed.terms.max_requests = 80;
	policy_changes(f, relaxed);
	core_set_policy(f->core, f->now_ns, 1, &other);
	pass_for(f, 50 * MS, 0);
	f->end_ns = f->now_ns + 60000 * MS;
	for (uint32_t i = 0; i < CROWD; i++) {
		snprintf(id, sizeof(id), "many-%u", i);
		BOUNDED(f, want_under(f, 1, i, id));
		answer_all(f, 3);
	}
	owes_three_and_holds_three(f, "a");
	other.terms.max_requests = 49;
	core_set_policy(f->core, f->now_ns, 1, &other);
	while (core_is_walking(f->core))
		pass(f, MS);
	relaxed.terms.max_requests = 79;
	meets_a_change(f, relaxed);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	want(f, 3, "a", 1);
	expect_silence(f);
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
	pass_for(f, 1000 * MS, 0); /* a few with each statement */
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

int main(void) {
#define MANY(name) cmocka_unit_test_setup_teardown(name, make_many, clean)
	const struct CMUnitTest tests[] = {
		MANY(a_change_of_policy_looks_at_some_at_a_time),
		MANY(changes_that_follow_one_another_look_at_some_at_a_time),
		MANY(a_crowds_leases_end_with_their_terms),
		MANY(a_crowd_returns_no_more_than_it_was_given),
		MANY(nothing_of_another_policys_goes_back_of_a_crowd),
		MANY(who_owes_gets_no_advance_after_a_change),
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
