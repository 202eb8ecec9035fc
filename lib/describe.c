/*
 * describe.c - what goes with the verdicts that describe.h leaves: of a fallback, under a limit of the client's
 * own, of a cost that is never admitted, of a shadow policy.
 */
#include "describe.h"
#include "reason.h"

APART void describe_unusual_admission(const struct binding *binding, const struct slot *slot,
                                      const _Atomic uint64_t *word, uint64_t found, uint32_t left, uint64_t now_ns,
                                      int64_t lease_ms, struct stint_result *result) {
	struct unusual unusual = decide_unusual_admission(binding->mapping, slot, word, found, left, now_ns);
	result->remaining = (int64_t)unusual.left + unusual.beyond;
	if (unusual.fallback) {
		result->source = STINT_SOURCE_FALLBACK;
		result->limit = describe_load_limit(&binding->entry->fallback_max_requests);
		result->reset_after_ms = lease_ms + describe_load_ms(&binding->entry->fallback_weighs_ms);
		result->time_window_ms = describe_load_limit(&binding->entry->fallback_time_window_ms);
	}
	if (unusual.own_limit != NO_OWN_LIMIT)
		result->limit = unusual.own_limit;
}

COLD bool describe_unusual_denial(const struct binding *binding, const struct slot *slot, uint64_t key,
                                  uint64_t denial, uint32_t times, uint64_t now_ns, uint32_t cost,
                                  struct stint_result *result) {
	const struct policy_entry *policy = binding->entry;
	struct unusual unusual = decide_unusual_denial(binding->mapping, slot, key, denial, times, now_ns);
	if (unusual.fallback) {
		result->source = STINT_SOURCE_FALLBACK;
		result->limit = describe_load_limit(&policy->fallback_max_requests);
		result->time_window_ms = describe_load_limit(&policy->fallback_time_window_ms);
	}
	if (unusual.own_limit != NO_OWN_LIMIT)
		result->limit = unusual.own_limit;
	if (unusual.unavailable)
		result->reason = STINT_UNAVAILABLE;
	result->remaining = (int64_t)unusual.left + unusual.beyond;
	if (cost > result->limit) {
		result->reason = reason_of(false, cost, result->limit);
		if (result->limit > 0 || hint_retry_ms(times) == 0)
			result->retry_after_ms = result->time_window_ms;
		if (result->remaining >= result->limit)
			result->reset_after_ms = 0;
	}
	if (limiter_load_shadow(binding))
		limiter_excuse(result);
	return unusual.is_known;
}
