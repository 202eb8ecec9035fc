/*
 * test_core_corrections.c - what apps tell of costs beside checks: credits that are to be in the table, what was
 * used without asking, and what did not count after all.
 */
#include "core_fixture.h"

static void provide(struct fixture *f, uint32_t serial, const char *id, uint32_t cost) {
	core_provide(f->core, f->now_ns, 1, serial, 0, id, (uint8_t)strlen(id), cost, f->now_ns + 1000 * MS);
	core_advance(f->core, f->now_ns);
}

static void charge(struct fixture *f, const char *id, uint32_t cost) {
	core_charge(f->core, f->now_ns, 0, id, (uint8_t)strlen(id), cost);
	core_advance(f->core, f->now_ns);
}

static void look(struct fixture *f, uint32_t serial, const char *id, uint32_t cost) {
	core_look(f->core, f->now_ns, 1, serial, 0, id, (uint8_t)strlen(id), cost, f->now_ns + 1000 * MS);
	core_advance(f->core, f->now_ns);
}

/* So many of a client's credits can be had from the table now. */
static uint32_t credits_of(struct fixture *f, const char *id) {
	uint32_t credits = 0;
	while (app(f, id, 1).verdict == APP_ALLOWED)
		credits++;
	return credits;
}

/* ---- Provided ----------------------------------------------------------------------- */

static void what_is_provided_is_in_the_table(void **state) {
	struct fixture *f = *state;
	provide(f, 1, "a", 3);
	expect_silence(f);
	expect_batch(f, "a", 3, 3, 3);
	grants(f, 3, 0, 90);
	struct core_verdict v = verdict_of(f, 1);
	assert_true(v.allowed);
	assert_int_equal(v.remaining, 93);
	assert_int_equal(v.limit, 100);
	assert_int_equal(app(f, "a", 3).verdict, APP_ALLOWED);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

static void nothing_is_taken_of_what_is_there(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 5, 0, 90);
	expect_allowed(f, 1);
	for (uint32_t i = 2; i < 10; i++) {
		provide(f, i, "a", 4);
		expect_allowed(f, i);
	}
	expect_no_batch(f);
	assert_int_equal(credits_of(f, "a"), 4);
}

static void who_cannot_be_provided_for_is_denied(void **state) {
	struct fixture *f = *state;
	provide(f, 1, "a", 5);
	grants(f, 0, 0, 3);
	struct core_verdict v = verdict_of(f, 1);
	assert_false(v.allowed);
	assert_int_equal(v.reason, STINT_OVER_LIMIT);
	provide(f, 2, "a", 5); /* by the denial in the table */
	expect_denied(f, 2);
	expect_no_batch(f);
}

/* Whom the table denies, the app notes itself. */
static void the_agent_tells_whom_the_store_denies(void **state) {
	struct fixture *f = *state;
	provide(f, 1, "anna", 5);
	grants(f, 0, 0, 3);
	expect_denied(f, 1);
	assert_int_equal(f->denials, 1);
	assert_string_equal(f->denied, "anna");
	provide(f, 2, "anna", 5);
	expect_denied(f, 2);
	assert_int_equal(f->denials, 1);
}

static void who_is_looked_at_is_not_denied(void **state) {
	struct fixture *f = *state;
	look(f, 1, "anna", 5);
	grants(f, 0, 0, 3);
	expect_denied(f, 1);
	assert_int_equal(f->denials, 0);
}

/* Somebody else was served from the same answer, and took what was to be provided. */
static void it_is_asked_for_again_until_it_is_there(void **state) {
	struct fixture *f = *state;
	provide(f, 1, "a", 2);
	want(f, 2, "a", 2);
	grants(f, 3, 0, 90);
	expect_allowed(f, 2);
	expect_silence(f);
	expect_batch(f, "a", 2, 2, f->asked[0].want);
	grants(f, 2, 0, 88);
	expect_allowed(f, 1);
	assert_int_equal(credits_of(f, "a"), 3);
}

static void a_relaxed_policy_provides_nothing_in_advance(void **state) {
	struct fixture *f = *state;
	struct core_policy policy = policy_with(100, 20);
	policy.relaxed = true;
	policy_changes(f, policy);
	provide(f, 1, "a", 1);
	expect_silence(f);
	grants(f, 1, 0, 90);
	expect_allowed(f, 1);
	assert_int_equal(credits_of(f, "a"), 1);
}

static void a_fallback_provides_its_own_credits(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	provide(f, 1, "a", 3);
	struct core_verdict v = verdict_of(f, 1);
	assert_true(v.allowed);
	assert_int_equal(v.source, STINT_SOURCE_FALLBACK);
	assert_int_equal(v.limit, 20);
	assert_true(credits_of(f, "a") >= 3);
}

static int make_small(void **state) {
	return make_up_with(state, 16);
}

/* Until the table has no room for another client. */
static void fill(struct fixture *f) {
	char id[16];
	for (uint32_t n = 0; n < 4000 && f->table.table.used < f->table.table.slot_count; n++) {
		snprintf(id, sizeof(id), "filler-%u", n);
		want(f, n, id, 1);
	}
	assert_int_equal(f->table.table.used, f->table.table.slot_count);
}

/* Everybody in the table is waiting, so none makes room. */
static void fill_with_waiters(struct fixture *f) {
	fill(f);
	expect_silence(f);
}

static void without_room_in_the_table_it_is_unavailable(void **state) {
	struct fixture *f = *state;
	fill_with_waiters(f);
	provide(f, 5000, "a", 1);
	struct core_verdict v = verdict_of(f, 5000);
	assert_false(v.allowed);
	assert_int_equal(v.reason, STINT_UNAVAILABLE);
	assert_int_equal(v.retry_after_ms, 100);
}

/* A client that the table has no room for is remembered only while something is asked about it. */
static void nobody_is_remembered_for_nothing(void **state) {
	struct fixture *f = *state;
	fill_with_waiters(f);
	uint32_t before = core_client_count(f->core);
	for (uint32_t n = 0; n < 10; n++) {
		char id[16];
		snprintf(id, sizeof(id), "a-%u", n);
		provide(f, 5000 + n, id, 1);
		expect_denied(f, 5000 + n);
	}
	assert_int_equal(core_client_count(f->core), before);
}

static void in_memory_neither(void **state) {
	struct fixture *f = *state;
	core_free(f->core);
	start_core(f, true, 9);
	fill(f);
	uint32_t before = core_client_count(f->core);
	for (uint32_t n = 0; n < 10; n++) {
		char id[16];
		snprintf(id, sizeof(id), "a-%u", n);
		charge(f, id, 1);
	}
	assert_int_equal(core_client_count(f->core), before);
}

/* ---- Large costs ---------------------------------------------------------------------- */

/* Of 4, one was served, two lie in the lease, and the store has one. */
static void has_two_and_one(struct fixture *f) {
	want(f, 1, "a", 1);
	grants(f, 3, 0, 1);
	expect_allowed(f, 1);
}

static void what_lies_in_two_places_is_brought_together(void **state) {
	struct fixture *f = *state;
	has_two_and_one(f);
	want(f, 2, "a", 3);
	assert_int_equal(unspent_in(f, 0), 0);
	grants(f, 0, 0, 1);
	expect_silence(f);
	expect_batch(f, "a", 3, 3, f->asked[0].want);
	assert_int_equal(unspent_in(f, 0), 2);
	assert_int_equal(credits_of(f, "a"), 0);
	grants(f, 3, 0, 0);
	expect_allowed(f, 2);
}

static void it_is_brought_together_for_an_app_that_takes_itself(void **state) {
	struct fixture *f = *state;
	has_two_and_one(f);
	provide(f, 2, "a", 3);
	grants(f, 0, 0, 1);
	expect_silence(f);
	grants(f, 3, 0, 0);
	expect_allowed(f, 2);
	assert_int_equal(credits_of(f, "a"), 3);
}

static void what_is_not_enough_together_stays_where_it_is(void **state) {
	struct fixture *f = *state;
	has_two_and_one(f);
	want(f, 2, "a", 4);
	grants(f, 0, 0, 1);
	struct core_verdict v = verdict_of(f, 2);
	assert_false(v.allowed);
	assert_int_equal(v.remaining, 3);
	expect_no_batch(f);
	assert_int_equal(credits_of(f, "a"), 2);
}

static void who_comes_late_gets_what_the_answer_makes_enough(void **state) {
	struct fixture *f = *state;
	has_two_and_one(f);
	want(f, 2, "a", 3);
	want(f, 3, "a", 4);
	grants(f, 5, 0, 0);
	expect_allowed(f, 2);
	expect_allowed(f, 3);
	expect_no_batch(f);
	assert_int_equal(credits_of(f, "a"), 0);
}

/* A look says what would be brought together. */
static void expect_three_for_a_look(struct fixture *f, uint32_t serial) {
	struct core_verdict v = verdict_of(f, serial);
	assert_true(v.allowed);
	assert_int_equal(v.source, STINT_SOURCE_DATABASE);
	assert_int_equal(v.remaining, 3);
	assert_true(v.deadline_ns > f->now_ns);
}

static void a_look_brings_nothing_together(void **state) {
	struct fixture *f = *state;
	has_two_and_one(f);
	look(f, 2, "a", 3);
	grants(f, 0, 0, 1);
	expect_three_for_a_look(f, 2);
	expect_no_batch(f);
	look(f, 3, "a", 4);
	grants(f, 0, 0, 1);
	expect_denied(f, 3);
	expect_no_batch(f);
	assert_int_equal(credits_of(f, "a"), 2);
}

static void one_who_takes_brings_it_together_beside_a_look(void **state) {
	struct fixture *f = *state;
	has_two_and_one(f);
	look(f, 2, "a", 3);
	want(f, 3, "a", 3);
	expect_batch(f, "a", 3, 3, f->asked[0].want);
	grants(f, 0, 0, 1);
	expect_three_for_a_look(f, 2);
	expect_batch(f, "a", 3, 3, f->asked[0].want);
	assert_int_equal(unspent_in(f, 0), 0);
	grants(f, 0, 0, 1);
	assert_int_equal(unspent_in(f, 0), 2);
	look(f, 4, "a", 3);
	grants(f, 3, 0, 0);
	expect_allowed(f, 3);
	expect_denied(f, 4);
}

/* The connection broke before it was asked for, and came back when only a look was waiting. */
static void nothing_is_brought_together_for_who_has_given_up(void **state) {
	struct fixture *f = *state;
	has_two_and_one(f);
	want_until(f, 2, "a", 3, 20 * MS);
	struct lease_grant grant = grant_of(f, 0, 0, 1);
	f->asked_count = 0;
	core_on_grants(f->core, f->now_ns, LEASE_DONE, &grant, 1);
	core_database_lost(f->core, f->now_ns);
	look(f, 3, "a", 3);
	pass(f, 30 * MS);
	comes_up(f);
	expect_batch(f, "a", 3, 3, f->asked[0].want);
	assert_int_equal(unspent_in(f, 0), 0);
	grants(f, 0, 0, 1);
	expect_three_for_a_look(f, 3);
	assert_int_equal(credits_of(f, "a"), 2);
}

/* Two of one lease and two of the other are left, and the store has nothing. */
static void has_two_and_two(struct fixture *f) {
	want(f, 1, "a", 1);
	grants_long(f, 3, 2, 0, 10);
	expect_allowed(f, 1);
}

/* It is good until the one lease ends, and back when the other has left the window. */
static void expect_times_of_both(const struct fixture *f, const struct core_verdict *v) {
	const struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
	int64_t ends_ns[2] = {(int64_t)atomic_load(&slot->deadline_ns[0]),
	                      (int64_t)atomic_load(&slot->deadline_ns[1])};
	int last = ends_ns[1] > ends_ns[0];
	assert_int_equal(v->deadline_ns, ends_ns[!last]);
	struct core_policy policy = policy_with(100, 20);
	int64_t weighs_ms = grant_weighs_ms(&policy.terms);
	assert_int_equal(v->reset_after_ms, (ends_ns[last] - f->now_ns + MS - 1) / MS + weighs_ms);
	assert_true(ends_ns[last] - ends_ns[!last] > 10 * MS);
}

static void expect_four_at_once(struct fixture *f) {
	assert_int_equal(app(f, "a", 5).verdict, APP_DENIED);
	want(f, 2, "a", 4);
	struct core_verdict v = verdict_of(f, 2);
	assert_true(v.allowed);
	assert_int_equal(v.source, STINT_SOURCE_LEASE);
	assert_int_equal(v.remaining, 0);
	expect_times_of_both(f, &v);
	expect_no_batch(f);
	assert_int_equal(credits_of(f, "a"), 0);
	assert_int_equal(app(f, "a", 4).verdict, APP_DENIED);
}

static void what_two_leases_hold_is_spent_together(void **state) {
	struct fixture *f = *state;
	has_two_and_two(f);
	expect_four_at_once(f);
}

static void an_app_takes_from_both_itself(void **state) {
	struct fixture *f = *state;
	has_two_and_two(f);
	struct app_decision d = app(f, "a", 4);
	assert_int_equal(d.verdict, APP_ALLOWED);
	assert_int_equal(d.part, 2);
	assert_int_equal(app(f, "a", 1).verdict, APP_DENIED);
	pass(f, 2000 * MS); /* the sweep comes by */
	assert_int_equal(core_counters(f->core)->repaired, 0);
}

static void so_is_what_an_earlier_agent_has_left(void **state) {
	struct fixture *f = *state;
	has_two_and_two(f);
	restart(f);
	comes_up(f);
	policy_changes(f, policy_with(100, 20));
	want(f, 9, "a", 5);
	while (f->asked_count > 0)
		grants(f, 0, 0, 0);
	expect_denied(f, 9);
	expect_four_at_once(f);
}

static void so_it_is_while_the_store_is_away(void **state) {
	struct fixture *f = *state;
	has_two_and_two(f);
	core_database_lost(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
	expect_four_at_once(f);
}

/* A relaxed policy admits in advance only what its leases don't hold. */
static void so_it_is_before_an_advance(void **state) {
	struct fixture *f = *state;
	struct core_policy policy = policy_with(100, 20);
	policy.relaxed = true;
	policy_changes(f, policy);
	want(f, 1, "a", 1);
	expect_allowed(f, 1);
	struct lease_grant grant = long_grant_of(f, 2, 2, 0, 5);
	grant.charged = f->asked[0].charge;
	answers(f, LEASE_DONE, &grant);
	expect_four_at_once(f);
}

static void a_look_finds_what_two_leases_hold_and_takes_nothing(void **state) {
	struct fixture *f = *state;
	has_two_and_two(f);
	look(f, 2, "a", 4);
	struct core_verdict v = verdict_of(f, 2);
	assert_true(v.allowed);
	assert_int_equal(v.remaining, 4);
	look(f, 3, "a", 5);
	expect_denied(f, 3);
	expect_no_batch(f);
	assert_int_equal(credits_of(f, "a"), 4);
}

/* Others were faster: what went back was granted to them. */
static void it_is_tried_once(void **state) {
	struct fixture *f = *state;
	has_two_and_one(f);
	want(f, 2, "a", 3);
	grants(f, 0, 0, 1);
	assert_int_equal(unspent_in(f, 0), 2);
	grants(f, 0, 0, 1);
	expect_denied(f, 2);
	expect_no_batch(f);
}

static void memory_brings_it_together_too(void **state) {
	struct fixture *f = *state;
	core_free(f->core);
	start_core(f, true, 9);
	policy_changes(f, policy_with(8, 8));
	want(f, 1, "a", 1);
	expect_allowed(f, 1);
	low(f, "a"); /* its lease holds something now */
	pass(f, 0);
	provide(f, 2, "a", 1);
	struct core_verdict v = verdict_of(f, 2);
	assert_true(v.remaining == 7 && app(f, "a", 7).verdict == APP_ASKS);
	want(f, 3, "a", 7);
	assert_true(core_next_ns(f->core) <= f->now_ns);
	pass(f, 0);
	expect_allowed(f, 3);
}

/* ---- Charged -------------------------------------------------------------------------- */

static void a_charge_takes_what_the_lease_holds_and_owes_the_rest(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 5, 0, 90);
	expect_allowed(f, 1);
	charge(f, "a", 10);
	assert_int_equal(credits_of(f, "a"), 0);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].charge, 6);
	assert_int_equal(f->asked[0].need, 0);
}

static void a_charge_that_a_lease_covers_asks_nobody(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 5, 0, 90);
	charge(f, "a", 3);
	expect_no_batch(f);
	assert_int_equal(credits_of(f, "a"), 1);
}

static void a_client_may_be_charged_that_never_asked(void **state) {
	struct fixture *f = *state;
	charge(f, "a", 7);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].charge, 7);
	assert_false(f->asked[0].first);
}

/* The limit had room for 4 of 10: the client is in debt, and its next request pays first. */
static void what_is_beyond_the_limit_stays_owed(void **state) {
	struct fixture *f = *state;
	charge(f, "a", 10);
	struct lease_grant full = grant_of(f, 0, 0, 0);
	full.charged = 4;
	answers(f, LEASE_DONE, &full);
	pass(f, 60 * MS);
	want(f, 1, "a", 1);
	expect_silence(f);
	assert_int_equal(f->asked[0].charge, 6);
}

static void a_charge_whose_answer_is_lost_is_made_again(void **state) {
	struct fixture *f = *state;
	charge(f, "a", 7);
	loses_the_answer(f);
	comes_up(f);
	pass(f, 700 * MS); /* nobody waits for it */
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].charge, 7);
}

static void a_fallback_counts_charges_too(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	charge(f, "a", 18);
	want(f, 1, "a", 3); /* of 20 */
	expect_denied(f, 1);
	want(f, 2, "a", 2);
	expect_allowed(f, 2);
}

/* ---- Given back ----------------------------------------------------------------------- */

/* As stint_refund() does: into the lease that it came from. */
static bool give_back(struct fixture *f, uint32_t cost, struct app_decision d) {
	return app_puts_back(&f->table.table.slots[d.slot], d.bank, d.found, cost);
}

/* It counts from the report on: spent once more, it would count too early. */
static void what_was_reported_as_spent_is_not_given_back(void **state) {
	struct fixture *f = *state;
	struct app_decision d = {0};
	want(f, 1, "a", 1);
	grants_long(f, 1, 9, 50, 5);
	for (int i = 0; i < 8; i++)
		d = app(f, "a", 1);
	assert_true(give_back(f, 1, d));
	want(f, 2, "a", 3);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(spent_in(f, 0), 7);
	assert_false(give_back(f, 1, d));
}

static void what_was_given_back_is_returned_with_the_rest(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 5, 0, 50);
	struct app_decision d = app(f, "a", 3);
	assert_true(give_back(f, 2, d));
	pass(f, 200 * MS);
	want(f, 2, "a", 1);
	assert_int_equal(unspent_in(f, 0), 3);
}

/* The other lease ends, and with it the period in which this one's use was counted: what was used then is not
 * known any more. */
static void the_ledger_knows_of_all_that_is_given_back(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants_long(f, 3, 9, 50, 5);
	struct app_decision d = {0};
	for (int i = 0; i < 8; i++)
		d = app(f, "a", 1);
	pass(f, 100 * MS);
	give_back(f, 1, d);
	pass(f, 2000 * MS); /* the sweep comes by */
	assert_int_equal(core_counters(f->core)->repaired, 0);
}

/* A new agent finds the lease as it is. */
static void what_was_taken_under_another_agent_is_not_given_back(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants_long(f, 1, 9, 50, 5);
	struct app_decision d = app(f, "a", 2);
	restart(f);
	core_database_up(f->core, f->now_ns, 2);
	low(f, "a"); /* the client is known again */
	assert_false(give_back(f, 2, d));
}

/* One lease begins later, and two more come, of which one lasts longer: there is room for two. */
static void what_is_waited_for_is_not_replaced_by_what_came_with_it(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 1, 3, 50);
	expect_allowed(f, 1);
	provide(f, 2, "a", 3);
	grants_long(f, 3, 2, 45, 1);
	expect_allowed(f, 2);
	assert_int_equal(app(f, "a", 3).verdict, APP_ALLOWED);
	pass(f, 5 * MS);
	assert_int_equal(unspent_in(f, 0), 2);
	pass(f, SUB_MS * MS);
	assert_int_equal(app(f, "a", 3).verdict, APP_ALLOWED);
}

#define UP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)

int main(void) {
	const struct CMUnitTest tests[] = {
		UP(what_is_provided_is_in_the_table),
		UP(nothing_is_taken_of_what_is_there),
		UP(who_cannot_be_provided_for_is_denied),
		UP(the_agent_tells_whom_the_store_denies),
		UP(who_is_looked_at_is_not_denied),
		UP(it_is_asked_for_again_until_it_is_there),
		UP(a_relaxed_policy_provides_nothing_in_advance),
		UP(a_fallback_provides_its_own_credits),
		cmocka_unit_test_setup_teardown(without_room_in_the_table_it_is_unavailable, make_small, clean),
		UP(what_lies_in_two_places_is_brought_together),
		UP(it_is_brought_together_for_an_app_that_takes_itself),
		UP(what_is_waited_for_is_not_replaced_by_what_came_with_it),
		UP(who_comes_late_gets_what_the_answer_makes_enough),
		UP(a_look_brings_nothing_together),
		UP(one_who_takes_brings_it_together_beside_a_look),
		UP(nothing_is_brought_together_for_who_has_given_up),
		UP(what_two_leases_hold_is_spent_together),
		UP(an_app_takes_from_both_itself),
		UP(so_is_what_an_earlier_agent_has_left),
		UP(so_it_is_while_the_store_is_away),
		UP(so_it_is_before_an_advance),
		UP(a_look_finds_what_two_leases_hold_and_takes_nothing),
		UP(what_is_not_enough_together_stays_where_it_is),
		UP(it_is_tried_once),
		UP(memory_brings_it_together_too),
		cmocka_unit_test_setup_teardown(nobody_is_remembered_for_nothing, make_small, clean),
		cmocka_unit_test_setup_teardown(in_memory_neither, make_small, clean),
		UP(a_charge_takes_what_the_lease_holds_and_owes_the_rest),
		UP(a_charge_that_a_lease_covers_asks_nobody),
		UP(a_client_may_be_charged_that_never_asked),
		UP(what_is_beyond_the_limit_stays_owed),
		UP(a_charge_whose_answer_is_lost_is_made_again),
		UP(a_fallback_counts_charges_too),
		UP(what_was_reported_as_spent_is_not_given_back),
		UP(what_was_given_back_is_returned_with_the_rest),
		UP(the_ledger_knows_of_all_that_is_given_back),
		UP(what_was_taken_under_another_agent_is_not_given_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
