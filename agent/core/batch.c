/*
 * batch.c - sends pending requests to the store and deals with how that ends.
 *
 * The database gets many requests in one statement, and one statement at a time: what comes meanwhile gathers for
 * the next. Background requests go along with urgent ones, or by themselves after BACKGROUND_DELAY_NS. The memory
 * store answers each request at once.
 *
 * When the database refuses a statement, one row that somebody keeps locked may be the reason. So all of its
 * requests are put off for a little, and asked again together with others, but then no statement waits for a row:
 * the database says which ones are locked, and these alone are put off again: see answer_busy().
 */
#include "internal.h"
#include "stint.h"

/* Long enough for requests to gather, and short beside any sub-window in which others could use what is
 * returned. */
#define BACKGROUND_DELAY_NS (5 * NS_PER_MS)

/* This part of each batch is kept for background requests, if there are any, so that they are sent some time
 * however many clients wait. */
#define BACKGROUND_SHARE (CORE_BATCH_MAX / 4)

/* The memory store answers so many clients, then the event loop has its turn again. */
#define MEMORY_BATCH_MAX 1024u

static void count_waiters(struct pending *pending, struct lease_request *request) {
	int64_t need = 0;
	pending->sent_waiters = 0;
	for (const struct waiter *w = pending->first; w; w = w->next) {
		need += w->cost;
		if (request->least == 0 || (int32_t)w->cost < request->least)
			request->least = (int32_t)w->cost;
		pending->sent_waiters++;
	}
	request->need = (int32_t)(need > STINT_FALLBACK_REQUESTS_MAX ? STINT_FALLBACK_REQUESTS_MAX : need);
}

static void fill_request(struct core *core, struct pending *pending) {
	struct client *client = client_at(core, pending->client);
	pending->sent = (struct lease_request){
		.policy_id = policy_of(core, client)->policy_id,
		.client_id = client->id,
		.client_id_len = client->id_len,
	};
	count_waiters(pending, &pending->sent);
	struct demand_period period = demand_present_period(core, client); /* what is reported ends it */
	if (!in_fallback(core))
		lease_report(core, pending);
	demand_size(core, client, pending, &period, &pending->sent);
	pending->sent_more = pending->wants_more;
	pending->sent_next = pending->wants_next;
	pending->wants_more = pending->wants_next = false;
}

/* Usually a statement waits for a row that is locked: other agents lock it for a millisecond, and who waits in
 * line is served in turn. While there are locks that last, it doesn't, nor with a request that has met one. */
static bool skips(const struct core *core, const struct pending *pending, int64_t now_ns) {
	return now_ns < core->skips_until_ns || pending->busy > 0;
}

/* A client that is seen here for the first time is mostly new to the database, too, which has a shorter way for
 * those. There rows are waited for. */
static bool is_first(const struct client *client, const struct lease_request *r) {
	return !r->skip && !(client->flags & CLIENT_ANSWERED) && r->need > 0 && r->next_want == 0 && r->charge == 0 &&
	       r->report[0].sub_window == 0;
}

static bool asks_nothing(const struct lease_request *r) {
	return r->need == 0 && r->want == 0 && r->next_want == 0 && r->charge == 0 && r->report[0].unspent == 0 &&
	       r->report[1].unspent == 0;
}

/* ---- Memory: answered at once --------------------------------------------- */

static void answer_from_memory(struct core *core, struct pending *pending, int64_t now_ns) {
	struct client *client = client_at(core, pending->client);
	const struct core_policy *policy = policy_of(core, client);
	pending_drop_expired(core, pending, now_ns);
	generation_meet(core, pending->client);
	pending->of_fallback = false;
	if (in_fallback(core))
		fallback_absorb(core, pending->client);
	fill_request(core, pending);
	if (!in_fallback(core)) /* then what is reported is the database's */
		pending_attach_reports(pending);
	pending->sent.policy_id = client->policy + 1;
	struct lease_grant grant = {.answered = false};
	struct grant_terms terms = *terms_now(core, policy);
	if (client->flags & CLIENT_BLOCKED)
		terms.max_requests = 0; /* by an operator: lenient is not for those */
	if (policy->live)
		store_memory_take(core->memory, &terms, &pending->sent, now_ns / NS_PER_US, 1, &grant);
	if (in_fallback(core))
		core->counters.fallback_granted +=
			grant.answered ? (uint64_t)grant.granted + (uint64_t)grant.granted_next : 0;
	answer_pending(core, pending, &grant, now_ns, now_ns);
}

/* Background requests are charges and returns, which are for the database. The memory store got its returns when
 * they were made, see lease_settle(). It notes the charges; one that it has no room for stays in the queue. */
static void forget_background(struct core *core, int64_t now_ns) {
	uint32_t last = core->background.last;
	if (now_ns < core->background_at_ns)
		return;
	for (uint32_t index = core->background.first, done = NO_PENDING; index != NO_PENDING && done != last;
	     index = core->background.first) {
		struct pending *pending = core->pending[index];
		done = index;
		pending_dequeue(core, pending);
		if (debt_put_by(core, pending)) {
			pending_free(core, pending);
		} else {
			pending_enqueue(core, pending, PENDING_BACKGROUND);
			debt_retry_later(core);
		}
	}
}

/* Each request is answered once: one that asks again during the pass waits for the next pass. A large crowd is
 * answered some at a time. */
static void flush_to_memory(struct core *core, int64_t now_ns) {
	uint32_t last = core->urgent.last, done = NO_PENDING;
	for (uint32_t left = MEMORY_BATCH_MAX; left > 0 && core->urgent.first != NO_PENDING && done != last; left--) {
		struct pending *pending = core->pending[core->urgent.first];
		done = pending->index;
		pending_dequeue(core, pending);
		answer_from_memory(core, pending, now_ns);
	}
	forget_background(core, now_ns);
}

/* ---- The database ----------------------------------------------------------- */

static bool add_to_batch(struct core *core, struct pending_queue *queue, size_t most,
                         struct lease_request *requests, int64_t now_ns) {
	if (queue->first == NO_PENDING || core->in_flight_count >= most)
		return false;
	struct pending *pending = core->pending[queue->first];
	struct client *client = client_at(core, pending->client);
	pending_dequeue(core, pending);
	pending_drop_expired(core, pending, now_ns);
	generation_meet(core, pending->client);
	fallback_charge(core, pending->client);
	fill_request(core, pending);
	debt_attach(core, pending);
	pending_attach_reports(pending);
	if (asks_nothing(&pending->sent)) {
		pending_free(core, pending);
		return true;
	}
	pending->sent.skip = skips(core, pending, now_ns);
	pending->sent.first = is_first(client, &pending->sent);
	pending->state = PENDING_IN_FLIGHT;
	requests[core->in_flight_count] = pending->sent;
	core->in_flight[core->in_flight_count++] = pending->index;
	return true;
}

static void fill_batch(struct core *core, struct lease_request *requests, int64_t now_ns) {
	size_t kept = core->background_count < BACKGROUND_SHARE ? core->background_count : BACKGROUND_SHARE;
	while (add_to_batch(core, &core->urgent, CORE_BATCH_MAX - kept, requests, now_ns))
		;
	while (add_to_batch(core, &core->background, CORE_BATCH_MAX, requests, now_ns))
		;
	/* Some of the others may have had nothing to ask any more: then there is room left. */
	while (add_to_batch(core, &core->urgent, CORE_BATCH_MAX, requests, now_ns))
		;
}

/* One that must not wait is enough for none to wait. */
static void agree_on_locks(struct core *core, struct lease_request *requests) {
	bool skip = false;
	for (size_t i = 0; i < core->in_flight_count; i++)
		skip |= requests[i].skip;
	for (size_t i = 0; i < core->in_flight_count && skip; i++) {
		struct lease_request *sent = &core->pending[core->in_flight[i]]->sent;
		sent->skip = requests[i].skip = true;
		sent->first = requests[i].first = false;
	}
}

static void flush_to_database(struct core *core, int64_t now_ns) {
	struct lease_request requests[CORE_BATCH_MAX];
	if (core->in_flight_count > 0 || core->state == CORE_CONNECTING)
		return;
	if (core->urgent.first == NO_PENDING &&
	    (core->background.first == NO_PENDING || now_ns < core->background_at_ns))
		return;
	fill_batch(core, requests, now_ns);
	if (core->in_flight_count == 0)
		return;
	agree_on_locks(core, requests);
	core->sent_ns = now_ns;
	core->counters.batches++;
	core->counters.requests += core->in_flight_count;
	core->io.take(core->context, own_host(core), requests, core->in_flight_count);
}

/* In a resync, what a fallback admitted is charged without delay; at the end, somebody waits until all is
 * returned. Such requests come in large groups by themselves: a delay would gather no more. */
static void plan_background(struct core *core, int64_t now_ns) {
	bool is_urgent = core->draining || core->state == CORE_RESYNC;
	if (core->background.first == NO_PENDING)
		core->background_at_ns = 0;
	else if (core->background_at_ns == 0)
		core->background_at_ns = now_ns + (is_urgent ? 0 : BACKGROUND_DELAY_NS);
}

void batch_flush(struct core *core, int64_t now_ns) {
	pending_take_up(core, uses_memory(core)); /* what was put off by the database is no longer, if that is away */
	plan_background(core, now_ns);
	if (uses_memory(core))
		flush_to_memory(core, now_ns);
	else
		flush_to_database(core, now_ns);
	plan_background(core, now_ns);
}

/* The connection broke: the request may have been applied or not. What it returned is never returned again. What
 * it charged is charged again: a client that is charged twice is limited for a window, no more. */
static void give_up(struct core *core, struct pending *pending) {
	debt_charge_again(pending);
	pending->busy = 0;
	pending_requeue(core, pending);
}

void batch_end(struct core *core, int64_t now_ns, enum lease_outcome outcome, const struct lease_grant *grants,
               size_t count) {
	size_t sent = core->in_flight_count;
	int64_t sent_ns = core->sent_ns, took_ns = now_ns - core->sent_ns;
	core->in_flight_count = 0;
	core->unanswered_since_ns = outcome == LEASE_UNKNOWN ? sent_ns : 0;
	if (outcome == LEASE_DONE && count != sent)
		outcome = LEASE_UNKNOWN;
	if (outcome == LEASE_DONE)
		core->rtt_ns = core->rtt_ns ? core->rtt_ns + (took_ns - core->rtt_ns) / 8 : took_ns;
	for (size_t i = 0; i < sent; i++) {
		struct pending *pending = core->pending[core->in_flight[i]];
		generation_meet(core, pending->client);
		if (outcome == LEASE_DONE)
			answer_pending(core, pending, &grants[i], sent_ns, now_ns);
		else if (outcome == LEASE_REJECTED)
			answer_busy(core, pending, now_ns);
		else
			give_up(core, pending);
	}
}
