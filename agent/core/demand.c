/*
 * demand.c - how much a client uses, whether it goes on, and how large a lease is asked for it, for how long.
 *
 * How much it uses is measured in periods. A period ends when a lease does, or when what was spent is reported to
 * the store: then what it used says what the next ones will. The client's record keeps that as credits in a
 * sub-window.
 */
#include <math.h>

#include "internal.h"
#include "stint.h"

/* Less than this isn't expected of a client: it gets what it needs. */
#define EXPECTED_LEAST 0.3

/* The credits below the low-water mark should last for so long: for a message, a statement and
 * the way back, on a busy server. (LEAD_MIN_NS is longer, since it is for all clients whose edge is the same.) */
#define MARGIN_MIN_NS (10 * NS_PER_MS)

/* A lease that holds so many credits is worth its statement. One that lasts longer would save little, and its
 * credits would count for longer than they need to. */
#define ENOUGH_CREDITS 64

/* So small a part of a limit, on all hosts together, does no harm where it lies unused: it is asked for with
 * whatever a client needs, so that one with a large limit doesn't begin with a credit, then three, and so on. */
#define HARMLESS_PART 256

/* A period's use is weighed against what was known before as if that had been seen for this part of the window; of
 * a coarse window, or a fixed one, for so many sub-windows. */
#define MEMORY_PART            0.6
#define MEMORY_SUB_WINDOWS_MIN 6.0

/* A period without use counts for so much at least, and says that more than so much isn't to be expected of one: a
 * client that has stopped is known after a few. */
#define UNUSED_WEIGHT 0.25
#define UNUSED_MOST   1.5

/* The next lease is asked for if so many checks are expected while it lasts. If none comes, its row was in vain.
 * If it isn't asked for, the first check waits for the database. Less is enough where that is long beside the
 * client's window, since so many round trips take longer than a sub-window; not where it is merely long, or else a
 * database that is slow because it is busy would get more to do. */
#define RENEWED         0.7
#define RENEWED_FAR     0.3
#define FAR_ROUND_TRIPS 10

/* A lease for so long may lie unused by chance; what a longer one holds is missed elsewhere. */
#define SHORT_LEASE_NS (10000 * NS_PER_MS)

/* The next lease of a client that has just come, for the first time or after a long one, lasts no more than some
 * times as long as it has been coming. */
#define NEWCOMER_GROWTH 4

/* Periods are measured in parts of a sub-window. */
#define PERIOD_PARTS 32
#define PERIOD_MASK  4095

/* ---- What a client uses ------------------------------------------------------- */

static uint32_t period_clock(struct core *core, const struct client *client, int64_t now_ns) {
	return (uint32_t)(now_ns / (sub_window_ns(core, client) / PERIOD_PARTS)) & PERIOD_MASK;
}

/* In sub-windows, never 0. */
static double period_length(struct core *core, const struct client *client, int64_t now_ns) {
	uint32_t parts = (period_clock(core, client, now_ns) - client->since) & PERIOD_MASK;
	return (parts > 0 ? parts : 1) / (double)PERIOD_PARTS;
}

uint32_t demand_period_use(const struct core *core, const struct client *client) {
	return used_of(core, client, 0) + used_of(core, client, 1);
}

/* What was used so far can't be given back any more: the table would hold more than the ledger knows of. */
static uint32_t forget_used(const struct core *core, const struct client *client, int bank) {
	if (client->slot == TABLE_NO_SLOT)
		return 0;
	uint32_t left = table_begin_epoch(core->table, client->slot, bank);
	return left < client->granted[bank] ? left : client->granted[bank];
}

void demand_begin_period(struct core *core, struct client *client) {
	client->since = period_clock(core, client, core->now_ns) & PERIOD_MASK;
	for (int bank = 0; bank < 2; bank++)
		if (client->lease[bank].deadline_ns != 0)
			client->granted[bank] = forget_used(core, client, bank);
}

bool demand_must_remember(const struct core *core, const struct client *client) {
	bool has_fallback_only = true;
	for (int bank = 0; bank < 2; bank++)
		has_fallback_only &= client->lease[bank].deadline_ns == 0 || client->flags & fallback_flag(bank);
	return !has_fallback_only && (core->state == CORE_FALLBACK || core->state == CORE_CONNECTING);
}

/* What is known by now: as if the period ended. */
static double demand_with_period(struct core *core, const struct client *client) {
	double length = period_length(core, client, core->now_ns), before = client_demand(client);
	double seen = demand_period_use(core, client) / length;
	double memory = MEMORY_PART * terms_now(core, policy_of(core, client))->runs;
	double weight = length / (length + (memory > MEMORY_SUB_WINDOWS_MIN ? memory : MEMORY_SUB_WINDOWS_MIN));
	if (seen == 0) {
		weight = weight < UNUSED_WEIGHT ? UNUSED_WEIGHT : weight;
		before = before < UNUSED_MOST / length ? before : UNUSED_MOST / length;
	}
	return before + (seen - before) * weight;
}

void demand_end_period(struct core *core, struct client *client) {
	if (demand_must_remember(core, client))
		return;
	bool has_just_begun = client->since == period_clock(core, client, core->now_ns);
	if (!has_just_begun || demand_period_use(core, client) > 0)
		client_set_demand(client, demand_with_period(core, client));
	demand_begin_period(core, client);
}

/* A client that has just begun to send, or sends more than it did, shows it before its period ends. That it sends
 * less is not known before. */
double demand_by_now(struct core *core, const struct client *client) {
	double before = client_demand(client), with_period = demand_with_period(core, client);
	return with_period > before ? with_period : before;
}

/* ---- What is asked for ---------------------------------------------------------- */

/* So much more than is expected covers what requests come by chance, mostly. */
static double with_chance(double expected) {
	return expected + 0.7 * sqrt(expected);
}

static int32_t clamp_credits(double credits, int32_t most) {
	return credits >= most ? most : credits < 0 ? 0 : (int32_t)ceil(credits);
}

/* So many round trips, in sub-windows. */
static double trips(const struct core *core, const struct grant_terms *terms, int count) {
	return count * (double)core->rtt_ns / (double)(terms->sub_window_us * NS_PER_US);
}

/* A far database: a lease lasts as long as a request for the next one takes, and that again. */
int demand_span_least(const struct core *core, const struct grant_terms *terms) {
	if (uses_memory(core) || trips(core, terms, 4) <= 1)
		return 0;
	return (int)min64(terms->runs, (int64_t)ceil(trips(core, terms, 2)));
}

/* For how many sub-windows after the present one a lease of the client should last: as long as it takes to use
 * ENOUGH_CREDITS, and long enough that the next lease can come before this one's last quarter is used, which is
 * when it is asked for: see demand_mark_base(). */
static int wanted_span(struct core *core, const struct client *client, const struct grant_terms *terms) {
	double demand = client_demand(client);
	if (in_fallback(core))
		return 0;
	int least = grant_brief_span(terms, demand_span_least(core, terms)); /* the store grants no shorter one */
	double enough = demand > 0 ? ENOUGH_CREDITS / demand - 1 : terms->runs;
	double far = ceil(trips(core, terms, LEAD_ROUND_TRIPS)) - 1;
	enough = enough > far ? enough : far;
	return enough >= terms->runs ? terms->runs : enough <= least ? least : (int)enough;
}

/* The same of its next lease, as far as the store's answer to that is known here. */
static int next_span(struct core *core, const struct client *client) {
	struct grant_terms terms = *terms_now(core, policy_of(core, client));
	int span_least = demand_span_least(core, &terms), span = wanted_span(core, client, &terms);
	uint32_t left = table_remaining(core->table, client->slot);
	terms.max_requests = (int32_t)limit_of(core, client);
	if (client->flags & CLIENT_TIGHT)
		return grant_ahead_span(&terms, span_least);
	if (left != HINT_UNKNOWN)
		span = grant_span_by_left(&terms, span, span_least, left);
	if (!client->newcomer || demand_period_use(core, client) > 1)
		return span;
	int64_t known = (int64_t)(NEWCOMER_GROWTH * period_length(core, client, core->now_ns));
	return (int)min64(span, max64(known, grant_brief_span(&terms, span_least)));
}

/* A client may not come for the time of a lease by chance: if others may need what would lie idle meanwhile, and
 * for long, it gets nothing before it comes again. */
bool demand_goes_on(struct core *core, const struct client *client) {
	const struct grant_terms *terms = terms_now(core, policy_of(core, client));
	double lasts = next_span(core, client) + 1;
	double enough = trips(core, terms, FAR_ROUND_TRIPS) > 1 ? RENEWED_FAR : RENEWED;
	bool is_long = lasts * (double)sub_window_ns(core, client) > SHORT_LEASE_NS;
	return demand_by_now(core, client) * lasts >= enough &&
	       !(client->flags & CLIENT_TIGHT && is_long && demand_period_use(core, client) == 0);
}

struct demand_period demand_present_period(struct core *core, const struct client *client) {
	return (struct demand_period){
		.used = demand_period_use(core, client),
		.length = period_length(core, client, core->now_ns),
	};
}

/* Of a client that is known too little: what it used, for as long as it took, goes on, but it isn't more than
 * twice what was used so far. So a burst grows in a few steps, and no lease is far larger than what was seen. */
static double expect_growth(const struct demand_period *period, int span) {
	return fmin(period->used / period->length * (span + 1), period->used > 0 ? 2 * period->used + 1 : 0);
}

/* Not while a limit of its own may be far less than its policy's, which the first answer tells, nor when others
 * may need it. */
static int32_t harmless(struct core *core, const struct client *client, const struct grant_terms *terms) {
	if (client->flags & CLIENT_TIGHT || !(uses_memory(core) || client->flags & CLIENT_ANSWERED))
		return 0;
	int64_t limit = uses_memory(core) ? terms->max_requests : limit_of(core, client);
	int hosts = uses_memory(core) || core->hosts == 0 ? 1 : core->hosts;
	return (int32_t)min64(limit / hosts / HARMLESS_PART, ENOUGH_CREDITS);
}

void demand_size(struct core *core, const struct client *client, const struct pending *pending,
                 const struct demand_period *period, struct lease_request *request) {
	const struct grant_terms *terms = terms_now(core, policy_of(core, client));
	request->want = request->need;
	if (core->draining || client->slot == TABLE_NO_SLOT)
		return; /* nowhere to keep more */
	double demand = client_demand(client);
	request->span = wanted_span(core, client, terms);
	request->span_least = demand_span_least(core, terms);
	/* for as long as it lasts, and until the next one can be here: while a statement is under way, two trips */
	double expected = demand * (request->span + 1 + trips(core, terms, 2));
	expected = expected < EXPECTED_LEAST ? 0 : with_chance(expected);
	double more = fmax(expect_growth(period, request->span), harmless(core, client, terms));
	if (request->need > 0 || pending->wants_more || pending->wants_next)
		request->want +=
			clamp_credits(fmax(expected, more), (int32_t)max64(0, terms->max_requests - request->need));
	if (pending->wants_more && request->want == 0)
		request->want = 1;
	double ahead = demand_by_now(core, client) * (1 + grant_ahead_span(terms, request->span_least));
	if (pending->wants_next && !pending->wants_more)
		request->next_want = clamp_credits(1 + with_chance(ahead), terms->max_requests);
}

/*
 * What the low-water mark is a part of, see table_set_mark().
 *
 * Usually that is what was granted, so that an app soon says that a client has begun to send. But most leases are
 * made for all that the client uses while they last, and some more: with that mark, each would cost one more
 * message and statement, for nothing. Its mark is what is used within the margin, one credit at least, and a
 * sixteenth of the lease at least, for a client whose rate rises.
 */
uint32_t demand_mark_base(struct core *core, const struct client *client, const struct lease_grant *grant) {
	uint32_t granted = (uint32_t)(grant->granted + grant->granted_next);
	double demand = client_demand(client);
	int64_t lasts_us = grant->next_valid_us - (grant->next_is_open ? 0 : grant->starts_in_us);
	double lasts = (double)lasts_us / ((double)sub_window_ns(core, client) / NS_PER_US);
	if (demand * lasts < granted / 4.0)
		return granted;
	double margin =
		(double)max64(MARGIN_MIN_NS, LEAD_ROUND_TRIPS * core->rtt_ns) / (double)sub_window_ns(core, client);
	double base = 4 * margin * demand;
	if (base < granted / 4.0)
		base = granted / 4.0;
	if (base < 2) /* with one credit left, then */
		base = 2;
	return base < granted ? (uint32_t)base : granted;
}
