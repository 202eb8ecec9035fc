/* after.c - see after.h. */
#include "after.h"

#include "act.h"
#include "clock.h"

/* An agent that was started again is asked by its apps within a second. */
#define ALONE_MS 3000

int other_attach(struct other *o, const char *socket, const struct stint_options *options) {
	*o = (struct other){.limit = options->max_requests};
	return act_attach(&o->stint, &o->limiter, socket, options);
}

void other_detach(struct other *o) {
	stint_limiter_free(o->limiter);
	stint_close(o->stint);
	*o = (struct other){0};
}

static int check(struct other *o, const char *id, struct stint_result *result) {
	uint64_t began_ns = monotonic_ns(), took_ns;
	int error = stint_check(o->limiter, id, 1, result);

	took_ns = monotonic_ns() - began_ns;
	o->worst_ns = took_ns > o->worst_ns ? took_ns : o->worst_ns;
	o->checks++;
	o->errors += error != 0;
	return error;
}

int64_t other_use_up(struct other *o, const char *id) {
	uint64_t deadline_ns = monotonic_ns() + ALONE_MS * NS_PER_MS;
	struct stint_result result;
	int64_t admitted = 0;

	while (admitted <= o->limit && check(o, id, &result) == 0) {
		if (result.source == STINT_SOURCE_LOCAL) {
			o->alone++;
			if (monotonic_ns() > deadline_ns)
				return admitted;
			sleep_ms(5);
			continue;
		}
		if (!result.allowed)
			return admitted;
		admitted++;
	}
	return admitted;
}
