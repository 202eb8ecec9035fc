/*
 * grant.c - the ring of counts: what a request may be granted of it.
 *
 * A request is applied in this order: what is given back is subtracted, what was spent moves to the present, what
 * is owed is charged as far as the limit goes, and then credits are granted: from now on, and from the next
 * sub-window on. Line by line the same as stint.take() in sql/; tests/sql/twin compares the two.
 *
 * Sub-windows are named by their distance from the present one: 1 is the next, -1 the last.
 */
#include "grant.h"

#include <stdbool.h>
#include <string.h>

#include "units.h"

/* Downwards even while t_us is smaller than the phase: soon after a machine's start by its own clock, with long
 * sub-windows. */
static int64_t align_down(int64_t t_us, int64_t phase_us, int64_t sub_window_us) {
	int64_t since_us = (t_us - phase_us) % sub_window_us;
	return t_us - (since_us < 0 ? since_us + sub_window_us : since_us);
}

/* ---- The ring ----------------------------------------------------------------- */

static int oldest(const struct grant_ring *ring) {
	return ring->ahead - ring->length + 1;
}

static int32_t count_at(const struct grant_ring *ring, int64_t distance) {
	return distance > ring->ahead || distance < oldest(ring) ? 0 : ring->counts[ring->ahead - distance];
}

/* What is charged to this sub-window and all later ones. */
static int64_t sum_since(const struct grant_ring *ring, int distance) {
	int64_t sum = 0;
	for (int i = 0; i < ring->length && ring->ahead - i >= distance; i++)
		sum += ring->counts[i];
	return sum;
}

/* Makes room for the sub-windows up to this one. */
static void reach(struct grant_ring *ring, int distance) {
	int more = distance - ring->ahead;
	if (more <= 0)
		return;
	memmove(ring->counts + more, ring->counts, (size_t)ring->length * sizeof(ring->counts[0]));
	memset(ring->counts, 0, (size_t)more * sizeof(ring->counts[0]));
	ring->length += more;
	ring->ahead = distance;
}

/* Sub-windows that no interval together with the present one touches don't count any more. */
static void forget_old(struct grant_ring *ring, const struct grant_terms *terms) {
	ring->length = (int)max64(0, min64(ring->length, ring->ahead + terms->runs + 1));
}

static void charge(struct grant_ring *ring, int distance, int64_t credits) {
	if (credits <= 0)
		return;
	reach(ring, distance);
	while (oldest(ring) > distance)
		ring->counts[ring->length++] = 0;
	int32_t *count = &ring->counts[ring->ahead - distance];
	*count = (int32_t)min64(INT32_MAX, *count + credits);
}

static void discharge(struct grant_ring *ring, int64_t distance, int64_t credits) {
	if (credits > 0)
		ring->counts[ring->ahead - distance] -= (int32_t)credits;
}

/* Without the zeros at both ends; the ring never begins before the present. */
static void trim(struct grant_ring *ring) {
	int zeros = 0;
	while (zeros < ring->ahead && zeros < ring->length && ring->counts[zeros] == 0)
		zeros++;
	memmove(ring->counts, ring->counts + zeros, (size_t)(ring->length - zeros) * sizeof(ring->counts[0]));
	ring->length -= zeros;
	ring->ahead -= zeros;
	while (ring->length > 0 && ring->counts[ring->length - 1] == 0)
		ring->length--;
	if (ring->length == 0)
		ring->ahead = 0;
}

/* ---- To the present ------------------------------------------------------------- */

static int64_t stretch_us(const struct grant_terms *terms) {
	return max64(1, terms->runs) * terms->sub_window_us;
}

/* Who served the client in this stretch of sub-windows, and in the one before. */
static void turn_servers(struct grant_ring *ring, const struct grant_terms *terms, int64_t before_us) {
	int64_t turns = ring->current_us / stretch_us(terms) - before_us / stretch_us(terms);
	if (turns == 0)
		return;
	ring->servers_before = turns == 1 ? ring->servers : 0;
	ring->servers = 0;
}

/* Other sub-windows than before: each old count moves to the one that holds the end of its own, so it is counted
 * no earlier than it can be spent. Leases that reach further than the new window are ended by their agents. */
static void recut(struct grant_ring *ring, const struct grant_terms *terms, int64_t t_us) {
	struct grant_ring old = *ring;
	ring->sub_window_us = terms->sub_window_us;
	ring->current_us = align_down(t_us, terms->phase_us, terms->sub_window_us);
	ring->ahead = ring->length = 0;
	ring->early = 0;
	for (int i = old.length - 1; i >= 0; i--) {
		int64_t last_us = old.current_us + (old.ahead - i + 1) * old.sub_window_us - 1;
		int64_t edge_us = align_down(last_us, terms->phase_us, terms->sub_window_us);
		int64_t distance = min64((edge_us - ring->current_us) / ring->sub_window_us, terms->runs);
		if (distance >= -terms->runs)
			charge(ring, (int)distance, old.counts[i]);
	}
}

/* Brings the ring to t_us; returns the time that counts, which is never before what the ring has seen. */
static int64_t advance(struct grant_ring *ring, const struct grant_terms *terms, int64_t t_us) {
	if (ring->sub_window_us == 0) {
		ring->sub_window_us = terms->sub_window_us;
		ring->current_us = align_down(t_us, terms->phase_us, terms->sub_window_us);
		return t_us;
	}
	int64_t before_us = ring->current_us;
	if (t_us < ring->current_us - GRANT_STALE_US) {
		/* The clock was set back: the present sub-window begins now, and leases end no later than it says. */
		ring->current_us = t_us;
		ring->early = 0;
	}
	t_us = max64(t_us, ring->current_us);
	if (ring->sub_window_us != terms->sub_window_us) {
		recut(ring, terms, t_us);
	} else {
		int64_t steps = (t_us - ring->current_us) / ring->sub_window_us;
		ring->current_us += steps * ring->sub_window_us;
		ring->early = steps > 0 ? 0 : ring->early;
		ring->ahead = (int)max64(ring->ahead - steps, -GRANT_RING_MAX);
		forget_old(ring, terms);
		if (ring->length == 0)
			ring->ahead = 0;
		reach(ring, 0);
	}
	turn_servers(ring, terms, before_us);
	return t_us;
}

/* ---- What is reported ----------------------------------------------------------- */

/* Credits that were charged to a later sub-window are so no more. They may be the early ones, or others that are
 * charged to the same. If they are taken for early ones wrongly, the others count as early no more, and a grant is
 * smaller than it could be. */
static void no_longer_early(struct grant_ring *ring, int64_t credits) {
	ring->early = (int32_t)max64(0, ring->early - credits);
}

static void apply_report(struct grant_ring *ring, const struct lease_report *report, int64_t t_us) {
	if (report->sub_window <= 0)
		return;
	int64_t since_us = report->sub_window - ring->current_us;
	if (since_us % ring->sub_window_us != 0)
		return;
	int64_t distance = since_us / ring->sub_window_us;
	int64_t unspent = min64(max64(0, report->unspent), count_at(ring, distance));
	discharge(ring, distance, unspent);
	if (distance > 0)
		no_longer_early(ring, unspent);
	int64_t spent_in = (t_us + GRANT_SPEND_LAG_US - ring->current_us) / ring->sub_window_us;
	if (distance <= spent_in)
		return;
	int64_t spent = min64(max64(0, report->spent), count_at(ring, distance));
	discharge(ring, distance, spent);
	charge(ring, (int)spent_in, spent);
	no_longer_early(ring, spent);
}

/* ---- Grants ----------------------------------------------------------------------- */

/* What may be granted from now on, good to the end of any sub-window. */
static int64_t available(const struct grant_ring *ring, const struct grant_terms *terms) {
	int64_t fullest = sum_since(ring, -terms->runs) - ring->early;
	if (terms->runs > 0)
		fullest = max64(fullest, sum_since(ring, 1 - terms->runs));
	return max64(0, terms->max_requests - fullest);
}

int grant_brief_span(const struct grant_terms *terms, int span_least) {
	int64_t least = max64(0, min64(span_least, terms->runs));
	return (int)max64(least, (terms->runs - 1) / GRANT_BRIEF_PART);
}

int grant_ahead_span(const struct grant_terms *terms, int span_least) {
	return (int)max64(0, min64(grant_brief_span(terms, span_least), terms->runs - 1));
}

/* How many sub-windows ago the first was to which something is charged that still counts. */
static int known_for(const struct grant_ring *ring) {
	int i = ring->length - 1;
	while (i > ring->ahead && ring->counts[i] == 0)
		i--;
	return (int)max64(0, i - ring->ahead);
}

int grant_span_by_left(const struct grant_terms *terms, int span, int span_least, int64_t left) {
	int64_t most = max64(0, min64(span, terms->runs));
	if (terms->max_requests == 0)
		return 0;
	int64_t by_left = most * (4 * left - terms->max_requests) / terms->max_requests;
	return (int)max64(min64(by_left, most), grant_brief_span(terms, span_least));
}

/* What would be left if a client that the ring has known for less than a window had gone on as it began. */
static int64_t left_if_known(const struct grant_terms *terms, int64_t left, int known) {
	int64_t used = terms->max_requests - left;
	return known + 1 >= terms->runs ? left : max64(0, terms->max_requests - used * terms->runs / (known + 1));
}

/* No client is given leases for longer than it has been coming, as far as the ring knows, nor for longer than if
 * it had gone on like that for a window: until then what is left says little of how much it uses. */
static int span_if_known(const struct grant_ring *ring, const struct grant_terms *terms,
                         const struct lease_request *request, int64_t left) {
	int known = known_for(ring), span_least = request->span_least;
	int span = grant_span_by_left(terms, request->span, span_least, left_if_known(terms, left, known));
	return (int)min64(span, max64(known, grant_brief_span(terms, span_least)));
}

/* No host takes more than this part of what is left, so that the first doesn't starve the others that serve the
 * client. It is a quarter more than its share, since seldom do all of them want theirs at the same time. */
static int64_t fair_part(const struct grant_ring *ring, int64_t left, int host) {
	int64_t servers = ring->servers | ring->servers_before | INT64_C(1) << host;
	return max64(1, 5 * left / (4 * __builtin_popcountll((uint64_t)servers)));
}

/* As much of what is wanted beyond the need as is used until the end of a lease of this span, rounded up. A lease
 * that is shorter only since the client is new holds no less: who has just begun may send faster than so far. */
static int64_t more_for(const struct grant_terms *terms, const struct lease_request *request, int span) {
	int64_t most = max64(0, min64(request->span, terms->runs));
	int64_t more = max64(0, (int64_t)request->want - request->need);
	return span < most ? (more * (span + 1) + most) / (most + 1) : more;
}

static int64_t grant_now(const struct grant_ring *ring, const struct lease_request *request, int64_t more,
                         int64_t left, int host) {
	if (request->need > 0 && left < request->least)
		return 0;
	int64_t wanted = max64(request->need, min64(request->need + more, fair_part(ring, left, host)));
	return max64(0, min64(left, wanted));
}

/* From the next sub-window on, and not before. */
static int64_t grant_ahead(struct grant_ring *ring, const struct grant_terms *terms,
                           const struct lease_request *request, int host) {
	int64_t left = max64(0, terms->max_requests - sum_since(ring, 1 - terms->runs));
	int64_t granted = max64(0, min64(left, min64(request->next_want, fair_part(ring, left, host))));
	charge(ring, 1 + grant_ahead_span(terms, request->span_least), granted);
	ring->early += (int32_t)granted;
	return granted;
}

/* ---- What is told ------------------------------------------------------------------- */

/* The first later sub-window in which `least` would fit if nobody else came. */
static int64_t retry_after(const struct grant_ring *ring, const struct grant_terms *terms, int64_t least,
                           int64_t until_next_us) {
	int64_t steps = 0;
	if (least > terms->max_requests)
		return -1;
	while (terms->max_requests - sum_since(ring, (int)steps + 1 - terms->runs) < least)
		steps++;
	return until_next_us + steps * ring->sub_window_us;
}

static int64_t reset_after(const struct grant_ring *ring, const struct grant_terms *terms, int64_t t_us) {
	for (int i = 0; i < ring->length; i++)
		if (ring->counts[i] > 0)
			return ring->current_us + (ring->ahead - i + terms->runs + 1) * ring->sub_window_us - t_us;
	return 0;
}

/* Where the limit is used up, some of it may lie unspent in long leases. */
static int64_t recallable(const struct grant_ring *ring, const struct grant_terms *terms, int span_least) {
	return sum_since(ring, 2 + grant_ahead_span(terms, span_least));
}

int64_t grant_sub_window_us(int64_t time_window_ms, int resolution) {
	int64_t slack_us = time_window_ms * 1000 / GRANT_SLACK_DIVISOR;
	return (time_window_ms + resolution - 1) / resolution * 1000 + (slack_us + resolution - 1) / resolution;
}

void grant_take(struct grant_ring *ring, const struct grant_terms *terms, const struct lease_request *request,
                int64_t t_us, int host, struct lease_grant *out) {
	t_us = advance(ring, terms, t_us);
	for (int i = 0; i < LEASE_REPORTS; i++)
		apply_report(ring, &request->report[i], t_us);

	int64_t charged = min64(max64(0, request->charge), available(ring, terms));
	charge(ring, 0, charged);
	int64_t left = available(ring, terms);
	int span_least = (int)max64(0, min64(request->span_least, terms->runs));
	int may_last = grant_span_by_left(terms, request->span, request->span_least, left);
	int span = span_if_known(ring, terms, request, left);
	bool is_brief = span <= grant_brief_span(terms, span_least);
	bool next_instead = is_brief && request->need == 0 && request->next_want > 0;
	bool is_open = span > span_least && !next_instead;
	int64_t more = next_instead ? 0 : more_for(terms, request, may_last);
	int64_t all = grant_now(ring, request, more, left, host);
	/* What is needed is spent at once, so it is charged to the shortest lease there is. */
	int64_t granted = is_open ? min64(all, request->need) : all;
	int64_t granted_next = all - granted;
	charge(ring, span_least, granted);
	charge(ring, span, granted_next);
	if (!is_open) {
		span = 1 + grant_ahead_span(terms, span_least);
		granted_next = grant_ahead(ring, terms, request, host);
	}
	if (granted > 0 || granted_next > 0)
		ring->servers |= INT64_C(1) << host;

	int64_t size_us = ring->sub_window_us, until_next_us = ring->current_us + size_us - t_us;
	int32_t remaining = (int32_t)available(ring, terms);
	bool denied = request->need > 0 && granted < request->least;
	*out = (struct lease_grant){
		.answered = true,
		.granted = (int32_t)granted,
		.granted_next = (int32_t)granted_next,
		.charged = (int32_t)charged,
		.remaining = remaining,
		.recallable = remaining > 0 && granted >= request->need
	                      ? 0
	                      : (int32_t)min64(INT32_MAX, recallable(ring, terms, span_least)),
		.max_requests = terms->max_requests,
		.sub_window = ring->current_us + span_least * size_us,
		.valid_us = until_next_us + span_least * size_us,
		.starts_in_us = until_next_us,
		.next_is_open = is_open,
		.next_sub_window = ring->current_us + span * size_us,
		.next_valid_us = until_next_us + span * size_us,
		.retry_us = denied           ? retry_after(ring, terms, request->least, until_next_us)
	                : remaining == 0 ? retry_after(ring, terms, 1, until_next_us)
	                                 : 0,
		.reset_us = reset_after(ring, terms, t_us),
	};
	trim(ring);
}
