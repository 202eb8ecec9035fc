/*
 * metrics_server.h - answers HTTP's GET /metrics, in the agent's event loop. One answer a connection, to a few
 * connections at a time: a scrape is made every some seconds, by one.
 */
#ifndef STINT_METRICS_SERVER_H
#define STINT_METRICS_SERVER_H

#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct metrics_server;

/* Where the text comes from, in pieces: see scraper.h. */
typedef void metrics_sink(void *context, const char *text, size_t size, bool more);
struct metrics_source {
	void *(*begin)(void *context, metrics_sink *, void *sink_context);
	void (*cancel)(void *job);
	void *context;
};

#define METRICS_SERVER_ERROR_MAX 256

/* Starts to listen at `where`, as metrics_address.h has it. Returns 0, or -1 with a sentence in error. */
int metrics_server_new(struct metrics_server **out, struct event_base *, const char *where,
                       const struct metrics_source *, char error[static METRICS_SERVER_ERROR_MAX]);
void metrics_server_free(struct metrics_server *); /* ends all connections; NULL is ignored */

#endif
