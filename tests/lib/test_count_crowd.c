/*
 * test_count_crowd.c - each verdict is counted once, in whichever process and thread, and whatever happens to
 * them: an end, a signal, another CPU, at any instruction.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "count_fixture.h"
#include "interrupt.h"

/* ---- Many at once ------------------------------------------------------------------------------ */

#define PROCESSES 6
#define THREADS   4
#define CHECKS    20000

static void *check_often(void *context) {
	const struct fixture *f = context;
	struct stint_result r;
	for (int i = 0; i < CHECKS; i++)
		if (i % 2 == 0)
			stint_is_allowed(f->api, "c");
		else
			stint_check(f->api, "c", 1, &r);
	return NULL;
}

static void check_on_threads(struct fixture *f) {
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, check_often, f) != 0)
			_exit(1);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* Half of the processes have threads. They are children of one that has checked before, and the last ones are
 * children of children. */
static void play_process(struct fixture *f, int number) {
	if (number % 2 == 0)
		check_on_threads(f);
	else
		check_often(f);
	if (number < PROCESSES / 2)
		_exit(0);
	pid_t child = fork();
	if (child == 0) {
		check_often(f);
		_exit(0);
	}
	int status;
	_exit(child > 0 && waitpid(child, &status, 0) == child ? status : 1);
}

static void run_processes(struct fixture *f) {
	pid_t children[PROCESSES];
	for (int i = 0; i < PROCESSES; i++) {
		children[i] = fork();
		if (children[i] == 0)
			play_process(f, i);
		assert_true(children[i] > 0);
	}
	check_on_threads(f);
	for (int i = 0; i < PROCESSES; i++) {
		int status;
		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_int_equal(status, 0);
	}
}

#define ALL_CHECKS (CHECKS * (THREADS * (PROCESSES / 2 + 1) + PROCESSES / 2 + PROCESSES / 2))

static void many_processes_and_threads_are_counted_exactly(void **state) {
	struct fixture *f = *state;
#ifdef __SANITIZE_THREAD__
	print_message("skipped: ThreadSanitizer ends the child of a process with threads when it makes one\n");
	skip();
#endif
	struct slot *slot = attach(f);
	fake_slot_lease(slot, 0, PLENTY, LATER, 0);
	run_processes(f);
	assert_int_equal(counted_in_all(f), ALL_CHECKS);
}

/* As on a machine that has more CPUs than its table has tallies, or none that can be had. */
static void so_they_are_in_shared_tallies(void **state) {
	struct fixture *f = *state;
	f->agent.table.directory->tally_stripes = TALLY_SHARED;
	struct slot *slot = attach(f);
	fake_slot_lease(slot, 0, PLENTY, LATER, 0);
	check_on_threads(f);
	check_often(f);
	uint64_t sum = 0;
	for (uint32_t i = 0; i < TALLY_SHARED; i++)
		for (unsigned place = 0; place < TALLY_COUNTS; place++)
			sum += f->agent.table.tallies[i].count[place];
	assert_int_equal(sum, CHECKS * (THREADS + 1));
}

/* A process that was killed has decided, and told nobody yet, at most once more than it has counted, or the
 * reverse. */
static void of_a_killed_process_at_most_one_is_missed(void **state) {
	struct fixture *f = *state;
	struct slot *slot = attach(f);
	fake_slot_lease(slot, 0, PLENTY, LATER, 0);
	_Atomic uint64_t *done = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(done != MAP_FAILED);
	for (int i = 0; i < 50; i++) {
		uint64_t before = counted_in_all(f);
		atomic_store(done, 0);
		pid_t child = fork();
		if (child == 0)
			for (;;) {
				stint_is_allowed(f->api, "c");
				atomic_fetch_add(done, 1);
			}
		while (atomic_load(done) < 100u + 37u * (unsigned)i)
			;
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
		uint64_t since = counted_in_all(f) - before;
		assert_true(since == *done || since == *done + 1);
	}
	munmap(done, 4096);
}

/* ---- Interrupted ------------------------------------------------------------------------------- */

static struct fixture *interrupted;

static void check_once(void *context) {
	const struct fixture *f = context;
	stint_is_allowed(f->api, "c");
}

static void on_alarm(int number) {
	int error = errno;
	(void)number;
	check_once(interrupted);
	interrupted->again++;
	errno = error;
}

/* To this thread alone: the agent is another one of this process. */
static timer_t start_alarms(void) {
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM};
	const struct itimerspec often = {{0, 50000}, {0, 50000}};
	timer_t timer;
	event._sigev_un._tid = gettid();
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
	return timer;
}

/* Each signal interrupts whatever the thread is at; mostly it is at a check. */
static void signals_lose_nothing(void **state) {
	struct fixture *f = interrupted = *state;
	struct slot *slot = attach(f);
	fake_slot_lease(slot, 0, PLENTY, LATER, 0);
	struct sigaction action = {.sa_handler = on_alarm}, before;
	sigaction(SIGALRM, &action, &before);
	timer_t timer = start_alarms();
	uint64_t checks = 0;
	for (; f->again < 2000; checks++)
		check_once(f);
	timer_delete(timer);
	sigaction(SIGALRM, &before, NULL);
	assert_int_equal(counted_in_all(f), checks + (uint64_t)f->again);
}

/* Whatever instruction it is at, and whoever checks meanwhile. */
static void a_check_in_the_middle_of_a_check_is_counted_too(void **state) {
	struct fixture *f = *state;
	interrupt_or_skip();
	struct slot *slot = attach(f);
	fake_slot_lease(slot, 0, PLENTY, LATER, 0);
	uint64_t checks = 0;
	for (unsigned steps = 1; interrupt_after(steps, check_once, check_once, f); steps += INTERRUPT_STRIDE)
		checks += 2;
	assert_true(checks >= 200);
	assert_true(counted_in_all(f) - checks <= 1); /* the last one wasn't interrupted */
}

/* What a thread adds to a tally after it has left the CPU might get lost: the next thread there adds at the same
 * time. */
static struct {
	uint64_t first_cpus; /* what the first CPU's tally says when the thread leaves it */
	bool left;
} moved;

static uint64_t sum_of_first_cpu(const struct fixture *f) {
	uint64_t sum = 0;
	for (unsigned place = 0; place < TALLY_COUNTS; place++)
		sum += f->agent.table.tallies[0].count[place];
	return sum;
}

static void go_to_cpu(size_t cpu) {
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void leave_first_cpu(void *context) {
	moved.first_cpus = sum_of_first_cpu(context);
	go_to_cpu(1);
	moved.left = true;
}

static void nobody_adds_to_the_tally_of_a_cpu_that_he_has_left(void **state) {
	struct fixture *f = *state;
	cpu_set_t before;
	interrupt_or_skip();
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	if (!CPU_ISSET(0, &before) || !CPU_ISSET(1, &before)) {
		print_message("skipped: this process may not run on the first two CPUs\n");
		skip();
	}
	struct slot *slot = attach(f);
	fake_slot_lease(slot, 0, PLENTY, LATER, 0);
	unsigned checks = 0;
	for (unsigned steps = 1, ended = 0; !ended; steps += INTERRUPT_STRIDE) {
		go_to_cpu(0);
		moved.left = false;
		ended = !interrupt_after(steps, check_once, leave_first_cpu, f);
		if (moved.left)
			assert_int_equal(sum_of_first_cpu(f), moved.first_cpus);
		assert_int_equal(counted_in_all(f), ++checks);
	}
	sched_setaffinity(0, sizeof(before), &before);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(many_processes_and_threads_are_counted_exactly),
		TEST(so_they_are_in_shared_tallies),
		TEST(of_a_killed_process_at_most_one_is_missed),
		TEST(signals_lose_nothing),
		TEST(a_check_in_the_middle_of_a_check_is_counted_too),
		TEST(nobody_adds_to_the_tally_of_a_cpu_that_he_has_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
