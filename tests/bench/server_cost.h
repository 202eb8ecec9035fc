/*
 * server_cost.h - what a PostgreSQL of a benchmark has done until now: its write-ahead log, and the time of all
 * its processes.
 */
#ifndef BENCH_SERVER_COST_H
#define BENCH_SERVER_COST_H

#include "cluster.h"

struct server_cost {
	double wal_bytes, cpu_ms;
};

struct server_cost server_cost_look(struct cluster *);

#endif
