/*
 * test_table_both.c - what neither of a client's leases holds alone comes from both: all of it, or nothing.
 */
#include "interrupt.h"
#include "table_fixture.h"

#define LATER (fake_now_ns() + MS(60000))

static int setup(void **state) {
	*state = fixture_new(3);
	return 0;
}

static enum verdict ask(struct fixture *f, uint32_t cost) {
	struct decision d;

	return decide(f->mapping, 3, "c", 1, cost, &d);
}

/* Three of a lease that ends first, five of another; the store has nothing. */
static void hold_three_and_five(struct fixture *f) {
	fake_slot_deny(f->slot, 1, LATER, 0, hint_pack(0, 500, 600));
	fake_slot_lease(f->slot, 0, 3, fake_now_ns() + MS(30000), 0);
	fake_slot_lease(f->slot, 1, 5, LATER, 0);
}

static void takes_from_both_leases_what_neither_holds(void **state) {
	struct fixture *f = *state;
	struct decision d;

	hold_three_and_five(f);
	assert_int_equal(ask(f, 9), VERDICT_DENIED);
	assert_int_equal(decide(f->mapping, 3, "c", 1, 7, &d), VERDICT_ALLOWED);
	assert_int_equal(d.until_ns, atomic_load(&f->slot->deadline_ns[1]));
	assert_int_equal(d.part, 3);
	assert_int_equal(d.part_until_ns, atomic_load(&f->slot->deadline_ns[0]));
	assert_int_equal(credits(f, 0), 0);
	assert_int_equal(credits(f, 1), 1);
	decide_undo(&d, 7);
	assert_int_equal(credits(f, 0), 3);
	assert_int_equal(credits(f, 1), 5);
	assert_int_equal(ask(f, 8), VERDICT_ALLOWED);
	assert_int_equal(credits(f, 0) + credits(f, 1), 0);
	assert_int_equal(ask(f, 8), VERDICT_DENIED);
}

/* It begins only when the other ends: so they never hold anything together. */
static void takes_nothing_of_a_lease_to_come(void **state) {
	struct fixture *f = *state;
	struct decision d;

	hold_three_and_five(f);
	atomic_store(&f->slot->later_start_ns, fake_now_ns() + MS(30000));
	assert_int_equal(ask(f, 8), VERDICT_DENIED);
	assert_int_equal(decide_look(f->mapping, 3, "c", 1, 8, &d), VERDICT_DENIED);
	assert_int_equal(credits(f, 0), 3);
	assert_int_equal(credits(f, 1), 5);
}

static void sees_what_both_leases_hold(void **state) {
	struct fixture *f = *state;
	struct decision d;

	hold_three_and_five(f);
	assert_int_equal(decide_look(f->mapping, 3, "c", 1, 8, &d), VERDICT_ALLOWED);
	assert_int_equal(d.until_ns, atomic_load(&f->slot->deadline_ns[1]));
	assert_int_equal(decide_look(f->mapping, 3, "c", 1, 9, &d), VERDICT_DENIED);
	assert_int_equal(credits(f, 0) + credits(f, 1), 8);
}

static void take_from_both(void *arg) {
	struct fixture *f = arg;

	f->verdict = ask(f, 8);
}

/* Of some 1,500 instructions most are the clock's, which is read between the two leases. */
#define BETWEEN (19 * INTERRUPT_STRIDE)

/* Another process is quicker at one of the leases, or later: then it finds nothing. */
static void rival_takes(void *arg, int which) {
	struct fixture *f = arg;
	uint64_t word = atomic_load(&f->slot->word[which]);

	f->told = word_credits(word) > 0;
	atomic_store(&f->slot->word[which], word - f->told);
}

static void rival_takes_of_the_first(void *arg) {
	rival_takes(arg, 0);
}

static void rival_takes_of_the_last(void *arg) {
	rival_takes(arg, 1);
}

static void loses_nothing_to_who_comes_between(struct fixture *f, void (*rival)(void *)) {
	unsigned steps = 1, beaten = 0, won = 0;

	for (hold_three_and_five(f); interrupt_after(steps, take_from_both, rival, f); steps += BETWEEN) {
		bool allowed = f->verdict == VERDICT_ALLOWED;

		assert_int_equal(credits(f, 0) + credits(f, 1) + f->told + (allowed ? 8 : 0), 8);
		beaten += !allowed;
		won += allowed;
		hold_three_and_five(f);
	}
	interrupt_or_skip();
	assert_true(beaten > 0 && won > 0);
}

static void what_comes_from_both_is_lost_to_none(void **state) {
	loses_nothing_to_who_comes_between(*state, rival_takes_of_the_first);
	loses_nothing_to_who_comes_between(*state, rival_takes_of_the_last);
}

/* The agent ends both leases, and what they hold goes back to the store. */
static void agent_drains(void *arg) {
	struct fixture *f = arg;

	f->told = 0;
	for (int which = 0; which < 2; which++) {
		uint64_t word = atomic_load(&f->slot->word[which]);

		f->told += word_credits(word);
		atomic_store(&f->slot->word[which], (uint64_t)(word_epoch(word) + 1) << WORD_EPOCH_SHIFT);
	}
}

/* What was taken by then counts as used: so it doesn't come back, though it came to nothing. */
static void what_comes_from_both_is_never_spent_twice(void **state) {
	struct fixture *f = *state;
	unsigned steps = 1, burnt = 0;

	for (hold_three_and_five(f); interrupt_after(steps, take_from_both, agent_drains, f); steps += BETWEEN) {
		assert_int_equal(credits(f, 0) + credits(f, 1), 0);
		assert_true(f->verdict == VERDICT_ALLOWED ? f->told == 0 : f->told == 8 || f->told == 5);
		burnt += f->told == 5;
		hold_three_and_five(f);
	}
	interrupt_or_skip();
	assert_true(burnt > 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(takes_from_both_leases_what_neither_holds),
		TEST(takes_nothing_of_a_lease_to_come),
		TEST(sees_what_both_leases_hold),
		TEST(what_comes_from_both_is_lost_to_none),
		TEST(what_comes_from_both_is_never_spent_twice),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
