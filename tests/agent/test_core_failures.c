/*
 * test_core_failures.c - statements that fail, on a database that is there: their answer is lost, comes too
 * late or lacks somebody, or they are rejected, as a whole or because of one client's row. Step by step,
 * against a database that the test plays.
 */
#include "core_fixture.h"

/* ---- Answers that are lost, late or short ----------------------------------------------------- */

static void after_an_unknown_outcome_nothing_is_returned_twice_and_waiters_are_asked_again(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 6, 0, 90);
	expect_allowed(f, 1);
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	want(f, 2, "a", 1);
	assert_int_equal(f->asked[0].report[0].unspent, 5);
	loses_the_answer(f);
	assert_int_equal(core_state(f->core), CORE_CONNECTING);
	expect_silence(f);
	pass(f, 20 * MS);
	expect_no_batch(f);
	comes_up(f);
	expect_batch(f, "a", 1, 1, f->asked[0].want);
	assert_int_equal(f->asked[0].report[0].sub_window, 0);
	assert_int_equal(f->asked[0].report[1].sub_window, 0);
	grants(f, 1, 0, 80);
	expect_allowed(f, 2);
}

/* Of ten, three are spent of a lease that goes on, and that is told with a request for more. */
static void reports_what_was_spent(struct fixture *f) {
	want(f, 1, "a", 1);
	grants_long(f, 1, 10, 80, 5);
	expect_allowed(f, 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	want(f, 2, "a", 20);
	assert_int_equal(report_of(f, 0, TOKEN + (60 + 5 * SUB_MS) * 1000).spent, 3);
	assert_int_equal(spent_in(f, 0), 3);
	assert_int_equal(unspent_in(f, 0), 0);
}

/* It may have been applied: what is told once more would take from the books what others have spent. */
static void after_an_unknown_outcome_what_was_spent_is_not_told_again(void **state) {
	struct fixture *f = *state;
	reports_what_was_spent(f);
	loses_the_answer(f);
	comes_up(f);
	expect_batch(f, "a", 20, 20, f->asked[0].want);
	assert_int_equal(spent_in(f, 0), 0);
	grants(f, 20, 0, 60);
	expect_allowed(f, 2);
	assert_int_equal(app(f, "a", 2).verdict, APP_ALLOWED);
	want(f, 3, "a", 20);
	assert_int_equal(spent_in(f, 0), 2); /* since then */
}

static void after_a_rejection_it_is(void **state) {
	struct fixture *f = *state;
	reports_what_was_spent(f);
	assert_int_equal(app(f, "a", 2).verdict, APP_ALLOWED); /* meanwhile */
	answers(f, LEASE_REJECTED, NULL);
	expect_batch(f, "a", 20, 20, f->asked[0].want);
	assert_int_equal(spent_in(f, 0), 3 + 2);
	grants(f, 20, 0, 60);
	expect_allowed(f, 2);
	want(f, 3, "a", 20);
	assert_int_equal(spent_in(f, 0), 0);
}

/* The lease's other credits go back. */
static void what_was_rejected_joins_what_came_since(void **state) {
	struct fixture *f = *state;
	reports_what_was_spent(f);
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	answers(f, LEASE_REJECTED, NULL);
	struct lease_report report = report_of(f, 0, TOKEN + (60 + 5 * SUB_MS) * 1000);
	assert_int_equal(report.spent, 3);
	assert_int_equal(report.unspent, 7);
}

static void a_lost_connection_with_returns_queued_plans_nothing_before_the_grace_is_over(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 6, 0, 90);
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	core_database_lost(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
	for (int events = 0; core_state(f->core) == CORE_CONNECTING; events++) {
		assert_true(core_next_ns(f->core) > f->now_ns);
		assert_true(events < 20);
		pass(f, core_next_ns(f->core) - f->now_ns);
	}
	assert_int_equal(f->now_ns, START_NS + 500 * MS);
}

/* A server that takes connections and fails at the work. */
static void a_database_that_was_hardly_back_gets_no_new_grace(void **state) {
	struct fixture *f = *state;
	pass(f, 600 * MS);
	core_database_lost(f->core, f->now_ns);
	pass(f, 300 * MS);
	comes_up(f);
	pass(f, 100 * MS);
	core_database_lost(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
	assert_int_equal(core_state(f->core), CORE_CONNECTING);
	pass(f, 110 * MS); /* 510 ms after the first loss */
	assert_int_equal(core_state(f->core), CORE_FALLBACK);
}

static int64_t until_fallback_ns(struct fixture *f) {
	int64_t began_ns = f->now_ns;
	assert_int_equal(core_state(f->core), CORE_CONNECTING);
	while (core_state(f->core) == CORE_CONNECTING)
		pass(f, MS);
	assert_int_equal(core_state(f->core), CORE_FALLBACK);
	return f->now_ns - began_ns;
}

/* Who waits for an answer that never comes has waited since it was asked for: not the whole grace once more. */
static void the_grace_counts_from_the_question_that_has_no_answer(void **state) {
	struct fixture *f = *state;
	pass(f, 1000 * MS);
	want(f, 1, "a", 1);
	pass(f, 400 * MS);
	loses_the_answer(f);
	expect_silence(f);
	assert_int_equal(until_fallback_ns(f), 100 * MS);
	expect_allowed(f, 1);
}

static void and_else_from_the_loss(void **state) {
	struct fixture *f = *state;
	pass(f, 1000 * MS);
	want(f, 1, "a", 1);
	pass(f, 400 * MS);
	grants(f, 1, 0, 90);
	core_database_lost(f->core, f->now_ns);
	assert_int_equal(until_fallback_ns(f), 500 * MS);
}

/* Another database from here on: that the last one kept somebody waiting is none of its business. */
static void a_database_that_takes_anothers_place_has_all_of_it(void **state) {
	struct fixture *f = *state;
	pass(f, 1000 * MS);
	want(f, 1, "a", 1);
	pass(f, 400 * MS);
	core_database_changed(f->core, f->now_ns);
	f->asked_count = 0;
	assert_int_equal(until_fallback_ns(f), 500 * MS);
}

static void an_answer_that_was_lost_before_has_no_part_in_it(void **state) {
	struct fixture *f = *state;
	pass(f, 1000 * MS);
	want(f, 1, "a", 1);
	pass(f, 400 * MS);
	loses_the_answer(f);
	comes_up(f);
	f->asked_count = 0;
	pass(f, 1000 * MS);
	core_database_lost(f->core, f->now_ns);
	assert_int_equal(until_fallback_ns(f), 500 * MS);
}

static void answers_that_are_always_late_end_in_a_denial(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	for (int i = 0; i < 3; i++) {
		expect_silence(f);
		struct lease_grant late = grant_of(f, 1, 0, 90);
		pass(f, SUB_MS * MS);
		answers(f, LEASE_DONE, &late);
	}
	expect_denied(f, 1);
}

static void a_short_answer_counts_as_unknown(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	f->asked_count = 0;
	core_on_grants(f->core, f->now_ns, LEASE_DONE, NULL, 0);
	core_advance(f->core, f->now_ns);
	expect_silence(f);
	expect_batch(f, "a", 1, 1, 1);
}

/* ---- Rejected --------------------------------------------------------------------------------- */

static void a_rejected_client_is_asked_for_once_more_alone_and_then_denied(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 3, 0, 90);
	expect_allowed(f, 1);
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	want(f, 2, "a", 2);
	answers(f, LEASE_REJECTED, NULL);
	assert_int_equal(f->asked[0].report[0].unspent, 2); /* it wasn't applied */
	assert_int_equal(f->asked[0].need, 2);
	expect_silence(f);
	answers(f, LEASE_REJECTED, NULL);
	struct core_verdict v = verdict_of(f, 2);
	assert_false(v.allowed);
	assert_int_equal(v.source, STINT_SOURCE_DATABASE);
	assert_true(v.retry_after_ms > 0);
	want(f, 3, "a", 1); /* and from then on for a while, without a statement */
	assert_false(verdict_of(f, 3).allowed);
	assert_int_equal(core_counters(f->core)->unserved, 1);
}

static void a_rejected_client_does_not_hold_up_the_others(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	want(f, 2, "b", 1);
	want(f, 3, "c", 1);
	grants(f, 1, 0, 90);
	expect_allowed(f, 1);
	assert_int_equal(f->asked_count, 2);
	answers(f, LEASE_REJECTED, NULL);
	expect_batch(f, "b", 1, 1, 1);
	answers(f, LEASE_REJECTED, NULL);
	assert_false(verdict_of(f, 2).allowed);
	expect_batch(f, "c", 1, 1, 1);
	grants(f, 1, 0, 90);
	expect_allowed(f, 3);
}

/* A try holds up all others of the host, however short its sub-windows are. */
static void a_client_that_was_not_served_is_left_alone_for_its_window(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	answers(f, LEASE_REJECTED, NULL);
	answers(f, LEASE_REJECTED, NULL);
	assert_int_equal(verdict_of(f, 1).retry_after_ms, 1000);
	pass(f, 990 * MS);
	want(f, 2, "a", 1);
	assert_false(verdict_of(f, 2).allowed);
	expect_no_batch(f);
	pass(f, 20 * MS);
	want(f, 3, "a", 1);
	grants(f, 1, 0, 90);
	expect_allowed(f, 3);
}

static void three_of_twenty_are_rejected_alone(struct fixture *f) {
	want(f, 1, "z", 1);
	for (uint32_t serial = 2; serial <= 21; serial++) {
		const char id[] = {(char)('a' + serial - 2), '\0'};
		want(f, serial, id, 1);
	}
	grants(f, 1, 0, 90);
	expect_allowed(f, 1);
	assert_int_equal(f->asked_count, 20);
	answers(f, LEASE_REJECTED, NULL);
	for (uint32_t alone = 0; alone < 3; alone++) {
		expect_silence(f);
		assert_int_equal(f->asked_count, 1);
		answers(f, LEASE_REJECTED, NULL);
		expect_denied(f, 2 + alone);
	}
	assert_int_equal(f->asked_count, 17);
}

/* Somebody has locked the table: nobody waits for all to be tried one by one. */
static void after_three_lone_rejections_and_one_of_the_rest_all_are_denied(void **state) {
	struct fixture *f = *state;
	three_of_twenty_are_rejected_alone(f);
	answers(f, LEASE_REJECTED, NULL);
	for (uint32_t serial = 5; serial <= 21; serial++)
		expect_denied(f, serial);
	expect_no_batch(f);
	want(f, 22, "y", 1); /* as long as it lasts */
	answers(f, LEASE_REJECTED, NULL);
	expect_denied(f, 22);
	expect_no_batch(f);
}

/* Or three rows: then the others are served. */
static void three_locked_rows_are_no_locked_table(void **state) {
	struct fixture *f = *state;
	struct lease_grant each[17];
	three_of_twenty_are_rejected_alone(f);
	for (size_t i = 0; i < 17; i++)
		each[i] = grant_of(f, 1, 0, 90);
	answers(f, LEASE_DONE, each);
	for (uint32_t serial = 5; serial <= 21; serial++)
		expect_allowed(f, serial);
}

/* Each time another row is locked, and the one beside it isn't. */
static void rejections_with_others_served_in_between_are_no_locked_table(void **state) {
	struct fixture *f = *state;
	char locked[16], beside[16];
	for (int round = 0; round < 6; round++) {
		snprintf(locked, sizeof(locked), "locked-%d", round);
		snprintf(beside, sizeof(beside), "beside-%d", round);
		want(f, 1, "x", 1);
		want(f, 2, locked, 1);
		want(f, 3, beside, 1);
		grants(f, 1, 0, 90);
		expect_allowed(f, 1);
		assert_int_equal(f->asked_count, 2);
		answers(f, LEASE_REJECTED, NULL);
		expect_batch(f, locked, 1, 1, 1);
		answers(f, LEASE_REJECTED, NULL);
		expect_denied(f, 2);
		expect_batch(f, beside, 1, 1, 1);
		grants(f, 1, 0, 90);
		expect_allowed(f, 3);
	}
}

/* Of two tries of a client the first is no try alone, although nobody else asked with it. */
static void two_locked_rows_and_one_more_are_no_locked_table(void **state) {
	struct fixture *f = *state;
	for (uint32_t serial = 1; serial <= 2; serial++) {
		want(f, serial, serial == 1 ? "a" : "b", 1);
		answers(f, LEASE_REJECTED, NULL);
		answers(f, LEASE_REJECTED, NULL);
		expect_denied(f, serial);
	}
	want(f, 3, "c", 1);
	answers(f, LEASE_REJECTED, NULL);
	want(f, 4, "d", 1);
	answers(f, LEASE_REJECTED, NULL);
	expect_denied(f, 3);
	expect_batch(f, "d", 1, 1, 1);
	grants(f, 1, 0, 90);
	expect_allowed(f, 4);
}

/* ---- A large batch that is rejected ------------------------------------------------------------- */

#define CROWD 50u

static void a_crowd_waits(struct fixture *f) {
	static char ids[CROWD][8];
	want(f, 1000, "first", 1);
	for (uint32_t i = 0; i < CROWD; i++) {
		snprintf(ids[i], sizeof(ids[i]), "%c-%u", i == 20 ? 'x' : 'c', i);
		want(f, i, ids[i], 1);
	}
	grants(f, 1, 0, 90);
	expect_allowed(f, 1000);
	f->told_count = 0;
	assert_int_equal(f->asked_count, CROWD);
}

/* The database refuses whatever has a client in it whose name begins with one of these. The statements that it
 * takes. */
static unsigned refuse_those_with(struct fixture *f, const char *first_letters) {
	unsigned before = f->batches;
	for (bool refuses = false; f->asked_count > 0; refuses = false) {
		struct lease_grant each[CORE_BATCH_MAX];
		for (size_t i = 0; i < f->asked_count; i++) {
			refuses |= strchr(first_letters, f->ids[i][0]) != NULL;
			each[i] = grant_of(f, 1, 0, 90);
		}
		answers(f, refuses ? LEASE_REJECTED : LEASE_DONE, refuses ? NULL : each);
	}
	return f->batches - before;
}

static unsigned allowed_of(const struct fixture *f, uint32_t serial) {
	unsigned allowed = 0, told = 0;
	for (size_t i = 0; i < f->told_count; i++) {
		told += f->told[i].serial == serial;
		allowed += f->told[i].serial == serial && f->told[i].verdict.allowed;
	}
	assert_int_equal(told, 1);
	return allowed;
}

static void one_of_a_crowd_is_found_by_groups(void **state) {
	struct fixture *f = *state;
	a_crowd_waits(f);
	assert_in_range(refuse_those_with(f, "x"), 4 + 16, 4 + 16); /* the groups, and one of them client by client */
	for (uint32_t i = 0; i < CROWD; i++)
		assert_int_equal(allowed_of(f, i), i != 20);
}

/* A deadlock: nobody's fault, so that once more is enough. */
static void a_crowd_that_was_rejected_once_is_served_by_groups(void **state) {
	struct fixture *f = *state;
	a_crowd_waits(f);
	answers(f, LEASE_REJECTED, NULL);
	assert_int_equal(f->asked_count, 16);
	assert_in_range(1 + refuse_those_with(f, ""), 4, 4);
	for (uint32_t i = 0; i < CROWD; i++)
		assert_int_equal(allowed_of(f, i), 1);
}

/* Somebody has locked the table: a group, three of it, the rest. */
static void a_crowd_does_not_wait_for_each_of_it(void **state) {
	struct fixture *f = *state;
	a_crowd_waits(f);
	assert_in_range(refuse_those_with(f, "cx"), 1, 5);
	for (uint32_t i = 0; i < CROWD; i++)
		assert_int_equal(allowed_of(f, i), 0);
}

/* Nobody waits for them, so there is no hurry. */
static void debts_that_are_refused_again_and_again_take_their_time(void **state) {
	struct fixture *f = *state;
	for (uint32_t i = 0; i < 8; i++) {
		want(f, i, &"a\0b\0c\0d\0e\0f\0g\0h"[2 * i], 1);
		grants(f, 6, 0, 90);
		expect_allowed(f, i);
	}
	for (uint32_t i = 0; i < 8; i++)
		core_client_changed(f->core, f->now_ns, 0, &"abcdefgh"[i], 1);
	unsigned before = f->batches;
	for (int i = 0; i < 1000; i++) {
		pass(f, 10 * MS);
		while (f->asked_count > 0)
			answers(f, LEASE_REJECTED, NULL);
	}
	assert_in_range(f->batches - before, 1, 30);
}

/* The database refuses whatever has a client in it whose name begins with "locked". True: it refused something. */
static bool serve_others(struct fixture *f) {
	bool refused_any = false;
	for (int n = 0; f->asked_count > 0 && n < 100; n++) {
		struct lease_grant each[CORE_BATCH_MAX];
		bool refuses = false;
		for (size_t i = 0; i < f->asked_count; i++) {
			refuses |= strncmp(f->ids[i], "locked", 6) == 0;
			each[i] = grant_of(f, f->asked[i].need, 0, 80);
			each[i].charged = f->asked[i].charge;
		}
		refused_any |= refuses;
		answers(f, refuses ? LEASE_REJECTED : LEASE_DONE, refuses ? NULL : each);
	}
	return refused_any;
}

/* Others, one of five every 10 ms for as long. True: something was refused in the last second. */
static bool nobody_else_notices(struct fixture *f, int64_t ms) {
	int64_t refused_ms = -1000;
	for (int64_t at_ms = 0; at_ms < ms; at_ms += 10) {
		const char id[] = {(char)('a' + at_ms / 10 % 5), '\0'};
		pass(f, 10 * MS);
		want(f, 1000, id, 1);
		if (serve_others(f))
			refused_ms = at_ms;
		expect_allowed(f, 1000);
	}
	return refused_ms > ms - 1000;
}

/* Some rows are locked by somebody, and their clients have something to give back. */
static void locked_rows_with_returns_hold_up_nobody_else(void **state) {
	struct fixture *f = *state;
	static const char *const locked[] = {"locked-1", "locked-2", "locked-3", "locked-4", "locked-5"};
	for (uint32_t i = 0; i < 5; i++) {
		want(f, i, locked[i], 1);
		grants(f, 6, 0, 90);
		expect_allowed(f, i);
	}
	for (uint32_t i = 0; i < 5; i++)
		core_client_changed(f->core, f->now_ns, 0, locked[i], (uint8_t)strlen(locked[i]));
	assert_false(nobody_else_notices(f, 10000));
}

static void locked_rows_of_a_fallback_hold_up_nobody_else(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	for (uint32_t i = 0; i < 4; i++) {
		want(f, i, (const char *[]){"locked-1", "locked-2", "locked-3", "locked-4"}[i], 1);
		expect_allowed(f, i);
	}
	comes_up(f);
	assert_false(nobody_else_notices(f, 10000));
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

/* What goes alone must come to its turn, though somebody always waits. */
static void a_rejected_return_is_not_held_up_by_those_who_wait(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 6, 0, 90);
	expect_allowed(f, 1);
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	pass(f, 0);
	pass(f, 10 * MS);
	assert_int_equal(f->asked[0].report[0].unspent, 5);
	want(f, 2, "b", 1);
	answers(f, LEASE_REJECTED, NULL);
	bool came = false;
	for (uint32_t serial = 3; serial < 10 && !came; serial++) {
		const char id[] = {(char)('a' + serial), '\0'};
		want(f, serial, id, 1);
		came |= f->asked[0].report[0].unspent == 5;
		assert_int_equal(f->asked_count, 1);
		grants(f, 1, 0, 90);
	}
	assert_true(came);
}

int main(void) {
#define STEP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(after_an_unknown_outcome_nothing_is_returned_twice_and_waiters_are_asked_again),
		STEP(after_an_unknown_outcome_what_was_spent_is_not_told_again),
		STEP(after_a_rejection_it_is),
		STEP(what_was_rejected_joins_what_came_since),
		STEP(a_lost_connection_with_returns_queued_plans_nothing_before_the_grace_is_over),
		STEP(a_database_that_was_hardly_back_gets_no_new_grace),
		STEP(the_grace_counts_from_the_question_that_has_no_answer),
		STEP(and_else_from_the_loss),
		STEP(a_database_that_takes_anothers_place_has_all_of_it),
		STEP(an_answer_that_was_lost_before_has_no_part_in_it),
		STEP(answers_that_are_always_late_end_in_a_denial),
		STEP(a_short_answer_counts_as_unknown),
		STEP(a_rejected_client_is_asked_for_once_more_alone_and_then_denied),
		STEP(a_rejected_client_does_not_hold_up_the_others),
		STEP(a_client_that_was_not_served_is_left_alone_for_its_window),
		STEP(after_three_lone_rejections_and_one_of_the_rest_all_are_denied),
		STEP(three_locked_rows_are_no_locked_table),
		STEP(rejections_with_others_served_in_between_are_no_locked_table),
		STEP(two_locked_rows_and_one_more_are_no_locked_table),
		STEP(one_of_a_crowd_is_found_by_groups),
		STEP(a_crowd_that_was_rejected_once_is_served_by_groups),
		STEP(a_crowd_does_not_wait_for_each_of_it),
		STEP(debts_that_are_refused_again_and_again_take_their_time),
		STEP(locked_rows_with_returns_hold_up_nobody_else),
		STEP(locked_rows_of_a_fallback_hold_up_nobody_else),
		STEP(a_rejected_return_is_not_held_up_by_those_who_wait),
	};
	return cmocka_run_group_tests_name("core_failures", tests, NULL, NULL);
}
