/*
 * sweep.c - goes round the table for ever, in small steps. Clients that are idle leave it, what somebody scribbled
 * over is put back, and the memory store drops what nothing depends on.
 */
#include "internal.h"

/* A client leaves after this many sweeps without use, so a sweep takes a quarter of the idle timeout. */
#define IDLE_SWEEPS     4u
#define SWEEP_STEP_NS   (50 * NS_PER_MS)
#define SWEEP_SLOTS_MAX 4096 /* in one step: with a large table and a short timeout they come more often */
/* A step looks at one part in EXPIRE_STEPS of the memory store's chains, so all are looked at in 13 s: at
 * EXPIRE_CHAINS_MIN at least, since they cost little; at EXPIRE_CHAINS_MAX at most, since the event loop waits. */
#define EXPIRE_STEPS      256
#define EXPIRE_CHAINS_MIN 256u
#define EXPIRE_CHAINS_MAX 4096u

static void sweep_orphan(struct core *core, uint32_t slot, int64_t now_ns) {
	repair_orphan(core, slot, now_ns);
	if (table_was_referenced(core->table, slot))
		core->table->owner[slot] = TABLE_ORPHAN;
	else if (core->table->owner[slot] == TABLE_ORPHAN)
		core->table->owner[slot] = TABLE_ORPHAN_IDLE;
	else
		table_release(core->table, slot);
}

static void sweep_client(struct core *core, uint32_t index, int64_t now_ns) {
	struct client *client = client_at(core, index);
	generation_meet(core, index);
	repair_client(core, index, now_ns);
	/* A timer of what must not lie idle will look whether the client was referenced: that must not be read and
	 * forgotten here. */
	bool is_watched = client->flags & CLIENT_TIMED && lease_must_not_idle(core, client);
	if (client->pending != NO_PENDING || is_watched || table_was_referenced(core->table, client->slot))
		client->idle = 0;
	else if (client->idle < IDLE_SWEEPS)
		client->idle++;
	bool returns = lease_must_not_idle(core, client) && lease_unspent(core, client) > 0;
	bool must_wait = client->flags & CLIENT_TIMED || (returns && !has_background_room(core, client));
	if (client->idle < IDLE_SWEEPS || must_wait)
		return;
	for (int bank = 0; bank < 2; bank++)
		lease_settle(core, index, bank, returns);
	if (!uses_memory(core)) /* in a fallback the memory store remembers it */
		debt_call_in(core, index);
	if (client->pending != NO_PENDING)
		return; /* it has something to return, or to be charged, first */
	registry_forget(core, index);
	core->counters.evicted_idle++;
}

static void expire_step(struct core *core, int64_t now_ns) {
	size_t chains = store_memory_chains(core->memory) / EXPIRE_STEPS;
	if (chains < EXPIRE_CHAINS_MIN)
		chains = EXPIRE_CHAINS_MIN;
	store_memory_expire(core->memory, now_ns / NS_PER_US, chains < EXPIRE_CHAINS_MAX ? chains : EXPIRE_CHAINS_MAX);
}

void sweep_step(struct core *core, int64_t now_ns) {
	int64_t step_ns = SWEEP_STEP_NS, steps = core->options.idle_timeout_ns / IDLE_SWEEPS / step_ns;
	int64_t slots = core->table->slot_count / (steps > 0 ? steps : 1) + 1;
	if (slots > SWEEP_SLOTS_MAX) {
		step_ns = step_ns * SWEEP_SLOTS_MAX / slots;
		slots = SWEEP_SLOTS_MAX;
	}
	for (int64_t i = 0; i < slots && core->table->used > 0; i++) {
		core->sweep_slot = (core->sweep_slot + 1) % core->table->slot_count;
		uint32_t owner = core->table->owner[core->sweep_slot];
		core->counters.looked++;
		registry_fetch_ahead(core, core->sweep_slot);
		if (is_orphan(owner))
			sweep_orphan(core, core->sweep_slot, now_ns);
		else if (owner != TABLE_NO_OWNER)
			sweep_client(core, owner, now_ns);
	}
	expire_step(core, now_ns);
	table_repair_header(core->table);
	core->sweep_at_ns = now_ns + step_ns;
}
