/*
 * test_core_failures.c - statements that fail, on a database that is there: their answer is lost, comes too
 * late or lacks somebody, or they are refused. Step by step, against a database that the test plays.
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

static void a_statement_that_is_refused_is_asked_once_more_at_once(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	want(f, 2, "b", 1);
	want(f, 3, "c", 1);
	grants(f, 1, 0, 90);
	expect_allowed(f, 1);
	assert_int_equal(f->asked_count, 2);
	assert_false(f->asked[0].skip);
	answers(f, LEASE_REJECTED, NULL);
	assert_int_equal(f->asked_count, 2);
	assert_true(f->asked[0].skip && f->asked[1].skip);
	expect_silence(f);
}

/* The next time after some milliseconds, and then less and less often: until those who wait are denied. */
static void one_that_is_always_refused_ends_in_a_denial(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 3, 0, 90);
	expect_allowed(f, 1);
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	want(f, 2, "a", 2);
	int64_t began_ns = f->now_ns;
	unsigned before = f->batches;
	while (f->told_count == 0) {
		if (f->asked_count > 0) {
			assert_int_equal(f->asked[0].report[0].unspent, 2); /* it wasn't applied */
			assert_int_equal(f->asked[0].need, 2);
			answers(f, LEASE_REJECTED, NULL);
		}
		pass(f, MS);
	}
	assert_in_range((f->now_ns - began_ns) / MS, 250, 280);
	assert_in_range(f->batches - before, 10, 25);
	struct core_verdict v = verdict_of(f, 2);
	assert_false(v.allowed);
	assert_int_equal(v.source, STINT_SOURCE_DATABASE);
	assert_true(v.retry_after_ms > 0);
	want(f, 3, "a", 1); /* and from then on for a while, without a statement */
	assert_false(verdict_of(f, 3).allowed);
	assert_int_equal(core_counters(f->core)->unserved, 1);
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
		STEP(a_statement_that_is_refused_is_asked_once_more_at_once),
		STEP(one_that_is_always_refused_ends_in_a_denial),
		STEP(debts_that_are_refused_again_and_again_take_their_time),
	};
	return cmocka_run_group_tests_name("core_failures", tests, NULL, NULL);
}
