/*
 * test_grant_known.c - for how long leases last by how long a client has been known; and those of a new one, which
 * are brief.
 */
#include "grant_fixture.h"

/* ---- How long a client has been known ------------------------------------------------------ */

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

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, start)
	const struct CMUnitTest tests[] = {
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
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
