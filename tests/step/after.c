/* after.c - see after.h. */
#include "after.h"

#include "act.h"
#include "clock.h"

/* Apps ask an agent that was started again within a second. */
#define ALONE_MS 10000

int other_attach(struct other *o, const char *socket, const struct stint_options *options) {
	*o = (struct other){.limit = options->max_requests};
	return act_attach(&o->stint, &o->limiter, socket, options);
}

void other_detach(struct other *o) {
	stint_limiter_free(o->limiter);
	stint_close(o->stint);
	*o = (struct other){0};
}

static int check(struct other *o, const char *id, uint32_t cost, struct stint_result *result) {
	uint64_t began_ns = monotonic_ns(), took_ns;
	int error = stint_check(o->limiter, id, cost, result);

	took_ns = monotonic_ns() - began_ns;
	o->worst_ns = took_ns > o->worst_ns ? took_ns : o->worst_ns;
	o->checks++;
	o->errors += error != 0;
	return error;
}

int64_t other_take(struct other *o, const char *id, uint32_t cost) {
	uint64_t deadline_ns = monotonic_ns() + ALONE_MS * NS_PER_MS;
	struct stint_result result;

	while (check(o, id, cost, &result) == 0 && monotonic_ns() < deadline_ns) {
		if (result.source != STINT_SOURCE_LOCAL)
			return result.allowed ? cost : 0;
		o->alone++;
		sleep_ms(5);
	}
	return 0;
}

int64_t other_use_up(struct other *o, const char *id) {
	int64_t admitted = 0;

	while (admitted <= o->limit && other_take(o, id, 1) > 0)
		admitted++;
	return admitted;
}
