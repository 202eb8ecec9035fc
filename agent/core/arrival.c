/*
 * arrival.c - a client that somebody asks about: it is known, or it comes in.
 *
 * Who comes in takes over the slot that an earlier agent left with its key; else it gets a free slot, or that of
 * somebody who is idle. If there is none, it comes in without a slot.
 */
#include "internal.h"

/* How long nobody has used this slot; 0: it can't be evicted. */
static uint32_t idleness(struct core *core, uint32_t slot) {
	uint32_t owner = core->table->owner[slot];
	if (owner == TABLE_ORPHAN_IDLE)
		return UINT32_MAX;
	if (owner > TABLE_OWNER_MAX)
		return 0;
	const struct client *client = client_at(core, owner);
	return client->pending == NO_PENDING ? client->idle : 0;
}

static void evict(struct core *core, uint32_t slot) {
	uint32_t owner = core->table->owner[slot];
	if (is_orphan(owner)) {
		table_release(core->table, slot);
		return;
	}
	/* What is left goes back only to the memory store, which takes it at once. To return it to the database would
	 * take a request, and that needs the record. */
	for (int bank = 0; bank < 2; bank++)
		lease_settle(core, owner, bank, client_at(core, owner)->flags & CLIENT_BANK_FALLBACK << bank);
	registry_forget(core, owner);
}

/* Both buckets are full: the client that was unused for longest gives way, and what it still holds is burnt. If
 * nobody is idle, there is no room. */
static bool make_room(struct core *core, const struct place *place) {
	uint32_t victim = TABLE_NO_SLOT, most = 0;
	for (uint32_t n = 0; n < TABLE_CANDIDATES; n++) {
		uint32_t slot = table_candidate(place, n);
		uint32_t idle = idleness(core, slot);
		if (idle > most) {
			most = idle;
			victim = slot;
		}
	}
	if (victim == TABLE_NO_SLOT)
		return false;
	evict(core, victim);
	core->counters.evicted_for_room++;
	return true;
}

static uint32_t new_client(struct core *core, uint16_t policy, const char *id, uint8_t id_len) {
	uint32_t index = client_new(&core->pool, policy, id, id_len);
	if (index == CLIENT_NONE)
		return CLIENT_NONE;
	generation_stamp(core, client_at(core, index));
	demand_begin_period(core, client_at(core, index));
	debt_recall(core, index);
	return index;
}

static uint32_t make_client(struct core *core, const struct place *place, uint16_t policy, const char *id,
                            uint8_t id_len) {
	uint32_t index = registry_find_tableless(core, place, policy, id, id_len);
	if (index != CLIENT_NONE)
		return index;
	uint32_t slot = table_claim(core->table, place, policy, TABLE_NO_OWNER);
	if (slot == TABLE_NO_SLOT && make_room(core, place))
		slot = table_claim(core->table, place, policy, TABLE_NO_OWNER);
	index = new_client(core, policy, id, id_len);
	if (index != CLIENT_NONE)
		registry_enter(core, place, index, slot);
	else if (slot != TABLE_NO_SLOT)
		table_release(core->table, slot);
	return index;
}

/* An orphan's leases go on until their deadlines, unless these can't be true, because somebody wrote over them.
 * What the leases were granted for isn't known, so nothing of them is returned. */
static void adopt(struct core *core, uint32_t index, uint32_t slot) {
	struct client *client = client_at(core, index);
	const struct core_policy *policy = policy_of(core, client);
	int64_t limit;
	table_adopt(core->table, slot, index, (uint16_t)client->policy);
	client->slot = slot;
	/* The agent before knew it. Without a database nobody could say that the block has ended. */
	if (core->state != CORE_MEMORY && table_own_limit(core->table, slot, &limit) && limit == 0)
		client->flags |= CLIENT_BLOCKED;
	for (int bank = 0; bank < 2; bank++) {
		int64_t deadline_ns = table_deadline(core->table, slot, bank);
		/* What was taken before this can't be given back: nobody knows how much it was. */
		uint32_t credits = table_begin_epoch(core->table, slot, bank);
		bool fallback = table_is_fallback(core->table, slot, bank);
		if (deadline_ns <= core->now_ns || credits == 0 ||
		    !repair_is_plausible(core, policy, slot, bank, core->now_ns) || (fallback && !in_fallback(core))) {
			table_drain(core->table, slot, bank);
			continue;
		}
		if (fallback)
			client->flags |= (uint8_t)(CLIENT_BANK_FALLBACK << bank);
		client->lease[bank].deadline_ns = deadline_ns;
		client->granted[bank] = credits;
	}
}

uint32_t arrival_obtain(struct core *core, uint16_t policy, const char *id, uint8_t id_len) {
	struct place place = table_place(core->table, policy, id, id_len);
	uint32_t slot = registry_find_slot(core, &place, policy, id, id_len);
	if (slot == TABLE_NO_SLOT)
		return make_client(core, &place, policy, id, id_len);
	if (!is_orphan(core->table->owner[slot])) {
		generation_meet(core, core->table->owner[slot]);
		return core->table->owner[slot];
	}
	uint32_t index = new_client(core, policy, id, id_len);
	if (index != CLIENT_NONE) {
		inheritance_take(core, index, slot);
		generation_meet_orphan(core, slot);
		adopt(core, index, slot);
	}
	return index;
}
