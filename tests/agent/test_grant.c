/*
 * test_grant.c - the arithmetic of the windows at its edges: what counts from when to when, who gets how much of
 * it, and what becomes of it when the clock or the limits change. test_grant_known.c and test_grant_ahead.c have
 * more about leases, test_grant_oracle.c random histories.
 */
#include "grant_fixture.h"

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

/* ---- Other times, other limits ----------------------------------------------------------- */

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
