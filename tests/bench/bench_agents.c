/*
 * bench_agents.c - 1 to 64 agents on one machine, one database: what a lease costs when all of them want one of
 * the same client, and when each wants those of its own.
 *
 * One app process for each agent checks once in a tenth of a second, each time another client, so that each check
 * needs a lease: a trip to the database. One client for all means one for all in that tenth: they go to the same
 * row. (A client that came again would have its next lease before it asked.) Who waits for a row's lock is counted
 * by a session that looks every 10 ms.
 *
 * Then how long they take when all are killed and come again, and when all lose their sessions.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "clock.h"
#include "cluster.h"
#include "figure.h"
#include "histogram.h"
#include "host.h"
#include "process.h"
#include "quick.h"
#include "stint.h"
#include "team.h"

#define AGENTS_MAX 64
#define RUN_MS     8000
#define WARM_UP_MS 1000
#define WINDOW_MS  100
#define SAMPLE_MS  10
/* Of the numbers of agents, the least with somebody to wait for. */
#define FEW      8
#define FEW_NAME "8 agents"

/* Written by the processes, each its own. */
struct shared {
	struct histogram latency_ns[AGENTS_MAX];
	_Atomic uint64_t other[AGENTS_MAX]; /* checks that were not decided by the database */
	_Atomic uint64_t samples, waiting;  /* looks at the sessions, and those that waited for a lock, summed */
};

struct play {
	struct cluster cluster;
	struct host host[AGENTS_MAX];
	struct shared *shared;
	bool own_clients;
};

struct outcome {
	struct histogram latency_ns;
	uint64_t checks;
	double waiting, statements_per_s, other_percent;
};

static void name_client(const struct play *p, int index, char id[static 64]) {
	unsigned long long turn = monotonic_ns() / (WINDOW_MS * NS_PER_MS);
	if (p->own_clients)
		snprintf(id, 64, "own-%d-%llu", index, turn);
	else
		snprintf(id, 64, "shared-%llu", turn);
}

/* The first check makes the limiter known to the agent: it is not one of those that are measured. */
static struct stint_limiter *attach(const struct host *host, const char *id) {
	struct stint_options options = {.policy = "agents",
	                                .max_requests = 1000000,
	                                .time_window_ms = WINDOW_MS,
	                                .algorithm = STINT_FIXED_WINDOW};
	struct stint_limiter *limiter;
	struct stint_result result;
	struct stint *st;

	if (stint_open(&st, host->socket) != 0 || stint_limiter_new(&limiter, st, &options) != 0 ||
	    stint_check(limiter, id, 1, &result) != 0)
		_exit(1);
	return limiter;
}

/* Each process has a place of its own in the window. */
static uint64_t check_once(void *arg, int index) {
	static struct stint_limiter *limiter;
	static uint64_t due_ns;
	struct play *p = arg;
	struct stint_result result = {0};
	uint64_t began;
	char id[64];

	if (!limiter) {
		limiter = attach(&p->host[index], "first");
		due_ns = monotonic_ns() + (uint64_t)index * WINDOW_MS * NS_PER_MS / AGENTS_MAX;
	}
	sleep_until_ns(due_ns);
	name_client(p, index, id);
	due_ns += (WINDOW_MS + 1) * NS_PER_MS; /* drifts through the windows, edges and all */
	began = monotonic_ns();
	if (stint_check(limiter, id, 1, &result) == 0 && result.source == STINT_SOURCE_DATABASE)
		histogram_add(&p->shared->latency_ns[index], monotonic_ns() - began);
	else
		p->shared->other[index]++;
	return 1;
}

static void watch_locks(struct play *p, pid_t parent) {
	struct cluster own = p->cluster;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	own.pg = NULL;
	for (;;) {
		int64_t waiting = cluster_number(
			&own,
			"select count(*) from pg_stat_activity where wait_event_type = 'Lock' and application_name like 'stint%'",
			-1);

		if (waiting < 0)
			_exit(1);
		atomic_fetch_add(&p->shared->waiting, (uint64_t)waiting);
		atomic_fetch_add(&p->shared->samples, 1);
		sleep_ms(SAMPLE_MS);
	}
}

static int64_t count_batches(const struct play *p, int agents) {
	int64_t sum = 0;

	for (int i = 0; i < agents; i++)
		sum += host_number(&p->host[i], "counters", "batches");
	return sum;
}

static void collect(const struct play *p, int agents, struct outcome *o) {
	uint64_t other = 0;

	for (int i = 0; i < agents; i++) {
		histogram_merge(&o->latency_ns, &p->shared->latency_ns[i]);
		other += p->shared->other[i];
	}
	o->waiting = (double)p->shared->waiting / (double)(p->shared->samples + (p->shared->samples == 0));
	o->checks = other + histogram_total(&o->latency_ns);
	o->other_percent = 100.0 * (double)other / (double)(o->checks + (o->checks == 0));
}

static int measure(struct play *p, int agents, bool own_clients, struct outcome *o) {
	pid_t parent = getpid(), watcher;
	int64_t batches;
	double rate;

	memset(o, 0, sizeof(*o));
	p->own_clients = own_clients;
	if (team_rate(&(struct team_job){check_once, p}, agents, WARM_UP_MS) < 0)
		return -1;
	memset(p->shared, 0, sizeof(*p->shared));
	batches = count_batches(p, agents);
	watcher = fork();
	if (watcher == 0)
		watch_locks(p, parent);
	rate = team_rate(&(struct team_job){check_once, p}, agents, quick_ms(RUN_MS));
	if (watcher < 0 || process_wait(watcher, 0, NULL)) {
		fprintf(stderr, "bench_agents: nobody looked who waits for a lock\n");
		return -1;
	}
	process_kill(watcher);
	if (rate < 0)
		return -1;
	o->statements_per_s = (double)(count_batches(p, agents) - batches) * 1e3 / quick_ms(RUN_MS);
	collect(p, agents, o);
	return 0;
}

static double us(const struct outcome *o, unsigned per_mille) {
	return (double)histogram_quantile(&o->latency_ns, per_mille) / 1e3;
}

static void put_time(const char *whose, int agents, const char *name, double value, double base) {
	char what[96], plot[96];

	snprintf(what, sizeof(what), "%d agents, %s: %s to a lease", agents, whose, name);
	figure_put(
		&(struct figure){.row = 11,
	                     .what = what,
	                     .unit = "us",
	                     .value = value,
	                     .against = "1 agent",
	                     .base = base,
	                     .target = agents > 1 ? FIGURE_AT_MOST : FIGURE_STATED,
	                     .bound = agents,
	                     .note = agents > 1 ? NULL : "of some 80 checks: its p99 is nearly the slowest of them"});
	snprintf(plot, sizeof(plot), "%s, %s", whose, name);
	figure_point("agents", plot, agents, value);
}

/* By Little's law: who waits at a time, over how many come in it. */
static double wait_us(const struct outcome *o) {
	return o->statements_per_s > 0 ? o->waiting * 1e6 / o->statements_per_s : 0;
}

/* One agent has nobody to wait for, so what is compared with is the fewest that have. */
static void put_wait(const char *whose, int agents, const struct outcome *o, const struct outcome *few) {
	bool is_compared = agents > FEW && few->waiting > 0;
	char what[96];

	snprintf(what, sizeof(what), "%d agents, %s: sessions that wait for a row", agents, whose);
	figure_put(&(struct figure){.row = 11, .what = what, .unit = "on average", .value = o->waiting});
	snprintf(what, sizeof(what), "%d agents, %s: how long a statement waits for a row", agents, whose);
	figure_put(&(struct figure){.row = 11,
	                            .what = what,
	                            .unit = "us",
	                            .value = wait_us(o),
	                            .against = is_compared ? FEW_NAME : NULL,
	                            .base = wait_us(few),
	                            .target = is_compared ? FIGURE_AT_MOST : FIGURE_STATED,
	                            .bound = (double)agents / FEW});
}

static void put(const char *whose, int agents, const struct outcome *o, const struct outcome *one,
                const struct outcome *few) {
	char what[96];

	put_time(whose, agents, "p50", us(o, 500), us(one, 500));
	put_time(whose, agents, "p99", us(o, 990), us(one, 990));
	put_wait(whose, agents, o, few);
	snprintf(what, sizeof(what), "%d agents, %s: statements", agents, whose);
	figure_put(&(struct figure){.row = 11, .what = what, .unit = "/s", .value = o->statements_per_s});
	snprintf(what, sizeof(what), "%d agents, %s: checks that needed no lease or got none", agents, whose);
	figure_put(&(struct figure){.row = 11, .what = what, .unit = "%", .value = o->other_percent});
}

static int add_agents(struct play *p, const struct scene *scene, int from, int to) {
	struct host_options options = {.database = p->cluster.agent, .max_clients = 1000};
	char name[32];

	for (int i = from; i < to; i++) {
		snprintf(name, sizeof(name), "host-%02d", i);
		options.name = name;
		if (host_prepare(&p->host[i], scene, (uint32_t)i, &options) != 0 || host_start(&p->host[i]) != 0 ||
		    !host_wait_in_step(&p->host[i], 15000))
			return -1;
	}
	return 0;
}

/* ---- All come again ------------------------------------------------------------------------- */

static int wait_all_in_step(const struct play *p, int agents) {
	for (int i = 0; i < agents; i++)
		if (!host_wait_in_step(&p->host[i], 60000))
			return -1;
	return 0;
}

static int measure_restart(struct play *p, int agents) {
	uint64_t began;
	char what[96];

	for (int i = 0; i < agents; i++)
		host_kill(&p->host[i]);
	began = monotonic_ns();
	for (int i = 0; i < agents; i++)
		if (host_start(&p->host[i]) != 0)
			return -1;
	if (wait_all_in_step(p, agents) != 0)
		return -1;
	snprintf(what, sizeof(what), "%d agents killed: all are started again and in step after", agents);
	figure_put(
		&(struct figure){.row = 11, .what = what, .unit = "s", .value = (double)(monotonic_ns() - began) / 1e9});
	began = monotonic_ns();
	if (cluster_end_backends(&p->cluster) != 0)
		return -1;
	sleep_ms(100);
	if (wait_all_in_step(p, agents) != 0)
		return -1;
	snprintf(what, sizeof(what), "%d agents lose their sessions: all are in step again after", agents);
	figure_put(&(struct figure){.row = 11,
	                            .what = what,
	                            .unit = "s",
	                            .value = (double)(monotonic_ns() - began) / 1e9,
	                            .target = FIGURE_AT_MOST,
	                            .bound = 5});
	return 0;
}

static int play(const struct scene *scene) {
	static const int agents[] = {1, FEW, 32, 64};
	static struct outcome o, one[2], few[2];
	static struct play p;
	int running = 0;

	p.shared = mmap(NULL, sizeof(*p.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p.shared == MAP_FAILED || cluster_start(&p.cluster, scene) != 0 || cluster_install(&p.cluster) != 0)
		return 1;
	for (size_t i = 0; i < sizeof(agents) / sizeof(agents[0]); i++) {
		if (add_agents(&p, scene, running, agents[i]) != 0)
			return 1;
		running = agents[i];
		for (int own = 0; own < 2; own++) {
			if (measure(&p, running, own, &o) != 0)
				return 1;
			if (i == 0)
				one[own] = o;
			if (running == FEW)
				few[own] = o;
			put(own ? "own clients" : "one shared client", running, &o, &one[own], &few[own]);
		}
	}
	if (measure_restart(&p, running) != 0)
		return 1;
	for (int i = 0; i < running; i++)
		host_stop(&p.host[i]);
	cluster_close(&p.cluster);
	return 0;
}

int main(void) {
	return scene_run(play, 230);
}
