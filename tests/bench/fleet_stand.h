/*
 * fleet_stand.h - a fleet of a benchmark: a PostgreSQL of its own, agents, a limiter on each, and what all of them
 * have counted.
 */
#ifndef BENCH_FLEET_STAND_H
#define BENCH_FLEET_STAND_H

#include "cluster.h"
#include "fault_proxy.h"
#include "host.h"
#include "scene.h"
#include "stint.h"

#define STAND_HOSTS 8u

struct stand_options {
	const char *name; /* of the policy, and of the database's folder */
	uint32_t number;  /* of the first host: no two stands of a scene may share one */
	uint32_t hosts;
	uint32_t rtt_ms; /* to the database and back, on top of what it takes; 0: no proxy */
	int max_clients;
	int64_t limit, window_ms;
};

struct stand {
	struct cluster cluster;
	struct fault_proxy proxies[STAND_HOSTS];
	struct host hosts[STAND_HOSTS];
	struct stint *apps[STAND_HOSTS];
	struct stint_limiter *limiters[STAND_HOSTS];
	uint32_t host_count;
};

/* What was done until now, by all agents and by the server. */
struct stand_counts {
	double wants; /* checks that asked an agent */
	double statements, rows;
	double wal_bytes, cpu_ms;
};

/* 0 or -1, with a line on stderr. */
int stand_set(struct stand *, const struct scene *scene, const struct stand_options *options);
struct stand_counts stand_look(struct stand *);
void stand_strike(struct stand *);

#endif
