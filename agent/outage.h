/*
 * outage.h - follows each time that this host is on its own: how long it lasts, and what is admitted meanwhile.
 * Once both are known, they are reported to the database, for the view stint.fallback_period.
 */
#ifndef STINT_OUTAGE_H
#define STINT_OUTAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "driver.h"

struct outage {
	const struct driver *driver;
	uint64_t count;
	/* The last one. */
	int64_t began_ns, ended_ns;
	int64_t lasted_ms;
	uint64_t admitted;
	uint64_t admitted_before; /* in all that are over, as far as it is known */
	uint64_t walk_end;        /* how far the core walks until it has met all clients since */
	bool unreported;
};

/* To be called whenever the core has acted; `why` is the last trouble with the database. */
void outage_follow(struct outage *, enum core_state before, enum core_state now, const char *why);

#endif
