/*
 * test_fork_mark.c - parent and child tell themselves apart, even when their process ids are the same, and even
 * where the kernel wipes no pages.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/mman.h>

#include "channel_fixture.h"
#include "child.h"
#include "fork_mark.h"

static bool is_first_process; /* every process is process 1 of its PID namespace */
static bool kernel_is_old;

/* These take the place of the C library's. */
pid_t getpid(void) {
	return is_first_process ? 1 : (pid_t)syscall(SYS_getpid);
}

int madvise(void *memory, size_t size, int advice) {
	if (advice == MADV_WIPEONFORK && kernel_is_old) {
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_madvise, memory, size, advice);
}

/* ---- The mark ---------------------------------------------------------------------------- */

static void differ(struct fork_mark *mark, int depth) {
	uint64_t here = fork_mark_process(mark);
	pid_t child;

	for (int i = 0; i < 2 && depth > 0; i++) {
		child = fork();
		if (child == 0) {
			uint64_t mine = fork_mark_process(mark);

			expect(mine != here);
			expect(fork_mark_process(mark) == mine);
			differ(mark, depth - 1);
			leave(0);
		}
		expect(is_well(child));
		expect(fork_mark_process(mark) == here);
	}
}

static void each_process_has_its_own(void **state) {
	struct fork_mark mark;

	(void)state;
	for (int old = 0; old < 2; old++) {
		kernel_is_old = old != 0;
		fork_mark_init(&mark);
		assert_int_equal(mark.process == NULL, kernel_is_old);
		differ(&mark, 3);
		fork_mark_destroy(&mark);
	}
	kernel_is_old = false;
	is_first_process = true;
	fork_mark_init(&mark);
	differ(&mark, 3);
	fork_mark_destroy(&mark);
	is_first_process = false;
}

static void *ask(void *mark) {
	return (void *)(uintptr_t)fork_mark_process(mark);
}

/* All threads of a child ask for the first time, at the same moment. */
static void all_threads_have_one(void **state) {
	struct fork_mark mark;

	(void)state;
	fork_mark_init(&mark);
	/* The second one takes what the first one has made. */
	assert_int_equal(fork_mark_renew(&mark), fork_mark_process(&mark));
	for (int i = 0; i < 20; i++) {
		pid_t child = fork();

		if (child == 0) {
			pthread_t thread[4];
			void *number;

			for (int t = 0; t < 4; t++)
				expect(pthread_create(&thread[t], NULL, ask, &mark) == 0);
			for (int t = 0; t < 4; t++) {
				expect(pthread_join(thread[t], &number) == 0);
				expect(number == ask(&mark));
			}
			leave(0);
		}
		assert_true(is_well(child));
	}
	fork_mark_destroy(&mark);
}

/* ---- An attachment that a fork makes two of ------------------------------------------------- */

/* The number in the id is what comes back. */
static void answer_by_number(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	struct wire_verdict v = a->verdict;

	v.remaining = atoi(id);
	fake_answer(a, fd, want->head.serial, v);
}

static bool has_its_own_answers(struct fixture *f, int from) {
	char id[16];

	for (int i = from; i < from + 300; i++) {
		snprintf(id, sizeof(id), "%d", i);
		if (source(f, id) != STINT_SOURCE_DATABASE || f->r.remaining != i)
			return false;
	}
	return true;
}

static void two_go_on(struct fixture *f) {
	pid_t child;

	f->agent.want = answer_by_number;
	assert_true(has_its_own_answers(f, 0));
	child = fork();
	if (child == 0) {
		expect(has_its_own_answers(f, 10000));
		app_close(f);
		leave(0);
	}
	assert_true(has_its_own_answers(f, 20000));
	assert_true(is_well(child));
	assert_true(has_its_own_answers(f, 30000));
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 2);
}

static int setup_as_first(void **state) {
	is_first_process = true;
	return setup(state);
}

static int setup_on_old_kernel(void **state) {
	kernel_is_old = true;
	return setup(state);
}

static int teardown_all(void **state) {
	is_first_process = kernel_is_old = false;
	return teardown(state);
}

/* Process 1 makes another process 1, in a PID namespace of its own. */
static void two_first_processes_have_two_connections(void **state) {
	two_go_on(*state);
}

static void process_ids_tell_on_an_old_kernel(void **state) {
	two_go_on(*state);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_process_has_its_own),
		cmocka_unit_test(all_threads_have_one),
		cmocka_unit_test_setup_teardown(two_first_processes_have_two_connections, setup_as_first, teardown_all),
		cmocka_unit_test_setup_teardown(process_ids_tell_on_an_old_kernel, setup_on_old_kernel, teardown_all),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
