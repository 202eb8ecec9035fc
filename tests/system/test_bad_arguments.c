/*
 * test_bad_arguments.c - what an app may get wrong in the library's calls: options, ids and costs. Each mistake
 * is refused with a clear error. Ids that only look dangerous reach the database as they are.
 */
#include <string.h>

#include "proof.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define GOOD .policy = "api", .max_requests = 100, .time_window_ms = 1000

struct bad_options {
	const char *names;
	struct stint_options options;
	int error;
};

static void test_options(struct stint *stint) {
	const struct bad_options all[] = {
		{"policy", {.max_requests = 1, .time_window_ms = 1000}, STINT_EPOLICY},
		{"policy", {.policy = "", .max_requests = 1, .time_window_ms = 1000}, STINT_EPOLICY},
		{"policy",
	     {.policy = "a'; drop table stint.policy", .max_requests = 1, .time_window_ms = 1000},
	     STINT_EPOLICY},
		{"max_requests", {.policy = "api", .time_window_ms = 1000}, STINT_ERANGE},
		{"max_requests", {.policy = "api", .max_requests = -1, .time_window_ms = 1000}, STINT_ERANGE},
		{"max_requests", {.policy = "api", .max_requests = INT64_MAX, .time_window_ms = 1000}, STINT_ERANGE},
		{"time_window_ms", {.policy = "api", .max_requests = 1}, STINT_ERANGE},
		{"time_window_ms", {.policy = "api", .max_requests = 1, .time_window_ms = 99}, STINT_ERANGE},
		{"time_window_ms", {.policy = "api", .max_requests = 1, .time_window_ms = INT64_MAX}, STINT_ERANGE},
		{"fallback_max_requests", {GOOD, .fallback_max_requests = -1}, STINT_ERANGE},
		{"fallback_max_requests", {GOOD, .fallback_max_requests = INT64_MAX}, STINT_ERANGE},
		{"fallback_time_window_ms", {GOOD, .fallback_time_window_ms = 1}, STINT_ERANGE},
		{"resolution", {GOOD, .resolution = 61}, STINT_ERANGE},
		{"resolution", {GOOD, .resolution = -1}, STINT_ERANGE},
		{"algorithm", {GOOD, .algorithm = (enum stint_algorithm)77}, STINT_ERANGE},
		{"mode", {GOOD, .mode = (enum stint_mode)77}, STINT_ERANGE},
		{"timeout_ms", {GOOD, .timeout_ms = -1}, STINT_ERANGE},
		{"timeout_ms", {GOOD, .timeout_ms = STINT_TIMEOUT_MS_MAX + 1}, STINT_ERANGE},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct stint_limiter *limiter = (struct stint_limiter *)&limiter;
		int error = stint_limiter_new(&limiter, stint, &all[i].options);

		tap_ok(error == all[i].error && limiter == NULL && strstr(stint_error_detail(), all[i].names) != NULL,
		       "%s", stint_error_detail());
	}
}

struct id_case {
	const char *what;
	const char *id;
	bool good;
};

static void test_ids(struct stint_limiter *limiter, struct cluster *cluster) {
	static char long_id[257], longest_id[256];
	static const struct id_case all[] = {
		{"empty", "", false},
		{"256 bytes", long_id, false},
		{"invalid UTF-8: a lone byte", "client-\xff", false},
		{"invalid UTF-8: overlong", "\xc0\xaf", false},
		{"invalid UTF-8: a surrogate", "\xed\xa0\x80", false},
		{"invalid UTF-8: cut off", "caf\xc3", false},
		{"255 bytes", longest_id, true},
		{"quotes", "it's \"quoted\" $$ {a,b} \\x41 NULL", true},
		{"newlines and control bytes", "line one\nline two\r\n\t\x01\x7f", true},
		{"SQL", "x'); drop table stint.counter; --", true},
		{"other scripts", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x98", true},
	};
	int64_t rows = cluster_number(cluster, "select count(*) from stint.counter", -1), good = 0;

	memset(long_id, 'x', sizeof(long_id) - 1);
	memset(longest_id, 'y', sizeof(longest_id) - 1);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct stint_result result = {0};
		int error = stint_check(limiter, all[i].id, 1, &result);

		good += all[i].good;
		if (all[i].good)
			tap_ok(error == 0 && result.allowed && result.source == STINT_SOURCE_DATABASE,
			       "id with %s: %s, allowed %d, source %d", all[i].what,
			       error == 0 ? "fine" : stint_strerror(error), result.allowed, result.source);
		else
			tap_ok(error == STINT_ECLIENT && !stint_is_allowed(limiter, all[i].id), "id %s: %s", all[i].what,
			       stint_strerror(error));
	}
	rows = cluster_number(cluster, "select count(*) from stint.counter", -1) - rows;
	tap_ok(rows == good, "the good ones, and only those, are in the database: %lld of %lld", (long long)rows,
	       (long long)good);
	rows =
		cluster_number(cluster,
	                   "select count(*) from stint.counter where client_id = 'x''); drop table stint.counter; --'",
	                   0);
	tap_ok(rows == 1, "as they were given");
}

static void test_costs(struct stint_limiter *limiter) {
	struct stint_result result = {0};
	int error;

	error = stint_check(limiter, "cost", 0, &result);
	tap_ok(error == STINT_ERANGE, "cost 0: %s", stint_error_detail());
	error = stint_check(limiter, "cost", UINT32_MAX, &result);
	tap_ok(error == STINT_ERANGE, "a huge cost: %s", stint_error_detail());
	error = stint_check(limiter, "cost", 101, &result);
	tap_ok(error == 0 && result.reason == STINT_COST_ABOVE_LIMIT && result.retry_after_ms > 0,
	       "a cost above the limit is denied for ever: reason %d, retry after %lld", (int)result.reason,
	       (long long)result.retry_after_ms);
	error = stint_check(limiter, "cost", 100, &result);
	tap_ok(error == 0 && result.allowed, "the limit itself can be had at once: allowed %d", result.allowed);
}

static void test_library(struct stage *stage) {
	const struct stint_options options = {GOOD}, unknown = {.policy = "nobody-declared-it", .must_exist = true};
	struct stint_limiter *limiter = NULL, *missing = NULL;
	struct stint_result result;
	struct stint *stint = NULL;

	if (!tap_ok(stint_open(&stint, stage->host[0].socket) == 0 &&
	                stint_limiter_new(&limiter, stint, &options) == 0 &&
	                stint_limiter_new(&missing, stint, &unknown) == 0,
	            "a limiter"))
		return;
	test_options(stint);
	test_ids(limiter, &stage->cluster);
	test_costs(limiter);
	tap_ok(stint_check(missing, "somebody", 1, &result) == STINT_ENOPOLICY,
	       "a policy that must exist and doesn't");
	stint_limiter_free(missing);
	stint_limiter_free(limiter);
	stint_close(stint);
}

static int play(const struct scene *scene) {
	struct stage stage;

	if (stage_set(&stage, scene, 1, NULL) != 0)
		return tap_finish();
	test_library(&stage);
	proof_print_checks("I6", "hostile ids, options and costs");
	stage_strike(&stage);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 60);
}
