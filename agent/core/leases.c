/*
 * leases.c - leases: into the table, out of it again, and when.
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

/* How often a client that is tight is looked at, whether it still uses what it has: every half sub-window, but
 * neither so often that this costs more than it is worth, nor so rarely that credits lie idle here while another
 * host needs them. */
#define HORIZON_MIN_NS (500 * NS_PER_MS)
#define HORIZON_MAX_NS (5000 * NS_PER_MS)

/* A client that comes more rarely is looked at after three times as long as it takes to come, but after this. */
#define IDLE_MAX_NS (20000 * NS_PER_MS)

/* How long before a lease ends the next one is asked for: a statement takes about a millisecond, and ten on
 * a busy server; some round trips of slack. */
#define LEAD_MIN_NS (50 * NS_PER_MS)

/* If the next lease wasn't to be had when it was time for it, it is asked for again after this. */
#define LEAD_RETRY_NS (5 * NS_PER_MS)

/* So long a return waits when there are too many already. */
#define RETURN_RETRY_NS (50 * NS_PER_MS)

/* A lease that is low is not topped up when less than this is expected of the client until it ends. Of a tight
 * client that wouldn't get it anyway, or would waste most of it, somewhat more. */
#define LASTS       0.1
#define LASTS_TIGHT 1.0

static int64_t horizon_ns(int64_t sub_ns) {
	return min64(HORIZON_MAX_NS, max64(HORIZON_MIN_NS, sub_ns / 2));
}

/* Up to half of the lead is added, another part on each host. A client's edges are the same on all hosts: if all
 * asked at the same moment, they would wait in line for its row. */
static int64_t lead_ns(const struct core *core, int64_t sub_ns) {
	int64_t lead = max64(LEAD_MIN_NS, LEAD_ROUND_TRIPS * core->rtt_ns);
	int64_t spread = lead / 2 * (int64_t)(core->options.seed >> 56) / 256;
	return min64(max64(sub_ns / 2, 2 * core->rtt_ns), lead + spread);
}

/* The bank whose lease ends last; -1: none is live. */
static int last_bank(const struct client *client, int64_t now_ns) {
	int last = client->lease[1].deadline_ns > client->lease[0].deadline_ns;
	return is_live(client, last, now_ns) ? last : -1;
}

bool lease_must_not_idle(const struct core *core, const struct client *client) {
	return client->flags & (CLIENT_TIGHT | CLIENT_BANK_FALLBACK | CLIENT_BANK_FALLBACK << 1) || uses_memory(core);
}

uint64_t lease_unspent(const struct core *core, const struct client *client) {
	return (uint64_t)credits_left(core, client, 0) + credits_left(core, client, 1);
}

/* Whether it can be spent now: the lease that ends last may not have begun. */
static bool is_open(const struct core *core, const struct client *client, int bank, int64_t now_ns) {
	return client->slot != TABLE_NO_SLOT && is_live(client, bank, now_ns) &&
	       (client->lease[bank].deadline_ns <= client->lease[!bank].deadline_ns ||
	        now_ns >= table_later_start(core->table, client->slot));
}

uint32_t lease_open_credits(const struct core *core, const struct client *client) {
	uint32_t credits = 0;
	for (int bank = 0; bank < 2; bank++)
		if (is_open(core, client, bank, core->now_ns))
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
	int last = last_bank(client, core->now_ns);
	if (last >= 0 && is_open(core, client, last, core->now_ns) && credits_left(core, client, last) > 0 &&
	    lasts(core, client, last))
		return true;
	for (int bank = 0; bank < 2; bank++)
		if (is_open(core, client, bank, core->now_ns) && credits_left(core, client, bank) > 1 &&
		    2 * (uint64_t)credits_left(core, client, bank) >= client->granted[bank])
			return true;
	return false;
}

/* ---- Out of the table ------------------------------------------------------- */

/* With the client's next request, which is made for that if need be. */
static void note_return(struct core *core, uint32_t index, int64_t sub_window, uint32_t credits) {
	struct pending *pending = pending_for(core, index);
	if (pending && pending_add_report(pending, sub_window, credits, 0))
		core->counters.returned += credits; /* else they are burnt */
}

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

/* A fixed window goes on for a while after its lease, whose end is brought forward. If that is less than this, a
 * return is not worth a statement. */
#define REST_MIN_NS (10 * NS_PER_MS)

/* When what was charged to the lease's sub-window begins to count for nothing: a return would change nothing from
 * then on. */
static int64_t off_books_ns(struct core *core, const struct client *client, int bank) {
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
	if (credits == 0 || sub_window == 0 || core->now_ns >= off_books_ns(core, client, bank))
		return;
	if (core->state == CORE_MEMORY || of_fallback)
		return_to_memory(core, client, sub_window, credits);
	else if (!in_fallback(core))
		note_return(core, index, sub_window, credits);
}

void lease_charge_memory(struct core *core, const struct client *client, uint32_t used) {
	struct lease_grant ignored;
	struct grant_terms terms = *terms_now(core, policy_of(core, client));
	terms.max_requests = INT32_MAX; /* it was spent: all of it counts, whatever the limit */
	store_memory_take(core->memory, &terms,
	                  &(struct lease_request){
						  .policy_id = client->policy + 1,
						  .client_id = client->id,
						  .client_id_len = (uint8_t)client->id_len,
						  .charge = (int32_t)used,
					  },
	                  core->now_ns / NS_PER_US, 1, &ignored);
}

/* Credits that the database granted, and that were spent while it is away, count in the fallback's window, and no
 * earlier than they were spent. */
static void count_in_fallback(struct core *core, const struct client *client, int bank, uint32_t used) {
	bool of_fallback = client->flags & fallback_flag(bank);
	if (in_fallback(core) && !of_fallback && used > 0 && client->lease[bank].deadline_ns > core->fallback_since_ns)
		lease_charge_memory(core, client, used);
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
	if (used_of(core, client, bank) == 0 ||
	    client->lease[bank].deadline_ns - core->now_ns <= sub_window_ns(core, client))
		return;
	/* From here on, what an app took and finds too late is burnt: put back, it would be spent after all. */
	uint32_t left = table_begin_epoch(core->table, client->slot, bank);
	if (left < client->granted[bank])
		pending_add_report(pending, client->lease[bank].sub_window, 0, client->granted[bank] - left);
}

static void return_rest(struct core *core, struct client *client, struct pending *pending, int bank) {
	uint32_t left = credits_left(core, client, bank);
	if (left == 0 || !is_open(core, client, bank, core->now_ns) ||
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
		if (may_report(client, bank) && is_open(core, client, bank, core->now_ns))
			credits += credits_left(core, client, bank);
	return credits;
}

/* With the request for the next lease goes back what a tight client has left of this one: later it would
 * count for a sub-window more. The next one's lease begins half of the slack early, mostly at once. */
static bool returns_rest(const struct core *core, const struct client *client, const struct pending *pending) {
	const struct grant_terms *terms = &core->policies[client->policy].terms;
	bool begins_at_once = lead_ns(core, terms->sub_window_us * NS_PER_US) <= terms->slack_us / 2 * NS_PER_US;
	return client->flags & CLIENT_TIGHT && pending->wants_next && !pending->wants_more && begins_at_once;
}

void lease_report(struct core *core, struct pending *pending) {
	uint32_t index = pending->client;
	struct client *client = client_at(core, index);
	bool may_rest = pending->gathers || returns_rest(core, client, pending);
	pending->gathers = false;
	for (int bank = 0; bank < 2; bank++) {
		if (!may_report(client, bank) || !is_live(client, bank, core->now_ns))
			continue;
		report_spent(core, client, pending, bank);
		if (may_rest)
			return_rest(core, client, pending, bank);
	}
	if (pending->report[0].spent > 0 || pending->report[1].spent > 0)
		demand_end_period(core, client);
	for (int bank = 0; bank < 2; bank++)
		if (may_report(client, bank) && !is_live(client, bank, core->now_ns))
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
	for (int bank = 0; bank < 2; bank++)
		if (goes[bank])
			lease_settle(core, index, bank, true);
	pending_make_urgent(core, pending);
}

/* ---- Into the table -------------------------------------------------------- */

struct part { /* of a grant: one lease */
	int64_t sub_window;
	int64_t start_ns;
	int64_t deadline_ns;
	uint32_t granted;
	uint32_t served; /* of these, given to who waited */
	bool is_next;    /* it can't be spent before start_ns */
};

/* The bank whose lease is to begin later; -1: neither's. */
static int next_bank(const struct core *core, const struct client *client, int64_t now_ns) {
	for (int bank = 0; bank < 2; bank++)
		if (is_live(client, bank, now_ns) && !is_open(core, client, bank, now_ns))
			return bank;
	return -1;
}

/* A lease that is charged to the same sub-window, and begins no earlier than the part may; -1. */
static int same_sub_window(const struct core *core, const struct client *client, const struct part *part,
                           int64_t now_ns) {
	bool fallback = in_fallback(core);
	for (int bank = 0; bank < 2; bank++)
		if (is_live(client, bank, now_ns) && client->lease[bank].sub_window == part->sub_window &&
		    part->sub_window != 0 && is_open(core, client, bank, now_ns) != part->is_next &&
		    (!part->is_next || part->start_ns <= table_later_start(core->table, client->slot)) &&
		    !!(client->flags & fallback_flag(bank)) == fallback)
			return bank;
	return -1;
}

/* The bank to replace: one whose lease is over, else one of unknown origin, else the one that has less left, else
 * the one that ends first. */
static int replaceable_bank(const struct core *core, const struct client *client, int64_t now_ns) {
	for (int bank = 0; bank < 2; bank++)
		if (!is_live(client, bank, now_ns))
			return bank;
	for (int bank = 0; bank < 2; bank++)
		if (client->lease[bank].sub_window == 0)
			return bank;
	uint32_t left[2] = {credits_left(core, client, 0), credits_left(core, client, 1)};
	if (left[0] != left[1])
		return left[1] < left[0];
	return client->lease[0].deadline_ns <= client->lease[1].deadline_ns ? 0 : 1;
}

static void install_part(struct core *core, uint32_t index, const struct part *part, int64_t now_ns) {
	struct client *client = client_at(core, index);
	int bank = same_sub_window(core, client, part, now_ns);
	if (bank >= 0) {
		client->granted[bank] += part->granted;
		table_add(core->table, client->slot, bank, part->granted - part->served);
		return;
	}
	/* Apps tell a lease that begins later by its being the one that ends last: so there is one at most ... */
	int other = part->is_next ? next_bank(core, client, now_ns) : -1;
	if (other >= 0 && client->lease[other].sub_window != 0) {
		note_return(core, index, part->sub_window, part->granted);
		return;
	}
	if (other >= 0)
		lease_settle(core, index, other, false);
	bank = replaceable_bank(core, client, now_ns);
	/* ... and none that ends sooner than the other. */
	if (part->is_next && client->lease[!bank].deadline_ns >= part->deadline_ns) {
		if (credits_left(core, client, !bank) > 0) {
			note_return(core, index, part->sub_window, part->granted);
			return;
		}
		lease_settle(core, index, !bank, true);
	}
	lease_settle(core, index, bank, lease_must_not_idle(core, client));
	/* The same if there is one that begins later already, and this one ends after it. */
	if (!part->is_next && client->lease[!bank].deadline_ns <= part->deadline_ns &&
	    table_later_start(core->table, client->slot) > now_ns)
		lease_settle(core, index, !bank, true);
	bool fallback = in_fallback(core);
	client->lease[bank] = (struct client_lease){.sub_window = part->sub_window, .deadline_ns = part->deadline_ns};
	client->granted[bank] = part->granted;
	if (fallback)
		client->flags |= fallback_flag(bank);
	table_publish(core->table, client->slot, bank,
	              &(struct table_lease){
					  .credits = part->granted - part->served,
					  .flag = fallback ? WORD_FALLBACK_BIT : 0,
					  .start_ns = part->start_ns,
					  .deadline_ns = part->deadline_ns,
					  .is_next = part->is_next,
				  });
}

static void set_timer(struct core *core, uint32_t index, int64_t at_ns) {
	struct client *client = client_at(core, index);
	if (client->flags & CLIENT_TIMED)
		return;
	if (heap_push(&core->timers, at_ns, index) == 0)
		client->flags |= CLIENT_TIMED;
}

/* What a lease leaves goes back with the client's next request. If the client is tight and there is none for a
 * sub-window, it goes back by itself; in a fixed window, which is about to end, at once. INT64_MAX: it waits. */
static int64_t return_at_ns(struct core *core, const struct client *client, int bank) {
	int64_t deadline_ns = client->lease[bank].deadline_ns;
	if (uses_memory(core) || client->flags & fallback_flag(bank) || client->lease[bank].sub_window == 0)
		return deadline_ns;
	if (!(client->flags & CLIENT_TIGHT))
		return INT64_MAX;
	bool is_fixed = terms_now(core, policy_of(core, client))->runs == 0;
	return is_fixed ? deadline_ns : deadline_ns + min64(sub_window_ns(core, client), IDLE_MAX_NS);
}

/* How long a client is not used before it counts as idle: three times as long as it takes for a request to come,
 * within bounds. */
static int64_t idle_ns(struct core *core, const struct client *client) {
	int64_t sub_ns = sub_window_ns(core, client);
	double pause_ns = 3 * (double)sub_ns / (client_demand(client) + 0.001);
	return max64(horizon_ns(sub_ns), pause_ns < IDLE_MAX_NS ? (int64_t)pause_ns : IDLE_MAX_NS);
}

/* When the next lease is to be asked for; INT64_MAX: when somebody needs it. */
static int64_t lead_at_ns(struct core *core, const struct client *client, int64_t now_ns) {
	int bank = last_bank(client, now_ns);
	if (bank < 0 || core->draining)
		return INT64_MAX;
	/* A lease goes on for a while in the next sub-window: see lease_ends_ns(). By then the store would grant the
	 * one after that. */
	const struct grant_terms *terms = terms_now(core, policy_of(core, client));
	int64_t edge_ns = client->lease[bank].deadline_ns - terms->slack_us / 2 * NS_PER_US;
	return edge_ns - lead_ns(core, terms->sub_window_us * NS_PER_US);
}

/* Sets the client's timer for when something is to be done: when its next lease is to be asked for, when a lease
 * is over, or when to look whether it still uses what it has. A client that was served once and holds nothing
 * needs no timer. */
static void plan_timer(struct core *core, uint32_t index, int64_t now_ns) {
	struct client *client = client_at(core, index);
	int64_t at_ns = INT64_MAX;
	for (int bank = 0; bank < 2; bank++)
		if (is_live(client, bank, now_ns))
			at_ns = min64(at_ns, client->lease[bank].deadline_ns);
		else if (credits_left(core, client, bank) > 0 && return_at_ns(core, client, bank) != INT64_MAX)
			at_ns = min64(at_ns, max64(return_at_ns(core, client, bank), now_ns + RETURN_RETRY_NS));
	if (at_ns == INT64_MAX || (lease_unspent(core, client) == 0 && demand_period_use(core, client) < 2))
		return;
	int64_t lead_at = lead_at_ns(core, client, now_ns);
	if (lead_at > now_ns)
		at_ns = min64(at_ns, lead_at);
	else if (demand_goes_on(core, client) && client->pending == NO_PENDING)
		at_ns = min64(at_ns, now_ns + LEAD_RETRY_NS);
	if (lease_must_not_idle(core, client))
		at_ns = min64(at_ns, now_ns + idle_ns(core, client));
	else if (client->idle > 1)
		return; /* it may leave the table, whatever it still holds */
	set_timer(core, index, min64(at_ns, now_ns + core->options.idle_timeout_ns / 4));
}

void lease_install(struct core *core, uint32_t index, const struct lease_grant *grant, int64_t sent_ns,
                   int64_t now_ns, int32_t served) {
	struct client *client = client_at(core, index);
	const struct grant_terms *terms = terms_now(core, policy_of(core, client));
	struct part current = {
		.sub_window = grant->sub_window,
		.deadline_ns = lease_ends_ns(terms, sent_ns, grant->valid_us),
		.granted = (uint32_t)grant->granted,
		.served = (uint32_t)served,
	};
	struct part next = {
		.sub_window = grant->next_sub_window,
		.start_ns = grant->next_is_open ? now_ns : lease_starts_ns(terms, now_ns, grant->starts_in_us),
		.deadline_ns = lease_ends_ns(terms, sent_ns, grant->next_valid_us),
		.granted = (uint32_t)grant->granted_next,
		.is_next = !grant->next_is_open,
	};
	if (client->slot == TABLE_NO_SLOT)
		return; /* nowhere to keep what wasn't served: burnt; such requests ask for no more than they need */
	/* Of a far database's, those who are served may read the verdict as late as in a later sub-window: so nothing
	 * of this lease is ever reported. */
	if (grant->valid_us > grant->starts_in_us && served > 0)
		current.sub_window = 0;
	if (current.granted > 0 && current.deadline_ns > now_ns)
		install_part(core, index, &current, now_ns);
	else if (current.granted > 0 && !uses_memory(core) && current.sub_window != 0)
		note_return(core, index, current.sub_window, current.granted);
	if (next.granted > 0 && next.start_ns < next.deadline_ns)
		install_part(core, index, &next, now_ns);
	/* after a round trip of more than a sub-window there is no time at which it could be used for certain */
	else if (next.granted > 0)
		note_return(core, index, next.sub_window, next.granted);
	plan_timer(core, index, now_ns);
}

/* ---- Timers ------------------------------------------------------------------ */

/* Credits go back with a request of their own. When there are too many such requests already, the credits are left
 * where they are for now. */
static bool may_give_back(const struct core *core, const struct client *client) {
	return uses_memory(core) || has_background_room(core, client);
}

/* True when there was one. */
static bool settle_ended(struct core *core, uint32_t index, int64_t now_ns) {
	struct client *client = client_at(core, index);
	bool had_ended = false;
	for (int bank = 0; bank < 2; bank++) {
		if (client->lease[bank].deadline_ns == 0 || is_live(client, bank, now_ns))
			continue;
		had_ended = true;
		if (credits_left(core, client, bank) == 0 || now_ns >= off_books_ns(core, client, bank) ||
		    (now_ns >= return_at_ns(core, client, bank) && may_give_back(core, client)))
			lease_settle(core, index, bank, true);
		else
			demand_end_period(core, client);
	}
	return had_ended;
}

static void lease_next(struct core *core, uint32_t index) {
	struct pending *pending = pending_for(core, index);
	if (!pending || (pending->state == PENDING_IN_FLIGHT && pending->sent.next_want > 0))
		return;
	pending->wants_next = true;
	pending_make_urgent(core, pending);
}

/* A horizon has passed since the last look: a client that has used nothing since keeps nothing. */
static void look_at_use(struct core *core, uint32_t index) {
	struct client *client = client_at(core, index);
	if (table_was_referenced(core->table, client->slot)) {
		client->idle = 0;
	} else if (lease_unspent(core, client) == 0 || may_give_back(core, client)) {
		lease_settle(core, index, 0, true);
		lease_settle(core, index, 1, true);
	}
}

bool lease_end_timer(struct core *core, uint32_t index) {
	struct client *client = client_at(core, index);
	if (!(client->flags & CLIENT_TIMED) || client->slot == TABLE_NO_SLOT)
		return false;
	client->flags &= (uint8_t)~CLIENT_TIMED;
	return true;
}

/* At an edge, or when it is time for the next lease, the client's use is not looked at: the last look was so
 * short ago that a client of a few checks a second has mostly done nothing since. */
void lease_on_timer(struct core *core, uint32_t index, int64_t now_ns) {
	struct client *client = client_at(core, index);
	bool is_next = now_ns >= lead_at_ns(core, client, now_ns) && demand_goes_on(core, client);
	bool is_edge = settle_ended(core, index, now_ns);
	if (is_next)
		lease_next(core, index);
	else if (!is_edge && lease_must_not_idle(core, client))
		look_at_use(core, index);
	plan_timer(core, index, now_ns);
}

/* ---- Void --------------------------------------------------------------------- */

/* The lease is over from now on. What is left of it stays in the table, where nobody can spend it any more, until
 * the timer returns it. (In a fixed window it is off the books by then, so it isn't returned: it counts as
 * spent.) */
static void end_lease(struct core *core, uint32_t index, int bank) {
	struct client *client = client_at(core, index);
	uint32_t left = credits_left(core, client, bank);
	if (left == 0 || !is_live(client, bank, core->now_ns)) {
		if (left == 0)
			lease_settle(core, index, bank, false);
		return;
	}
	left = table_drain(core->table, client->slot, bank);
	if (left > client->granted[bank])
		left = client->granted[bank];
	client->flags |= CLIENT_TIGHT; /* so that it goes back without being asked for */
	client->granted[bank] = left;
	client->lease[bank].deadline_ns = core->now_ns;
	table_publish(core->table, client->slot, bank,
	              &(struct table_lease){.credits = left, .deadline_ns = core->now_ns});
	set_timer(core, index, core->now_ns + horizon_ns(sub_window_ns(core, client)));
}

void lease_void(struct core *core, uint32_t index, bool giving_back) {
	const struct client *client = client_at(core, index);
	if (client->slot == TABLE_NO_SLOT)
		return;
	table_unsay(core->table, client->slot);
	table_set_own_limit(core->table, client->slot, false, 0);
	for (int bank = 0; bank < 2; bank++)
		if (!giving_back || uses_memory(core) || core->draining || has_background_room(core, client))
			lease_settle(core, index, bank, giving_back);
		else
			end_lease(core, index, bank);
}

/* ---- A check by way of the agent -------------------------------------------- */

int lease_find(const struct core *core, const struct client *client, uint32_t cost) {
	for (int bank = 0; bank < 2; bank++)
		if (is_open(core, client, bank, core->now_ns) && credits_left(core, client, bank) >= cost)
			return bank;
	return -1;
}

/* Spends as an app does. There may be credits now, since the app's message and a refill may have crossed. The app
 * may read the verdict as late as when the lease ends, so these are never reported as spent by now. */
int lease_spend(struct core *core, struct client *client, int64_t now_ns, uint32_t cost) {
	for (int bank = 0; bank < 2; bank++)
		if (is_open(core, client, bank, now_ns) && table_spend(core->table, client->slot, bank, cost)) {
			if (!demand_must_remember(core, client) && client->granted[bank] >= cost)
				client->granted[bank] -= cost;
			return bank;
		}
	return -1;
}

uint32_t lease_spend_some(struct core *core, struct client *client, uint32_t cost) {
	uint32_t left = cost;
	for (int bank = 0; bank < 2 && left > 0; bank++) {
		uint32_t credits = is_open(core, client, bank, core->now_ns) ? credits_left(core, client, bank) : 0;
		uint32_t part = credits < left ? credits : left;
		if (part > 0 && table_spend(core->table, client->slot, bank, part))
			left -= part;
	}
	return cost - left;
}
