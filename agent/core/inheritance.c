/*
 * inheritance.c - what an agent that died in a fallback has left behind. It took its counts with it. The next one
 * finds in the table what a client was left with by the lease or the denial that it was given last, and lets it be
 * no more than that.
 */
#include "internal.h"

bool inheritance_is_told(const struct core *core, uint32_t slot) {
	int64_t ends_ns;
	return table_is_denied_by_fallback(core->table, slot, core->now_ns, &ends_ns) &&
	       ends_ns <= core->now_ns + DENIAL_MAX_US * NS_PER_US;
}

void inheritance_take(struct core *core, uint32_t index, uint32_t slot) {
	const struct client *client = client_at(core, index);
	const struct grant_terms *terms = &policy_of(core, client)->fallback_terms;
	uint32_t most = (uint32_t)terms->max_requests, left;
	int64_t ends_ns;
	if ((core->state != CORE_CONNECTING && !in_fallback(core)) ||
	    !table_tells_of_fallback(core->table, slot, core->now_ns, &left, &ends_ns))
		return;
	if (left == HINT_UNKNOWN)
		left = 0;
	if (left < most)
		lease_charge_memory(core, client, *terms, most - left, min64(ends_ns, core->now_ns));
}
