/*
 * core.c - what apps ask and what policies say; who is in the table and who has
 * to leave it.
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/stint.h"
#include "core_internal.h"

/* Clients that the table has no room for are remembered while they have a request under way. */
#define TABLELESS_MAX 65536u

/* A client leaves after this many sweeps without use, so a sweep takes a quarter of the idle timeout. */
#define IDLE_SWEEPS 4u
#define SWEEP_STEP_NS (50 * NS_PER_MS)
#define EXPIRE_CHAINS_PER_STEP 256 /* of the memory store */

int core_new(struct core **out, struct table *table, int64_t now_ns, const struct core_options *options,
             const struct core_io *io, void *context) {
	struct core *core = calloc(1, sizeof *core);
	*out = core;
	if (!core)
		return -1;
	core->table = table;
	core->io = *io;
	core->context = context;
	core->options = *options;
	core->now_ns = now_ns;
	core->grace_until_ns = now_ns + options->grace_ns;
	core->state = options->memory_only ? CORE_MEMORY : CORE_CONNECTING;
	ops_init(core);
	memset(core->tableless, 0xff, sizeof core->tableless); /* CLIENT_NONE */
	core->memory = store_memory_new(options->seed);
	if (!core->memory || client_pool_init(&core->pool, table->slot_count + TABLELESS_MAX) != 0) {
		core_free(core);
		*out = NULL;
		return -1;
	}
	return 0;
}

void core_free(struct core *core) {
	if (!core)
		return;
	ops_deinit(core);
	store_memory_free(core->memory);
	heap_deinit(&core->timers);
	client_pool_deinit(&core->pool);
	free(core);
}

/* ---- Finding a client, and room for it ------------------------------------ */

static bool is_orphan(uint32_t owner) {
	return owner == TABLE_ORPHAN || owner == TABLE_ORPHAN_IDLE;
}

static bool same_client(const struct client *client, uint16_t policy, const char *id, uint8_t id_len) {
	return client->policy == policy && client->id_len == id_len && memcmp(client->id, id, id_len) == 0;
}

/* The slot of this client: its owner, or an orphan with its key; TABLE_NO_SLOT. */
static uint32_t find_slot(struct core *core, const struct place *place, uint16_t policy, const char *id, uint8_t id_len) {
	uint32_t cursor = 0;
	for (uint32_t slot; (slot = table_next_candidate(core->table, place, &cursor)) != TABLE_NO_SLOT;) {
		uint32_t owner = core->table->owner[slot];
		if (is_orphan(owner) ? table_key_matches(core->table, slot, place) : same_client(client_at(core, owner), policy, id, id_len))
			return slot;
	}
	return TABLE_NO_SLOT;
}

/* An orphan's leases go on: their deadlines hold, clamped in case somebody wrote over them; what they were granted isn't
 * known, so nothing of them is returned. */
static void adopt(struct core *core, uint32_t index, uint32_t slot) {
	struct client *client = client_at(core, index);
	const struct core_policy *policy = policy_of(core, client);
	table_adopt(core->table, slot, index, client->policy);
	client->slot = slot;
	for (int bank = 0; bank < 2; bank++) {
		int64_t latest_ns = core->now_ns + 2 * policy->terms.sub_window_us * NS_PER_US;
		int64_t deadline_ns = table_deadline(core->table, slot, bank);
		uint32_t credits = table_credits(core->table, slot, bank);
		bool fallback = table_is_fallback(core->table, slot, bank);
		if (deadline_ns <= core->now_ns || deadline_ns > latest_ns || credits == 0 || credits > (uint32_t)policy->terms.max_requests ||
		    (fallback && core->state != CORE_FALLBACK)) {
			table_drain(core->table, slot, bank);
			continue;
		}
		if (fallback)
			client->flags |= (uint8_t)(CLIENT_BANK_FALLBACK << bank);
		client->lease[bank].deadline_ns = deadline_ns;
		client->granted[bank] = credits;
	}
}

static uint32_t *tableless_list(struct core *core, const struct place *place) {
	return &core->tableless[place->key & (TABLELESS_LISTS - 1)];
}

static uint32_t find_tableless(struct core *core, const struct place *place, uint16_t policy, const char *id, uint8_t id_len) {
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

void client_forget(struct core *core, uint32_t index) {
	struct client *client = client_at(core, index);
	if (client->slot != TABLE_NO_SLOT)
		table_release(core->table, client->slot);
	else
		unlink_tableless(core, index);
	client_free(&core->pool, index);
}

/* How much this slot deserves to be evicted: 0 not at all. */
static uint32_t idleness(struct core *core, uint32_t slot) {
	uint32_t owner = core->table->owner[slot];
	if (owner == TABLE_ORPHAN_IDLE)
		return UINT32_MAX;
	if (owner > TABLE_OWNER_MAX)
		return 0;
	const struct client *client = client_at(core, owner);
	return client->op == NO_OP && !(client->flags & CLIENT_INDEBTED) ? client->idle : 0;
}

static void evict(struct core *core, uint32_t slot) {
	uint32_t owner = core->table->owner[slot];
	if (is_orphan(owner)) {
		table_release(core->table, slot);
		return;
	}
	for (int bank = 0; bank < 2; bank++)
		lease_settle(core, owner, bank, false);
	client_forget(core, owner);
}

/* Both buckets are full: the one longest unused gives way; what it still holds is burnt. If nobody is idle, there is no room. */
static bool make_room(struct core *core, const struct place *place) {
	uint32_t victim = TABLE_NO_SLOT, most = 0;
	for (uint32_t n = 0; n < TABLE_CANDIDATES; n++) {
		uint32_t slot = table_candidate(core->table, place, n);
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

static uint32_t client_make(struct core *core, const struct place *place, uint16_t policy, const char *id, uint8_t id_len) {
	uint32_t index = find_tableless(core, place, policy, id, id_len);
	if (index != CLIENT_NONE)
		return index;
	uint32_t slot = table_claim(core->table, place, policy, TABLE_NO_OWNER);
	if (slot == TABLE_NO_SLOT && make_room(core, place))
		slot = table_claim(core->table, place, policy, TABLE_NO_OWNER);
	index = client_new(&core->pool, policy, id, id_len);
	if (index != CLIENT_NONE && slot == TABLE_NO_SLOT) {
		link_tableless(core, place, index);
	} else if (index != CLIENT_NONE) {
		core->table->owner[slot] = index;
		client_at(core, index)->slot = slot;
	} else if (slot != TABLE_NO_SLOT) {
		table_release(core->table, slot);
	}
	return index;
}

uint32_t client_obtain(struct core *core, uint16_t policy, const char *id, uint8_t id_len) {
	struct place place = table_place(core->table, policy, id, id_len);
	uint32_t slot = find_slot(core, &place, policy, id, id_len);
	if (slot == TABLE_NO_SLOT)
		return client_make(core, &place, policy, id, id_len);
	if (!is_orphan(core->table->owner[slot]))
		return core->table->owner[slot];
	uint32_t index = client_new(&core->pool, policy, id, id_len);
	if (index != CLIENT_NONE)
		adopt(core, index, slot);
	return index;
}

/* ---- Apps ------------------------------------------------------------------ */

static bool policy_is_live(const struct core *core, uint16_t policy) {
	return policy < POLICY_CAPACITY && core->policies[policy].live;
}

static bool decide_from_table(struct core *core, struct client *client, uint32_t cost, struct core_verdict *verdict) {
	const struct core_policy *policy = policy_of(core, client);
	if (lease_take(core, client, core->now_ns, cost, verdict))
		return true;
	int64_t retry_ms;
	if (client->slot == TABLE_NO_SLOT || !table_denies(core->table, client->slot, core->now_ns, cost, &retry_ms))
		return false;
	*verdict = (struct core_verdict){
		.source = core->state == CORE_FALLBACK ? STINT_SOURCE_FALLBACK : STINT_SOURCE_LEASE,
		.limit = terms_now(core, policy)->max_requests,
		.retry_after_ms = retry_ms,
		.reset_after_ms = policy->time_window_ms,
	};
	return true;
}

/* Relaxed: admitted now, counted with the next statement. What isn't counted yet never exceeds one advance. */
static bool admit_in_advance(struct core *core, uint32_t index, uint32_t cost, struct core_verdict *verdict) {
	const struct client *client = client_at(core, index);
	const struct core_policy *policy = policy_of(core, client);
	struct op *op;
	if (!policy->relaxed || uses_memory(core) || client->flags & (CLIENT_INDEBTED | CLIENT_BLOCKED) || !(op = op_for(core, index)))
		return false;
	int64_t owed = (int64_t)op->charge + (op->state == OP_IN_FLIGHT ? op->sent.charge : 0) + cost;
	int64_t most = core_relaxed_advance(core, policy);
	if (owed > most && owed != cost)
		return false;
	if ((int64_t)cost > policy->terms.max_requests)
		return false;
	op->charge += (int32_t)cost;
	op->wants_more = true;
	op_make_urgent(core, op);
	*verdict = (struct core_verdict){
		.allowed = true,
		.source = STINT_SOURCE_ADVANCE,
		.deadline_ns = core->now_ns + policy->terms.sub_window_us * NS_PER_US,
		.limit = policy->terms.max_requests,
		.remaining = most - owed > 0 ? most - owed : 0,
		.reset_after_ms = policy->time_window_ms,
	};
	return true;
}

static void wait_for_store(struct core *core, uint32_t index, uint64_t peer, uint32_t serial, uint32_t cost, int64_t expires_ns) {
	struct op *op = op_for(core, index);
	if (!op || op_add_waiter(op, peer, serial, cost, expires_ns) != 0) {
		send_verdict(core, peer, serial, &(struct core_verdict){.status = STINT_ENOMEM});
		return;
	}
	op_make_urgent(core, op);
}

void core_want(struct core *core, int64_t now_ns, uint64_t peer, uint32_t serial, uint16_t policy, const char *id, uint8_t id_len,
               uint32_t cost, int64_t expires_ns) {
	struct core_verdict verdict;
	core->now_ns = now_ns;
	core->counters.wants++;
	if (!policy_is_live(core, policy)) {
		send_verdict(core, peer, serial, &(struct core_verdict){.status = STINT_ENOPOLICY});
		return;
	}
	uint32_t index = client_obtain(core, policy, id, id_len);
	if (index == CLIENT_NONE) {
		send_verdict(core, peer, serial, &(struct core_verdict){.status = STINT_ENOMEM});
		return;
	}
	client_at(core, index)->idle = 0;
	if (decide_from_table(core, client_at(core, index), cost, &verdict) || admit_in_advance(core, index, cost, &verdict))
		send_verdict(core, peer, serial, &verdict);
	else
		wait_for_store(core, index, peer, serial, cost, expires_ns);
}

void core_low(struct core *core, int64_t now_ns, uint16_t policy, const char *id, uint8_t id_len) {
	core->now_ns = now_ns;
	core->counters.lows++;
	if (!policy_is_live(core, policy))
		return;
	uint32_t index = client_obtain(core, policy, id, id_len);
	int64_t retry_ms;
	if (index == CLIENT_NONE)
		return;
	if (client_at(core, index)->slot == TABLE_NO_SLOT) {
		if (client_at(core, index)->op == NO_OP)
			client_forget(core, index); /* not in the table any more, nor is there room; nobody waits */
		return;
	}
	if (table_denies(core->table, client_at(core, index)->slot, now_ns, 1, &retry_ms))
		return; /* there is nothing more to be had in this sub-window */
	struct op *op = op_for(core, index);
	if (!op)
		return;
	op->wants_more = true;
	op_make_urgent(core, op);
}

/* ---- Changes ---------------------------------------------------------------- */

static void void_leases(struct core *core, uint32_t index) {
	const struct client *client = client_at(core, index);
	if (client->slot == TABLE_NO_SLOT)
		return;
	table_deny(core->table, client->slot, 0, 0, 0);
	for (int bank = 0; bank < 2; bank++)
		lease_settle(core, index, bank, true);
}

static void void_orphan(struct core *core, uint32_t slot, uint16_t policy) {
	if (atomic_load_explicit(&core->table->slots[slot].policy, memory_order_relaxed) != policy)
		return;
	table_deny(core->table, slot, 0, 0, 0);
	for (int bank = 0; bank < 2; bank++)
		table_drain(core->table, slot, bank);
}

static bool terms_equal(const struct grant_terms *a, const struct grant_terms *b) {
	return a->max_requests == b->max_requests && a->sub_window_us == b->sub_window_us && a->runs == b->runs;
}

/* Whether leases made under the one are void under the other. The first time a policy is set, they aren't: what is in
 * the table then was left by an earlier agent, with the limits that the directory still has. Nor are they when
 * the database's id becomes known. */
static bool voids_leases(const struct core_policy *old, const struct core_policy *new) {
	bool is_first = old->terms.sub_window_us == 0;
	bool other_id = old->policy_id != 0 && old->policy_id != new->policy_id;
	return !is_first && (old->live != new->live || old->relaxed != new->relaxed || other_id ||
	                     old->time_window_ms != new->time_window_ms || !terms_equal(&old->terms, &new->terms) ||
	                     !terms_equal(&old->fallback_terms, &new->fallback_terms));
}

static void void_policy(struct core *core, uint16_t index) {
	for (uint32_t i = 0; i < core->pool.high; i++)
		if (client_at(core, i)->flags & CLIENT_LIVE && client_at(core, i)->policy == index)
			void_leases(core, i);
	for (uint32_t slot = 0; slot < core->table->slot_count; slot++)
		if (is_orphan(core->table->owner[slot]))
			void_orphan(core, slot, index);
}

void core_set_policy(struct core *core, int64_t now_ns, uint16_t index, const struct core_policy *policy) {
	core->now_ns = now_ns;
	if (voids_leases(&core->policies[index], policy))
		void_policy(core, index);
	core->policies[index] = *policy;
	if (policy->time_window_ms > core->longest_window_ms)
		core->longest_window_ms = policy->time_window_ms;
}

void core_client_changed(struct core *core, int64_t now_ns, uint16_t policy, const char *id, uint8_t id_len) {
	core->now_ns = now_ns;
	struct place place = table_place(core->table, policy, id, id_len);
	uint32_t slot = find_slot(core, &place, policy, id, id_len);
	if (slot == TABLE_NO_SLOT)
		return;
	if (is_orphan(core->table->owner[slot])) {
		void_orphan(core, slot, policy);
		return;
	}
	void_leases(core, core->table->owner[slot]);
	client_at(core, core->table->owner[slot])->flags &= (uint8_t)~CLIENT_BLOCKED; /* the next grant says so again */
}

void core_database_up(struct core *core, int64_t now_ns, int live_hosts) {
	core->now_ns = now_ns;
	core->unanswered_since_ns = 0;
	core_set_hosts(core, live_hosts);
	fallback_drop_orphans(core);
	if (core->state == CORE_FALLBACK)
		fallback_leave(core, now_ns);
	else if (core->state == CORE_CONNECTING)
		core->state = core->charges_left > 0 ? CORE_RESYNC : CORE_IN_STEP;
}

void core_database_lost(struct core *core, int64_t now_ns) {
	core->now_ns = now_ns;
	if (core->state != CORE_IN_STEP && core->state != CORE_RESYNC)
		return;
	core->state = CORE_CONNECTING;
	/* Whoever was asked for in the batch that got no answer has waited since then: nobody waits longer than the grace in all. */
	core->grace_until_ns = (core->unanswered_since_ns ? core->unanswered_since_ns : now_ns) + core->options.grace_ns;
}

void core_database_down(struct core *core, int64_t now_ns) {
	core->now_ns = now_ns;
	if (core->state != CORE_MEMORY && core->state != CORE_FALLBACK)
		fallback_enter(core, now_ns);
}

void core_database_changed(struct core *core, int64_t now_ns) {
	if (core->in_flight_count > 0)
		core_on_grants(core, now_ns, LEASE_UNKNOWN, NULL, 0);
	core->unanswered_since_ns = 0;
	core_database_lost(core, now_ns);
}

void core_set_timing(struct core *core, int64_t grace_ns, int64_t idle_timeout_ns) {
	core->options.grace_ns = grace_ns;
	core->options.idle_timeout_ns = idle_timeout_ns;
}

void core_set_hosts(struct core *core, int live_hosts) {
	core->hosts = live_hosts > 0 ? live_hosts : 1;
}

/* ---- Time ------------------------------------------------------------------ */

static void sweep_orphan(struct core *core, uint32_t slot) {
	if (table_was_referenced(core->table, slot))
		core->table->owner[slot] = TABLE_ORPHAN;
	else if (core->table->owner[slot] == TABLE_ORPHAN)
		core->table->owner[slot] = TABLE_ORPHAN_IDLE;
	else
		table_release(core->table, slot);
}

static void sweep_client(struct core *core, uint32_t index) {
	struct client *client = client_at(core, index);
	struct place place = table_place(core->table, client->policy, client->id, client->id_len);
	if (table_repair(core->table, client->slot, &place, client->policy))
		core->counters.repaired++;
	if (table_was_referenced(core->table, client->slot) || client->op != NO_OP)
		client->idle = 0;
	else if (client->idle < IDLE_SWEEPS)
		client->idle++;
	if (client->idle < IDLE_SWEEPS)
		return;
	for (int bank = 0; bank < 2; bank++)
		lease_settle(core, index, bank, true);
	if (client->flags & CLIENT_INDEBTED)
		op_for(core, index);
	if (client->op != NO_OP)
		return; /* it has something to return, or to be charged, first */
	client_forget(core, index);
	core->counters.evicted_idle++;
}

/* What a fallback admitted matters for as long as the policy's window; a memory store owes nobody. */
static int64_t longest_owed_us(const struct core *core) {
	return core->state == CORE_MEMORY ? 0 : core->longest_window_ms * 1000;
}

static void sweep_step(struct core *core, int64_t now_ns) {
	int64_t steps = core->options.idle_timeout_ns / IDLE_SWEEPS / SWEEP_STEP_NS;
	uint32_t slots = core->table->slot_count / (uint32_t)(steps > 0 ? steps : 1) + 1;
	for (uint32_t i = 0; i < slots && core->table->used > 0; i++) {
		core->sweep_slot = (core->sweep_slot + 1) % core->table->slot_count;
		uint32_t owner = core->table->owner[core->sweep_slot];
		if (is_orphan(owner))
			sweep_orphan(core, core->sweep_slot);
		else if (owner != TABLE_NO_OWNER)
			sweep_client(core, owner);
	}
	store_memory_expire(core->memory, now_ns / NS_PER_US, longest_owed_us(core), EXPIRE_CHAINS_PER_STEP);
	table_repair_header(core->table);
	core->sweep_at_ns = now_ns + SWEEP_STEP_NS;
}

void core_advance(struct core *core, int64_t now_ns) {
	uint32_t client;
	core->now_ns = now_ns;
	while (heap_pop_due(&core->timers, now_ns, &client))
		lease_timer(core, client, now_ns);
	if (now_ns >= core->sweep_at_ns)
		sweep_step(core, now_ns);
	if (core->state == CORE_CONNECTING && now_ns >= core->grace_until_ns)
		fallback_enter(core, now_ns);
	batch_flush(core, now_ns);
}

static bool needs_sweep(const struct core *core) {
	return core->table->used > 0 || store_memory_count(core->memory) > 0;
}

int64_t core_next_ns(const struct core *core) {
	int64_t next_ns = heap_next_ns(&core->timers);
	if (needs_sweep(core) && core->sweep_at_ns < next_ns)
		next_ns = core->sweep_at_ns;
	if (core->state == CORE_CONNECTING && core->grace_until_ns < next_ns)
		next_ns = core->grace_until_ns;
	bool may_send = core->in_flight_count == 0 && core->state != CORE_CONNECTING;
	if (may_send && core->background.first != NO_OP && core->background_at_ns < next_ns)
		next_ns = core->background_at_ns;
	return next_ns;
}

void core_drain(struct core *core, int64_t now_ns) {
	core->now_ns = now_ns;
	core->draining = true;
	for (uint32_t i = 0; i < core->pool.high; i++)
		if (client_at(core, i)->flags & CLIENT_LIVE)
			void_leases(core, i);
	core->background_at_ns = now_ns;
	core_advance(core, now_ns);
}

bool core_is_drained(const struct core *core) {
	return core->in_flight_count == 0 && core->urgent.first == NO_OP && core->background.first == NO_OP;
}

/* ---- What is going on --------------------------------------------------------- */

enum core_state core_state(const struct core *core) {
	return core->state;
}

const struct core_counters *core_counters(const struct core *core) {
	return &core->counters;
}

uint32_t core_client_count(const struct core *core) {
	return core->pool.count;
}

int64_t core_rtt_ns(const struct core *core) {
	return core->rtt_ns;
}

int64_t core_fallback_since_ns(const struct core *core) {
	return core->fallback_since_ns;
}

uint64_t core_fallback_clients(const struct core *core) {
	return store_memory_count(core->memory);
}

size_t core_uncharged(const struct core *core) {
	return core->charges_left;
}
