/*
 * test_grant.c - the arithmetic of the windows at its edges. test_grant_oracle.c has random histories.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>

#include "core/grant.h"

#define EPOCH_US INT64_C(1700000000000000)

#define SUB_US  100000  /* of most tests: ten are a second */
#define LONG_US 1000000 /* of others, beside which GRANT_SPEND_LAG_US is short */

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

static int32_t take_as(int64_t t_us, int host, struct lease_request request) {
	grant_take(&ring, &terms, &request, EPOCH_US + t_us, host, &got);
	assert_true(got.answered);
	return got.granted;
}

static int32_t take(int64_t t_us, int32_t cost) {
	return take_as(t_us, 1, (struct lease_request){.need = cost, .least = cost, .want = cost});
}

/* Of a lease that lasts for so many more sub-windows. */
static int32_t take_long(int64_t t_us, int32_t credits, int32_t span) {
	take_as(t_us, 1, (struct lease_request){.least = 1, .want = credits, .span = span});
	assert_true(got.next_is_open);
	return got.granted_next;
}

static void give_back(int64_t t_us, int64_t sub_window, int32_t unspent, int32_t spent) {
	take_as(t_us, 1, (struct lease_request){.report = {{sub_window, unspent, spent}}});
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
	assert_int_equal(got.next_sub_window, EPOCH_US + 130000);
	assert_false(got.next_is_open);
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
	assert_int_equal(take_as(0, 5, (struct lease_request){.want = 600}), 600); /* nobody else is there */
	assert_int_equal(take_as(0, 6, (struct lease_request){.want = 600}), 200); /* two are */
	assert_int_equal(take_as(0, 5, (struct lease_request){.need = 1, .least = 1, .want = 600}), 100);
	assert_int_equal(take_as(0, 5, (struct lease_request){.want = 3}), 3);
	assert_int_equal(take_as(0, 5, (struct lease_request){.need = 90, .least = 1, .want = 400}), 90);
	assert_int_equal(take_as(0, 7, (struct lease_request){.need = 5, .least = 1, .want = 5}), 5);
	assert_int_equal(take_as(0, 8, (struct lease_request){.want = 600}), 1); /* the last ones one by one */
	assert_int_equal(take_as(0, 8, (struct lease_request){.want = 600}), 1);
	assert_int_equal(take_as(0, 8, (struct lease_request){.want = 600}), 0);
}

static void who_served_lately_has_a_share(void **state) {
	(void)state;
	terms.max_requests = 1000;
	take_as(0, 0, (struct lease_request){.need = 1, .least = 1});
	take_as(0, 62, (struct lease_request){.need = 1, .least = 1});
	assert_int_equal(ring.servers, INT64_C(1) | INT64_C(1) << 62);
	take_as(10 * SUB_US, 5, (struct lease_request){.need = 1, .least = 1}); /* the next stretch of ten */
	assert_int_equal(ring.servers, INT64_C(1) << 5);
	assert_int_equal(ring.servers_before, INT64_C(1) | INT64_C(1) << 62);
	assert_int_equal(take_as(10 * SUB_US, 5, (struct lease_request){.want = 1000}), 332); /* a third of 997 */
	take_as(20 * SUB_US, 5, (struct lease_request){.need = 1, .least = 1});
	assert_int_equal(ring.servers_before, INT64_C(1) << 5);
	take_as(40 * SUB_US, 5, (struct lease_request){0});
	assert_int_equal(ring.servers_before, 0);
	assert_int_equal(ring.servers, 0);
}

static void a_lease_is_charged_to_its_last_sub_window(void **state) {
	(void)state;
	take_as(30000, 1, (struct lease_request){.need = 2, .least = 1, .want = 5, .span = 4, .span_least = 1});
	assert_int_equal(got.granted, 2); /* spent at once, so in the shortest lease */
	assert_int_equal(got.sub_window, EPOCH_US + SUB_US);
	assert_int_equal(got.valid_us, 170000);
	assert_int_equal(got.granted_next, 3);
	assert_true(got.next_is_open);
	assert_int_equal(got.next_sub_window, EPOCH_US + 4 * SUB_US);
	assert_int_equal(got.next_valid_us, 470000);
	assert_int_equal(got.reset_us, 470000 + 10 * SUB_US);
	assert_int_equal(ring.ahead, 4);
	assert_int_equal(ring.length, 4);
	assert_int_equal(ring.counts[0], 3);
	assert_int_equal(ring.counts[3], 2);
}

static void a_lease_counts_for_a_window_after_its_end(void **state) {
	(void)state;
	take_long(0, 10, 4);
	assert_int_equal(take(4 * SUB_US, 1), 0);
	assert_int_equal(got.retry_us, 11 * SUB_US);
	assert_int_equal(take(15 * SUB_US - 1, 1), 0);
	assert_int_equal(take(15 * SUB_US, 10), 10);
}

static void nearer_the_limit_leases_are_shorter(void **state) {
	(void)state;
	static const int spans[][2] = {{0, 10}, {50, 10}, {60, 6}, {70, 2}, {72, 1}};
	for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++) {
		start(NULL);
		terms.max_requests = 100;
		take(0, spans[i][0]);
		assert_int_equal(take_long(0, 1, 60), 1);
		assert_int_equal(got.next_sub_window, EPOCH_US + spans[i][1] * SUB_US);
	}
	take(0, 5); /* 22 are left */
	take_as(0, 1, (struct lease_request){.want = 1, .span = 10});
	assert_false(got.next_is_open);
	assert_int_equal(got.granted, 1);
	assert_int_equal(got.sub_window, EPOCH_US);
	take_as(0, 1, (struct lease_request){.want = 1, .span = 10, .span_least = 2});
	assert_false(got.next_is_open);
	assert_int_equal(got.sub_window, EPOCH_US + 2 * SUB_US);
}

static void a_shorter_lease_is_a_smaller_one(void **state) {
	(void)state;
	terms.max_requests = 100;
	take(0, 60);
	take_as(0, 1, (struct lease_request){.need = 2, .least = 1, .want = 12, .span = 10});
	assert_int_equal(got.granted, 2);
	assert_int_equal(got.granted_next, 7); /* of 10 for eleven sub-windows, what is used in seven */
}

static void who_is_denied_gets_no_long_lease(void **state) {
	(void)state;
	assert_int_equal(take_as(0, 1, (struct lease_request){.need = 11, .least = 11, .want = 20, .span = 5}), 0);
	assert_int_equal(got.granted_next, 0);
	assert_int_equal(ring.length, 0);
}

static void the_next_sub_window_is_leased_ahead(void **state) {
	(void)state;
	take_as(0, 1, (struct lease_request){.need = 2, .least = 2, .want = 2, .next_want = 9});
	assert_int_equal(got.granted_next, 8);
	assert_int_equal(got.next_sub_window, EPOCH_US + SUB_US);
	assert_int_equal(ring.early, 8);
	assert_int_equal(got.remaining, 0); /* both runs count */
	assert_int_equal(take(SUB_US / 2, 1), 0);
	assert_int_equal(take(11 * SUB_US, 2), 2);
	assert_int_equal(take(12 * SUB_US - 1, 1), 0);
	assert_int_equal(take(12 * SUB_US, 8), 8);
}

static void a_lease_ahead_counts_in_the_run_before_it(void **state) {
	(void)state;
	take(0, 8);
	take_as(10 * SUB_US, 1, (struct lease_request){.next_want = 2});
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

/* It can't be spent before, so the oldest sub-window doesn't count with it. */
static void what_is_early_does_not_count_in_the_run_before_it(void **state) {
	(void)state;
	take(0, 6);
	take_as(10 * SUB_US, 1, (struct lease_request){.next_want = 7});
	assert_int_equal(got.granted_next, 7);
	assert_int_equal(got.remaining, 3);
	assert_int_equal(take(10 * SUB_US, 3), 3);
	assert_int_equal(take(10 * SUB_US, 1), 0);
}

static void what_is_charged_to_the_next_one_and_can_be_spent_now_does(void **state) {
	(void)state;
	take(0, 6);
	assert_int_equal(take_as(10 * SUB_US, 1, (struct lease_request){.want = 7, .span_least = 1}), 4);
	assert_int_equal(got.remaining, 0);
	assert_int_equal(take(10 * SUB_US, 1), 0);
}

static void what_is_returned_can_be_granted_again(void **state) {
	(void)state;
	take_as(0, 1, (struct lease_request){.need = 6, .least = 1, .want = 6, .next_want = 1});
	assert_int_equal(got.granted_next, 1);
	take_as(5, 1, (struct lease_request){.report = {{got.sub_window, 4, 0}, {got.next_sub_window, 1, 0}}});
	assert_int_equal(got.remaining, 8);
	assert_int_equal(ring.early, 0);
	give_back(6, got.sub_window, 100, 0); /* more than there is */
	assert_int_equal(got.remaining, 10);
	assert_int_equal(ring.length, 0);
}

static void a_long_lease_can_be_returned_any_time(void **state) {
	(void)state;
	take_long(0, 8, 6);
	int64_t token = got.next_sub_window;
	give_back(2 * SUB_US, token, 3, 0);
	assert_int_equal(got.remaining, 5);
	assert_int_equal(ring.ahead, 4);
	give_back(9 * SUB_US, token, 3, 0); /* it is over; they were not spent all the same */
	assert_int_equal(got.remaining, 8);
}

static void an_early_lease_that_is_returned_is_early_no_more(void **state) {
	(void)state;
	take(0, 8);
	take_as(10 * SUB_US, 1, (struct lease_request){.next_want = 10});
	int64_t token = got.next_sub_window;
	give_back(10 * SUB_US, token, 6, 0);
	assert_int_equal(ring.early, 4);
	assert_int_equal(take_as(10 * SUB_US, 1, (struct lease_request){.want = 9, .span_least = 1}), 2);
	assert_int_equal(got.sub_window, token);
}

static void what_is_spent_counts_from_now_on(void **state) {
	(void)state;
	terms.sub_window_us = LONG_US;
	take_long(0, 10, 8);
	int64_t token = got.next_sub_window;
	give_back(2 * LONG_US, token, 0, 4);
	assert_int_equal(ring.ahead, 6);
	assert_int_equal(ring.counts[0], 6);
	assert_int_equal(ring.counts[6], 4);
	assert_int_equal(got.remaining, 0);
	give_back(3 * LONG_US, token, 1, 5);
	assert_int_equal(got.remaining, 1);
	assert_int_equal(ring.ahead, 0);
	assert_int_equal(take(13 * LONG_US - 1, 2), 0);
	assert_int_equal(take(13 * LONG_US, 5), 5); /* the four are gone */
	assert_int_equal(take(14 * LONG_US, 5), 5); /* and the five */
}

static void what_is_charged_to_now_or_before_stays(void **state) {
	(void)state;
	take(0, 6);
	give_back(2 * SUB_US, EPOCH_US, 0, 4);
	assert_int_equal(ring.counts[ring.length - 1], 6);
	assert_int_equal(ring.length, 3);
}

/* A host may be a little early. */
static void what_is_spent_of_an_early_lease_is_early_no_more(void **state) {
	(void)state;
	terms.sub_window_us = LONG_US;
	take_as(0, 1, (struct lease_request){.next_want = 7});
	give_back(LONG_US / 2, got.next_sub_window, 0, 4);
	assert_int_equal(ring.counts[1], 4);
	assert_int_equal(ring.early, 3);
	assert_int_equal(got.remaining, 3);
}

/* A report can be a little younger than the request. */
static void what_is_spent_close_to_an_edge_counts_after_it(void **state) {
	(void)state;
	terms.sub_window_us = LONG_US;
	take_long(0, 10, 8);
	int64_t token = got.next_sub_window;
	give_back(LONG_US - GRANT_SPEND_LAG_US - 1, token, 0, 4);
	assert_int_equal(ring.counts[8], 4);
	give_back(LONG_US - GRANT_SPEND_LAG_US, token, 0, 3);
	assert_int_equal(ring.counts[7], 3);
	give_back(LONG_US - 1, EPOCH_US + LONG_US, 0, 3); /* it is there already */
	assert_int_equal(ring.counts[7], 3);
}

static void a_report_of_no_such_sub_window_does_nothing(void **state) {
	(void)state;
	take(0, 6);
	const int64_t none[] = {EPOCH_US - 1, EPOCH_US + 1, EPOCH_US + 2 * SUB_US, EPOCH_US - 20 * SUB_US, 0, -5,
	                        INT64_MAX,    INT64_MIN};
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		give_back(5, none[i], 3, 3);
		assert_int_equal(got.remaining, 4);
	}
	give_back(5, EPOCH_US, -3, -3);
	assert_int_equal(got.remaining, 4);
}

static void a_stale_time_grants_in_the_rows_own_time(void **state) {
	(void)state;
	take(500000, 3);
	assert_int_equal(take(0, 7), 7); /* read before a wait */
	assert_int_equal(got.sub_window, EPOCH_US + 500000);
	assert_int_equal(got.valid_us, SUB_US);
	assert_int_equal(take(500000, 1), 0);
}

static void a_clock_that_steps_back_loses_no_count_and_locks_nobody_out(void **state) {
	(void)state;
	take(INT64_C(3600000000), 10);
	assert_int_equal(take(0, 1), 0);
	assert_true(got.retry_us > 0 && got.retry_us <= 11 * SUB_US);
	assert_int_equal(take(got.retry_us, 1), 1);
}

static void long_leases_end_no_later_than_they_count_when_the_clock_steps_back(void **state) {
	(void)state;
	take_long(INT64_C(3600000000), 7, 8);
	take_as(INT64_C(3600000000), 1, (struct lease_request){.next_want = 3});
	assert_int_equal(ring.early, 3);
	take_as(0, 1, (struct lease_request){0});
	assert_int_equal(ring.current_us, EPOCH_US);
	assert_int_equal(ring.ahead, 8);
	assert_int_equal(ring.early, 0); /* who knows where it starts now */
	assert_int_equal(got.reset_us, 19 * SUB_US);
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

static void other_sub_windows_move_long_leases_to_their_ends(void **state) {
	(void)state;
	take_long(0, 10, 8); /* to 0.9 s */
	take_as(0, 1, (struct lease_request){0});
	terms = (struct grant_terms){.max_requests = 10, .sub_window_us = 250000, .runs = 4};
	assert_int_equal(take(1, 1), 0);
	assert_int_equal(ring.ahead, 3);
	assert_int_equal(got.retry_us, 8 * 250000 - 1);
	terms = (struct grant_terms){.max_requests = 10, .sub_window_us = 200000, .runs = 2}; /* a shorter window */
	assert_int_equal(take(1, 1), 0);
	assert_int_equal(ring.ahead, 2);
	assert_int_equal(ring.counts[0], 10);
	assert_int_equal(got.retry_us, 5 * 200000 - 1);
	terms = (struct grant_terms){.max_requests = 10, .sub_window_us = 400000}; /* a fixed one */
	assert_int_equal(take(1, 1), 0);
	assert_int_equal(got.retry_us, 400000 - 1);
}

static void fewer_sub_windows_of_the_same_length_forget_nothing_that_is_ahead(void **state) {
	(void)state;
	take_long(0, 4, 9);
	take(0, 4);
	terms.runs = 2;
	assert_int_equal(take(SUB_US, 3), 0);
	assert_int_equal(take(3 * SUB_US, 6), 6);
	assert_int_equal(take(11 * SUB_US, 7), 0);
	assert_int_equal(take(12 * SUB_US, 10), 10);
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
	assert_int_equal(got.granted_next, 4); /* its limit is its own */
	assert_int_equal(got.remaining, 0);
	assert_int_equal(take(2000000, 7), 0);
	assert_int_equal(take(2000000, 6), 6);
	take_as(3000000, 1, (struct lease_request){.want = 2, .span = 5, .span_least = 1});
	assert_int_equal(got.sub_window, EPOCH_US + 3000000);
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
		TEST(who_served_lately_has_a_share),
		TEST(a_lease_is_charged_to_its_last_sub_window),
		TEST(a_lease_counts_for_a_window_after_its_end),
		TEST(nearer_the_limit_leases_are_shorter),
		TEST(a_shorter_lease_is_a_smaller_one),
		TEST(who_is_denied_gets_no_long_lease),
		TEST(the_next_sub_window_is_leased_ahead),
		TEST(a_lease_ahead_counts_in_the_run_before_it),
		TEST(charges_go_as_far_as_the_limit),
		TEST(what_is_early_does_not_count_in_the_run_before_it),
		TEST(what_is_charged_to_the_next_one_and_can_be_spent_now_does),
		TEST(what_is_returned_can_be_granted_again),
		TEST(a_long_lease_can_be_returned_any_time),
		TEST(an_early_lease_that_is_returned_is_early_no_more),
		TEST(what_is_spent_counts_from_now_on),
		TEST(what_is_charged_to_now_or_before_stays),
		TEST(what_is_spent_of_an_early_lease_is_early_no_more),
		TEST(what_is_spent_close_to_an_edge_counts_after_it),
		TEST(a_report_of_no_such_sub_window_does_nothing),
		TEST(a_stale_time_grants_in_the_rows_own_time),
		TEST(a_clock_that_steps_back_loses_no_count_and_locks_nobody_out),
		TEST(long_leases_end_no_later_than_they_count_when_the_clock_steps_back),
		TEST(a_long_silence_forgets_everything),
		TEST(other_sub_windows_move_counts_to_where_they_were_spent_last),
		TEST(other_sub_windows_move_long_leases_to_their_ends),
		TEST(fewer_sub_windows_of_the_same_length_forget_nothing_that_is_ahead),
		TEST(a_lower_limit_holds_at_once),
		TEST(a_fixed_window_gives_all_of_it),
		TEST(the_largest_numbers_fit),
		TEST(sub_windows_cover_the_window_and_the_slack),
		TEST(who_sends_steadily_gets_nearly_all_of_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
