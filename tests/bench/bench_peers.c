/*
 * bench_peers.c - the same endpoint, limited by stint and by what its users would take instead: a Lua script in Redis, called from
 * C over a Unix socket, and rate-limiter-flexible in Node.js with its stores. 100 clients in turn, all admitted, each process one
 * check after the other. In turns, on one machine, on the same PostgreSQL.
 *
 * stint's throughput is measured without a clock around each check, since that costs as much as the check; its
 * latencies are measured apart, and contain one reading of the clock, some 25 ns.
 */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "cluster.h"
#include "figure.h"
#include "histogram.h"
#include "host.h"
#include "process.h"
#include "quick.h"
#include "sample.h"
#include "stint.h"
#include "team.h"

#define ROUNDS  3
#define RUN_MS  1500
#define WARM_UP_MS 500 /* leases grow to what is used */
#define CLIENTS 100u
#define PROCESSES_MAX 4
#define QUANTILES 6

static const unsigned per_ten_thousand[QUANTILES] = {5000, 7500, 9000, 9900, 9990, 9999};

struct play {
	const struct scene *scene;
	struct cluster cluster;
	struct host host;
	struct stint *stint;
	struct stint_limiter *limiter;
	pid_t redis;
	char redis_socket[108];
	char script[64]; /* its SHA1 */
	char modules[512];
	struct histogram *latency; /* in shared memory; only when one process works */
	_Atomic uint64_t *left_table;
};

static const char lua[] =
	"local n = redis.call('INCR', KEYS[1]) "
	"if n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end "
	"return n";

/* ---- stint ------------------------------------------------------------------------- */

static char ids[CLIENTS][16];

static uint64_t check_all(void *arg, int index) {
	struct play *p = arg;
	struct stint_result result;
	uint64_t elsewhere = 0;

	for (uint32_t i = 0; i < CLIENTS; i++) {
		stint_check(p->limiter, ids[(i + (uint32_t)index * (CLIENTS / PROCESSES_MAX)) % CLIENTS], 1, &result);
		elsewhere += result.source != STINT_SOURCE_LEASE;
	}
	if (elsewhere > 0)
		atomic_fetch_add(p->left_table, elsewhere);
	return CLIENTS;
}

static uint64_t check_timed(void *arg, int index) {
	struct play *p = arg;
	struct stint_result result;
	uint64_t then_ns = monotonic_ns();

	(void)index;
	for (uint32_t i = 0; i < CLIENTS; i++) {
		uint64_t now_ns;

		stint_check(p->limiter, ids[i], 1, &result);
		now_ns = monotonic_ns();
		histogram_add(p->latency, now_ns - then_ns);
		then_ns = now_ns;
	}
	return CLIENTS;
}

/* ---- Redis ------------------------------------------------------------------------- */

/* One connection a process: made at its first check, gone with it. */
static redisContext *redis_connection(const struct play *p) {
	static redisContext *connection;
	static pid_t owner;

	if (owner != getpid()) {
		owner = getpid();
		connection = redisConnectUnix(p->redis_socket);
	}
	if (!connection || connection->err) {
		fprintf(stderr, "bench_peers: redis: %s\n", connection ? connection->errstr : "out of memory");
		_exit(1);
	}
	return connection;
}

static uint64_t ask_redis(void *arg, int index) {
	struct play *p = arg;
	redisContext *c = redis_connection(p);

	(void)index;
	for (uint32_t i = 0; i < CLIENTS; i++) {
		uint64_t began = monotonic_ns();
		redisReply *reply = redisCommand(c, "EVALSHA %s 1 %s 60000", p->script, ids[i]);

		if (!reply || reply->type != REDIS_REPLY_INTEGER) {
			fprintf(stderr, "bench_peers: redis: %s\n", reply ? reply->str : c->errstr);
			_exit(1);
		}
		histogram_add(p->latency, monotonic_ns() - began);
		freeReplyObject(reply);
	}
	return CLIENTS;
}

static int load_script(struct play *p) {
	redisReply *reply = redisCommand(redis_connection(p), "SCRIPT LOAD %s", lua);

	if (!reply || reply->type != REDIS_REPLY_STRING)
		return -1;
	snprintf(p->script, sizeof(p->script), "%s", reply->str);
	freeReplyObject(reply);
	return 0;
}

/* The server is in redis-tools, too: what it does depends on the name that it is called by. Without persistence, at its fastest. */
static int start_redis(struct play *p) {
	char command[512], log[108];
	const char *argv[] = {"/bin/bash", "-c", command, NULL};

	scene_path(p->scene, "redis.sock", p->redis_socket);
	scene_path(p->scene, "redis.log", log);
	snprintf(command, sizeof(command),
		"exec -a redis-server /usr/bin/redis-check-rdb --port 0 --unixsocket %s --save '' --appendonly no --dir %s",
		p->redis_socket, p->scene->dir);
	p->redis = process_start(argv, log);
	for (int i = 0; i < 500 && access(p->redis_socket, F_OK) != 0; i++)
		sleep_ms(10);
	return p->redis > 0 ? load_script(p) : -1;
}

/* ---- Node.js ------------------------------------------------------------------------- */

struct node_result {
	double checks, seconds, quantile_ns[QUANTILES];
};

static int read_result(const char *path, struct node_result *r) {
	FILE *file = fopen(path, "r");
	int found = -1;

	if (file)
		found = fscanf(file, "%lf %lf %lf %lf %lf %lf %lf %lf", &r->checks, &r->seconds, &r->quantile_ns[0], &r->quantile_ns[1],
			&r->quantile_ns[2], &r->quantile_ns[3], &r->quantile_ns[4], &r->quantile_ns[5]);
	if (file)
		fclose(file);
	if (found != 2 + QUANTILES)
		fprintf(stderr, "bench_peers: no result in %s\n", path);
	return found == 2 + QUANTILES ? 0 : -1;
}

static const char *address_of(const struct play *p, const char *store) {
	static char folder[160];

	if (strcmp(store, "redis") == 0)
		return p->redis_socket;
	snprintf(folder, sizeof(folder), "%s/pg", p->cluster.dir);
	return folder;
}

/* As many processes at once; *quantiles are of the first one. Checks per second, or -1. */
static double run_node(const struct play *p, const char *store, int processes, int in_flight, struct node_result *first) {
	char path[PROCESSES_MAX][108], script[600], flight[16], ms[16], name[32];
	pid_t pid[PROCESSES_MAX];
	double rate = 0;

	snprintf(script, sizeof(script), "%s/limiter.js", p->modules);
	snprintf(flight, sizeof(flight), "%d", in_flight);
	snprintf(ms, sizeof(ms), "%d", quick_ms(RUN_MS));
	for (int i = 0; i < processes; i++) {
		const char *argv[] = {"/usr/bin/env", "node", script, store, flight, ms, address_of(p, store), NULL};

		snprintf(name, sizeof(name), "node.%d", i);
		scene_path(p->scene, name, path[i]);
		unlink(path[i]);
		pid[i] = process_start(argv, path[i]);
	}
	for (int i = 0; i < processes; i++) {
		struct node_result r;
		int status;

		if (pid[i] < 0 || !process_wait(pid[i], 60000, &status) || read_result(path[i], &r) != 0)
			return -1;
		rate += r.checks / r.seconds;
		if (i == 0)
			*first = r;
	}
	return rate;
}

/* ---- The comparison -------------------------------------------------------------------- */

struct contender {
	const char *name;
	const char *store; /* NULL: C */
	uint64_t (*work)(void *, int);
	int in_flight;
	double bound;
};

static const struct contender contenders[] = {
	{"stint", NULL, check_all, 1, 0},
	{"Redis, Lua script, from C", NULL, ask_redis, 1, 500},
	{"rate-limiter-flexible, PostgreSQL", "postgres", NULL, 1, 5000},
	{"rate-limiter-flexible, PostgreSQL, 10 at once", "postgres", NULL, 10, 0},
	{"rate-limiter-flexible, Redis", "redis", NULL, 1, 0},
	{"rate-limiter-flexible, Redis, 50 at once", "redis", NULL, 50, 0},
	{"rate-limiter-flexible, memory", "memory", NULL, 1, 0},
};
#define CONTENDERS ((int)(sizeof(contenders) / sizeof(contenders[0])))

struct standing {
	struct samples rate;
	double quantile_ns[QUANTILES];
};

static void clear_latency(struct histogram *h) {
	memset(h, 0, sizeof(*h));
}

/* The per-mille interface is too coarse for the last quantile. */
static double quantile_ns(const struct histogram *h, unsigned ten_thousandths) {
	uint64_t wanted = histogram_total(h) * ten_thousandths / 10000, seen = 0;

	for (unsigned class = 0; class < HISTOGRAM_CLASSES; class++) {
		seen += h->count[class];
		if (seen > wanted)
			return (double)histogram_class_end(class);
	}
	return 0;
}

static int measure(struct play *p, const struct contender *c, int processes, struct standing *s) {
	struct node_result node = {0};
	double rate;

	if (c->store) {
		rate = run_node(p, c->store, processes, c->in_flight, &node);
		memcpy(s->quantile_ns, node.quantile_ns, sizeof(s->quantile_ns));
	} else {
		team_rate(&(struct team_job){c->work, p}, processes, WARM_UP_MS);
		clear_latency(p->latency);
		rate = team_rate(&(struct team_job){c->work, p}, processes, quick_ms(RUN_MS));
		if (c->work == check_all)
			team_rate(&(struct team_job){check_timed, p}, 1, quick_ms(RUN_MS));
		for (int q = 0; q < QUANTILES; q++)
			s->quantile_ns[q] = quantile_ns(p->latency, per_ten_thousand[q]);
	}
	if (rate <= 0)
		return -1;
	samples_add(&s->rate, rate);
	return 0;
}

static void put_latency(const struct contender *c, const struct standing *mine, const struct standing *s, int q, const char *name) {
	char what[96];

	snprintf(what, sizeof(what), "1 process, %s of one check", name);
	figure_put(&(struct figure){.row = 9, .what = what, .unit = "ns", .value = mine->quantile_ns[q], .against = c->name,
		.base = s->quantile_ns[q], .base_over_value = true});
}

static void put(const struct standing *standing, int processes) {
	char what[96];

	for (int i = 1; i < CONTENDERS; i++) {
		const struct contender *c = &contenders[i];

		snprintf(what, sizeof(what), "%d process%s, closed loop", processes, processes > 1 ? "es" : "");
		figure_put(&(struct figure){.row = 9, .what = what, .unit = "checks/s", .value = samples_median(&standing[0].rate),
			.against = c->name, .base = samples_median(&standing[i].rate), .target = c->bound > 0 ? FIGURE_AT_LEAST : FIGURE_STATED,
			.bound = c->bound});
		if (processes == 1 && c->in_flight == 1) {
			put_latency(c, &standing[0], &standing[i], 0, "p50");
			put_latency(c, &standing[0], &standing[i], 3, "p99");
		}
	}
	for (int i = 0; processes == 1 && i < CONTENDERS; i++)
		for (int q = 0; contenders[i].in_flight == 1 && q < QUANTILES; q++)
			figure_point("latency", contenders[i].name, per_ten_thousand[q] / 1e4, standing[i].quantile_ns[q]);
}

static int compare(struct play *p, int processes) {
	struct standing standing[CONTENDERS];
	double checks = 0;

	memset(standing, 0, sizeof(standing));
	*p->left_table = 0;
	for (int round = 0; round < ROUNDS; round++)
		for (int i = 0; i < CONTENDERS; i++)
			if (measure(p, &contenders[i], processes, &standing[i]) != 0)
				return -1;
	put(standing, processes);
	checks = samples_median(&standing[0].rate) * ROUNDS * quick_ms(RUN_MS) / 1e3;
	figure_put(&(struct figure){.row = 9, .what = processes > 1 ? "4 processes, stint's checks that left the table" :
		"1 process, stint's checks that left the table", .unit = "%", .value = 100 * (double)*p->left_table / checks});
	return 0;
}

static int set(struct play *p) {
	struct stint_options options = {
		.policy = "peers", .max_requests = STINT_MAX_REQUESTS_MAX, .time_window_ms = 1000,
		.fallback_max_requests = STINT_MAX_REQUESTS_MAX};
	const char *modules = getenv("STINT_BENCH_MODULES");

	snprintf(p->modules, sizeof(p->modules), "%s", modules ? modules : "build/bench/peers");
	for (uint32_t i = 0; i < CLIENTS; i++)
		snprintf(ids[i], sizeof(ids[i]), "client-%u", i);
	p->latency = mmap(NULL, sizeof(*p->latency) + 64, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p->latency == MAP_FAILED || cluster_start(&p->cluster, p->scene) != 0 || cluster_install(&p->cluster) != 0)
		return -1;
	p->left_table = (_Atomic uint64_t *)(p->latency + 1);
	if (host_prepare(&p->host, p->scene, 0, &(struct host_options){.database = p->cluster.agent}) != 0 ||
		host_start(&p->host) != 0 || !host_wait_in_step(&p->host, 10000))
		return -1;
	if (stint_open(&p->stint, p->host.socket) != 0 || stint_limiter_new(&p->limiter, p->stint, &options) != 0)
		return -1;
	return start_redis(p);
}

static int play(const struct scene *scene) {
	static struct play p;

	p.scene = scene;
	if (set(&p) != 0 || compare(&p, 1) != 0 || compare(&p, PROCESSES_MAX) != 0)
		return 1;
	stint_limiter_free(p.limiter);
	stint_close(p.stint);
	host_stop(&p.host);
	process_stop(p.redis, 5000);
	cluster_close(&p.cluster);
	return 0;
}

int main(void) {
	return scene_run(play, 280);
}
