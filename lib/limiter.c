/*
 * limiter.c - makes limiters, binds them to their policies, and decides without
 * the agent.
 */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "count.h"
#include "limiter.h"
#include "options.h"

/* How long after a denial by STINT_DENY a client may ask again: by then, the agent has been looked for once
 * more. */
#define DENIED_RETRY_NS NS_PER_S

static void fill(struct stint_limiter *limiter, const struct stint_options *o) {
	limiter->policy_length = (uint8_t)strlen(o->policy);
	memcpy(limiter->policy, o->policy, limiter->policy_length);
	limiter->declaration = options_declaration(o);
	limiter->timeout_ms = options_timeout_ms(o);
	limiter->on_error = o->on_error;
	limiter->local_max_requests = o->local_max_requests;
	limiter->fallback_max_requests = options_fallback_max_requests(o);
	limiter->fallback_time_window_ms = options_fallback_time_window_ms(o);
}

struct stint_limiter *limiter_new(struct stint *attachment, struct stintd *stintd,
                                  const struct stint_options *options) {
	struct stint_limiter *limiter = calloc(1, sizeof(*limiter));
	struct local *local = local_new();
	if (!limiter || !local) {
		free(limiter);
		local_free(local);
		return NULL;
	}
	limiter->attachment = attachment;
	limiter->stintd = stintd;
	limiter->local = local;
	limiter->owed = owed_new();
	fill(limiter, options);
	return limiter;
}

void limiter_free(struct stint_limiter *limiter) {
	struct binding *binding = atomic_load(&limiter->binding);
	while (binding) {
		struct binding *older = binding->older;
		free(binding);
		binding = older;
	}
	local_free(limiter->local);
	owed_free(limiter->owed);
	free(limiter);
}

bool limiter_is_ending(const struct stint_limiter *limiter) {
	return atomic_load(&limiter->ending) || atomic_load(&limiter->stintd->ending);
}

bool limiter_bind(struct stint_limiter *limiter, const struct mapping *mapping, uint32_t policy) {
	struct binding *present = atomic_load(&limiter->binding);
	if (present && present->mapping == mapping && present->policy == policy)
		return true;
	struct binding *fresh = malloc(sizeof(*fresh));
	if (!fresh)
		return false;
	*fresh = (struct binding){.mapping = mapping,
	                          .entry = &mapping->policies[policy_number_index(policy)],
	                          .policy = policy,
	                          .tally_cpus = mapping->tally_stripes - TALLY_SHARED,
	                          .tallies = mapping_tallies(mapping, policy_number_index(policy)),
	                          .older = present};
	atomic_store(&limiter->binding, fresh);
	count_owed(limiter);
	return true;
}

/* Returns the policy's entry; NULL if the policy was never declared, or if the entry is for another policy by
 * now. */
static const struct policy_entry *entry_of(const struct stint_limiter *limiter) {
	const struct binding *binding = atomic_load(&limiter->binding);
	if (!binding || atomic_load(&binding->entry->generation) != policy_number_generation(binding->policy))
		return NULL;
	return binding->entry;
}

/* Takes the limit from the directory, which is newer than what the app declared. But the directory is shared
 * memory: a value that can't be true is ignored. */
static void find_limit(const _Atomic int64_t *max_field, const _Atomic int64_t *window_field,
                       int64_t *max_requests, int64_t *time_window_ms) {
	int64_t max = atomic_load(max_field);
	int64_t window = atomic_load(window_field);
	if (max >= 1 && max <= STINT_FALLBACK_REQUESTS_MAX && window >= STINT_TIME_WINDOW_MS_MIN &&
	    window <= STINT_TIME_WINDOW_MS_MAX) {
		*max_requests = max;
		*time_window_ms = window;
	}
}

/* Finds the policy's limit, as far as it is known. A must_exist limiter that doesn't know its limit yet takes the
 * fallback's; 0 would mean that the client is blocked. */
static void find_policy_limit(const struct stint_limiter *limiter, int64_t *max_requests,
                              int64_t *time_window_ms) {
	const struct policy_entry *entry = entry_of(limiter);
	*max_requests = limiter->declaration.max_requests;
	*time_window_ms = limiter->declaration.time_window_ms;
	if (entry) {
		find_limit(&entry->max_requests, &entry->time_window_ms, max_requests, time_window_ms);
	} else if (*max_requests == 0) {
		*max_requests = limiter->fallback_max_requests;
		*time_window_ms = limiter->fallback_time_window_ms;
	}
}

/* Admits without counting. */
static void admit(const struct stint_limiter *limiter, struct stint_result *result) {
	int64_t max_requests, time_window_ms;
	find_policy_limit(limiter, &max_requests, &time_window_ms);
	*result = (struct stint_result){
		.allowed = true,
		.source = STINT_SOURCE_LOCAL,
		.reason = STINT_ADMITTED,
		.limit = max_requests,
		.remaining = max_requests,
		.time_window_ms = time_window_ms,
	};
}

/* Denies because the agent is away. Nobody knows what is left of the limit, nor when it is free again:
 * reset_after_ms is a window, or retry_after_ms if that is longer. */
static void deny(const struct stint_limiter *limiter, uint64_t retry_after_ns, struct stint_result *result) {
	int64_t max_requests, time_window_ms;
	int64_t retry_after_ms = clock_ms_up(retry_after_ns);
	find_policy_limit(limiter, &max_requests, &time_window_ms);
	*result = (struct stint_result){
		.allowed = false,
		.source = STINT_SOURCE_LOCAL,
		.reason = STINT_UNAVAILABLE,
		.limit = max_requests,
		.retry_after_ms = retry_after_ms,
		.reset_after_ms = time_window_ms > retry_after_ms ? time_window_ms : retry_after_ms,
		.time_window_ms = time_window_ms,
	};
}

/* Finds the limit inside the process. */
static void find_local_limit(const struct stint_limiter *limiter, int64_t *max_requests, int64_t *time_window_ms) {
	const struct policy_entry *entry = entry_of(limiter);
	*max_requests = limiter->fallback_max_requests;
	*time_window_ms = limiter->fallback_time_window_ms;
	if (entry)
		find_limit(&entry->fallback_max_requests, &entry->fallback_time_window_ms, max_requests, time_window_ms);
	if (limiter->local_max_requests)
		*max_requests = limiter->local_max_requests;
}

/* Before the policy is known, what the app declares is true. */
static bool is_shadow(const struct stint_limiter *limiter) {
	const struct policy_entry *entry = entry_of(limiter);
	return entry ? atomic_load(&entry->shadow) != 0 : limiter->declaration.head.flags & WIRE_DECLARE_SHADOW;
}

/* The window by which the agent has decided. */
static int64_t agents_window(const struct stint_limiter *limiter, enum stint_source source) {
	int64_t max_requests, time_window_ms;
	if (source == STINT_SOURCE_FALLBACK)
		find_local_limit(limiter, &max_requests, &time_window_ms);
	else
		find_policy_limit(limiter, &max_requests, &time_window_ms);
	return time_window_ms;
}

void limiter_tell(const struct stint_limiter *limiter, struct stint_result *result) {
	if (result->source != STINT_SOURCE_LOCAL)
		result->time_window_ms = agents_window(limiter, result->source);
	if (!result->allowed && is_shadow(limiter))
		limiter_excuse(result);
}

void limiter_decide_locally(const struct question *q, struct stint_result *result) {
	struct stint_limiter *limiter = q->limiter;
	int64_t max_requests, time_window_ms;
	if (limiter->on_error == STINT_ON_ERROR_ALLOW) {
		admit(limiter, result);
		return;
	}
	if (limiter->on_error == STINT_ON_ERROR_DENY || limiter->local_max_requests == STINT_DENY) {
		deny(limiter, DENIED_RETRY_NS, result);
		return;
	}
	find_local_limit(limiter, &max_requests, &time_window_ms);
	local_take(limiter->local, max_requests, time_window_ms, q, clock_fine_ns(), result);
}

bool limiter_give_back(const struct question *q, uint32_t window) {
	int64_t max_requests, time_window_ms;
	find_local_limit(q->limiter, &max_requests, &time_window_ms);
	return local_give_back(q->limiter->local, time_window_ms, window, q, clock_fine_ns());
}

void limiter_decide_alone(const struct question *q, struct stint_result *result) {
	struct stint_limiter *limiter = q->limiter;
	uint64_t left_ns = absence_grace_left_ns(&limiter->stintd->absence, clock_fine_ns());
	if (left_ns > 0 && limiter->on_error != STINT_ON_ERROR_ALLOW)
		deny(limiter, left_ns, result);
	else
		limiter_decide_locally(q, result);
}
