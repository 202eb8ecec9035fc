/*
 * denied.c - who is denied, and why: for audits. It decides nothing.
 */
#include "internal.h"
#include "stint.h"

static enum core_denied_by by_client(const struct core *core, const struct client *client) {
	int64_t left_ms;
	uint32_t hint;
	if (client->flags & CLIENT_BLOCKED)
		return CORE_DENIED_BY_BLOCK;
	if (!table_denies(core->table, client->slot, core->now_ns, UINT16_MAX, &left_ms, &hint))
		return in_fallback(core) ? CORE_DENIED_BY_FALLBACK : CORE_DENIED_BY_LIMIT;
	return hint & HINT_UNAVAILABLE_BIT ? CORE_DENIED_BY_DATABASE
	       : hint & HINT_FALLBACK_BIT  ? CORE_DENIED_BY_FALLBACK
	                                   : CORE_DENIED_BY_LIMIT;
}

bool core_find_denied(struct core *core, int64_t now_ns, uint32_t slot, struct core_denied *denied) {
	core->now_ns = now_ns;
	uint32_t owner = slot < core->table->slot_count ? core->table->owner[slot] : TABLE_NO_OWNER;
	if (owner > TABLE_OWNER_MAX)
		return false;
	const struct client *client = client_at(core, owner);
	*denied = (struct core_denied){
		.policy = (uint16_t)client->policy,
		.id = client->id,
		.id_len = (uint8_t)client->id_len,
		.by = by_client(core, client),
	};
	return true;
}

static enum core_denied_by by_verdict(const struct core_verdict *verdict) {
	if (verdict->reason == STINT_BLOCKED)
		return CORE_DENIED_BY_BLOCK;
	if (verdict->reason == STINT_UNAVAILABLE)
		return CORE_DENIED_BY_DATABASE;
	return verdict->source == STINT_SOURCE_FALLBACK ? CORE_DENIED_BY_FALLBACK : CORE_DENIED_BY_LIMIT;
}

/* Whoever takes the credits itself notes in the table whom the table denies, whether it saw that or was told. */
static bool is_for_us(const struct waiter *waiter, const struct core_verdict *verdict) {
	return !waiter->provide || (!waiter->looks && verdict->source == STINT_SOURCE_DATABASE);
}

void tell_if_denied(struct core *core, uint32_t index, const struct waiter *waiter,
                    const struct core_verdict *verdict) {
	const struct client *client = client_at(core, index);
	if (!core->io.denied || verdict->status != 0 || verdict->allowed || !is_for_us(waiter, verdict))
		return;
	core->io.denied(core->context, &(struct core_denied){
									   .policy = (uint16_t)client->policy,
									   .id = client->id,
									   .id_len = (uint8_t)client->id_len,
									   .by = by_verdict(verdict),
								   });
}
