/*
 * bench_cold_start.c - 64 processes that all wait for clients never seen before: what the agent's batches
 * carry, against one connection that writes batches of the same size by a statement with nothing in it but the
 * upsert. In turns, on the same server.
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
#include "sample.h"
#include "stint.h"
#include "team.h"

#define PROCESSES 64
#define ROUNDS    5
#define RUN_MS    2000
#define BATCH_MAX 1024

static const char table[] =
	"create table naive (policy_id int, client_id text collate \"C\", window_at bigint not null, count int not null,"
	" primary key (policy_id, client_id)) with (fillfactor = 80)";
static const char upsert[] =
	"insert into naive as n select 1, a.client_id, 1, 1 from unnest($1::text[]) a (client_id) order by a.client_id collate \"C\""
	" on conflict (policy_id, client_id) do update set count = n.count + 1 returning client_id, count";

struct play {
	struct cluster cluster;
	struct host host;
	struct stint *stint;
	struct stint_limiter *limiter;
	struct pg *pg;
	_Atomic uint32_t *next; /* client, of all processes */
	uint32_t raw_next;
	struct samples checks_per_s, rows_per_s, batch;
};

static int set(struct play *p, const struct scene *scene) {
	struct stint_options options = {.policy = "cold", .max_requests = 100, .time_window_ms = 60000};

	p->next = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p->next == MAP_FAILED || cluster_start(&p->cluster, scene) != 0 || cluster_install(&p->cluster) != 0 ||
	    cluster_do(&p->cluster, "alter system set fsync = on") != 0 ||
	    cluster_do(&p->cluster, "select pg_reload_conf()") != 0 || cluster_do(&p->cluster, table) != 0)
		return -1;
	if (host_prepare(&p->host, scene, 0,
	                 &(struct host_options){.database = p->cluster.agent, .max_clients = 2000000}) != 0 ||
	    host_start(&p->host) != 0 || !host_wait_in_step(&p->host, 10000))
		return -1;
	if (stint_open(&p->stint, p->host.socket) != 0 || stint_limiter_new(&p->limiter, p->stint, &options) != 0)
		return -1;
	return direct_open(&p->pg, p->cluster.conninfo, upsert);
}

/* Random in the first digits, so that the keys of a batch are all over the index, as clients are. */
static int name(char id[static 32], uint32_t client) {
	return snprintf(id, 32, "%08x-client", (unsigned)(client * 2654435761u));
}

static uint64_t check_new(void *arg, int index) {
	struct play *p = arg;
	struct stint_result result;
	uint64_t decided = 0;
	char id[32];

	(void)index;
	name(id, atomic_fetch_add(p->next, 1));
	if (stint_check(p->limiter, id, 1, &result) == 0)
		decided = result.source == STINT_SOURCE_DATABASE;
	return decided;
}

static int run_checks(struct play *p) {
	int64_t batches = host_number(&p->host, "counters", "batches"),
			requests = host_number(&p->host, "counters", "requests");
	double rate = team_rate(&(struct team_job){check_new, p}, PROCESSES, quick_ms(RUN_MS));

	if (rate <= 0)
		return -1;
	samples_add(&p->checks_per_s, rate);
	batches = host_number(&p->host, "counters", "batches") - batches;
	requests = host_number(&p->host, "counters", "requests") - requests;
	samples_add(&p->batch, (double)requests / (double)(batches > 0 ? batches : 1));
	return 0;
}

/* Writes {a,b,c}. */
static void list(struct play *p, uint32_t size, char *text) {
	char id[32];
	char *at = text;

	for (uint32_t i = 0; i < size; i++) {
		name(id, p->raw_next++);
		at += sprintf(at, "%c%s", i == 0 ? '{' : ',', id);
	}
	strcpy(at, "}");
}

static int run_raw(struct play *p, uint32_t size) {
	static char text[BATCH_MAX * 32];
	uint64_t began = monotonic_ns(), rows = 0;

	while (monotonic_ns() - began < (uint64_t)quick_ms(RUN_MS) * NS_PER_MS) {
		struct pg_params params = {.count = 1, .values = {text}};

		list(p, size, text);
		if (direct_call(p->pg, &params) != (int)size)
			return -1;
		rows += size;
	}
	samples_add(&p->rows_per_s, (double)rows * 1e9 / (double)(monotonic_ns() - began));
	return 0;
}

static int play(const struct scene *scene) {
	static struct play p;
	uint32_t size;

	if (set(&p, scene) != 0)
		return 1;
	for (int round = 0; round < ROUNDS; round++) {
		if (run_checks(&p) != 0)
			return 1;
		size = (uint32_t)(samples_median(&p.batch) + 0.5);
		if (run_raw(&p, size < 1 ? 1 : size > BATCH_MAX ? BATCH_MAX : size) != 0)
			return 1;
	}
	figure_put(&(struct figure){.row = 6,
	                            .what = "64 waiting processes, clients never seen before",
	                            .unit = "clients/s",
	                            .value = samples_median(&p.checks_per_s),
	                            .against = "bare batched upsert",
	                            .base = samples_median(&p.rows_per_s),
	                            .target = FIGURE_AT_LEAST,
	                            .bound = 0.6});
	figure_put(
		&(struct figure){.row = 6, .what = "clients in a batch", .unit = "", .value = samples_median(&p.batch)});
	stint_limiter_free(p.limiter);
	stint_close(p.stint);
	pg_close(p.pg);
	host_stop(&p.host);
	cluster_close(&p.cluster);
	return 0;
}

int main(void) {
	return scene_run(play, 180);
}
