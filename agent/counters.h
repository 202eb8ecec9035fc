/*
 * counters.h - what the agent counts, one counter a line: X(name, number, meaning). `stint status` shows names and
 * meanings. Who uses the numbers includes core/core.h.
 */
#ifndef STINT_COUNTERS_H
#define STINT_COUNTERS_H

/* `c` is a struct core_counters, `core` the core. */
#define COUNTERS(X, c, core)                                                                                      \
	X(wants, c->wants, "checks that apps had to ask the agent about")                                             \
	X(lows, c->lows, "hints of apps that a client's credits run low")                                             \
	X(allowed, c->allowed, "of these checks; most are decided from the table, and not counted")                   \
	X(denied, c->denied, "of these checks")                                                                       \
	X(batches, c->batches, "statements that asked the database for leases")                                       \
	X(requests, c->requests, "clients in them")                                                                   \
	X(granted, c->granted, "credits that were leased to this host, by itself in a fallback")                      \
	X(returned, c->returned, "credits that were given back, unspent")                                             \
	X(charged, c->charged, "credits that were spent first, and charged afterwards")                               \
	X(late, c->late, "grants that came too late to be used")                                                      \
	X(busy, c->busy, "requests put off, as somebody had locked the row")                                          \
	X(unserved, c->unserved, "checks denied, as a row could not be had")                                          \
	X(fallback_admitted, c->fallback_granted, "credits, in this fallback or the last one")                        \
	X(shared_admitted, core_shared_granted(core), "credits, to clients that had no room of their own")

#endif
