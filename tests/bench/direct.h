/*
 * direct.h - one connection to PostgreSQL and one prepared statement, called again and again, a round trip
 * each: what an app does that has no limiter between itself and the database.
 */
#ifndef BENCH_DIRECT_H
#define BENCH_DIRECT_H

#include "database/pg.h"

/* A limiter of one table and one statement for each check, with a client's id as its parameter. */
#define DIRECT_TABLE                                                                                              \
	"create table naive (client_id text collate \"C\" primary key,"                                               \
	" window_at bigint not null, count int not null) with (fillfactor = 80)"
#define DIRECT_UPSERT                                                                                             \
	"insert into naive as n values ($1, (extract(epoch from clock_timestamp()) / 60)::bigint, 1)"                 \
	" on conflict (client_id) do update set"                                                                      \
	" count = case when n.window_at = excluded.window_at then n.count else 0 end + 1,"                            \
	" window_at = excluded.window_at returning count"

/* Connects and prepares. 0 or -1, with a line on stderr. */
int direct_open(struct pg **out, const char *conninfo, const char *sql);
/* Runs it; returns how many rows came back, -1 with a line on stderr. */
int direct_call(struct pg *, const struct pg_params *params);

#endif
