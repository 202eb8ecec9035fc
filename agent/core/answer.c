/*
 * answer.c - what a store's answer means: to those who wait, to the table, and to what the client owes.
 */
#include "internal.h"
#include "stint.h"

/* How long a client whose row can't be had is denied without another try, though no longer than its window: a try holds up
 * all others of this host for as long as the database waits for the lock. */
#define UNSERVED_PAUSE_US 1000000

/* Answers in a row that came when their sub-window was over: the round trip is too long for this policy. */
#define LATE_MAX 3

void send_verdict(struct core *core, uint64_t peer, uint32_t serial, const struct core_verdict *verdict) {
	if (verdict->status == 0)
		*(verdict->allowed ? &core->counters.allowed : &core->counters.denied) += 1;
	core->io.verdict(core->context, peer, serial, verdict);
}

static void refuse_waiters(struct core *core, struct op *op, int status) {
	for (; op->first; op_pop_waiter(core, op))
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
		/* Negative: never, but of the least that was wanted when it was asked for. */
		int64_t retry_us = a->grant->retry_us > 0 ? a->grant->retry_us : a->grant->starts_in_us;
		verdict.retry_after_ms = (int64_t)cost > a->grant->max_requests ? -1 : us_to_ms_up(retry_us);
	}
	return verdict;
}

/* In order of arrival; who doesn't fit is denied, and those behind may still fit. Who came after
 * the request was sent takes what is left, and otherwise waits for the next answer. */
static void serve_waiters(struct core *core, struct op *op, struct answer *answer, int64_t now_ns) {
	op_drop_expired(core, op, now_ns);
	uint32_t sent = op->sent_waiters;
	for (struct waiter **at = &op->first; *at; sent -= sent > 0) {
		const struct waiter *waiter = *at;
		bool allowed = (int64_t)waiter->cost <= answer->left;
		if (!allowed && sent == 0 && answer->grant->remaining > 0) {
			at = &(*at)->next;
			continue;
		}
		if (allowed)
			answer->left -= (int32_t)waiter->cost;
		else if (answer->least_denied == 0 || waiter->cost < answer->least_denied)
			answer->least_denied = waiter->cost;
		struct core_verdict verdict = verdict_for(answer, waiter->cost, allowed);
		send_verdict(core, waiter->peer, waiter->serial, &verdict);
		op_remove_waiter(core, op, at);
	}
}

/* How much longer than the cached denial the client stays denied, if nobody returns credits. */
static uint32_t denial_hint(const struct lease_grant *grant, uint32_t cost, int64_t cached_us) {
	int64_t beyond_ms = (grant->retry_us - cached_us) / 1000;
	/* Not by retry_us: that is of the least that was wanted, which may be above the limit when 1 is not. */
	if ((int64_t)cost > grant->max_requests)
		return HINT_FOREVER;
	return beyond_ms < 0 ? 0 : beyond_ms >= HINT_FOREVER ? HINT_FOREVER - 1 : (uint32_t)beyond_ms;
}

/* Tells the table until when asking is of no use. Never beyond the next sub-window: others may return credits when
 * theirs end; nor much longer than it takes a host to return what it doesn't use. Counted from the send time, since
 * the answer's time is later. */
static void cache_denial(struct core *core, const struct client *client, const struct answer *a, int64_t sent_ns) {
	const struct lease_grant *grant = a->grant;
	uint32_t cost = grant->remaining == 0 ? 1 : a->least_denied;
	if (client->slot == TABLE_NO_SLOT)
		return;
	table_set_remaining(core->table, client->slot, (uint32_t)grant->remaining, lease_mark_base(core, client, grant));
	int64_t cached_us = grant->starts_in_us < DENIAL_MAX_US ? grant->starts_in_us : DENIAL_MAX_US;
	table_deny(core->table, client->slot, sent_ns + surely_within(cached_us * NS_PER_US), cost,
	           denial_hint(grant, cost, cached_us) | (a->fallback ? HINT_FALLBACK_BIT : 0));
}

bool note_owed(struct core *core, const struct client *client, struct debt debt) {
	return store_memory_owe(core->memory, client->policy + 1, client->id, client->id_len, debt);
}

/* An advance stays owed, so that what is beyond the limit never grows past one. What a fallback admitted beyond the limit has no
 * further consequence. */
bool keep_owed(struct core *core, struct client *client, struct debt debt, int64_t left) {
	int64_t owed = left < debt.advanced ? left : debt.advanced;
	if (owed <= 0 || uses_memory(core))
		return true;
	if (!note_owed(core, client, debt_of(owed, owed, debt.since_us)))
		return false;
	client->flags |= CLIENT_INDEBTED;
	return true;
}

/* Without memory to note it the op keeps it, and asks at once again. */
static void settle_charge(struct core *core, struct op *op, int64_t charged) {
	int64_t left = op->sent.charge - charged;
	if (!keep_owed(core, client_at(core, op->client), op->sent_debt, left))
		op->debt = debt_sum(op->debt, debt_of(left, op->sent_debt.advanced, op->sent_debt.since_us));
}

/* Remembered for a fallback, in which the database can't be asked. */
static void note_blocked(struct client *client, bool blocked) {
	if (blocked)
		client->flags |= CLIENT_BLOCKED;
	else
		client->flags &= (uint8_t)~CLIENT_BLOCKED;
}

/*
 * The database serves others, but not this client: somebody keeps its row locked. Strict means that
 * nobody is admitted whom the database didn't count, and no check waits longer than it has to.
 */
void answer_unserved(struct core *core, struct op *op, int64_t now_ns) {
	struct client *client = client_at(core, op->client);
	const struct core_policy *policy = policy_of(core, client);
	int64_t window_us = policy->time_window_ms * 1000;
	int64_t pause_us = window_us < UNSERVED_PAUSE_US ? window_us : UNSERVED_PAUSE_US;
	struct core_verdict verdict = {
		.source = STINT_SOURCE_DATABASE,
		.limit = policy->terms.max_requests,
		.retry_after_ms = us_to_ms_up(pause_us),
		.reset_after_ms = policy->time_window_ms,
	};
	op_drop_expired(core, op, now_ns);
	for (; op->first; op_pop_waiter(core, op), core->counters.unserved++)
		send_verdict(core, op->first->peer, op->first->serial, &verdict);
	if (client->slot != TABLE_NO_SLOT)
		table_deny(core->table, client->slot, now_ns + pause_us * NS_PER_US, 1, 0);
}

/* The op is in no queue here. */
void answer_op(struct core *core, struct op *op, const struct lease_grant *grant, int64_t sent_ns, int64_t now_ns) {
	struct client *client = client_at(core, op->client);
	op->rejections = 0;
	op->grouped = false;
	if (!grant->answered) {
		settle_charge(core, op, 0);
		refuse_waiters(core, op, STINT_ENOPOLICY);
		op_requeue(core, op);
		return;
	}
	struct answer answer = {
		.grant = grant,
		.left = grant->granted,
		.deadline_ns = lease_ends_ns(terms_now(core, policy_of(core, client)), sent_ns, grant->valid_us),
		.fallback = core->state == CORE_FALLBACK,
	};
	core->counters.charged += (uint64_t)grant->charged;
	settle_charge(core, op, grant->charged);
	if (!uses_memory(core)) {
		client->flags |= CLIENT_ANSWERED;
		note_blocked(client, grant->max_requests == 0);
	}
	core->counters.granted += (uint64_t)grant->granted + (uint64_t)grant->granted_next;
	if (answer.deadline_ns <= now_ns && grant->granted > 0) {
		core->counters.late++; /* who waits asks again, in the sub-window that has begun */
		lease_place(core, op->client, grant, sent_ns, now_ns, 0);
		if (++op->late >= LATE_MAX)
			answer_unserved(core, op, now_ns);
		op_requeue(core, op);
		return;
	}
	op->late = 0;
	serve_waiters(core, op, &answer, now_ns);
	lease_place(core, op->client, grant, sent_ns, now_ns, grant->granted - answer.left);
	cache_denial(core, client, &answer, sent_ns);
	op_requeue(core, op);
}
