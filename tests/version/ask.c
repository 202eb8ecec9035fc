/*
 * ask.c - an app: one check with its reasons, then many by the short form. Prints the first's error, what went
 * with it, the source if there was no error, and how many of the others were allowed.
 *
 *     ask SOCKET CHECKS
 */
#include <stdio.h>
#include <stdlib.h>

#include "stint.h"

#define WINDOW_MS INT64_C(2678400000) /* the window doesn't end meanwhile */

int main(int argc, char **argv) {
	const struct stint_options options = {.policy = "api", .max_requests = 10, .time_window_ms = WINDOW_MS};
	struct stint_limiter *limiter;
	struct stint_result result = {0};
	struct stint *stint;
	int error, allowed = 0;

	if (argc != 3 || stint_open(&stint, argv[1]) != 0 || stint_limiter_new(&limiter, stint, &options) != 0)
		return 2;
	error = stint_check(limiter, "first", 1, &result);
	printf("%d\n%s\n%d\n", error, error ? stint_error_detail() : "-", error ? 0 : (int)result.source);
	for (int i = atoi(argv[2]); i > 0; i--)
		allowed += stint_is_allowed(limiter, "joe");
	printf("%d\n", allowed);
	stint_limiter_free(limiter);
	stint_close(stint);
	return 0;
}
