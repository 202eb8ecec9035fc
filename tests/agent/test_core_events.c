/*
 * test_core_events.c - events that concern all clients come faster than a walk goes round.
 */
#include "generation_fixture.h"

/* A step of a walk passes, and with it comes one more event for all clients, which somebody meets. */
static void pass_with_an_event(struct fixture *f) {
	struct core_policy other = policy_with(f->now_ns / MS % 2 ? 50 : 51, 20);
	core_set_policy(f->core, f->now_ns, 1, &other);
	core_low(f->core, f->now_ns, 1, "a", 1);
	pass(f, MS);
	assert_true(core_is_walking(f->core));
}

static void begin_events(struct fixture *f) {
	struct core_policy other = policy_with(100, 20);
	core_set_policy(f->core, f->now_ns, 1, &other);
	pass_with_an_event(f);
}

static uint32_t round_of(const struct fixture *f) {
	return f->table.table.slot_count;
}

static void no_event_puts_off_the_end_of_a_promotion(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	f->end_ns = f->now_ns + 1000 * MS;
	lease(f, id, 9);
	core_database_lost(f->core, f->now_ns);
	begin_events(f);
	core_database_promoted(f->core, f->now_ns, 3600 * 1000 * MS);
	comes_up(f);
	for (uint32_t i = 0; i < round_of(f); i++)
		pass_with_an_event(f);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
}

/* One promotion more: what was burnt for the first is none of its business. */
static void each_promotion_has_a_walk_of_its_own(void **state) {
	struct fixture *f = *state;
	core_database_lost(f->core, f->now_ns);
	core_database_promoted(f->core, f->now_ns, 3600 * 1000 * MS);
	comes_up(f);
	for (uint32_t i = 0; i < round_of(f) / 2; i++)
		pass_with_an_event(f);
	core_database_lost(f->core, f->now_ns);
	core_database_promoted(f->core, f->now_ns, 3600 * 1000 * MS);
	comes_up(f);
	for (uint32_t i = 1; i < round_of(f); i++) {
		pass_with_an_event(f);
		assert_int_equal(core_state(f->core), CORE_CONNECTING);
	}
	pass_with_an_event(f);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

static void no_event_puts_off_what_a_fallback_used(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	falls_back(f);
	is_lenient_to(f, id);
	begin_events(f);
	comes_up(f);
	answer_all(f, 0); /* of the other policy's client */
	for (uint32_t i = 0; i < round_of(f) + 20; i++) {
		pass_with_an_event(f);
		answer_all(f, 0);
	}
	assert_int_equal(core_counters(f->core)->charged, 2);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

static void no_event_puts_off_the_end(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	f->end_ns = f->now_ns + 1000 * MS;
	lease(f, id, 9);
	begin_events(f);
	core_drain(f->core, f->now_ns);
	for (uint32_t i = 0; i < round_of(f) + 20 && !core_is_drained(f->core); i++) {
		struct core_policy other = policy_with(50 + i % 2, 20);
		core_set_policy(f->core, f->now_ns, 1, &other);
		pass(f, MS);
		answer_all(f, 0);
	}
	assert_true(core_is_drained(f->core));
	assert_int_equal(core_counters(f->core)->returned, 8);
}

static void no_event_puts_off_when_another_has_been_met(void **state) {
	struct fixture *f = *state;
	const char *id = far_id(f);
	f->end_ns = f->now_ns + 1000 * MS;
	lease(f, id, 9);
	begin_events(f);
	policy_changes_for(f, id, policy_with(50, 20));
	uint64_t end = core_walk_end(f->core);
	uint32_t steps = 0;
	for (; !core_has_walked(f->core, end); steps++) {
		assert_in_range(steps, 0, round_of(f));
		pass_with_an_event(f);
		answer_all(f, 0);
	}
	assert_in_range(steps, round_of(f) - 2, round_of(f));
	assert_int_equal(app(f, id, 1).verdict, APP_ASKS);
	assert_false(core_has_walked(f->core, core_walk_end(f->core))); /* of those that came meanwhile */
}

/* Numbers of generations don't run out: at no event is more looked at than in any step. */
static void events_for_ever_need_no_haste(void **state) {
	struct fixture *f = *state;
	begin_events(f);
	for (uint32_t i = 0; i < 3 * 2048; i++) {
		uint64_t before = core_counters(f->core)->looked;
		pass_with_an_event(f);
		answer_all(f, 0);
		assert_in_range(core_counters(f->core)->looked - before, 0, round_of(f) / 2);
	}
}

int main(void) {
#define SLOW(name) cmocka_unit_test_setup_teardown(name, make_slow, clean)
	const struct CMUnitTest tests[] = {
		SLOW(no_event_puts_off_the_end_of_a_promotion),    SLOW(each_promotion_has_a_walk_of_its_own),
		SLOW(no_event_puts_off_what_a_fallback_used),      SLOW(no_event_puts_off_the_end),
		SLOW(no_event_puts_off_when_another_has_been_met), SLOW(events_for_ever_need_no_haste),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
