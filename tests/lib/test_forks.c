/*
 * test_forks.c - both sides of a fork go on: beside threads, with an event loop, and when the fork comes while the
 * library is at work.
 */
#include "attachment.h"
#include "child.h"
#include "threads_fixture.h"

/* ---- Checks that wait ----------------------------------------------------------------------- */

/* The child checks, forks a child of its own, and both check and clean up. */
static void go_on_in_child(struct fixture *f, int depth) {
	struct stint_result r;
	pid_t grandchild = 0;

	for (int i = 0; i < 50; i++) {
		expect(stint_check(f->api, "child", 1, &r) == 0);
		expect(r.allowed && r.source == STINT_SOURCE_DATABASE);
	}
	if (depth > 0) {
		grandchild = fork();
		if (grandchild == 0) {
			go_on_in_child(f, depth - 1);
			leave(0);
		}
	}
	expect(stint_is_allowed(f->api, "child"));
	expect(grandchild == 0 || is_well(grandchild));
	close_all(f);
}

static void both_go_on_after_a_fork(void **state) {
	struct fixture *f = *state;
	pthread_t thread[THREADS];

	start_threads(thread, check_until_told, f);
	await_done(f, 100);
	for (int i = 0; i < 10; i++) {
		pid_t child = fork();
		if (child == 0) {
			go_on_in_child(f, 1);
			leave(0);
		}
		assert_true(child > 0);
		await_done(f, 100);
		assert_true(is_well(child));
	}
	atomic_store(&f->stop, true);
	join_threads(thread);
	assert_int_equal(atomic_load(&f->wrong), 0);
	/* The parent's one connection served all along; each child made its own. */
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 21);
}

static void a_child_may_be_the_first_to_check(void **state) {
	struct fixture *f = *state;
	pid_t child = fork();

	if (child == 0) {
		go_on_in_child(f, 0);
		leave(0);
	}
	assert_true(is_well(child));
	assert_true(stint_is_allowed(f->api, "c"));
}

static void a_child_may_just_close(void **state) {
	struct fixture *f = *state;
	pid_t child;

	assert_true(stint_is_allowed(f->api, "c"));
	child = fork();
	if (child == 0) {
		close_all(f);
		leave(0);
	}
	assert_true(is_well(child));
	assert_true(stint_is_allowed(f->api, "c"));
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 1);
}

/* Another thread has counted a chunk of checks, and was about to note where it is. */
static void a_child_may_close_what_was_half_made(void **state) {
	struct fixture *f = *state;
	pid_t child;

	assert_true(stint_is_allowed(f->api, "c"));
	struct async *async = &attachment_find_conversation(f->st)->async;
	assert_int_equal(async->chunk_count, 0);
	child = fork();
	if (child == 0) {
		async->chunk_count = 1;
		close_all(f);
		leave(0);
	}
	assert_true(is_well(child));
}

static void a_child_uses_the_table_at_once(void **state) {
	struct fixture *f = *state;
	struct stint_result r;
	struct slot *slot;
	pid_t child;

	assert_true(stint_is_allowed(f->api, "c"));
	slot = fake_table_put(&f->agent.table, 0, "c");
	fake_slot_lease(slot, 0, 4, LATER, 0);
	atomic_store(&slot->low_water, 1);
	child = fork();
	if (child == 0) {
		expect(stint_check(f->api, "c", 3, &r) == 0);
		expect(r.source == STINT_SOURCE_LEASE);
		leave(0);
	}
	assert_true(is_well(child));
	assert_int_equal(word_credits(atomic_load(&slot->word[0])), 1);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 1);
}

/* ---- Event loops ---------------------------------------------------------------------------- */

/* A child declares the limiter itself when its parent was declaring it, and leaves the parent's list alone. */
static void a_child_declares_for_itself(void **state) {
	struct fixture *f = *state;
	struct stint_result r;
	uint32_t serial;
	pid_t child;

	fake_agent_lock(&f->agent);
	f->agent.mute_declare = true;
	fake_agent_unlock(&f->agent);
	assert_int_equal(stint_check_async(f->api, "c", 1, &r, count_callback, f), 0);
	while (fake_agent_count(&f->agent, &f->agent.counts.declare) == 0)
		assert_int_equal(stint_dispatch(f->st), 0);
	fake_agent_lock(&f->agent);
	serial = f->agent.last_declare.head.serial;
	f->agent.mute_declare = false;
	fake_agent_unlock(&f->agent);
	for (int i = 0; i < 2; i++) {
		child = fork();
		if (child == 0) {
			if (i == 1)
				expect(stint_check(f->api, "c", 1, &r) == 0 && r.source == STINT_SOURCE_DATABASE);
			close_all(f);
			leave(0);
		}
		assert_true(is_well(child));
	}
	fake_agent_say_declared(&f->agent, serial);
	assert_true(loop_until(f, 1));
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 2);
}

/* Pending checks are the parent's. The child's loop has the same number. */
static void event_loops_go_on_after_a_fork(void **state) {
	struct fixture *f = *state;
	struct stint_result r;
	int fd = stint_fd(f->st);
	pid_t child;

	fake_agent_lock(&f->agent);
	f->agent.mute = true;
	fake_agent_unlock(&f->agent);
	for (int i = 0; i < 3; i++)
		assert_int_equal(stint_check_async(f->api, "c", 1, &r, count_callback, f), 0);
	fake_agent_await(&f->agent, &f->agent.counts.hello, 1);
	fake_agent_lock(&f->agent);
	f->agent.mute = false;
	fake_agent_unlock(&f->agent);
	child = fork();
	if (child == 0) {
		expect(stint_dispatch(f->st) == 0);
		expect(stint_fd(f->st) == fd);
		expect(stint_check_async(f->api, "c", 1, &r, count_callback, f) == 0);
		expect(loop_until(f, 1));
		close_all(f);
		leave(0);
	}
	assert_true(is_well(child));
	/* The parent's HELLO was never answered. Its agent is back when it may try again. */
	usleep(110000);
	fake_agent_hang_up(&f->agent);
	assert_true(loop_until(f, 3));
}

static pid_t forked;

static void fork_at_first(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;

	count_callback(status, result, arg);
	if (atomic_load(&f->done) == 1)
		forked = fork();
}

static void a_callback_may_fork(void **state) {
	struct fixture *f = *state;
	struct stint_result r;

	for (int i = 0; i < 3; i++)
		assert_int_equal(stint_check_async(f->api, "c", 1, &r, fork_at_first, f), 0);
	fake_agent_await(&f->agent, &f->agent.counts.hello, 1);
	forked = -1;
	while (atomic_load(&f->done) < 3 && forked != 0)
		assert_true(stint_dispatch(f->st) >= 0);
	if (forked == 0) {
		/* The other callbacks, if they were due at all, are the parent's. */
		expect(atomic_load(&f->done) == 1);
		expect(stint_is_allowed(f->api, "c"));
		close_all(f);
		leave(0);
	}
	assert_true(is_well(forked));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(both_go_on_after_a_fork),        TEST(a_child_may_be_the_first_to_check),
		TEST(a_child_may_just_close),         TEST(a_child_may_close_what_was_half_made),
		TEST(a_child_uses_the_table_at_once), TEST(a_child_declares_for_itself),
		TEST(event_loops_go_on_after_a_fork), TEST(a_callback_may_fork),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
