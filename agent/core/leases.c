/*
 * leases.c - what a client holds, and what becomes of it: spent, reported, returned, called back.
 *
 * A client has two banks, so that one lease can be had before the other ends. The agent's private record says
 * what each was given; the table says what is left of it.
 *
 *     now |------------- lease -------------|
 *                                 ^ lead: time to have another one, if the client is active
 *
 * A client that uses little of its limit has leases that last for a whole window; the nearer it comes to its
 * limit, the shorter the store makes them. What such a lease leaves unused is told to the store with the client's
 * next request, whenever that is. A client with less than a quarter of its limit left is tight: what it doesn't
 * use goes back without being asked for.
 */
#include "internal.h"
#include "stint.h"

/* How long before a lease ends the next one is asked for: a statement takes about a millisecond, and ten on
 * a busy server; some round trips of slack. */
#define LEAD_MIN_NS (50 * NS_PER_MS)

/* A lease that is low is not topped up when less than this is expected of the client until it ends. Of a tight
 * client that wouldn't get it anyway, or would waste most of it, somewhat more. */
#define LASTS       0.1
#define LASTS_TIGHT 1.0

/* Up to half of the lead is added, another part on each host. A client's edges are the same on all hosts: if all
 * asked at the same moment, they would wait in line for its row. */
int64_t lease_lead_ns(const struct core *core, int64_t sub_ns) {
	int64_t lead = max64(LEAD_MIN_NS, LEAD_ROUND_TRIPS * core->rtt_ns);
	int64_t spread = lead / 2 * (int64_t)(core->options.seed >> 56) / 256;
	return min64(max64(sub_ns / 2, 2 * core->rtt_ns), lead + spread);
}

int lease_last_bank(const struct client *client, int64_t now_ns) {
	int last = client->lease[1].deadline_ns > client->lease[0].deadline_ns;
	return is_live(client, last, now_ns) ? last : -1;
}

bool lease_must_not_idle(const struct core *core, const struct client *client) {
	return client->flags & (CLIENT_TIGHT | CLIENT_BANK_FALLBACK | CLIENT_BANK_FALLBACK << 1) || uses_memory(core);
}

uint64_t lease_unspent(const struct core *core, const struct client *client) {
	return (uint64_t)credits_left(core, client, 0) + credits_left(core, client, 1);
}

bool lease_is_spendable(const struct core *core, const struct client *client, int bank, int64_t now_ns) {
	return client->slot != TABLE_NO_SLOT && is_live(client, bank, now_ns) &&
	       (client->lease[bank].deadline_ns <= client->lease[!bank].deadline_ns ||
	        now_ns >= table_later_start(core->table, client->slot));
}

uint32_t lease_open_credits(const struct core *core, const struct client *client) {
	uint32_t credits = 0;
	for (int bank = 0; bank < 2; bank++)
		if (lease_is_spendable(core, client, bank, core->now_ns))
			credits += credits_left(core, client, bank);
	return credits;
}

/* Whether a credit lasts until the lease ends, most likely. */
static bool lasts(struct core *core, const struct client *client, int bank) {
	double left_ns = (double)(client->lease[bank].deadline_ns - core->now_ns);
	double expected = demand_by_now(core, client) * left_ns / (double)sub_window_ns(core, client);
	return expected < (client->flags & CLIENT_TIGHT ? LASTS_TIGHT : LASTS);
}

bool lease_is_ample(struct core *core, const struct client *client) {
	int last = lease_last_bank(client, core->now_ns);
	if (last >= 0 && lease_is_spendable(core, client, last, core->now_ns) &&
	    credits_left(core, client, last) > 0 && lasts(core, client, last))
		return true;
	for (int bank = 0; bank < 2; bank++)
		if (lease_is_spendable(core, client, bank, core->now_ns) && credits_left(core, client, bank) > 1 &&
		    2 * (uint64_t)credits_left(core, client, bank) >= client->granted[bank])
			return true;
	return false;
}

/* ---- Out of the table ------------------------------------------------------- */

static void return_to_memory(struct core *core, const struct client *client, int64_t sub_window,
                             uint32_t credits) {
	struct lease_grant ignored;
	const struct core_policy *policy = policy_of(core, client);
	store_memory_take(core->memory, core->state == CORE_MEMORY ? &policy->terms : &policy->fallback_terms,
	                  &(struct lease_request){
						  .policy_id = client->policy + 1,
						  .client_id = client->id,
						  .client_id_len = (uint8_t)client->id_len,
						  .report[0] = {.sub_window = sub_window, .unspent = (int32_t)credits},
					  },
	                  core->now_ns / NS_PER_US, 1, &ignored);
	core->counters.returned += credits;
	if (core->state != CORE_MEMORY)
		core->counters.fallback_granted -=
			credits < core->counters.fallback_granted ? credits : core->counters.fallback_granted;
}

void lease_note_return(struct core *core, uint32_t index, int64_t sub_window, uint32_t credits) {
	if (uses_memory(core)) {
		return_to_memory(core, client_at(core, index), sub_window, credits);
		return;
	}
	struct pending *pending = pending_for(core, index);
	if (pending && pending_add_report(pending, sub_window, credits, 0))
		core->counters.returned += credits; /* else they are burnt */
}

/* A fixed window goes on for a while after its lease, whose end is brought forward. If that is less than this, a
 * return is not worth a statement. */
#define REST_MIN_NS (10 * NS_PER_MS)

int64_t lease_off_books_ns(struct core *core, const struct client *client, int bank) {
	int64_t passes_ns = window_passes_ns(policy_of(core, client));
	int64_t rest_ns = passes_ns - surely_within(policy_of(core, client)->time_window_ms * NS_PER_MS);
	if (terms_now(core, policy_of(core, client))->runs > 0)
		return client->lease[bank].deadline_ns + passes_ns;
	return client->lease[bank].deadline_ns + (rest_ns < REST_MIN_NS ? 0 : rest_ns);
}

static void give_back(struct core *core, uint32_t index, int bank, uint32_t credits) {
	const struct client *client = client_at(core, index);
	int64_t sub_window = client->lease[bank].sub_window;
	bool of_fallback = client->flags & fallback_flag(bank);
	if (credits == 0 || sub_window == 0 || core->now_ns >= lease_off_books_ns(core, client, bank))
		return;
	if (core->state == CORE_MEMORY || of_fallback)
		return_to_memory(core, client, sub_window, credits);
	else if (!in_fallback(core))
		lease_note_return(core, index, sub_window, credits);
}

void lease_charge_memory(struct core *core, const struct client *client, struct grant_terms terms, uint32_t used,
                         int64_t at_ns) {
	struct lease_grant ignored;
	terms.max_requests = INT32_MAX; /* it was spent: all of it counts, whatever the limit */
	store_memory_take(core->memory, &terms,
	                  &(struct lease_request){
						  .policy_id = client->policy + 1,
						  .client_id = client->id,
						  .client_id_len = (uint8_t)client->id_len,
						  .charge = (int32_t)used,
					  },
	                  at_ns / NS_PER_US, 1, &ignored);
}

/* Credits that the database granted, and that were spent while it is away, count in the fallback's window, and no
 * earlier than they were spent. */
static void count_in_fallback(struct core *core, const struct client *client, int bank, uint32_t used) {
	bool of_fallback = client->flags & fallback_flag(bank);
	if (in_fallback(core) && !of_fallback && used > 0 && client->lease[bank].deadline_ns > core->fallback_since_ns)
		lease_charge_memory(core, client, policy_of(core, client)->fallback_terms, used, core->now_ns);
}

void lease_settle(struct core *core, uint32_t index, int bank, bool giving_back) {
	struct client *client = client_at(core, index);
	if (client->lease[bank].deadline_ns == 0)
		return;
	uint32_t left = client->slot == TABLE_NO_SLOT ? 0 : table_drain(core->table, client->slot, bank);
	if (left > client->granted[bank])
		left = client->granted[bank];
	client->granted[bank] -= left; /* what was used */
	count_in_fallback(core, client, bank, client->granted[bank]);
	if (giving_back)
		give_back(core, index, bank, left);
	demand_end_period(core, client);
	client->lease[bank] = (struct client_lease){0};
	client->granted[bank] = 0;
	client->flags &= (uint8_t)~fallback_flag(bank);
}

/* Of a lease that goes on: what was spent by now is charged to a sub-window to come, and may count from the
 * present one on. */
static void report_spent(struct core *core, struct client *client, struct pending *pending, int bank) {
	if (used_of(core, client, bank) == 0 || !pending_may_report(pending, client->lease[bank].sub_window) ||
	    client->lease[bank].deadline_ns - core->now_ns <= sub_window_ns(core, client))
		return;
	/* From here on, what an app took and finds too late is burnt: put back, it would be spent after all. */
	uint32_t left = table_begin_epoch(core->table, client->slot, bank);
	if (left < client->granted[bank])
		pending_add_report(pending, client->lease[bank].sub_window, 0, client->granted[bank] - left);
}

static void return_rest(struct core *core, struct client *client, struct pending *pending, int bank) {
	uint32_t left = credits_left(core, client, bank);
	if (left == 0 || !lease_is_spendable(core, client, bank, core->now_ns) ||
	    !pending_may_report(pending, client->lease[bank].sub_window) ||
	    !table_spend(core->table, client->slot, bank, left))
		return;
	client->granted[bank] -= left;
	pending_add_report(pending, client->lease[bank].sub_window, left, 0);
	core->counters.returned += left;
}

/* Not of a lease of unknown origin, nor of a fallback's. */
static bool may_report(const struct client *client, int bank) {
	return client->lease[bank].sub_window != 0 && !(client->flags & fallback_flag(bank));
}

uint64_t lease_returnable(const struct core *core, const struct client *client) {
	uint64_t credits = 0;
	for (int bank = 0; bank < 2; bank++)
		if (may_report(client, bank) && lease_is_spendable(core, client, bank, core->now_ns))
			credits += credits_left(core, client, bank);
	return credits;
}

/* With the request for the next lease goes back what a tight client has left of this one: later it would
 * count for a sub-window more. The next one's lease begins half of the slack early, mostly at once. */
static bool returns_rest(const struct core *core, const struct client *client, const struct pending *pending) {
	const struct grant_terms *terms = &core->policies[client->policy].terms;
	bool begins_at_once = lease_lead_ns(core, terms->sub_window_us * NS_PER_US) <= terms->slack_us / 2 * NS_PER_US;
	return client->flags & CLIENT_TIGHT && pending->wants_next && !pending->wants_more && begins_at_once;
}

/* What is told as spent is not told again. */
static void end_told_period(struct core *core, struct client *client, const struct pending *pending) {
	if (pending->report[0].spent > 0 || pending->report[1].spent > 0)
		demand_end_period(core, client);
}

/* Whoever needed it may have given up: it isn't done for looks alone. */
static bool gathers(const struct pending *pending) {
	for (const struct waiter *waiter = pending->first; waiter; waiter = waiter->next)
		if (!waiter->looks)
			return pending->gathers;
	return false;
}

void lease_report(struct core *core, struct pending *pending) {
	uint32_t index = pending->client;
	struct client *client = client_at(core, index);
	bool may_rest = gathers(pending) || returns_rest(core, client, pending);
	pending->gathers = false;
	for (int bank = 0; bank < 2; bank++) {
		if (!may_report(client, bank) || !is_live(client, bank, core->now_ns))
			continue;
		report_spent(core, client, pending, bank);
		if (may_rest)
			return_rest(core, client, pending, bank);
	}
	end_told_period(core, client, pending);
	for (int bank = 0; bank < 2; bank++)
		if (may_report(client, bank) && !is_live(client, bank, core->now_ns) &&
		    pending_may_report(pending, client->lease[bank].sub_window))
			lease_settle(core, index, bank, true);
}

static bool is_called_back(struct core *core, const struct client *client, int bank) {
	const struct grant_terms *terms = terms_now(core, policy_of(core, client));
	int64_t long_ns =
		(2 + grant_ahead_span(terms, demand_span_least(core, terms))) * terms->sub_window_us * NS_PER_US;
	int64_t lasts_ns = client->lease[bank].deadline_ns - core->now_ns;
	return may_report(client, bank) && credits_left(core, client, bank) > 0 &&
	       (lasts_ns <= 0 || lasts_ns >= long_ns);
}

void lease_recall(struct core *core, uint32_t index) {
	struct client *client = client_at(core, index);
	const bool goes[2] = {is_called_back(core, client, 0), is_called_back(core, client, 1)};
	struct pending *pending = goes[0] || goes[1] ? pending_for(core, index) : NULL;
	if (!pending)
		return;
	/* Of both leases first, since the period ends with either. */
	for (int bank = 0; bank < 2; bank++)
		if (may_report(client, bank) && is_live(client, bank, core->now_ns))
			report_spent(core, client, pending, bank);
	end_told_period(core, client, pending);
	for (int bank = 0; bank < 2; bank++)
		if (goes[bank] && pending_may_report(pending, client->lease[bank].sub_window))
			lease_settle(core, index, bank, true);
	pending_make_urgent(core, pending);
}

/* ---- A check by way of the agent -------------------------------------------- */

int lease_find(const struct core *core, const struct client *client, uint32_t cost) {
	for (int bank = 0; bank < 2; bank++)
		if (lease_is_spendable(core, client, bank, core->now_ns) && credits_left(core, client, bank) >= cost)
			return bank;
	return lease_open_credits(core, client) >= cost ? LEASE_BOTH : -1;
}

/* What a fallback is to count can't be told apart later from what apps took: so nothing of such a lease is
 * reported any more. */
static void note_spent(const struct core *core, struct client *client, int bank, uint32_t cost) {
	bool must_remember = demand_must_remember(core, client);
	if (!must_remember && client->granted[bank] >= cost)
		client->granted[bank] -= cost;
	else if (must_remember && !(client->flags & fallback_flag(bank)))
		client->lease[bank].sub_window = 0;
}

/* All that one lease holds, and the rest from the other. Apps may be quicker at the second: then the first gets
 * its part back. */
static int spend_both(struct core *core, struct client *client, int64_t now_ns, uint32_t cost) {
	uint32_t part = credits_left(core, client, 0);
	if (!lease_is_spendable(core, client, 0, now_ns) || !lease_is_spendable(core, client, 1, now_ns) ||
	    part == 0 || part >= cost || !table_spend(core->table, client->slot, 0, part))
		return -1;
	if (!table_spend(core->table, client->slot, 1, cost - part)) {
		table_add(core->table, client->slot, 0, part);
		return -1;
	}
	note_spent(core, client, 0, part);
	note_spent(core, client, 1, cost - part);
	return LEASE_BOTH;
}

/* Spends as an app does. There may be credits now, since the app's message and a refill may have crossed. The app
 * may read the verdict as late as when the lease ends, so these are never reported as spent by now. */
int lease_spend(struct core *core, struct client *client, int64_t now_ns, uint32_t cost) {
	for (int bank = 0; bank < 2; bank++)
		if (lease_is_spendable(core, client, bank, now_ns) && table_spend(core->table, client->slot, bank, cost)) {
			note_spent(core, client, bank, cost);
			return bank;
		}
	return spend_both(core, client, now_ns, cost);
}

uint32_t lease_spend_some(struct core *core, struct client *client, uint32_t cost) {
	uint32_t left = cost;
	for (int bank = 0; bank < 2 && left > 0; bank++) {
		uint32_t credits =
			lease_is_spendable(core, client, bank, core->now_ns) ? credits_left(core, client, bank) : 0;
		uint32_t part = credits < left ? credits : left;
		if (part > 0 && table_spend(core->table, client->slot, bank, part))
			left -= part;
	}
	return cost - left;
}
