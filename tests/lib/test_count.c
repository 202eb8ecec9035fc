/*
 * test_count.c - each verdict is counted once, by outcome and by who decided, in whichever process and thread, and
 * whatever happens to them; and nothing else is.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "async_fixture.h"
#include "interrupt.h"
#include "protocol/tally.h"

#define FALLBACK_HINT (hint_pack(HINT_FALLBACK_BIT, 500, 900))
#define HINT          (hint_pack(0, 500, 900))
#define PLENTY        WORD_CREDITS_MASK

static const struct fake_table *table_of(const struct fixture *f) {
	return &f->agent.table;
}

static uint64_t counted(const struct fixture *f, enum stint_source source, enum tally_outcome outcome) {
	return fake_table_verdicts(table_of(f), 0, source, outcome);
}

static uint64_t counted_in_all(const struct fixture *f) {
	uint64_t sum = 0;
	for (unsigned place = 0; place < TALLY_SOURCES * TALLY_OUTCOMES; place++)
		sum +=
			counted(f, STINT_SOURCE_LEASE + place / TALLY_OUTCOMES, (enum tally_outcome)(place % TALLY_OUTCOMES));
	return sum;
}

#define expect_counted(f, source, outcome, n)                                                                     \
	do {                                                                                                          \
		assert_int_equal(counted(f, source, outcome), n);                                                         \
		assert_int_equal(counted_in_all(f), n);                                                                   \
	} while (0)

static void forget_all(struct fixture *f) {
	const struct directory_header *d = f->agent.table.directory;
	memset(f->agent.table.tallies, 0, d->table_bytes - d->tallies_offset);
}

static void set_shadow(struct fixture *f, uint8_t shadow) {
	atomic_store(&directory_entries(f->agent.table.directory)[0].shadow, shadow);
}

/* The library is attached, and the table knows client "c". */
static struct slot *attach(struct fixture *f) {
	assert_true(stint_is_allowed(f->api, "first"));
	struct slot *slot = fake_table_put(&f->agent.table, 0, "c");
	atomic_store(&slot->hint, 0);
	forget_all(f);
	return slot;
}

/* ---- Ways to check --------------------------------------------------------------------- */

static void by_is_allowed(struct fixture *f, const char *id) {
	stint_is_allowed(f->api, id);
}

static void by_check(struct fixture *f, const char *id) {
	assert_int_equal(stint_check(f->api, id, 1, &f->r), 0);
}

static void by_try(struct fixture *f, const char *id) {
	if (stint_try(f->api, id, 1, &f->r) == 0)
		by_check(f, id);
}

static void by_async(struct fixture *f, const char *id) {
	f->called = 0;
	if (stint_check_async(f->api, id, 1, &f->r, count, f) == 0)
		loop(f, 1);
}

static void by_check_all(struct fixture *f, const char *id) {
	const struct stint_part part = {f->api, id, STINT_STRING, 1, 0};
	assert_int_equal(stint_check_all(&part, 1, &f->r), 0);
}

static void (*const ways[])(struct fixture *, const char *) = {by_is_allowed, by_check, by_try, by_async,
                                                               by_check_all};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static void go_all_ways(struct fixture *f, const char *id) {
	for (size_t i = 0; i < WAYS; i++)
		ways[i](f, id);
}

/* ---- By whom ---------------------------------------------------------------------------- */

static void leases_admit(void **state) {
	struct fixture *f = *state;
	struct slot *slot = attach(f);
	fake_slot_lease(slot, 0, 100, LATER, 0);
	go_all_ways(f, "c");
	expect_counted(f, STINT_SOURCE_LEASE, TALLY_ALLOWED, WAYS);
}

static void the_fallback_admits(void **state) {
	struct fixture *f = *state;
	struct slot *slot = attach(f);
	fake_slot_lease(slot, 0, 100, LATER, WORD_FALLBACK_BIT);
	go_all_ways(f, "c");
	expect_counted(f, STINT_SOURCE_FALLBACK, TALLY_ALLOWED, WAYS);
}

/* By the database's limit, then by the fallback's. */
static void deny_by_both(struct fixture *f, enum tally_outcome outcome) {
	struct slot *slot = attach(f);
	fake_slot_deny(slot, 1, LATER, 0, HINT);
	go_all_ways(f, "c");
	expect_counted(f, STINT_SOURCE_LEASE, outcome, WAYS);
	forget_all(f);
	fake_slot_deny(slot, 1, LATER, 0, FALLBACK_HINT);
	go_all_ways(f, "c");
	expect_counted(f, STINT_SOURCE_FALLBACK, outcome, WAYS);
}

static void the_table_denies(void **state) {
	deny_by_both(*state, TALLY_DENIED);
}

static void a_shadow_would_deny(void **state) {
	set_shadow(*state, 1);
	deny_by_both(*state, TALLY_SHADOW_DENIED);
}

/* ---- Who was denied last ------------------------------------------------------------------ */

/* Whether any tally says this, or nobody; and what it says is forgotten. */
static bool is_noted(struct fixture *f, uint64_t last) {
	const struct directory_header *d = f->agent.table.directory;
	bool found = last == 0;
	for (uint32_t i = 0; i < d->tally_stripes; i++) {
		uint64_t noted = atomic_exchange(&f->agent.table.tallies[i].count[TALLY_LAST_DENIED], 0);
		if (noted != 0 && noted != last)
			return false;
		found |= noted == last;
	}
	return found;
}

static uint64_t number_of(const struct fixture *f, const struct slot *slot) {
	const struct directory_header *d = f->agent.table.directory;
	const char *slots = (const char *)f->agent.table.table + d->slots_offset;
	return (uint64_t)((const char *)slot - slots) / sizeof(*slot) + 1;
}

static void whom_the_table_denies_is_noted(void **state) {
	struct fixture *f = *state;
	struct slot *slot = attach(f);
	for (uint8_t shadow = 0; shadow <= 1; shadow++) {
		set_shadow(f, shadow);
		fake_slot_deny(slot, 1, LATER, 0, HINT);
		for (size_t i = 0; i < WAYS; i++) {
			ways[i](f, "c");
			assert_true(is_noted(f, number_of(f, slot)));
		}
	}
	set_shadow(f, 0);
	fake_slot_deny(slot, 0, 0, 0, 0);
	fake_slot_lease(slot, 0, 100, LATER, 0);
	go_all_ways(f, "c");
	assert_true(is_noted(f, 0));
}

/* The agent knows of these, and takes what is noted for another. */
static void whom_the_agent_denies_is_not(void **state) {
	struct fixture *f = *state;
	attach(f);
	const struct directory_header *d = f->agent.table.directory;
	fake_agent_lock(&f->agent);
	f->agent.verdict =
		(struct wire_verdict){.source = STINT_SOURCE_DATABASE, .reason = STINT_OVER_LIMIT, .limit = 9};
	fake_agent_unlock(&f->agent);
	for (uint32_t i = d->tally_stripes - TALLY_SHARED; i < d->tally_stripes; i++)
		atomic_store(&f->agent.table.tallies[i].count[TALLY_LAST_DENIED], 7);
	for (int i = 0; i < 4; i++)
		ways[i](f, "unknown");
	unsigned sevens = 0;
	for (uint32_t i = 0; i < d->tally_stripes; i++)
		sevens += atomic_load(&f->agent.table.tallies[i].count[TALLY_LAST_DENIED]) == 7;
	assert_in_range(sevens, 1, TALLY_SHARED - 1);
}

/* A check of several limiters takes from the table alone, so this isn't one of its ways. */
static void the_agent_decides(void **state) {
	struct fixture *f = *state;
	attach(f);
	for (size_t i = 0; i < WAYS - 1; i++)
		ways[i](f, "unknown");
	expect_counted(f, STINT_SOURCE_DATABASE, TALLY_ALLOWED, WAYS - 1);
	forget_all(f);
	fake_agent_lock(&f->agent);
	f->agent.verdict =
		(struct wire_verdict){.source = STINT_SOURCE_FALLBACK, .reason = STINT_OVER_LIMIT, .limit = 9};
	fake_agent_unlock(&f->agent);
	go_all_ways(f, "unknown");
	expect_counted(f, STINT_SOURCE_FALLBACK, TALLY_DENIED, WAYS);
}

static void the_process_decides_while_the_agent_is_away(void **state) {
	struct fixture *f = *state;
	attach(f);
	fake_agent_stop(&f->agent);
	go_all_ways(f, "c");
	uint64_t denied = counted(f, STINT_SOURCE_LOCAL, TALLY_DENIED); /* it may be back any moment */
	assert_int_equal(denied + counted(f, STINT_SOURCE_LOCAL, TALLY_ALLOWED), WAYS);
	assert_int_equal(counted_in_all(f), WAYS);
}

/* ---- Before there is an agent ------------------------------------------------------------- */

static void what_was_decided_before_is_counted_when_the_agent_comes(void **state) {
	struct fixture *f = *state;
	go_all_ways(f, "c");
	assert_int_equal(stint_check(f->api, "", 1, &f->r), STINT_ECLIENT);
	assert_int_equal(counted_in_all(f), 0);
	fake_agent_start(&f->agent);
	while (stint_check(f->api, "d", 1, &f->r) == 0 && f->r.source == STINT_SOURCE_LOCAL)
		f->again++;
	assert_int_equal(counted(f, STINT_SOURCE_LOCAL, TALLY_ALLOWED) + counted(f, STINT_SOURCE_LOCAL, TALLY_DENIED),
	                 WAYS + (size_t)f->again);
	assert_int_equal(counted(f, STINT_SOURCE_DATABASE, TALLY_ALLOWED), 1);
	assert_int_equal(counted_in_all(f), WAYS + (size_t)f->again + 1);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ECLIENT), 1);
}

static void a_child_does_not_count_what_its_parent_has_decided(void **state) {
	struct fixture *f = *state;
	by_check(f, "c");
	pid_t child = fork();
	if (child == 0) {
		by_check(f, "c");
		fake_agent_lock(&f->agent); /* it is the parent's that will answer */
		for (;;)
			if (stint_check(f->api, "d", 1, &f->r) != 0 || f->r.source != STINT_SOURCE_LOCAL)
				_exit(0);
			else
				f->agent.table.tallies[0].count[TALLY_COUNTS - 1]++; /* of these, how many */
	}
	fake_agent_start(&f->agent);
	assert_int_equal(waitpid(child, NULL, 0), child);
	uint64_t more = f->agent.table.tallies[0].count[TALLY_COUNTS - 1];
	assert_int_equal(counted_in_all(f), more + 2); /* the child's first check, and its last */
	while (stint_check(f->api, "d", 1, &f->r) == 0 && f->r.source == STINT_SOURCE_LOCAL)
		more++;
	assert_int_equal(counted_in_all(f), more + 4);
}

/* ---- What isn't counted, and what else is ------------------------------------------------------ */

static void only_checks_are_counted(void **state) {
	struct fixture *f = *state;
	struct slot *slot = attach(f);
	fake_slot_lease(slot, 0, 100, LATER, 0);
	assert_int_equal(stint_peek(f->api, "c", 1, &f->r), 0);
	assert_int_equal(stint_peek(f->api, "unknown", 1, &f->r), 0);
	assert_int_equal(stint_peek(f->api, "", 1, &f->r), STINT_ECLIENT);
	assert_int_equal(stint_peek_async(f->api, "unknown", 1, &f->r, count, f), 0);
	loop(f, 1);
	assert_int_equal(stint_try(f->api, "unknown", 1, &f->r), 0);
	assert_int_equal(stint_charge(f->api, "c", 1), 0);
	assert_int_equal(counted_in_all(f), 0);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ECLIENT), 0);
	by_check(f, "c");
	assert_int_equal(stint_refund(f->api, "c", 1, &f->r), 1);
	expect_counted(f, STINT_SOURCE_LEASE, TALLY_ALLOWED, 1);
}

static void errors_are_counted_by_their_kind(void **state) {
	struct fixture *f = *state;
	attach(f);
	assert_false(stint_is_allowed(f->api, ""));
	assert_int_equal(stint_check(f->api, "\xff", 1, &f->r), STINT_ECLIENT);
	assert_int_equal(stint_try(f->api, "", 1, &f->r), STINT_ECLIENT);
	assert_int_equal(stint_check_async(f->api, "", 1, &f->r, count, f), STINT_ECLIENT);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ECLIENT), 4);
	assert_int_equal(stint_check(f->api, "c", 0, &f->r), STINT_ERANGE);
	const struct stint_part parts[] = {{f->api, "c", STINT_STRING, 1, 0}, {f->api, "c", STINT_STRING, 1, 0}};
	assert_int_equal(stint_check_all(parts, 2, &f->r), STINT_ERANGE);
	assert_int_equal(stint_check_all_async(parts, 2, &f->r, count, f), STINT_ERANGE);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ERANGE), 3);
	assert_int_equal(counted_in_all(f), 0);
}

/* Its limiter is never bound, and yet the process is attached. */
static void an_error_of_a_policy_that_there_is_not_is_counted(void **state) {
	struct fixture *f = *state;
	fake_agent_lock(&f->agent);
	f->agent.declared_status = STINT_ENOPOLICY;
	fake_agent_unlock(&f->agent);
	assert_int_equal(stint_check(f->api, "", 1, &f->r), STINT_ECLIENT); /* before there is a table */
	assert_int_equal(stint_check(f->api, "c", 1, &f->r), STINT_ENOPOLICY);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ENOPOLICY), 1);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ECLIENT), 1);
	assert_int_equal(counted_in_all(f), 0);
}

/* It has no verdict, and yet is_allowed() must say something: so both are counted. */
static void what_is_decided_after_an_error_is_counted_too(void **state) {
	struct fixture *f = *state;
	attach(f);
	fake_agent_lock(&f->agent);
	f->agent.verdict = (struct wire_verdict){.status = STINT_EFULL};
	fake_agent_unlock(&f->agent);
	assert_true(stint_is_allowed(f->api, "unknown"));
	assert_int_equal(stint_check(f->api, "unknown", 1, &f->r), STINT_EFULL);
	assert_int_equal(fake_table_errors(table_of(f), STINT_EFULL), 2);
	expect_counted(f, STINT_SOURCE_LOCAL, TALLY_ALLOWED, 1);
}

static void a_cancelled_check_is_an_error(void **state) {
	struct fixture *f = *state;
	attach(f);
	set(f, &f->agent.mute, true);
	assert_int_equal(stint_check_async(f->patient, "unknown", 1, &f->r, count, f), 0);
	assert_int_equal(stint_cancel(f->st, f->r.ticket), 1);
	assert_int_equal(f->called, 1);
	assert_int_equal(counted_in_all(f), 0);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ECANCELED), 1);
}

/* ---- Several limiters ------------------------------------------------------------------------ */

static void an_admission_counts_for_each_part_and_a_denial_for_one(void **state) {
	struct fixture *f = *state;
	static const char *const ids[] = {"a", "b", "d"};
	struct stint_part parts[3];
	struct slot *slots[3];
	attach(f);
	for (int i = 0; i < 3; i++) {
		slots[i] = fake_table_put(&f->agent.table, 0, ids[i]);
		atomic_store(&slots[i]->hint, 0);
		fake_slot_lease(slots[i], 0, 10, LATER, 0);
		parts[i] = (struct stint_part){f->api, ids[i], STINT_STRING, 1, 0};
	}
	assert_int_equal(stint_check_all(parts, 3, &f->r), 0);
	assert_int_equal(stint_check_all_async(parts, 3, &f->r, count, f), 1);
	expect_counted(f, STINT_SOURCE_LEASE, TALLY_ALLOWED, 6);
	fake_slot_lease(slots[1], 0, 0, LATER, 0);
	fake_slot_deny(slots[1], 1, LATER, 0, HINT);
	assert_int_equal(stint_check_all(parts, 3, &f->r), 0);
	assert_false(f->r.allowed);
	assert_int_equal(counted(f, STINT_SOURCE_LEASE, TALLY_ALLOWED), 6);
	assert_int_equal(counted(f, STINT_SOURCE_LEASE, TALLY_DENIED), 1);
	set_shadow(f, 1);
	assert_int_equal(stint_check_all(parts, 3, &f->r), 0);
	assert_int_equal(counted(f, STINT_SOURCE_LEASE, TALLY_ALLOWED), 8);
	assert_int_equal(counted(f, STINT_SOURCE_LEASE, TALLY_SHADOW_DENIED), 1);
	assert_int_equal(counted_in_all(f), 10);
}

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
	for (unsigned steps = 1; interrupt_after(steps, check_once, check_once, f); steps++)
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
	for (unsigned steps = 1, ended = 0; !ended; steps++) {
		go_to_cpu(0);
		moved.left = false;
		ended = !interrupt_after(steps, check_once, leave_first_cpu, f);
		if (moved.left)
			assert_int_equal(sum_of_first_cpu(f), moved.first_cpus);
		assert_int_equal(counted_in_all(f), steps);
	}
	sched_setaffinity(0, sizeof(before), &before);
}

/* ---- ---------------------------------------------------------------------------------------------- */

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(leases_admit),
		TEST(the_fallback_admits),
		TEST(the_table_denies),
		TEST(a_shadow_would_deny),
		TEST(whom_the_table_denies_is_noted),
		TEST(whom_the_agent_denies_is_not),
		TEST(the_agent_decides),
		TEST(the_process_decides_while_the_agent_is_away),
		TEST_ABSENT(what_was_decided_before_is_counted_when_the_agent_comes),
		TEST_ABSENT(a_child_does_not_count_what_its_parent_has_decided),
		TEST(only_checks_are_counted),
		TEST(errors_are_counted_by_their_kind),
		TEST(an_error_of_a_policy_that_there_is_not_is_counted),
		TEST(what_is_decided_after_an_error_is_counted_too),
		TEST(a_cancelled_check_is_an_error),
		TEST(an_admission_counts_for_each_part_and_a_denial_for_one),
		TEST(many_processes_and_threads_are_counted_exactly),
		TEST(so_they_are_in_shared_tallies),
		TEST(of_a_killed_process_at_most_one_is_missed),
		TEST(signals_lose_nothing),
		TEST(a_check_in_the_middle_of_a_check_is_counted_too),
		TEST(nobody_adds_to_the_tally_of_a_cpu_that_he_has_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
