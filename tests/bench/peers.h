/*
 * peers.h - one endpoint, limited by several limiters: what each needs is started here, and each is run here.
 */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include <stdio.h>

#include "cluster.h"
#include "histogram.h"
#include "host.h"
#include "redis.h"
#include "stint.h"

#define PEERS_SOURCES 6u /* enum stint_source, and 0 */

struct peers_sources {
	uint64_t by[PEERS_SOURCES]; /* how many checks */
};

struct peers {
	struct cluster cluster;
	struct host host;
	struct redis redis;
	struct stint *stint;
	struct stint_limiter *limiter;
	struct peers_shared *shared;
	struct peers_sources sources; /* of all runs of stint */
};

/* A run of rate-limiter-flexible: "postgres", "redis" or "memory". */
struct peers_node {
	const char *store;
	int processes, in_flight;
};

/* Starts PostgreSQL, an agent, Redis; installs what Node needs. 0 or -1, with a line on stderr. */
int peers_open(struct peers *, const struct scene *scene);
void peers_close(struct peers *);

/* Each runs rate_ms for the rate, which it returns: checks per second of all processes. Then latency_ms for the
 * durations, which are added to *ns. Negative, with a line on stderr: it failed, or a check was denied. */
double peers_run_stint(struct peers *, int processes, int rate_ms, int latency_ms, struct histogram *ns);
double peers_run_redis(struct peers *, int processes, int rate_ms, int latency_ms, struct histogram *ns);
double peers_run_node(struct peers *, const struct peers_node *node, int rate_ms, int latency_ms,
                      struct histogram *ns);

#endif
