/*
 * test_core_demand.c - what is expected of a client, by what it has used: how much is asked for, for how long, and
 * when its app is to say that credits run low. Step by step, against a database that the test plays.
 */
#include "core_fixture.h"

/* ---- Clients that send ------------------------------------------------------------------------- */

struct sender {
	unsigned waited;            /* checks that the table had no answer for */
	struct lease_request ahead; /* the last request for the next lease */
};

/* What is asked for is granted: for now, and for the next sub-window. */
static void grants_all(struct fixture *f, struct sender *sender, int32_t remaining) {
	while (f->asked_count > 0) {
		if (f->asked[0].next_want > 0)
			sender->ahead = f->asked[0];
		grants(f, f->asked[0].want, f->asked[0].next_want, remaining);
	}
	f->told_count = 0;
}

static void checks(struct fixture *f, struct sender *sender, int32_t remaining) {
	struct app_decision d = app(f, "a", 1);
	sender->waited += d.verdict == APP_ASKS;
	if (d.verdict == APP_ASKS)
		want(f, 1, "a", 1);
	else if (d.low)
		low(f, "a");
	grants_all(f, sender, remaining);
}

/* For so long, so many checks in each sub-window. */
static struct sender sends(struct fixture *f, int sub_windows, int per_sub_window, int32_t remaining) {
	struct sender sender = {.waited = 0};
	for (int i = 0; i < sub_windows * 100; i++) {
		for (int n = i * per_sub_window / 100; n < (i + 1) * per_sub_window / 100; n++)
			checks(f, &sender, remaining);
		pass(f, SUB_MS * MS / 100);
		grants_all(f, &sender, remaining);
	}
	return sender;
}

/* It has sent so many in each sub-window for long, and the present one has just begun. */
static struct sender has_sent(struct fixture *f, int per_sub_window, int32_t remaining) {
	f->now_ns = f->end_ns;
	f->end_ns += SUB_MS * MS;
	return sends(f, 100, per_sub_window, remaining);
}

static void has_limit(struct fixture *f, int32_t max_requests) {
	policy_changes(f, policy_with(max_requests, 20));
}

/* What is asked for now for a client that needs one credit, beside that. */
static int32_t more_than_one(struct fixture *f) {
	want(f, 1, "a", 1);
	assert_int_equal(f->asked_count, 1);
	return f->asked[0].want - 1;
}

/* ---- How much ---------------------------------------------------------------------------------- */

/* 20, the 3.1 by which that differs by chance, and one. */
static void for_the_next_lease_is_asked_what_is_used_and_some_more(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	has_sent(f, 20, 9000);
	struct sender sender = sends(f, 10, 20, 9000);
	assert_int_equal(sender.ahead.next_want, 25);
	assert_int_equal(sender.waited, 0);
}

/* Of 20 in a sub-window, 64 are enough for the present one and two more: 60, and 5.4. */
static void a_lease_that_lasts_holds_so_many_for_each_sub_window(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	has_sent(f, 20, 9000);
	want(f, 1, "a", 30);
	assert_int_equal(f->asked[0].span, 2);
	assert_int_equal(f->asked[0].want, 30 + 66);
}

static void of_who_sends_nothing_little_is_expected_soon(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	has_sent(f, 20, 9000);
	sends(f, 1, 0, 9000);
	assert_in_range(more_than_one(f), 21, 23); /* two in each of eleven sub-windows, instead of 20 */
	assert_int_equal(f->asked[0].span, 10);
}

static void and_less_with_each_sub_window(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	has_sent(f, 20, 9000);
	sends(f, 2, 0, 9000);
	assert_in_range(more_than_one(f), 12, 14);
}

/* What was seen before counts like six sub-windows. */
static void a_new_rate_is_known_after_some_sub_windows(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	has_sent(f, 20, 9000);
	assert_in_range(sends(f, 2, 60, 9000).ahead.next_want, 33, 35);
	assert_in_range(sends(f, 6, 60, 9000).ahead.next_want, 53, 55);
}

/* Like six tenths of the window, that is, if it is cut finely. The leases ahead last for six sub-windows. */
static void of_a_fine_window_after_as_much_time(void **state) {
	struct fixture *f = *state;
	struct core_policy policy = policy_with(10000, 20);
	policy.terms.runs = 60;
	policy.time_window_ms = 60 * SUB_MS;
	policy_changes(f, policy);
	has_sent(f, 20, 9000);
	assert_in_range(sends(f, 2, 60, 9000).ahead.next_want, 130, 132);
	assert_in_range(sends(f, 6, 60, 9000).ahead.next_want, 166, 170);
}

/* It goes on as it is now: two hundred are not twice as many. */
static void who_sends_more_than_it_did_is_expected_to_go_on(void **state) {
	struct fixture *f = *state;
	struct sender sender = {.waited = 0};
	has_limit(f, 10000);
	has_sent(f, 80, 9000);
	for (int i = 0; i < 180; i++, pass(f, MS / 2))
		checks(f, &sender, 9000);
	want(f, 1, "a", 1000); /* more than there is left */
	assert_in_range(f->asked[0].want - 1000, 195, 205);
}

/* Twelve checks within a millisecond: a sub-window's part is the shortest time that anything is known of. */
static void each_use_counts_however_short_the_time(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	for (int i = 0; i < 12; i++) {
		want(f, 1, "a", 1);
		grants(f, 1, 0, 9000);
		core_client_changed(f->core, f->now_ns, 0, "a", 1); /* whatever it was granted ends */
	}
	assert_in_range(more_than_one(f), 23, 26);
}

static void no_use_counts_only_after_some_time(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	has_sent(f, 20, 9000);
	for (int i = 0; i < 12; i++) {
		core_client_changed(f->core, f->now_ns, 0, "a", 1);
		f->now_ns += MS / 10;
		want(f, 1, "a", 1);
		grants(f, 1, 0, 9000);
	}
	assert_in_range(more_than_one(f), 65, 70);
}

/* Who needs less than what was spent already has used that in the present period, too. */
static void who_begins_is_leased_twice_what_it_used(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	want(f, 1, "a", 6);
	grants(f, 6, 0, 9000);
	assert_int_equal(more_than_one(f), 2 * 6 + 1);
}

/* The app's word that credits run low brings a report of what was spent, too. */
static void also_when_that_is_reported_as_spent(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	want(f, 1, "a", 1);
	grants_long(f, 1, 400, 9000, 10);
	expect_allowed(f, 1);
	struct app_decision d;
	unsigned used = 0;
	do {
		d = app(f, "a", 1);
		assert_int_equal(d.verdict, APP_ALLOWED);
		used++;
	} while (!d.low);
	low(f, "a");
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].report[0].spent, used);
	assert_in_range(f->asked[0].want, 2 * used, 2 * used + 3);
}

/* Whatever was used, and 64 at most, as soon as the database has told the client's limit. */
static void a_small_part_of_the_limit_comes_with_what_is_needed(void **state) {
	static const struct {
		int32_t limit, own_limit, remaining, more;
	} cases[] = {
		{5120, 5120, 5000, 10}, /* a part in 256, of two hosts each half */
		{2000000000, 2000000000, 1999999990, 64},
		{5120, 20, 19, 3}, /* twice what was used, and one */
		{5120, 1000000, 990000, 64},
		{5120, 5120, 1200, 3}, /* others may need it */
		{1500, 1500, 1400, 3},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture *f = *state;
		has_limit(f, cases[i].limit);
		assert_int_equal(more_than_one(f), 0);
		struct lease_grant grant = grant_of(f, 1, 0, cases[i].remaining);
		grant.max_requests = cases[i].own_limit;
		answers(f, LEASE_DONE, &grant);
		assert_int_equal(more_than_one(f), cases[i].more);
		clean(state);
		make_up(state);
	}
}

/* The fallback's limit is known. */
static void in_a_fallback_at_once(void **state) {
	struct fixture *f = *state;
	policy_changes(f, policy_with(10, 2560));
	stays_away(f);
	want(f, 1, "a", 1);
	expect_allowed(f, 1);
	for (int i = 0; i < 10; i++)
		assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

/* The database's answers take ten milliseconds by now: so much longer a lease has to last, and as long again. */
static void the_slower_the_database_the_more(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	struct sender sender = has_sent(f, 80, 9000);
	want(f, 1, "b", 1);
	f->now_ns += 10 * MS;
	grants(f, 1, 0, 9000);
	grants_all(f, &sender, 9000);
	want(f, 2, "a", 1000);
	assert_in_range(f->asked[0].want - 1000, 66, 70); /* about 60 otherwise */
}

/* ---- Whether it goes on ------------------------------------------------------------------------- */

/* It comes once in two sub-windows, and has leases that last for ten. So many are left of its limit. Returns
 * whether it has its next lease before it needs it. */
static bool is_renewed(struct fixture *f, int32_t limit, int32_t remaining) {
	bool is_ahead = false;
	for (int i = 0; i < 100 * SUB_MS; i++, pass(f, MS)) {
		struct app_decision d = {.verdict = APP_ALLOWED};
		if (i % (2 * SUB_MS) == 0)
			d = app(f, "a", 1);
		if (d.verdict == APP_ASKS)
			want(f, 1, "a", 1);
		f->told_count = 0;
		if (f->asked_count == 0)
			continue;
		is_ahead |= f->asked[0].next_want > 0;
		struct lease_grant grant = long_grant_of(f, f->asked[0].need, 8, remaining, 10);
		grant.max_requests = limit;
		answers(f, LEASE_DONE, &grant);
	}
	return is_ahead;
}

static void who_uses_little_of_its_limit_is_renewed(void **state) {
	struct fixture *f = *state;
	has_limit(f, 100);
	assert_true(is_renewed(f, 100, 80));
}

static void so_is_one_with_a_limit_of_its_own(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000); /* of which 80 would be little */
	assert_true(is_renewed(f, 100, 80));
}

static void near_it_a_lease_would_be_too_short_for_that(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	assert_false(is_renewed(f, 10000, 80));
}

/* ---- In a fallback ----------------------------------------------------------------------------- */

/* Its clients are counted in this process: so leases are short there, also if the database was a far one. */
static void a_fallbacks_leases_end_with_their_sub_window(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	want(f, 1, "far", 1);
	f->now_ns += 60 * MS;
	f->end_ns = f->now_ns + 60 * MS;
	grants(f, 1, 0, 9000);
	stays_away(f);
	for (int i = 0; i < 30; i++, pass(f, 17 * MS)) {
		struct app_decision d = app(f, "b", 1);
		f->told_count = 0;
		if (d.verdict == APP_ASKS)
			want(f, 1, "b", 1);
		else if (d.low)
			low(f, "b");
		if (d.verdict == APP_ALLOWED)
			assert_in_range(d.until_ns, f->now_ns, f->now_ns + SUB_MS * MS);
	}
}

/* Its leases grow as those of the database do: who sends ten in a sub-window rarely waits. */
static void a_fallbacks_leases_are_as_large(void **state) {
	struct fixture *f = *state;
	struct sender sender = {.waited = 0};
	policy_changes(f, policy_with(10000, 10000));
	stays_away(f);
	for (int i = 0; i < 400; i++, pass(f, 10 * MS))
		checks(f, &sender, 9000);
	assert_in_range(sender.waited, 1, 8);
}

/* ---- When credits run low ---------------------------------------------------------------------- */

/* With how many credits left the app says so, of a lease of so many until the end of the sub-window, which has
 * just begun. */
static unsigned mark_of(struct fixture *f, int per_sub_window, int32_t granted) {
	struct app_decision d;
	has_sent(f, per_sub_window, 9000);
	pass(f, MS);
	while (app(f, "a", 1).verdict == APP_ALLOWED)
		;
	if (f->asked_count > 0)
		grants(f, 0, 0, 9000);
	want(f, 1, "a", 1);
	grants(f, granted, 0, 9000);
	f->told_count = 0;
	do {
		d = app(f, "a", 1);
		assert_int_equal(d.verdict, APP_ALLOWED);
	} while (!d.low);
	return d.left + 1;
}

/* It uses less than a quarter of it, as far as is known: so it has begun to send more. */
static void of_a_lease_that_would_last_between_a_quarter_and_a_half(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	assert_int_equal(mark_of(f, 2, 20), 8);
	assert_int_equal(mark_of(f, 2, 60), 16);
	assert_int_equal(mark_of(f, 20, 100), 32);
	assert_int_equal(mark_of(f, 80, 380), 128);
}

/* What is used in ten milliseconds, a tenth of a sub-window. */
static void of_one_that_is_used_up_what_is_used_until_the_next_is_there(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	assert_int_equal(mark_of(f, 80, 140), 16);
	assert_int_equal(mark_of(f, 320, 660), 64);
}

/* Until that, if the database takes 4 ms: eight round trips are a third of a sub-window. */
static void the_slower_the_database_the_sooner(void **state) {
	struct fixture *f = *state;
	struct app_decision d;
	has_limit(f, 10000);
	has_sent(f, 80, 9000);
	pass(f, MS);
	while (app(f, "a", 1).verdict == APP_ALLOWED)
		;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 200, 0, 9000);
	f->now_ns += 4 * MS;
	answers(f, LEASE_DONE, &grant);
	do {
		d = app(f, "a", 1);
		assert_int_equal(d.verdict, APP_ALLOWED);
	} while (!d.low);
	assert_int_equal(d.left + 1, 32);
}

static void of_a_small_one_when_one_credit_is_left(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	assert_int_equal(mark_of(f, 2, 3), 2);
}

/* It lasts for two sub-windows from now on, and more than a quarter of it is used until then. */
static void of_one_that_lasts_by_what_is_used_in_all_of_its_time(void **state) {
	struct fixture *f = *state;
	struct app_decision d;
	has_limit(f, 10000);
	has_sent(f, 20, 9000);
	pass(f, MS);
	while (app(f, "a", 1).verdict == APP_ALLOWED)
		;
	want(f, 1, "a", 1);
	grants_long(f, 1, 119, 9000, 1);
	do {
		d = app(f, "a", 1);
		assert_int_equal(d.verdict, APP_ALLOWED);
	} while (!d.low);
	assert_int_equal(d.left + 1, 8);
}

static void but_a_sixteenth_of_it_at_least(void **state) {
	struct fixture *f = *state;
	has_limit(f, 10000);
	assert_int_equal(mark_of(f, 20, 60), 4);
	assert_int_equal(mark_of(f, 80, 340), 32);
}

int main(void) {
#define STEP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(for_the_next_lease_is_asked_what_is_used_and_some_more),
		STEP(a_lease_that_lasts_holds_so_many_for_each_sub_window),
		STEP(of_who_sends_nothing_little_is_expected_soon),
		STEP(and_less_with_each_sub_window),
		STEP(a_new_rate_is_known_after_some_sub_windows),
		STEP(of_a_fine_window_after_as_much_time),
		STEP(who_sends_more_than_it_did_is_expected_to_go_on),
		STEP(each_use_counts_however_short_the_time),
		STEP(no_use_counts_only_after_some_time),
		STEP(who_begins_is_leased_twice_what_it_used),
		STEP(also_when_that_is_reported_as_spent),
		STEP(a_small_part_of_the_limit_comes_with_what_is_needed),
		STEP(in_a_fallback_at_once),
		STEP(who_uses_little_of_its_limit_is_renewed),
		STEP(so_is_one_with_a_limit_of_its_own),
		STEP(near_it_a_lease_would_be_too_short_for_that),
		STEP(a_fallbacks_leases_end_with_their_sub_window),
		STEP(of_a_lease_that_would_last_between_a_quarter_and_a_half),
		STEP(of_one_that_is_used_up_what_is_used_until_the_next_is_there),
		STEP(but_a_sixteenth_of_it_at_least),
		STEP(the_slower_the_database_the_sooner),
		STEP(of_a_small_one_when_one_credit_is_left),
		STEP(of_one_that_lasts_by_what_is_used_in_all_of_its_time),
		STEP(the_slower_the_database_the_more),
		STEP(a_fallbacks_leases_are_as_large),
	};
	return cmocka_run_group_tests_name("core_demand", tests, NULL, NULL);
}
