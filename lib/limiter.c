/*
 * limiter.c - a policy as the app declares it: options, their ranges, their
 * defaults; and the limit inside the process.
 */
#include <stdlib.h>
#include <string.h>

#include "attachment.h"
#include "channel.h"
#include "clock.h"
#include "error.h"

#define DEFAULT_TIMEOUT_MS 1000
#define DEFAULT_RESOLUTION 10

/* How long a client that nobody may be admitted for waits, at most: then the agent has been looked for again. */
#define DENIED_RETRY_NS NS_PER_S

/* For a must_exist limiter that has never heard of its policy's limits: lenient, and yet a bound. */
#define UNKNOWN_MAX_REQUESTS 1000
#define UNKNOWN_TIME_WINDOW_MS 1000

static int check_range(const char *name, int64_t value, int64_t min, int64_t max) {
	if (value >= min && value <= max)
		return 0;
	return error_set(STINT_ERANGE, "%s is %lld, must be %lld to %lld", name, (long long)value, (long long)min,
		(long long)max);
}

/* 0 stands for the default where one is allowed. */
static int check_optional(const char *name, int64_t value, int64_t min, int64_t max) {
	return value == 0 ? 0 : check_range(name, value, min, max);
}

static int check_policy_name(const char *name) {
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/-";
	size_t length = name ? strnlen(name, STINT_POLICY_NAME_MAX + 1) : 0;

	if (length == 0 || length > STINT_POLICY_NAME_MAX)
		return error_set(STINT_EPOLICY, "policy is %s, must be 1 to %d bytes",
			length == 0 ? "NULL or empty" : "too long", STINT_POLICY_NAME_MAX);
	if (name[strspn(name, allowed)] != '\0')
		return error_set(STINT_EPOLICY, "policy has a byte 0x%02x, allowed are [A-Za-z0-9_.:/-]",
			(unsigned)(unsigned char)name[strspn(name, allowed)]);
	return 0;
}

static int check_sub_window(const struct stint_options *o) {
	int32_t resolution = o->resolution ? o->resolution : DEFAULT_RESOLUTION;

	if (o->algorithm != STINT_SLIDING_WINDOW || o->time_window_ms == 0)
		return 0;
	/* The same rounding up as where sub-windows are made. */
	return check_range("time_window_ms / resolution", (o->time_window_ms + resolution - 1) / resolution,
		STINT_SUB_WINDOW_MS_MIN, STINT_TIME_WINDOW_MS_MAX);
}

static int check_limits(const struct stint_options *o) {
	/* Whoever declares nothing may leave the limits out. */
	int (*check)(const char *, int64_t, int64_t, int64_t) = o->must_exist ? check_optional : check_range;
	int error;

	if ((error = check("max_requests", o->max_requests, 1, STINT_MAX_REQUESTS_MAX)) != 0 ||
		(error = check("time_window_ms", o->time_window_ms, STINT_TIME_WINDOW_MS_MIN, STINT_TIME_WINDOW_MS_MAX)) != 0)
		return error;
	return 0;
}

static int check_local(const struct stint_options *o) {
	if (o->local_max_requests >= STINT_DENY && o->local_max_requests <= STINT_FALLBACK_REQUESTS_MAX)
		return 0;
	return error_set(STINT_ERANGE, "local_max_requests is %lld, must be 1 to %lld, 0 for the default, or STINT_DENY (%d)",
		(long long)o->local_max_requests, (long long)STINT_FALLBACK_REQUESTS_MAX, STINT_DENY);
}

static int check_options(const struct stint_options *o) {
	int error;

	if ((error = check_policy_name(o->policy)) != 0 || (error = check_limits(o)) != 0 ||
		(error = check_optional("fallback_max_requests", o->fallback_max_requests, 1,
			 STINT_FALLBACK_REQUESTS_MAX)) != 0 ||
		(error = check_optional("fallback_time_window_ms", o->fallback_time_window_ms, STINT_TIME_WINDOW_MS_MIN,
			 STINT_TIME_WINDOW_MS_MAX)) != 0 ||
		(error = check_local(o)) != 0 ||
		(error = check_range("algorithm", (int64_t)o->algorithm, STINT_SLIDING_WINDOW, STINT_FIXED_WINDOW)) != 0 ||
		(error = check_range("mode", (int64_t)o->mode, STINT_STRICT, STINT_RELAXED)) != 0 ||
		(error = check_optional("resolution", o->resolution, 1, STINT_RESOLUTION_MAX)) != 0 ||
		(error = check_optional("timeout_ms", o->timeout_ms, 1, STINT_TIMEOUT_MS_MAX)) != 0)
		return error;
	return check_sub_window(o);
}

static int64_t first_set(int64_t a, int64_t b, int64_t c) {
	return a ? a : b ? b : c;
}

static void fill(struct stint_limiter *l, struct stint *st, const struct stint_options *o) {
	l->attachment = st;
	l->policy_length = (uint8_t)strlen(o->policy);
	memcpy(l->policy, o->policy, l->policy_length);
	l->timeout_ms = o->timeout_ms ? o->timeout_ms : DEFAULT_TIMEOUT_MS;
	l->local_max_requests = o->local_max_requests;
	l->fallback_max_requests = first_set(o->fallback_max_requests, 2 * o->max_requests, UNKNOWN_MAX_REQUESTS);
	l->fallback_time_window_ms =
		first_set(o->fallback_time_window_ms, o->time_window_ms, UNKNOWN_TIME_WINDOW_MS);
	l->declaration = (struct wire_declare){
		.head = {.type = WIRE_DECLARE, .flags = o->must_exist ? WIRE_DECLARE_MUST_EXIST : 0},
		.max_requests = o->max_requests,
		.time_window_ms = o->time_window_ms,
		.fallback_max_requests = o->fallback_max_requests,
		.fallback_time_window_ms = o->fallback_time_window_ms,
		.algorithm = (uint32_t)o->algorithm,
		.mode = (uint32_t)o->mode,
		.resolution = (uint32_t)o->resolution,
	};
}

int stint_limiter_new(struct stint_limiter **out, struct stint *st, const struct stint_options *options) {
	struct stint_limiter *limiter;
	int error;

	*out = NULL;
	error = check_options(options);
	if (error)
		return error;
	limiter = calloc(1, sizeof(*limiter));
	if (limiter)
		limiter->local = local_new();
	if (!limiter || !limiter->local) {
		free(limiter);
		return error_set(STINT_ENOMEM, "no memory for a limiter");
	}
	fill(limiter, st, options);
	*out = limiter;
	return 0;
}

/* A callback may free what is being freed already: then that is nothing. */
void stint_limiter_free(struct stint_limiter *limiter) {
	struct channel *ch;
	struct binding *binding;

	if (!limiter || atomic_exchange(&limiter->ending, true))
		return;
	ch = attachment_find_channel(limiter->attachment);
	if (ch)
		channel_forget(ch, limiter);
	binding = atomic_load(&limiter->binding);
	while (binding) {
		struct binding *older = binding->older;
		free(binding);
		binding = older;
	}
	local_free(limiter->local);
	free(limiter);
}

bool limiter_bind(struct stint_limiter *limiter, const struct mapping *mapping, uint32_t policy) {
	struct binding *present = atomic_load(&limiter->binding);
	struct binding *fresh;

	if (present && present->mapping == mapping && present->policy == policy)
		return true;
	fresh = malloc(sizeof(*fresh));
	if (!fresh)
		return false;
	*fresh = (struct binding){
		.mapping = mapping, .entry = &mapping->policies[policy_number_index(policy)], .policy = policy, .older = present};
	atomic_store(&limiter->binding, fresh);
	return true;
}

/* NULL: never heard of, or the entry is for another policy by now. */
static const struct policy_entry *entry_of(const struct stint_limiter *limiter) {
	const struct binding *binding = atomic_load(&limiter->binding);

	if (!binding || atomic_load(&binding->entry->generation) != policy_number_generation(binding->policy))
		return NULL;
	return binding->entry;
}

/* What the directory says is newer than what the app said; but it is shared memory, so only if it can be true. */
static void find_limit(const _Atomic int64_t *max_field, const _Atomic int64_t *window_field, int64_t *max_requests,
	int64_t *time_window_ms) {
	int64_t max = atomic_load(max_field);
	int64_t window = atomic_load(window_field);

	if (max >= 1 && max <= STINT_FALLBACK_REQUESTS_MAX && window >= STINT_TIME_WINDOW_MS_MIN &&
		window <= STINT_TIME_WINDOW_MS_MAX) {
		*max_requests = max;
		*time_window_ms = window;
	}
}

/* Nobody knows what is left of the limit, nor when it is free again: later than any time to ask again, not later than in a window. */
static void deny(const struct stint_limiter *limiter, uint64_t retry_after_ns, struct stint_result *result) {
	const struct policy_entry *entry = entry_of(limiter);
	int64_t max_requests = limiter->declaration.max_requests;
	int64_t time_window_ms = limiter->declaration.time_window_ms;
	int64_t retry_after_ms = clock_ms_up(retry_after_ns);

	if (entry) {
		find_limit(&entry->max_requests, &entry->time_window_ms, &max_requests, &time_window_ms);
	} else if (max_requests == 0) { /* must_exist, and nobody has told yet; 0 would mean that it is blocked */
		max_requests = limiter->fallback_max_requests;
		time_window_ms = limiter->fallback_time_window_ms;
	}
	*result = (struct stint_result){
		.allowed = false,
		.source = STINT_SOURCE_LOCAL,
		.reason = STINT_UNAVAILABLE,
		.limit = max_requests,
		.retry_after_ms = retry_after_ms,
		.reset_after_ms = time_window_ms > retry_after_ms ? time_window_ms : retry_after_ms,
	};
}

void limiter_decide_locally(struct stint_limiter *limiter, const char *id, size_t length, uint32_t cost,
	struct stint_result *result) {
	const struct policy_entry *entry = entry_of(limiter);
	int64_t max_requests = limiter->fallback_max_requests;
	int64_t time_window_ms = limiter->fallback_time_window_ms;

	if (limiter->local_max_requests == STINT_DENY) {
		deny(limiter, DENIED_RETRY_NS, result);
		return;
	}
	if (entry)
		find_limit(&entry->fallback_max_requests, &entry->fallback_time_window_ms, &max_requests, &time_window_ms);
	if (limiter->local_max_requests)
		max_requests = limiter->local_max_requests;
	local_take(limiter->local, max_requests, time_window_ms, id, length, cost, clock_fine_ns(), result);
}

void limiter_decide_alone(struct stint_limiter *limiter, const char *id, size_t length, uint32_t cost,
	struct stint_result *result) {
	uint64_t left_ns = absence_grace_left_ns(&limiter->attachment->absence, clock_fine_ns());

	if (left_ns > 0)
		deny(limiter, left_ns, result);
	else
		limiter_decide_locally(limiter, id, length, cost, result);
}
