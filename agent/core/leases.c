/*
 * leases.c - leases: how large, into the table, out of it again, and when.
 *
 * A client has two banks, for two consecutive sub-windows. The agent's private
 * record says what each was given; the table says what is left of it.
 *
 *     now |---- current ----|---- next ----|
 *                      ^ lead: time to lease the next one, if the client is busy
 */
#include "internal.h"
#include "stint.h"

/* A lease should last about this long at the client's rate: half a sub-window, but neither so short that
 * every check asks nor so long that credits lie idle here while another host needs them. */
#define HORIZON_MIN_NS (500 * NS_PER_MS)
#define HORIZON_MAX_NS (5000 * NS_PER_MS)

/* How long before a sub-window ends the next one is leased: a statement takes about a millisecond, and ten on
 * a busy server; some round trips of slack. Never more than half a sub-window: the rate must be known first. */
#define LEAD_MIN_NS      (50 * NS_PER_MS)
#define LEAD_ROUND_TRIPS 8

/* The credits below the low-water mark of a lease ahead should last for so long: for a message, a statement and
 * the way back, on a busy server. (LEAD_MIN_NS is longer, since it is for all clients whose edge is the same.) */
#define MARGIN_MIN_NS (10 * NS_PER_MS)

/* A client is busy, and worth leasing ahead for, from this many credits in a sub-window on. */
#define BUSY_CREDITS 2u

#define ELAPSED_MIN_NS (1 * NS_PER_MS) /* rates over less are noise */

static uint8_t fallback_flag(int bank) {
	return (uint8_t)(CLIENT_BANK_FALLBACK << bank);
}

static int64_t sub_window_ns(struct core *core, const struct client *client) {
	return terms_now(core, policy_of(core, client))->sub_window_us * NS_PER_US;
}

static int64_t slack_ns(struct core *core, const struct client *client) {
	return terms_now(core, policy_of(core, client))->slack_us * NS_PER_US;
}

static int64_t horizon_ns(int64_t sub_ns) {
	return min64(HORIZON_MAX_NS, max64(HORIZON_MIN_NS, sub_ns / 2));
}

/* Up to half of the lead is added, another part on each host. A client's edges are the same on all hosts: if all
 * asked at the same moment, they would wait in line for its row. */
static int64_t lead_ns(const struct core *core, int64_t sub_ns) {
	int64_t lead = max64(LEAD_MIN_NS, LEAD_ROUND_TRIPS * core->rtt_ns);
	int64_t spread = lead / 2 * (int64_t)(core->options.seed >> 56) / 256;
	return min64(sub_ns / 2, lead + spread);
}

static bool is_live(const struct client *client, int bank, int64_t now_ns) {
	return client->lease[bank].deadline_ns > now_ns;
}

/* The bank of the sub-window that is running; -1: none. Of two live banks it is the one that ends first. A single
 * live bank is the current one, unless it ends later than a sub-window (and the slack) from now. */
static int current_bank(struct core *core, const struct client *client, int64_t now_ns) {
	int found = -1;
	for (int bank = 0; bank < 2; bank++)
		if (is_live(client, bank, now_ns) &&
		    (found < 0 || client->lease[bank].deadline_ns < client->lease[found].deadline_ns))
			found = bank;
	if (found >= 0 &&
	    client->lease[found].deadline_ns - now_ns > sub_window_ns(core, client) + slack_ns(core, client))
		return -1;
	return found;
}

static uint32_t credits_left(const struct core *core, const struct client *client, int bank) {
	if (client->slot == TABLE_NO_SLOT)
		return 0;
	uint32_t credits = table_credits(core->table, client->slot, bank);
	return credits < client->granted[bank] ? credits : client->granted[bank];
}

static uint32_t used_of(const struct core *core, const struct client *client, int bank) {
	return client->granted[bank] - credits_left(core, client, bank);
}

uint64_t lease_unspent(const struct core *core, const struct client *client) {
	return (uint64_t)credits_left(core, client, 0) + credits_left(core, client, 1);
}

/* Whether its sub-window has begun: that of the bank that ends last may not have. */
static bool has_begun(const struct core *core, const struct client *client, int bank) {
	return client->lease[bank].deadline_ns <= client->lease[!bank].deadline_ns ||
	       core->now_ns >= table_later_start(core->table, client->slot);
}

uint32_t lease_open_credits(const struct core *core, const struct client *client) {
	uint32_t credits = 0;
	for (int bank = 0; bank < 2 && client->slot != TABLE_NO_SLOT; bank++)
		if (is_live(client, bank, core->now_ns) && has_begun(core, client, bank))
			credits += credits_left(core, client, bank);
	return credits;
}

/* ---- Size ----------------------------------------------------------------- */

/* Credits per sub-window at the client's present rate, and within the horizon. */
struct demand {
	double per_sub_window;
	double per_horizon;
};

/* What was used of a sub-window that is much longer than the horizon says nothing about a client's rate: it may
 * have begun to send just now. Then demand is counted in periods of one horizon, from one timer to the next. */
static bool counts_by_horizon(int64_t sub_ns) {
	return sub_ns > 2 * horizon_ns(sub_ns);
}

static struct demand demand_by_horizon(struct core *core, const struct client *client, int64_t now_ns) {
	int bank = current_bank(core, client, now_ns);
	double used = bank < 0 ? 0 : used_of(core, client, bank);
	double credits = client->demand;
	if (used >= 1 && 2 * used + 1 > credits)
		credits = 2 * used + 1;
	return (struct demand){.per_sub_window = credits, .per_horizon = credits};
}

static struct demand demand_of(struct core *core, const struct client *client, int64_t now_ns) {
	int64_t sub_ns = sub_window_ns(core, client);
	if (counts_by_horizon(sub_ns))
		return demand_by_horizon(core, client, now_ns);
	double horizon = (double)min64(horizon_ns(sub_ns), sub_ns);
	struct demand demand = {.per_sub_window = client->demand,
	                        .per_horizon = client->demand * (horizon / (double)sub_ns)};
	int bank = current_bank(core, client, now_ns);
	if (bank < 0)
		return demand;
	int64_t elapsed_ns = max64(ELAPSED_MIN_NS, sub_ns - (client->lease[bank].deadline_ns - now_ns));
	double used = used_of(core, client, bank);
	double rate = used / (double)elapsed_ns;
	/* At most twice what was used so far: so a burst grows in a few steps, and no lease is far larger than what
	 * was seen. */
	double grown = rate * horizon < 2 * used + 1 ? rate * horizon : 2 * used + 1;
	if (used >= 1 && grown > demand.per_horizon)
		demand.per_horizon = grown;
	if (rate * (double)sub_ns > demand.per_sub_window && used >= BUSY_CREDITS)
		demand.per_sub_window = rate * (double)sub_ns < 2 * used ? rate * (double)sub_ns : 2 * used;
	return demand;
}

static int32_t clamp_credits(double credits, int32_t most) {
	return credits >= most ? most : credits < 0 ? 0 : (int32_t)credits;
}

void lease_size(struct core *core, const struct client *client, const struct pending *pending, int64_t now_ns,
                struct lease_request *request) {
	const struct grant_terms *terms = terms_now(core, policy_of(core, client));
	if (core->draining || client->slot == TABLE_NO_SLOT) {
		request->want = request->need; /* nowhere to keep more */
		return;
	}
	struct demand demand = demand_of(core, client, now_ns);
	if (request->need > 0 || pending->wants_more)
		request->want = clamp_credits((double)request->need + demand.per_horizon, terms->max_requests);
	if (pending->wants_more && request->want == 0)
		request->want = 1;
	if (request->want < request->need)
		request->want = request->need;
	/* A quarter more than last time, since rates vary and a top-up costs a statement. */
	if (pending->wants_next)
		request->next_want = clamp_credits(1 + demand.per_sub_window * 1.25, terms->max_requests);
}

/*
 * What the low-water mark is a part of, see table_set_mark().
 *
 * Usually that is what was granted, so that an app soon says that a client has begun to send. But a lease ahead is
 * made for all that a sub-window usually takes, and a quarter more: with that mark, each sub-window of a steady
 * client would cost one more message and statement, for nothing. Its mark is what is used within the margin, and a
 * sixteenth of the lease at least, for a client whose rate rises.
 */
uint32_t lease_mark_base(struct core *core, const struct client *client, const struct lease_grant *grant) {
	uint32_t granted = (uint32_t)(grant->granted + grant->granted_next);
	int64_t sub_ns = sub_window_ns(core, client);
	if (grant->granted > 0 || counts_by_horizon(sub_ns))
		return granted;
	double margin = (double)max64(MARGIN_MIN_NS, LEAD_ROUND_TRIPS * core->rtt_ns) / (double)sub_ns;
	double base = 4 * margin * client->demand;
	if (base < granted / 4.0)
		base = granted / 4.0;
	if (base < 2) /* with one credit left, then */
		base = 2;
	return base < granted ? (uint32_t)base : granted;
}

/* ---- Out of the table ------------------------------------------------------- */

/* Adds a return to the client's next request, which holds those of one sub-window and the one after it. */
static void note_return(struct core *core, uint32_t index, int64_t sub_window, uint32_t credits) {
	int64_t sub_us = policy_of(core, client_at(core, index))->terms.sub_window_us;
	struct pending *pending = pending_for(core, index);
	if (pending && pending_add_return(pending, sub_window, sub_us, credits))
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
						  .return_sub_window = sub_window,
						  .return_first = (int32_t)credits,
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

/* Credits that the database granted, and that were spent while it is away, count in the fallback's window, and no
 * earlier than they were spent. */
static void count_in_fallback(struct core *core, const struct client *client, int bank, uint32_t used) {
	struct lease_grant ignored;
	bool of_fallback = client->flags & fallback_flag(bank);
	if (!in_fallback(core) || of_fallback || used == 0 ||
	    client->lease[bank].deadline_ns <= core->fallback_since_ns)
		return;
	struct grant_terms terms = policy_of(core, client)->fallback_terms;
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

/* What a sub-window used says what the next ones will: up at once, down by halves. */
static void learn_demand(struct client *client, uint32_t used) {
	client->demand = used > client->demand ? used : (client->demand + used) / 2;
	if (used >= BUSY_CREDITS)
		client->flags |= CLIENT_BUSY;
	else
		client->flags &= (uint8_t)~CLIENT_BUSY;
}

void lease_settle(struct core *core, uint32_t index, int bank, bool giving_back) {
	struct client *client = client_at(core, index);
	if (client->lease[bank].deadline_ns == 0)
		return;
	uint32_t left = client->slot == TABLE_NO_SLOT ? 0 : table_drain(core->table, client->slot, bank);
	if (left > client->granted[bank])
		left = client->granted[bank];
	learn_demand(client, client->granted[bank] - left);
	count_in_fallback(core, client, bank, client->granted[bank] - left);
	if (giving_back)
		give_back(core, index, bank, left);
	client->lease[bank] = (struct client_lease){0};
	client->granted[bank] = 0;
	client->flags &= (uint8_t)~fallback_flag(bank);
}

/* ---- Into the table -------------------------------------------------------- */

struct part { /* of a grant: what is for one sub-window */
	int64_t sub_window;
	int64_t start_ns;
	int64_t deadline_ns;
	uint32_t granted;
	uint32_t served; /* of these, given to who waited */
	bool is_next;
};

static int same_sub_window(const struct core *core, const struct client *client, const struct part *part,
                           int64_t now_ns) {
	bool fallback = in_fallback(core);
	for (int bank = 0; bank < 2; bank++)
		if (is_live(client, bank, now_ns) && client->lease[bank].sub_window == part->sub_window &&
		    !!(client->flags & fallback_flag(bank)) == fallback)
			return bank;
	return -1;
}

/* The bank to replace: one whose lease is over, else one of unknown origin, else the one that ends first. */
static int replaceable_bank(const struct client *client, int64_t now_ns) {
	for (int bank = 0; bank < 2; bank++)
		if (!is_live(client, bank, now_ns))
			return bank;
	for (int bank = 0; bank < 2; bank++)
		if (client->lease[bank].sub_window == 0)
			return bank;
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
	bank = replaceable_bank(client, now_ns);
	lease_settle(core, index, bank, true);
	/* The next lease must be the one that ends last, since apps tell it by that. A lease of unknown origin may end
	 * later. */
	if (part->is_next && client->lease[!bank].deadline_ns >= part->deadline_ns)
		lease_settle(core, index, !bank, true);
	/* The same if there is a next lease already. After an answer that took longer than a sub-window, it ends
	 * before this one. */
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

/* Sets the client's timer for when something is to be done: when its next sub-window is to be leased, when a lease
 * is over, or when to look whether it still uses what it has. A client that was served once and holds nothing
 * needs no timer. */
static void plan_timer(struct core *core, uint32_t index, int64_t now_ns) {
	struct client *client = client_at(core, index);
	int bank = current_bank(core, client, now_ns);
	bool has_next = is_live(client, 0, now_ns) && is_live(client, 1, now_ns);
	int64_t sub_ns = sub_window_ns(core, client);
	int64_t at_ns = now_ns + horizon_ns(sub_ns);
	for (int b = 0; b < 2; b++)
		if (is_live(client, b, now_ns))
			at_ns = min64(at_ns, client->lease[b].deadline_ns);
	if (bank >= 0 && !has_next) {
		int64_t lead_at_ns = client->lease[bank].deadline_ns - lead_ns(core, sub_ns);
		if (lead_at_ns > now_ns)
			at_ns = min64(at_ns, lead_at_ns);
	}
	if (lease_unspent(core, client) > 0 || (bank >= 0 && used_of(core, client, bank) >= BUSY_CREDITS))
		set_timer(core, index, at_ns);
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
		.sub_window = grant->sub_window + terms->sub_window_us,
		.start_ns = lease_starts_ns(terms, now_ns, grant->starts_in_us),
		.deadline_ns = lease_ends_ns(terms, sent_ns, grant->next_valid_us),
		.granted = (uint32_t)grant->granted_next,
		.is_next = true,
	};
	if (client->slot == TABLE_NO_SLOT)
		return; /* nowhere to keep what wasn't served: burnt; such requests ask for no more than they need */
	if (current.granted > 0 && current.deadline_ns > now_ns)
		install_part(core, index, &current, now_ns);
	else if (current.granted > 0 && !uses_memory(core))
		note_return(core, index, current.sub_window, current.granted);
	if (next.granted > 0 && next.start_ns < next.deadline_ns)
		install_part(core, index, &next, now_ns);
	/* after a round trip of more than a sub-window there is no time at which it could be used for certain */
	else if (next.granted > 0)
		note_return(core, index, next.sub_window, next.granted);
	plan_timer(core, index, now_ns);
}

/* ---- Timers ------------------------------------------------------------------ */

static bool should_lease_next(struct core *core, const struct client *client, int bank, int64_t now_ns) {
	if (bank < 0 || core->draining || (is_live(client, 0, now_ns) && is_live(client, 1, now_ns)))
		return false;
	int64_t sub_ns = sub_window_ns(core, client);
	if (now_ns < client->lease[bank].deadline_ns - lead_ns(core, sub_ns))
		return false;
	uint32_t used = used_of(core, client, bank);
	return used >= BUSY_CREDITS || (client->flags & CLIENT_BUSY && (used > 0 || counts_by_horizon(sub_ns)));
}

void lease_begin_period(struct core *core, struct client *client) {
	for (int bank = 0; bank < 2; bank++)
		if (client->lease[bank].deadline_ns != 0)
			client->granted[bank] = credits_left(core, client, bank);
}

static void end_period(struct core *core, struct client *client, int64_t now_ns) {
	int bank = current_bank(core, client, now_ns);
	if (bank < 0 || !counts_by_horizon(sub_window_ns(core, client)))
		return;
	learn_demand(client, used_of(core, client, bank));
	lease_begin_period(core, client);
}

/* Credits go back with a request of their own. When there are too many such requests already, the credits are left
 * where they are for now. */
static bool may_give_back(const struct core *core, const struct client *client) {
	return uses_memory(core) || has_background_room(core, client);
}

/* True when there was one. */
static bool settle_ended(struct core *core, uint32_t index, int64_t now_ns) {
	const struct client *client = client_at(core, index);
	bool had_ended = false;
	for (int bank = 0; bank < 2; bank++) {
		if (client->lease[bank].deadline_ns == 0 || is_live(client, bank, now_ns))
			continue;
		if (credits_left(core, client, bank) == 0 || may_give_back(core, client) ||
		    now_ns >= off_books_ns(core, client, bank))
			lease_settle(core, index, bank, true);
		had_ended = true;
	}
	return had_ended;
}

static void lease_next(struct core *core, uint32_t index) {
	struct pending *pending = pending_for(core, index);
	if (!pending)
		return;
	pending->wants_next = true;
	pending_make_urgent(core, pending);
}

/* A horizon has passed since the last look: a client that has used nothing since keeps nothing. */
static void look_at_use(struct core *core, uint32_t index, int64_t now_ns) {
	struct client *client = client_at(core, index);
	if (table_was_referenced(core->table, client->slot)) {
		client->idle = 0;
	} else if (lease_unspent(core, client) > 0 && may_give_back(core, client)) {
		lease_settle(core, index, 0, true);
		lease_settle(core, index, 1, true);
	}
	end_period(core, client, now_ns);
}

bool lease_end_timer(struct core *core, uint32_t index) {
	struct client *client = client_at(core, index);
	if (!(client->flags & CLIENT_TIMED) || client->slot == TABLE_NO_SLOT)
		return false;
	client->flags &= (uint8_t)~CLIENT_TIMED;
	return true;
}

/* At an edge, or when it is time to lease ahead of one, the client's use is not looked at: the last look was so
 * short ago that a client of a few checks a second has mostly done nothing since. */
void lease_on_timer(struct core *core, uint32_t index, int64_t now_ns) {
	struct client *client = client_at(core, index);
	bool is_edge = settle_ended(core, index, now_ns);
	if (should_lease_next(core, client, current_bank(core, client, now_ns), now_ns))
		lease_next(core, index);
	else if (!is_edge)
		look_at_use(core, index, now_ns);
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
	learn_demand(client, client->granted[bank] - left);
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

/* Spends as an app does. There may be credits now, since the app's message and a refill may have crossed. */
int lease_spend(struct core *core, struct client *client, int64_t now_ns, uint32_t cost) {
	int bank = current_bank(core, client, now_ns);
	if (client->slot == TABLE_NO_SLOT || bank < 0 || !has_begun(core, client, bank))
		return -1;
	return table_spend(core->table, client->slot, bank, cost) ? bank : -1;
}
