/*
 * core.c - what core.h declares, but for events of apps: those of policies and of the database, and time.
 *
 * An event notes what has happened and, where that concerns one client, deals with it. What needs a statement, or
 * concerns many clients, is done by core_advance(), a bounded part of it in each call.
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Clients that the table has no room for are remembered while they have a request under way. */
#define TABLELESS_MAX 65536u

/* One call sees to so many timers, at a microsecond or two each: a million may be due at the same instant. */
#define TIMERS_MAX 1024u

static int64_t window_us(void *context, int32_t policy_id) {
	const struct core *core = context;
	return window_passes_ns(&core->policies[policy_id - 1]) / NS_PER_US;
}

int core_new(struct core **out, struct table *table, int64_t now_ns, const struct core_options *options,
             const struct core_io *io, void *context) {
	struct core *core = calloc(1, sizeof(*core));
	*out = core;
	if (!core)
		return -1;
	core->table = table;
	core->io = *io;
	core->context = context;
	core->options = *options;
	core->now_ns = now_ns;
	state_begin(core, now_ns);
	core->has_orphans = table->used > 0;
	memset(core->tableless, 0xff, sizeof(core->tableless)); /* CLIENT_NONE */
	core->memory = store_memory_new(&(struct store_memory_options){
		.seed = options->seed,
		.capacity = table->slot_count,
		.window_us = window_us,
		.context = core,
	});
	uint32_t clients = table->slot_count + TABLELESS_MAX;
	if (!core->memory || client_pool_init(&core->pool, clients) != 0 || pending_init(core, clients) != 0) {
		core_free(core);
		*out = NULL;
		return -1;
	}
	return 0;
}

void core_free(struct core *core) {
	if (!core)
		return;
	pending_deinit(core);
	store_memory_free(core->memory);
	heap_deinit(&core->timers);
	client_pool_deinit(&core->pool);
	free(core);
}

/* ---- Changes ---------------------------------------------------------------- */

static bool terms_equal(const struct grant_terms *a, const struct grant_terms *b) {
	return a->max_requests == b->max_requests && a->sub_window_us == b->sub_window_us && a->runs == b->runs;
}

/* Whether leases made under the old policy are void under the new one. When a policy is set for the first time
 * they are not: what is in the table then was left by an earlier agent, with the limits that the directory still
 * has. Nor are they when the database's id becomes known. */
static bool voids_leases(const struct core_policy *old, const struct core_policy *new) {
	bool is_first = old->terms.sub_window_us == 0;
	bool other_id = old->policy_id != 0 && old->policy_id != new->policy_id;
	return !is_first && (old->live != new->live || old->relaxed != new->relaxed || other_id ||
	                     old->time_window_ms != new->time_window_ms || !terms_equal(&old->terms, &new->terms) ||
	                     !terms_equal(&old->fallback_terms, &new->fallback_terms));
}

void core_set_policy(struct core *core, int64_t now_ns, uint16_t index, const struct core_policy *policy) {
	const struct core_policy *old = &core->policies[index];
	core->now_ns = now_ns;
	if (voids_leases(old, policy)) {
		core->voided[index] = generation_begin(core);
		/* Another policy's counters: what the old one's are owed is none of their business. */
		core->forfeits[index] |= old->policy_id != 0 && old->policy_id != policy->policy_id;
	}
	if (old->generation != policy->generation)
		core->near_limit[index] = 0;
	core->policies[index] = *policy;
	core->table->generation[index] = policy->generation;
}

/* An orphan, which an earlier agent left behind, may be of any policy; and what a fallback counted is charged to
 * policies by their indices. */
bool core_policy_is_unused(const struct core *core, uint16_t index) {
	return core->pool.of_policy[index] == 0 && core->table->orphans == 0 && store_memory_count(core->memory) == 0;
}

void core_void_policy(struct core *core, int64_t now_ns, uint16_t index) {
	core->now_ns = now_ns;
	core->voided[index] = generation_begin(core);
}

void core_client_changed(struct core *core, int64_t now_ns, uint16_t policy, const char *id, uint8_t id_len) {
	core->now_ns = now_ns;
	struct place place = table_place(core->table, policy, id, id_len);
	uint32_t slot = registry_find_slot(core, &place, policy, id, id_len);
	if (slot == TABLE_NO_SLOT)
		return;
	uint32_t owner = core->table->owner[slot];
	if (is_orphan(owner)) {
		generation_void_orphan(core, slot);
		return;
	}
	generation_meet(core, owner);
	lease_void(core, owner, true);
	client_at(core, owner)->flags &= (uint8_t)~CLIENT_BLOCKED; /* the next grant says so again */
}

/* Returns the client, having met what concerns all; CLIENT_NONE if it isn't in the table, or is an orphan. */
static uint32_t find_client(struct core *core, uint16_t policy, const char *id, uint8_t id_len) {
	struct place place = table_place(core->table, policy, id, id_len);
	uint32_t slot = registry_find_slot(core, &place, policy, id, id_len);
	uint32_t owner = slot == TABLE_NO_SLOT ? TABLE_ORPHAN : core->table->owner[slot];
	if (is_orphan(owner))
		return CLIENT_NONE;
	generation_meet(core, owner);
	return owner;
}

void core_client_reset(struct core *core, int64_t now_ns, uint16_t policy, const char *id, uint8_t id_len,
                       int64_t age_ns) {
	/* When something was admitted is rounded down. */
	int64_t until_us = (now_ns - surely_after(age_ns)) / NS_PER_US - 1;
	core_client_changed(core, now_ns, policy, id, id_len); /* what a fallback's leases left isn't owed */
	fallback_forget(core, policy, id, id_len, until_us);
	struct place place = table_place(core->table, policy, id, id_len);
	uint32_t index = find_client(core, policy, id, id_len);
	if (index == CLIENT_NONE)
		index = registry_find_tableless(core, &place, policy, id, id_len);
	if (index != CLIENT_NONE)
		debt_forget(core, index, until_us);
}

void core_recall(struct core *core, int64_t now_ns, uint16_t policy, const char *id, uint8_t id_len) {
	core->now_ns = now_ns;
	if (!policy_is_live(core, policy) || core->state < CORE_RESYNC)
		return;
	uint32_t index = find_client(core, policy, id, id_len);
	if (index != CLIENT_NONE)
		lease_recall(core, index);
}

static void fall_in_step(struct core *core) {
	if (!state_is_held(core) || core->now_ns < core->held_until_ns || !promotion_is_over(core))
		return;
	bool was_fallback = in_fallback(core);
	state_return(core);
	if (was_fallback)
		fallback_leave(core, core->now_ns);
	state_note_charged(core);
	if (core->has_orphans) /* whose fallback is over as well */
		generation_begin(core);
	core->has_orphans = false;
}

void core_on_grants(struct core *core, int64_t now_ns, enum lease_outcome outcome,
                    const struct lease_grant *grants, size_t count) {
	core->now_ns = now_ns;
	batch_end(core, now_ns, outcome, grants, count);
}

void core_database_promoted(struct core *core, int64_t now_ns, int64_t age_ns) {
	core->now_ns = now_ns;
	promotion_begin(core, now_ns, age_ns);
}

void core_database_up(struct core *core, int64_t now_ns, int live_hosts) {
	core->now_ns = now_ns;
	state_connect(core, now_ns);
	core->unanswered_since_ns = 0;
	core_set_hosts(core, live_hosts);
	fall_in_step(core);
}

void core_database_lost(struct core *core, int64_t now_ns) {
	core->now_ns = now_ns;
	if (state_lose(core, now_ns))
		core->lost = generation_begin(core);
}

void core_database_down(struct core *core, int64_t now_ns) {
	core->now_ns = now_ns;
	state_disconnect(core);
	if (!uses_memory(core))
		fallback_enter(core, now_ns);
}

void core_database_changed(struct core *core, int64_t now_ns) {
	core->now_ns = now_ns;
	if (core->in_flight_count > 0)
		batch_end(core, now_ns, LEASE_UNKNOWN, NULL, 0);
	core->disowned = generation_begin(core);
	core->unanswered_since_ns = 0;
	core_database_lost(core, now_ns);
}

void core_set_timing(struct core *core, int64_t grace_ns, int64_t idle_timeout_ns) {
	core->options.grace_ns = grace_ns;
	core->options.idle_timeout_ns = idle_timeout_ns;
}

void core_know_lease(struct core *core, int64_t lease_us) {
	const int64_t most_us = CORE_HOLD_MAX_NS / NS_PER_US;
	core->others_lease_ns = (lease_us < most_us ? lease_us : most_us) * NS_PER_US;
}

void core_set_hosts(struct core *core, int live_hosts) {
	core->hosts = live_hosts > 0 ? live_hosts : 1;
}

/* ---- Time ------------------------------------------------------------------ */

static void advance_timers(struct core *core, int64_t now_ns) {
	uint32_t client;
	for (uint32_t left = TIMERS_MAX; left > 0 && heap_pop_due(&core->timers, now_ns, &client); left--) {
		core->counters.looked++;
		if (!lease_end_timer(core, client))
			continue;
		generation_meet(core, client);
		lease_on_timer(core, client, now_ns);
	}
}

void core_advance(struct core *core, int64_t now_ns) {
	core->now_ns = now_ns;
	advance_timers(core, now_ns);
	if (now_ns >= core->sweep_at_ns)
		sweep_step(core, now_ns);
	lows_look(core);
	for (int i = 0; i < 2; i++) { /* twice, since the step may have been the last that a promotion waits for */
		fall_in_step(core);
		generation_walk(core, now_ns);
	}
	fallback_collect(core, now_ns);
	if (state_grace_is_over(core, now_ns))
		fallback_enter(core, now_ns);
	batch_flush(core, now_ns);
	recall_flush(core);
}

static bool needs_sweep(const struct core *core) {
	return core->table->used > 0 || store_memory_count(core->memory) > 0;
}

int64_t core_next_ns(const struct core *core) {
	int64_t next_ns = heap_next_ns(&core->timers);
	if (needs_sweep(core) && core->sweep_at_ns < next_ns)
		next_ns = core->sweep_at_ns;
	if (lows_next_ns(core) < next_ns)
		next_ns = lows_next_ns(core);
	if (state_next_ns(core) < next_ns)
		next_ns = state_next_ns(core);
	if (generation_is_walking(core) && core->walk_at_ns < next_ns)
		next_ns = core->walk_at_ns;
	if (fallback_may_collect(core) && core->collect_at_ns < next_ns)
		next_ns = core->collect_at_ns;
	if (uses_memory(core) && core->urgent.first != NO_PENDING)
		next_ns = core->now_ns;
	bool may_send = core->in_flight_count == 0 && core->state != CORE_CONNECTING;
	if (may_send && core->background.first != NO_PENDING && core->background_at_ns < next_ns)
		next_ns = core->background_at_ns;
	if (may_send && pending_next_ns(core) < next_ns)
		next_ns = pending_next_ns(core);
	if (recall_next_ns(core) < next_ns)
		next_ns = recall_next_ns(core);
	return next_ns;
}

void core_drain(struct core *core, int64_t now_ns) {
	core->now_ns = now_ns;
	core->draining = true;
	core->drained = generation_begin(core);
	core->background_at_ns = now_ns;
	core_advance(core, now_ns);
}

bool core_is_drained(const struct core *core) {
	return !core->drained.open && core->in_flight_count == 0 && core->urgent.first == NO_PENDING &&
	       core->background.first == NO_PENDING && core->put_off_count == 0;
}

/* ---- What is going on --------------------------------------------------------- */

int core_host(const struct core *core) {
	return own_host(core);
}

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

int64_t core_longest_lease_ns(const struct core *core) {
	return promotion_longest_lease_ns(core);
}

int64_t core_held_until_ns(const struct core *core) {
	return core->held_until_ns;
}

uint64_t core_fallback_clients(const struct core *core) {
	return store_memory_count(core->memory);
}

uint64_t core_shared_granted(const struct core *core) {
	return store_memory_shared_granted(core->memory);
}

uint64_t core_near_limit(const struct core *core, uint16_t policy) {
	return core->near_limit[policy];
}

size_t core_uncharged(const struct core *core) {
	return core->charges_left + (core->collecting ? store_memory_owing(core->memory) : 0);
}

size_t core_queued(const struct core *core) {
	return core->pending_count;
}

bool core_is_walking(const struct core *core) {
	return generation_is_walking(core);
}

uint64_t core_walk_end(const struct core *core) {
	return core->walk_ends;
}

bool core_has_walked(const struct core *core, uint64_t end) {
	return core->walked >= end;
}
