/*
 * after.h - the other app of a host: after a kill it uses up what the killed app's client has left, and
 * nothing may hold it up.
 */
#ifndef AFTER_H
#define AFTER_H

#include <stdint.h>

#include "stint.h"

struct other {
	struct stint *stint;
	struct stint_limiter *limiter;
	int64_t limit;
	uint64_t checks;
	uint64_t worst_ns; /* how long the longest check took */
	uint64_t alone;    /* checks decided without an agent: they are repeated, and don't count as admitted */
	uint64_t errors;
};

int other_attach(struct other *, const char *socket, const struct stint_options *options); /* 0 or an error */
void other_detach(struct other *);
/* Makes one check, and repeats it while there is no agent. Gives the cost when it was admitted, else 0. */
int64_t other_take(struct other *, const char *id, uint32_t cost);
/* Checks until the client is denied. Gives how many were admitted; more than the limit when it is never denied. */
int64_t other_use_up(struct other *, const char *id);

#endif
