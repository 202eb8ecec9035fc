/*
 * test_core_refill.c - more before it is needed: when an active client's next credits are asked for, and how
 * many, so that it never waits and the database is not asked for each of its checks. Step by step, against a
 * database that the test plays.
 */
#include "core/grant.h"
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

/* ---- By the database's rules ------------------------------------------------------------------ */

/* One client's row, and how that client fares. */
struct row {
	struct grant_ring ring;
	struct grant_terms terms;
	int64_t next_check_ns;
	int64_t trip_ns;  /* how long an answer takes */
	int64_t ready_ns; /* when the next one is here; 0: nothing is asked */
	bool is_waiting;  /* the client's process does one check at a time */
	unsigned waited;  /* checks that the table had no answer for */
	unsigned checks;
	unsigned statements;
	unsigned ahead;   /* statements for the next sub-window alone */
	unsigned longest; /* sub-windows after the present one that a lease was good for */
};

static void limit_is(struct fixture *f, struct row *row, int32_t max_requests) {
	struct core_policy policy = policy_with(max_requests, 20);
	policy.terms.sub_window_us += 500; /* the slack, for the clocks */
	policy.terms.slack_us = 5000;
	policy_changes(f, policy);
	*row = (struct row){.terms = policy.terms, .next_check_ns = f->now_ns};
}

static void row_answers(struct fixture *f, struct row *row) {
	struct lease_grant grant;
	if (f->asked_count == 0)
		return;
	if (row->ready_ns == 0)
		row->ready_ns = f->now_ns + row->trip_ns;
	if (f->now_ns < row->ready_ns)
		return;
	row->ready_ns = 0;
	assert_int_equal(f->asked_count, 1);
	const struct lease_request *asked = &f->asked[0];
	assert_true(asked->want > 0 || asked->next_want > 0 || unspent_in(f, 0) > 0);
	grant_take(&row->ring, &row->terms, asked, f->now_ns / 1000, 1, &grant);
	row->statements++;
	row->ahead += asked->need == 0 && asked->next_want > 0;
	unsigned span = (unsigned)((grant.next_sub_window - grant.sub_window) / row->terms.sub_window_us);
	if (grant.next_is_open && grant.granted_next > 0 && span > row->longest)
		row->longest = span;
	answers(f, LEASE_DONE, &grant);
}

/* A check each `every_ns`; 0: none. */
static void goes_on(struct fixture *f, struct row *row, int64_t ns, int64_t every_ns) {
	row->waited = row->checks = row->statements = row->ahead = row->longest = 0;
	for (int64_t end_ns = f->now_ns + ns; f->now_ns < end_ns; pass(f, MS)) {
		row_answers(f, row);
		row->is_waiting &= f->told_count == 0;
		f->told_count = 0;
		if (every_ns == 0 || row->is_waiting || f->now_ns < row->next_check_ns)
			continue;
		row->next_check_ns = f->now_ns + every_ns;
		struct app_decision d = app(f, "a", 1);
		row->checks++;
		row->waited += d.verdict == APP_ASKS;
		row->is_waiting = d.verdict == APP_ASKS;
		if (row->is_waiting)
			want(f, 1, "a", 1);
		else if (d.low)
			low(f, "a");
		row_answers(f, row);
	}
}

#define WINDOW_NS (10 * SUB_MS * MS)

static void a_slow_client_gets_a_lease_for_a_window_and_never_waits_again(void **state) {
	struct fixture *f = *state;
	struct row row;
	limit_is(f, &row, 100);
	goes_on(f, &row, 2 * WINDOW_NS, 200 * MS);
	assert_in_range(row.waited, 1, 4);
	goes_on(f, &row, 20 * WINDOW_NS, 200 * MS);
	assert_int_equal(row.checks, 100);
	assert_in_range(row.waited, 0, 1);
	assert_in_range(row.longest, 8, 10); /* as far as the ring reaches back, which its own leases make shorter */
	assert_in_range(row.statements, 15, 45); /* of 100 checks */
}

/* It is expected to go on for a while. */
static void who_stops_is_renewed_no_more_after_a_few_leases(void **state) {
	struct fixture *f = *state;
	struct row row;
	limit_is(f, &row, 100);
	goes_on(f, &row, 10 * WINDOW_NS, 200 * MS);
	goes_on(f, &row, 10 * WINDOW_NS, 0);
	assert_in_range(row.statements, 0, 7);
	goes_on(f, &row, 10 * WINDOW_NS, 0);
	assert_int_equal(row.statements, 0);
}

static void a_hot_client_is_leased_one_sub_window_ahead(void **state) {
	struct fixture *f = *state;
	struct row row;
	limit_is(f, &row, 225);
	goes_on(f, &row, 3 * WINDOW_NS, 5 * MS); /* 200 a window */
	goes_on(f, &row, 20 * WINDOW_NS, 5 * MS);
	assert_in_range(row.waited, 0, row.checks / 200);
	assert_in_range(row.ahead, 190, 210); /* one for each sub-window */
	assert_in_range(row.longest, 0, 2);
}

/* It is far below its limit. Its process does one check at a time, so whoever waits doesn't send meanwhile: which
 * must not be taken for its rate. */
static void a_hot_client_of_a_far_database_hardly_waits(void **state) {
	struct fixture *f = *state;
	struct row row;
	struct core_policy policy = policy_with(20000, 20);
	policy.terms.sub_window_us = 502500;
	policy.terms.slack_us = 5000;
	policy.terms.runs = 2;
	policy_changes(f, policy);
	row = (struct row){.terms = policy.terms, .next_check_ns = f->now_ns, .trip_ns = 77 * MS};
	goes_on(f, &row, 5000 * MS, 4 * MS);
	goes_on(f, &row, 20000 * MS, 4 * MS);
	assert_in_range(row.waited, 0, 10);
	assert_in_range(row.statements, 10, 40);
}

/* Its leases are brief, but no smaller for that: each is twice as large as what was used so far, or so. */
static void the_leases_of_who_begins_to_send_grow_fast(void **state) {
	struct fixture *f = *state;
	struct row row;
	limit_is(f, &row, 1000);
	goes_on(f, &row, 60 * MS, MS);
	assert_in_range(row.statements, 4, 8);
	assert_in_range(row.waited, 1, 3);
}

static void who_begins_to_send_has_its_next_lease_before_the_edge(void **state) {
	struct fixture *f = *state;
	struct row row;
	limit_is(f, &row, 1000);
	goes_on(f, &row, WINDOW_NS, 5 * MS);
	assert_in_range(row.waited, 1, 6);
	assert_in_range(row.statements, 1, 40);
}

/* For 20 windows; meanwhile other hosts admit so many in each sub-window. The row's counts are of all of it. */
static void comes_beside_others(struct fixture *f, struct row *row, int64_t every_ns, int32_t others) {
	const struct lease_request of_others = {.need = others, .least = others, .want = others};
	struct lease_grant ignored;
	unsigned checks = 0, waited = 0, statements = 0;
	for (int i = 0; i < 200; i++) {
		grant_take(&row->ring, &row->terms, &of_others, f->now_ns / 1000, 2, &ignored);
		goes_on(f, row, row->terms.sub_window_us / 1000 * MS, every_ns);
		checks += row->checks;
		waited += row->waited;
		statements += row->statements;
	}
	row->checks = checks;
	row->waited = waited;
	row->statements = statements;
}

/* Two thirds of the limit are used on other hosts, so that leases last for a quarter of a window, and most of
 * those that were had before somebody needs them would be in vain. */
static void who_comes_more_rarely_than_its_leases_end_is_renewed_when_it_comes(void **state) {
	struct fixture *f = *state;
	struct row row;
	limit_is(f, &row, 100);
	comes_beside_others(f, &row, 700 * MS, 6);
	assert_in_range(row.statements, row.checks - 3, row.checks * 3 / 2);
}

/* Each time it comes it is new to the store, and has a brief lease: nothing is fetched for it when that ends. */
static void who_comes_every_other_window_costs_little_more_than_its_checks(void **state) {
	struct fixture *f = *state;
	struct row row;
	limit_is(f, &row, 100);
	goes_on(f, &row, 60 * WINDOW_NS, 2100 * MS);
	assert_in_range(row.statements, row.checks, row.checks + row.checks / 4);
}

/* One that comes more often, while its leases last for the whole window. */
static void who_comes_while_they_last_is_renewed_before(void **state) {
	struct fixture *f = *state;
	struct row row;
	limit_is(f, &row, 100);
	comes_beside_others(f, &row, 700 * MS, 1);
	assert_in_range(row.waited, 0, row.checks / 4);
}

/* There is no waiting for a database that answers after 15 ms if it can be helped. */
static void a_far_database_is_asked_before_even_if_it_may_be_in_vain(void **state) {
	struct fixture *f = *state;
	struct row near, far;
	limit_is(f, &near, 100);
	comes_beside_others(f, &near, 500 * MS, 6);
	limit_is(f, &far, 100);
	far.trip_ns = 15 * MS;
	comes_beside_others(f, &far, 500 * MS, 6);
	assert_in_range(far.waited, 0, near.waited / 2);
}

static void is_beside_others_for_long(struct fixture *f, struct row *row, int64_t trip_ns) {
	struct core_policy policy = policy_with(100, 20);
	policy.terms.sub_window_us *= 4;
	policy.time_window_ms *= 4;
	policy_changes(f, policy);
	*row = (struct row){.terms = policy.terms, .next_check_ns = f->now_ns, .trip_ns = trip_ns};
	comes_beside_others(f, row, 4 * 500 * MS, 6);
}

/* 15 ms are little beside a window of 4 s, and a database that is slow for being busy gets no more to do. */
static void nor_is_one_that_is_slow_asked_in_vain(void **state) {
	struct fixture *f = *state;
	struct row near, slow;
	is_beside_others_for_long(f, &near, 0);
	is_beside_others_for_long(f, &slow, 15 * MS);
	assert_in_range(slow.statements, near.statements - 6, near.statements + 2);
	assert_in_range(slow.waited, near.waited - 2, near.waited + 2);
}

/* ---- Step by step ------------------------------------------------------------------------------ */

/* A second credit, and the client is worth a lease ahead. */
static void from_two_checks_on_a_client_is_busy(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 90);
	expect_allowed(f, 1);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	for (int i = 0; i < 58 && f->asked_count == 0; i++)
		pass(f, MS);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].need, 0);
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

/* It has done nothing since. But what lies idle for some tenths of a second is missed by nobody. */
static void also_near_its_limit_where_leases_are_short(void **state) {
	struct fixture *f = *state;
	bool asked_ahead = false;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 20);
	for (int i = 0; i < 5; i++)
		assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	pass(f, 20 * MS);
	assert_true(f->asked[0].next_want > 0);
	grants(f, 0, 9, 11);
	pass(f, 41 * MS);
	for (int i = 0; i < 98; i++) {
		pass(f, MS);
		if (f->asked_count > 0) {
			asked_ahead |= f->asked[0].next_want > 0;
			grants(f, 0, 0, 11);
		}
	}
	assert_true(asked_ahead);
}

/* Until the next lease is asked for; `rest`: how much goes back of this one. */
static void asks_ahead(struct fixture *f, int32_t remaining, int32_t rest) {
	struct core_policy policy = policy_with(1000, 20);
	policy.terms.sub_window_us = 1000000;
	policy.terms.slack_us = 200000; /* the next lease begins 100 ms before the edge */
	policy_changes(f, policy);
	want(f, 1, "a", 1);
	f->end_ns = f->now_ns + 1000 * MS;
	struct lease_grant grant = grant_of(f, 10, 0, remaining);
	grant.max_requests = 1000;
	answers(f, LEASE_DONE, &grant);
	expect_allowed(f, 1);
	for (int i = 0; i < 5; i++)
		assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	while (f->asked_count == 0 && f->now_ns < START_NS + 1000 * MS)
		pass(f, 5 * MS);
	assert_true(f->asked[0].next_want > 0);
	assert_int_equal(report_of(f, 0, grant.sub_window).unspent, rest);
	unsigned left = 0;
	while (app(f, "a", 1).verdict == APP_ALLOWED)
		left++;
	assert_int_equal(left, 4 - rest);
}

/* After the edge it would count for longer. */
static void what_a_tight_client_has_left_goes_back_with_the_request_ahead(void **state) {
	asks_ahead(*state, 100, 4);
}

static void others_keep_it(void **state) {
	asks_ahead(*state, 900, 0);
}

/* The other one lasts. */
static void the_older_of_two_leases_may_be_low(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants_long(f, 9, 20, 70, 10);
	expect_allowed(f, 1);
	struct app_decision d;
	do {
		d = app(f, "a", 1);
		assert_int_equal(d.verdict, APP_ALLOWED);
		assert_true(d.until_ns == START_NS + AT_LEAST(60 * MS));
	} while (d.left > 0);
	low(f, "a");
	expect_no_batch(f);
	do
		d = app(f, "a", 1);
	while (!d.low);
	low(f, "a");
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].need, 0);
	assert_true(f->asked[0].want > 0);
}

/* An answer that takes longer than a sub-window is not too late for the lease that it brings. */
static void a_far_database_is_asked_for_leases_that_last_longer(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	assert_int_equal(f->asked[0].span_least, 0);
	f->now_ns += 60 * MS;
	f->end_ns += SUB_MS * MS;
	struct lease_grant grant = grant_of(f, 1, 0, 90);
	answers(f, LEASE_DONE, &grant);
	expect_allowed(f, 1);
	pass(f, 200 * MS);
	if (f->asked_count > 0) {
		f->now_ns += 60 * MS;
		grant = grant_of(f, 0, 0, 90);
		answers(f, LEASE_DONE, &grant);
	}
	want(f, 2, "a", 1);
	assert_int_equal(f->asked[0].span_least, 2);
	assert_in_range(f->asked[0].span, 2, 10);
	assert_int_equal(f->asked[0].next_want, 0);
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
	assert_int_equal(f->asked[0].need, 0);
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

/* A limit per hour: its lease lasts for minutes at least. */
static void a_slow_client_of_a_long_window_asks_rarely(void **state) {
	struct fixture *f = *state;
	struct row row;
	limit_is(f, &row, 100000);
	struct core_policy hour = policy_with(100000, 20);
	hour.time_window_ms = 3600000;
	hour.terms.sub_window_us = 361800000;
	hour.terms.slack_us = 18000000;
	policy_changes(f, hour);
	row.terms = hour.terms;
	goes_on(f, &row, 60000 * MS, 200 * MS);
	assert_in_range(row.waited, 1, 4);
	goes_on(f, &row, 600000 * MS, 200 * MS);
	assert_in_range(row.waited, 0, 2);
	assert_in_range(row.statements, 1, 30); /* of 3,000 checks */
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
		STEP(a_slow_client_gets_a_lease_for_a_window_and_never_waits_again),
		STEP(who_stops_is_renewed_no_more_after_a_few_leases),
		STEP(a_hot_client_is_leased_one_sub_window_ahead),
		STEP(a_hot_client_of_a_far_database_hardly_waits),
		STEP(the_leases_of_who_begins_to_send_grow_fast),
		STEP(who_begins_to_send_has_its_next_lease_before_the_edge),
		STEP(who_comes_more_rarely_than_its_leases_end_is_renewed_when_it_comes),
		STEP(who_comes_every_other_window_costs_little_more_than_its_checks),
		STEP(who_comes_while_they_last_is_renewed_before),
		STEP(a_far_database_is_asked_before_even_if_it_may_be_in_vain),
		STEP(nor_is_one_that_is_slow_asked_in_vain),
		STEP(from_two_checks_on_a_client_is_busy),
		STEP(who_was_busy_is_expected_to_go_on),
		STEP(also_near_its_limit_where_leases_are_short),
		STEP(what_a_tight_client_has_left_goes_back_with_the_request_ahead),
		STEP(others_keep_it),
		STEP(the_older_of_two_leases_may_be_low),
		STEP(a_far_database_is_asked_for_leases_that_last_longer),
		STEP(hosts_lease_ahead_at_different_moments),
		STEP(a_slow_database_is_asked_earlier),
		STEP(the_next_lease_is_not_asked_for_in_the_first_half),
		STEP(a_slow_client_of_a_long_window_asks_rarely),
		STEP(a_burst_in_a_long_sub_window_asks_a_few_times_only),
	};
	return cmocka_run_group_tests_name("core_refill", tests, NULL, NULL);
}
