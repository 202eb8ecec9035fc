/*
 * query.h - SQL for the command line: connects, runs one statement, prints what
 * comes back, reports what goes wrong.
 */
#ifndef STINT_QUERY_H
#define STINT_QUERY_H

#include <jansson.h>
#include <stdbool.h>

struct command_call;
struct pg;

/* How times are shown to people and programs alike, whatever the session's settings: ISO 8601, UTC, milliseconds.
 * A parameter of to_char(TIME at time zone 'UTC', $1). */
#define QUERY_TIME_FORMAT "YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\""

/* Connects and prints the rows, as a table or as JSON. If there are none of the policy that the command is about,
 * as there is no such policy, that is an error. Returns an enum command_exit; has reported errors. */
int query_print(const struct command_call *, const char *select, int param_count, const char *const *params,
                bool as_json);

/*
 * The two parts of query_print(), for callers that change the rows in between. query_show() takes over the
 * reference; it also reports lack of memory, when `objects` is NULL.
 */
int query_fetch(const struct command_call *, const char *select, int param_count, const char *const *params,
                json_t **objects);
int query_show(const struct command_call *, json_t *objects, bool as_json);

#endif
