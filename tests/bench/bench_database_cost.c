/*
 * bench_database_cost.c - what the database has to do for 1,000 checks: statements, rows, write-ahead log and
 * time of its processes, with hot, warm and cold clients. Against one upsert for each check, of the same
 * clients, on the same server.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "cluster.h"
#include "direct.h"
#include "figure.h"
#include "host.h"
#include "quick.h"
#include "random.h"
#include "server_cost.h"
#include "stint.h"
#include "team.h"

#define RUN_MS       20000
#define WARM_UP_MS   6000 /* a sub-window: leases are as large as they get */
#define DIRECT_MS    4000
#define COLD_MS      5000
#define PROCESSES    64 /* for first checks, which wait */
#define APPS         20 /* each load's checks per tick are a multiple of it */
#define TICK_MS      10
#define QUIET_MS     2000   /* without a batch: leases have ended, and gone back */
#define QUIET_MAX_MS 200000 /* a lease may last for a whole window, and there may be a next one */

/* What has been done until now, or between two moments. */
struct cost {
	double checks, statements, rows, wal_bytes, cpu_ms;
};

struct load;

/* Of cold clients, by all processes. */
struct shared {
	_Atomic uint32_t next, admitted;
};

struct play {
	struct cluster cluster;
	struct host host;
	struct stint *stint;
	struct pg *pg;
	struct stint_limiter *limiter;
	const struct load *load;
	struct shared *shared;
	double checks, calls;
	uint64_t random;
};

/* ---- What it costs -------------------------------------------------------------------- */

static struct cost look(struct play *p) {
	struct server_cost server = server_cost_look(&p->cluster);

	return (struct cost){
		.checks = p->checks,
		.statements = (double)host_number(&p->host, "counters", "batches") + p->calls,
		.rows = (double)host_number(&p->host, "counters", "requests") + p->calls,
		.wal_bytes = server.wal_bytes,
		.cpu_ms = server.cpu_ms,
	};
}

/* For 1,000 checks, between two looks. */
static struct cost cost_since(struct play *p, const struct cost *before) {
	struct cost now = look(p);
	double thousands = (now.checks - before->checks) / 1000;

	return (struct cost){now.checks - before->checks, (now.statements - before->statements) / thousands,
	                     (now.rows - before->rows) / thousands, (now.wal_bytes - before->wal_bytes) / thousands,
	                     (now.cpu_ms - before->cpu_ms) / thousands};
}

/* ---- The loads --------------------------------------------------------------------------- */

struct load {
	const char *key; /* names the policy, and begins the ids */
	const char *name;
	uint32_t clients;
	uint32_t per_s;
	int64_t limit; /* per minute; sliding, resolution 10 */
	double bound;
};

static void name_client(const struct load *load, uint32_t client, char id[static 48]) {
	snprintf(id, 48, "%s-%08x", load->key, (unsigned)(client * 2654435761u));
}

/* One of the apps that together make a load: a tick's checks, then it sleeps until the next one. What counts
 * are admissions. */
static uint64_t check_tick(void *arg, int index) {
	static uint64_t random, tick_ns;
	struct play *p = arg;
	uint32_t checks = p->load->per_s * TICK_MS / 1000 / APPS;
	uint64_t admitted = 0;

	if (tick_ns == 0) {
		random = (uint64_t)index;
		tick_ns = monotonic_ns();
	}
	for (uint32_t i = 0; i < checks; i++) {
		struct stint_result result;
		char id[48];

		name_client(p->load, random_below(&random, p->load->clients), id);
		admitted += stint_check(p->limiter, id, 1, &result) == 0 && result.allowed;
	}
	tick_ns += TICK_MS * NS_PER_MS;
	sleep_until_ns(tick_ns);
	return admitted;
}

static int check_for(struct play *p, int ms) {
	double rate = team_rate(&(struct team_job){check_tick, p}, APPS, ms);

	p->checks += rate * ms / 1e3;
	return rate > 0 ? 0 : -1;
}

static int call_for(struct play *p, const struct load *load, int ms) {
	uint64_t end = monotonic_ns() + (uint64_t)ms * NS_PER_MS;

	while (monotonic_ns() < end) {
		struct pg_params params = {.count = 1};
		char id[48];

		name_client(load, load->clients > 0 ? random_below(&p->random, load->clients) : (uint32_t)p->calls, id);
		params.values[0] = id;
		if (direct_call(p->pg, &params) != 1)
			return -1;
		p->calls++;
		p->checks++;
	}
	return 0;
}

/* The next client of the load, if there is one. */
static uint64_t check_new(void *arg, int index) {
	struct play *p = arg;
	struct stint_result result;
	uint32_t client = atomic_fetch_add(&p->shared->next, 1);
	bool is_admitted;
	char id[48];

	(void)index;
	if (p->load->clients > 0 && client >= p->load->clients) {
		sleep_ms(1);
		return 0;
	}
	name_client(p->load, client, id);
	is_admitted = stint_check(p->limiter, id, 1, &result) == 0 && result.allowed;
	atomic_fetch_add(&p->shared->admitted, is_admitted);
	return is_admitted;
}

static int check_cold(struct play *p, int ms) {
	if (team_rate(&(struct team_job){check_new, p}, PROCESSES, ms) <= 0)
		return -1;
	p->checks += p->shared->admitted;
	return 0;
}

/* All clients of a load, once: what takes a trip to the database is over before the measuring. */
static int see_all(struct play *p, const struct load *load) {
	while (p->shared->next < load->clients)
		if (team_rate(&(struct team_job){check_new, p}, PROCESSES, 100) < 0)
			return -1;
	return 0;
}

/* What is left of a load, leases that end and credits that go back, is no part of what comes next. */
static int wait_until_quiet(const struct play *p) {
	int64_t before = -1, now;

	for (int waited_ms = 0; waited_ms < QUIET_MAX_MS; waited_ms += QUIET_MS, before = now) {
		now = host_number(&p->host, "counters", "batches");
		if (now >= 0 && now == before)
			return 0;
		sleep_ms(QUIET_MS);
	}
	fprintf(stderr, "bench_database_cost: the agent still sends batches, %d s after the last check\n",
	        QUIET_MAX_MS / 1000);
	return -1;
}

/* ---- The comparison ------------------------------------------------------------------------ */

static void put_one(const struct load *load, const char *quantity, const char *unit, double value, double base) {
	char what[96];

	snprintf(what, sizeof(what), "%s: %s for 1,000 checks", load->name, quantity);
	figure_put(&(struct figure){.row = 10,
	                            .what = what,
	                            .unit = unit,
	                            .value = value,
	                            .against = "one upsert per check",
	                            .base = base,
	                            .target = load->bound > 0 ? FIGURE_AT_MOST : FIGURE_STATED,
	                            .bound = load->bound});
}

static void put(const struct load *load, const struct cost *stint, const struct cost *direct) {
	put_one(load, "statements", "", stint->statements, direct->statements);
	put_one(load, "rows", "", stint->rows, direct->rows);
	put_one(load, "write-ahead log", "bytes", stint->wal_bytes, direct->wal_bytes);
	put_one(load, "server CPU", "ms", stint->cpu_ms, direct->cpu_ms);
}

static int new_limiter(struct play *p, const struct load *load) {
	struct stint_options options = {.max_requests = load->limit, .time_window_ms = 60000};
	int status;

	options.policy = load->key;
	status = stint_limiter_new(&p->limiter, p->stint, &options);
	if (status != 0)
		fprintf(stderr, "bench_database_cost: %s: %s\n", load->key, stint_error_detail());
	return status;
}

static int measure(struct play *p, const struct load *load) {
	struct cost before, stint, direct;

	if (new_limiter(p, load) != 0)
		return -1;
	p->load = load;
	p->shared->next = p->shared->admitted = 0;
	if (load->clients > 0 && (see_all(p, load) != 0 || check_for(p, WARM_UP_MS) != 0))
		return -1;
	before = look(p);
	if ((load->clients > 0 ? check_for(p, quick_ms(RUN_MS)) : check_cold(p, quick_ms(COLD_MS))) != 0)
		return -1;
	stint = cost_since(p, &before);
	stint_limiter_free(p->limiter);
	if (wait_until_quiet(p) != 0)
		return -1;
	before = look(p);
	if (call_for(p, load, quick_ms(DIRECT_MS)) != 0)
		return -1;
	direct = cost_since(p, &before);
	put(load, &stint, &direct);
	return 0;
}

static int set(struct play *p, const struct scene *scene) {
	p->shared = mmap(NULL, sizeof(*p->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	p->random = 7;
	if (p->shared == MAP_FAILED || cluster_start(&p->cluster, scene) != 0 || cluster_install(&p->cluster) != 0 ||
	    cluster_do(&p->cluster, DIRECT_TABLE) != 0)
		return -1;
	if (host_prepare(&p->host, scene, 0, &(struct host_options){.database = p->cluster.agent}) != 0 ||
	    host_start(&p->host) != 0 || !host_wait_in_step(&p->host, 10000) ||
	    stint_open(&p->stint, p->host.socket) != 0)
		return -1;
	return direct_open(&p->pg, p->cluster.conninfo, DIRECT_UPSERT);
}

static int play(const struct scene *scene) {
	static const struct load loads[] = {
		{"hot", "10 hot clients, 2,000/s each", 10, 20000, 1000000, 1e-3},
		{"warm", "10,000 warm clients, 5/s each", 10000, 50000, 600, 0.1},
		{"cold", "cold clients, each seen once", 0, 0, 100, 0},
	};
	static struct play p;

	if (set(&p, scene) != 0)
		return 1;
	for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
		if (measure(&p, &loads[i]) != 0)
			return 1;
	stint_close(p.stint);
	pg_close(p.pg);
	host_stop(&p.host);
	cluster_close(&p.cluster);
	return 0;
}

int main(void) {
	return scene_run(play, 240);
}
