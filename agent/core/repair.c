/*
 * repair.c - puts back what somebody else wrote into the table. The sweep calls it for each client as it comes by:
 * until then that client may be denied, or admitted, what it shouldn't be, and no longer.
 *
 * The ledger says how a lease must look. One that looks otherwise is ended, and what is left of it counts as
 * spent, since nobody knows how much that was.
 */
#include "internal.h"

/* A lease may be from before the client's own limit, which a fallback doesn't know, or from since. */
static int64_t most_credits(const struct core *core, const struct grant_terms *terms, uint32_t slot,
                            bool fallback) {
	int64_t own;
	return !fallback && table_own_limit(core->table, slot, &own) ? max64(own, terms->max_requests)
	                                                             : terms->max_requests;
}

bool repair_is_plausible(const struct core *core, const struct core_policy *policy, uint32_t slot, int bank,
                         int64_t now_ns) {
	bool fallback = table_is_fallback(core->table, slot, bank);
	const struct grant_terms *terms = fallback ? &policy->fallback_terms : &policy->terms;
	return table_deadline(core->table, slot, bank) <= now_ns + lease_longest_us(terms) * NS_PER_US &&
	       table_credits(core->table, slot, bank) <= most_credits(core, terms, slot, fallback);
}

/* A lease that is over is left to its timer: credits that were taken too late may have been put back into it. */
static bool is_as_given(const struct core *core, const struct client *client, int bank, int64_t now_ns) {
	int64_t deadline_ns = client->lease[bank].deadline_ns;
	return table_deadline(core->table, client->slot, bank) == deadline_ns &&
	       (deadline_ns <= now_ns || table_credits(core->table, client->slot, bank) <= client->granted[bank]);
}

/* No lease begins after its end. (By the policy's sub-windows it can't be told: the database may know a new policy
 * already.) */
static bool start_is_wrong(const struct core *core, const struct client *client, int64_t now_ns) {
	int64_t latest_ns = now_ns;
	for (int bank = 0; bank < 2; bank++)
		if (client->lease[bank].deadline_ns > latest_ns)
			latest_ns = client->lease[bank].deadline_ns;
	return table_later_start(core->table, client->slot) > latest_ns;
}

static bool repair_leases(struct core *core, uint32_t index, int64_t now_ns) {
	const struct client *client = client_at(core, index);
	bool wrong_start = start_is_wrong(core, client, now_ns);
	bool repaired = wrong_start;
	for (int bank = 0; bank < 2; bank++) {
		if (!wrong_start && is_as_given(core, client, bank, now_ns))
			continue;
		lease_settle(core, index, bank, false);
		table_drain(core->table, client->slot, bank); /* also one that the ledger doesn't know */
		repaired = true;
	}
	if (wrong_start)
		table_clear_later_start(core->table, client->slot);
	return repaired;
}

static bool lift_long_denial(struct core *core, uint32_t slot, int64_t now_ns) {
	return table_lift_denial(core->table, slot, now_ns, now_ns + DENIAL_MAX_US * NS_PER_US);
}

void repair_client(struct core *core, uint32_t index, int64_t now_ns) {
	const struct client *client = client_at(core, index);
	struct place place = table_place(core->table, client->policy, client->id, client->id_len);
	bool repaired = table_repair(core->table, client->slot, &place, client->policy);
	repaired |= repair_leases(core, index, now_ns);
	repaired |= lift_long_denial(core, client->slot, now_ns);
	core->counters.repaired += repaired;
}

/* Nobody knows what an orphan was given; but what no agent gives was written by somebody else. */
void repair_orphan(struct core *core, uint32_t slot, int64_t now_ns) {
	uint32_t index = table_policy(core->table, slot);
	const struct core_policy *policy =
		index < POLICY_CAPACITY && core->policies[index].live ? &core->policies[index] : NULL;
	if (!inheritance_is_told(core, slot))
		lift_long_denial(core, slot, now_ns);
	for (int bank = 0; bank < 2; bank++)
		if (!policy || !repair_is_plausible(core, policy, slot, bank, now_ns))
			table_drain(core->table, slot, bank);
}
