/*
 * poisson.h - clients that send by a Poisson process each, every request to a random host, through libstint;
 * beside each check, an exact sliding log is asked about the same arrivals.
 *
 * Threads share the clients: together they are one Poisson process, of which each request is some client's. While
 * one waits for an answer the others go on, so that a client may have several checks under way, as in a fleet.
 */
#ifndef BENCH_POISSON_H
#define BENCH_POISSON_H

#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"
#include "stint.h"

/* A client's id is POISSON_ID with its number: not in the order of the clients. */
#define POISSON_ID "client-%08x"

static inline uint32_t poisson_number(uint32_t client) {
	return client * 2654435761u;
}

struct poisson_load {
	struct stint_limiter *const *limiters; /* of each host */
	uint32_t hosts, clients;
	double rate;    /* of a client, a second, on average */
	bool by_zipf;   /* the n-th client sends 1/n of what the first does; otherwise all the same */
	bool is_uneven; /* the n-th host is sent 1/n of what the first is */
	bool is_sticky; /* a client is always sent to the same host */
	int64_t limit, window_ms;
	uint32_t threads;
	uint32_t ramp_ms; /* each begins at some time within this: a client over its limit is admitted in bursts */
	uint64_t seed;
};

struct poisson_counts {
	uint64_t checks, exact, admitted; /* exact: what the log admits */
	uint64_t alone;                   /* of those that were admitted, by a fallback */
	uint64_t errors;
	uint64_t most; /* admissions of a client that were certainly within one window */
};

struct poisson;

/* NULL: a thread can't be started, or there is no memory. */
struct poisson *poisson_start(const struct poisson_load *);
struct poisson_counts poisson_look(struct poisson *);
void poisson_stop(struct poisson *); /* the logs are as they were */
void poisson_free(struct poisson *);

/* How long checks took, and how many were denied, but for those of clients whose number in the id is less. */
struct poisson_times {
	uint32_t least;
	struct histogram ns;
	uint64_t denied;
};

/* From now on they are noted there; NULL: nowhere. */
void poisson_time(struct poisson *, struct poisson_times *times);

/* A client sends so many at once to one host: what is admitted counts if it is within `within_ms` of the first. */
void poisson_burst(struct poisson *, uint32_t client, uint32_t checks, uint32_t within_ms);

#endif
