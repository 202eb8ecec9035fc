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
#define WRK_PATHS_MAX 16

struct wrk_options {
	const char *name;                 /* of its folder in the scene; NULL: wrk */
	int port;                         /* on 127.0.0.1 */
	const char *paths[WRK_PATHS_MAX]; /* one of them is asked for, by chance */
	int weights[WRK_PATHS_MAX];       /* all 0: each as often */
	int delay_ms;                     /* of each connection, before a request */
	uint64_t seed;
	uint32_t clients; /* the n-th path is of client n % clients; 0: each of one of its own */
	uint8_t host;     /* of all that is admitted */
};

struct wrk {
	pid_t pid;
	char dir[108], log[120];
	uint32_t clients;
	uint8_t host;
};

/* What its answers were. */
struct wrk_sum {
	int admitted, rejected; /* 200 and 429 */
	int others, status;     /* neither; one of their statuses */
	int refused, late;      /* connections that were not taken; requests without an answer within 30 s */
};

bool wrk_is_there(void);
/* Starts it. 0 or -1. */
int wrk_start(struct wrk *, const struct scene *scene, const struct wrk_options *options);
/* Ends it; adds what was admitted to the oracle, and sorts it. What an answer's field X-Source says is the source.
 * 0, or -1 with its log on stderr. */
int wrk_stop(struct wrk *, struct oracle *oracle, struct wrk_sum *sum);

#endif
