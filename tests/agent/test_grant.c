/*
 * test_grant.c - the arithmetic of the windows, first at its edges, then on random
 * histories against brute force: whenever within their sub-windows, and half a slack beyond, the
 * granted credits are spent, no interval of the window's length holds more than the limit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "grant_history.h"

#define SUB_US 100000 /* of most tests: ten are a second */

static const struct grant_terms ten_in_a_second = {.max_requests = 10, .sub_window_us = SUB_US, .runs = 10};
static struct grant_ring ring;
static struct grant_terms terms;
static struct lease_grant got;

static int start(void **state) {
	(void)state;
	ring = (struct grant_ring){0};
	terms = ten_in_a_second;
	return 0;
}

static int32_t take_as(int64_t t_us, int hosts, struct lease_request request) {
	grant_take(&ring, &terms, &request, EPOCH_US + t_us, hosts, &got);
	assert_true(got.answered);
	return got.granted;
}

static int32_t take(int64_t t_us, int32_t cost) {
	return take_as(t_us, 1, (struct lease_request){.need = cost, .least = cost, .want = cost});
}

/* ---- Edges ------------------------------------------------------------------------------- */

static void a_new_client_starts_in_its_sub_window(void **state) {
	(void)state;
	terms.phase_us = 30000;
	assert_int_equal(take(50000, 1), 1);
	assert_int_equal(got.sub_window, EPOCH_US + 30000);
	assert_int_equal(got.valid_us, 80000);
	assert_int_equal(got.starts_in_us, 80000);
	assert_int_equal(got.next_valid_us, 180000);
	assert_int_equal(got.remaining, 9);
	assert_int_equal(got.reset_us, 80000 + 10 * SUB_US);
	assert_int_equal(got.max_requests, 10);
}

static void the_last_microsecond_belongs_to_the_sub_window(void **state) {
	(void)state;
	take(0, 1);
	take(SUB_US - 1, 1);
	assert_int_equal(got.sub_window, EPOCH_US);
	assert_int_equal(got.valid_us, 1);
	take(SUB_US, 1);
	assert_int_equal(got.sub_window, EPOCH_US + SUB_US);
	assert_int_equal(got.valid_us, SUB_US);
}

static void what_is_used_up_comes_back_after_a_run(void **state) {
	(void)state;
	assert_int_equal(take(0, 10), 10);
	assert_int_equal(take(0, 1), 0);
	assert_int_equal(got.retry_us, 11 * SUB_US);
	assert_int_equal(take(11 * SUB_US - 1, 1), 0);
	assert_int_equal(got.retry_us, 1);
	assert_int_equal(take(11 * SUB_US, 10), 10);
}

static void retry_after_waits_for_enough(void **state) {
	(void)state;
	take(0, 4);
	take(2 * SUB_US, 6);
	assert_int_equal(take(3 * SUB_US, 4), 0);
	assert_int_equal(got.retry_us, 8 * SUB_US);
	assert_int_equal(take(3 * SUB_US, 5), 0);
	assert_int_equal(got.retry_us, 10 * SUB_US);
	assert_int_equal(take(3 * SUB_US, 11), 0);
	assert_int_equal(got.retry_us, -1);
	assert_int_equal(take(11 * SUB_US, 4), 4);
}

static void a_blocked_client_gets_nothing_ever(void **state) {
	(void)state;
	terms.max_requests = 0;
	assert_int_equal(take(0, 1), 0);
	assert_int_equal(got.retry_us, -1);
	assert_int_equal(got.max_requests, 0);
	assert_int_equal(ring.length, 0);
}

static void a_limit_of_one_is_met_exactly(void **state) {
	(void)state;
	int admitted = 0;
	terms.max_requests = 1;
	for (int64_t t_us = 0; t_us < 1100000 * 10; t_us += 10000)
		admitted += take(t_us, 1);
	assert_int_equal(admitted, 10);
}

static void a_denial_leaves_no_trace(void **state) {
	(void)state;
	take(0, 10);
	struct grant_ring before = ring;
	take(3, 1);
	assert_memory_equal(&ring, &before, sizeof(ring));
}

static void less_than_the_smallest_cost_is_not_granted(void **state) {
	(void)state;
	take(0, 7);
	assert_int_equal(take_as(0, 1, (struct lease_request){.need = 8, .least = 4, .want = 8}), 0);
	assert_int_equal(take_as(0, 1, (struct lease_request){.need = 8, .least = 3, .want = 8}), 3);
}

static void wants_beyond_need_are_a_fair_part(void **state) {
	(void)state;
	terms.max_requests = 1000;
	assert_int_equal(take_as(0, 5, (struct lease_request){.need = 1, .least = 1, .want = 1000}), 50);
	assert_int_equal(take_as(0, 5, (struct lease_request){.want = 1000}), 47);
	assert_int_equal(take_as(0, 5, (struct lease_request){.want = 3}), 3);
	assert_int_equal(take_as(0, 5, (struct lease_request){.need = 400, .least = 1, .want = 400}), 400);
	assert_int_equal(take_as(0, 0, (struct lease_request){.want = 1000}), 125); /* no hosts is one */
	terms.max_requests = 629;
	assert_int_equal(take_as(0, 9, (struct lease_request){.want = 1000}), 1); /* the last ones one by one */
}

static void the_next_sub_window_is_leased_ahead(void **state) {
	(void)state;
	take_as(0, 1, (struct lease_request){.need = 2, .least = 2, .want = 2, .next_want = 9});
	assert_int_equal(got.granted_next, 2); /* a quarter of eight */
	assert_int_equal(got.remaining, 6);
	assert_int_equal(take(SUB_US / 2, 6), 6); /* both runs count */
	assert_int_equal(take(SUB_US / 2, 1), 0);
	assert_int_equal(take(11 * SUB_US, 8), 8);
	assert_int_equal(take(12 * SUB_US - 1, 1), 0);
	assert_int_equal(take(12 * SUB_US, 2), 2);
}

static void a_lease_ahead_counts_in_the_run_before_it(void **state) {
	(void)state;
	take(0, 8);
	take_as(10 * SUB_US, 1, (struct lease_request){.next_want = 100});
	assert_int_equal(got.granted_next, 2); /* sub-window 0 is out of the run of 11 */
	take(11 * SUB_US, 8);
	assert_int_equal(got.granted, 8);
}

static void charges_go_as_far_as_the_limit(void **state) {
	(void)state;
	take(0, 4);
	assert_int_equal(take_as(0, 1, (struct lease_request){.charge = 100, .need = 1, .least = 1, .want = 1}), 0);
	assert_int_equal(got.charged, 6);
	take_as(0, 1, (struct lease_request){.charge = 1});
	assert_int_equal(got.charged, 0);
}

static void what_is_returned_can_be_granted_again(void **state) {
	(void)state;
	take_as(0, 1, (struct lease_request){.need = 6, .least = 1, .want = 6, .next_want = 1});
	struct lease_request back = {.return_sub_window = got.sub_window, .return_first = 4, .return_second = 1};
	assert_int_equal(got.granted_next, 1);
	take_as(5, 1, back);
	assert_int_equal(got.remaining, 8);
	back = (struct lease_request){.return_sub_window = got.sub_window, .return_first = 100};
	take_as(6, 1, back); /* more than there is */
	assert_int_equal(got.remaining, 10);
	assert_int_equal(ring.length, 0);
}

static void a_return_of_no_such_sub_window_does_nothing(void **state) {
	(void)state;
	take(0, 6);
	const int64_t none[] = {EPOCH_US - 1, EPOCH_US + 1, EPOCH_US + 2 * SUB_US, EPOCH_US - 20 * SUB_US, 0,
	                        -5,           INT64_MAX};
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		take_as(5, 1, (struct lease_request){.return_sub_window = none[i], .return_first = 3, .return_second = 3});
		assert_int_equal(got.remaining, 4);
	}
}

static void a_stale_time_grants_in_the_rows_own_time(void **state) {
	(void)state;
	take(500000, 3);
	assert_int_equal(take(0, 7), 7); /* read before a wait */
	assert_int_equal(got.sub_window, EPOCH_US + 400000);
	assert_int_equal(got.valid_us, SUB_US);
	assert_int_equal(take(500000, 1), 0);
}

static void a_clock_that_steps_back_loses_no_count_and_locks_nobody_out(void **state) {
	(void)state;
	take(INT64_C(3600000000), 10);
	assert_int_equal(take(0, 1), 0);
	assert_true(got.retry_us > 0 && got.retry_us <= 12 * SUB_US);
	assert_int_equal(take(got.retry_us, 1), 1);
}

static void a_long_silence_forgets_everything(void **state) {
	(void)state;
	take(0, 10);
	assert_int_equal(take(INT64_C(86400000000) * 3650, 10), 10);
	assert_int_equal(ring.length, 1);
}

static void other_sub_windows_move_counts_to_where_they_were_spent_last(void **state) {
	(void)state;
	take(0, 2);
	take(SUB_US, 3);
	terms = (struct grant_terms){.max_requests = 10, .sub_window_us = 250000, .runs = 4};
	assert_int_equal(take(SUB_US + 1, 6), 0);
	assert_int_equal(take(SUB_US + 1, 5), 5);
	assert_int_equal(got.remaining, 0);
	assert_int_equal(take(5 * 250000 - 1, 1), 0);
	assert_int_equal(take(5 * 250000, 1), 1);
}

static void a_lower_limit_holds_at_once(void **state) {
	(void)state;
	take(0, 8);
	terms.max_requests = 5;
	assert_int_equal(take(1, 1), 0);
	assert_int_equal(got.remaining, 0);
	terms.max_requests = 9;
	assert_int_equal(take(2, 1), 1);
}

static void a_fixed_window_gives_all_of_it(void **state) {
	(void)state;
	terms = (struct grant_terms){.max_requests = 10, .sub_window_us = 1000000};
	assert_int_equal(take(999999, 10), 10);
	assert_int_equal(got.valid_us, 1);
	assert_int_equal(take(999999, 1), 0);
	assert_int_equal(got.retry_us, 1);
	assert_int_equal(take(1000000, 10), 10);
	take_as(1000000, 1, (struct lease_request){.next_want = 4});
	assert_int_equal(got.granted_next, 2);
	assert_int_equal(take(2000000, 9), 0);
	assert_int_equal(take(2000000, 8), 8);
}

static void the_largest_numbers_fit(void **state) {
	(void)state;
	terms = (struct grant_terms){.max_requests = 2000000000, .sub_window_us = INT64_C(2678400000000), .runs = 60};
	assert_int_equal(take(0, 2000000000), 2000000000);
	assert_int_equal(
		take_as(0, 1, (struct lease_request){.charge = INT32_MAX, .need = 1, .least = 1, .want = INT32_MAX}), 0);
	assert_true(got.retry_us > 0);
}

static void sub_windows_cover_the_window_and_the_slack(void **state) {
	(void)state;
	assert_int_equal(grant_sub_window_us(1000, 10), 100000 + 500);
	assert_int_equal(grant_sub_window_us(INT64_C(2678400000), 60),
	                 INT64_C(2678400000) * 1000 / 60 + INT64_C(2678400000) * 5 / 60);
	for (int resolution = 1; resolution <= GRANT_RESOLUTION_MAX; resolution++)
		for (int64_t window_ms = 600; window_ms < 100000; window_ms += 601) {
			int64_t slack_us = grant_sub_window_us(window_ms, resolution) * resolution - window_ms * 1000;
			assert_true(slack_us >= window_ms * 1000 / 200);
		}
}

/* ---- Brute force ------------------------------------------------------------------------- */

#define STEPS 400

static struct { /* what one sub-window was granted, net */
	int64_t start_us;
	int64_t credits;
} books[4 * STEPS];
static size_t book_count;

static void book(int64_t start_us, int64_t credits) {
	for (size_t i = 0; i < book_count; i++)
		if (books[i].start_us == start_us) {
			books[i].credits += credits;
			return;
		}
	books[book_count].start_us = start_us;
	books[book_count++].credits = credits;
}

/* The most that an interval can hold if every credit is spent at the worst time there is for it: at the end of
 * sub-window j, what was granted for j and for all that may begin within a window of it. */
static int64_t worst_interval(const struct history *h) {
	int64_t worst = 0;
	for (size_t j = 0; j < book_count; j++) {
		int64_t from_us = books[j].start_us + h->terms.sub_window_us + h->terms.slack_us / 2 - 1, sum = 0;
		for (size_t k = 0; k < book_count; k++)
			if (books[k].start_us - h->terms.slack_us / 2 < from_us + h->window_us &&
			    books[k].start_us + h->terms.sub_window_us + h->terms.slack_us / 2 > from_us)
				sum += books[k].credits;
		worst = sum > worst ? sum : worst;
	}
	return worst;
}

static void run_history(uint64_t seed) {
	struct history h = history_new(seed);
	int64_t asked = 0;
	start(NULL);
	book_count = 0;
	for (int i = 0; i < STEPS; i++) {
		struct step step = history_next(&h);
		grant_take(&ring, &step.terms, &step.request, step.t_us, step.hosts, &got);
		assert_true(got.granted >= 0 && got.granted_next >= 0 && got.charged >= 0 && got.remaining >= 0);
		assert_true(got.valid_us > 0 && got.valid_us <= h.terms.sub_window_us);
		asked += step.request.need;
		if (step.request.return_sub_window) {
			book(step.request.return_sub_window, -step.request.return_first);
			book(step.request.return_sub_window + h.terms.sub_window_us, -step.request.return_second);
		}
		book(got.sub_window, (int64_t)got.granted + got.charged);
		book(got.sub_window + h.terms.sub_window_us, got.granted_next);
		history_note(&h, &got);
	}
	assert_true(asked > 0 && book_count > 5);
	if (worst_interval(&h) > h.terms.max_requests)
		fail_msg("seed %llu: %lld in a window, the limit is %d, %d sub-windows", (unsigned long long)seed,
		         (long long)worst_interval(&h), h.terms.max_requests, h.terms.runs);
}

/* A fixed window promises no more than itself. */
static void no_interval_ever_holds_more_than_the_limit(void **state) {
	(void)state;
	int sliding = 0;
	for (uint64_t seed = 1; sliding < 300; seed++) {
		struct history h = history_new(seed);
		if (h.terms.runs == 0)
			continue;
		sliding++;
		run_history(seed);
	}
}

static void who_sends_steadily_gets_nearly_all_of_it(void **state) {
	(void)state;
	for (int resolution = 1; resolution <= 60; resolution += 59) {
		int64_t admitted = 0;
		start(NULL);
		terms =
			(struct grant_terms){.max_requests = 600, .sub_window_us = 6000000 / resolution, .runs = resolution};
		for (int64_t t_us = 0; t_us < 60 * INT64_C(6000000); t_us += 9000)
			admitted += take(t_us, 1);
		assert_true(admitted >= 60 * 600 * resolution / (resolution + 1));
	}
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, start)
	const struct CMUnitTest tests[] = {
		TEST(a_new_client_starts_in_its_sub_window),
		TEST(the_last_microsecond_belongs_to_the_sub_window),
		TEST(what_is_used_up_comes_back_after_a_run),
		TEST(retry_after_waits_for_enough),
		TEST(a_blocked_client_gets_nothing_ever),
		TEST(a_limit_of_one_is_met_exactly),
		TEST(a_denial_leaves_no_trace),
		TEST(less_than_the_smallest_cost_is_not_granted),
		TEST(wants_beyond_need_are_a_fair_part),
		TEST(the_next_sub_window_is_leased_ahead),
		TEST(a_lease_ahead_counts_in_the_run_before_it),
		TEST(charges_go_as_far_as_the_limit),
		TEST(what_is_returned_can_be_granted_again),
		TEST(a_return_of_no_such_sub_window_does_nothing),
		TEST(a_stale_time_grants_in_the_rows_own_time),
		TEST(a_clock_that_steps_back_loses_no_count_and_locks_nobody_out),
		TEST(a_long_silence_forgets_everything),
		TEST(other_sub_windows_move_counts_to_where_they_were_spent_last),
		TEST(a_lower_limit_holds_at_once),
		TEST(a_fixed_window_gives_all_of_it),
		TEST(the_largest_numbers_fit),
		TEST(sub_windows_cover_the_window_and_the_slack),
		TEST(no_interval_ever_holds_more_than_the_limit),
		TEST(who_sends_steadily_gets_nearly_all_of_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
