/*
 * grant.h - the arithmetic of the windows: how many credits a client may have now, and for how long. Pure: no
 * clock, no storage. The same function as stint.take() in sql/, for the memory store and the fallback; a test
 * feeds both the same histories.
 *
 * The window is cut into `runs` sub-windows. A lease is good from now to the end of some sub-window, and its
 * credits are charged to that one, the last in which they can be spent. A ring keeps how much is charged to each,
 * also to those to come. A grant in sub-window j looks at two sums, with K = runs:
 *
 *      run 1   what is charged to j - K and all later ones, but for what can't be spent before j + 1
 *      run 2   what is charged to j + 1 - K and all later ones
 *
 * and neither may exceed the limit with what is granted. A lease ahead is good from j + 1 on, and looks at the
 * second alone.
 *
 * Why that is enough. An interval as long as the window touches at most K + 1 sub-windows, a to a + K. What is
 * admitted in it was granted to be spent from a + K at the latest, and is charged to a or later. Consider the
 * last of these grants, and the sub-window s from which on it can be spent, which is a + K at most. All of them
 * were in the sum that was looked at, since that goes back to s - K, which is a at the latest. So all of them are
 * within the limit.
 *
 * A fixed window is one sub-window, with K = 0: each counts for itself.
 */
#ifndef STINT_GRANT_H
#define STINT_GRANT_H

#include <stdint.h>

#include "store.h"

#define GRANT_RESOLUTION_MAX 60
/* From K sub-windows before the present one to K after it. (A fixed window has the next one, too.) */
#define GRANT_RING_MAX (2 * GRANT_RESOLUTION_MAX + 1)

/* If a time is behind the ring by more than this, the clock has stepped back; if by less, the time was read before
 * a wait. The database ends a statement that takes longer. */
#define GRANT_STALE_US INT64_C(2000000)

/* What is reported as spent may have been admitted so much later: see SPEND_LAG_NS in lib/. */
#define GRANT_SPEND_LAG_US INT64_C(220000)

/* Hosts are told apart by a number below this. Some may share one; then their shares are a little larger. */
#define GRANT_HOSTS 63

struct grant_ring {
	int64_t current_us;    /* start of the sub-window of the last request */
	int64_t sub_window_us; /* 0: a client never seen */
	int ahead;             /* counts[0] is of so many sub-windows after that one */
	int length;
	int32_t early; /* of what is charged to sub-windows after the current one: not to be spent before the next */
	/* the hosts that were granted something, a bit each: in the present stretch of `runs` sub-windows, and in the
	 * one before */
	int64_t servers, servers_before;
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

/*
 * Near the limit, leases are brief: for a tenth of the window or so. A shorter one would be asked for more often;
 * a longer one counts for longer than it is of use. So a finer cut of the window makes the limit more exact, but
 * leases no shorter. For how many sub-windows after its first such a lease is good, at least span_least: one from
 * now on, and one ahead, which may not reach further than the longest leases do.
 */
#define GRANT_BRIEF_PART 10
int grant_brief_span(const struct grant_terms *terms, int span_least);
int grant_ahead_span(const struct grant_terms *terms, int span_least);

/* For how many sub-windows after the present one a lease may last, by what is left. What is charged to a later
 * sub-window counts for longer. So the less there is left, the shorter: `span`, as asked for, while half of the
 * limit is left, a brief one with a quarter. */
int grant_span_by_left(const struct grant_terms *terms, int span, int span_least, int64_t left);

/* Applies reports, charges and grants of `request` of this host (0 to GRANT_HOSTS - 1) at time t_us, answers in
 * *out. */
void grant_take(struct grant_ring *ring, const struct grant_terms *terms, const struct lease_request *request,
                int64_t t_us, int host, struct lease_grant *out);

#endif
