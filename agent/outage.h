/*
 * outage.h - each time that this host was on its own: how long, and what was admitted meanwhile. The database is
 * told once that is known, for the view stint.fallback_period.
 */
#ifndef STINT_OUTAGE_H
#define STINT_OUTAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "driver.h"

struct outage {
	const struct driver *driver;
	uint64_t count;
	/* Of the last one. */
	int64_t began_ns, ended_ns;
	int64_t lasted_ms;
	uint64_t admitted;
	uint64_t walk_end; /* how far the core walks until it has met all clients since */
	bool unreported;
};

/* Whenever the core has acted; `why` is the last trouble with the database. */
void outage_follow(struct outage *, enum core_state before, enum core_state now, const char *why);

#endif
