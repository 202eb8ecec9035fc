/*
 * test_grant_ahead.c - leases of the next sub-window and later ones: when they count, and when they are returned
 * or spent.
 */
#include "grant_fixture.h"

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

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, start)
	const struct CMUnitTest tests[] = {
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
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
