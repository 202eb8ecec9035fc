/* policy.c - a policy's limits, see policy.h. */
#include "policy.h"

#include <string.h>

#include "protocol/limits.h"
#include "stint.h"

static bool in_range(int64_t value, int64_t least, int64_t most) {
	return value >= least && value <= most;
}

int64_t policy_sub_window_ms(const struct policy_row *row) {
	return limits_sub_window_ms((enum stint_algorithm)row->algorithm, row->time_window_ms, row->resolution);
}

/* Checks limits that somebody has written into the socket or the directory. */
static bool limits_are_valid(const struct policy_row *row) {
#define IS_IN_RANGE(name, min, max) &&in_range(row->name, min, max)
	return in_range(row->algorithm, STINT_SLIDING_WINDOW, STINT_FIXED_WINDOW) &&
	       in_range(row->mode, STINT_STRICT, STINT_RELAXED) LIMITS_NUMBERS(IS_IN_RANGE) &&
	       policy_sub_window_ms(row) >= STINT_SUB_WINDOW_MS_MIN;
#undef IS_IN_RANGE
}

bool policy_is_valid(const struct policy_row *row) {
	return limits_is_policy_name(row->name, strlen(row->name)) && limits_are_valid(row);
}

int policy_from_declaration(struct policy_row *row, const struct wire_declare *message, const char *name,
                            size_t length) {
	if (!limits_is_policy_name(name, length))
		return STINT_EPOLICY;
	*row = (struct policy_row){
		.max_requests = message->max_requests,
		.time_window_ms = message->time_window_ms,
		.fallback_max_requests = message->fallback_max_requests ? message->fallback_max_requests
	                                                            : limits_default_fallback(message->max_requests),
		.fallback_time_window_ms =
			message->fallback_time_window_ms ? message->fallback_time_window_ms : message->time_window_ms,
		.algorithm = (int32_t)message->algorithm,
		.mode = (int32_t)message->mode,
		.resolution = message->resolution ? (int32_t)message->resolution
	                                      : limits_default_resolution(message->time_window_ms),
		.shadow = message->head.flags & WIRE_DECLARE_SHADOW,
	};
	memcpy(row->name, name, length);
	if (message->head.flags & WIRE_DECLARE_MUST_EXIST)
		return 0;
	return limits_are_valid(row) ? 0 : STINT_ERANGE;
}

bool policy_limits_equal(const struct policy_row *a, const struct policy_row *b) {
	return a->max_requests == b->max_requests && a->time_window_ms == b->time_window_ms &&
	       a->fallback_max_requests == b->fallback_max_requests &&
	       a->fallback_time_window_ms == b->fallback_time_window_ms && a->algorithm == b->algorithm &&
	       a->resolution == b->resolution && a->mode == b->mode && a->shadow == b->shadow;
}

static struct grant_terms terms_for(const struct policy_row *row, int64_t max_requests, int64_t window_ms) {
	if (row->algorithm == STINT_FIXED_WINDOW)
		return (struct grant_terms){.max_requests = (int32_t)max_requests, .sub_window_us = window_ms * 1000};
	int64_t sub_us = grant_sub_window_us(window_ms, row->resolution);
	return (struct grant_terms){
		.max_requests = (int32_t)max_requests,
		.sub_window_us = sub_us,
		.runs = row->resolution,
		.slack_us = row->resolution * sub_us - window_ms * 1000,
	};
}

void policy_to_core(const struct policy_row *row, bool live, struct core_policy *out) {
	*out = (struct core_policy){
		.live = live,
		.relaxed = row->mode == STINT_RELAXED,
		.policy_id = row->policy_id,
		.time_window_ms = row->time_window_ms,
		.terms = terms_for(row, row->max_requests, row->time_window_ms),
		.fallback_terms = terms_for(row, row->fallback_max_requests, row->fallback_time_window_ms),
	};
}

/* 2^32 ms are 49 days, more than the longest window. */
uint32_t policy_weighs_ms(const struct policy_row *row, int64_t window_ms) {
	struct grant_terms terms = terms_for(row, 1, window_ms);
	return (uint32_t)grant_weighs_ms(&terms);
}

const char *policy_algorithm_name(int32_t algorithm) {
	return algorithm == STINT_FIXED_WINDOW ? "fixed_window" : "sliding_window";
}

const char *policy_mode_name(int32_t mode) {
	return mode == STINT_RELAXED ? "relaxed" : "strict";
}

const char *policy_shadow_words(const struct policy_row *row) {
	return row->shadow ? ", a shadow: nobody is denied" : "";
}
