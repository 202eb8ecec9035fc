/*
 * grant.h - the arithmetic of the windows: how many credits a client may have
 * now. Pure: no clock, no storage. The same function as stint.take() in
 * sql/, for the memory store and the fallback; a test feeds both the same
 * histories.
 *
 * The window is cut into sub-windows of `sub_window_us`; a ring keeps how much
 * was charged to each. Credits charged to sub-window j may be spent only in j,
 * and every run of runs + 1 consecutive sub-windows sums to at most the limit.
 * Any interval as long as the window touches at most runs + 1 sub-windows, so it
 * never holds more than the limit. A fixed window is one sub-window with runs 0.
 */
#ifndef STINT_GRANT_H
#define STINT_GRANT_H

#include <stdint.h>

#include "store.h"

#define GRANT_RESOLUTION_MAX 60
/* The sub-windows of a run, the one before them, which a request of a moment ago may still be for, and the next
 * one. */
#define GRANT_RING_MAX (GRANT_RESOLUTION_MAX + 2)

/* If a time is behind the ring by more than this, the clock has stepped back; if by less, the time was read before
 * a wait. The database ends a statement that takes longer. */
#define GRANT_STALE_US INT64_C(2000000)

struct grant_ring {
	int64_t head_us;       /* start of the newest sub-window */
	int64_t sub_window_us; /* 0: a client never seen */
	int length;
	int32_t counts[GRANT_RING_MAX]; /* newest first */
};

struct grant_terms {
	int32_t max_requests;  /* 0: blocked */
	int64_t sub_window_us; /* at least 1000 */
	int runs;              /* resolution, or 0 for a fixed window */
	int64_t phase_us;      /* 0 .. sub_window_us - 1; of a new client's edges */
	/* by how much runs sub-windows are longer than the window; not used in the arithmetic */
	int64_t slack_us;
};

/*
 * How long a sub-window is. In a sliding window it is slightly longer than its part of the window: all of them
 * together are half a percent of the window longer, which is the slack. So an interval of the window's length
 * touches no more sub-windows than it should even if credits are spent too early or too late by up to half of the
 * slack. A host needs that, since it knows the edges only to a round trip, and to what its clock gains or loses;
 * that is a thousandth of the lease's length at most (see lease_ends_ns()), so the slack grows with the window.
 * The database computes the same.
 */
#define GRANT_SLACK_DIVISOR 200
int64_t grant_sub_window_us(int64_t time_window_ms, int resolution);

/* After the end of a sub-window's leases, what was charged to it counts for so long. (The leases last half of the
 * slack longer than the sub-window.) */
static inline int64_t grant_weighs_ms(const struct grant_terms *terms) {
	return (terms->runs * terms->sub_window_us - terms->slack_us / 2 + 999) / 1000;
}

static inline int64_t grant_window_ms(const struct grant_terms *terms) {
	return ((terms->runs > 0 ? terms->runs : 1) * terms->sub_window_us - terms->slack_us) / 1000;
}

/* Applies returns, charges and grants of `request` at time t_us, answers in *out. */
void grant_take(struct grant_ring *ring, const struct grant_terms *terms, const struct lease_request *request,
                int64_t t_us, int hosts, struct lease_grant *out);

#endif
