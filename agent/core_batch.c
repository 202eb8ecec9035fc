/*
 * core_batch.c - requests to the store: one per client, gathered while a batch is
 * under way, and answered to everybody who waits for that client.
 *
 * Two queues. Urgent: somebody waits, or an active client runs low. Background:
 * returns and charges, which go along with the next urgent batch, or after
 * BACKGROUND_DELAY_NS by themselves.
 */
#include <stdlib.h>
#include <string.h>

#include "../lib/stint.h"
#include "core_internal.h"

/* Long enough to gather, short against any sub-window in which others could use what is returned. */
#define BACKGROUND_DELAY_NS (5 * NS_PER_MS)

/* A statement that the database refused (a deadlock, a lock timeout) is tried once more, client by client, so
 * that one locked row spoils nothing for the others; then whoever waits for that client is denied. */
#define REJECTIONS_MAX 1

/* How long a client whose row can't be had is denied without another try: a try holds up all others of this
 * host for as long as the database waits for the lock. */
#define UNSERVED_PAUSE_US 1000000

/* A host returns what lies idle after 5 s at most; a denied client costs one statement in that time, which writes nothing. */
#define DENIAL_MAX_US 6000000

/* Answers in a row that came when their sub-window was over: the round trip is too long for this policy. */
#define LATE_MAX 3

#define OPS_AT_START 64

void ops_init(struct core *core) {
	core->op_free = NO_OP;
	core->urgent = core->background = (struct op_queue){NO_OP, NO_OP};
}

static void drop_waiters(struct op *op) {
	for (struct waiter *w = op->first, *next; w; w = next) {
		next = w->next;
		free(w);
	}
	op->first = NULL;
	op->last = &op->first;
}

void ops_deinit(struct core *core) {
	for (uint32_t i = 0; i < core->op_count; i++)
		if (core->ops[i].state != OP_FREE)
			drop_waiters(&core->ops[i]);
	free(core->ops);
}

/* ---- Queues --------------------------------------------------------------- */

static uint32_t index_of(const struct core *core, const struct op *op) {
	return (uint32_t)(op - core->ops);
}

static struct op_queue *queue_of(struct core *core, const struct op *op) {
	return op->state == OP_URGENT ? &core->urgent : &core->background;
}

static void enqueue(struct core *core, struct op *op, enum op_state state) {
	op->state = (uint8_t)state;
	struct op_queue *queue = queue_of(core, op);
	uint32_t index = index_of(core, op);
	op->previous = queue->last;
	op->next = NO_OP;
	*(queue->last == NO_OP ? &queue->first : &core->ops[queue->last].next) = index;
	queue->last = index;
	core->background_count += state == OP_BACKGROUND;
}

static void dequeue(struct core *core, struct op *op) {
	struct op_queue *queue = queue_of(core, op);
	*(op->previous == NO_OP ? &queue->first : &core->ops[op->previous].next) = op->next;
	*(op->next == NO_OP ? &queue->last : &core->ops[op->next].previous) = op->previous;
	core->background_count -= op->state == OP_BACKGROUND;
}

static bool reserve_op(struct core *core) {
	if (core->op_free != NO_OP || core->op_count < core->op_capacity)
		return true;
	uint32_t capacity = core->op_capacity ? core->op_capacity * 2 : OPS_AT_START;
	if (capacity >= NO_OP)
		return false;
	struct op *ops = malloc(capacity * sizeof *ops);
	if (!ops)
		return false;
	for (uint32_t i = 0; i < core->op_count; i++) {
		ops[i] = core->ops[i];
		if (!ops[i].first) /* `last` points into the op itself */
			ops[i].last = &ops[i].first;
	}
	free(core->ops);
	core->ops = ops;
	core->op_capacity = capacity;
	return true;
}

struct op *op_for(struct core *core, uint32_t client) {
	struct client *c = client_at(core, client);
	if (c->op != NO_OP)
		return &core->ops[c->op];
	if (!reserve_op(core))
		return NULL;
	uint32_t index = core->op_free;
	if (index != NO_OP)
		core->op_free = core->ops[index].next;
	else
		index = core->op_count++;
	struct op *op = &core->ops[index];
	*op = (struct op){.client = client};
	op->last = &op->first;
	c->op = index & NO_OP;
	enqueue(core, op, OP_BACKGROUND);
	return op;
}

static void op_free(struct core *core, struct op *op) {
	uint32_t client = op->client;
	drop_waiters(op);
	client_at(core, client)->op = NO_OP;
	op->state = OP_FREE;
	op->next = core->op_free;
	core->op_free = index_of(core, op);
	/* Nothing else remembers a client that the table has no room for. */
	if (client_at(core, client)->slot == TABLE_NO_SLOT)
		client_forget(core, client);
}

void op_make_urgent(struct core *core, struct op *op) {
	if (op->state != OP_BACKGROUND)
		return;
	dequeue(core, op);
	enqueue(core, op, OP_URGENT);
}

int op_add_waiter(struct op *op, uint64_t peer, uint32_t serial, uint32_t cost, int64_t expires_ns) {
	struct waiter *waiter = malloc(sizeof *waiter);
	if (!waiter)
		return -1;
	*waiter = (struct waiter){.peer = peer, .serial = serial, .cost = cost, .expires_ns = expires_ns};
	*op->last = waiter;
	op->last = &waiter->next;
	return 0;
}

static void pop_waiter(struct op *op) {
	struct waiter *waiter = op->first;
	op->first = waiter->next;
	if (!op->first)
		op->last = &op->first;
	free(waiter);
}

/* ---- Asking --------------------------------------------------------------- */

/* Who has given up meanwhile isn't counted, and gets no answer. */
static void drop_expired(struct op *op, int64_t now_ns) {
	uint32_t sent = op->sent_waiters;
	for (struct waiter **at = &op->first; *at;) {
		struct waiter *waiter = *at;
		bool was_sent = sent > 0;
		sent -= was_sent;
		if (waiter->expires_ns > now_ns) {
			at = &waiter->next;
			continue;
		}
		op->sent_waiters -= was_sent;
		*at = waiter->next;
		free(waiter);
	}
	op->last = &op->first;
	while (*op->last)
		op->last = &(*op->last)->next;
}

static void count_waiters(struct op *op, struct lease_request *request) {
	int64_t need = 0;
	op->sent_waiters = 0;
	for (const struct waiter *w = op->first; w; w = w->next) {
		need += w->cost;
		if (request->least == 0 || (int32_t)w->cost < request->least)
			request->least = (int32_t)w->cost;
		op->sent_waiters++;
	}
	request->need = (int32_t)(need > STINT_FALLBACK_REQUESTS_MAX ? STINT_FALLBACK_REQUESTS_MAX : need);
}

/* What earlier leases left goes back; what was advanced without asking is counted. */
static void attach_debts(struct core *core, struct op *op, struct client *client) {
	if (client->flags & CLIENT_INDEBTED) {
		int64_t owed = op->charge + store_memory_take_uncharged(core->memory, client->policy + 1, client->id, client->id_len);
		op->charge = (int32_t)(owed > STINT_FALLBACK_REQUESTS_MAX ? STINT_FALLBACK_REQUESTS_MAX : owed);
		client->flags &= (uint8_t)~CLIENT_INDEBTED;
	}
	op->sent.charge = op->charge;
	op->sent.return_sub_window = op->return_sub_window;
	op->sent.return_first = op->return_first;
	op->sent.return_second = op->return_second;
	op->charge = 0;
	op->return_sub_window = 0;
	op->return_first = op->return_second = 0;
}

static void fill_request(struct core *core, struct op *op, int64_t now_ns) {
	struct client *client = client_at(core, op->client);
	op->sent = (struct lease_request){
		.policy_id = policy_of(core, client)->policy_id,
		.client_id = client->id,
		.client_id_len = client->id_len,
	};
	count_waiters(op, &op->sent);
	lease_size(core, client, op, now_ns, &op->sent);
	op->wants_more = op->wants_next = false;
}

static bool asks_nothing(const struct lease_request *r) {
	return r->need == 0 && r->want == 0 && r->next_want == 0 && r->charge == 0 && r->return_sub_window == 0;
}

/* ---- Answering --------------------------------------------------------------- */

void send_verdict(struct core *core, uint64_t peer, uint32_t serial, const struct core_verdict *verdict) {
	if (verdict->status == 0)
		*(verdict->allowed ? &core->counters.allowed : &core->counters.denied) += 1;
	core->io.verdict(core->context, peer, serial, verdict);
}

static void refuse_waiters(struct core *core, struct op *op, int status) {
	for (; op->first; pop_waiter(op))
		send_verdict(core, op->first->peer, op->first->serial, &(struct core_verdict){.status = status});
}

static int64_t us_to_ms_up(int64_t us) {
	return us < 0 ? -1 : (us + 999) / 1000;
}

struct answer { /* of a store, to one op */
	const struct lease_grant *grant;
	int64_t deadline_ns;
	int32_t left;          /* of what was granted */
	uint32_t least_denied; /* 0: nobody was */
	bool fallback;
};

static struct core_verdict verdict_for(const struct answer *a, uint32_t cost, bool allowed) {
	struct core_verdict verdict = {
		.allowed = allowed,
		.source = a->fallback ? STINT_SOURCE_FALLBACK : STINT_SOURCE_DATABASE,
		.deadline_ns = a->deadline_ns,
		.limit = a->grant->max_requests,
		.remaining = (int64_t)a->grant->remaining + a->left,
		.reset_after_ms = us_to_ms_up(a->grant->reset_us),
	};
	if (!allowed) {
		int64_t retry_us = a->grant->retry_us ? a->grant->retry_us : a->grant->starts_in_us;
		verdict.retry_after_ms = (int64_t)cost > a->grant->max_requests ? -1 : us_to_ms_up(retry_us);
	}
	return verdict;
}

/* In order of arrival; who doesn't fit is denied, and those behind may still fit. Who came after
 * the request was sent takes what is left, and otherwise waits for the next answer. */
static void serve_waiters(struct core *core, struct op *op, struct answer *answer, int64_t now_ns) {
	drop_expired(op, now_ns);
	uint32_t sent = op->sent_waiters;
	for (struct waiter **at = &op->first; *at; sent -= sent > 0) {
		struct waiter *waiter = *at;
		bool allowed = (int64_t)waiter->cost <= answer->left;
		if (!allowed && sent == 0 && answer->grant->remaining > 0) {
			at = &waiter->next;
			continue;
		}
		if (allowed)
			answer->left -= (int32_t)waiter->cost;
		else if (answer->least_denied == 0 || waiter->cost < answer->least_denied)
			answer->least_denied = waiter->cost;
		struct core_verdict verdict = verdict_for(answer, waiter->cost, allowed);
		send_verdict(core, waiter->peer, waiter->serial, &verdict);
		*at = waiter->next;
		free(waiter);
	}
	op->last = &op->first;
	while (*op->last)
		op->last = &(*op->last)->next;
}

/* How much longer than the cached denial the client stays denied, if nobody returns credits. */
static uint32_t denial_hint(const struct lease_grant *grant, int64_t cached_us) {
	int64_t beyond_ms = (grant->retry_us - cached_us) / 1000;
	if (grant->retry_us < 0)
		return HINT_FOREVER;
	return beyond_ms < 0 ? 0 : beyond_ms > INT32_MAX ? INT32_MAX : (uint32_t)beyond_ms;
}

/* Tells the table until when asking is of no use. Never beyond the next sub-window: others may return credits when
 * theirs end; nor much longer than it takes a host to return what it doesn't use. Counted from the send time, since
 * the answer's time is later. */
static void cache_denial(struct core *core, const struct client *client, const struct answer *a, int64_t sent_ns) {
	const struct lease_grant *grant = a->grant;
	uint32_t cost = grant->remaining == 0 ? 1 : a->least_denied;
	if (client->slot == TABLE_NO_SLOT)
		return;
	table_set_remaining(core->table, client->slot, (uint32_t)grant->remaining, (uint32_t)(grant->granted + grant->granted_next));
	int64_t cached_us = grant->starts_in_us < DENIAL_MAX_US ? grant->starts_in_us : DENIAL_MAX_US;
	table_deny(core->table, client->slot, sent_ns + cached_us * NS_PER_US, cost, denial_hint(grant, cached_us));
}

/* Relaxed: what didn't fit stays owed, so that what is beyond the limit never grows past one advance. Strict, and
 * relaxed as far as it exceeds one advance by a fallback's use: what a fallback admitted beyond the limit has no
 * further consequence. */
static void settle_charge(struct core *core, struct client *client, const struct lease_request *sent, const struct lease_grant *grant) {
	struct core_policy *policy = policy_of(core, client);
	int64_t owed = (int64_t)sent->charge - grant->charged;
	core->counters.charged += (uint64_t)grant->charged;
	if (owed <= 0 || !policy->relaxed || uses_memory(core) || grant->max_requests == 0)
		return;
	int64_t most = core->state == CORE_RESYNC ? core_relaxed_advance(core, policy) : owed;
	store_memory_owe(core->memory, client->policy + 1, client->id, client->id_len, (int32_t)(owed < most ? owed : most));
	client->flags |= CLIENT_INDEBTED;
}

/* Remembered for a fallback, in which the database can't be asked. */
static void note_blocked(struct client *client, bool blocked) {
	if (blocked)
		client->flags |= CLIENT_BLOCKED;
	else
		client->flags &= (uint8_t)~CLIENT_BLOCKED;
}

static void requeue_or_free(struct core *core, struct op *op) {
	if (op->first || op->wants_more || op->wants_next)
		enqueue(core, op, OP_URGENT);
	else if (op->charge > 0 || op->return_sub_window)
		enqueue(core, op, OP_BACKGROUND);
	else
		op_free(core, op);
}

/*
 * The database serves others, but not this client: somebody keeps its row locked. Strict means that
 * nobody is admitted whom the database didn't count, and no check waits longer than it has to.
 */
static void deny_unserved(struct core *core, struct op *op, int64_t now_ns) {
	struct client *client = client_at(core, op->client);
	const struct core_policy *policy = policy_of(core, client);
	int64_t pause_us = policy->terms.sub_window_us < UNSERVED_PAUSE_US ? policy->terms.sub_window_us : UNSERVED_PAUSE_US;
	struct core_verdict verdict = {
		.source = STINT_SOURCE_DATABASE,
		.limit = policy->terms.max_requests,
		.retry_after_ms = us_to_ms_up(pause_us),
		.reset_after_ms = policy->time_window_ms,
	};
	drop_expired(op, now_ns);
	for (; op->first; pop_waiter(op), core->counters.unserved++)
		send_verdict(core, op->first->peer, op->first->serial, &verdict);
	if (client->slot != TABLE_NO_SLOT)
		table_deny(core->table, client->slot, now_ns + pause_us * NS_PER_US, 1, 0);
}

/* The op is in no queue here. */
static void complete(struct core *core, struct op *op, const struct lease_grant *grant, int64_t sent_ns, int64_t now_ns) {
	struct client *client = client_at(core, op->client);
	uint32_t index = index_of(core, op);
	op->rejections = 0;
	if (!grant->answered) {
		refuse_waiters(core, op, STINT_ENOPOLICY);
		requeue_or_free(core, op);
		return;
	}
	struct answer answer = {
		.grant = grant,
		.left = grant->granted,
		.deadline_ns = lease_ends_ns(terms_now(core, policy_of(core, client)), sent_ns, grant->valid_us),
		.fallback = core->state == CORE_FALLBACK,
	};
	settle_charge(core, client, &op->sent, grant);
	if (!uses_memory(core))
		note_blocked(client, grant->max_requests == 0);
	core->counters.granted += (uint64_t)grant->granted + (uint64_t)grant->granted_next;
	if (answer.deadline_ns <= now_ns && grant->granted > 0) {
		core->counters.late++; /* who waits asks again, in the sub-window that has begun */
		lease_place(core, op->client, grant, sent_ns, now_ns, 0);
		if (++core->ops[index].late >= LATE_MAX)
			deny_unserved(core, &core->ops[index], now_ns);
		requeue_or_free(core, &core->ops[index]);
		return;
	}
	op->late = 0;
	serve_waiters(core, op, &answer, now_ns);
	lease_place(core, op->client, grant, sent_ns, now_ns, grant->granted - answer.left);
	cache_denial(core, client, &answer, sent_ns);
	requeue_or_free(core, &core->ops[index]);
}

/* ---- Memory: answered at once --------------------------------------------- */

static void answer_from_memory(struct core *core, struct op *op, int64_t now_ns) {
	struct client *client = client_at(core, op->client);
	const struct core_policy *policy = policy_of(core, client);
	drop_expired(op, now_ns);
	if (core->state == CORE_FALLBACK)
		fallback_absorb(core, op->client);
	fill_request(core, op, now_ns);
	op->sent.policy_id = client->policy + 1;
	struct lease_grant grant = {.answered = false};
	struct grant_terms terms = *terms_now(core, policy);
	if (client->flags & CLIENT_BLOCKED)
		terms.max_requests = 0; /* by an operator: lenient is not for those */
	if (policy->live)
		store_memory_take(core->memory, &terms, &op->sent, now_ns / NS_PER_US, 1, &grant);
	if (core->state == CORE_FALLBACK)
		core->counters.fallback_granted += grant.answered ? (uint64_t)grant.granted + (uint64_t)grant.granted_next : 0;
	complete(core, op, &grant, now_ns, now_ns);
}

/* Each op once: what asks again during the pass waits for the next one. */
static void flush_to_memory(struct core *core, int64_t now_ns) {
	uint32_t last = core->urgent.last;
	for (uint32_t index = core->urgent.first, done = NO_OP; index != NO_OP && done != last; index = core->urgent.first) {
		struct op *op = &core->ops[index];
		done = index;
		dequeue(core, op);
		answer_from_memory(core, op, now_ns);
	}
	/* Charges and returns are for the database. A memory store takes its returns at once, see lease_settle(). */
	while (core->background.first != NO_OP) {
		struct op *op = &core->ops[core->background.first];
		struct client *client = client_at(core, op->client);
		dequeue(core, op);
		if (op->charge > 0)
			store_memory_owe(core->memory, client->policy + 1, client->id, client->id_len, op->charge);
		op_free(core, op);
	}
}

/* ---- The database ----------------------------------------------------------- */

/* What was refused before goes alone. */
static bool goes_along(const struct core *core, const struct op *op) {
	return core->in_flight_count == 0 || (op->rejections == 0 && core->ops[core->in_flight[0]].rejections == 0);
}

static bool add_to_batch(struct core *core, struct op_queue *queue, struct lease_request *requests, int64_t now_ns) {
	if (queue->first == NO_OP || core->in_flight_count == CORE_BATCH_MAX)
		return false;
	struct op *op = &core->ops[queue->first];
	if (!goes_along(core, op))
		return false;
	struct client *client = client_at(core, op->client);
	dequeue(core, op);
	drop_expired(op, now_ns);
	fill_request(core, op, now_ns);
	attach_debts(core, op, client);
	if (asks_nothing(&op->sent)) {
		op_free(core, op);
		return true;
	}
	op->state = OP_IN_FLIGHT;
	requests[core->in_flight_count] = op->sent;
	core->in_flight[core->in_flight_count++] = index_of(core, op);
	return true;
}

static void flush_to_database(struct core *core, int64_t now_ns) {
	struct lease_request requests[CORE_BATCH_MAX];
	if (core->in_flight_count > 0 || core->state == CORE_CONNECTING)
		return;
	if (core->urgent.first == NO_OP && (core->background.first == NO_OP || now_ns < core->background_at_ns))
		return;
	while (add_to_batch(core, &core->urgent, requests, now_ns))
		;
	while (add_to_batch(core, &core->background, requests, now_ns))
		;
	if (core->in_flight_count == 0)
		return;
	core->sent_ns = now_ns;
	core->counters.batches++;
	core->counters.requests += core->in_flight_count;
	core->io.take(core->context, core->hosts, requests, core->in_flight_count);
}

void batch_flush(struct core *core, int64_t now_ns) {
	if (uses_memory(core))
		flush_to_memory(core, now_ns);
	else
		flush_to_database(core, now_ns);
	if (core->background.first == NO_OP)
		core->background_at_ns = 0;
	else if (core->background_at_ns == 0)
		core->background_at_ns = now_ns + BACKGROUND_DELAY_NS;
}

/* Something is wrong with these: burnt rather than asked for ever. */
static void abandon_debts(struct core *core, struct op *op) {
	if (op->charge > 0 && core->charges_left > 0)
		core->charges_left--;
	op->charge = 0;
	op->return_sub_window = 0;
}

/* What was sent as charged, and what has been admitted in advance since then. */
static void charge_again(struct op *op) {
	int64_t charge = (int64_t)op->charge + op->sent.charge;
	op->charge = (int32_t)(charge > STINT_FALLBACK_REQUESTS_MAX ? STINT_FALLBACK_REQUESTS_MAX : charge);
}

/* Certainly not applied: nothing was spent, so everything may be asked again. (Of two returns the later stays: it is
 * more likely to be still on the books.) */
static void reject(struct core *core, struct op *op, int64_t now_ns) {
	charge_again(op);
	if (op->return_sub_window == 0) {
		op->return_sub_window = op->sent.return_sub_window;
		op->return_first = op->sent.return_first;
		op->return_second = op->sent.return_second;
	}
	if (op->rejections++ < REJECTIONS_MAX || !op->first) {
		if (op->rejections > REJECTIONS_MAX + 1)
			abandon_debts(core, op);
	} else {
		deny_unserved(core, op, now_ns);
		op->rejections = 0;
	}
	requeue_or_free(core, op);
}

/* The connection broke: what was asked may have been granted, charged and returned. Returns are never
 * made twice; a charge is, since a client that was charged twice is only limited, for a window. */
static void give_up(struct core *core, struct op *op) {
	charge_again(op);
	requeue_or_free(core, op);
}

void core_on_grants(struct core *core, int64_t now_ns, enum lease_outcome outcome, const struct lease_grant *grants, size_t count) {
	core->now_ns = now_ns;
	size_t sent = core->in_flight_count;
	int64_t sent_ns = core->sent_ns, took_ns = now_ns - core->sent_ns;
	core->in_flight_count = 0;
	core->unanswered_since_ns = outcome == LEASE_UNKNOWN ? sent_ns : 0;
	if (outcome == LEASE_DONE && count != sent)
		outcome = LEASE_UNKNOWN;
	if (outcome == LEASE_DONE)
		core->rtt_ns = core->rtt_ns ? core->rtt_ns + (took_ns - core->rtt_ns) / 8 : took_ns;
	for (size_t i = 0; i < sent; i++) {
		struct op *op = &core->ops[core->in_flight[i]];
		if (op->sent.charge > 0 && core->charges_left > 0 && outcome == LEASE_DONE)
			core->charges_left--;
		if (outcome == LEASE_DONE)
			complete(core, op, &grants[i], sent_ns, now_ns);
		else if (outcome == LEASE_REJECTED)
			reject(core, op, now_ns);
		else
			give_up(core, op);
	}
	if (core->state == CORE_RESYNC && core->charges_left == 0)
		core->state = CORE_IN_STEP;
}
