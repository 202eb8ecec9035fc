/*
 * test_async.c - checks that don't wait, in an event loop made of poll() and stint_dispatch().
 */
#include <pthread.h>
#include <stdio.h>

#include "async_fixture.h"

static void answers_by_callback(void **state) {
	struct fixture *f = *state;

	assert_int_equal(start(f, "c"), 0);
	assert_int_equal(f->called, 0);
	loop(f, 1);
	assert_int_equal(f->status, 0);
	assert_int_equal(f->source, STINT_SOURCE_DATABASE);
	assert_int_equal(f->allowed, 1);
	assert_int_equal(stint_dispatch(f->st), 0);
	assert_false(is_readable(f, 0));
}

/* When a server starts under load, its checks wait for one DECLARE, and for no more. */
static void thousands_at_the_start_declare_once(void **state) {
	struct fixture *f = *state;
	char id[32];

	for (int i = 0; i < 20000; i++) {
		snprintf(id, sizeof(id), "client-%d", i);
		assert_int_equal(stint_check_async(f->patient, id, 1, &f->r, count, f), 0);
	}
	loop(f, 20000);
	assert_int_equal(f->allowed, 20000);
	assert_int_equal(f->source, STINT_SOURCE_DATABASE);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 1);
}

static void all_who_wait_for_a_declaration_fail_with_it(void **state) {
	struct fixture *f = *state;

	f->agent.declared_status = STINT_EFULL;
	for (int i = 0; i < 100; i++)
		assert_int_equal(start(f, "c"), 0);
	loop(f, 100);
	assert_int_equal(f->status, STINT_EFULL);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 1);
}

/* The connection breaks while more checks wait than the socket holds, at every step of their way. All are said
 * again on the next connection. */
static void a_connection_breaks_while_many_wait_for_a_declaration(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *other = limiter_new(f, (struct stint_options){.policy = "hasty", .timeout_ms = 60000});

	start_many(f, f->patient, 1);
	loop(f, 1);
	usleep(110000);
	set(f, &f->agent.deaf, true);
	for (int i = 0; i < 10; i++) {
		start_many(f, f->patient, 100);
		start_many(f, other, 100);
	}
	set(f, &f->agent.mute, true);
	set(f, &f->agent.deaf, false);
	while (fake_agent_count(&f->agent, &f->agent.counts.declare) < 2)
		assert_true(stint_dispatch(f->st) >= 0);
	set(f, &f->agent.mute, false);
	fake_agent_hang_up(&f->agent);
	loop(f, 2001);
	assert_int_equal(f->allowed, 2001);
	assert_int_equal(f->source, STINT_SOURCE_DATABASE);
	/* One DECLARE on each connection for each limiter. */
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 4);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 2);
	stint_limiter_free(other);
}

/* The agent has forgotten the policy of the first 100 checks. It tells half of them so only after it has
 * answered the new DECLARE. */
static void forgotten_late(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	uint32_t *serial = a->arg;
	struct wire_verdict v = a->verdict;
	unsigned n = a->counts.want;

	(void)id;
	if (n > 100) {
		if (n == 101)
			for (int i = 51; i < 101; i++)
				fake_answer(a, fd, serial[i], (struct wire_verdict){.status = STINT_ENOPOLICY});
		fake_answer(a, fd, want->head.serial, v);
		return;
	}
	serial[n] = want->head.serial;
	for (int i = 1; n == 100 && i <= 50; i++)
		fake_answer(a, fd, serial[i], (struct wire_verdict){.status = STINT_ENOPOLICY});
}

static void what_the_agent_forgot_is_declared_again_once(void **state) {
	struct fixture *f = *state;
	uint32_t serial[101];

	f->agent.arg = serial;
	f->agent.want = forgotten_late;
	start_many(f, f->patient, 100);
	loop(f, 100);
	assert_int_equal(f->allowed, 100);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 2);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.want), 200);
}

/* The policy has moved to another index. The first answer comes when the socket is full. */
static void moved_policy(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	struct wire_verdict v = a->verdict;

	(void)id;
	if (a->counts.want == 1) {
		usleep(200000);
		a->policy = 6;
		a->mute_declare = true;
	}
	if (want->policy != 6) {
		++*(int *)a->arg;
		v.status = STINT_ENOPOLICY;
	}
	fake_answer(a, fd, want->head.serial, v);
}

/* A check that found the socket full, before the app heard that the policy is gone, is not sent with the old
 * index. */
static void what_waits_for_room_follows_its_policy(void **state) {
	struct fixture *f = *state;
	int by_old_index = 0;

	f->agent.arg = &by_old_index;
	f->agent.want = moved_policy;
	start_many(f, f->patient, 3000);
	while (fake_agent_count(&f->agent, &f->agent.counts.declare) < 2)
		assert_true(stint_dispatch(f->st) >= 0);
	for (int i = 0; i < 100; i++) {
		assert_true(stint_dispatch(f->st) >= 0);
		usleep(1000);
	}
	fake_agent_say_declared(&f->agent, f->agent.last_declare.head.serial);
	loop(f, 3000);
	assert_int_equal(f->allowed, 3000);
	assert_in_range(by_old_index, 1, 2000);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 2);
}

static void answers_at_once_from_the_table(void **state) {
	struct fixture *f = *state;

	start(f, "c");
	loop(f, 1);
	fake_slot_lease(fake_table_put(&f->agent.table, 0, "c"), 0, 1, LATER, 0);
	assert_int_equal(start(f, "c"), 1);
	assert_true(f->r.allowed);
	assert_int_equal(f->r.source, STINT_SOURCE_LEASE);
	assert_int_equal(start(f, "c"), 0);
	loop(f, 2);
}

/* The quick way goes by a time that is some milliseconds old. */
static void answers_at_once_from_a_lease_that_has_just_begun(void **state) {
	struct fixture *f = *state;
	struct slot *slot;

	start(f, "c");
	loop(f, 1);
	slot = fake_table_put(&f->agent.table, 0, "c");
	atomic_store(&slot->later_start_ns, fake_now_ns());
	fake_slot_lease(slot, 1, 1, LATER, 0);
	assert_int_equal(start(f, "c"), 1);
	assert_true(f->r.allowed);
	assert_int_equal(f->r.source, STINT_SOURCE_LEASE);
}

/* Runs the event loop until so many callbacks have run. Tells how often it was woken. */
static int count_turns(struct fixture *f, int called) {
	int turns = 0;

	for (; f->called < called; turns++) {
		assert_true(is_readable(f, 20000));
		assert_true(stint_dispatch(f->st) >= 0);
	}
	return turns;
}

/* When a process never had an agent, its first checks wait, together as long as the timeout of one. */
static void answers_at_once_when_there_is_no_agent(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.policy = "hasty", .timeout_ms = 300});

	start_many(f, hasty, 3);
	assert_in_range(count_turns(f, 3), 1, 50);
	assert_int_equal(f->source, STINT_SOURCE_LOCAL);
	assert_int_equal(f->allowed, 3);
	assert_int_equal(stint_check_async(hasty, "c", 1, &f->r, count, f), 1);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	assert_false(is_readable(f, 0));
	assert_int_equal(stint_dispatch(f->st), 0);
	stint_limiter_free(hasty);
}

/* The descriptor becomes readable when it is time to look for the agent. That is seldom, and the app need do
 * nothing else. */
static void waits_for_an_agent_that_is_back_soon(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.policy = "hasty", .timeout_ms = 300});

	start(f, "c");
	loop(f, 1);
	fake_agent_stop(&f->agent);
	start_many(f, f->patient, 3);
	start_many(f, hasty, 3);
	assert_in_range(count_turns(f, 4), 1, 50);
	assert_int_equal(f->source, STINT_SOURCE_LOCAL);
	assert_int_equal(f->allowed, 1);
	loop(f, 4);
	fake_agent_start(&f->agent);
	loop(f, 7);
	assert_int_equal(f->source, STINT_SOURCE_DATABASE);
	assert_int_equal(f->allowed, 4);
	stint_limiter_free(hasty);
}

/* Timeouts are a minute here, but nobody waits longer than some seconds for an agent that is gone. */
static void gives_up_on_an_agent_that_is_gone(void **state) {
	struct fixture *f = *state;
	uint64_t began_ns;

	start(f, "c");
	loop(f, 1);
	fake_agent_stop(&f->agent);
	began_ns = fake_now_ns();
	start_many(f, f->patient, 3);
	assert_in_range(count_turns(f, 4), 1, 200);
	assert_in_range(fake_now_ns() - began_ns, MS(2000), MS(20000));
	assert_int_equal(f->source, STINT_SOURCE_LOCAL);
	assert_int_equal(f->allowed, 4);
}

/* More than the socket holds: what does not fit waits for room. */
static void thousands_are_under_way_at_once(void **state) {
	struct fixture *f = *state;
	char id[32];

	for (int i = 0; i < 3000; i++) {
		snprintf(id, sizeof(id), "client-%d", i);
		assert_int_equal(stint_check_async(f->patient, id, 1, &f->r, count, f), 0);
	}
	loop(f, 3000);
	assert_int_equal(f->allowed, 3000);
}

static void without_a_descriptor_dispatch_is_enough(void **state) {
	struct fixture *f = *state;

	assert_int_equal(start(f, "c"), 0);
	while (f->called == 0) {
		assert_true(stint_dispatch(f->st) >= 0);
		usleep(1000);
	}
	assert_int_equal(f->source, STINT_SOURCE_DATABASE);
}

static void callbacks_start_checks(void **state) {
	struct fixture *f = *state;

	f->again = 50;
	assert_int_equal(start(f, "c"), 0);
	loop(f, 51);
}

static void never_dispatches_within_itself(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;

	(void)status, (void)result;
	f->called++;
	assert_int_equal(stint_dispatch(f->st), 0);
	/* A callback that waits doesn't hold anybody up either. */
	assert_true(stint_is_allowed(f->api, "blocking"));
}

static void a_callback_may_dispatch_and_wait(void **state) {
	struct fixture *f = *state;

	assert_int_equal(stint_check_async(f->api, "c", 1, &f->r, never_dispatches_within_itself, f), 0);
	loop(f, 1);
}

static void times_out(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.policy = "hasty", .timeout_ms = 60});
	uint64_t began_ns = fake_now_ns();

	f->agent.mute = true;
	for (int i = 0; i < 5; i++)
		assert_int_equal(stint_check_async(hasty, "c", 1, &f->r, count, f), 0);
	assert_int_equal(start(f, "patient"), 0);
	loop(f, 5);
	assert_in_range(fake_now_ns() - began_ns, MS(60), MS(2000));
	assert_int_equal(f->source, STINT_SOURCE_LOCAL);
	assert_int_equal(f->status, 0);
	loop(f, 6);
	assert_true(fake_now_ns() - began_ns >= MS(2000));
	stint_limiter_free(hasty);
}

static void a_broken_connection_is_waited_for(void **state) {
	struct fixture *f = *state;

	f->agent.mute = true;
	for (int i = 0; i < 3; i++)
		assert_int_equal(start(f, "c"), 0);
	fake_agent_await(&f->agent, &f->agent.counts.hello, 1);
	fake_agent_stop(&f->agent);
	loop(f, 3);
	assert_int_equal(f->source, STINT_SOURCE_LOCAL);
	assert_int_equal(f->allowed, 0);
	assert_false(is_readable(f, 0));
}

static void a_restarted_agent_is_asked_again(void **state) {
	struct fixture *f = *state;

	start(f, "c");
	loop(f, 1);
	usleep(110000);
	f->agent.mute = true;
	assert_int_equal(start(f, "c"), 0);
	fake_agent_await(&f->agent, &f->agent.counts.want, 2);
	fake_agent_lock(&f->agent);
	f->agent.mute = false;
	fake_agent_unlock(&f->agent);
	fake_agent_hang_up(&f->agent);
	loop(f, 2);
	assert_int_equal(f->source, STINT_SOURCE_DATABASE);
	/* The new socket is watched like the old one. */
	assert_int_equal(start(f, "c"), 0);
	loop(f, 3);
}

static void errors_come_by_callback(void **state) {
	struct fixture *f = *state;

	f->agent.welcome_status = STINT_EVERSION;
	f->agent.welcome_words = "too old";
	assert_int_equal(start(f, "c"), 0);
	loop(f, 1);
	assert_int_equal(f->status, STINT_EVERSION);
	assert_string_equal(stint_error_detail(), "too old");
	assert_int_equal(start(f, "c"), STINT_EVERSION);
	assert_false(is_readable(f, 0));
}

static void late(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	struct wire_verdict v = a->verdict;

	(void)id;
	v.deadline_ns = a->counts.want < 3 ? 1 : 0;
	fake_answer(a, fd, want->head.serial, v);
}

static void void_admissions_are_asked_again(void **state) {
	struct fixture *f = *state;

	f->agent.want = late;
	assert_int_equal(start(f, "c"), 0);
	loop(f, 1);
	assert_int_equal(f->source, STINT_SOURCE_DATABASE);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.want), 3);
}

static void pending_checks_are_bounded(void **state) {
	struct fixture *f = *state;

	fake_agent_lock(&f->agent);
	f->agent.deaf = true;
	fake_agent_unlock(&f->agent);
	for (int i = 0; i < STINT_ASYNC_MAX; i++)
		assert_int_equal(start(f, "c"), 0);
	assert_int_equal(start(f, "c"), STINT_EBUSY);
	assert_int_equal(f->called, 0);
	/* The limiter is freed with all of them pending. */
	stint_limiter_free(f->api);
	f->api = NULL;
	assert_int_equal(f->called, STINT_ASYNC_MAX);
	assert_int_equal(stint_dispatch(f->st), 0);
}

/* A thread that waits for its own answer takes in those of the event loop, and wakes it. */
static void *check_a_lot(void *arg) {
	struct fixture *f = arg;
	struct stint_result r;

	for (int i = 0; i < 500; i++)
		assert_int_equal(stint_check(f->api, "thread", 1, &r), 0);
	return NULL;
}

static void loop_and_threads_share_a_socket(void **state) {
	struct fixture *f = *state;
	pthread_t thread[2];

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, check_a_lot, f), 0);
	for (int i = 1; i <= 1000; i++) {
		assert_int_equal(start(f, "loop"), 0);
		if (i % 10 == 0)
			loop(f, i);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(f->allowed, 1000);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(answers_by_callback),
		TEST(thousands_at_the_start_declare_once),
		TEST(all_who_wait_for_a_declaration_fail_with_it),
		TEST(a_connection_breaks_while_many_wait_for_a_declaration),
		TEST(what_the_agent_forgot_is_declared_again_once),
		TEST(what_waits_for_room_follows_its_policy),
		TEST(answers_at_once_from_the_table),
		TEST(answers_at_once_from_a_lease_that_has_just_begun),
		TEST_ABSENT(answers_at_once_when_there_is_no_agent),
		TEST(waits_for_an_agent_that_is_back_soon),
		TEST(gives_up_on_an_agent_that_is_gone),
		TEST(thousands_are_under_way_at_once),
		TEST(without_a_descriptor_dispatch_is_enough),
		TEST(callbacks_start_checks),
		TEST(a_callback_may_dispatch_and_wait),
		TEST(times_out),
		TEST(a_broken_connection_is_waited_for),
		TEST(a_restarted_agent_is_asked_again),
		TEST(errors_come_by_callback),
		TEST(void_admissions_are_asked_again),
		TEST(pending_checks_are_bounded),
		TEST(loop_and_threads_share_a_socket),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
