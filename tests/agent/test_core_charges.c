/*
 * test_core_charges.c - what a fallback has admitted is charged to the database when that is back: how much of
 * it the policy's window still holds, once, and until the last charge is done or of no consequence any more.
 * Step by step, against a database that the test plays.
 */
#include "core_fixture.h"

/* Admitted by the fallback, of one client. */
static void admit(struct fixture *f, const char *id, uint32_t cost) {
	want(f, 77, id, cost);
	expect_allowed(f, 77);
}

static int32_t charged_after(struct fixture *f, int64_t ns) {
	pass(f, ns);
	comes_up(f);
	return f->asked_count > 0 ? f->asked[0].charge : 0;
}

/* ---- How much --------------------------------------------------------------------------------- */

/* Each client's sub-windows begin at another moment, and nobody knows when in one of them it was admitted: all
 * of it counts until that one is out of the window. */
static void what_was_admitted_counts_for_a_window(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	admit(f, "a", 3);
	assert_int_equal(charged_after(f, 10 * SUB_MS * MS - 2 * MS), 3);
}

static void a_sub_window_that_is_out_of_the_window_is_not_charged(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	admit(f, "a", 3);
	assert_int_equal(charged_after(f, 11 * SUB_MS * MS + 2 * MS), 0);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

static void of_a_long_fallback_only_what_is_recent_is_charged(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	admit(f, "a", 15);
	pass(f, 950 * MS);
	admit(f, "a", 4);
	assert_int_equal(charged_after(f, 250 * MS), 4);
}

static void what_was_charged_is_not_charged_again(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	admit(f, "a", 10);
	assert_int_equal(charged_after(f, 50 * MS), 10);
	grants(f, 0, 0, 90);
	pass(f, 150 * MS);
	stays_away(f);
	admit(f, "a", 4);
	assert_int_equal(charged_after(f, 150 * MS), 4);
}

static void a_client_that_asks_is_charged_with_that_request(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	admit(f, "a", 7);
	core_database_up(f->core, f->now_ns, 2);
	core_want(f->core, f->now_ns, 1, 1, 0, "a", 1, 1, f->now_ns + 1000 * MS);
	core_advance(f->core, f->now_ns);
	expect_batch(f, "a", 1, 1, f->asked[0].want);
	assert_int_equal(f->asked[0].charge, 7);
	assert_int_equal(core_uncharged(f->core), 1);
	grants(f, 1, 0, 92);
	expect_allowed(f, 1);
	assert_int_equal(core_uncharged(f->core), 0);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	expect_no_batch(f);
}

/* ---- Until when ------------------------------------------------------------------------------- */

/* The database takes its time to refuse it, and by then it is of no consequence. */
static void a_charge_that_is_forgiven_is_not_waited_for(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	admit(f, "a", 3);
	assert_int_equal(charged_after(f, 0), 3);
	assert_int_equal(core_state(f->core), CORE_RESYNC);
	f->now_ns += 12 * SUB_MS * MS;
	answers(f, LEASE_REJECTED, NULL);
	expect_no_batch(f);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	assert_int_equal(core_uncharged(f->core), 0);
}

static void a_charge_that_is_refused_again_and_again_is_not_waited_for(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	admit(f, "a", 3);
	assert_int_equal(charged_after(f, 0), 3);
	int tries = 0;
	for (int ms = 0; ms < 240; ms++) {
		for (; f->asked_count > 0; tries++) {
			assert_int_equal(f->asked[0].charge, 3);
			answers(f, LEASE_REJECTED, NULL);
		}
		assert_int_equal(core_state(f->core), CORE_RESYNC);
		pass(f, MS);
	}
	assert_in_range(tries, 4, 10);
	for (int ms = 0; ms < 100; ms++) {
		pass(f, MS);
		if (f->asked_count > 0)
			answers(f, LEASE_REJECTED, NULL);
	}
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

static void the_state_is_told_when_the_last_of_them_is_charged(void **state) {
	struct fixture *f = *state;
	char id[16];
	stays_away(f);
	assert_int_equal(core_fallback_since_ns(f->core), f->now_ns);
	for (unsigned i = 0; i < 60; i++) {
		snprintf(id, sizeof(id), "owes-%u", i);
		admit(f, id, 1);
	}
	comes_up(f);
	assert_int_equal(core_fallback_since_ns(f->core), 0);
	unsigned batches = 0;
	for (; f->asked_count > 0 && batches < 10; batches++) {
		struct lease_grant all[CORE_BATCH_MAX];
		assert_int_equal(core_state(f->core), CORE_RESYNC);
		for (size_t i = 0; i < f->asked_count; i++) {
			all[i] = grant_of(f, 0, 0, 90);
			all[i].charged = f->asked[i].charge;
		}
		answers(f, LEASE_DONE, all);
		pass(f, 5 * MS);
	}
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	assert_int_equal(core_uncharged(f->core), 0);
	assert_int_equal(core_counters(f->core)->charged, 60);
}

/* The answer would find another client's record. */
static void who_is_being_charged_gives_way_to_nobody(void **state) {
	struct fixture *f = *state;
	struct core_policy minute = policy_with(100, 20);
	char id[16];
	minute.time_window_ms = 60000;
	policy_changes(f, minute);
	fill_table(f);
	stays_away(f);
	for (uint32_t i = 0, asked = 0; asked < f->table.table.slot_count; i++) {
		snprintf(id, sizeof(id), "filler-%u", i);
		if (app_find(&f->table, 0, id, strlen(id)) == TABLE_NO_SLOT)
			continue;
		admit(f, id, 1);
		asked++;
	}
	for (int i = 0; i < 60; i++)
		pass(f, 50 * MS); /* unused for a sweep, and more */
	comes_up(f);
	assert_int_equal(f->asked_count, f->table.table.slot_count);
	want(f, 1, "newcomer", 1);
	assert_int_equal(core_counters(f->core)->evicted_for_room, 0);
	assert_int_equal(app_find(&f->table, 0, "newcomer", 8), TABLE_NO_SLOT);
}

/* ---- Without being in others' way ------------------------------------------------------------------ */

static void are_charged(struct fixture *f) {
	struct lease_grant all[CORE_BATCH_MAX];
	for (size_t i = 0; i < f->asked_count; i++) {
		all[i] = grant_of(f, 0, 0, 90);
		all[i].charged = f->asked[i].charge;
	}
	answers(f, LEASE_DONE, all);
}

static void owes_much(struct fixture *f, unsigned clients) {
	char id[16];
	struct core_policy minute = policy_with(100, 20);
	minute.time_window_ms = 60000;
	policy_changes(f, minute);
	want(f, 1, "usual", 1);
	pass(f, 2 * MS); /* so long a statement takes */
	grants(f, 1, 0, 99);
	expect_allowed(f, 1);
	stays_away(f);
	for (unsigned i = 0; i < clients; i++) {
		snprintf(id, sizeof(id), "owes-%u", i);
		admit(f, id, 1);
	}
	comes_up(f);
}

/* Who asks meanwhile waits for few of them. */
static void many_are_charged_a_few_at_a_time(void **state) {
	struct fixture *f = *state;
	owes_much(f, 200);
	for (int i = 0; i < 1000 && core_state(f->core) == CORE_RESYNC; i++) {
		assert_in_range(f->asked_count, 0, 24);
		if (f->asked_count > 0)
			are_charged(f);
		pass(f, MS);
	}
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	assert_int_equal(core_counters(f->core)->charged, 200);
}

/* How long until the next statement. */
static int64_t pause_of(struct fixture *f) {
	int64_t pause_ns = 0;
	for (; f->asked_count == 0; pause_ns += MS / 10) {
		assert_in_range(pause_ns, 0, 2000 * MS);
		pass(f, MS / 10);
	}
	return pause_ns;
}

/* The same after some statements that took so long each. */
static int64_t pause_after(struct fixture *f, int64_t takes_ns) {
	for (int i = 0; i < 30; i++) {
		pause_of(f);
		pass(f, takes_ns);
		are_charged(f);
	}
	return pause_of(f);
}

static void between_charges_the_database_has_time_for_others(void **state) {
	struct fixture *f = *state;
	owes_much(f, 2000);
	int64_t pause_ns = pause_after(f, 2 * MS);
	assert_in_range(pause_ns, 2 * MS, 4 * MS);
}

static void the_slower_it_is_the_more(void **state) {
	struct fixture *f = *state;
	owes_much(f, 2000);
	int64_t pause_ns = pause_after(f, 8 * MS);
	assert_in_range(pause_ns, 30 * MS, 60 * MS);
}

/* It isn't left alone for ever. */
static void however_slow_it_is_charges_go_on(void **state) {
	struct fixture *f = *state;
	owes_much(f, 2000);
	int64_t pause_ns = pause_after(f, 100 * MS);
	assert_in_range(pause_ns, 600 * MS, 900 * MS);
}

static int make_small(void **state) {
	return make_up_with(state, 8);
}

static int make_large(void **state) {
	return make_up_with(state, 4000);
}

int main(void) {
#define LARGE(name) cmocka_unit_test_setup_teardown(name, make_large, clean)
#define STEP(name)  cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(what_was_admitted_counts_for_a_window),
		STEP(a_sub_window_that_is_out_of_the_window_is_not_charged),
		STEP(of_a_long_fallback_only_what_is_recent_is_charged),
		STEP(what_was_charged_is_not_charged_again),
		STEP(a_client_that_asks_is_charged_with_that_request),
		STEP(a_charge_that_is_forgiven_is_not_waited_for),
		STEP(a_charge_that_is_refused_again_and_again_is_not_waited_for),
		STEP(the_state_is_told_when_the_last_of_them_is_charged),
		cmocka_unit_test_setup_teardown(who_is_being_charged_gives_way_to_nobody, make_small, clean),
		LARGE(many_are_charged_a_few_at_a_time),
		LARGE(between_charges_the_database_has_time_for_others),
		LARGE(the_slower_it_is_the_more),
		LARGE(however_slow_it_is_charges_go_on),
	};
	return cmocka_run_group_tests_name("core_charges", tests, NULL, NULL);
}
