/*
 * grant_history.h - seeded random requests to one counter, as hosts would make them and worse: times that are
 * late, early or far back, leases for any number of sub-windows.
 */
#ifndef GRANT_HISTORY_H
#define GRANT_HISTORY_H

#include <stdint.h>
#include <string.h>

#include "core/grant.h"
#include "random.h"

#define EPOCH_US INT64_C(1700000000000000)

struct history {
	uint64_t random;
	struct grant_terms terms;
	int64_t window_us;
	int64_t t_us;
};

struct step {
	int64_t t_us;
	int host;
	struct grant_terms terms;
	struct lease_request request; /* without reports */
};

static inline uint32_t roll(struct history *h, uint32_t n) {
	return random_below(&h->random, n);
}

static inline int64_t roll_up_to(struct history *h, int64_t most) {
	return (int64_t)(random_unit(&h->random) * (double)(most + 1));
}

/* So many sub-windows; 0: a fixed window. */
static inline void cut_window(struct history *h, int resolution) {
	int64_t sub_us = resolution ? grant_sub_window_us(h->window_us / 1000, resolution) : h->window_us;
	h->terms = (struct grant_terms){
		.max_requests = h->terms.max_requests,
		.sub_window_us = sub_us,
		.runs = resolution,
		.phase_us = roll_up_to(h, sub_us - 1),
		.slack_us = resolution ? resolution * sub_us - h->window_us : 0,
	};
}

static inline int choose_resolution(struct history *h) {
	static const int resolutions[] = {0, 1, 2, 3, 10, 11, 20, 59, 60};
	return resolutions[roll(h, 9)];
}

static inline void choose_terms(struct history *h) {
	static const int32_t limits[] = {1, 2, 3, 10, 100, 1000, 1000000000};
	int resolution = choose_resolution(h);
	h->window_us = (600 + roll_up_to(h, roll(h, 2) ? 2000 : 60000)) * 1000;
	h->terms.max_requests = limits[roll(h, 7)];
	cut_window(h, resolution);
}

static inline struct history history_new(uint64_t seed) {
	struct history h = {.random = seed, .t_us = EPOCH_US};
	choose_terms(&h);
	return h;
}

static inline int32_t choose_amount(struct history *h) {
	return (int32_t)roll_up_to(h, roll(h, 4) ? h->terms.max_requests / 4 + 1 : h->terms.max_requests);
}

static inline int32_t choose_span(struct history *h) {
	return (int32_t)roll(h, (uint32_t)h->terms.runs + 2);
}

/* The clock is read before the wait for the row: the order in which rows are had is another than that of the
 * times. */
static inline struct step history_next(struct history *h) {
	h->t_us += roll(h, 8) ? roll_up_to(h, h->terms.sub_window_us / 2) : roll_up_to(h, 2 * h->window_us);
	struct step step = {.t_us = h->t_us, .host = (int)roll(h, roll(h, 4) ? 3 : GRANT_HOSTS), .terms = h->terms};
	if (roll(h, 6) == 0)
		step.t_us -= roll_up_to(h, GRANT_STALE_US);
	if (roll(h, 3))
		step.request.need = 1 + choose_amount(h) / 4;
	if (step.request.need)
		step.request.least = 1 + (int32_t)roll_up_to(h, step.request.need - 1);
	step.request.want = step.request.need + (roll(h, 2) ? choose_amount(h) : 0);
	step.request.span = roll(h, 3) ? choose_span(h) : 0;
	step.request.span_least = roll(h, 4) ? 0 : choose_span(h);
	step.request.next_want = roll(h, 3) ? 0 : choose_amount(h);
	step.request.charge = roll(h, 6) ? 0 : choose_amount(h);
	return step;
}

#endif
