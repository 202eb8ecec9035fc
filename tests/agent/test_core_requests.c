/*
 * test_core_requests.c - who asks and what each is told: requests are gathered into batches, served in order as
 * far as a grant goes, and denied without the database where it has just said no. Step by step, against a
 * database that the test plays.
 */
#include "core_fixture.h"

#include <unistd.h>

#include "process.h"

/* ---- Asking ----------------------------------------------------------------------------------- */

static void first_sight_leases_one_credit(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	expect_batch(f, "a", 1, 1, 1);
	assert_int_equal(f->asked[0].policy_id, 9);
	assert_int_equal(f->asked[0].next_want, 0);
	assert_int_equal(f->asked[0].span, 10); /* a lease may last for all of the window */
	grants(f, 1, 0, 99);
	struct core_verdict v = verdict_of(f, 1);
	assert_true(v.allowed);
	assert_int_equal(v.source, STINT_SOURCE_DATABASE);
	assert_int_equal(v.deadline_ns, START_NS + AT_LEAST(60 * MS));
	assert_int_equal(v.limit, 100);
	assert_int_equal(v.remaining, 99);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS); /* the one credit is given away */
}

/* It counts who serves a client. */
static void the_database_is_told_which_host_asks(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	assert_int_equal(f->host, 0);
	grants(f, 1, 0, 99);
	core_free(f->core);
	f->seed = UINT64_C(64) << 56; /* one of 63 */
	f->told_count = 0;
	start_core(f, false, 9);
	comes_up(f);
	want(f, 2, "b", 1);
	assert_int_equal(f->host, 1);
}

static void requests_gather_while_a_batch_is_under_way(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	want(f, 2, "b", 2);
	want(f, 3, "b", 1);
	want(f, 4, "c", 1);
	assert_int_equal(f->batches, 1);
	grants(f, 1, 0, 99);
	expect_allowed(f, 1);
	assert_int_equal(f->batches, 2);
	assert_int_equal(f->asked_count, 2);
	assert_string_equal(f->ids[0], "b");
	assert_int_equal(f->asked[0].need, 3);
	assert_int_equal(f->asked[0].least, 1);
	assert_string_equal(f->ids[1], "c");
	answers(f, LEASE_DONE, (struct lease_grant[]){grant_of(f, 3, 0, 97), grant_of(f, 0, 0, 0)});
	expect_allowed(f, 2);
	expect_allowed(f, 3);
	expect_denied(f, 4);
	expect_no_batch(f);
}

static void requests_and_batches_are_counted(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	want(f, 2, "b", 1);
	want(f, 3, "c", 1);
	grants(f, 1, 0, 99);
	assert_int_equal(core_counters(f->core)->batches, 2);
	assert_int_equal(core_counters(f->core)->requests, 3);
}

static void who_waits_is_served_in_order_as_far_as_it_goes(void **state) {
	struct fixture *f = *state;
	want(f, 1, "x", 1);
	for (uint32_t i = 0; i < 4; i++)
		want(f, 10 + i, "a", (const uint32_t[]){2, 3, 1, 1}[i]);
	grants(f, 1, 0, 0);
	expect_allowed(f, 1);
	expect_batch(f, "a", 7, 1, 7);
	grants(f, 3, 0, 0);
	expect_allowed(f, 10);
	expect_allowed(f, 12);
	struct core_verdict v = verdict_of(f, 11);
	assert_false(v.allowed);
	assert_int_equal(v.retry_after_ms, 60);
	expect_denied(f, 13);
}

static void who_joins_late_takes_what_is_left_or_asks_again(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	want(f, 2, "a", 1);
	want(f, 3, "a", 5);
	grants(f, 2, 0, 50);
	expect_allowed(f, 1);
	expect_allowed(f, 2);
	expect_silence(f);
	assert_int_equal(f->asked[0].need, 5);
	want(f, 4, "a", 1);
	grants(f, 0, 0, 0); /* nothing is left: no use to ask once more */
	expect_denied(f, 3);
	expect_denied(f, 4);
	expect_no_batch(f);
}

/* How many may wait is limited at each moment, not over the agent's life. */
static void who_joins_late_is_served_by_the_lease_that_came(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	want(f, 2, "a", 1);
	want(f, 3, "a", 1);
	grants_long(f, 1, 2, 0, 10); /* all that there was */
	expect_allowed(f, 1);
	expect_allowed(f, 2);
	expect_allowed(f, 3);
	expect_no_batch(f);
}

static void who_has_been_answered_waits_no_more(void **state) {
	struct fixture *f = *state;
	for (uint32_t i = 0; i < 100000; i++) {
		want(f, i, "a", 1);
		grants(f, 1, 0, 90);
		expect_allowed(f, i);
	}
}

static void who_gave_up_gets_no_verdict(void **state) {
	struct fixture *f = *state;
	want(f, 1, "x", 1);
	want_until(f, 2, "a", 3, 10 * MS);
	want_until(f, 3, "a", 1, 30 * MS);
	pass(f, 10 * MS);
	grants(f, 1, 0, 9);
	expect_allowed(f, 1);
	assert_int_equal(f->asked[0].need, 1); /* nor is it asked for */
	struct lease_grant grant = grant_of(f, 1, 0, 9);
	pass(f, 25 * MS);
	answers(f, LEASE_DONE, &grant);
	expect_silence(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED); /* its credit serves another */
}

static void late_joiners_stay_late_when_others_give_up(void **state) {
	struct fixture *f = *state;
	want_until(f, 1, "a", 1, 10 * MS);
	want_until(f, 2, "a", 1, 10 * MS);
	want(f, 3, "a", 5); /* after the batch */
	pass(f, 10 * MS);
	grants(f, 1, 0, 9);
	expect_silence(f);
	assert_int_equal(f->asked[0].need, 6 - 1);
}

/* Each may cost as much as the largest limit: together they are no less than one. */
static void what_many_want_together_is_no_more_than_the_largest_limit(void **state) {
	struct fixture *f = *state;
	policy_changes(f, policy_with(STINT_FALLBACK_REQUESTS_MAX, 20));
	want(f, 1, "x", 1);
	for (uint32_t i = 0; i < 5; i++)
		want(f, 10 + i, "a", STINT_FALLBACK_REQUESTS_MAX);
	grants(f, 1, 0, 0);
	expect_allowed(f, 1);
	expect_batch(f, "a", STINT_FALLBACK_REQUESTS_MAX, STINT_FALLBACK_REQUESTS_MAX, STINT_FALLBACK_REQUESTS_MAX);
	grants(f, STINT_FALLBACK_REQUESTS_MAX, 0, 0);
	expect_allowed(f, 10);
	for (uint32_t i = 1; i < 5; i++)
		expect_denied(f, 10 + i);
}

static void what_is_left_of_the_grant_remains_as_well(void **state) {
	struct fixture *f = *state;
	want(f, 1, "x", 1);
	want(f, 2, "a", 2);
	want(f, 3, "a", 3);
	grants(f, 1, 0, 0);
	expect_allowed(f, 1);
	grants(f, 9, 0, 40); /* of 100: what others hold is gone, what this host got isn't yet */
	assert_int_equal(verdict_of(f, 2).remaining, 40 + 7);
	assert_int_equal(verdict_of(f, 3).remaining, 40 + 4);
	uint64_t granted = core_counters(f->core)->granted;
	assert_int_equal(granted, 1 + 9);
}

static void an_unknown_policy_is_said_so(void **state) {
	struct fixture *f = *state;
	core_want(f->core, f->now_ns, 1, 5, 3, "a", 1, 1, f->now_ns + MS);
	assert_int_equal(f->told[0].verdict.status, STINT_ENOPOLICY);
	f->told_count = 0;
	want(f, 6, "a", 1); /* the database has dropped it meanwhile */
	answers(f, LEASE_DONE, &(struct lease_grant){.answered = false});
	assert_int_equal(f->told[0].verdict.status, STINT_ENOPOLICY);
	expect_no_batch(f);
}

static void a_client_is_first_until_the_database_has_answered_for_it(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	assert_true(f->asked[0].first);
	grants(f, 1, 0, 90);
	expect_allowed(f, 1);
	want(f, 2, "a", 1);
	assert_false(f->asked[0].first);
	grants(f, 1, 0, 89);
	pass(f, 200 * MS);
	want(f, 3, "a", 1);
	assert_false(f->asked[0].first); /* nor in a later sub-window */
	want(f, 4, "b", 1);
	grants(f, 1, 0, 90);
	assert_int_equal(f->asked_count, 1);
	assert_true(f->asked[0].first);
}

/* ---- Denials ---------------------------------------------------------------------------------- */

static void a_denial_is_cached_until_the_next_edge(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 0, 0, 0);
	assert_int_equal(verdict_of(f, 1).retry_after_ms, 360);
	assert_int_equal(app(f, "a", 1).verdict, APP_DENIED);
	want(f, 2, "a", 1); /* a message that crossed it is answered without the database, and told the same */
	assert_int_equal(verdict_of(f, 2).retry_after_ms, 360);
	low(f, "a");
	expect_no_batch(f);
	f->now_ns += 58 * MS; /* it ends with a tick of about a millisecond */
	assert_int_equal(app(f, "a", 1).verdict, APP_DENIED);
	f->now_ns += AT_LEAST(60 * MS) - 58 * MS;
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

/* What the database says is of the least that was wanted when it was asked: of a cost above the limit, and
 * never. */
static void who_came_after_the_request_is_told_of_itself(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 101);
	want(f, 2, "a", 1);
	struct lease_grant grant = grant_of(f, 0, 0, 0);
	grant.retry_us = -1;
	answers(f, LEASE_DONE, &grant);
	expect_denied(f, 1);
	assert_int_equal(verdict_of(f, 2).retry_after_ms, 60);
}

static void a_denial_in_a_long_sub_window_is_not_cached_for_long(void **state) {
	struct fixture *f = *state;
	struct core_policy day = policy_with(100, 20);
	day.time_window_ms = 86400000;
	day.terms.sub_window_us = 86400000000;
	day.terms.runs = 0;
	policy_changes(f, day);
	want(f, 1, "a", 1);
	f->end_ns = f->now_ns + 80000000 * MS;
	grants(f, 0, 0, 0);
	expect_denied(f, 1);
	assert_int_equal(app(f, "a", 1).verdict, APP_DENIED);
	pass(f, 7000 * MS); /* others have returned what they didn't use */
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

static void only_what_did_not_fit_is_denied(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 8);
	grants(f, 0, 0, 5);
	expect_denied(f, 1);
	assert_int_equal(app(f, "a", 9).verdict, APP_DENIED);
	assert_int_equal(app(f, "a", 8).verdict, APP_DENIED);
	assert_int_equal(app(f, "a", 7).verdict, APP_ASKS);
}

static void a_cost_above_the_limit_is_denied_for_ever(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 101);
	grants(f, 0, 0, 100);
	struct core_verdict v = verdict_of(f, 1);
	assert_false(v.allowed);
	/* never; but who goes by this alone should not ask all the time */
	assert_int_equal(v.retry_after_ms, 10 * SUB_MS);
	assert_int_equal(v.reset_after_ms, 0);
	want(f, 2, "a", 1); /* cheaper ones are not denied with it */
	grants(f, 1, 0, 99);
	expect_allowed(f, 2);
}

/* A cost above the limit never fits; a cost of 1 does again, later. */
static void a_cost_above_the_limit_does_not_make_a_client_look_blocked(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 101);
	struct lease_grant never = grant_of(f, 0, 0, 0);
	never.retry_us = -1;
	answers(f, LEASE_DONE, &never);
	assert_int_equal(verdict_of(f, 1).retry_after_ms, 10 * SUB_MS);
	want(f, 2, "a", 1);
	struct core_verdict v = verdict_of(f, 2);
	assert_false(v.allowed);
	assert_int_equal(v.limit, 100);
	assert_true(v.retry_after_ms > 0);
}

/* ---- Memory ----------------------------------------------------------------------------------- */

/* So much may come for other reasons. */
#define NOISE_KIB 1024

static int64_t resident_kib(void) {
	long shared_kib;
	return process_memory_kib(getpid(), &shared_kib);
}

static void who_was_answered_leaves_nothing_behind(void **state) {
	struct fixture *f = *state;
	int64_t before_kib = 0;
	for (uint32_t i = 0; i < 100000; i++) {
		want(f, i, "a", 1);
		grants(f, 1, 0, 90);
		expect_allowed(f, i);
		if (i == 1000)
			before_kib = resident_kib();
	}
	assert_in_range(resident_kib(), 1, before_kib + NOISE_KIB);
	assert_int_equal(core_queued(f->core), 0);
}

/* Nor who gave up, nor who was turned away. */
static void nor_who_gave_up(void **state) {
	struct fixture *f = *state;
	char id[16];
	int64_t before_kib = 0;
	for (uint32_t round = 0; round < 100; round++) {
		snprintf(id, sizeof(id), "b-%u", round);
		f->end_ns = f->now_ns + 90 * MS;
		want(f, 0, id, 1);
		for (uint32_t i = 1; i < 1000; i++)
			want_until(f, i, "a", 1, MS);
		pass(f, 2 * MS);
		grants(f, 1, 0, 90);
		expect_allowed(f, 0);
		expect_silence(f);
		expect_no_batch(f);
		if (round == 1)
			before_kib = resident_kib();
	}
	assert_in_range(resident_kib(), 1, before_kib + NOISE_KIB);
}

static void nor_whose_policy_is_gone(void **state) {
	struct fixture *f = *state;
	int64_t before_kib = 0;
	for (uint32_t round = 0; round < 100; round++, f->told_count = 0) {
		for (uint32_t i = 0; i < 500; i++)
			want(f, i, "a", 1);
		while (f->asked_count > 0)
			answers(f, LEASE_DONE, &(struct lease_grant){.answered = false});
		assert_int_equal(f->told_count, 500);
		assert_int_equal(f->told[499].verdict.status, STINT_ENOPOLICY);
		if (round == 1)
			before_kib = resident_kib();
	}
	assert_in_range(resident_kib(), 1, before_kib + NOISE_KIB);
}

int main(void) {
#define STEP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(first_sight_leases_one_credit),
		STEP(the_database_is_told_which_host_asks),
		STEP(requests_gather_while_a_batch_is_under_way),
		STEP(requests_and_batches_are_counted),
		STEP(who_waits_is_served_in_order_as_far_as_it_goes),
		STEP(who_joins_late_takes_what_is_left_or_asks_again),
		STEP(who_joins_late_is_served_by_the_lease_that_came),
		STEP(who_has_been_answered_waits_no_more),
		STEP(who_gave_up_gets_no_verdict),
		STEP(late_joiners_stay_late_when_others_give_up),
		STEP(what_many_want_together_is_no_more_than_the_largest_limit),
		STEP(what_is_left_of_the_grant_remains_as_well),
		STEP(an_unknown_policy_is_said_so),
		STEP(a_client_is_first_until_the_database_has_answered_for_it),
		STEP(a_denial_is_cached_until_the_next_edge),
		STEP(who_came_after_the_request_is_told_of_itself),
		STEP(a_denial_in_a_long_sub_window_is_not_cached_for_long),
		STEP(only_what_did_not_fit_is_denied),
		STEP(a_cost_above_the_limit_is_denied_for_ever),
		STEP(a_cost_above_the_limit_does_not_make_a_client_look_blocked),
		STEP(who_was_answered_leaves_nothing_behind),
		STEP(nor_who_gave_up),
		STEP(nor_whose_policy_is_gone),
	};
	return cmocka_run_group_tests_name("core_requests", tests, NULL, NULL);
}
