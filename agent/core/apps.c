/*
 * apps.c - the core's events of apps: what they ask, what they have used without asking, and whose credits run
 * low.
 *
 * What the table can answer is answered at once; with a relaxed policy an advance is, too. Whoever else asks waits
 * for the store.
 */
#include "internal.h"
#include "stint.h"

static bool decide_from_table(struct core *core, struct client *client, uint32_t cost,
                              struct core_verdict *verdict) {
	int bank = lease_spend(core, client, core->now_ns, cost);
	if (bank < 0)
		return verdict_from_denial(core, client, cost, verdict);
	*verdict = verdict_by_lease(core, client, bank);
	return true;
}

/* Takes nothing. Where the table has no room for the client, there is nothing to take from. */
static bool find_in_table(struct core *core, struct client *client, const struct waiter *waiter,
                          struct core_verdict *verdict) {
	if (client->slot == TABLE_NO_SLOT) {
		*verdict = verdict_no_room(core, client, waiter->cost);
		return true;
	}
	int bank = lease_find(core, client, waiter->cost);
	if (bank < 0)
		return verdict_from_denial(core, client, waiter->cost, verdict);
	*verdict = verdict_by_lease(core, client, bank);
	return true;
}

/* Before the store's first answer all of the limit counts as remaining, without what has been advanced. */
static int64_t remaining_beside(struct core *core, const struct client *client, int64_t owed) {
	bool unknown = table_remaining(core->table, client->slot) == HINT_UNKNOWN;
	int64_t remaining = unknown ? limit_of(core, client) : verdict_remaining(core, client);
	return remaining > owed ? remaining - owed : 0;
}

/* An eighth of what this host had if all hosts had the same; one at least. */
static int64_t relaxed_advance(const struct core *core, int64_t limit) {
	int64_t part = core->hosts > 0 ? limit / (8 * (int64_t)core->hosts) : 0;
	return part > 1 ? part : 1;
}

/* A relaxed policy admits now and counts with the next statement. What isn't counted yet never exceeds one
 * advance, or a single request that costs more. */
static bool admit_in_advance(struct core *core, uint32_t index, uint32_t cost, struct core_verdict *verdict) {
	const struct client *client = client_at(core, index);
	const struct core_policy *policy = policy_of(core, client);
	int64_t limit = limit_of(core, client);
	if (!policy->relaxed || uses_memory(core) || client->flags & (CLIENT_INDEBTED | CLIENT_BLOCKED) ||
	    cost > limit)
		return false;
	if (client->slot == TABLE_NO_SLOT)
		return false; /* nowhere to keep credits: what comes next has to wait in any case */
	struct pending *pending = pending_for(core, index);
	if (!pending)
		return false;
	int64_t owed = debt_uncounted(pending) + cost;
	if (owed > relaxed_advance(core, limit) && owed != cost)
		return false;
	debt_advance(core, pending, cost);
	pending->wants_more = true;
	pending_make_urgent(core, pending);
	*verdict = verdict_allowed(core, client, STINT_SOURCE_ADVANCE,
	                           core->now_ns + policy->terms.sub_window_us * NS_PER_US);
	verdict->remaining = remaining_beside(core, client, owed);
	return true;
}

static void wait_for_store(struct core *core, uint32_t index, const struct waiter *waiter) {
	struct pending *pending = pending_for(core, index);
	if (!pending || pending_add_waiter(core, pending, waiter) != 0) {
		send_verdict(core, waiter->peer, waiter->serial, &(struct core_verdict){.status = STINT_ENOMEM});
		return;
	}
	pending_make_urgent(core, pending);
}

/* A client that isn't in the table is remembered as long as something is asked about it. */
static void forget_if_idle(struct core *core, uint32_t index) {
	if (client_at(core, index)->slot == TABLE_NO_SLOT && client_at(core, index)->pending == NO_PENDING)
		registry_forget(core, index);
}

static bool decide_at_once(struct core *core, uint32_t index, const struct waiter *waiter,
                           struct core_verdict *verdict) {
	if (waiter->provide)
		return find_in_table(core, client_at(core, index), waiter, verdict);
	return decide_from_table(core, client_at(core, index), waiter->cost, verdict) ||
	       admit_in_advance(core, index, waiter->cost, verdict);
}

static void ask(struct core *core, uint16_t policy, const char *id, uint8_t id_len, const struct waiter *waiter) {
	struct core_verdict verdict;
	core->counters.wants++;
	if (!policy_is_live(core, policy)) {
		send_verdict(core, waiter->peer, waiter->serial, &(struct core_verdict){.status = STINT_ENOPOLICY});
		return;
	}
	uint32_t index = arrival_obtain(core, policy, id, id_len);
	if (index == CLIENT_NONE) {
		send_verdict(core, waiter->peer, waiter->serial, &(struct core_verdict){.status = STINT_ENOMEM});
		return;
	}
	client_at(core, index)->idle = 0;
	fallback_charge(core, index);
	if (decide_at_once(core, index, waiter, &verdict)) {
		send_verdict(core, waiter->peer, waiter->serial, &verdict);
		tell_if_denied(core, index, waiter, &verdict);
	} else {
		wait_for_store(core, index, waiter);
	}
	forget_if_idle(core, index);
}

void core_want(struct core *core, int64_t now_ns, uint64_t peer, uint32_t serial, uint16_t policy, const char *id,
               uint8_t id_len, uint32_t cost, int64_t expires_ns) {
	core->now_ns = now_ns;
	ask(core, policy, id, id_len,
	    &(struct waiter){.peer = peer, .serial = serial, .cost = cost, .expires_ns = expires_ns});
}

void core_provide(struct core *core, int64_t now_ns, uint64_t peer, uint32_t serial, uint16_t policy,
                  const char *id, uint8_t id_len, uint32_t cost, int64_t expires_ns) {
	core->now_ns = now_ns;
	ask(core, policy, id, id_len,
	    &(struct waiter){.peer = peer, .serial = serial, .cost = cost, .expires_ns = expires_ns, .provide = true});
}

void core_look(struct core *core, int64_t now_ns, uint64_t peer, uint32_t serial, uint16_t policy, const char *id,
               uint8_t id_len, uint32_t cost, int64_t expires_ns) {
	core->now_ns = now_ns;
	ask(core, policy, id, id_len,
	    &(struct waiter){.peer = peer,
	                     .serial = serial,
	                     .cost = cost,
	                     .expires_ns = expires_ns,
	                     .provide = true,
	                     .looks = true});
}

/* Of a live policy, found or made; CLIENT_NONE: there is no such policy, or no room. */
static uint32_t obtain(struct core *core, uint16_t policy, const char *id, uint8_t id_len) {
	return policy_is_live(core, policy) ? arrival_obtain(core, policy, id, id_len) : CLIENT_NONE;
}

static void charge_store(struct core *core, uint32_t index, uint32_t owed) {
	struct pending *pending = pending_for(core, index);
	if (!pending)
		return;
	debt_advance(core, pending, owed);
	pending_make_urgent(core, pending);
}

void core_charge(struct core *core, int64_t now_ns, uint16_t policy, const char *id, uint8_t id_len,
                 uint32_t cost) {
	core->now_ns = now_ns;
	uint32_t index = obtain(core, policy, id, id_len);
	if (index == CLIENT_NONE)
		return;
	client_at(core, index)->idle = 0;
	fallback_charge(core, index);
	struct client *client = client_at(core, index);
	uint32_t owed = cost - lease_spend_some(core, client, cost);
	if (owed > 0 && uses_memory(core))
		lease_charge_memory(core, client, *terms_now(core, policy_of(core, client)), owed, now_ns);
	else if (owed > 0)
		charge_store(core, index, owed);
	forget_if_idle(core, index);
}

void core_low(struct core *core, int64_t now_ns, uint16_t policy, const char *id, uint8_t id_len) {
	core->now_ns = now_ns;
	core->counters.lows++;
	uint32_t index = obtain(core, policy, id, id_len);
	if (index == CLIENT_NONE)
		return;
	if (client_at(core, index)->slot != TABLE_NO_SLOT)
		lows_tell(core, index);
	forget_if_idle(core, index);
}
