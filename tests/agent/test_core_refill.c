/*
 * test_core_refill.c - more before it is needed: when an active client's next credits are asked for, and how
 * many, so that it never waits and the database is not asked for each of its checks. Step by step, against a
 * database that the test plays.
 */
#include "core_fixture.h"

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
	struct core_policy policy = policy_with(101, 20);
	policy.terms.slack_us = 1000; /* for the clocks */
	policy_changes(f, policy);
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
				assert_true(f->asked[0].next_want == 0 || f->end_ns - f->now_ns <= 51 * MS);
				grants(f, f->asked[0].want, f->asked[0].next_want, 50);
			}
		}
}

/* A second credit, and the client is worth a lease ahead. */
static void from_two_checks_on_a_client_is_busy(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 90);
	expect_allowed(f, 1);
	want(f, 1, "b", 1);
	grants(f, 9, 0, 90);
	expect_allowed(f, 1);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	for (int i = 0; i < 58 && f->asked_count == 0; i++)
		pass(f, MS);
	assert_int_equal(f->asked_count, 1);
	assert_string_equal(f->ids[0], "a");
	assert_true(f->asked[0].next_want > 0);
}

/* It was in the sub-window before. */
static void who_was_busy_is_expected_to_go_on(void **state) {
	struct fixture *f = *state;
	bool asked_ahead = false;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 90);
	expect_allowed(f, 1);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	pass(f, 20 * MS);
	assert_true(f->asked[0].next_want > 0);
	grants(f, 0, 9, 80);
	pass(f, 41 * MS);
	assert_int_equal(app(f, "a", 1).left, 8);
	for (int i = 0; i < 98; i++) {
		pass(f, MS);
		if (f->asked_count > 0) {
			asked_ahead |= f->asked[0].next_want > 0;
			grants(f, 0, 0, 80);
		}
	}
	assert_true(asked_ahead);
}

/* How long before an edge a host with this seed, whose database answers after so long, asks for the next lease,
 * in ms. */
static int64_t lead_ms_with(struct fixture *f, uint64_t seed, int64_t sub_ms, int64_t took_ms,
                            const char *client) {
	core_free(f->core);
	f->seed = seed;
	start_core(f, false, 9);
	core_database_up(f->core, f->now_ns, 2);
	struct core_policy policy = policy_with(1000, 20);
	policy.terms.sub_window_us = sub_ms * 1000;
	policy_changes(f, policy);
	want(f, 1, client, 5);
	struct lease_grant grant = grant_of(f, 1000, 0, 0);
	grant.valid_us = grant.starts_in_us = sub_ms * 1000;
	int64_t edge_ns = f->now_ns + AT_LEAST(sub_ms * MS);
	f->now_ns += took_ms * MS;
	answers(f, LEASE_DONE, &grant);
	while (f->asked_count == 0 && f->now_ns < edge_ns) {
		app(f, client, 1);
		pass(f, 1 * MS);
	}
	assert_true(f->asked[0].next_want > 0);
	grants(f, 0, 0, 0);
	return (edge_ns - f->now_ns + MS - 1) / MS;
}

static void hosts_lease_ahead_at_different_moments(void **state) {
	struct fixture *f = *state;
	assert_int_equal(lead_ms_with(f, 1, 1000, 0, "a"), 50);
	assert_int_equal(lead_ms_with(f, UINT64_C(0x80) << 56, 1000, 0, "b"), 63);
	assert_int_equal(lead_ms_with(f, UINT64_MAX, 1000, 0, "c"), 75);
}

static void a_slow_database_is_asked_earlier(void **state) {
	struct fixture *f = *state;
	assert_int_equal(lead_ms_with(f, 1, 1000, 6, "a"), 50); /* eight round trips are less than that */
	assert_int_equal(lead_ms_with(f, 1, 1000, 20, "b"), 160);
}

/* Before that hardly anything is known of what the client uses in it. */
static void the_next_lease_is_not_asked_for_in_the_first_half(void **state) {
	struct fixture *f = *state;
	assert_int_equal(lead_ms_with(f, UINT64_MAX, 100, 0, "a"), 50);
	assert_int_equal(lead_ms_with(f, 1, 200, 20, "b"), 100);
}

/* A check every 200 ms through some sub-windows of this length. How many requests the agent made meanwhile, but
 * for those of the first sub-window, when it gets to know the client. */
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

int main(void) {
#define STEP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(low_water_asks_for_more_ahead_of_need),
		STEP(an_active_client_has_its_next_lease_before_the_edge),
		STEP(from_two_checks_on_a_client_is_busy),
		STEP(who_was_busy_is_expected_to_go_on),
		STEP(hosts_lease_ahead_at_different_moments),
		STEP(a_slow_database_is_asked_earlier),
		STEP(the_next_lease_is_not_asked_for_in_the_first_half),
		STEP(a_slow_client_keeps_its_lease_over_the_edge),
		STEP(a_slow_client_keeps_its_lease_in_a_long_sub_window),
		STEP(a_burst_in_a_long_sub_window_asks_a_few_times_only),
	};
	return cmocka_run_group_tests_name("core_refill", tests, NULL, NULL);
}
