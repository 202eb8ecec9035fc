/*
 * wrk.h - wrk, the load generator, as a client whose admissions the oracle can judge: threads with one connection
 * each, whose answers wrk.lua notes with the time before the request and the time after the answer.
 */
#ifndef WRK_H
#define WRK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "oracle.h"
#include "scene.h"

#define WRK_THREADS   6
#define WRK_PATHS_MAX 8

struct wrk_options {
	int port;                         /* on 127.0.0.1 */
	const char *paths[WRK_PATHS_MAX]; /* one of them is asked for, by chance */
	int delay_ms;                     /* of each connection, before a request */
	uint64_t seed;
};

struct wrk {
	pid_t pid;
	char dir[108], log[120];
};

/* What its answers were. */
struct wrk_sum {
	int admitted, rejected; /* 200 and 429 */
	int others, status;     /* neither; one of their statuses */
	int refused, late;      /* connections that were not taken; requests without an answer within 30 s */
};

bool wrk_is_there(void);
/* A port of 127.0.0.1 that nobody uses; -1: none. */
int wrk_find_port(void);
/* Starts it. 0 or -1. */
int wrk_start(struct wrk *, const struct scene *scene, const struct wrk_options *options);
/* Ends it; adds what was admitted to the oracle, a path's number as the client, and sorts it. What an answer's
 * field X-Source says is the source. 0, or -1 with its log on stderr. */
int wrk_stop(struct wrk *, struct oracle *oracle, struct wrk_sum *sum);

#endif
