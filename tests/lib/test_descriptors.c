/*
 * test_descriptors.c - an app closes descriptors that it doesn't know. What it then opens under their numbers
 * stays as it is, and the library goes on.
 */
#include <pthread.h>
#include <sys/syscall.h>

#include "descriptor_fixture.h"

/* The app has taken these of the three numbers. */
static void go_on_without(struct fixture *f, enum kind kind, unsigned mask) {
	struct owned o[3];
	int number[3], left[NUMBERS], n = 0;

	attach(f, number);
	have_low_credits(f);
	for (int i = 0; i < 3; i++) {
		if (mask & 1u << i)
			o[n++] = take(kind, number[i]);
	}
	assert_true(use_all(f));
	assert_true(all_are_well(o, n));
	app_close(f);
	assert_true(all_are_well(o, n));
	for (int i = 0; i < n; i++)
		give_back(&o[i]);
	/* Nothing is left but an epoll instance. It can't be recognised without its timer, which has the lowest
	 * number. */
	assert_int_equal(find_numbers(f, left), (mask & 3) == 1);
}

static void what_the_app_has_closed_is_the_apps(void **state) {
	for (int kind = 0; kind < KINDS; kind++) {
		for (unsigned mask = 1; mask < 8; mask++) {
			go_on_without(*state, (enum kind)kind, mask);
			teardown(state);
			setup_numbers(state);
		}
	}
}

/* There is no connection any more for a LOW. */
static void what_runs_low_is_not_told_to_the_app(void **state) {
	struct fixture *f = *state;
	struct owned o[3];
	int number[3];

	attach(f, number);
	have_low_credits(f);
	for (int i = 0; i < 3; i++)
		o[i] = take(KIND_PACKETS, number[i]);
	for (int i = 0; i < 4; i++)
		assert_int_equal(stint_check(f->api, "low", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LEASE);
	assert_true(all_are_well(o, 3));
	for (int i = 0; i < 3; i++)
		give_back(&o[i]);
}

/* The library asks again for what is under way, and doesn't take for the answer what the app receives. */
static void ask_again(struct fixture *f, enum kind kind) {
	struct owned o[3];
	int number[3];

	attach(f, number);
	set(f, &f->agent.mute, true);
	assert_int_equal(start(f, "c"), 0);
	fake_agent_await(&f->agent, &f->agent.counts.want, 2);
	for (int i = 0; i < 3; i++)
		o[i] = take(kind, number[i]);
	set(f, &f->agent.mute, false);
	/* It asks at once: the agent answered a moment ago, so it isn't away. */
	stint_dispatch(f->st);
	fake_agent_await(&f->agent, &f->agent.counts.hello, 2);
	assert_true(all_are_well(o, 3));
	loop(f, 1);
	assert_int_equal(f->source, STINT_SOURCE_DATABASE);
	assert_true(all_are_well(o, 3));
	for (int i = 0; i < 3; i++)
		give_back(&o[i]);
}

static void what_is_under_way_is_asked_again(void **state) {
	for (int kind = 0; kind < KINDS; kind++) {
		ask_again(*state, (enum kind)kind);
		teardown(state);
		setup_numbers(state);
	}
}

/* Nothing is put in place of what was closed. */
static void what_the_app_has_just_closed_is_not_missed(void **state) {
	struct fixture *f = *state;
	int number[3];

	for (int round = 0; round < 3; round++) {
		attach(f, number);
		have_low_credits(f);
		/* All of them; then one of them. */
		for (int i = 0; i < 3; i++) {
			if (round == 0 || round == i)
				close(number[i]);
		}
		assert_true(use_all(f));
		teardown(state);
		setup_numbers(state);
		f = *state;
	}
}

/* There isn't even a check between closing and opening. */
static void closing_leaves_alone_what_is_the_apps(void **state) {
	struct fixture *f = *state;

	for (int kind = 0; kind < KINDS; kind++) {
		struct owned o[3];
		int number[3];

		attach(f, number);
		for (int i = 0; i < 3; i++)
			o[i] = take((enum kind)kind, number[i]);
		app_close(f);
		assert_true(all_are_well(o, 3));
		for (int i = 0; i < 3; i++)
			give_back(&o[i]);
		teardown(state);
		setup_numbers(state);
		f = *state;
	}
}

/* ---- Where it can't be told -------------------------------------------------------------------- */

static bool is_sandboxed;

/* Takes the place of the C library's. */
int timerfd_gettime(int fd, struct itimerspec *timer) {
	if (is_sandboxed) {
		errno = EPERM;
		return -1;
	}
	return (int)syscall(SYS_timerfd_gettime, fd, timer);
}

/* A descriptor that nobody could recognise would be made again with each call. */
static void what_cant_be_recognised_is_not_made(void **state) {
	struct fixture *f = *state;
	int number[NUMBERS];

	is_sandboxed = true;
	for (int i = 0; i < 3; i++)
		assert_int_equal(stint_fd(f->st), STINT_ESYSTEM);
	assert_int_equal(find_numbers(f, number), 0);
	is_sandboxed = false;
	assert_int_equal(start(f, "c"), 0);
	loop(f, 1);
}

/* ---- Under a thread that waits ------------------------------------------------------------------ */

static _Atomic pid_t waiting;

static void *wait_for_an_answer(void *arg) {
	struct fixture *f = arg;
	struct stint_result r;

	atomic_store(&waiting, (pid_t)syscall(SYS_gettid));
	return stint_check(f->patient, "waiting", 1, &r) == 0 && r.source == STINT_SOURCE_DATABASE ? f : NULL;
}

static bool is_asleep(pid_t thread) {
	char path[64], state = '?';
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)thread);
	stat = fopen(path, "r");
	assert_non_null(stat);
	assert_int_equal(fscanf(stat, "%*d (%*[^)]) %c", &state), 1);
	fclose(stat);
	return state == 'S';
}

/* Waits until the thread sleeps for some time, not only for a lock. */
static void await_sleep(pid_t thread) {
	for (int i = 0; i < 10; i = is_asleep(thread) ? i + 1 : 0)
		usleep(1000);
}

/* The thread sleeps on the old socket for a minute. Threads that ask meanwhile need not wait for it. */
static void one_who_waits_holds_nobody_up(void **state) {
	struct fixture *f = *state;
	struct owned o[3];
	pthread_t thread;
	int number[3];
	uint64_t began_ns;
	void *answered;

	attach(f, number);
	set(f, &f->agent.mute, true);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_an_answer, f), 0);
	fake_agent_await(&f->agent, &f->agent.counts.declare, 2);
	await_sleep(atomic_load(&waiting));
	for (int i = 0; i < 3; i++)
		o[i] = take(KIND_PACKETS, number[i]);
	set(f, &f->agent.mute, false);
	began_ns = fake_now_ns();
	assert_int_equal(stint_check(f->patient, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_DATABASE);
	assert_true(fake_now_ns() - began_ns < MS(30000));
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 2);
	fake_agent_await(&f->agent, &f->agent.counts.want, 3);
	/* The agent's end of the old socket is still there, for as long as the thread sleeps. */
	fake_agent_hang_up(&f->agent);
	pthread_join(thread, &answered);
	assert_non_null(answered);
	assert_true(all_are_well(o, 3));
	for (int i = 0; i < 3; i++)
		give_back(&o[i]);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(what_the_app_has_closed_is_the_apps),   TEST(what_runs_low_is_not_told_to_the_app),
		TEST(what_is_under_way_is_asked_again),      TEST(what_the_app_has_just_closed_is_not_missed),
		TEST(closing_leaves_alone_what_is_the_apps), TEST(what_cant_be_recognised_is_not_made),
		TEST(one_who_waits_holds_nobody_up),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
