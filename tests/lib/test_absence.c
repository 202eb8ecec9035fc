/*
 * test_absence.c - how long a process waits for its agent, and from when on it may decide by itself. The test
 * chooses the times.
 */
#include "absence.h"
#include "clock.h"
#include "unit.h"

#define START       (UINT64_C(1000) * NS_PER_S)
#define AFTER_MS(n) (START + (uint64_t)(n)*NS_PER_MS)
#define GRACE_MS    2500
#define TIMEOUT_NS  (100 * NS_PER_MS)

static struct absence known(void) {
	struct absence a = {0};

	absence_found(&a, START);
	return a;
}

static void who_never_found_an_agent_has_no_grace(void **state) {
	struct absence a = {0};

	(void)state;
	assert_int_equal(absence_grace_left_ns(&a, START), 0);
	absence_note(&a, START);
	assert_int_equal(absence_grace_left_ns(&a, START), 0);
	/* The first checks wait, together as long as one of them may. */
	assert_true(absence_is_waited_for(&a, TIMEOUT_NS, AFTER_MS(99)));
	absence_note(&a, AFTER_MS(99));
	assert_false(absence_is_waited_for(&a, TIMEOUT_NS, AFTER_MS(100)));
	absence_note(&a, AFTER_MS(3600000));
	assert_false(absence_is_waited_for(&a, TIMEOUT_NS, AFTER_MS(3600000)));
	/* An agent is there at last: from now on the process can miss it. */
	absence_found(&a, AFTER_MS(3600000));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(3600001)), (GRACE_MS - 1) * NS_PER_MS);
}

static void who_loses_the_agent_has_a_grace(void **state) {
	struct absence a = known();

	(void)state;
	absence_end(&a);
	assert_int_equal(absence_grace_left_ns(&a, START), 1);
	absence_begin(&a, START);
	for (int ms = 0; ms < GRACE_MS; ms += 50) {
		absence_note(&a, AFTER_MS(ms));
		assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(ms)), (uint64_t)(GRACE_MS - ms) * NS_PER_MS);
		assert_true(absence_is_waited_for(&a, TIMEOUT_NS, AFTER_MS(ms)));
	}
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(GRACE_MS)), 0);
	assert_false(absence_is_waited_for(&a, TIMEOUT_NS, AFTER_MS(GRACE_MS)));
	/* Somebody listens on the agent's socket, but has not said anything yet. */
	absence_found(&a, AFTER_MS(GRACE_MS));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(GRACE_MS)), 0);
	absence_end(&a);
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(GRACE_MS)), 1);
}

/* An agent is missed from the first question on that it didn't answer, not from its last answer on. */
static void an_agent_that_nobody_asks_is_not_missed(void **state) {
	struct absence a = known();

	(void)state;
	absence_end(&a);
	absence_note(&a, AFTER_MS(5000));
	absence_note(&a, AFTER_MS(6000));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(6000)), (GRACE_MS - 1000) * NS_PER_MS);
}

/* The agent may have been there while nobody looked. */
static void who_did_not_look_for_long_begins_anew(void **state) {
	struct absence a = known();

	(void)state;
	for (int ms = 0; ms <= 60000; ms += 9000)
		absence_note(&a, AFTER_MS(ms));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(54000)), 0);
	absence_note(&a, AFTER_MS(65000));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(65000)), GRACE_MS * NS_PER_MS);
	/* A process that finds it didn't miss it since it last looked. But an agent that is found over and over,
	 * and says nothing, isn't there. */
	absence_found(&a, AFTER_MS(69000));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(69000)), GRACE_MS * NS_PER_MS);
	for (int ms = 70000; ms <= 72000; ms += 1000)
		absence_found(&a, AFTER_MS(ms));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(72000)), 0);
}

/* The process looks, or asks, so seldom that an agent could have come and gone. But it knows that none came. */
static void who_looks_seldom_goes_on_missing_an_agent_that_is_dead(void **state) {
	struct absence a = known();

	(void)state;
	absence_begin(&a, START);
	for (int ms = 15000; ms <= 3600000; ms += 15000) {
		absence_recall(&a, START - NS_PER_MS, AFTER_MS(ms));
		absence_note(&a, AFTER_MS(ms));
		assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(ms)), 0);
		assert_false(absence_is_waited_for(&a, TIMEOUT_NS, AFTER_MS(ms)));
	}
	/* An agent came and died long before this process looked; or the socket is gone, and nobody knows. */
	absence_recall(&a, AFTER_MS(3605000), AFTER_MS(3615000));
	absence_note(&a, AFTER_MS(3615000));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(3615000)), GRACE_MS * NS_PER_MS);
	absence_recall(&a, 0, AFTER_MS(3630000));
	absence_note(&a, AFTER_MS(3630000));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(3630000)), GRACE_MS * NS_PER_MS);
}

static void who_looks_seldom_goes_on_missing_an_agent_that_hangs(void **state) {
	struct absence a = known();

	(void)state;
	absence_end(&a);
	absence_note_silence(&a, START);
	assert_int_equal(absence_grace_left_ns(&a, START), GRACE_MS * NS_PER_MS);
	for (int ms = 15000; ms <= 3600000; ms += 15000) {
		absence_note_silence(&a, AFTER_MS(ms));
		assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(ms)), 0);
	}
	/* It says something, and hangs again. */
	absence_end(&a);
	absence_note_silence(&a, AFTER_MS(3615000));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(3615000)), GRACE_MS * NS_PER_MS);
}

static void who_finds_a_dead_agents_socket_has_what_is_left_of_the_grace(void **state) {
	struct absence a = {0};

	(void)state;
	absence_note(&a, START);
	/* The times come from a file system, and from an agent that has been dead for long. */
	absence_recall(&a, AFTER_MS(1000), START);
	absence_recall(&a, 0, START);
	absence_recall(&a, START, AFTER_MS(500 + GRACE_MS));
	assert_int_equal(absence_grace_left_ns(&a, START), 0);
	absence_recall(&a, START, AFTER_MS(800));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(800)), (GRACE_MS - 300) * NS_PER_MS);
	absence_note(&a, AFTER_MS(1800));
	absence_recall(&a, AFTER_MS(1700), AFTER_MS(1800));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(1800)), (GRACE_MS - 1300) * NS_PER_MS);
	a = (struct absence){0};
	absence_recall(&a, START, AFTER_MS(100));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(100)), GRACE_MS * NS_PER_MS);
}

static void an_agent_that_came_and_went_unseen_is_missed_anew(void **state) {
	struct absence a = known();

	(void)state;
	absence_begin(&a, START);
	absence_note(&a, AFTER_MS(3000));
	/* It was alive before it was missed: that changes nothing. */
	absence_recall(&a, START - NS_PER_MS, AFTER_MS(3100));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(3100)), 0);
	absence_recall(&a, AFTER_MS(4000), AFTER_MS(5100));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(5100)), (GRACE_MS - 600) * NS_PER_MS);
	/* A process that looks often has found it, but only for a moment: this agent dies as soon as it starts. */
	for (int ms = 5100; ms <= 7100; ms += 1000) {
		absence_note(&a, AFTER_MS(ms));
		absence_recall(&a, AFTER_MS(ms + 900), AFTER_MS(ms + 1000));
	}
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(7100)), 0);
	/* It was alive so long ago that the grace is over again. */
	absence_recall(&a, AFTER_MS(8200), AFTER_MS(20000));
	assert_int_equal(absence_grace_left_ns(&a, AFTER_MS(20000)), 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_never_found_an_agent_has_no_grace),
		cmocka_unit_test(who_loses_the_agent_has_a_grace),
		cmocka_unit_test(an_agent_that_nobody_asks_is_not_missed),
		cmocka_unit_test(who_did_not_look_for_long_begins_anew),
		cmocka_unit_test(who_looks_seldom_goes_on_missing_an_agent_that_is_dead),
		cmocka_unit_test(who_looks_seldom_goes_on_missing_an_agent_that_hangs),
		cmocka_unit_test(who_finds_a_dead_agents_socket_has_what_is_left_of_the_grace),
		cmocka_unit_test(an_agent_that_came_and_went_unseen_is_missed_anew),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
