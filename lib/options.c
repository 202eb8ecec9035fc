/*
 * options.c - checks the app's options, and derives the DECLARE, the timeout
 * and the fallback from them.
 */
#include <string.h>

#include "error.h"
#include "options.h"
#include "protocol/limits.h"

#define DEFAULT_TIMEOUT_MS 1000

/* The fallback of a must_exist limiter that doesn't know its policy's limits yet: lenient, and yet a bound. */
#define UNKNOWN_MAX_REQUESTS   1000
#define UNKNOWN_TIME_WINDOW_MS 1000

static int check_range(const char *name, int64_t value, int64_t min, int64_t max) {
	if (value >= min && value <= max)
		return 0;
	return error_set(STINT_ERANGE, "%s is %lld, must be %lld to %lld", name, (long long)value, (long long)min,
	                 (long long)max);
}

int options_check_optional(const char *name, int64_t value, int64_t min, int64_t max) {
	return value == 0 ? 0 : check_range(name, value, min, max);
}

int options_check_policy(const char *name) {
	size_t length = name ? strnlen(name, STINT_POLICY_NAME_MAX + 1) : 0;
	if (length == 0 || length > STINT_POLICY_NAME_MAX)
		return error_set(STINT_EPOLICY, "policy is %s, must be 1 to %d bytes",
		                 length == 0 ? "NULL or empty" : "too long", STINT_POLICY_NAME_MAX);
	size_t span = limits_span_name(name, length);
	if (span < length)
		return error_set(STINT_EPOLICY, "policy has a byte 0x%02x, allowed are [A-Za-z0-9_.:/-]",
		                 (unsigned)(unsigned char)name[span]);
	return 0;
}

static int check_sub_window(const struct stint_options *o) {
	int32_t resolution = o->resolution ? o->resolution : limits_default_resolution(o->time_window_ms);
	if (o->algorithm != STINT_SLIDING_WINDOW || o->time_window_ms == 0)
		return 0;
	return check_range("time_window_ms / resolution",
	                   limits_sub_window_ms(o->algorithm, o->time_window_ms, resolution), STINT_SUB_WINDOW_MS_MIN,
	                   STINT_TIME_WINDOW_MS_MAX);
}

/* A must_exist limiter, which declares nothing, may leave out all numbers; others only those that have a
 * default. */
static int check_numbers(const struct stint_options *o) {
	int error = 0;
	if (!o->must_exist && o->max_requests == 0)
		error = check_range("max_requests", 0, 1, STINT_MAX_REQUESTS_MAX);
	else if (!o->must_exist && o->time_window_ms == 0)
		error = check_range("time_window_ms", 0, STINT_TIME_WINDOW_MS_MIN, STINT_TIME_WINDOW_MS_MAX);
#define CHECK(name, min, max)                                                                                     \
	if (!error)                                                                                                   \
		error = options_check_optional(#name, o->name, min, max);
	LIMITS_NUMBERS(CHECK)
#undef CHECK
	return error;
}

static int check_local(const struct stint_options *o) {
	if (o->local_max_requests >= STINT_DENY && o->local_max_requests <= STINT_FALLBACK_REQUESTS_MAX)
		return 0;
	return error_set(STINT_ERANGE,
	                 "local_max_requests is %lld, must be 1 to %lld, 0 for the default, or STINT_DENY (%d)",
	                 (long long)o->local_max_requests, (long long)STINT_FALLBACK_REQUESTS_MAX, STINT_DENY);
}

int options_check(const struct stint_options *o) {
	int error;
	if ((error = options_check_policy(o->policy)) != 0 || (error = check_numbers(o)) != 0 ||
	    (error = check_local(o)) != 0 ||
	    (error = check_range("algorithm", (int)o->algorithm, STINT_SLIDING_WINDOW, STINT_FIXED_WINDOW)) != 0 ||
	    (error = check_range("mode", (int)o->mode, STINT_STRICT, STINT_RELAXED)) != 0 ||
	    (error = check_range("on_error", (int)o->on_error, STINT_ON_ERROR_LOCAL, STINT_ON_ERROR_ALLOW)) != 0 ||
	    (error = options_check_optional("timeout_ms", o->timeout_ms, 1, STINT_TIMEOUT_MS_MAX)) != 0)
		return error;
	return check_sub_window(o);
}

struct wire_declare options_declaration(const struct stint_options *o) {
	return (struct wire_declare){
		.head = {.type = WIRE_DECLARE,
	             .flags = (uint16_t)((o->must_exist ? WIRE_DECLARE_MUST_EXIST : 0) |
	                                 (o->shadow ? WIRE_DECLARE_SHADOW : 0))},
		.max_requests = o->max_requests,
		.time_window_ms = o->time_window_ms,
		.fallback_max_requests = o->fallback_max_requests,
		.fallback_time_window_ms = o->fallback_time_window_ms,
		.algorithm = (uint32_t)o->algorithm,
		.mode = (uint32_t)o->mode,
		.resolution = (uint32_t)o->resolution,
	};
}

int options_timeout_ms(const struct stint_options *o) {
	return o->timeout_ms ? o->timeout_ms : DEFAULT_TIMEOUT_MS;
}

static int64_t first_set(int64_t a, int64_t b, int64_t c) {
	return a ? a : b ? b : c;
}

int64_t options_fallback_max_requests(const struct stint_options *o) {
	return first_set(o->fallback_max_requests, limits_default_fallback(o->max_requests), UNKNOWN_MAX_REQUESTS);
}

int64_t options_fallback_time_window_ms(const struct stint_options *o) {
	return first_set(o->fallback_time_window_ms, o->time_window_ms, UNKNOWN_TIME_WINDOW_MS);
}
