/*
 * test_core.c - the lease protocol, step by step, against a database that the test plays.
 */
#include "core_fixture.h"

/* ---- Asking --------------------------------------------------------------------------- */

static void first_sight_leases_one_credit(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	expect_batch(f, "a", 1, 1, 1);
	assert_int_equal(f->asked[0].policy_id, 9);
	assert_int_equal(f->asked[0].next_want, 0);
	assert_int_equal(f->hosts, 2);
	grants(f, 1, 0, 99);
	struct core_verdict v = verdict_of(f, 1);
	assert_true(v.allowed);
	assert_int_equal(v.source, STINT_SOURCE_DATABASE);
	assert_int_equal(v.deadline_ns, START_NS + 60 * MS);
	assert_int_equal(v.limit, 100);
	assert_int_equal(v.remaining, 99);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS); /* the one credit is given away */
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
	struct core_verdict v = verdict_of(f, 11);
	assert_false(v.allowed);
	assert_int_equal(v.retry_after_ms, 60);
	expect_allowed(f, 12);
	expect_denied(f, 13);
}

static void a_cost_above_the_limit_is_denied_for_ever(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 101);
	grants(f, 0, 0, 100);
	struct core_verdict v = verdict_of(f, 1);
	assert_false(v.allowed);
	assert_int_equal(v.retry_after_ms, -1);
	want(f, 2, "a", 1); /* cheaper ones are not denied with it */
	grants(f, 1, 0, 99);
	expect_allowed(f, 2);
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

/* ---- Leases in the table ------------------------------------------------------------------ */

static void a_grant_that_comes_too_late_is_returned_and_asked_again(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 1, 0, 99);
	pass(f, 60 * MS);
	answers(f, LEASE_DONE, &grant);
	expect_silence(f);
	assert_int_equal(core_counters(f->core)->late, 1);
	expect_batch(f, "a", 1, 1, 1);
	assert_int_equal(f->asked[0].return_sub_window, grant.sub_window);
	assert_int_equal(f->asked[0].return_first, 1);
	grants(f, 1, 0, 99);
	expect_allowed(f, 1);
}

static void deadlines_count_from_the_send_time(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 5, 5, 90);
	f->now_ns += 20 * MS; /* the answer took so long */
	answers(f, LEASE_DONE, &grant);
	expect_allowed(f, 1);
	for (f->now_ns = START_NS + 60 * MS - 1; app(f, "a", 1).verdict == APP_ALLOWED;)
		;
	f->now_ns = START_NS + 79 * MS; /* and the next begins at the receive time plus starts_in */
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	f->now_ns = START_NS + 80 * MS;
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	f->now_ns = START_NS + 160 * MS;
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

static void slack_widens_a_lease_by_half_on_each_side(void **state) {
	struct fixture *f = *state;
	struct core_policy policy = policy_with(101, 20);
	policy.terms.slack_us = 4000;
	policy_changes(f, policy);
	want(f, 1, "a", 1);
	grants(f, 3, 5, 90);
	assert_int_equal(verdict_of(f, 1).deadline_ns, START_NS + 62 * MS);
	f->now_ns = START_NS + 62 * MS - 1;
	while (app(f, "a", 1).until_ns == START_NS + 62 * MS)
		;
	f->now_ns = START_NS + 58 * MS - 1;
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	f->now_ns++;
	assert_int_equal(app(f, "a", 1).until_ns, START_NS + 162 * MS);
}

static void a_client_is_first_until_the_database_has_answered_for_it(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	assert_true(f->asked[0].first);
	answers(f, LEASE_REJECTED, NULL);
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

static void low_water_asks_for_more_ahead_of_need(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 90);
	expect_allowed(f, 1);
	pass(f, 10 * MS);
	unsigned left = 0;
	for (struct app_decision d = {0}; !d.low; left = d.left)
		assert_int_equal((d = app(f, "a", 1)).verdict, APP_ALLOWED);
	assert_in_range(left, 1, 4);
	low(f, "a");
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].need, 0);
	assert_in_range(f->asked[0].want, 2, 30); /* twice what was used, within the horizon */
	grants(f, 10, 0, 80);
	assert_int_equal(app(f, "a", 1).left, left + 10 - 1);
}

static void an_active_client_has_its_next_lease_before_the_edge(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 20, 0, 80);
	for (int edges = 0; edges < 5; edges++)
		for (int64_t end_ns = f->end_ns; f->now_ns < end_ns; pass(f, 5 * MS)) {
			struct app_decision d = app(f, "a", 1);
			assert_int_equal(d.verdict, APP_ALLOWED);
			assert_true(!d.low || edges < 2); /* a lease ahead lasts, once the rate is known */
			if (d.low)
				low(f, "a");
			if (f->asked_count > 0) {
				assert_int_equal(f->asked[0].need, 0);
				assert_true(f->asked[0].next_want == 0 || f->end_ns - f->now_ns <= 50 * MS);
				grants(f, f->asked[0].want, f->asked[0].next_want, 50);
			}
		}
}

/* The request was on its way for longer than a sub-window: the lease ahead ends before the one that comes with the next
 * answer, and would pass for the earlier of the two. */
static void a_lease_ahead_is_not_opened_by_one_that_ends_after_it(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	f->now_ns = START_NS + 70 * MS;
	f->end_ns = START_NS + 120 * MS;
	struct lease_grant grant = grant_of(f, 1, 5, 50);
	grant.valid_us = grant.starts_in_us = 55000; /* by the database's clock, 5 ms ago */
	grant.next_valid_us = 115000;
	answers(f, LEASE_DONE, &grant); /* too late for who waits */
	f->now_ns += 2 * MS;
	grants(f, 3, 0, 50);
	assert_int_equal(verdict_of(f, 1).allowed, true);
	for (int i = 0; i < 2; i++)
		assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	assert_int_not_equal(app(f, "a", 1).verdict, APP_ALLOWED);
}

/* A check every 200 ms through some sub-windows of this length. How many requests the agent made meanwhile, but for those of the
 * first sub-window, when it gets to know the client. */
static unsigned requests_of_a_slow_client(struct fixture *f, int64_t sub_ms) {
	const unsigned edges = 5;
	unsigned requests = 0, asked = 0;
	struct core_policy policy = policy_with(1000000, 20);
	policy.terms.sub_window_us = sub_ms * 1000;
	policy_changes(f, policy);
	int64_t start_ns = f->now_ns, last_ns = start_ns + edges * sub_ms * MS;
	want(f, 1, "a", 1);
	while (f->now_ns < last_ns - 10 * MS) {
		int64_t number = (f->now_ns - start_ns) / (sub_ms * MS);
		f->end_ns = start_ns + (number + 1) * sub_ms * MS;
		if (f->asked_count > 0) {
			struct lease_grant grant = grant_of(f, f->asked[0].want, f->asked[0].next_want, 900000);
			grant.sub_window = TOKEN + number * sub_ms * 1000;
			grant.next_valid_us = grant.valid_us + sub_ms * 1000;
			requests += number > 0;
			answers(f, LEASE_DONE, &grant);
		}
		if ((f->now_ns - start_ns) % (200 * MS) == 100 * MS) {
			struct app_decision d = app(f, "a", 1);
			if (d.verdict == APP_ASKS)
				want(f, 2, "a", 1);
			asked += d.verdict == APP_ASKS;
			assert_true(asked <= 2); /* in the beginning, and at no edge */
			if (d.low)
				low(f, "a");
		}
		f->now_ns += 10 * MS;
		core_advance(f->core, f->now_ns);
	}
	return requests / (edges - 1);
}

/* A lease ahead, what the one before it left, and hardly ever more in between. */
static void a_slow_client_keeps_its_lease_over_the_edge(void **state) {
	assert_in_range(requests_of_a_slow_client(*state, 6000), 1, 3);
}

/* Here its rate is seen by periods of 5 s, and a lease ahead is for one of them. */
static void a_slow_client_keeps_its_lease_in_a_long_sub_window(void **state) {
	assert_in_range(requests_of_a_slow_client(*state, 30000), 1, 12);
}

/* How long before an edge a host with this seed asks for the next lease, in ms. */
static int64_t lead_ms_with(struct fixture *f, uint64_t seed, const char *client) {
	core_free(f->core);
	f->seed = seed;
	start_core(f, false, 9);
	core_database_up(f->core, f->now_ns, 2);
	struct core_policy policy = policy_with(1000, 20);
	policy.terms.sub_window_us = 1000000;
	policy_changes(f, policy);
	want(f, 1, client, 5);
	struct lease_grant grant = grant_of(f, 1000, 0, 0);
	grant.valid_us = grant.starts_in_us = 1000000;
	answers(f, LEASE_DONE, &grant);
	int64_t edge_ns = f->now_ns + 1000 * MS;
	while (f->asked_count == 0 && f->now_ns < edge_ns) {
		app(f, client, 1);
		pass(f, 1 * MS);
	}
	assert_true(f->asked[0].next_want > 0);
	grants(f, 0, 0, 0);
	return (edge_ns - f->now_ns) / MS;
}

/* It may begin by the time of its receiving only when it is over by that of its sending. */
static void a_lease_ahead_that_no_time_is_left_for_goes_back(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 1, 5, 50);
	pass(f, (SUB_MS + 50) * MS);
	answers(f, LEASE_DONE, &grant);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].return_sub_window, grant.sub_window);
	assert_int_equal(f->asked[0].return_first, 1);
	assert_int_equal(f->asked[0].return_second, 5);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

static void hosts_lease_ahead_at_different_moments(void **state) {
	struct fixture *f = *state;
	assert_int_equal(lead_ms_with(f, 1, "a"), 50);
	assert_int_equal(lead_ms_with(f, UINT64_C(0x80) << 56, "b"), 62);
	assert_int_equal(lead_ms_with(f, UINT64_MAX, "c"), 74);
}

static void a_fixed_window_that_is_over_gets_nothing_back(void **state) {
	struct fixture *f = *state;
	struct core_policy policy = policy_with(100, 20);
	policy.terms.runs = 0;
	policy_changes(f, policy);
	want(f, 1, "a", 1);
	grants(f, 10, 0, 90);
	int64_t end_ns = f->end_ns;
	while (f->now_ns < end_ns + 300 * MS) {
		pass(f, 1 * MS);
		expect_no_batch(f);
	}
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

static void an_idle_client_gets_no_next_lease_and_returns_what_it_has(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 10, 0, 90);
	answers(f, LEASE_DONE, &grant);
	for (int i = 0; i < 20 && f->asked_count == 0; i++)
		pass(f, 5 * MS);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].next_want, 0);
	assert_int_equal(f->asked[0].return_sub_window, grant.sub_window);
	assert_int_equal(f->asked[0].return_first, 9);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS); /* destroyed before it is offered */
	grants(f, 0, 0, 99);
	pass(f, 200 * MS);
	expect_no_batch(f);
}

static void a_scribbled_word_returns_no_more_than_was_granted(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 4, 0, 90);
	uint32_t slot = app_find(&f->table, 0, "a", 1);
	for (int bank = 0; bank < 2; bank++)
		atomic_store(&f->table.table.slots[slot].word[bank], word_make(77, 1000000, 0));
	core_drain(f->core, f->now_ns);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].return_first, 4);
	assert_int_equal(f->asked[0].return_second, 0);
}

/* ---- Denials ------------------------------------------------------------------------------ */

static void a_denial_is_cached_until_the_next_edge(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 0, 0, 0);
	assert_int_equal(verdict_of(f, 1).retry_after_ms, 360);
	assert_int_equal(app(f, "a", 1).verdict, APP_DENIED);
	want(f, 2, "a", 1); /* a message that crossed it is answered without the database */
	expect_denied(f, 2);
	low(f, "a");
	expect_no_batch(f);
	f->now_ns += 60 * MS - 1000;
	assert_int_equal(app(f, "a", 1).verdict, APP_DENIED);
	f->now_ns += 1000;
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
	assert_int_equal(f->asked[0].return_sub_window, grant.sub_window);
	assert_int_equal(f->asked[0].return_first, 4);
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

/* ---- Answers that don't come ----------------------------------------------------------------- */

static void after_an_unknown_outcome_nothing_is_returned_twice_and_waiters_are_asked_again(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 6, 0, 90);
	expect_allowed(f, 1);
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	want(f, 2, "a", 1);
	assert_int_equal(f->asked[0].return_first, 5);
	loses_the_answer(f);
	assert_int_equal(core_state(f->core), CORE_CONNECTING);
	expect_silence(f);
	pass(f, 20 * MS);
	expect_no_batch(f);
	comes_up(f);
	expect_batch(f, "a", 1, 1, 2);
	assert_int_equal(f->asked[0].return_sub_window, 0);
	assert_int_equal(f->asked[0].return_first, 0);
	grants(f, 1, 0, 80);
	expect_allowed(f, 2);
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

static void a_rejected_client_is_asked_for_once_more_alone_and_then_denied(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 3, 0, 90);
	expect_allowed(f, 1);
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	want(f, 2, "a", 2);
	answers(f, LEASE_REJECTED, NULL);
	assert_int_equal(f->asked[0].return_first, 2); /* it wasn't applied */
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

/* What goes alone must come to its turn, though somebody always waits. */
static void a_rejected_return_is_not_held_up_by_those_who_wait(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 6, 0, 90);
	expect_allowed(f, 1);
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	pass(f, 10 * MS);
	assert_int_equal(f->asked[0].return_first, 5);
	want(f, 2, "b", 1);
	answers(f, LEASE_REJECTED, NULL);
	bool came = false;
	for (uint32_t serial = 3; serial < 10 && !came; serial++) {
		const char id[] = {(char)('a' + serial), '\0'};
		want(f, serial, id, 1);
		came |= f->asked[0].return_first == 5;
		assert_int_equal(f->asked_count, 1);
		grants(f, 1, 0, 90);
	}
	assert_true(came);
}

/* A cost above the limit never fits; a cost of 1 does again, later. */
static void a_cost_above_the_limit_does_not_make_a_client_look_blocked(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 101);
	struct lease_grant never = grant_of(f, 0, 0, 0);
	never.retry_us = -1;
	answers(f, LEASE_DONE, &never);
	assert_int_equal(verdict_of(f, 1).retry_after_ms, -1);
	want(f, 2, "a", 1);
	struct core_verdict v = verdict_of(f, 2);
	assert_false(v.allowed);
	assert_int_equal(v.limit, 100);
	assert_true(v.retry_after_ms > 0);
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

/* The sub-window has long begun when the burst does. */
static void a_burst_in_a_long_sub_window_asks_a_few_times_only(void **state) {
	struct fixture *f = *state;
	struct core_policy month = policy_with(1000000, 20);
	unsigned before = f->batches;
	month.time_window_ms = 2592000000;
	month.terms.sub_window_us = 2592000000000;
	month.terms.runs = 0;
	policy_changes(f, month);
	f->end_ns = f->now_ns + 1000000000 * MS;
	for (uint32_t i = 0; i < 5000; i++) {
		struct app_decision decision = app(f, "a", 1);
		if (decision.verdict == APP_ASKS) {
			want(f, i, "a", 1);
			grants(f, f->asked[0].want, 0, 900000);
			expect_allowed(f, i);
		} else if (decision.low) {
			low(f, "a");
			if (f->asked_count)
				grants(f, f->asked[0].want, 0, 900000);
		}
		pass(f, MS);
	}
	assert_in_range(f->batches - before, 1, 60);
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

/* ---- The end ------------------------------------------------------------------------------------ */

static void drain_returns_everything_and_is_done(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 8, 0, 90);
	struct lease_grant grant = grant_of(f, 8, 6, 90);
	want(f, 2, "b", 1);
	answers(f, LEASE_DONE, &grant);
	core_drain(f->core, f->now_ns);
	assert_false(core_is_drained(f->core));
	assert_int_equal(f->asked_count, 2);
	assert_int_equal(f->asked[0].return_first + f->asked[1].return_first, 7 + 7);
	assert_int_equal(f->asked[0].return_second + f->asked[1].return_second, 6);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	answers(f, LEASE_DONE, (struct lease_grant[]){grant_of(f, 0, 0, 90), grant_of(f, 0, 0, 90)});
	assert_true(core_is_drained(f->core));
	want(f, 3, "a", 1); /* who still asks gets no more than that */
	expect_batch(f, "a", 1, 1, 1);
}

int main(void) {
#define STEP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(first_sight_leases_one_credit),
		STEP(requests_gather_while_a_batch_is_under_way),
		STEP(who_waits_is_served_in_order_as_far_as_it_goes),
		STEP(a_cost_above_the_limit_is_denied_for_ever),
		STEP(who_joins_late_takes_what_is_left_or_asks_again),
		STEP(who_gave_up_gets_no_verdict),
		STEP(late_joiners_stay_late_when_others_give_up),
		STEP(an_unknown_policy_is_said_so),
		STEP(a_grant_that_comes_too_late_is_returned_and_asked_again),
		STEP(deadlines_count_from_the_send_time),
		STEP(slack_widens_a_lease_by_half_on_each_side),
		STEP(a_client_is_first_until_the_database_has_answered_for_it),
		STEP(low_water_asks_for_more_ahead_of_need),
		STEP(an_active_client_has_its_next_lease_before_the_edge),
		STEP(a_lease_ahead_is_not_opened_by_one_that_ends_after_it),
		STEP(a_slow_client_keeps_its_lease_over_the_edge),
		STEP(a_slow_client_keeps_its_lease_in_a_long_sub_window),
		STEP(a_lease_ahead_that_no_time_is_left_for_goes_back),
		STEP(hosts_lease_ahead_at_different_moments),
		STEP(a_fixed_window_that_is_over_gets_nothing_back),
		STEP(an_idle_client_gets_no_next_lease_and_returns_what_it_has),
		STEP(a_scribbled_word_returns_no_more_than_was_granted),
		STEP(a_denial_is_cached_until_the_next_edge),
		STEP(only_what_did_not_fit_is_denied),
		STEP(a_change_of_the_policy_lifts_denials_and_voids_leases),
		STEP(a_clients_override_voids_only_its_own),
		STEP(after_an_unknown_outcome_nothing_is_returned_twice_and_waiters_are_asked_again),
		STEP(a_lost_connection_with_returns_queued_plans_nothing_before_the_grace_is_over),
		STEP(a_database_that_was_hardly_back_gets_no_new_grace),
		STEP(a_rejected_client_is_asked_for_once_more_alone_and_then_denied),
		STEP(a_rejected_client_does_not_hold_up_the_others),
		STEP(a_client_that_was_not_served_is_left_alone_for_its_window),
		STEP(after_three_lone_rejections_and_one_of_the_rest_all_are_denied),
		STEP(three_locked_rows_are_no_locked_table),
		STEP(debts_that_are_refused_again_and_again_take_their_time),
		STEP(a_rejected_return_is_not_held_up_by_those_who_wait),
		STEP(a_cost_above_the_limit_does_not_make_a_client_look_blocked),
		STEP(answers_that_are_always_late_end_in_a_denial),
		STEP(a_denial_in_a_long_sub_window_is_not_cached_for_long),
		STEP(a_burst_in_a_long_sub_window_asks_a_few_times_only),
		STEP(a_short_answer_counts_as_unknown),
		STEP(drain_returns_everything_and_is_done),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
