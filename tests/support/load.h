/*
 * load.h - which check an app process makes next: a policy by its share, a
 * client of it by its weight, a cost by chance; all from the plan's seed.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdint.h>

#include "journal.h"

struct load {
	const struct journal_plan *plan;
	uint64_t random;
	uint64_t made; /* with each_once: the next client */
	double *edges; /* of all (policy, client) pairs, cumulated: 0 ... 1 */
	uint32_t pairs;
};

struct load_check {
	uint32_t policy;
	uint32_t client;
	uint32_t cost;
};

int load_init(struct load *, const struct journal_plan *plan, uint64_t seed); /* 0 or -1: out of memory */
void load_free(struct load *);
/* False when there is nothing left to do (each_once). */
bool load_next(struct load *, struct load_check *check);

#endif
