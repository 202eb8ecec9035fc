/*
 * batch.c - sends pending requests to the store and deals with how that ends.
 *
 * The database gets many requests in one statement, and one statement at a time: what comes meanwhile gathers for
 * the next. Background requests go along with urgent ones, or by themselves after BACKGROUND_DELAY_NS. The memory
 * store answers each request at once.
 *
 * When the database refuses a statement, one locked row may be the reason. So the statement's requests are tried
 * again in groups, and those of a refused group one by one. When several in a row are refused alone, more than a
 * row may be locked: then the rest is tried together once, and after that given up.
 */
#include "internal.h"
#include "stint.h"

/* Long enough for requests to gather, and short beside any sub-window in which others could use what is
 * returned. */
#define BACKGROUND_DELAY_NS (5 * NS_PER_MS)

/* A request that was refused (by a deadlock, a lock timeout) so many times is tried once more, alone, so that one
 * locked row spoils nothing for the others. Then whoever waits for that client is denied. */
#define REJECTIONS_MAX 1

/* A large statement is tried again in groups of so many. To find one locked row that takes some dozen statements;
 * one by one it would take hundreds. */
#define GROUP_MAX 16u
#define LARGE     (2 * GROUP_MAX)

/* After so many refusals in a row of requests that went alone, the whole table may be locked, and to try each
 * client alone would take longer than anybody waits. Then the rest is tried together once: if that succeeds, it
 * was single rows; if not, the rest is given up. */
#define LONE_REJECTIONS_MAX 3

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

static void fill_request(struct core *core, struct pending *pending, int64_t now_ns) {
	struct client *client = client_at(core, pending->client);
	pending->sent = (struct lease_request){
		.policy_id = policy_of(core, client)->policy_id,
		.client_id = client->id,
		.client_id_len = client->id_len,
	};
	count_waiters(pending, &pending->sent);
	if (!in_fallback(core))
		lease_report(core, pending);
	lease_size(core, client, pending, now_ns, &pending->sent);
	pending->wants_more = pending->wants_next = false;
}

/* A client that is seen here for the first time is mostly new to the database, too, which has a shorter way for
 * those. */
static bool is_first(const struct client *client, const struct lease_request *r) {
	return !(client->flags & CLIENT_ANSWERED) && r->need > 0 && r->next_want == 0 && r->charge == 0 &&
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
	fill_request(core, pending, now_ns);
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

/* A request that was refused before goes alone, or with its group. */
static bool goes_along(const struct core *core, const struct pending *pending) {
	if (core->in_flight_count == 0)
		return true;
	const struct pending *first = core->pending[core->in_flight[0]];
	if (pending->rejections > 0 || first->rejections > 0)
		return false;
	return pending->grouped == first->grouped && (!pending->grouped || core->in_flight_count < GROUP_MAX);
}

static bool add_to_batch(struct core *core, struct pending_queue *queue, size_t most,
                         struct lease_request *requests, int64_t now_ns) {
	if (queue->first == NO_PENDING || core->in_flight_count >= most)
		return false;
	struct pending *pending = core->pending[queue->first];
	if (!goes_along(core, pending))
		return false;
	struct client *client = client_at(core, pending->client);
	pending_dequeue(core, pending);
	pending_drop_expired(core, pending, now_ns);
	generation_meet(core, pending->client);
	fallback_charge(core, pending->client);
	fill_request(core, pending, now_ns);
	debt_attach(core, pending);
	pending_attach_reports(pending);
	if (asks_nothing(&pending->sent)) {
		pending_free(core, pending);
		return true;
	}
	pending->sent.first = is_first(client, &pending->sent);
	pending->state = PENDING_IN_FLIGHT;
	requests[core->in_flight_count] = pending->sent;
	core->in_flight[core->in_flight_count++] = pending->index;
	return true;
}

static void fill_batch(struct core *core, struct lease_request *requests, int64_t now_ns) {
	bool pausing = core->lone_rejections >= LONE_REJECTIONS_MAX && now_ns < core->background_at_ns;
	size_t kept = pausing                                     ? 0
	              : core->background_count < BACKGROUND_SHARE ? core->background_count
	                                                          : BACKGROUND_SHARE;
	while (add_to_batch(core, &core->urgent, CORE_BATCH_MAX - kept, requests, now_ns))
		;
	while (!pausing && add_to_batch(core, &core->background, CORE_BATCH_MAX, requests, now_ns))
		;
	/* Some of the others may have had nothing to ask any more: then there is room left. */
	while (add_to_batch(core, &core->urgent, CORE_BATCH_MAX, requests, now_ns))
		;
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
	core->sent_ns = now_ns;
	core->counters.batches++;
	core->counters.requests += core->in_flight_count;
	core->io.take(core->context, core_host(core), requests, core->in_flight_count);
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
	plan_background(core, now_ns);
	if (uses_memory(core))
		flush_to_memory(core, now_ns);
	else
		flush_to_database(core, now_ns);
	plan_background(core, now_ns);
}

/* Something is wrong with this request, or its client's row. What it returns is burnt, rather than returned again
 * and again. An advance that it owes is charged when the client asks again, or before it leaves. */
static void abandon(struct core *core, struct pending *pending) {
	debt_abandon(core, pending);
	pending_burn_reports(pending);
}

/* The request was certainly not applied: nothing was spent, so all of it may be asked again. */
static void reject(struct core *core, struct pending *pending, size_t sent, int64_t now_ns) {
	debt_charge_again(pending);
	pending_report_again(pending);
	if (sent > LARGE) {
		pending->grouped = true;
	} else if (pending->rejections++ < REJECTIONS_MAX || !pending->first) {
		if (pending->rejections > REJECTIONS_MAX + 1)
			abandon(core, pending);
	} else {
		answer_unserved(core, pending, now_ns);
		pending->rejections = 0;
		pending->grouped = false;
	}
	pending_requeue(core, pending);
}

/* The connection broke: the request may have been applied or not. What it returned is never returned again. What
 * it charged is charged again: a client that is charged twice is limited for a window, no more. */
static void give_up(struct core *core, struct pending *pending) {
	debt_charge_again(pending);
	pending->grouped = false;
	pending_requeue(core, pending);
}

/* The requests that were to be tried alone, or in groups, go along with the others again. When denying, whoever
 * waits for them is denied first, and what they owe is charged later. */
static void give_up_trying_alone(struct core *core, bool denying, int64_t now_ns) {
	for (uint32_t index = core->urgent.first, next; index != NO_PENDING; index = next) {
		struct pending *pending = core->pending[index];
		next = pending->next;
		if (pending->rejections == 0 && !pending->grouped)
			continue;
		pending_dequeue(core, pending);
		/* It was tried alone: it would spoil the next batch, too, and those after it. */
		if (pending->rejections > REJECTIONS_MAX && !pending->first)
			abandon(core, pending);
		pending->rejections = 0;
		pending->grouped = false;
		if (denying && pending->first)
			answer_unserved(core, pending, now_ns);
		pending_requeue(core, pending);
	}
	if (denying)
		debt_retry_later(core);
}

static void count_lone_rejections(struct core *core, enum lease_outcome outcome, bool alone, int64_t now_ns) {
	if (outcome != LEASE_REJECTED) {
		core->lone_rejections = 0;
		return;
	}
	bool had_enough = core->lone_rejections >= LONE_REJECTIONS_MAX;
	core->lone_rejections += alone && !had_enough;
	if (core->lone_rejections >= LONE_REJECTIONS_MAX)
		give_up_trying_alone(core, had_enough, now_ns);
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
	bool alone = sent == 1 && core->pending[core->in_flight[0]]->rejections > 0;
	for (size_t i = 0; i < sent; i++) {
		struct pending *pending = core->pending[core->in_flight[i]];
		generation_meet(core, pending->client);
		if (outcome == LEASE_DONE)
			answer_pending(core, pending, &grants[i], sent_ns, now_ns);
		else if (outcome == LEASE_REJECTED)
			reject(core, pending, sent, now_ns);
		else
			give_up(core, pending);
	}
	count_lone_rejections(core, outcome, alone, now_ns);
}
