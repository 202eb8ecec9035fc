/*
 * herd.h - hundreds of agents of one PostgreSQL, each a host of its own, as far as one machine can have them.
 */
#ifndef BENCH_HERD_H
#define BENCH_HERD_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster.h"
#include "host.h"
#include "scene.h"

#define HERD_MAX 200u

struct herd {
	struct cluster cluster;
	struct host hosts[HERD_MAX];
	pid_t told_to_end[HERD_MAX]; /* that one of the host's agents isn't the one that is waited for */
	uint32_t count;
};

/* Makes a PostgreSQL with the schema, and so many agents that are all in step. 0 or -1, with a line on stderr. */
int herd_start(struct herd *, const struct scene *scene, uint32_t count);
/* All agents are told to stop, evenly within so many ms, and each is started again when it has ended. Returns when
 * the last one is told so: then agents may be missing yet. */
void herd_restart(struct herd *, uint32_t within_ms);
/* Waits until all are in step, and starts those that have ended meanwhile. */
bool herd_wait_in_step(struct herd *, int timeout_ms);
/* CPU time of all agents until now, with those that have ended. */
double herd_cpu_ms(const struct herd *);
/* How many lines of all their logs have a text. */
int herd_log_count(const struct herd *, const char *text);
void herd_stop(struct herd *);

#endif
