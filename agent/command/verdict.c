/*
 * verdict.c - see verdict.h.
 */
#include "verdict.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "output.h"
#include "stint.h"

int verdict_ask(const char *socket_path, const char *policy, const char *client_id, uint32_t cost,
                struct stint_result *result) {
	struct stint *stint = NULL;
	struct stint_limiter *limiter = NULL;
	const struct stint_options limits = {.policy = policy, .must_exist = true};
	int status = stint_open(&stint, socket_path);
	if (status == 0)
		status = stint_limiter_new(&limiter, stint, &limits);
	if (status == 0)
		status =
			cost > 0 ? stint_check(limiter, client_id, cost, result) : stint_peek(limiter, client_id, 1, result);
	if (status == 0 && result->source == STINT_SOURCE_LOCAL)
		status = STINT_EAGENT;
	stint_limiter_free(limiter);
	stint_close(stint);
	return status;
}

static const char *source_name(enum stint_source source) {
	switch (source) {
	case STINT_SOURCE_LEASE: return "lease";
	case STINT_SOURCE_DATABASE: return "database";
	case STINT_SOURCE_FALLBACK: return "fallback";
	case STINT_SOURCE_LOCAL: return "local";
	case STINT_SOURCE_ADVANCE: return "advance";
	}
	return "unknown";
}

static const char *reason_name(enum stint_reason reason) {
	switch (reason) {
	case STINT_ADMITTED: return "admitted";
	case STINT_OVER_LIMIT: return "over_limit";
	case STINT_BLOCKED: return "blocked";
	case STINT_COST_ABOVE_LIMIT: return "cost_above_limit";
	case STINT_UNAVAILABLE: return "unavailable";
	}
	return "unknown";
}

void verdict_add(json_t *object, const struct stint_result *result) {
	json_object_set_new(object, "allowed", json_boolean(result->allowed));
	json_object_set_new(object, "shadow_denied", json_boolean(result->shadow_denied));
	json_object_set_new(object, "source", json_string(source_name(result->source)));
	json_object_set_new(object, "reason", json_string(reason_name(result->reason)));
	json_object_set_new(object, "limit", json_integer(result->limit));
	json_object_set_new(object, "time_window_ms", json_integer(result->time_window_ms));
	json_object_set_new(object, "remaining", json_integer(result->remaining));
	json_object_set_new(object, "retry_after_ms", json_integer(result->retry_after_ms));
	json_object_set_new(object, "reset_after_ms", json_integer(result->reset_after_ms));
}

void verdict_print(const struct stint_result *result) {
	char retry[OUTPUT_TEXT_SIZE], reset[OUTPUT_TEXT_SIZE];
	printf("%s by %s%s: ", result->allowed ? "allowed" : "denied", source_name(result->source),
	       result->shadow_denied ? ", as the policy is a shadow; else denied" : "");
	if (result->reason == STINT_BLOCKED) {
		printf("the client is blocked\n");
		return;
	}
	printf("%" PRId64 " of %" PRId64 " remaining", result->remaining, result->limit);
	if (result->reason == STINT_COST_ABOVE_LIMIT)
		printf(", this cost is above the limit and never admitted");
	else if (!result->allowed || result->shadow_denied)
		printf("%s, retry after %s", result->reason == STINT_UNAVAILABLE ? ", at the moment nobody can look" : "",
		       output_duration(retry, result->retry_after_ms));
	if (result->reset_after_ms > 0)
		printf(", free again after %s", output_duration(reset, result->reset_after_ms));
	putchar('\n');
}
