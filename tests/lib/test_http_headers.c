/*
 * test_http_headers.c - verdicts in header fields.
 */
#include <stdio.h>
#include <string.h>

#include "sized.h"
#include "stint.h"
#include "unit.h"

/* What was called back with, a line for each. */
struct lines {
	char text[1024];
	int count;
};

static void add_line(const char *name, const char *value, void *arg) {
	struct lines *lines = arg;
	size_t length = strlen(lines->text);

	lines->count++;
	snprintf(lines->text + length, sizeof(lines->text) - length, "%s: %s\n", name, value);
}

static const struct stint_http_options minute = {.policy = "api", .time_window_ms = 60000};

static const struct stint_result admitted = {
	.allowed = true,
	.source = STINT_SOURCE_LEASE,
	.reason = STINT_ADMITTED,
	.limit = 100,
	.remaining = 12,
	.reset_after_ms = 33001,
};

static const struct stint_result denied = {
	.source = STINT_SOURCE_LEASE,
	.reason = STINT_OVER_LIMIT,
	.limit = 100,
	.remaining = 1,
	.retry_after_ms = 2001,
	.reset_after_ms = 33001,
};

static void assert_lines(struct stint_http_options options, struct stint_result result, const char *expected) {
	struct lines lines = {.count = 0};

	assert_int_equal(stint_http_headers(&options, &result, add_line, &lines), 0);
	assert_string_equal(lines.text, expected);
}

/* With some of their fields changed. */
#define OPTIONS(...)      (options = minute, __VA_ARGS__, options)
#define RESULT(from, ...) (result = from, __VA_ARGS__, result)

static void an_admission_is_told(void **state) {
	(void)state;
	assert_lines(minute, admitted, "RateLimit-Policy: \"api\";q=100;w=60\nRateLimit: \"api\";r=12;t=34\n");
}

static void a_denial_has_retry_after(void **state) {
	(void)state;
	assert_lines(minute, denied,
	             "RateLimit-Policy: \"api\";q=100;w=60\nRateLimit: \"api\";r=1;t=3\nRetry-After: 3\n");
}

static void seconds_are_rounded_up(void **state) {
	struct stint_http_options options;
	struct stint_result result;

	(void)state;
	assert_lines(OPTIONS(options.time_window_ms = 1000), RESULT(admitted, result.reset_after_ms = 1),
	             "RateLimit-Policy: \"api\";q=100;w=1\nRateLimit: \"api\";r=12;t=1\n");
	assert_lines(OPTIONS(options.time_window_ms = 1001), RESULT(admitted, result.reset_after_ms = 1000),
	             "RateLimit-Policy: \"api\";q=100;w=2\nRateLimit: \"api\";r=12;t=1\n");
	assert_lines(minute, RESULT(admitted, result.reset_after_ms = 0),
	             "RateLimit-Policy: \"api\";q=100;w=60\nRateLimit: \"api\";r=12;t=0\n");
	options = (struct stint_http_options){.policy = "api", .version = STINT_HTTP_NONE};
	assert_lines(options, RESULT(denied, result.retry_after_ms = 1), "Retry-After: 1\n");
	assert_lines(options, RESULT(denied, result.retry_after_ms = 999), "Retry-After: 1\n");
	assert_lines(options, RESULT(denied, result.retry_after_ms = 1000), "Retry-After: 1\n");
	assert_lines(options, RESULT(denied, result.retry_after_ms = 1001), "Retry-After: 2\n");
	assert_lines(options, RESULT(denied, result.retry_after_ms = 0), "Retry-After: 1\n");
	assert_lines(options, RESULT(denied, result.retry_after_ms = 2 * STINT_TIME_WINDOW_MS_MAX),
	             "Retry-After: 5356800\n");
	assert_lines(options, admitted, "");
}

static void short_and_unknown_windows_are_left_out(void **state) {
	struct stint_http_options options;

	(void)state;
	assert_lines(OPTIONS(options.time_window_ms = 999), admitted,
	             "RateLimit-Policy: \"api\";q=100\nRateLimit: \"api\";r=12;t=34\n");
	assert_lines(OPTIONS(options.time_window_ms = 0), admitted,
	             "RateLimit-Policy: \"api\";q=100\nRateLimit: \"api\";r=12;t=34\n");
}

/* The limit of a fallback may be by another window. */
static void a_window_is_told_where_it_is_known(void **state) {
	const char *with = "RateLimit-Policy: \"api\";q=100;w=60\nRateLimit: \"api\";r=12;t=34\n";
	const char *without = "RateLimit-Policy: \"api\";q=100\nRateLimit: \"api\";r=12;t=34\n";
	struct stint_http_options options;
	struct stint_result result;

	(void)state;
	for (int source = STINT_SOURCE_LEASE; source <= STINT_SOURCE_ADVANCE; source++) {
		bool alone = source == STINT_SOURCE_FALLBACK || source == STINT_SOURCE_LOCAL;
		(void)RESULT(admitted, result.source = (enum stint_source)source);
		assert_lines(minute, result, with);
		assert_lines(OPTIONS(options.fallback_time_window_ms = 60000), result, with);
		assert_lines(OPTIONS(options.fallback_time_window_ms = 30000), result, alone ? without : with);
	}
}

/* What the app has declared may not apply. */
static void the_results_window_outweighs_the_options(void **state) {
	struct stint_result result;

	(void)state;
	for (int source = STINT_SOURCE_LEASE; source <= STINT_SOURCE_ADVANCE; source++) {
		(void)RESULT(admitted, result.source = (enum stint_source)source, result.time_window_ms = 6001);
		assert_lines((struct stint_http_options){.policy = "api"}, result,
		             "RateLimit-Policy: \"api\";q=100;w=7\nRateLimit: \"api\";r=12;t=34\n");
		assert_lines((struct stint_http_options){.policy = "api",
		                                         .time_window_ms = 60000,
		                                         .fallback_time_window_ms = 30000},
		             result, "RateLimit-Policy: \"api\";q=100;w=7\nRateLimit: \"api\";r=12;t=34\n");
	}
	assert_lines(minute, RESULT(admitted, result.time_window_ms = 999),
	             "RateLimit-Policy: \"api\";q=100\nRateLimit: \"api\";r=12;t=34\n");
	assert_lines(minute, RESULT(admitted, result.time_window_ms = -1),
	             "RateLimit-Policy: \"api\";q=100;w=60\nRateLimit: \"api\";r=12;t=34\n");
}

static void x_ratelimit_comes_on_request(void **state) {
	struct stint_http_options options;

	(void)state;
	(void)OPTIONS(options.x_ratelimit = true, options.version = STINT_HTTP_NONE);
	assert_lines(options, admitted, "X-RateLimit-Limit: 100\nX-RateLimit-Remaining: 12\nX-RateLimit-Reset: 34\n");
	assert_lines(options, denied,
	             "X-RateLimit-Limit: 100\nX-RateLimit-Remaining: 1\nX-RateLimit-Reset: 3\nRetry-After: 3\n");
	options.version = STINT_HTTP_DRAFT_11;
	struct lines lines = {.count = 0};
	assert_int_equal(stint_http_headers(&options, &denied, add_line, &lines), 0);
	assert_int_equal(lines.count, 6);
}

static void the_blocked_are_told(void **state) {
	struct stint_result result;

	(void)state;
	(void)RESULT(denied, result.reason = STINT_BLOCKED, result.limit = 0, result.remaining = 0);
	result.retry_after_ms = 60000;
	result.reset_after_ms = 0;
	assert_lines(minute, result,
	             "RateLimit-Policy: \"api\";q=0;w=60\nRateLimit: \"api\";r=0;t=60\nRetry-After: 60\n");
}

/* Where on_error decides for a limiter that must find its policy. */
static void a_limit_that_nobody_knows_is_not_told(void **state) {
	struct stint_http_options options;
	struct stint_result result;

	(void)state;
	(void)OPTIONS(options.x_ratelimit = true);
	(void)RESULT(denied, result.source = STINT_SOURCE_LOCAL, result.reason = STINT_UNAVAILABLE, result.limit = 0);
	assert_lines(options, result, "Retry-After: 3\n");
	assert_lines(options, RESULT(admitted, result.source = STINT_SOURCE_LOCAL, result.limit = 0), "");
}

/* A list of structured fields has no negative numbers here, and none of more than 15 digits. */
static void numbers_are_kept_in_bounds(void **state) {
	struct stint_result result;

	(void)state;
	assert_lines(minute, RESULT(admitted, result.remaining = -5, result.reset_after_ms = -1),
	             "RateLimit-Policy: \"api\";q=100;w=60\nRateLimit: \"api\";r=0;t=0\n");
	assert_lines(minute, RESULT(admitted, result.limit = INT64_MIN, result.remaining = INT64_MAX),
	             "RateLimit-Policy: \"api\";q=0;w=60\nRateLimit: \"api\";r=999999999999999;t=34\n");
	assert_lines(minute, RESULT(denied, result.retry_after_ms = INT64_MAX, result.limit = INT64_MAX),
	             "RateLimit-Policy: \"api\";q=999999999999999;w=60\n"
	             "RateLimit: \"api\";r=1;t=999999999999999\nRetry-After: 999999999999999\n");
	assert_lines(minute, RESULT(denied, result.retry_after_ms = INT64_MIN),
	             "RateLimit-Policy: \"api\";q=100;w=60\nRateLimit: \"api\";r=1;t=1\nRetry-After: 1\n");
}

static void numbers_of_any_length_are_written(void **state) {
	const struct stint_http_options options = {.policy = "api", .version = STINT_HTTP_NONE, .x_ratelimit = true};
	struct stint_result result;
	char expected[512];

	(void)state;
	for (int64_t power = 1; power < 1000000000000000; power *= 10) {
		for (int64_t number = power - 1; number <= power + 1; number++) {
			snprintf(expected, sizeof(expected),
			         "X-RateLimit-Limit: %lld\nX-RateLimit-Remaining: %lld\nX-RateLimit-Reset: 34\n",
			         (long long)number, (long long)(7 * number % 1000000000000000));
			assert_lines(options,
			             RESULT(admitted, result.limit = number, result.remaining = 7 * number % 1000000000000000),
			             expected);
		}
	}
}

static void the_longest_value_fits(void **state) {
	char name[STINT_POLICY_NAME_MAX + 1], expected[512];
	struct stint_http_options options;
	struct stint_result result;

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	snprintf(expected, sizeof(expected),
	         "RateLimit-Policy: \"%s\";q=999999999999999;w=2678400\n"
	         "RateLimit: \"%s\";r=999999999999999;t=999999999999999\n",
	         name, name);
	(void)RESULT(admitted, result.limit = INT64_MAX, result.remaining = INT64_MAX,
	             result.reset_after_ms = INT64_MAX);
	assert_lines(OPTIONS(options.policy = name, options.time_window_ms = STINT_TIME_WINDOW_MS_MAX), result,
	             expected);
}

/* Nobody is called back then. */
static void assert_refused(struct stint_http_options options, int expected, const char *detail) {
	struct lines lines = {.count = 0};

	assert_int_equal(stint_http_headers(&options, &admitted, add_line, &lines), expected);
	assert_int_equal(lines.count, 0);
	assert_non_null(strstr(stint_error_detail(), detail));
}

/* What could end a string, or a line, is in no policy's name. */
static void bad_options_are_refused(void **state) {
	static const char *const bad[] = {"", "a\"", "a\\", "a\r\nSet-Cookie: x", "a;q=1", "a b", "\xc3\xa9"};
	struct stint_http_options options;

	(void)state;
	assert_refused(OPTIONS(options.policy = NULL), STINT_EPOLICY, "NULL or empty");
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_refused(OPTIONS(options.policy = bad[i]), STINT_EPOLICY, "policy ");
	assert_refused(OPTIONS(options.time_window_ms = 99), STINT_ERANGE, "time_window_ms is 99, must be 100 to ");
	assert_refused(OPTIONS(options.time_window_ms = -1), STINT_ERANGE, "time_window_ms is -1");
	assert_refused(OPTIONS(options.fallback_time_window_ms = 1), STINT_ERANGE, "fallback_time_window_ms is 1,");
	assert_refused(OPTIONS(options.version = (enum stint_http_version)2), STINT_ERANGE, "version is 2");
	assert_refused(OPTIONS(options.version = (enum stint_http_version)(-1)), STINT_ERANGE, "version is -1");
}

static void sizes_travel(void **state) {
	struct {
		struct stint_http_options known;
		int64_t unknown;
	} later = {.known = minute};
	struct {
		struct stint_result known;
		int64_t unknown;
	} result = {.known = admitted, .unknown = 7};
	struct lines lines = {.count = 0};
	const size_t bad[] = {0, 8, SIZE_MAX, sizeof(minute) + SIZED_LATER_MAX + 1};

	(void)state;
	assert_int_equal(stint_http_headers_sized(&later.known, sizeof(later), &result.known, sizeof(result), add_line,
	                                          &lines),
	                 0);
	assert_int_equal(lines.count, 2);
	later.unknown = 1;
	assert_int_equal(stint_http_headers_sized(&later.known, sizeof(later), &result.known, sizeof(result), add_line,
	                                          &lines),
	                 STINT_ERANGE);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(stint_http_headers_sized(&minute, bad[i], &admitted, sizeof(admitted), add_line, &lines),
		                 STINT_EVERSION);
	assert_int_equal(stint_http_headers_sized(&minute, sizeof(minute), &admitted, 8, add_line, &lines),
	                 STINT_EVERSION);
	assert_int_equal(lines.count, 2);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_admission_is_told),
		cmocka_unit_test(a_denial_has_retry_after),
		cmocka_unit_test(seconds_are_rounded_up),
		cmocka_unit_test(short_and_unknown_windows_are_left_out),
		cmocka_unit_test(a_window_is_told_where_it_is_known),
		cmocka_unit_test(the_results_window_outweighs_the_options),
		cmocka_unit_test(x_ratelimit_comes_on_request),
		cmocka_unit_test(the_blocked_are_told),
		cmocka_unit_test(a_limit_that_nobody_knows_is_not_told),
		cmocka_unit_test(numbers_are_kept_in_bounds),
		cmocka_unit_test(numbers_of_any_length_are_written),
		cmocka_unit_test(the_longest_value_fits),
		cmocka_unit_test(bad_options_are_refused),
		cmocka_unit_test(sizes_travel),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
