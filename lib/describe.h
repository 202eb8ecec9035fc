/*
 * describe.h - what goes with a verdict of the table's: limit, remaining, times, as stint.h defines them. The
 * agent works out the same for its own verdicts (agent/core/verdict.c).
 *
 * What a warm check runs through is inline; describe.c has the rest.
 */
#ifndef STINT_DESCRIBE_H
#define STINT_DESCRIBE_H

#include "clock.h"
#include "decide.h"
#include "limiter.h"
#include "protocol/hot.h"
#include "receipt.h"

static inline int64_t describe_load_limit(const _Atomic int64_t *field) {
	return atomic_load_explicit(field, memory_order_relaxed);
}

static inline int64_t describe_load_ms(const _Atomic uint32_t *field) {
	return atomic_load_explicit(field, memory_order_relaxed);
}

/* Describes an admission by a credit of the fallback, or under a limit of the client's own, or after the store has
 * given a newer answer for the client. */
APART void describe_unusual_admission(const struct binding *binding, const struct slot *slot,
                                      const _Atomic uint64_t *word, uint64_t found, uint32_t left, uint64_t now_ns,
                                      int64_t lease_ms, struct stint_result *result);

/* Describes a denial by the fallback's limit or by one of the client's own, of a cost that is never admitted,
 * because the store couldn't look, with a few credits left, or by a shadow policy. Returns false when the denial
 * has just been lifted or replaced. */
COLD bool describe_unusual_denial(const struct binding *binding, const struct slot *slot, uint64_t key,
                                  uint64_t denial, uint32_t times, uint64_t now_ns, uint32_t cost,
                                  struct stint_result *result);

/*
 * Describes an admission. The agent describes its own verdicts in the same way, see agent/core/verdict.c. No value
 * in the directory can make a sum overflow.
 */
HOT_PART static inline void describe_allowed(const struct binding *binding, const struct decision *d,
                                             uint32_t cost, struct stint_result *result) {
	const struct policy_entry *policy = binding->entry;
	int64_t lease_ms = clock_ms_up(d->until_ns - d->now_ns);
	result->allowed = true;
	result->shadow_denied = false;
	result->reserved_16 = 0;
	result->source = STINT_SOURCE_LEASE;
	result->reason = STINT_ADMITTED;
	result->limit = describe_load_limit(&policy->max_requests);
	result->remaining = (int64_t)d->left + d->beyond;
	result->retry_after_ms = 0;
	result->time_window_ms = describe_load_limit(&policy->time_window_ms);
	result->reset_after_ms = lease_ms + describe_load_ms(&policy->weighs_ms);
	result->cost = cost;
	result->receipt = d->part == 0 ? receipt_of(d->word, d->found) : 0; /* it knows one word */
	if (SELDOM(d->unusual != 0))
		describe_unusual_admission(binding, d->slot, d->word, d->found, d->left, d->now_ns, lease_ms, result);
}

HOT_PART static inline bool describe_denied(const struct binding *binding, const struct decision *d, uint32_t cost,
                                            struct stint_result *result) {
	int64_t denied_ms = clock_ms_up(d->until_ns - d->now_ns);
	const struct policy_entry *policy = binding->entry;
	int64_t limit = describe_load_limit(&policy->max_requests);
	uint64_t unusual = d->unusual | limiter_load_shadow(binding);

	result->allowed = false;
	result->shadow_denied = false;
	result->reserved_16 = 0;
	result->source = STINT_SOURCE_LEASE;
	result->reason = STINT_OVER_LIMIT;
	result->limit = limit;
	result->remaining = (int64_t)d->left + d->beyond;
	result->retry_after_ms = denied_ms + hint_retry_ms(d->times);
	result->reset_after_ms = denied_ms + hint_reset_ms(d->times);
	result->receipt = 0;
	result->time_window_ms = describe_load_limit(&policy->time_window_ms);
	if (SELDOM(unusual != 0 || cost > limit))
		return describe_unusual_denial(binding, d->slot, d->key, d->found, d->times, d->now_ns, cost, result);
	return true;
}

/* Fills the result of a verdict. Returns false when that isn't possible: then the verdict doesn't count. */
HOT_PART static inline bool describe(enum verdict verdict, const struct binding *binding, const struct decision *d,
                                     uint32_t cost, struct stint_result *result) {
	if (verdict == VERDICT_DENIED)
		return describe_denied(binding, d, cost, result);
	describe_allowed(binding, d, cost, result);
	return true;
}

#endif
