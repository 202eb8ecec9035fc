/*
 * lease_timer.c - when to look at a client's leases: to ask for the next one, to return what one left that is
 * over, or to see whether the client still uses what it has.
 *
 * A client has one timer at most. It is never moved: it runs out, and then is set anew.
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

/* If the next lease wasn't to be had when it was time for it, it is asked for again after this. */
#define LEAD_RETRY_NS (5 * NS_PER_MS)

/* So long a return waits when there are too many already. */
#define RETURN_RETRY_NS (50 * NS_PER_MS)

static int64_t horizon_ns(int64_t sub_ns) {
	return min64(HORIZON_MAX_NS, max64(HORIZON_MIN_NS, sub_ns / 2));
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
	int bank = lease_last_bank(client, now_ns);
	if (bank < 0 || core->draining)
		return INT64_MAX;
	/* A lease goes on for a while in the next sub-window: see lease_ends_ns(). By then the store would grant the
	 * one after that. */
	const struct grant_terms *terms = terms_now(core, policy_of(core, client));
	int64_t edge_ns = client->lease[bank].deadline_ns - terms->slack_us / 2 * NS_PER_US;
	return edge_ns - lease_lead_ns(core, terms->sub_window_us * NS_PER_US);
}

/* A client that was served once and holds nothing needs no timer. */
void lease_plan_timer(struct core *core, uint32_t index, int64_t now_ns) {
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

/* ---- It runs out --------------------------------------------------------------- */

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
		if (credits_left(core, client, bank) == 0 || now_ns >= lease_off_books_ns(core, client, bank) ||
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
	lease_plan_timer(core, index, now_ns);
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
