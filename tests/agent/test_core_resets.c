/*
 * test_core_resets.c - an operator's reset forgets what a client owes here, wherever that is noted: all that it
 * came to owe before, and nothing of what it has come to owe since, however late the agent hears of the reset.
 */
#include "core_fixture.h"

static void charge(struct fixture *f, const char *id, uint32_t cost) {
	core_charge(f->core, f->now_ns, 0, id, (uint8_t)strlen(id), cost);
	core_advance(f->core, f->now_ns);
}

/* The limit has room for so many of what is charged. */
static void has_room_for(struct fixture *f, int32_t credits) {
	assert_int_equal(f->asked_count, 1);
	struct lease_grant full = grant_of(f, 0, 0, 0);
	full.charged = credits;
	answers(f, LEASE_DONE, &full);
}

static void was_reset(struct fixture *f, const char *id, int64_t ago_ms) {
	core_client_reset(f->core, f->now_ns, 0, id, (uint8_t)strlen(id), ago_ms * MS);
	core_advance(f->core, f->now_ns);
}

/* What a's next request charges, long before the window has passed. */
static int32_t still_charged(struct fixture *f) {
	pass(f, 60 * MS);
	if (f->asked_count == 0)
		want(f, 1, "a", 1);
	assert_int_equal(f->asked_count, 1);
	assert_string_equal(f->ids[0], "a");
	return f->asked[0].charge;
}

/* Its last charge was beyond the limit: 6 of it are noted. */
static void owes_six(struct fixture *f) {
	charge(f, "a", 10);
	has_room_for(f, 4);
}

/* ---- Where it is noted ------------------------------------------------------------------ */

static void a_reset_forgets_what_is_owed(void **state) {
	struct fixture *f = *state;
	owes_six(f);
	pass(f, 2 * MS);
	was_reset(f, "a", 1);
	assert_int_equal(still_charged(f), 0);
}

static void it_forgets_what_waits_to_be_charged(void **state) {
	struct fixture *f = *state;
	want(f, 9, "b", 1); /* a batch is under way */
	charge(f, "a", 10);
	pass(f, 2 * MS);
	was_reset(f, "a", 1);
	grants(f, 1, 0, 90);
	assert_int_equal(still_charged(f), 0);
}

static void it_forgets_what_a_charge_under_way_leaves(void **state) {
	struct fixture *f = *state;
	charge(f, "a", 10);
	pass(f, 2 * MS);
	was_reset(f, "a", 1);
	has_room_for(f, 4);
	assert_int_equal(still_charged(f), 0);
}

static void it_forgets_a_charge_whose_answer_is_lost(void **state) {
	struct fixture *f = *state;
	charge(f, "a", 10);
	pass(f, 2 * MS);
	was_reset(f, "a", 1);
	loses_the_answer(f);
	comes_up(f);
	assert_int_equal(still_charged(f), 0);
}

static int make_small(void **state) {
	return make_up_with(state, 16);
}

static void it_forgets_what_a_client_owes_that_found_no_room(void **state) {
	struct fixture *f = *state;
	char id[16];
	for (uint32_t n = 0; n < 4000 && f->table.table.used < f->table.table.slot_count; n++) {
		snprintf(id, sizeof(id), "filler-%u", n);
		want(f, n, id, 1);
	}
	charge(f, "a", 10);
	assert_true(core_counters(f->core)->tableless > 0);
	pass(f, 2 * MS);
	was_reset(f, "a", 1);
	grants(f, 1, 0, 90);
	assert_true(f->asked_count > 0);
	for (size_t i = 0; i < f->asked_count; i++)
		assert_string_not_equal(f->ids[i], "a"); /* it has nothing to ask */
}

static void another_client_owes_what_it_owes(void **state) {
	struct fixture *f = *state;
	owes_six(f);
	pass(f, 2 * MS);
	was_reset(f, "stranger", 1);
	assert_int_equal(still_charged(f), 6);
}

/* ---- Before the reset, and since ---------------------------------------------------------- */

static void what_was_owed_before_is_forgotten_however_late(void **state) {
	struct fixture *f = *state;
	owes_six(f);
	pass(f, 50 * MS);
	was_reset(f, "a", 40);
	assert_int_equal(still_charged(f), 0);
}

/* The agent reads of the reset late. */
static void what_has_come_to_be_owed_since_stays_owed(void **state) {
	struct fixture *f = *state;
	owes_six(f);
	pass(f, 50 * MS);
	was_reset(f, "a", 60);
	assert_int_equal(still_charged(f), 6);
}

static void so_does_what_waits_to_be_charged(void **state) {
	struct fixture *f = *state;
	want(f, 9, "b", 1);
	charge(f, "a", 10);
	pass(f, 20 * MS);
	was_reset(f, "a", 25);
	grants(f, 1, 0, 90);
	assert_int_equal(still_charged(f), 10);
}

static void so_does_what_a_charge_under_way_leaves(void **state) {
	struct fixture *f = *state;
	charge(f, "a", 10);
	pass(f, 20 * MS);
	was_reset(f, "a", 25);
	has_room_for(f, 4);
	assert_int_equal(still_charged(f), 6);
}

/* Parts aren't kept apart: nobody knows how much of it was made before. */
static void a_debt_of_before_and_since_stays_owed(void **state) {
	struct fixture *f = *state;
	owes_six(f);
	pass(f, 20 * MS);
	charge(f, "a", 5);
	assert_int_equal(f->asked[0].charge, 11);
	has_room_for(f, 0);
	pass(f, 20 * MS);
	was_reset(f, "a", 30);
	assert_int_equal(still_charged(f), 11);
}

static void of_a_charge_under_way_and_a_later_one_the_later_stays(void **state) {
	struct fixture *f = *state;
	charge(f, "a", 10);
	pass(f, 10 * MS);
	charge(f, "a", 3);
	pass(f, 10 * MS);
	was_reset(f, "a", 15);
	has_room_for(f, 4);
	assert_int_equal(still_charged(f), 3);
}

/* The database's clock may be faster than this host's by 500 ppm: in so many seconds, by 1 ms. */
static void what_may_have_come_since_stays_owed(void **state) {
	struct fixture *f = *state;
	struct core_policy policy = policy_with(100, 20);
	policy.time_window_ms = 10000;
	policy.terms.sub_window_us = 1000000;
	policy_changes(f, policy);
	owes_six(f);
	pass(f, 2000 * MS);
	was_reset(f, "a", 1999);
	want(f, 1, "a", 1);
	assert_int_equal(f->asked[0].charge, 6);
}

/* ---- Of a fallback ---------------------------------------------------------------------- */

/* While the host was on its own. Each client's sub-windows begin at another moment, so two of them pass. */
static void admitted(struct fixture *f, uint32_t cost) {
	want(f, 77, "a", cost);
	expect_allowed(f, 77);
	pass(f, 2 * SUB_MS * MS);
}

/* It hears of a reset when it is back. */
static int32_t charged_after_reset(struct fixture *f, int64_t ago_ms) {
	core_database_up(f->core, f->now_ns, 2);
	was_reset(f, "a", ago_ms);
	pass(f, 0);
	return f->asked_count > 0 ? f->asked[0].charge : 0;
}

static void what_a_fallback_admitted_before_is_forgotten(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	admitted(f, 7);
	assert_int_equal(charged_after_reset(f, 1), 0);
	assert_int_equal(core_uncharged(f->core), 0);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

static void what_it_has_admitted_since_is_charged(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	admitted(f, 7);
	admitted(f, 2);
	assert_int_equal(charged_after_reset(f, 2 * SUB_MS + 1), 2);
	grants(f, 0, 0, 90);
	assert_int_equal(core_uncharged(f->core), 0);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

static void all_that_it_admitted_since_is_charged(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	admitted(f, 7);
	admitted(f, 2);
	assert_int_equal(charged_after_reset(f, 6 * SUB_MS), 9);
}

/* The return to the database doesn't wait for a charge that isn't made any more. */
static void a_charge_of_a_fallback_that_is_forgotten_is_not_waited_for(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	admitted(f, 7);
	comes_up(f);
	assert_int_equal(f->asked[0].charge, 7);
	answers(f, LEASE_REJECTED, NULL);
	assert_int_equal(core_state(f->core), CORE_RESYNC);
	if (f->asked_count > 0)
		answers(f, LEASE_REJECTED, NULL); /* now it is put off */
	was_reset(f, "a", 1);
	pass(f, 100 * MS);
	expect_no_batch(f);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

/* Nor for one that was under way, and isn't made again. */
static void a_charge_under_way_that_is_forgotten_is_not_waited_for(void **state, bool lost) {
	struct fixture *f = *state;
	stays_away(f);
	admitted(f, 7);
	comes_up(f);
	assert_int_equal(f->asked[0].charge, 7);
	was_reset(f, "a", 1);
	if (lost) {
		loses_the_answer(f);
		comes_up(f);
	}
	if (f->asked_count > 0)
		answers(f, LEASE_REJECTED, NULL);
	pass(f, 100 * MS);
	expect_no_batch(f);
	assert_int_equal(core_uncharged(f->core), 0);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

static void a_refused_charge_that_is_forgotten_is_not_waited_for(void **state) {
	a_charge_under_way_that_is_forgotten_is_not_waited_for(state, false);
}

static void a_lost_charge_that_is_forgotten_is_not_waited_for(void **state) {
	a_charge_under_way_that_is_forgotten_is_not_waited_for(state, true);
}

#define UP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)

int main(void) {
	const struct CMUnitTest tests[] = {
		UP(a_reset_forgets_what_is_owed),
		UP(it_forgets_what_waits_to_be_charged),
		UP(it_forgets_what_a_charge_under_way_leaves),
		UP(it_forgets_a_charge_whose_answer_is_lost),
		cmocka_unit_test_setup_teardown(it_forgets_what_a_client_owes_that_found_no_room, make_small, clean),
		UP(another_client_owes_what_it_owes),
		UP(what_was_owed_before_is_forgotten_however_late),
		UP(what_has_come_to_be_owed_since_stays_owed),
		UP(so_does_what_waits_to_be_charged),
		UP(so_does_what_a_charge_under_way_leaves),
		UP(a_debt_of_before_and_since_stays_owed),
		UP(of_a_charge_under_way_and_a_later_one_the_later_stays),
		UP(what_may_have_come_since_stays_owed),
		UP(what_a_fallback_admitted_before_is_forgotten),
		UP(what_it_has_admitted_since_is_charged),
		UP(all_that_it_admitted_since_is_charged),
		UP(a_charge_of_a_fallback_that_is_forgotten_is_not_waited_for),
		UP(a_refused_charge_that_is_forgotten_is_not_waited_for),
		UP(a_lost_charge_that_is_forgotten_is_not_waited_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
