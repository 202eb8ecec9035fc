/*
 * http_headers.c - tells a verdict in the header fields of a response.
 *
 * RateLimit-Policy and RateLimit are lists of structured fields (RFC 9651), as the IETF's draft
 * draft-ietf-httpapi-ratelimit-headers-11 has them. Their integers have 15 digits at most.
 */
#include "options.h"
#include "protocol/hot.h"
#include "sized.h"
#include "stint.h"
#include "text.h"

#define INTEGER_MAX INT64_C(999999999999999)

/* The longest value is a policy's name in quotes, with two numbers. */
#define VALUE_SIZE (STINT_POLICY_NAME_MAX + 64)

struct writer {
	stint_http_callback *callback;
	void *arg;
};

static uint64_t bounded(int64_t number) {
	return (uint64_t)(number < 0 ? 0 : number > INTEGER_MAX ? INTEGER_MAX : number);
}

/* Rounds up, so that whoever waits for so many seconds doesn't come too early. */
static uint64_t seconds(int64_t ms) {
	return bounded(ms / 1000 + (ms % 1000 > 0));
}

static uint64_t retry_after(const struct stint_result *r) {
	return r->retry_after_ms > 0 ? seconds(r->retry_after_ms) : 1;
}

/* The window in which the result's limit is counted; 0 where that isn't known for sure. What hosts and processes
 * decide alone may be by the fallback's window: a result that doesn't tell its own leaves that open. */
static int64_t window_of(const struct stint_http_options *o, const struct stint_result *r) {
	bool alone = r->source == STINT_SOURCE_FALLBACK || r->source == STINT_SOURCE_LOCAL;
	bool same = o->fallback_time_window_ms == 0 || o->fallback_time_window_ms == o->time_window_ms;
	if (r->time_window_ms > 0)
		return r->time_window_ms;
	return alone && !same ? 0 : o->time_window_ms;
}

/* A limiter that must find its policy, and hasn't yet, knows no limit. Its 0 would be a blocked client's. */
static bool knows_limit(const struct stint_result *r) {
	return r->source != STINT_SOURCE_LOCAL || r->limit > 0;
}

static inline char *put_parameter(char *at, char name, uint64_t number) {
	*at++ = ';';
	*at++ = name;
	*at++ = '=';
	return text_put_number(at, number);
}

/* The alphabet of names has no quote and no backslash, so nothing in them needs an escape. */
static char *put_policy(char *at, const char *name) {
	return text_put(text_put(text_put(at, "\""), name), "\"");
}

static void write_draft_11(const struct writer *w, const struct stint_http_options *o,
                           const struct stint_result *r) {
	char value[VALUE_SIZE];
	int64_t window_ms = window_of(o, r);
	char *parameters = put_policy(value, o->policy);
	char *end = put_parameter(parameters, 'q', bounded(r->limit));
	if (window_ms >= 1000)
		end = put_parameter(end, 'w', seconds(window_ms));
	*end = '\0';
	w->callback("RateLimit-Policy", value, w->arg);
	end = put_parameter(parameters, 'r', bounded(r->remaining));
	end = put_parameter(end, 't', r->allowed ? seconds(r->reset_after_ms) : retry_after(r));
	*end = '\0';
	w->callback("RateLimit", value, w->arg);
}

static void write_number(const struct writer *w, const char *name, uint64_t number) {
	char value[VALUE_SIZE];
	*text_put_number(value, number) = '\0';
	w->callback(name, value, w->arg);
}

static void write_x_ratelimit(const struct writer *w, const struct stint_result *r) {
	write_number(w, "X-RateLimit-Limit", bounded(r->limit));
	write_number(w, "X-RateLimit-Remaining", bounded(r->remaining));
	write_number(w, "X-RateLimit-Reset", r->allowed ? seconds(r->reset_after_ms) : retry_after(r));
}

static int check(const struct stint_http_options *o) {
	int error = options_check_policy(o->policy);
	if (!error)
		error = options_check_optional("time_window_ms", o->time_window_ms, STINT_TIME_WINDOW_MS_MIN,
		                               STINT_TIME_WINDOW_MS_MAX);
	if (!error)
		error = options_check_optional("fallback_time_window_ms", o->fallback_time_window_ms,
		                               STINT_TIME_WINDOW_MS_MIN, STINT_TIME_WINDOW_MS_MAX);
	if (!error)
		error = options_check_optional("version", (int)o->version, STINT_HTTP_DRAFT_11, STINT_HTTP_NONE);
	return error;
}

static void write_all(const struct writer *w, const struct stint_http_options *o, const struct stint_result *r) {
	if (o->version == STINT_HTTP_DRAFT_11 && knows_limit(r))
		write_draft_11(w, o, r);
	if (o->x_ratelimit && knows_limit(r))
		write_x_ratelimit(w, r);
	if (!r->allowed)
		write_number(w, "Retry-After", retry_after(r));
}

COLD static int tell_other_version(const struct stint_http_options *options, size_t options_size,
                                   const struct stint_result *result, size_t result_size, const struct writer *w) {
	struct stint_http_options o;
	struct stint_result r;
	int error = sized_http_options(&o, options, options_size);
	if (!error)
		error = sized_check_result(result_size);
	if (!error)
		error = check(&o);
	if (error)
		return error;
	sized_take_result(&r, result, result_size);
	write_all(w, &o, &r);
	return 0;
}

int stint_http_headers_sized(const struct stint_http_options *options, size_t options_size,
                             const struct stint_result *result, size_t result_size, stint_http_callback *callback,
                             void *arg) {
	struct writer w = {callback, arg};
	if (options_size != sizeof(*options) || result_size != sizeof(*result))
		return tell_other_version(options, options_size, result, result_size, &w);
	int error = check(options);
	if (!error)
		write_all(&w, options, result);
	return error;
}
