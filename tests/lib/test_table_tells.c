/*
 * test_table_tells.c - checks that the table decides: what apps are told of its leases and its denials. The agent
 * is well, and isn't asked.
 */
#include "channel_fixture.h"

/* The time that a denial is told to last, when it ends about a minute from now. It is counted in ticks of about
 * a millisecond, by a clock that may be one tick late. */
static void assert_time_left(int64_t ms, uint64_t until_ns) {
	assert_true(ms >= (int64_t)((until_ns - fake_now_ns()) / MS(1)) - 2);
	assert_true(ms <= 60010);
}

/* A client of whom the agent was asked once, and whom it has then put into the table. */
static struct slot *is_known(struct fixture *f) {
	source(f, "c");
	return fake_table_put(&f->agent.table, 0, "c");
}

static void expect_asked(struct fixture *f, unsigned times) {
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.want), times);
}

static void takes_credits_without_a_word(void **state) {
	struct fixture *f = *state;
	struct slot *slot = is_known(f);

	atomic_store(&slot->hint, 20);
	fake_slot_lease(slot, 0, 5, LATER, 0);
	for (int left = 4; left >= 0; left--) {
		assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
		assert_true(f->r.allowed);
		assert_int_equal(f->r.remaining, left + 20);
		assert_int_equal(f->r.limit, 100);
		assert_in_range(f->r.reset_after_ms, 60000, 121000);
	}
	expect_asked(f, 1);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	expect_asked(f, 2);
}

/* Then the limit is free again when the credits of both are. They go back into neither. */
static void what_comes_from_two_leases_is_told_of_the_last(void **state) {
	struct fixture *f = *state;
	struct slot *slot = is_known(f);

	atomic_store(&slot->hint, 20);
	fake_slot_lease(slot, 0, 3, fake_now_ns() + MS(30000), 0);
	fake_slot_lease(slot, 1, 5, LATER, 0);
	assert_int_equal(stint_check(f->api, "c", 7, &f->r), 0);
	assert_true(f->r.allowed);
	assert_int_equal(f->r.source, STINT_SOURCE_LEASE);
	assert_int_equal(f->r.remaining, 1 + 20);
	assert_in_range(f->r.reset_after_ms, 60000, 121000);
	assert_int_equal(f->r.receipt, 0);
	assert_int_equal(stint_refund(f->api, "c", 7, &f->r), 0);
	expect_asked(f, 1);
}

static void leases_say_whose_limit_they_are_of(void **state) {
	struct fixture *f = *state;
	struct slot *slot = is_known(f);

	fake_slot_own_limit(&f->agent.table, slot, 130, 70);
	fake_slot_lease(slot, 0, 1, LATER, 0);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_int_equal(f->r.limit, 70);
	atomic_store(&slot->low_water, 0);
	fake_slot_lease(slot, 1, 5, LATER, WORD_FALLBACK_BIT);
	assert_int_equal(source(f, "c"), STINT_SOURCE_FALLBACK);
	assert_int_equal(f->r.limit, 200);
	expect_asked(f, 1);
}

/* The table remembers of a denial how long it lasts, by whose limit, and whether it is for good. */
static void denials_say_how_long_they_last(void **state) {
	struct fixture *f = *state;
	struct slot *slot = is_known(f);
	uint64_t until_ns = LATER;

	fake_slot_deny(slot, 1, until_ns, 0, hint_pack(0, 4000, 7000));
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_false(f->r.allowed);
	assert_int_equal(f->r.reason, STINT_OVER_LIMIT);
	assert_time_left(f->r.retry_after_ms - 4000, until_ns);
	assert_int_equal(f->r.reset_after_ms - f->r.retry_after_ms, 3000);
	fake_slot_deny(slot, 1, LATER, 0,
	               hint_pack(HINT_UNAVAILABLE_BIT, STINT_TIME_WINDOW_MS_MAX, STINT_TIME_WINDOW_MS_MAX));
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_true(f->r.retry_after_ms > STINT_TIME_WINDOW_MS_MAX);
	assert_true(f->r.retry_after_ms < STINT_TIME_WINDOW_MS_MAX / 1000 * 1002);
	assert_int_equal(f->r.reason, STINT_UNAVAILABLE);
	expect_asked(f, 1);
	/* A denial without its times is one that the agent is about to put there. */
	fake_slot_deny(slot, 1, LATER, 0, HINT_UNKNOWN);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	expect_asked(f, 2);
}

static void denials_say_that_a_client_is_blocked(void **state) {
	struct fixture *f = *state;
	struct slot *slot = is_known(f);
	uint64_t until_ns = LATER;

	fake_slot_own_limit(&f->agent.table, slot, 77, 0);
	fake_slot_deny(slot, 1, until_ns, 0, hint_pack(0, 4000, 4000));
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_int_equal(f->r.reason, STINT_BLOCKED);
	assert_time_left(f->r.retry_after_ms - 4000, until_ns);      /* when the block ends */
	fake_slot_deny(slot, 1, until_ns, 0, hint_pack(0, 0, 7000)); /* by itself it doesn't */
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_int_equal(f->r.reason, STINT_BLOCKED);
	assert_int_equal(f->r.retry_after_ms, 60000);
	assert_int_equal(f->r.reset_after_ms, 0);
	assert_int_equal(f->r.limit, 0);
	assert_false(stint_is_allowed(f->api, "c"));
	expect_asked(f, 1);
}

static void denials_of_a_fallback_say_so(void **state) {
	struct fixture *f = *state;
	struct slot *slot = is_known(f);
	uint64_t until_ns = LATER;

	fake_slot_deny(slot, 1, until_ns, 0, hint_pack(HINT_FALLBACK_BIT, 5000, 6000));
	assert_int_equal(source(f, "c"), STINT_SOURCE_FALLBACK);
	assert_false(f->r.allowed);
	assert_int_equal(f->r.limit, 200);
	assert_time_left(f->r.retry_after_ms - 5000, until_ns);
	assert_int_equal(f->r.reset_after_ms - f->r.retry_after_ms, 1000);
	fake_slot_own_limit(&f->agent.table, slot, OWN_LIMITS - 1, 0);
	fake_slot_deny(slot, 1, LATER, 0, hint_pack(HINT_FALLBACK_BIT, 0, 0));
	assert_int_equal(source(f, "c"), STINT_SOURCE_FALLBACK);
	assert_int_equal(f->r.reason, STINT_BLOCKED);
	assert_int_equal(f->r.retry_after_ms, 30000);
	assert_int_equal(f->r.limit, 0);
	expect_asked(f, 1);
}

/* It is never admitted either, but smaller ones are: nobody is blocked. */
static void denials_tell_a_cost_above_the_limit(void **state) {
	struct fixture *f = *state;
	struct slot *slot = is_known(f);

	fake_slot_deny(slot, 91, LATER, 90, hint_pack(0, 1000, 2000));
	assert_int_equal(stint_check(f->api, "c", 101, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LEASE);
	assert_int_equal(f->r.reason, STINT_COST_ABOVE_LIMIT);
	assert_int_equal(f->r.retry_after_ms, 60000);
	assert_int_equal(f->r.limit, 100);
	assert_int_equal(f->r.remaining, 90);
	assert_true(f->r.reset_after_ms > 2000);
	assert_int_equal(stint_check(f->api, "c", 100, &f->r), 0);
	assert_int_equal(f->r.reason, STINT_OVER_LIMIT);
	/* the client has taken nothing, so nothing has to become free */
	fake_slot_deny(slot, 101, LATER, 100, hint_pack(0, 1000, 2000));
	assert_int_equal(stint_check(f->api, "c", 101, &f->r), 0);
	assert_int_equal(f->r.reset_after_ms, 0);
	expect_asked(f, 1);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(what_comes_from_two_leases_is_told_of_the_last),
		TEST(takes_credits_without_a_word),
		TEST(leases_say_whose_limit_they_are_of),
		TEST(denials_say_how_long_they_last),
		TEST(denials_say_that_a_client_is_blocked),
		TEST(denials_of_a_fallback_say_so),
		TEST(denials_tell_a_cost_above_the_limit),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
