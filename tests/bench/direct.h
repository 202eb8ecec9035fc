/*
 * direct.h - one connection to PostgreSQL and one prepared statement, called again and again, a round trip
 * each: what an app does that has no limiter between itself and the database.
 */
#ifndef BENCH_DIRECT_H
#define BENCH_DIRECT_H

#include "database/pg.h"

/* Connects and prepares. 0 or -1, with a line on stderr. */
int direct_open(struct pg **out, const char *conninfo, const char *sql);
/* Runs it; returns how many rows came back, -1 with a line on stderr. */
int direct_call(struct pg *, const struct pg_params *params);

#endif
