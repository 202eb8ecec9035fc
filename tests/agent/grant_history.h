/*
 * grant_history.h - seeded random requests to one counter, as hosts would make them and worse:
 * times that are late, early or far back, limits and sub-windows that change, returns of what was
 * granted and of what never was.
 */
#ifndef GRANT_HISTORY_H
#define GRANT_HISTORY_H

#include <stdint.h>
#include <string.h>

#include "core/grant.h"
#include "random.h"

#define EPOCH_US INT64_C(1700000000000000)
#define TOKENS   8

struct history {
	uint64_t random;
	struct grant_terms terms;
	int64_t window_us;
	int64_t t_us;
	struct { /* of late grants, to be returned */
		int64_t sub_window;
		int32_t first, second;
	} tokens[TOKENS];
	uint32_t token_count;
};

struct step {
	int64_t t_us;
	int hosts;
	struct grant_terms terms;
	struct lease_request request;
};

static inline uint32_t roll(struct history *h, uint32_t n) {
	return random_below(&h->random, n);
}

static inline int64_t roll_up_to(struct history *h, int64_t most) {
	return (int64_t)(random_unit(&h->random) * (double)(most + 1));
}

static inline void choose_terms(struct history *h) {
	static const int32_t limits[] = {1, 2, 3, 10, 100, 1000, 1000000000};
	static const int resolutions[] = {0, 1, 2, 3, 10, 59, 60};
	int resolution = resolutions[roll(h, 7)];
	int64_t window_ms = 600 + roll_up_to(h, roll(h, 2) ? 2000 : 60000);
	int64_t sub_us = resolution ? grant_sub_window_us(window_ms, resolution) : window_ms * 1000;
	h->window_us = window_ms * 1000;
	h->terms = (struct grant_terms){
		.max_requests = limits[roll(h, 7)],
		.sub_window_us = sub_us,
		.runs = resolution,
		.phase_us = roll_up_to(h, sub_us - 1),
		.slack_us = resolution ? resolution * sub_us - h->window_us : 0,
	};
}

static inline struct history history_new(uint64_t seed) {
	struct history h = {.random = seed, .t_us = EPOCH_US};
	choose_terms(&h);
	return h;
}

static inline void choose_return(struct history *h, struct lease_request *request) {
	uint32_t n = h->token_count ? roll(h, h->token_count) : 0;
	if (h->token_count == 0 || roll(h, 3) == 0)
		return;
	request->return_sub_window = h->tokens[n].sub_window;
	request->return_first = (int32_t)roll_up_to(h, h->tokens[n].first);
	request->return_second = (int32_t)roll_up_to(h, h->tokens[n].second);
	h->tokens[n] = h->tokens[--h->token_count]; /* offered once */
}

static inline int32_t choose_amount(struct history *h) {
	return (int32_t)roll_up_to(h, roll(h, 4) ? h->terms.max_requests / 4 + 1 : h->terms.max_requests);
}

/* The clock is read before the wait for the row: the order in which rows are had is another than that of the
 * times. */
static inline struct step history_next(struct history *h) {
	h->t_us += roll(h, 8) ? roll_up_to(h, h->terms.sub_window_us / 2) : roll_up_to(h, 2 * h->window_us);
	struct step step = {.t_us = h->t_us, .hosts = 1 + (int)roll(h, 4), .terms = h->terms};
	if (roll(h, 6) == 0)
		step.t_us -= roll_up_to(h, GRANT_STALE_US);
	if (roll(h, 3))
		step.request.need = 1 + choose_amount(h) / 4;
	if (step.request.need)
		step.request.least = 1 + (int32_t)roll_up_to(h, step.request.need - 1);
	step.request.want = step.request.need + (roll(h, 2) ? choose_amount(h) : 0);
	step.request.next_want = roll(h, 3) ? 0 : choose_amount(h);
	step.request.charge = roll(h, 6) ? 0 : choose_amount(h);
	choose_return(h, &step.request);
	return step;
}

static inline void history_note(struct history *h, const struct lease_grant *grant) {
	if (grant->granted == 0 && grant->granted_next == 0)
		return;
	uint32_t n = h->token_count < TOKENS ? h->token_count++ : roll(h, TOKENS);
	h->tokens[n].sub_window = grant->sub_window;
	h->tokens[n].first = grant->granted;
	h->tokens[n].second = grant->granted_next;
}

#endif
