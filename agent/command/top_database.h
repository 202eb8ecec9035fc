/*
 * top_database.h - what `stint top` asks the database, again and again: hosts, and the clients that use most.
 *
 * The database may be away, hang, or be slow: an answer is waited for no longer than a few seconds, and the longer
 * it took, the longer the database is left in peace before it is asked again. What it said last stays meanwhile.
 */
#ifndef STINT_TOP_DATABASE_H
#define STINT_TOP_DATABASE_H

#include <jansson.h>
#include <stdint.h>

struct pg;

/* Begins as {.conninfo = ...}. */
struct top_database {
	const char *conninfo; /* NULL: libpq's own defaults */
	struct pg *pg;        /* NULL: not connected */
	json_t *said;         /* an object with the arrays "hosts" and "clients"; NULL: the last attempt failed */
	int64_t said_ms;      /* when, on the monotonic clock */
	int64_t next_ms;      /* it isn't asked before */
	char error[1300];     /* why there is nothing; "": there is */
};

/* Asks, unless it is too early for that. row_count: of clients. */
void top_database_ask(struct top_database *, int64_t row_count);
void top_database_close(struct top_database *);

#endif
