/*
 * fallback.c - the database goes away, and comes back.
 *
 * Away: leases that the database has counted stay good until their deadlines, or until the
 * client needs more. New ones come from the memory store, with the fallback's terms; what a client
 * has spent of the database's since then is counted there first, so that a host's admits in a
 * fallback window stay within fallback_max_requests, old leases included.
 *
 * Back: the fallback's leases are destroyed, what was admitted meanwhile becomes
 * a charge of each client's next request, and only then does the client get
 * anything of the database's. Charges are limited to what the window still holds.
 * The memory store keeps its counts: a database that comes and goes doesn't start
 * a new fallback limit each time.
 */
#include "internal.h"
#include "stint.h"

void fallback_enter(struct core *core, int64_t now_ns) {
	core->state = CORE_FALLBACK;
	core->fallback_since_ns = now_ns;
	core->counters.fallback_granted = 0;
	core->charges_left = 0;
	for (uint32_t i = 0; i < core->pool.high; i++)
		if (client_at(core, i)->flags & CLIENT_LIVE)
			lease_begin_period(core, client_at(core, i)); /* what was used before doesn't count in the fallback */
}

/* Before a client gets anything of the fallback's: what is left of the database's leases is destroyed, and what was
 * spent of them counts. To leave them would mean to spend them in a later fallback window than they count in. */
void fallback_absorb(struct core *core, uint32_t index) {
	for (int bank = 0; bank < 2; bank++)
		if (!(client_at(core, index)->flags & CLIENT_BANK_FALLBACK << bank))
			lease_settle(core, index, bank, false);
}

static void destroy_fallback_leases(struct core *core) {
	for (uint32_t i = 0; i < core->pool.high; i++) {
		struct client *client = client_at(core, i);
		if (!(client->flags & CLIENT_LIVE))
			continue;
		for (int bank = 0; bank < 2; bank++)
			if (client->flags & CLIENT_BANK_FALLBACK << bank)
				lease_settle(core, i, bank, true);
		if (client->slot != TABLE_NO_SLOT)
			table_deny(core->table, client->slot, 0, 0, 0);
	}
}

/* Leases of a fallback that an earlier agent was in: what it had admitted is forgotten, the rest at least ends. */
void fallback_drop_orphans(struct core *core) {
	for (uint32_t slot = 0; slot < core->table->slot_count; slot++)
		if (core->table->owner[slot] == TABLE_ORPHAN || core->table->owner[slot] == TABLE_ORPHAN_IDLE)
			for (int bank = 0; bank < 2; bank++)
				if (table_is_fallback(core->table, slot, bank))
					table_drain(core->table, slot, bank);
}

/* Of what the fallback granted, the part that the policy's window may still hold: all of it, unless the ring, which is as long
 * as the fallback's window, reaches back to before the policy's. */
static int64_t recent_of(const struct store_memory_entry *entry, int runs, int64_t since_us) {
	int64_t recent = 0;
	if (entry->head_us - runs * entry->sub_window_us > since_us)
		return entry->uncharged;
	for (int i = 0; i < entry->length; i++)
		if (entry->head_us - (i - 1) * entry->sub_window_us > since_us)
			recent += entry->counts[i];
	return recent < entry->uncharged ? recent : entry->uncharged;
}

static void charge_client(void *context, const struct store_memory_entry *entry) {
	struct core *core = context;
	uint16_t index = (uint16_t)(entry->policy_id - 1);
	const struct core_policy *policy = &core->policies[index];
	int64_t since_us = (core->now_ns - window_passes_ns(policy)) / NS_PER_US;
	int64_t recent = recent_of(entry, policy->fallback_terms.runs, since_us);
	struct debt owed = debt_of(recent, 0, recent > 0 ? entry->head_us + entry->sub_window_us : 0);
	if (entry->owed.since_us > since_us)
		owed = debt_sum(owed, entry->owed);
	if (!policy->live || owed.charge <= 0)
		return;
	uint32_t client = client_obtain(core, index, entry->client_id, entry->client_id_len);
	struct op *op = client == CLIENT_NONE ? NULL : op_for(core, client);
	if (!op)
		return;
	op->debt = debt_sum(op->debt, owed);
	if (op->debt.charge > policy->terms.max_requests)
		op->debt = debt_of(policy->terms.max_requests, op->debt.advanced, op->debt.since_us);
	core->charges_left++;
}

void fallback_leave(struct core *core, int64_t now_ns) {
	destroy_fallback_leases(core);
	core->state = CORE_RESYNC; /* from here on nothing is counted in the memory store, which is being walked */
	store_memory_collect_some(core->memory, store_memory_chains(core->memory), SIZE_MAX, charge_client, core);
	if (core->charges_left == 0)
		core->state = CORE_IN_STEP;
	core->fallback_since_ns = 0;
	core->background_at_ns = now_ns;
}

int64_t core_relaxed_advance(const struct core *core, const struct core_policy *policy) {
	int64_t part = core->hosts > 0 ? policy->terms.max_requests / (8 * (int64_t)core->hosts) : 0;
	return part > 1 ? part : 1;
}
