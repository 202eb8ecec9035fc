/*
 * test_core_takeover.c - an agent takes over the table of another one, with its leases. Step by step, against a
 * database that the test plays.
 */
#include "core_fixture.h"

static void leases_outlive_the_agent(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 90);
	f->told_count = 0;
	restart(f);
	assert_int_equal(app(f, "a", 1).left, 7);
	comes_up(f);
	policy_changes(f, policy_with(100, 20));
	assert_int_equal(app(f, "a", 1).left, 6);
	want(f, 3, "a", 1); /* adopted, without a statement */
	expect_allowed(f, 3);
	core_drain(f->core, f->now_ns);
	expect_no_batch(f); /* nobody knows what it was granted */
}

static void an_orphan_is_adopted_with_its_credits(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 90);
	f->told_count = 0;
	restart(f);
	comes_up(f);
	want(f, 2, "a", 2);
	expect_allowed(f, 2);
	expect_no_batch(f);
	assert_int_equal(core_client_count(f->core), 1);
	assert_int_equal(app(f, "a", 1).left, 5);
}

/* The policy's limit is 100. */
static void an_orphan_may_hold_what_its_own_limit_allows(void **state) {
	struct fixture *f = *state;
	f->end_ns = f->now_ns + 11 * SUB_MS * MS;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 501, 0, 499);
	grant.max_requests = 1000;
	answers(f, LEASE_DONE, &grant);
	expect_allowed(f, 1);
	restart(f);
	comes_up(f);
	for (int i = 0; i < 21; i++) /* the sweep comes round */
		pass(f, SUB_MS / 2 * MS);
	want(f, 2, "a", 200);
	expect_allowed(f, 2);
	assert_int_equal(app(f, "a", 1).left, 299);
}

/* It lasts as long as a lease can: from the start of a sub-window on, and for as many more as the window has. */
static void an_orphans_lease_that_lasts_for_a_window_is_adopted(void **state) {
	struct fixture *f = *state;
	f->end_ns = f->now_ns + SUB_MS * MS;
	want(f, 1, "a", 1);
	grants_long(f, 1, 9, 90, 10);
	expect_allowed(f, 1);
	restart(f);
	comes_up(f);
	want(f, 2, "a", 1);
	expect_allowed(f, 2);
	pass(f, 10 * SUB_MS * MS);
	f->asked_count = 0;
	assert_int_equal(app(f, "a", 3).left, 5);
	want(f, 3, "a", 20); /* nobody knows of which sub-window it is, so nothing is told of it */
	expect_batch(f, "a", 20, 20, f->asked[0].want);
	assert_int_equal(f->asked[0].report[0].sub_window, 0);
}

static void one_that_lasts_longer_is_not(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants_long(f, 1, 9, 90, 10);
	want(f, 2, "b", 1);
	grants_long(f, 1, 9, 90, 10);
	f->told_count = 0;
	const char *const ids[] = {"a", "b"};
	for (int i = 0; i < 2; i++) {
		struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, ids[i], 1)];
		for (int bank = 0; bank < 2; bank++)
			if (word_credits(slot->word[bank]) > 0)
				atomic_store(&slot->deadline_ns[bank], (uint64_t)(f->now_ns + 11 * SUB_MS * MS + i));
	}
	restart(f);
	comes_up(f);
	want(f, 3, "a", 1);
	expect_allowed(f, 3);
	want(f, 4, "b", 1);
	expect_silence(f);
	assert_int_equal(app(f, "b", 1).verdict, APP_ASKS);
}

static void an_orphan_with_nonsense_in_it_gets_nothing(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 9, 90);
	f->told_count = 0;
	struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
	restart(f);
	comes_up(f);
	atomic_store(&slot->word[0], word_make(1, 1000, 0));                       /* above the limit */
	atomic_store(&slot->deadline_ns[1], (uint64_t)(f->now_ns + 3600000 * MS)); /* further off than any lease */
	want(f, 2, "a", 1);
	expect_silence(f);
	expect_batch(f, "a", 1, 1, 1);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

static void fallback_leases_of_a_dead_agent_end_when_the_database_is_there(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 90);
	f->told_count = 0;
	struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
	atomic_fetch_or(&slot->word[0], WORD_FALLBACK_BIT);
	atomic_fetch_or(&slot->word[1], WORD_FALLBACK_BIT);
	restart(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	comes_up(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

/* An app that was quiet for a sweep is one that will use it. */
static void also_those_of_who_was_idle(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 90);
	expect_allowed(f, 1);
	uint32_t index = app_find(&f->table, 0, "a", 1);
	struct slot *slot = &f->table.table.slots[index];
	atomic_fetch_or(&slot->word[0], WORD_FALLBACK_BIT);
	atomic_fetch_or(&slot->word[1], WORD_FALLBACK_BIT);
	restart(f);
	f->table.table.owner[index] = TABLE_ORPHAN_IDLE;
	comes_up(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

/* Its database is memory now: what it admits must not come on top of another limit's. */
static void fallback_leases_mean_nothing_without_a_database(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 90);
	expect_allowed(f, 1);
	struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
	atomic_fetch_or(&slot->word[0], WORD_FALLBACK_BIT);
	atomic_fetch_or(&slot->word[1], WORD_FALLBACK_BIT);
	succeed(f, true, 9);
	want(f, 2, "a", 1);
	struct core_verdict v = verdict_of(f, 2);
	assert_true(v.allowed);
	assert_int_not_equal(v.source, STINT_SOURCE_FALLBACK);
	assert_int_equal(v.limit, 100);
}

int main(void) {
#define STEP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(leases_outlive_the_agent),
		STEP(an_orphan_is_adopted_with_its_credits),
		STEP(an_orphan_may_hold_what_its_own_limit_allows),
		STEP(an_orphans_lease_that_lasts_for_a_window_is_adopted),
		STEP(one_that_lasts_longer_is_not),
		STEP(an_orphan_with_nonsense_in_it_gets_nothing),
		STEP(fallback_leases_of_a_dead_agent_end_when_the_database_is_there),
		STEP(also_those_of_who_was_idle),
		STEP(fallback_leases_mean_nothing_without_a_database),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
