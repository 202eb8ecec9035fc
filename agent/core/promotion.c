/*
 * promotion.c - another server has taken the place of the one that granted the leases
 * that are out.
 *
 * A standby that replicates asynchronously may lack the last commits of the old primary,
 * and so leases that hosts still spend. Granted anew from books that don't know them,
 * the same credits would be spent twice at once. So after a promotion no host is granted
 * anything until the leases of the old primary have run out, on all hosts: until then the
 * fallback's limits are in force, or who has to ask waits, as while the database is away.
 *
 * Old leases end by themselves at their deadlines, which may be a window and a sub-window away. Those that
 * last longer than the hold are destroyed by their agents, each when it hears of the promotion; CORE_HOLD_MAX_NS
 * leaves time for that. What remains of
 * them is never returned: the books that it would be subtracted from may never have had it.
 */
#include "internal.h"

int64_t promotion_longest_lease_ns(const struct core *core) {
	int64_t longest_us = 0;
	for (size_t i = 0; i < POLICY_CAPACITY; i++) {
		const struct core_policy *policy = &core->policies[i];
		int64_t lease_us = lease_longest_us(&policy->terms);
		if (policy->live && lease_us > longest_us)
			longest_us = lease_us;
	}
	int64_t longest_ns = longest_us * NS_PER_US;
	return longest_ns > core->others_lease_ns ? longest_ns : core->others_lease_ns;
}

void promotion_begin(struct core *core, int64_t now_ns, int64_t age_ns) {
	core->promoted = true;
	core->burnt.open = false; /* of an earlier promotion: begun anew when this one's hold is over */
	core->disowned = generation_begin(core);
	int64_t hold_ns = surely_after(promotion_longest_lease_ns(core));
	if (hold_ns > CORE_HOLD_MAX_NS)
		hold_ns = CORE_HOLD_MAX_NS;
	core->held_until_ns = now_ns + hold_ns - surely_within(age_ns);
}

/* Before the new primary begins to grant, what is still out of the old one's leases is destroyed, by a walk that
 * begins here. */
bool promotion_is_over(struct core *core) {
	if (core->promoted && !core->burnt.open)
		core->burnt = generation_begin(core);
	return !core->promoted;
}
