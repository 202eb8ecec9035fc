/*
 * grant.c - the ring of counts: what a request may be granted of it.
 *
 * A request is applied in this order: what is returned is subtracted, what is owed is charged as far as the limit
 * goes, and then credits are granted for the current sub-window and the next one. Line by line the same as
 * stint.take() in sql/; tests/sql/twin compares the two.
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

/* Sum of counts[first] .. counts[first + runs], as far as they exist. */
static int64_t sum_run(const struct grant_ring *ring, int first, int runs) {
	int64_t sum = 0;
	for (int i = first; i <= first + runs && i < ring->length; i++)
		if (i >= 0)
			sum += ring->counts[i];
	return sum;
}

/* The newest sub-window becomes `head_us`, a whole number of sub-windows on. */
static void shift_to(struct grant_ring *ring, int64_t head_us, int keep) {
	int64_t steps = min64((head_us - ring->head_us) / ring->sub_window_us, keep);
	int kept = (int)max64(0, min64(ring->length, keep - steps));
	memmove(ring->counts + steps, ring->counts, (size_t)kept * sizeof(ring->counts[0]));
	memset(ring->counts, 0, (size_t)steps * sizeof(ring->counts[0]));
	ring->length = (int)steps + kept;
	ring->head_us = head_us;
}

static int32_t add_clamped(int32_t a, int64_t b) {
	return (int32_t)min64(INT32_MAX, a + b);
}

/* Other sub-windows than before: each old count moves to the newest time at which it can have been
 * spent, which is never before it was. */
static void recut(struct grant_ring *ring, const struct grant_terms *terms, int64_t t_us) {
	struct grant_ring old = *ring;
	int keep = terms->runs + 2;
	ring->sub_window_us = terms->sub_window_us;
	ring->head_us = align_down(t_us, terms->phase_us, terms->sub_window_us);
	ring->length = 0;
	memset(ring->counts, 0, sizeof(ring->counts));
	for (int i = 0; i < old.length; i++) {
		int64_t last_us = min64(old.head_us - i * old.sub_window_us + old.sub_window_us - 1, t_us);
		int64_t edge_us = align_down(last_us, terms->phase_us, terms->sub_window_us);
		int64_t index = (ring->head_us - edge_us) / ring->sub_window_us;
		if (old.counts[i] <= 0 || index >= keep)
			continue;
		ring->counts[index] = add_clamped(ring->counts[index], old.counts[i]);
		ring->length = (int)max64(ring->length, index + 1);
	}
}

/* Brings the ring to t_us; returns the time that counts, which is never before what the ring has seen. */
static int64_t advance(struct grant_ring *ring, const struct grant_terms *terms, int64_t t_us) {
	if (ring->sub_window_us == 0) {
		ring->sub_window_us = terms->sub_window_us;
		ring->head_us = align_down(t_us, terms->phase_us, terms->sub_window_us);
		ring->length = 0;
		return t_us;
	}
	int64_t floor_us = ring->head_us - ring->sub_window_us;
	if (t_us < floor_us - GRANT_STALE_US)
		ring->head_us = t_us + ring->sub_window_us; /* edges move too: a return of older credits finds no count */
	else if (t_us < floor_us)
		t_us = floor_us;
	if (ring->sub_window_us != terms->sub_window_us) {
		recut(ring, terms, t_us);
		return t_us;
	}
	int64_t current_us = align_down(t_us, ring->head_us % ring->sub_window_us, ring->sub_window_us);
	if (current_us > ring->head_us)
		shift_to(ring, current_us, terms->runs + 2);
	ring->length = (int)min64(ring->length, terms->runs + 2);
	return t_us;
}

static void give_back(struct grant_ring *ring, int64_t index, int32_t credits) {
	if (index < 0 || index >= ring->length || credits <= 0)
		return;
	ring->counts[index] -= (int32_t)min64(credits, ring->counts[index]);
}

static void apply_returns(struct grant_ring *ring, const struct lease_request *request) {
	int64_t behind_us = ring->head_us - request->return_sub_window;
	if (request->return_sub_window <= 0 || behind_us % ring->sub_window_us != 0)
		return;
	int64_t index = behind_us / ring->sub_window_us;
	give_back(ring, index, request->return_first);
	give_back(ring, index - 1, request->return_second);
}

/* What may still be charged to the sub-window at `index`: no run that contains it may exceed the limit. */
static int64_t available(const struct grant_ring *ring, const struct grant_terms *terms, int index) {
	int64_t fullest = sum_run(ring, index, terms->runs);
	if (index > 0 && terms->runs > 0)
		fullest = max64(fullest, sum_run(ring, index - 1, terms->runs));
	return max64(0, terms->max_requests - fullest);
}

/* No host takes more than this part of what is left, so that the first doesn't starve the others. */
static int64_t fair_part(int64_t left, int hosts) {
	return max64(1, left / (4 * (int64_t)max64(1, hosts)));
}

static int64_t share(int64_t left, int64_t need, int64_t least, int64_t want, int hosts) {
	if (need > 0)
		return left < least ? 0 : min64(left, max64(need, min64(want, fair_part(left, hosts))));
	return min64(left, min64(want, fair_part(left, hosts)));
}

static void charge(struct grant_ring *ring, int index, int64_t credits) {
	if (credits <= 0)
		return;
	while (ring->length <= index)
		ring->counts[ring->length++] = 0;
	ring->counts[index] = add_clamped(ring->counts[index], credits);
}

static int64_t charge_next(struct grant_ring *ring, const struct grant_terms *terms, int64_t want, int index,
                           int hosts) {
	int64_t left = max64(0, terms->max_requests - sum_run(ring, index - 1, terms->runs));
	int64_t granted = share(left, 0, 0, max64(0, want), hosts);
	if (granted <= 0)
		return 0;
	if (index == 0)
		shift_to(ring, ring->head_us + ring->sub_window_us, terms->runs + 2);
	charge(ring, 0, granted);
	return granted;
}

/* The first later sub-window in which `least` would fit if nobody else came. */
static int64_t retry_after(const struct grant_ring *ring, const struct grant_terms *terms, int64_t least,
                           int64_t until_next_us, int index) {
	if (least > terms->max_requests)
		return -1;
	for (int k = 1; k <= terms->runs + 2; k++) {
		int64_t left = terms->max_requests - sum_run(ring, index - k, terms->runs);
		if (index - k > 0 && terms->runs > 0)
			left = min64(left, terms->max_requests - sum_run(ring, index - k - 1, terms->runs));
		if (left >= least)
			return until_next_us + (k - 1) * ring->sub_window_us;
	}
	return until_next_us + (terms->runs + 1) * ring->sub_window_us;
}

static int64_t reset_after(const struct grant_ring *ring, const struct grant_terms *terms, int64_t t_us) {
	for (int i = 0; i < ring->length; i++)
		if (ring->counts[i] > 0)
			return max64(0,
			             ring->head_us - i * ring->sub_window_us + (terms->runs + 1) * ring->sub_window_us - t_us);
	return 0;
}

static void trim(struct grant_ring *ring) {
	while (ring->length > 0 && ring->counts[ring->length - 1] == 0)
		ring->length--;
}

int64_t grant_sub_window_us(int64_t time_window_ms, int resolution) {
	int64_t slack_us = time_window_ms * 1000 / GRANT_SLACK_DIVISOR;
	return (time_window_ms + resolution - 1) / resolution * 1000 + (slack_us + resolution - 1) / resolution;
}

void grant_take(struct grant_ring *ring, const struct grant_terms *terms, const struct lease_request *request,
                int64_t t_us, int hosts, struct lease_grant *out) {
	t_us = advance(ring, terms, t_us);
	apply_returns(ring, request);

	int64_t size_us = ring->sub_window_us;
	int64_t current_us = align_down(t_us, ring->head_us % size_us, size_us);
	int index = (int)((ring->head_us - current_us) / size_us);

	int64_t charged = min64(max64(0, request->charge), available(ring, terms, index));
	charge(ring, index, charged);
	int64_t granted = share(available(ring, terms, index), request->need, request->least, request->want, hosts);
	granted = max64(0, granted);
	charge(ring, index, granted);
	int64_t granted_next = charge_next(ring, terms, request->next_want, index, hosts);
	index = (int)((ring->head_us - current_us) / size_us);

	int64_t until_next_us = current_us + size_us - t_us;
	int32_t remaining = (int32_t)available(ring, terms, index);
	bool denied = request->need > 0 && granted < request->least;
	*out = (struct lease_grant){
		.answered = true,
		.granted = (int32_t)granted,
		.granted_next = (int32_t)granted_next,
		.charged = (int32_t)charged,
		.remaining = remaining,
		.max_requests = terms->max_requests,
		.sub_window = current_us,
		.valid_us = until_next_us,
		.starts_in_us = until_next_us,
		.next_valid_us = until_next_us + size_us,
		.retry_us = denied           ? retry_after(ring, terms, request->least, until_next_us, index)
	                : remaining == 0 ? retry_after(ring, terms, 1, until_next_us, index)
	                                 : 0,
		.reset_us = reset_after(ring, terms, t_us),
	};
	trim(ring);
}
