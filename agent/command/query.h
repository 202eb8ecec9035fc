/*
 * query.h - SQL for the command line: connect, run one statement, print what
 * came back, report what went wrong.
 */
#ifndef STINT_QUERY_H
#define STINT_QUERY_H

#include <jansson.h>
#include <stdbool.h>

#define QUERY_PARAMS_MAX 8

struct command_call;
struct pg;

/* A time for people and programs alike, whatever the session's settings: ISO 8601, UTC, milliseconds. */
#define QUERY_TIME(expression) "to_char(" expression " at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"

/*
 * The rows of `select` as an array of objects, which the caller owns; NULL: failed, nothing is reported and
 * *pg_error is an enum pg_error (PG_OK: out of memory).
 */
json_t *query_objects(struct pg *, const char *select, int param_count, const char *const *params, int *pg_error);

/* Prints the rows, as a table or as JSON; connects for it. An enum command_exit, reported. */
int query_print(const struct command_call *, const char *select, int param_count, const char *const *params,
                bool as_json);

/*
 * The two parts of it, for who has something to do to the rows in between: NULL for lack of memory is reported by the
 * second, which takes over the reference.
 */
int query_fetch(const struct command_call *, const char *select, int param_count, const char *const *params,
                json_t **objects);
int query_show(const struct command_call *, json_t *objects, bool as_json);

/* Runs a statement whose rows don't matter; connects for it. An enum command_exit, reported. */
int query_run(const struct command_call *, const char *sql, int param_count, const char *const *params);

#endif
