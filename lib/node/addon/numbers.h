/*
 * numbers.h - how a verdict becomes numbers.
 *
 * Setting an object's properties costs more than a check. So verdicts are numbers in an array that both sides
 * see, and JavaScript makes the objects.
 */
#ifndef STINT_NODE_NUMBERS_H
#define STINT_NODE_NUMBERS_H

#include "addon.h"
#include "protocol/hot.h"

#define NUMBERS_LOW_BITS 31

/* Limits and what is left of them fit, whatever a table that somebody has scribbled over says. */
static inline int32_t numbers_fit(int64_t number) {
	if ((uint64_t)number <= INT32_MAX)
		return (int32_t)number;
	return number < 0 ? 0 : INT32_MAX;
}

/* Whether one of the times has more than the lower bits. */
static inline bool numbers_have_high(const struct stint_result *r) {
	return (uint64_t)(r->retry_after_ms | r->reset_after_ms | r->time_window_ms) > INT32_MAX;
}

static inline void numbers_write_high(int32_t *fields, const struct stint_result *r) {
	fields[FIELD_WORDS] |= WORDS_HIGH;
	fields[FIELD_RETRY_AFTER_HIGH] = (int32_t)(r->retry_after_ms >> NUMBERS_LOW_BITS);
	fields[FIELD_RESET_AFTER_HIGH] = (int32_t)(r->reset_after_ms >> NUMBERS_LOW_BITS);
	fields[FIELD_TIME_WINDOW_HIGH] = (int32_t)(r->time_window_ms >> NUMBERS_LOW_BITS);
}

HOT_PART static inline void numbers_write(int32_t *fields, const struct stint_result *r) {
	fields[FIELD_WORDS] = (r->allowed ? WORDS_ALLOWED : 0) | (r->shadow_denied ? WORDS_SHADOW_DENIED : 0) |
	                      (int32_t)r->source << WORDS_SOURCE_SHIFT | (int32_t)r->reason << WORDS_REASON_SHIFT;
	fields[FIELD_LIMIT] = numbers_fit(r->limit);
	fields[FIELD_REMAINING] = numbers_fit(r->remaining);
	fields[FIELD_RETRY_AFTER_MS] = (int32_t)(r->retry_after_ms & INT32_MAX);
	fields[FIELD_RESET_AFTER_MS] = (int32_t)(r->reset_after_ms & INT32_MAX);
	fields[FIELD_TIME_WINDOW_MS] = (int32_t)(r->time_window_ms & INT32_MAX);
	fields[FIELD_RECEIPT_LOW] = (int32_t)(uint32_t)r->receipt;
	fields[FIELD_RECEIPT_HIGH] = (int32_t)(uint32_t)(r->receipt >> 32);
	fields[FIELD_PART] = (int32_t)r->part;
	if (numbers_have_high(r))
		numbers_write_high(fields, r);
}

#endif
