/*
 * test_clock.c - the process is stopped at the worst moments. The test has a clock_gettime() of its own, which
 * says at each reading what the test wants.
 */
#include "clock.h"
#include "table_fixture.h"

#define START    (UINT64_C(1000) * NS_PER_S)
#define DEADLINE (START + NS_PER_S)

/* The true times of the readings to come; the last one stays. The coarse clock is lag_ns behind them. */
static uint64_t script[8] = {START};
static unsigned script_at;
static uint64_t lag_ns;
static unsigned fine_readings;

int clock_gettime(clockid_t clock, struct timespec *t) {
	uint64_t now_ns = script[script_at];

	if (script_at + 1 < sizeof(script) / sizeof(script[0]) && script[script_at + 1] != 0)
		script_at++;
	if (clock == CLOCK_MONOTONIC_COARSE)
		now_ns -= lag_ns;
	else
		fine_readings++;
	*t = clock_timespec(now_ns);
	return 0;
}

#define SCRIPT(...) set_script((uint64_t[8]){__VA_ARGS__})

static void set_script(const uint64_t times[8]) {
	for (int i = 0; i < 8; i++)
		script[i] = times[i];
	script_at = 0;
	fine_readings = 0;
}

static int setup(void **state) {
	struct fixture *f = fixture_new(0);

	lag_ns = 0;
	atomic_store(&decide_seen_ns, 0);
	fake_slot_lease(f->slot, 0, 5, DEADLINE, 0);
	*state = f;
	return 0;
}

static enum verdict ask(struct fixture *f) {
	struct decision d;

	return decide(f->mapping, 0, "c", 1, 1, &d);
}

static void a_warm_check_reads_the_coarse_clock_only(void **state) {
	SCRIPT(START);
	assert_int_equal(ask(*state), VERDICT_ALLOWED);
	assert_int_equal(fine_readings, 0);
}

/* The process is stopped between the choice of a lease and the look at the clock, until the deadline has
 * passed. No lease admits it then, and the agent finds the credit again. */
static void a_credit_taken_too_late_admits_nobody(void **state) {
	struct fixture *f = *state;

	SCRIPT(START);
	assert_int_equal(ask(f), VERDICT_ALLOWED);
	SCRIPT(DEADLINE);
	assert_int_equal(ask(f), VERDICT_NONE);
	assert_int_equal(credits(f, 0), 4);
}

/* The same in the careful way, where the clock is read before and after. */
static void a_credit_taken_too_late_near_the_edge_admits_nobody(void **state) {
	struct fixture *f = *state;

	SCRIPT(DEADLINE - 1);
	assert_int_equal(ask(f), VERDICT_ALLOWED);
	SCRIPT(DEADLINE - 1, DEADLINE - 1, DEADLINE);
	assert_int_equal(ask(f), VERDICT_NONE);
	assert_int_equal(credits(f, 0), 4);
}

/* What was taken may have been reported as spent by then, and count from then on. */
static void a_credit_admits_nobody_long_after_it_was_taken(void **state) {
	struct fixture *f = *state;
	uint64_t later = START + SPEND_LAG_NS + 1, still_later = later + SPEND_LAG_NS + 1;

	SCRIPT(START);
	assert_int_equal(ask(f), VERDICT_ALLOWED);
	SCRIPT(later, later, still_later);
	assert_int_equal(ask(f), VERDICT_NONE);
	assert_int_equal(credits(f, 0), 4);
	SCRIPT(still_later + SPEND_LAG_NS);
	assert_int_equal(ask(f), VERDICT_ALLOWED);
	assert_int_equal(credits(f, 0), 3);
}

static void a_check_after_a_pause_is_admitted(void **state) {
	struct fixture *f = *state;

	SCRIPT(START);
	assert_int_equal(ask(f), VERDICT_ALLOWED);
	SCRIPT(START + 2 * SPEND_LAG_NS);
	assert_int_equal(ask(f), VERDICT_ALLOWED);
	assert_int_equal(credits(f, 0), 3);
}

static enum verdict ask_for_eight(struct fixture *f, struct decision *d) {
	fake_slot_lease(f->slot, 0, 3, DEADLINE, 0);
	fake_slot_lease(f->slot, 1, 5, DEADLINE + NS_PER_S, 0);
	atomic_store(&decide_seen_ns, 0);
	return decide(f->mapping, 0, "c", 1, 8, d);
}

/* Three are taken of one lease and five of the other, and the process is stopped after the one, or after both. */
static void credits_of_two_leases_admit_nobody_when_one_has_ended(void **state) {
	struct fixture *f = *state;
	struct decision d;

	SCRIPT(START);
	assert_int_equal(ask_for_eight(f, &d), VERDICT_ALLOWED);
	for (int stopped = 1; stopped < 4; stopped++) {
		SCRIPT(START, stopped > 1 ? START : DEADLINE, stopped > 2 ? START : DEADLINE, DEADLINE);
		assert_int_equal(ask_for_eight(f, &d), VERDICT_NONE);
		assert_int_equal(credits(f, 0), 3);
		assert_int_equal(credits(f, 1), 5);
	}
}

static void credits_of_two_leases_admit_nobody_long_after_the_first(void **state) {
	struct fixture *f = *state;
	struct decision d;
	uint64_t late = START + SPEND_LAG_NS;

	SCRIPT(START, late);
	assert_int_equal(ask_for_eight(f, &d), VERDICT_ALLOWED);
	for (int stopped = 2; stopped < 4; stopped++) {
		SCRIPT(START, late, stopped > 2 ? late : late + 1, late + 1);
		assert_int_equal(ask_for_eight(f, &d), VERDICT_NONE);
		assert_int_equal(credits(f, 0), 3);
		assert_int_equal(credits(f, 1), 5);
	}
}

/* Those who take for several clients look at the clock once more, after the last. The process may have been
 * stopped before and after the look that follows the CAS. */
static void a_credit_is_good_for_so_long_from_before_it_was_taken(void **state) {
	struct fixture *f = *state;
	struct decision d;

	SCRIPT(START, START + SPEND_LAG_NS);
	assert_int_equal(decide_closely(f->mapping, 0, "c", 1, 1, &d), VERDICT_ALLOWED);
	assert_true(decide_is_still_good(&d, START + SPEND_LAG_NS));
	assert_false(decide_is_still_good(&d, START + SPEND_LAG_NS + 1));
}

static void after_a_late_credit_the_other_lease_serves(void **state) {
	struct fixture *f = *state;

	fake_slot_lease(f->slot, 1, 7, DEADLINE + NS_PER_S, 0);
	atomic_store(&f->slot->later_start_ns, DEADLINE);
	SCRIPT(START);
	assert_int_equal(ask(f), VERDICT_ALLOWED);
	SCRIPT(DEADLINE);
	assert_int_equal(ask(f), VERDICT_ALLOWED);
	assert_int_equal(credits(f, 0), 4);
	assert_int_equal(credits(f, 1), 6);
}

/* Meanwhile the agent has ended the lease. What was taken from it isn't given to the next one. */
static void a_late_credit_goes_into_no_other_lease(void **state) {
	struct fixture *f = *state;
	uint64_t taken_from = atomic_load(&f->slot->word[0]);

	decide_put_back(&f->slot->word[0], taken_from, 1);
	assert_int_equal(credits(f, 0), 6);
	fake_slot_lease(f->slot, 0, 5, DEADLINE + NS_PER_S, 0);
	decide_put_back(&f->slot->word[0], taken_from, 1);
	assert_int_equal(credits(f, 0), 5);
	fake_slot_lease(f->slot, 0, (uint32_t)WORD_CREDITS_MASK, DEADLINE, 0);
	decide_put_back(&f->slot->word[0], atomic_load(&f->slot->word[0]), 1);
	assert_int_equal(credits(f, 0), WORD_CREDITS_MASK);
}

/* The coarse clock is late by up to a tick: it may show a time before the deadline when the deadline has
 * passed. */
static void a_late_coarse_clock_admits_nothing_late(void **state) {
	struct fixture *f = *state;

	for (lag_ns = 0; lag_ns <= CLOCK_COARSE_LAG_NS; lag_ns += CLOCK_COARSE_LAG_NS / 8) {
		SCRIPT(DEADLINE);
		assert_int_equal(ask(f), VERDICT_NONE);
		SCRIPT(DEADLINE - 1);
		fake_slot_lease(f->slot, 0, 5, DEADLINE, 0);
		assert_int_equal(ask(f), VERDICT_ALLOWED);
	}
}

static void a_late_coarse_clock_starts_no_lease_early_or_late(void **state) {
	struct fixture *f = *state;

	fake_slot_lease(f->slot, 0, 0, 0, 0);
	fake_slot_lease(f->slot, 1, 100, DEADLINE + NS_PER_S, 0);
	atomic_store(&f->slot->later_start_ns, DEADLINE);
	for (lag_ns = 0; lag_ns <= CLOCK_COARSE_LAG_NS; lag_ns += CLOCK_COARSE_LAG_NS / 8) {
		atomic_store(&decide_seen_ns, 0); /* the clock goes back only in this test */
		SCRIPT(DEADLINE - 1);
		assert_int_equal(ask(f), VERDICT_NONE);
		SCRIPT(DEADLINE);
		assert_int_equal(ask(f), VERDICT_ALLOWED);
	}
}

static void a_denial_ends_on_time(void **state) {
	const uint64_t end_ns = DEADLINE >> DENIAL_TICK_SHIFT << DENIAL_TICK_SHIFT;
	struct fixture *f = *state;

	fake_slot_lease(f->slot, 0, 0, 0, 0);
	fake_slot_deny(f->slot, 1, end_ns, 0, hint_pack(0, 0, 0));
	for (lag_ns = 0; lag_ns <= CLOCK_COARSE_LAG_NS; lag_ns += CLOCK_COARSE_LAG_NS / 8) {
		SCRIPT(end_ns - 1);
		assert_int_equal(ask(f), VERDICT_DENIED);
		SCRIPT(end_ns);
		assert_int_equal(ask(f), VERDICT_NONE);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(a_warm_check_reads_the_coarse_clock_only),
		TEST(a_credit_taken_too_late_admits_nobody),
		TEST(a_credit_taken_too_late_near_the_edge_admits_nobody),
		TEST(a_credit_admits_nobody_long_after_it_was_taken),
		TEST(a_check_after_a_pause_is_admitted),
		TEST(credits_of_two_leases_admit_nobody_when_one_has_ended),
		TEST(credits_of_two_leases_admit_nobody_long_after_the_first),
		TEST(a_credit_is_good_for_so_long_from_before_it_was_taken),
		TEST(after_a_late_credit_the_other_lease_serves),
		TEST(a_late_credit_goes_into_no_other_lease),
		TEST(a_late_coarse_clock_admits_nothing_late),
		TEST(a_late_coarse_clock_starts_no_lease_early_or_late),
		TEST(a_denial_ends_on_time),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
