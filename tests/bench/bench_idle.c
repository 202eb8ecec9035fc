/*
 * bench_idle.c - what agents ask of the database while nobody checks anything: transactions, and those of them
 * that write, of 16 and of 64 agents; each should cost the same however many there are. And what 500 would, if
 * that holds.
 */
#include <stdio.h>

#include "clock.h"
#include "cluster.h"
#include "figure.h"
#include "host.h"
#include "quick.h"
#include "scene.h"

#define ROW         13
#define FEW         16u
#define MANY        64u
#define FLEET       500.0
#define IN_STEP_MS  30000
#define SETTLE_MS   5000 /* what follows a start is over by then */
#define RUN_MS      30000
#define MAX_CLIENTS 1000
#define AT_MOST     200 /* transactions a second, of such a fleet ... */
#define WRITES      100 /* ... and those that write */

struct play {
	struct cluster cluster;
	struct host hosts[MANY];
	uint32_t started;
};

/* A second, of each agent. */
struct use {
	double transactions, writes;
};

static int start_until(struct play *p, const struct scene *scene, uint32_t count) {
	for (; p->started < count; p->started++) {
		struct host *host = &p->hosts[p->started];
		char name[32];

		snprintf(name, sizeof(name), "host-%u", p->started);
		if (host_prepare(host, scene, p->started,
		                 &(struct host_options){.database = p->cluster.agent,
		                                        .max_clients = MAX_CLIENTS,
		                                        .name = name}) != 0 ||
		    host_start(host) != 0)
			return -1;
	}
	for (uint32_t h = 0; h < count; h++)
		if (!host_wait_in_step(&p->hosts[h], IN_STEP_MS))
			return -1;
	return 0;
}

static double number(struct play *p, const char *sql) {
	return (double)cluster_number(&p->cluster, sql, 0);
}

static struct use look(struct play *p) {
	return (struct use){number(p, "select xact_commit from pg_stat_database where datname = 'stint'"),
	                    number(p, "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint")};
}

static struct use measure(struct play *p, uint32_t agents) {
	sleep_ms(SETTLE_MS);
	struct use before = look(p);

	sleep_ms(quick_ms(RUN_MS));
	struct use after = look(p);
	double all = (double)agents * quick_ms(RUN_MS) / 1e3;

	return (struct use){(after.transactions - before.transactions) / all, (after.writes - before.writes) / all};
}

static void put(const char *what, double many, double few, double at_most) {
	char text[128];

	snprintf(text, sizeof(text), "64 idle agents: %s, each", what);
	figure_put(&(struct figure){
		.row = ROW, .what = text, .unit = "/s", .value = many, .against = "16 agents", .base = few});
	snprintf(text, sizeof(text), "500 idle agents, if each costs the same: %s", what);
	figure_put(&(struct figure){.row = ROW,
	                            .what = text,
	                            .unit = "/s",
	                            .value = many * FLEET,
	                            .target = FIGURE_AT_MOST,
	                            .bound = at_most});
}

static int play(const struct scene *scene) {
	static struct play p;
	struct use few, many;
	int status = cluster_start(&p.cluster, scene) == 0 ? cluster_install(&p.cluster) : -1;

	if (status != 0 || start_until(&p, scene, FEW) != 0)
		return 1;
	few = measure(&p, FEW);
	if (start_until(&p, scene, MANY) != 0)
		return 1;
	many = measure(&p, MANY);
	put("transactions", many.transactions, few.transactions, AT_MOST);
	put("transactions that write", many.writes, few.writes, WRITES);
	for (uint32_t h = 0; h < p.started; h++)
		host_stop(&p.hosts[h]);
	cluster_close(&p.cluster);
	return 0;
}

int main(void) {
	return scene_run(play, 240);
}
