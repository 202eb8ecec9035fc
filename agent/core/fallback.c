/*
 * fallback.c - the database goes away, and comes back.
 *
 * Away: leases that the database has counted stay good until their deadlines, or until the
 * client needs more. New ones come from the memory store, with the fallback's terms; what a client
 * has spent of the database's since then is counted there first, so that what a host admits in a
 * fallback window stays within fallback_max_requests, old leases included. The database's denials are lifted: they
 * are of another limit, and whether one was still in the table would be chance.
 *
 * Back: the fallback's leases are destroyed, a client's when it is looked at, everybody's within a second
 * (generation.c). What was admitted meanwhile becomes a charge of each client's next request, and only then does
 * the client get anything of the database's; those who don't ask are charged in the background, some thousand at a
 * time. Charges are limited to what the window still holds. The memory store keeps its counts: a database that
 * comes and goes doesn't start a new fallback limit each time.
 *
 * An agent that dies takes its counts with it: inheritance.c.
 */
#include "internal.h"
#include "stint.h"

/* How much of the memory store one step looks at, and the pause after it, at least. */
#define COLLECT_CHAINS   4096u
#define COLLECT_PAUSE_NS (1 * NS_PER_MS)

/* So many clients are charged in one statement, beside those who ask for something: a check that comes meanwhile
 * waits for its end. */
#define COLLECT_CLIENTS 24u

/* After such a statement the host pauses for one and a half times as long as it took, if that is as long as
 * statements took before the database was lost; and the longer, the longer they take now. */
#define COLLECT_PAUSES     1.5
#define COLLECT_PAUSES_MAX 8.0

/* What a client used before the database was lost doesn't count in the fallback: the walk that began then has seen
 * to that (demand_begin_period). Of a client that the walk hasn't come to, all that was used lately counts. */
void fallback_enter(struct core *core, int64_t now_ns) {
	state_enter_fallback(core, now_ns);
	core->usual_rtt_ns = core->rtt_ns;
	core->counters.fallback_granted = 0;
	core->charges_left = 0;
	core->collecting = false;
	core->background_at_ns = now_ns;
	core->away = generation_begin(core);
}

/* What is left of the database's leases is destroyed, and what was spent of them counts. If they were left, they
 * would be spent in a later fallback window than they count in. */
void fallback_absorb(struct core *core, uint32_t index) {
	for (int bank = 0; bank < 2; bank++)
		if (!(client_at(core, index)->flags & CLIENT_BANK_FALLBACK << bank))
			lease_settle(core, index, bank, false);
}

/* The part of what the fallback granted that the policy's window may still hold. That is all of it, unless the
 * ring, which is as long as the fallback's window, reaches back to before the policy's window. */
static int64_t recent_of(const struct store_memory_entry *entry, int runs, int64_t since_us) {
	int64_t recent = 0;
	if (entry->head_us - runs * entry->sub_window_us > since_us)
		return entry->uncharged;
	for (int i = 0; i < entry->length; i++)
		if (entry->head_us - (i - 1) * entry->sub_window_us > since_us)
			recent += entry->counts[i];
	return recent < entry->uncharged ? recent : entry->uncharged;
}

/* What the client came to owe later than that. */
static struct debt owed_since(const struct core *core, const struct store_memory_entry *entry, int64_t since_us) {
	int runs = core->policies[entry->policy_id - 1].fallback_terms.runs;
	int64_t recent = recent_of(entry, runs, since_us);
	struct debt owed = debt_of(recent, 0, recent > 0 ? entry->head_us + entry->sub_window_us : 0);
	return entry->owed.since_us > since_us ? debt_sum(owed, entry->owed) : owed;
}

static void charge_client(void *context, const struct store_memory_entry *entry) {
	struct core *core = context;
	uint16_t index = (uint16_t)(entry->policy_id - 1);
	const struct core_policy *policy = &core->policies[index];
	int64_t since_us = (core->now_ns - window_passes_ns(policy)) / NS_PER_US;
	struct debt owed = owed_since(core, entry, since_us);
	if (!policy->live || owed.charge <= 0)
		return;
	uint32_t client = arrival_obtain(core, index, entry->client_id, entry->client_id_len);
	struct pending *pending = client == CLIENT_NONE ? NULL : pending_for(core, client);
	if (!pending)
		return;
	debt_add_fallback(core, pending, owed, policy->terms.max_requests);
}

void fallback_leave(struct core *core, int64_t now_ns) {
	core->returned = generation_begin(core);
	core->collecting = store_memory_owing(core->memory) > 0;
	core->collect_chain = 0;
	core->collect_at_ns = now_ns;
	core->background_at_ns = now_ns;
}

void fallback_charge(struct core *core, uint32_t index) {
	const struct client *client = client_at(core, index);
	if (core->collecting && !uses_memory(core))
		store_memory_collect(core->memory, client->policy + 1, client->id, (uint8_t)client->id_len, charge_client,
		                     core);
}

struct forgetting {
	struct core *core;
	int64_t until_us;
};

/* What was collected to be forgotten, but is of later, goes back: the counter is still there. */
static void keep_later(void *context, const struct store_memory_entry *entry) {
	const struct forgetting *forgetting = context;
	struct debt later = owed_since(forgetting->core, entry, forgetting->until_us);
	if (later.charge > 0)
		store_memory_owe(forgetting->core->memory, entry->policy_id, entry->client_id, entry->client_id_len,
		                 later);
}

void fallback_forget(struct core *core, uint16_t policy, const char *id, uint8_t id_len, int64_t until_us) {
	store_memory_collect(core->memory, policy + 1, id, id_len, keep_later,
	                     &(struct forgetting){.core = core, .until_us = until_us});
}

/* Not before the walk has ended the fallback's leases, since what they leave unused is not charged. */
bool fallback_may_collect(const struct core *core) {
	return core->collecting && core->state == CORE_RESYNC && !core->returned.open &&
	       core->background_count < COLLECT_CLIENTS;
}

/* From one such statement to the next. All hosts come back together, with much to charge: the time between is for
 * what others ask of the database. */
static int64_t collect_every_ns(const struct core *core) {
	double takes_ns = (double)core->rtt_ns, usual_ns = (double)core->usual_rtt_ns;
	double pauses = COLLECT_PAUSES; /* if this agent has begun in the outage */
	if (usual_ns > 0)
		pauses = COLLECT_PAUSES * takes_ns / usual_ns;
	if (pauses > COLLECT_PAUSES_MAX)
		pauses = COLLECT_PAUSES_MAX;
	return max64(COLLECT_PAUSE_NS, (int64_t)(takes_ns * (1 + pauses)));
}

void fallback_collect(struct core *core, int64_t now_ns) {
	if (!fallback_may_collect(core) || now_ns < core->collect_at_ns)
		return;
	size_t first = core->collect_chain;
	store_memory_collect_some(core->memory, &core->collect_chain, COLLECT_CHAINS, COLLECT_CLIENTS, charge_client,
	                          core);
	core->counters.looked += core->collect_chain - first;
	core->collecting = core->collect_chain < store_memory_chains(core->memory);
	core->collect_at_ns = now_ns + collect_every_ns(core);
	state_note_charged(core);
}
