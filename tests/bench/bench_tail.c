/*
 * bench_tail.c - how long a check takes in apps that do something else in between: one hot client, 20 processes
 * on 2 hosts that make 50 checks a second each, edges of sub-windows included, with PostgreSQL behind.
 *
 * A process sleeps until its next check is due, at a random point of each 20 ms, as a server does that waits
 * for requests. So every check runs on caches that others have used meanwhile, and pays for the misses of the
 * code around it too. What of that is not the limiter's is measured in wake-ups of their own, of the same
 * processes in the same seconds: two readings of the clock with nothing in between, and with one
 * compare-and-swap of a word that all of them share, in a page that has nothing else: the least that any limit
 * could cost which is counted in memory. And now and then a check is made once more at once: that is what it
 * costs where caches are warm.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "durations.h"
#include "figure.h"
#include "process.h"
#include "quick.h"
#include "random.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define ROW      7
#define HOSTS    2u
#define APPS     20u
#define SLOT_NS  (20 * NS_PER_MS) /* one check in each: 50 a second */
#define WARM_MS  3000             /* the agents learn the client's rate; libraries and pages come in */
#define RUN_MS   60000
#define START_MS 10000
/* Every so many slots one more wake-up, for a floor: rare enough that the checks' own pattern stays what it is. */
#define FLOOR_EVERY 4u
#define AGAIN_EVERY 16u

enum kind { CHECK, AGAIN, CLOCK, SWAP, KINDS };

static const char *const labels[KINDS] = {
	"stint, 20 processes on 2 hosts",
	"stint, once more at once",
	"two clock reads",
	"one compare-and-swap",
};

struct app { /* written by one process */
	_Atomic uint32_t ready;
	uint32_t left_table, denied, failed;
	uint32_t count[KINDS];
	uint32_t *ns[KINDS];
};

struct shared {
	_Atomic uint64_t begin_ns; /* 0: not yet */
	uint64_t run_ns;
	uint32_t room; /* samples of a kind per process */
	int64_t lows;
	struct app app[APPS];
	_Atomic uint64_t *word; /* in a page of its own */
};

/* ---- One process ----------------------------------------------------------- */

static void take_sample(struct app *app, enum kind kind, uint64_t ns, uint32_t room) {
	if (app->count[kind] < room)
		app->ns[kind][app->count[kind]++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

static uint64_t time_check(struct stint_limiter *limiter, struct stint_result *result, int *status) {
	uint64_t before = monotonic_ns();

	*status = stint_check(limiter, "hot", 1, result);
	return monotonic_ns() - before;
}

static uint64_t time_clock(void) {
	uint64_t before = monotonic_ns();

	return monotonic_ns() - before;
}

static uint64_t time_swap(_Atomic uint64_t *word) {
	uint64_t before = monotonic_ns(), seen = atomic_load_explicit(word, memory_order_acquire);

	while (!atomic_compare_exchange_strong_explicit(word, &seen, seen + 1, memory_order_acq_rel,
	                                                memory_order_acquire))
		continue;
	return monotonic_ns() - before;
}

static void check_at(struct stint_limiter *limiter, struct shared *shared, struct app *app, uint64_t due_ns) {
	struct stint_result result = {0};
	uint64_t ns;
	int status;

	sleep_until_ns(due_ns);
	ns = time_check(limiter, &result, &status);
	if (due_ns < shared->begin_ns)
		return;
	take_sample(app, CHECK, ns, shared->room);
	app->failed += status != 0;
	app->denied += status == 0 && !result.allowed;
	app->left_table += status != 0 || result.source != STINT_SOURCE_LEASE;
	if (app->count[CHECK] % AGAIN_EVERY == 0)
		take_sample(app, AGAIN, time_check(limiter, &result, &status), shared->room);
}

static void floor_at(struct shared *shared, struct app *app, enum kind kind, uint64_t due_ns) {
	_Atomic uint64_t *word = shared->word;
	uint64_t ns;

	sleep_until_ns(due_ns);
	ns = kind == CLOCK ? time_clock() : time_swap(word);
	take_sample(app, kind, ns, shared->room);
}

/* Of each slot the first half has a check, the second now and then a floor. */
static void run_app(struct shared *shared, uint32_t index, struct stint_limiter *limiter) {
	struct app *app = &shared->app[index];
	uint64_t random = index + 1, begin_ns, end_ns;

	app->ready = 1;
	while ((begin_ns = shared->begin_ns) == 0)
		sleep_ms(1);
	end_ns = begin_ns + shared->run_ns;
	for (uint64_t slot_ns = begin_ns - WARM_MS * NS_PER_MS, n = index; slot_ns < end_ns; slot_ns += SLOT_NS, n++) {
		check_at(limiter, shared, app, slot_ns + random_below(&random, SLOT_NS / 2));
		if (slot_ns >= begin_ns && n % FLOOR_EVERY == 0)
			floor_at(shared, app, n / FLOOR_EVERY % 2 == 0 ? CLOCK : SWAP,
			         slot_ns + SLOT_NS / 2 + random_below(&random, SLOT_NS / 2));
	}
}

static int be_app(struct shared *shared, uint32_t index, const char *socket) {
	struct stint_options options = {.policy = "tail", .max_requests = 2000, .time_window_ms = 1000};
	struct stint_limiter *limiter = NULL;
	struct stint *stint = NULL;
	int error = stint_open(&stint, socket);

	if (error == 0)
		error = stint_limiter_new(&limiter, stint, &options);
	time_swap(shared->word); /* its page fault is not what a floor is */
	if (error == 0)
		run_app(shared, index, limiter);
	else
		fprintf(stderr, "bench_tail: %s: %s\n", stint_strerror(error), stint_error_detail());
	stint_limiter_free(limiter);
	stint_close(stint);
	return error != 0;
}

/* ---- All of them ------------------------------------------------------------ */

/* Present before they are written: a page fault of the notes is nobody's latency. */
static void *map_shared(size_t bytes) {
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static struct shared *make_shared(uint64_t run_ns) {
	uint32_t room = (uint32_t)(run_ns / SLOT_NS) + 1;
	size_t samples = (size_t)APPS * KINDS * room;
	struct shared *shared = map_shared(sizeof(*shared) + samples * sizeof(uint32_t));
	uint32_t *next;

	if (shared == NULL || (shared->word = map_shared(sizeof(*shared->word))) == NULL)
		return NULL;
	next = (uint32_t *)(shared + 1);
	shared->run_ns = run_ns;
	shared->room = room;
	for (uint32_t i = 0; i < APPS * KINDS; i++, next += room)
		shared->app[i / KINDS].ns[i % KINDS] = next;
	return shared;
}

static pid_t start_app(struct shared *shared, uint32_t index, const char *socket) {
	pid_t parent = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	_exit(be_app(shared, index, socket));
}

static bool all_ready(struct shared *shared) {
	for (uint64_t deadline_ns = monotonic_ns() + START_MS * NS_PER_MS; monotonic_ns() < deadline_ns; sleep_ms(5)) {
		uint32_t ready = 0;

		for (uint32_t i = 0; i < APPS; i++)
			ready += shared->app[i].ready;
		if (ready == APPS)
			return true;
	}
	return false;
}

/* Checks that took credits below the mark: each sends the agent a message. */
static int64_t count_lows(const struct stage *stage) {
	int64_t lows = 0;

	for (uint32_t i = 0; i < HOSTS; i++)
		lows += host_number(&stage->host[i], "counters", "lows");
	return lows;
}

static int run_apps(struct shared *shared, const struct stage *stage) {
	int limit_ms = (int)(shared->run_ns / NS_PER_MS) + WARM_MS + START_MS, bad = 0;
	pid_t pids[APPS];

	for (uint32_t i = 0; i < APPS; i++)
		pids[i] = start_app(shared, i, stage->host[i % HOSTS].socket);
	if (all_ready(shared)) {
		shared->begin_ns = monotonic_ns() + (WARM_MS + 100) * NS_PER_MS;
		sleep_until_ns(shared->begin_ns);
		shared->lows = -count_lows(stage);
	}
	for (uint32_t i = 0; i < APPS; i++) {
		int status = -1;

		if (shared->begin_ns == 0 || pids[i] < 0 || !process_wait(pids[i], limit_ms, &status))
			process_kill(pids[i]);
		bad += status != 0;
	}
	shared->lows += count_lows(stage);
	if (bad > 0)
		fprintf(stderr, "bench_tail: %d of %u processes did not end well\n", bad, APPS);
	return bad == 0 ? 0 : -1;
}

/* ---- What they saw ----------------------------------------------------------- */

static int collect(struct durations *d, const struct shared *shared, enum kind kind) {
	if (durations_open(d, (size_t)APPS * shared->room) != 0)
		return -1;
	for (uint32_t i = 0; i < APPS; i++)
		durations_append(d, shared->app[i].ns[kind], shared->app[i].count[kind]);
	durations_sort(d);
	return d->count > 0 ? 0 : -1;
}

static void plot(const struct durations *d, const char *label) {
	static const double fractions[] = {0.01, 0.05, 0.1,  0.2,   0.3,   0.4,   0.5,    0.6,    0.7,    0.8, 0.9,
	                                   0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 1};

	for (size_t i = 0; i < sizeof(fractions) / sizeof(fractions[0]); i++)
		figure_point("tail", label, fractions[i], durations_quantile(d, fractions[i]));
}

struct line {
	double fraction;
	const char *name;
	double bound_us; /* 0: no target */
};

static void put_quantiles(const struct durations d[KINDS]) {
	static const struct line lines[] = {{0.5, "p50", 0.2},
	                                    {0.99, "p99", 10},
	                                    {0.999, "p99.9", 1000},
	                                    {1, "max", 0}};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char what[128], note[192];

		snprintf(what, sizeof(what), "one hot client, 20 processes on 2 hosts, 1,000/s: %s of a check",
		         lines[i].name);
		snprintf(note, sizeof(note),
		         "each right after a wake-up, caches cold; once more at once: %.3f us; two clock reads after "
		         "a wake-up: %.3f us; with one compare-and-swap in between: %.3f us",
		         durations_quantile(&d[AGAIN], lines[i].fraction) / 1e3,
		         durations_quantile(&d[CLOCK], lines[i].fraction) / 1e3,
		         durations_quantile(&d[SWAP], lines[i].fraction) / 1e3);
		figure_put(&(struct figure){.row = ROW,
		                            .what = what,
		                            .unit = "us",
		                            .value = durations_quantile(&d[CHECK], lines[i].fraction) / 1e3,
		                            .target = lines[i].bound_us > 0 ? FIGURE_AT_MOST : FIGURE_STATED,
		                            .bound = lines[i].bound_us,
		                            .note = note});
	}
}

static void put_counts(const struct shared *shared, size_t checks) {
	uint32_t left = 0, denied = 0, failed = 0;
	char note[96];

	for (uint32_t i = 0; i < APPS; i++) {
		left += shared->app[i].left_table;
		denied += shared->app[i].denied;
		failed += shared->app[i].failed;
	}
	snprintf(note, sizeof(note), "%u of %zu; %u were denied, %u failed", left, checks, denied, failed);
	figure_put(&(struct figure){.row = ROW,
	                            .what = "the same: checks that left the table",
	                            .unit = "%",
	                            .value = (double)left * 100 / (double)checks,
	                            .note = note});
	figure_put(&(struct figure){
		.row = ROW,
		.what = "the same: checks that also told the agent that credits run low",
		.unit = "%",
		.value = (double)shared->lows * 100 / (double)checks,
		.note = "a send each, without waiting: 10 to 20 us with cold caches and the agent to be woken"});
}

static int report(const struct shared *shared) {
	struct durations d[KINDS] = {{0}};
	int status = 0;

	for (int kind = 0; kind < KINDS; kind++)
		status |= collect(&d[kind], shared, (enum kind)kind);
	if (status == 0) {
		put_quantiles(d);
		put_counts(shared, d[CHECK].count);
		for (int kind = 0; kind < KINDS; kind++)
			plot(&d[kind], labels[kind]);
	} else {
		fprintf(stderr, "bench_tail: no samples\n");
	}
	for (int kind = 0; kind < KINDS; kind++)
		durations_close(&d[kind]);
	return status;
}

static int play(const struct scene *scene) {
	struct shared *shared = make_shared((uint64_t)quick_ms(RUN_MS) * NS_PER_MS);
	struct stage stage;
	int status;

	if (shared == NULL) {
		fprintf(stderr, "bench_tail: no memory\n");
		return 1;
	}
	tap_quiet();
	if (stage_set(&stage, scene, HOSTS, NULL) != 0)
		return 1;
	status = run_apps(shared, &stage);
	if (status == 0)
		status = report(shared);
	stage_strike(&stage);
	return status != 0 || tap_finish() != 0;
}

int main(void) {
	return scene_run(play, 180);
}
