/*
 * bench_first_sight.c - the first check of a client that the host has not seen: one trip to the agent and one
 * to the database, one at a time, against one upsert of one row on a connection of one's own. In turns, client
 * by client, on the same server, which waits for its disk at each commit, as it does by default.
 */
#include <stdio.h>

#include "clock.h"
#include "cluster.h"
#include "direct.h"
#include "durations.h"
#include "figure.h"
#include "host.h"
#include "quick.h"
#include "stint.h"

#define CLIENTS 4000
/* Before these, plans and caches are cold. */
#define WARM_UP 200

static const char table[] =
	"create table naive (policy_id int, client_id text collate \"C\", window_at bigint not null, count int not null,"
	" primary key (policy_id, client_id)) with (fillfactor = 80)";
static const char upsert[] =
	"insert into naive as n values (1, $1, (extract(epoch from clock_timestamp()) / 60)::bigint, 1)"
	" on conflict (policy_id, client_id) do update set"
	" count = case when n.window_at = excluded.window_at then n.count else 0 end + 1, window_at = excluded.window_at"
	" returning count";

struct play {
	struct cluster cluster;
	struct host host;
	struct stint *stint;
	struct stint_limiter *limiter;
	struct pg *pg;
	struct durations check_ns, upsert_ns;
	uint32_t elsewhere; /* checks that the database did not decide */
};

static int set(struct play *p, const struct scene *scene) {
	struct stint_options options = {.policy = "first", .max_requests = 100, .time_window_ms = 60000};

	if (cluster_start(&p->cluster, scene) != 0 || cluster_install(&p->cluster) != 0)
		return -1;
	if (cluster_do(&p->cluster, "alter system set fsync = on") != 0 ||
	    cluster_do(&p->cluster, "select pg_reload_conf()") != 0 || cluster_do(&p->cluster, table) != 0)
		return -1;
	if (host_prepare(&p->host, scene, 0, &(struct host_options){.database = p->cluster.agent}) != 0 ||
	    host_start(&p->host) != 0 || !host_wait_in_step(&p->host, 10000))
		return -1;
	if (stint_open(&p->stint, p->host.socket) != 0 || stint_limiter_new(&p->limiter, p->stint, &options) != 0)
		return -1;
	return direct_open(&p->pg, p->cluster.conninfo, upsert);
}

static uint64_t time_check(struct play *p, const char *id) {
	uint64_t began = monotonic_ns();
	struct stint_result result;
	int status = stint_check(p->limiter, id, 1, &result);
	uint64_t took_ns = monotonic_ns() - began;

	p->elsewhere += status != 0 || result.source != STINT_SOURCE_DATABASE;
	return took_ns;
}

/* 0: it failed. */
static uint64_t time_upsert(struct play *p, const char *id) {
	struct pg_params params = {.count = 1, .values = {id}};
	uint64_t began = monotonic_ns();

	return direct_call(p->pg, &params) == 1 ? monotonic_ns() - began : 0;
}

static void put(const struct play *p, double fraction, const char *name, double bound) {
	char what[64];

	snprintf(what, sizeof(what), "first check of a client, one at a time: %s", name);
	figure_put(&(struct figure){.row = 5,
	                            .what = what,
	                            .unit = "us",
	                            .value = durations_quantile(&p->check_ns, fraction) / 1e3,
	                            .against = "one upsert by libpq",
	                            .base = durations_quantile(&p->upsert_ns, fraction) / 1e3,
	                            .target = FIGURE_AT_MOST,
	                            .bound = bound});
}

static int play(const struct scene *scene) {
	static struct play p;
	char id[32];

	if (set(&p, scene) != 0 || durations_open(&p.check_ns, CLIENTS) != 0 ||
	    durations_open(&p.upsert_ns, CLIENTS) != 0)
		return 1;
	for (int i = 0; i < quick_ms(CLIENTS) + WARM_UP; i++) {
		uint64_t check_ns, upsert_ns;

		snprintf(id, sizeof(id), "client-%08d", i);
		check_ns = time_check(&p, id);
		upsert_ns = time_upsert(&p, id);
		if (upsert_ns == 0)
			return 1;
		if (i < WARM_UP) {
			p.elsewhere = 0;
			continue;
		}
		durations_add(&p.check_ns, check_ns);
		durations_add(&p.upsert_ns, upsert_ns);
	}
	durations_sort(&p.check_ns);
	durations_sort(&p.upsert_ns);
	put(&p, 0.5, "p50", 2);
	put(&p, 0.99, "p99", 3);
	durations_close(&p.check_ns);
	durations_close(&p.upsert_ns);
	figure_put(&(struct figure){.row = 5,
	                            .what = "first checks that were not decided by the database",
	                            .unit = "checks",
	                            .value = p.elsewhere});
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
