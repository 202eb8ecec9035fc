/*
 * registry.c - where each client is: in which slot of the table, or in the lists of those that the table has no
 * room for.
 *
 * Who is entered here stays until somebody has it forgotten. Whether a client may come in is for arrival.c to
 * decide, when it leaves for sweep.c, and for pending.c if it has no slot.
 */
#include <string.h>

#include "internal.h"

static bool same_client(const struct client *client, uint16_t policy, const char *id, uint8_t id_len) {
	return client->policy == policy && client->id_len == id_len && memcmp(client->id, id, id_len) == 0;
}

uint32_t registry_find_slot(struct core *core, const struct place *place, uint16_t policy, const char *id,
                            uint8_t id_len) {
	uint32_t cursor = 0;
	for (uint32_t slot; (slot = table_next_candidate(core->table, place, &cursor)) != TABLE_NO_SLOT;) {
		uint32_t owner = core->table->owner[slot];
		if (is_orphan(owner) ? table_key_matches(core->table, slot, place)
		                     : same_client(client_at(core, owner), policy, id, id_len))
			return slot;
	}
	return TABLE_NO_SLOT;
}

static uint32_t *tableless_list(struct core *core, const struct place *place) {
	return &core->tableless[place->key & (TABLELESS_LISTS - 1)];
}

uint32_t registry_find_tableless(struct core *core, const struct place *place, uint16_t policy, const char *id,
                                 uint8_t id_len) {
	uint32_t index = *tableless_list(core, place);
	while (index != CLIENT_NONE && !same_client(client_at(core, index), policy, id, id_len))
		index = client_at(core, index)->next_tableless;
	return index;
}

static void link_tableless(struct core *core, const struct place *place, uint32_t index) {
	uint32_t *list = tableless_list(core, place);
	client_at(core, index)->next_tableless = *list;
	*list = index;
	core->counters.tableless++;
}

static void unlink_tableless(struct core *core, uint32_t index) {
	const struct client *client = client_at(core, index);
	struct place place = table_place(core->table, client->policy, client->id, client->id_len);
	uint32_t *at = tableless_list(core, &place);
	while (*at != index)
		at = &client_at(core, *at)->next_tableless;
	*at = client->next_tableless;
}

void registry_enter(struct core *core, const struct place *place, uint32_t index, uint32_t slot) {
	if (slot == TABLE_NO_SLOT) {
		link_tableless(core, place, index);
		return;
	}
	core->table->owner[slot] = index;
	client_at(core, index)->slot = slot;
}

void registry_forget(struct core *core, uint32_t index) {
	struct client *client = client_at(core, index);
	if (client->slot != TABLE_NO_SLOT)
		table_release(core->table, client->slot);
	else
		unlink_tableless(core, index);
	client_free(&core->pool, index);
}
