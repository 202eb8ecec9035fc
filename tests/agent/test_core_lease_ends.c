/*
 * test_core_lease_ends.c - which lease takes another's place, and what of those that are over is told to the
 * database. Step by step, against a database that the test plays.
 */
#include "core_fixture.h"

/* ---- Leases ------------------------------------------------------------------------------------ */

static void is_granted(struct fixture *f, struct lease_grant grant) {
	assert_int_equal(f->asked_count, 1);
	answers(f, LEASE_DONE, &grant);
	f->told_count = 0;
}

/* Who needs more than there is has to ask, and gets it: so much is added for now, and a lease that lasts. */
static void has_lasting(struct fixture *f, int32_t now, int32_t lasting, int span, int32_t remaining) {
	want(f, 1, "a", 50);
	is_granted(f, long_grant_of(f, 50 + now, lasting, remaining, span));
}

static void spends(struct fixture *f, int credits) {
	for (int i = 0; i < credits; i++)
		assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
}

/* The end of a lease that was asked for at the start, so many sub-windows after the first one. */
static int64_t end_of(int sub_windows) {
	return START_NS + AT_LEAST((60 + sub_windows * SUB_MS) * MS);
}

/* Credits of the lease with that end. */
static uint32_t held_until(struct fixture *f, int64_t end_ns) {
	uint32_t slot = app_find(&f->table, 0, "a", 1), credits = 0;
	for (int bank = 0; bank < 2; bank++)
		if (table_deadline(&f->table.table, slot, bank) == end_ns)
			credits += table_credits(&f->table.table, slot, bank);
	return credits;
}

static uint32_t held(struct fixture *f) {
	uint32_t slot = app_find(&f->table, 0, "a", 1);
	return table_credits(&f->table.table, slot, 0) + table_credits(&f->table.table, slot, 1);
}

/* ---- In the place of another --------------------------------------------------------------------- */

static void of_two_leases_the_one_with_less_left_gives_way(void **state) {
	struct fixture *f = *state;
	has_lasting(f, 5, 3, 2, 80);
	has_lasting(f, 0, 7, 4, 80);
	assert_int_equal(held_until(f, end_of(0)), 5);
	assert_int_equal(held_until(f, end_of(2)), 0);
	assert_int_equal(held_until(f, end_of(4)), 7);
}

static void also_the_one_for_now(void **state) {
	struct fixture *f = *state;
	has_lasting(f, 2, 4, 2, 80);
	has_lasting(f, 0, 7, 4, 80);
	assert_int_equal(held_until(f, end_of(0)), 0);
	assert_int_equal(held_until(f, end_of(2)), 4);
	assert_int_equal(held_until(f, end_of(4)), 7);
}

static void of_two_with_as_much_left_the_one_that_ends_first(void **state) {
	struct fixture *f = *state;
	has_lasting(f, 3, 3, 2, 80);
	has_lasting(f, 0, 7, 4, 80);
	assert_int_equal(held_until(f, end_of(0)), 0);
	assert_int_equal(held_until(f, end_of(2)), 3);
	assert_int_equal(held_until(f, end_of(4)), 7);
}

/* Near the limit others may need it. */
static void what_a_tight_clients_lease_had_left_goes_back(void **state) {
	struct fixture *f = *state;
	has_lasting(f, 5, 3, 2, 10);
	int64_t sub_window = long_grant_of(f, 0, 0, 0, 2).next_sub_window;
	has_lasting(f, 0, 7, 4, 10);
	for (int i = 0; i < 10 && f->asked_count == 0; i++)
		pass(f, MS);
	assert_int_equal(report_of(f, 0, sub_window).unspent, 3);
}

/* What it was granted for isn't known, so that nothing of it can be returned. */
static void one_that_an_earlier_agent_left_gives_way_first(void **state) {
	struct fixture *f = *state;
	has_lasting(f, 0, 9, 9, 80);
	restart(f);
	comes_up(f);
	want(f, 1, "a", 50);
	is_granted(f, grant_of(f, 52, 0, 80));
	has_lasting(f, 0, 7, 4, 80);
	assert_int_equal(held_until(f, end_of(9)), 0);
	assert_int_equal(held_until(f, end_of(0)), 2);
	assert_int_equal(held_until(f, end_of(4)), 7);
}

/* Its last one for now stays. */
static void one_ahead_that_an_earlier_agent_left_gives_way_to_one_ahead(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	is_granted(f, grant_of(f, 4, 5, 80));
	restart(f);
	comes_up(f);
	spends(f, 1);
	low(f, "a"); /* the client is adopted */
	spends(f, 1);
	if (f->asked_count == 0)
		low(f, "a");
	is_granted(f, grant_of(f, 0, 7, 80));
	assert_int_equal(held_until(f, end_of(0)), 1);
	assert_int_equal(held_until(f, end_of(1)), 7);
}

/* An answer for a later sub-window than the one that has ended while it was under way. */
static void a_lease_that_is_over_is_not_one_ahead(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	is_granted(f, grant_of(f, 9, 0, 80));
	spends(f, 6);
	low(f, "a");
	f->now_ns += 65 * MS;
	f->end_ns += SUB_MS * MS;
	is_granted(f, grant_of(f, 0, 5, 80));
	assert_int_equal(held(f), 5);
}

/* Which of the two places the first one ahead has makes no difference. */
static void the_second_one_ahead_goes_back_in_the_next_sub_window_too(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	is_granted(f, grant_of(f, 1, 5, 80));
	for (int i = 0; i < 3; i++) {
		pass(f, 61 * MS);
		spends(f, 4);
		while (f->asked_count == 0)
			low(f, "a");
		is_granted(f, grant_of(f, 0, 5, 80));
		low(f, "a");
		struct lease_grant second = grant_of(f, 0, 7, 80);
		second.next_sub_window += SUB_MS * 1000;
		second.next_valid_us += SUB_MS * 1000;
		is_granted(f, second);
		spends(f, 1);
		assert_int_equal(held(f), 5);
		for (int n = 0; n < 10 && f->asked_count == 0; n++)
			pass(f, MS);
		assert_int_equal(report_of(f, 0, second.next_sub_window).unspent, 7);
		is_granted(f, grant_of(f, 0, 0, 80));
		f->now_ns = f->end_ns - 40 * MS;
	}
}

/* One that begins later would open with it. */
static void none_comes_ahead_of_one_that_lasts_longer(void **state) {
	struct fixture *f = *state;
	has_lasting(f, 0, 1, 2, 80);
	low(f, "a");
	struct lease_grant grant = grant_of(f, 0, 5, 80);
	is_granted(f, grant);
	assert_int_equal(held_until(f, end_of(2)), 1);
	assert_int_equal(held_until(f, end_of(1)), 0);
	pass(f, 5 * MS);
	assert_int_equal(report_of(f, 0, grant.next_sub_window).unspent, 5);
}

static void unless_that_is_used_up(void **state) {
	struct fixture *f = *state;
	has_lasting(f, 0, 1, 2, 80);
	spends(f, 1);
	low(f, "a");
	is_granted(f, grant_of(f, 0, 5, 80));
	assert_int_equal(held_until(f, end_of(1)), 5);
}

/* Their origins are both unknown, but they end at different times. */
static void what_can_not_be_returned_is_not_one_lease_for_that(void **state) {
	struct fixture *f = *state;
	has_lasting(f, 0, 9, 9, 80);
	restart(f);
	comes_up(f);
	want(f, 1, "a", 50);
	struct lease_grant grant = grant_of(f, 55, 0, 80);
	grant.starts_in_us -= 20000;
	is_granted(f, grant);
	assert_int_equal(held_until(f, end_of(9)), 9);
	assert_int_equal(held_until(f, end_of(0)), 5);
}

/* ---- Of a far database ------------------------------------------------------------------------------ */

/* Its shortest lease lasts until a later sub-window than the present one, and so may a verdict be read. */
static struct lease_grant far_grant_of(struct fixture *f, int32_t granted) {
	struct lease_grant grant = grant_of(f, granted, 0, 80);
	grant.starts_in_us -= 20000;
	return grant;
}

static void what_who_waited_was_served_from_is_never_told_of(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	is_granted(f, far_grant_of(f, 6));
	spends(f, 2);
	pass(f, 61 * MS);
	want(f, 2, "a", 1);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(unspent_in(f, 0) + spent_in(f, 0), 0);
}

static void what_nobody_waited_for_is(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	is_granted(f, grant_of(f, 1, 0, 80));
	pass(f, 61 * MS);
	low(f, "a");
	struct lease_grant grant = far_grant_of(f, 5);
	is_granted(f, grant);
	spends(f, 2);
	pass(f, 100 * MS);
	want(f, 2, "a", 1);
	assert_int_equal(report_of(f, 0, grant.sub_window).unspent, 3);
}

/* What was asked for meanwhile is asked with nothing to tell. */
static void of_nothing_granted_nothing_is_told(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 5);
	want(f, 2, "a", 1);
	grants(f, 0, 0, 3);
	assert_int_equal(f->asked_count, 1);
	for (int i = 0; i < LEASE_REPORTS; i++)
		assert_int_equal(f->asked[0].report[i].sub_window, 0);
}

/* ---- All that goes back ----------------------------------------------------------------------------- */

static uint64_t returned(const struct fixture *f) {
	return core_counters(f->core)->returned;
}

static void what_goes_back_is_counted(void **state) {
	struct fixture *f = *state;
	for (uint32_t i = 0; i < 2; i++) {
		want(f, i, i ? "b" : "a", 1);
		is_granted(f, grant_of(f, 6, 0, 80));
	}
	client_changes(f, "a");
	client_changes(f, "b");
	assert_int_equal(returned(f), 5 + 5);
}

/* To the store of this process. */
static void what_a_fallback_gets_back_is_counted(void **state) {
	struct fixture *f = *state;
	policy_changes(f, policy_with(100, 100));
	stays_away(f);
	uint64_t held_by_both = 0;
	for (uint32_t i = 0; i < 2; i++) {
		const char *id = i ? "b" : "a";
		for (int n = 0; n < 6; n++) {
			want(f, i, id, 1);
			low(f, id);
		}
		uint32_t slot = app_find(&f->table, 0, id, 1);
		held_by_both += table_credits(&f->table.table, slot, 0) + table_credits(&f->table.table, slot, 1);
	}
	f->told_count = 0;
	assert_true(held_by_both >= 2);
	client_changes(f, "a");
	client_changes(f, "b");
	assert_int_equal(returned(f), held_by_both);
}

/* The next lease is to begin at once: but who asks for more now keeps what it has. */
static void who_asks_for_more_keeps_what_it_has(void **state) {
	struct fixture *f = *state;
	struct core_policy policy = policy_with(100, 20);
	policy.terms.sub_window_us = 1000000;
	policy.terms.slack_us = 200000;
	policy_changes(f, policy);
	f->end_ns = f->now_ns + 1000 * MS;
	want(f, 1, "a", 1);
	is_granted(f, grant_of(f, 10, 0, 10));
	want(f, 2, "a", 20);
	assert_int_equal(unspent_in(f, 0), 0);
	spends(f, 9);
}

/* In memory, who had too much in one sub-window can have it in the next: all of the limit is admitted. */
static void what_lapses_in_memory_is_granted_again(void **state) {
	struct fixture *f = *state;
	int allowed = 0;
	core_free(f->core);
	start_core(f, true, 9);
	for (int ms = 0; ms < 900; ms++, pass(f, MS)) {
		if (ms % 20 != 0 && ms < 800)
			continue;
		struct app_decision d = app(f, "a", 1);
		if (d.verdict == APP_ASKS) {
			want(f, 1, "a", 1);
			allowed += f->told[0].verdict.allowed;
			f->told_count = 0;
		} else {
			allowed += d.verdict == APP_ALLOWED;
		}
		if (d.low)
			low(f, "a");
	}
	assert_int_equal(allowed, 100);
}

/* ---- Fixed windows ------------------------------------------------------------------------------------- */

static struct lease_grant has_a_fixed_window_of(struct fixture *f, int64_t ms) {
	struct core_policy policy = policy_with(100, 20);
	policy.time_window_ms = ms;
	policy.terms = (struct grant_terms){.max_requests = 100, .sub_window_us = ms * 1000};
	policy_changes(f, policy);
	f->end_ns = f->now_ns + ms * MS;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 10, 0, 20); /* it is tight */
	is_granted(f, grant);
	return grant;
}

/* By this host's clock it may go on for as long as the clocks may differ after that: a thousandth. */
static void what_is_left_at_its_end_goes_back_while_it_may_go_on(void **state) {
	struct fixture *f = *state;
	struct lease_grant grant = has_a_fixed_window_of(f, 10000);
	f->now_ns += AT_LEAST(10000 * MS) - MS;
	pass(f, 0);
	for (int i = 0; i < 100 && (f->asked_count == 0 || unspent_in(f, 0) == 0); i++) {
		if (f->asked_count > 0)
			is_granted(f, grant_of(f, 0, 0, 20));
		pass(f, MS / 10);
	}
	assert_int_equal(report_of(f, 0, grant.sub_window).unspent, 9);
}

/* A thousandth of a shorter window is not worth a statement. */
static void at_the_end_of_a_shorter_one_nothing_does(void **state) {
	struct fixture *f = *state;
	has_a_fixed_window_of(f, 9000);
	f->now_ns += AT_LEAST(9000 * MS) - MS;
	for (int i = 0; i < 300; i++) {
		pass(f, MS / 10);
		if (f->asked_count > 0) {
			assert_int_equal(unspent_in(f, 0), 0);
			is_granted(f, grant_of(f, 0, 0, 20));
		}
	}
}

static void what_was_not_told_by_then_is_told_no_more(void **state) {
	struct fixture *f = *state;
	has_a_fixed_window_of(f, 86400000);
	f->now_ns += AT_LEAST(86400000 * MS) + 87000 * MS;
	want(f, 2, "a", 1);
	assert_int_equal(unspent_in(f, 0), 0);
}

static void a_second_before_it_is(void **state) {
	struct fixture *f = *state;
	has_a_fixed_window_of(f, 86400000);
	f->now_ns += AT_LEAST(86400000 * MS) + 85000 * MS;
	want(f, 2, "a", 1);
	assert_int_equal(unspent_in(f, 0), 9);
}

int main(void) {
#define STEP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(of_two_leases_the_one_with_less_left_gives_way),
		STEP(also_the_one_for_now),
		STEP(of_two_with_as_much_left_the_one_that_ends_first),
		STEP(what_a_tight_clients_lease_had_left_goes_back),
		STEP(one_that_an_earlier_agent_left_gives_way_first),
		STEP(one_ahead_that_an_earlier_agent_left_gives_way_to_one_ahead),
		STEP(a_lease_that_is_over_is_not_one_ahead),
		STEP(the_second_one_ahead_goes_back_in_the_next_sub_window_too),
		STEP(none_comes_ahead_of_one_that_lasts_longer),
		STEP(unless_that_is_used_up),
		STEP(what_can_not_be_returned_is_not_one_lease_for_that),
		STEP(what_who_waited_was_served_from_is_never_told_of),
		STEP(what_nobody_waited_for_is),
		STEP(of_nothing_granted_nothing_is_told),
		STEP(what_goes_back_is_counted),
		STEP(what_a_fallback_gets_back_is_counted),
		STEP(who_asks_for_more_keeps_what_it_has),
		STEP(what_lapses_in_memory_is_granted_again),
		STEP(what_is_left_at_its_end_goes_back_while_it_may_go_on),
		STEP(at_the_end_of_a_shorter_one_nothing_does),
		STEP(what_was_not_told_by_then_is_told_no_more),
		STEP(a_second_before_it_is),
	};
	return cmocka_run_group_tests_name("core_lease_ends", tests, NULL, NULL);
}
