/* counters.h - what the agent counts, one counter a line: X(name, number). `stint status` shows these names. */
#ifndef STINT_COUNTERS_H
#define STINT_COUNTERS_H

#include "core/core.h"

/* `c` is a struct core_counters, `core` the core. */
#define COUNTERS(X, c, core)                                                                                      \
	X(wants, c->wants)     /* checks that apps had to ask the agent about */                                      \
	X(lows, c->lows)       /* hints that a client's credits run low */                                            \
	X(allowed, c->allowed) /* verdicts */                                                                         \
	X(denied, c->denied)                                                                                          \
	X(batches, c->batches)   /* statements that ask the database for leases */                                    \
	X(requests, c->requests) /* clients in them */                                                                \
	X(granted, c->granted)   /* credits */                                                                        \
	X(returned, c->returned)                                                                                      \
	X(charged, c->charged)                                                                                        \
	X(late, c->late)                              /* grants that came too late to be used */                      \
	X(busy, c->busy)                              /* requests put off, as somebody had locked the row */          \
	X(unserved, c->unserved)                      /* checks denied as a row can't be had */                       \
	X(fallback_admitted, c->fallback_granted)     /* credits, in this fallback or the last one */                 \
	X(shared_admitted, core_shared_granted(core)) /* credits, to clients that had no room */

#endif
