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

/* The ring knows the client for so long then, so it may have leases as long. One credit counts for a window. */
static void come_before(int64_t t_us, int sub_windows) {
	assert_int_equal(take(t_us - sub_windows * terms.sub_window_us, 1), 1);
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
	assert_int_equal(take_as(0, 6, (struct lease_request){.want = 600}), 250); /* two are */
	assert_int_equal(take_as(0, 5, (struct lease_request){.need = 1, .least = 1, .want = 600}), 93);
	assert_int_equal(take_as(0, 5, (struct lease_request){.want = 3}), 3);
	assert_int_equal(take_as(0, 5, (struct lease_request){.need = 50, .least = 1, .want = 400}), 50);
	assert_int_equal(take_as(0, 7, (struct lease_request){.need = 2, .least = 1, .want = 2}), 2);
	assert_int_equal(take_as(0, 8, (struct lease_request){.want = 600}), 1); /* the last ones one by one */
	assert_int_equal(take_as(0, 8, (struct lease_request){.want = 600}), 1);
	assert_int_equal(take_as(0, 8, (struct lease_request){.want = 600}), 0);
}

static void a_fair_part_is_a_quarter_more_than_the_share(void **state) {
	(void)state;
	terms.max_requests = 1000;
	take_as(0, 1, (struct lease_request){.need = 100, .least = 1, .want = 100});
	take_as(0, 2, (struct lease_request){.need = 99, .least = 1, .want = 99});
	assert_int_equal(take_as(0, 1, (struct lease_request){.want = 1000}), 500); /* 5/4 of half of 801 */
	take_as(0, 2, (struct lease_request){.next_want = 1000});
	assert_int_equal(got.granted_next, 188); /* 5/4 of half of 301 */
	start(NULL);
	assert_int_equal(take_as(0, 1, (struct lease_request){.want = 1000}), 10); /* never more than there is */
	start(NULL);
	take_as(0, 1, (struct lease_request){.next_want = 1000});
	assert_int_equal(got.granted_next, 10);
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
	assert_int_equal(take_as(10 * SUB_US, 5, (struct lease_request){.want = 1000}),
	                 415); /* 5/4 of a third of 997 */
	take_as(20 * SUB_US, 5, (struct lease_request){.need = 1, .least = 1});
	assert_int_equal(ring.servers_before, INT64_C(1) << 5);
	take_as(40 * SUB_US, 5, (struct lease_request){0});
	assert_int_equal(ring.servers_before, 0);
	assert_int_equal(ring.servers, 0);
}

static void a_lease_is_charged_to_its_last_sub_window(void **state) {
	(void)state;
	come_before(0, 4);
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
	assert_int_equal(ring.counts[0], 3);
	assert_int_equal(ring.counts[3], 2);
	assert_int_equal(ring.counts[4], 0);
}

static void a_lease_counts_for_a_window_after_its_end(void **state) {
	(void)state;
	come_before(0, 4);
	assert_int_equal(take_long(0, 9, 4), 9);
	assert_int_equal(take(4 * SUB_US, 2), 0);
	assert_int_equal(got.retry_us, 11 * SUB_US);
	assert_int_equal(take(15 * SUB_US - 1, 2), 0);
	assert_int_equal(take(15 * SUB_US, 10), 10);
}

static void nearer_the_limit_leases_are_shorter(void **state) {
	(void)state;
	static const int spans[][2] = {{1, 10}, {50, 10}, {60, 6}, {70, 2}, {72, 1}};
	for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++) {
		start(NULL);
		terms.max_requests = 100;
		take(-10 * SUB_US, spans[i][0]);
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
	take(-10 * SUB_US, 60);
	take_as(0, 1, (struct lease_request){.need = 2, .least = 1, .want = 12, .span = 10});
	assert_int_equal(got.granted, 2);
	assert_int_equal(got.granted_next, 7); /* of 10 for eleven sub-windows, what is used in seven */
}

/* ---- How long a client has been known ------------------------------------------------------ */

static int64_t distance_of(int64_t sub_window) {
	return (sub_window - ring.current_us) / ring.sub_window_us;
}

static void a_new_client_gets_a_brief_lease(void **state) {
	(void)state;
	terms.max_requests = 1000;
	take_as(0, 1, (struct lease_request){.need = 1, .least = 1, .want = 12, .span = 10});
	assert_false(got.next_is_open);
	assert_int_equal(got.granted, 12); /* all that is wanted: it may send faster than it did */
	assert_int_equal(ring.ahead, 0);
	take_as(SUB_US - 1, 1, (struct lease_request){.want = 1, .span = 10}); /* it is new all the while */
	assert_false(got.next_is_open);
	start(NULL);
	terms.runs = 20;
	take_as(0, 1, (struct lease_request){.need = 1, .least = 1, .want = 3, .span = 20});
	assert_true(got.next_is_open);
	assert_int_equal(distance_of(got.next_sub_window), 1);
}

static void a_lease_lasts_no_longer_than_the_client_has_been_coming(void **state) {
	(void)state;
	terms.max_requests = 1000;
	for (int n = 1; n <= 12; n++) {
		start(NULL);
		come_before(0, n);
		take_as(0, 1, (struct lease_request){.want = 1, .span = 10});
		assert_int_equal(got.next_is_open, n <= 10); /* what is older is forgotten */
		assert_int_equal(distance_of(got.next_sub_window), n <= 10 ? n : 1);
	}
}

/* Three sub-windows and the present one: what was used in them is two fifths of what would be used in ten. */
static void nor_for_longer_than_if_it_had_gone_on_for_a_window(void **state) {
	(void)state;
	static const int spans[][2] = {{10, 3}, {24, 3}, {25, 3}, {27, 3}, {28, 2}, {29, 1}, {30, 0}, {60, 0}};
	terms.max_requests = 100;
	for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++) {
		start(NULL);
		terms.max_requests = 100;
		come_before(0, 3);
		take(0, spans[i][0] - 1);
		take_as(0, 1, (struct lease_request){.want = 1, .span = 10});
		assert_int_equal(got.next_is_open, spans[i][1] > 0);
		assert_int_equal(distance_of(got.next_sub_window), spans[i][1] > 0 ? spans[i][1] : 1);
	}
}

/* The ring doesn't know when they were granted, and what it knew of before is given back. */
static void leases_that_go_on_do_not_say_that_a_client_came_before(void **state) {
	(void)state;
	come_before(0, 3);
	take_long(0, 1, 3);
	take_as(0, 1, (struct lease_request){.report = {{EPOCH_US - 3 * SUB_US, 1, 0}}});
	take_as(2 * SUB_US, 1, (struct lease_request){.want = 1, .span = 10});
	assert_false(got.next_is_open);
}

static void who_is_known_for_longer_gets_longer_leases(void **state) {
	(void)state;
	terms.max_requests = 1000;
	come_before(0, 3);
	for (int later = 0; later < 7; later++) {
		take_long(later * SUB_US, 1, 10);
		assert_int_equal(distance_of(got.next_sub_window), 3 + later); /* whatever is charged to later ones */
	}
}

static void what_counts_no_more_is_not_known(void **state) {
	(void)state;
	terms.max_requests = 1000;
	come_before(0, 11);
	come_before(0, 5);
	come_before(0, 3);
	take_long(0, 1, 10);
	assert_int_equal(distance_of(got.next_sub_window), 5);
	take_as(0, 1, (struct lease_request){.want = 1, .span = 10, .report = {{EPOCH_US - 5 * SUB_US, 1, 0}}});
	assert_int_equal(distance_of(got.next_sub_window), 3);
}

/* ---- Brief leases -------------------------------------------------------------------------- */

static void a_brief_lease_is_good_for_a_tenth_of_the_window(void **state) {
	(void)state;
	static const int spans[][2] = {{0, 0}, {1, 0}, {2, 0}, {10, 0}, {11, 1}, {20, 1}, {21, 2}, {60, 5}};
	for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++) {
		terms.runs = spans[i][0];
		assert_int_equal(grant_brief_span(&terms, 0), spans[i][1]);
		assert_int_equal(grant_ahead_span(&terms, 0), spans[i][1]);
	}
}

static void or_for_as_long_as_the_shortest_if_that_is_longer(void **state) {
	(void)state;
	static const int spans[][4] = {{10, 3, 3, 3}, {10, 9, 9, 9},    {10, 10, 10, 9}, {10, 50, 10, 9},
	                               {1, 1, 1, 0},  {0, 1, 0, 0},     {20, 1, 1, 1},   {60, 4, 5, 5},
	                               {60, 6, 6, 6}, {60, 60, 60, 59}, {10, -1, 0, 0},  {60, -1, 5, 5}};
	for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++) {
		terms.runs = spans[i][0];
		assert_int_equal(grant_brief_span(&terms, spans[i][1]), spans[i][2]);
		assert_int_equal(grant_ahead_span(&terms, spans[i][1]), spans[i][3]);
	}
}

/* What is needed is spent at once. */
static void of_a_brief_lease_only_the_rest_is_charged_to_its_last(void **state) {
	(void)state;
	terms.runs = 20;
	take_as(30000, 1, (struct lease_request){.need = 2, .least = 2, .want = 5, .span = 1, .next_want = 4});
	assert_int_equal(got.granted, 2);
	assert_int_equal(got.sub_window, EPOCH_US);
	assert_int_equal(got.valid_us, 70000);
	assert_true(got.next_is_open);
	assert_int_equal(got.granted_next, 3); /* and nothing ahead */
	assert_int_equal(got.next_sub_window, EPOCH_US + SUB_US);
	assert_int_equal(got.next_valid_us, 170000);
	assert_int_equal(ring.ahead, 1);
	assert_int_equal(ring.counts[0], 3);
	assert_int_equal(ring.counts[1], 2);
	assert_int_equal(ring.early, 0);
}

static void a_brief_lease_is_not_shorter_near_the_limit(void **state) {
	(void)state;
	terms.runs = 20;
	take(-20 * SUB_US, 9);
	take_as(0, 1, (struct lease_request){.want = 1, .span = 20});
	assert_true(got.next_is_open);
	assert_int_equal(got.granted_next, 1);
	assert_int_equal(got.next_sub_window, EPOCH_US + SUB_US);
}

/* ---- Leases ahead -------------------------------------------------------------------------- */

static void a_lease_ahead_is_good_for_a_tenth_of_the_window_from_the_next_on(void **state) {
	(void)state;
	terms.runs = 20;
	take_as(30000, 1, (struct lease_request){.want = 5, .next_want = 7});
	assert_int_equal(got.granted, 0); /* it comes in the stead of one from now on */
	assert_int_equal(got.granted_next, 7);
	assert_false(got.next_is_open);
	assert_int_equal(got.starts_in_us, 70000);
	assert_int_equal(got.next_sub_window, EPOCH_US + 2 * SUB_US);
	assert_int_equal(got.next_valid_us, 270000);
	assert_int_equal(ring.ahead, 2);
	assert_int_equal(ring.counts[0], 7);
	assert_int_equal(ring.early, 7);
	assert_int_equal(take(22 * SUB_US, 4), 0);
	assert_int_equal(take(23 * SUB_US - 1, 3), 3);
	assert_int_equal(take(23 * SUB_US, 7), 7);
}

static void a_lease_that_is_not_brief_comes_instead_of_one_ahead(void **state) {
	(void)state;
	terms.max_requests = 100;
	come_before(0, 10);
	take_as(0, 1, (struct lease_request){.want = 5, .span = 10, .next_want = 7});
	assert_true(got.next_is_open);
	assert_int_equal(got.granted_next, 5);
	assert_int_equal(ring.early, 0);
	take(0, 60); /* near the limit it may be a short one, which is more than a brief one */
	take_as(0, 1, (struct lease_request){.want = 5, .span = 10, .next_want = 7});
	assert_true(got.next_is_open);
	assert_int_equal(distance_of(got.next_sub_window), 3);
}

static void a_far_host_s_brief_lease_is_as_long_as_it_needs(void **state) {
	(void)state;
	terms.max_requests = 100;
	take_as(0, 1, (struct lease_request){.need = 1, .least = 1, .want = 12, .span = 10, .span_least = 3});
	assert_int_equal(got.granted, 12);
	assert_int_equal(got.sub_window, EPOCH_US + 3 * SUB_US);
}

static void a_far_host_s_lease_ahead_is_good_for_longer(void **state) {
	(void)state;
	take_as(30000, 1, (struct lease_request){.need = 1, .least = 1, .want = 1, .span_least = 3, .next_want = 7});
	assert_int_equal(got.sub_window, EPOCH_US + 3 * SUB_US);
	assert_int_equal(got.granted_next, 7);
	assert_false(got.next_is_open);
	assert_int_equal(got.next_sub_window, EPOCH_US + 4 * SUB_US);
	assert_int_equal(ring.ahead, 4);
	assert_int_equal(ring.counts[0], 7);
	assert_int_equal(ring.counts[1], 1);
	assert_int_equal(ring.early, 7);
	take_as(30000, 1, (struct lease_request){.span_least = 50, .next_want = 1});
	assert_int_equal(got.granted_next, 1);
	assert_int_equal(got.next_sub_window, EPOCH_US + 10 * SUB_US); /* as far as any */
}

static void a_window_of_one_sub_window_is_leased_ahead_for_the_next_alone(void **state) {
	(void)state;
	for (int runs = 0; runs <= 1; runs++) {
		start(NULL);
		terms.runs = runs;
		take_as(0, 1, (struct lease_request){.span = 5, .span_least = 5, .next_want = 7});
		assert_int_equal(got.granted_next, 7);
		assert_int_equal(got.next_sub_window, EPOCH_US + SUB_US);
		assert_int_equal(ring.ahead, 1);
	}
}

/* It counts with the present sub-window from the next one on only, wherever it is charged to. */
static void what_is_ahead_by_two_counts_in_the_first_run_once_it_has_begun(void **state) {
	(void)state;
	terms.runs = 20;
	take(0, 4);
	take(SUB_US, 2);
	take_as(20 * SUB_US, 1, (struct lease_request){.next_want = 20});
	assert_int_equal(got.granted_next, 8); /* the four are out of the run that begins with the next */
	assert_int_equal(ring.early, 8);
	assert_int_equal(got.remaining, 0);
	give_back(20 * SUB_US, got.next_sub_window, 3, 0);
	assert_int_equal(got.remaining, 3); /* of six in the first run, seven in the second */
	give_back(21 * SUB_US, EPOCH_US + SUB_US, 0, 0);
	assert_int_equal(ring.early, 0);
	assert_int_equal(got.remaining, 3); /* the two still count with it */
	take_as(21 * SUB_US, 1, (struct lease_request){.next_want = 20});
	assert_int_equal(got.granted_next, 5); /* but not with what begins after it */
	assert_int_equal(take(21 * SUB_US, 1), 0);
}

static void what_is_early_by_two_and_returned_is_early_no_more(void **state) {
	(void)state;
	terms.runs = 20;
	take(0, 5);
	take_as(20 * SUB_US, 1, (struct lease_request){.next_want = 9});
	assert_int_equal(ring.early, 9);
	give_back(20 * SUB_US, got.next_sub_window, 6, 0);
	assert_int_equal(ring.early, 3);
	assert_int_equal(got.remaining, 5);
	assert_int_equal(take(20 * SUB_US, 5), 5);
	assert_int_equal(take(20 * SUB_US, 1), 0);
}

static void what_is_returned_of_the_present_leaves_the_early_ones(void **state) {
	(void)state;
	take(0, 4);
	take_as(0, 1, (struct lease_request){.next_want = 5});
	give_back(0, EPOCH_US, 3, 0);
	assert_int_equal(ring.early, 5);
}

static void what_is_early_by_two_and_spent_is_early_no_more(void **state) {
	(void)state;
	terms.runs = 20;
	terms.sub_window_us = LONG_US;
	take_as(0, 1, (struct lease_request){.next_want = 7});
	int64_t token = got.next_sub_window;
	give_back(LONG_US / 2, token, 0, 4); /* a host may be a little early */
	assert_int_equal(ring.early, 3);
	assert_int_equal(ring.counts[0], 3);
	assert_int_equal(ring.counts[2], 4);
	give_back(LONG_US - 1, token, 0, 2); /* what is spent close to the edge counts after it */
	assert_int_equal(ring.early, 1);
	assert_int_equal(ring.counts[0], 1);
	assert_int_equal(ring.counts[1], 2);
	assert_int_equal(ring.counts[2], 4);
}

/* Nobody knows which of them it is. If those that can be spent now are taken for early ones, less is granted, not
 * too much. */
static void what_is_charged_beside_early_ones_and_returned_is_taken_for_early(void **state) {
	(void)state;
	take_as(0, 1, (struct lease_request){.next_want = 4});
	take_as(0, 1, (struct lease_request){.want = 3, .span_least = 1});
	int64_t token = got.sub_window;
	assert_int_equal(token, EPOCH_US + SUB_US);
	give_back(0, token, 3, 0);
	assert_int_equal(ring.early, 1);
	give_back(0, token, 3, 0);
	assert_int_equal(ring.early, 0);
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
	come_before(0, 6);
	assert_int_equal(take_long(0, 8, 6), 8);
	int64_t token = got.next_sub_window;
	give_back(2 * SUB_US, token, 3, 0);
	assert_int_equal(got.remaining, 4);
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
	come_before(0, 8);
	assert_int_equal(take_long(0, 9, 8), 9);
	int64_t token = got.next_sub_window;
	give_back(2 * LONG_US, token, 0, 4);
	assert_int_equal(ring.ahead, 6);
	assert_int_equal(ring.counts[0], 5);
	assert_int_equal(ring.counts[6], 4);
	assert_int_equal(got.remaining, 0);
	give_back(3 * LONG_US, token, 1, 4);
	assert_int_equal(got.remaining, 2); /* one given back, and one of before counts no more */
	assert_int_equal(ring.ahead, 0);
	assert_int_equal(take(13 * LONG_US - 1, 3), 0);
	assert_int_equal(take(13 * LONG_US, 6), 6); /* four of the nine are gone */
	assert_int_equal(take(14 * LONG_US, 4), 4); /* and the other four */
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
	come_before(0, 8);
	assert_int_equal(take_long(0, 9, 8), 9);
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
	come_before(INT64_C(3600000000), 8);
	assert_int_equal(take_long(INT64_C(3600000000), 6, 8), 6);
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
	come_before(0, 8);
	assert_int_equal(take_long(0, 9, 8), 9); /* to 0.9 s */
	take_as(0, 1, (struct lease_request){0});
	terms = (struct grant_terms){.max_requests = 10, .sub_window_us = 250000, .runs = 4};
	assert_int_equal(take(1, 2), 0);
	assert_int_equal(ring.ahead, 3);
	assert_int_equal(got.retry_us, 8 * 250000 - 1);
	terms = (struct grant_terms){.max_requests = 10, .sub_window_us = 200000, .runs = 2}; /* a shorter window */
	assert_int_equal(take(1, 2), 0);
	assert_int_equal(ring.ahead, 2);
	assert_int_equal(ring.counts[0], 9);
	assert_int_equal(got.retry_us, 5 * 200000 - 1);
	terms = (struct grant_terms){.max_requests = 10, .sub_window_us = 400000}; /* a fixed one */
	assert_int_equal(take(1, 2), 0);
	assert_int_equal(got.retry_us, 400000 - 1);
}

static void fewer_sub_windows_of_the_same_length_forget_nothing_that_is_ahead(void **state) {
	(void)state;
	come_before(0, 9);
	assert_int_equal(take_long(0, 4, 9), 4);
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
		TEST(a_fair_part_is_a_quarter_more_than_the_share),
		TEST(who_served_lately_has_a_share),
		TEST(a_lease_is_charged_to_its_last_sub_window),
		TEST(a_lease_counts_for_a_window_after_its_end),
		TEST(nearer_the_limit_leases_are_shorter),
		TEST(a_shorter_lease_is_a_smaller_one),
		TEST(a_new_client_gets_a_brief_lease),
		TEST(a_lease_lasts_no_longer_than_the_client_has_been_coming),
		TEST(nor_for_longer_than_if_it_had_gone_on_for_a_window),
		TEST(leases_that_go_on_do_not_say_that_a_client_came_before),
		TEST(who_is_known_for_longer_gets_longer_leases),
		TEST(what_counts_no_more_is_not_known),
		TEST(a_brief_lease_is_good_for_a_tenth_of_the_window),
		TEST(or_for_as_long_as_the_shortest_if_that_is_longer),
		TEST(of_a_brief_lease_only_the_rest_is_charged_to_its_last),
		TEST(a_brief_lease_is_not_shorter_near_the_limit),
		TEST(a_lease_ahead_is_good_for_a_tenth_of_the_window_from_the_next_on),
		TEST(a_lease_that_is_not_brief_comes_instead_of_one_ahead),
		TEST(a_far_host_s_brief_lease_is_as_long_as_it_needs),
		TEST(a_far_host_s_lease_ahead_is_good_for_longer),
		TEST(a_window_of_one_sub_window_is_leased_ahead_for_the_next_alone),
		TEST(what_is_ahead_by_two_counts_in_the_first_run_once_it_has_begun),
		TEST(what_is_early_by_two_and_returned_is_early_no_more),
		TEST(what_is_returned_of_the_present_leaves_the_early_ones),
		TEST(what_is_early_by_two_and_spent_is_early_no_more),
		TEST(what_is_charged_beside_early_ones_and_returned_is_taken_for_early),
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
