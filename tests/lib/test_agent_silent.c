/*
 * test_agent_silent.c - checks while the agent hangs: its socket is there, and nobody answers.
 */
#include "away_fixture.h"

static void mute(struct fake_agent *a) {
	a->mute = true;
}

static void speak(struct fake_agent *a) {
	a->mute = false;
}

static void waits_no_longer_than_its_timeout(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 100});
	struct wire_verdict unasked = {.head = {.type = WIRE_VERDICT, .serial = 77777},
	                               .source = STINT_SOURCE_LEASE,
	                               .reason = STINT_OVER_LIMIT};
	uint64_t began_ns;
	unsigned wants;

	meet(f, hasty);
	change(f, mute);
	wants = fake_agent_count(&f->agent, &f->agent.counts.want);
	began_ns = fake_now_ns();
	assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	assert_false(f->r.allowed);
	assert_in_range(fake_now_ns() - began_ns, MS(100), MS(TIMEOUT_MS));
	/* Now the app knows that the agent is silent: it asks, but doesn't wait. */
	began_ns = fake_now_ns();
	for (int i = 0; i < 20; i++) {
		assert_int_equal(source(f, "c"), STINT_SOURCE_LOCAL);
		assert_false(f->r.allowed);
	}
	assert_true(fake_now_ns() - began_ns < MS(TIMEOUT_MS));
	stint_check(hasty, "c", 1, &f->r);
	fake_agent_await(&f->agent, &f->agent.counts.want, wants + 2);
	/* And it takes nothing: when the agent goes on, nobody uses what it would admit. */
	assert_int_equal(f->agent.last_want.head.flags, WIRE_WANT_PROVIDE | WIRE_WANT_LOOK);
	/* That ends as soon as the agent says anything. */
	change(f, speak);
	fake_agent_send_all(&f->agent, &unasked, sizeof(unasked), 0);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	stint_limiter_free(hasty);
}

static void nobody_is_admitted_in_the_first_seconds_of_silence(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 20});
	uint64_t began_ns;

	meet(f, hasty);
	began_ns = fake_now_ns();
	change(f, mute);
	expect_none_for_two_seconds(f, hasty, began_ns);
	/* The agent goes on and answers: from now on it alone admits. */
	began_ns = fake_now_ns();
	fake_agent_hang_up(&f->agent);
	expect_none_for_two_seconds(f, hasty, began_ns);
	change(f, speak);
	fake_agent_hang_up(&f->agent);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	stint_limiter_free(hasty);
}

static void answer_nothing(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	(void)a, (void)fd, (void)want, (void)id;
}

/* When the database is slower than the timeout, or a row is locked, nobody misses the agent, however long that
 * lasts. */
static void an_agent_that_is_there_is_not_missed(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 20});

	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	f->agent.want = answer_nothing;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
		assert_false(f->r.allowed);
		assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
		pass(2600);
	}
	assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
	assert_false(f->r.allowed);
	fake_agent_await(&f->agent, &f->agent.counts.ping, 2);
	stint_limiter_free(hasty);
}

static void an_agent_that_never_welcomes_is_waited_for_once(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 50});

	change(f, mute);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
		assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	}
	fake_agent_await(&f->agent, &f->agent.counts.hello, 1);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 1);
	stint_limiter_free(hasty);
}

/* The agent takes nothing any more. The socket fills up, and that holds nobody up. */
static void a_full_socket_holds_nobody_up(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 20});
	struct slot *slot;
	uint64_t began_ns;

	meet(f, hasty);
	slot = fake_table_put(&f->agent.table, 0, "c");
	atomic_store(&slot->low_water, 1);
	fake_agent_lock(&f->agent);
	f->agent.deaf = true;
	fake_agent_unlock(&f->agent);
	pass(10);
	for (int i = 0; i < 2000; i++) {
		fake_slot_lease(slot, 0, 2, LATER, 0);
		assert_true(stint_is_allowed(hasty, "c"));
		assert_true(stint_is_allowed(hasty, "c"));
	}
	began_ns = fake_now_ns();
	assert_int_equal(stint_check(hasty, "d", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	assert_true(fake_now_ns() - began_ns < MS(TIMEOUT_MS));
	fake_agent_lock(&f->agent);
	f->agent.deaf = false;
	fake_agent_unlock(&f->agent);
	stint_limiter_free(hasty);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(waits_no_longer_than_its_timeout),     TEST(nobody_is_admitted_in_the_first_seconds_of_silence),
		TEST(an_agent_that_is_there_is_not_missed), TEST(an_agent_that_never_welcomes_is_waited_for_once),
		TEST(a_full_socket_holds_nobody_up),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
