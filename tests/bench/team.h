/*
 * team.h - processes that do the same work at the same time, and how much of it they get done.
 */
#ifndef BENCH_TEAM_H
#define BENCH_TEAM_H

#include <stdint.h>

/* A piece of work, short beside the run, in the index-th process; returns how many checks it was. */
struct team_job {
	uint64_t (*work)(void *arg, int index);
	void *arg;
};

/* Forks `processes`, lets them work for `ms`, and returns what they did per second, all together; negative,
 * with a line on stderr: one of them could not be started, or did not end well. */
double team_rate(const struct team_job *, int processes, int ms);

#endif
