/*
 * app.c - an app in a few lines, for tests of the units: sends one check after
 * the other and says who decided. Fails when one was denied, failed, or took
 * longer than the library promises.
 *
 *     app POLICY MAX_REQUESTS TIME_WINDOW_MS CLIENT CHECKS [PAUSE_MS]
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "stint.h"

#define TIMEOUT_MS 1000
#define SLOW_MS    (TIMEOUT_MS + 500) /* what a busy machine may add */

struct tally {
	long denied, failed, slow;
	long by_source[STINT_SOURCE_ADVANCE + 1];
};

static int64_t now_ms(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void check_once(struct tally *tally, struct stint_limiter *limiter, const char *client_id) {
	struct stint_result result;
	int64_t began_ms = now_ms();
	int error = stint_check(limiter, client_id, 1, &result);
	tally->slow += now_ms() - began_ms > SLOW_MS;
	if (error != 0) {
		tally->failed++;
		fprintf(stderr, "%s: %s\n", stint_strerror(error), stint_error_detail());
		return;
	}
	tally->denied += !result.allowed;
	tally->by_source[result.source]++;
}

static int report(const struct tally *tally) {
	printf("by lease %ld, by database %ld, by fallback %ld, by itself %ld; denied %ld, failed %ld, slow %ld\n",
	       tally->by_source[STINT_SOURCE_LEASE], tally->by_source[STINT_SOURCE_DATABASE],
	       tally->by_source[STINT_SOURCE_FALLBACK], tally->by_source[STINT_SOURCE_LOCAL], tally->denied,
	       tally->failed, tally->slow);
	bool served = tally->by_source[STINT_SOURCE_LEASE] + tally->by_source[STINT_SOURCE_DATABASE] > 0;
	return served && tally->denied + tally->failed + tally->slow == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
	struct stint *stint = NULL;
	struct stint_limiter *limiter = NULL;
	struct tally tally = {0};
	if (argc < 6) {
		fprintf(stderr, "usage: app POLICY MAX_REQUESTS TIME_WINDOW_MS CLIENT CHECKS [PAUSE_MS]\n");
		return 2;
	}
	const struct stint_options options = {
		.policy = argv[1],
		.max_requests = atoll(argv[2]),
		.time_window_ms = atoll(argv[3]),
		.timeout_ms = TIMEOUT_MS,
	};
	int error = stint_open(&stint, NULL);
	if (error == 0)
		error = stint_limiter_new(&limiter, stint, &options);
	if (error != 0) {
		fprintf(stderr, "%s: %s\n", stint_strerror(error), stint_error_detail());
		return 2;
	}
	long pause_ms = argc > 6 ? atol(argv[6]) : 0;
	for (long i = 0; i < atol(argv[5]); i++) {
		check_once(&tally, limiter, argv[4]);
		nanosleep(&(struct timespec){.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000}, NULL);
	}
	stint_limiter_free(limiter);
	stint_close(stint);
	return report(&tally);
}
