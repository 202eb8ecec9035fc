/*
 * answer.c - what the store's answer to one request means: for those who wait, for the table, and for what the
 * client owes.
 *
 * The credits that were granted go to those who wait, in order of arrival; what is left goes into the table as a
 * lease, together with what the store said of the client: its limit, what remains, until when asking is of no use.
 */
#include "internal.h"
#include "stint.h"

/* A client whose row the database can't get at is denied for so long without another try, but no longer than its
 * window. */
#define UNSERVED_PAUSE_US 1000000

/* Whoever waits for a row that somebody has locked does so no longer than this. Another agent has it for a
 * millisecond or some. */
#define BUSY_PATIENCE_NS (250 * NS_PER_MS)

/* The verdict must reach the app before its own time is up. */
#define VERDICT_NS (5 * NS_PER_MS)

/* When a statement has waited for a row in vain, or one is still locked after so long, it isn't another agent that
 * has it. Then for some time no statement waits for any row. */
#define LONG_LOCK_NS (100 * NS_PER_MS)
#define SKIPPING_NS  (30000 * NS_PER_MS)

/* After so many answers in a row that came when their sub-window was over, the round trip is too long for this
 * policy, and whoever waits is denied. */
#define LATE_MAX 3

/* Of whom less than this part of the limit is left is counted as near it. */
#define NEAR_LIMIT_PART 5

static int64_t us_to_ms_up(int64_t us) {
	return us > 0 ? (us + 999) / 1000 : 0;
}

struct answer { /* of a store, to one pending request */
	const struct lease_grant *grant;
	int64_t deadline_ns;
	int64_t retry_us;      /* for whoever is denied; that it will never do, the limit tells. Of a client that is
	                          blocked: until the block ends; 0: it doesn't end by itself */
	int64_t reset_us;      /* at least that */
	int64_t open;          /* credits that the client had before */
	int32_t left;          /* of what was granted */
	uint32_t least_denied; /* 0: nobody was */
	int64_t refused_us;    /* for so long the refusal is good, at most */
	bool fallback;
};

static struct answer answer_of(struct core *core, const struct client *client, const struct lease_grant *grant,
                               int64_t sent_ns) {
	/* Negative: never, but of the least that was wanted. That may be above the limit when 1 is not. */
	int64_t retry_us = grant->retry_us > 0 ? grant->retry_us : grant->max_requests > 0 ? grant->starts_in_us : 0;
	return (struct answer){
		.grant = grant,
		.deadline_ns = lease_ends_ns(terms_now(core, policy_of(core, client)), sent_ns, grant->valid_us),
		.retry_us = retry_us,
		.reset_us = grant->reset_us > retry_us ? grant->reset_us : retry_us,
		.open = lease_open_credits(core, client),
		.refused_us = INT64_MAX,
		.left = grant->granted,
		.fallback = in_fallback(core),
	};
}

/* remaining: beside what the store has. */
static struct core_verdict admit(struct core *core, const struct client *client, const struct answer *a,
                                 int64_t remaining) {
	uint8_t source = a->fallback ? STINT_SOURCE_FALLBACK : STINT_SOURCE_DATABASE;
	struct core_verdict verdict = verdict_allowed(core, client, source, a->deadline_ns);
	verdict.limit = a->grant->max_requests;
	verdict.remaining = a->grant->remaining + remaining;
	return verdict;
}

static struct core_verdict deny(struct core *core, const struct client *client, const struct answer *a,
                                uint32_t cost, int64_t remaining) {
	return verdict_denied(core, client, cost,
	                      &(struct denial){
							  .source = a->fallback ? STINT_SOURCE_FALLBACK : STINT_SOURCE_DATABASE,
							  .limit = a->grant->max_requests,
							  .remaining = a->grant->remaining + remaining,
							  .retry_ms = us_to_ms_up(a->retry_us),
							  .reset_ms = us_to_ms_up(a->reset_us),
						  });
}

/* First, what was granted goes to those who wait, be it that they came after the request was sent. Who takes the
 * credits itself waits until they are in the table. */
static bool serve(void *context, struct core *core, struct pending *pending, const struct waiter *waiter,
                  bool was_sent, struct core_verdict *verdict) {
	(void)was_sent;
	struct answer *answer = context;
	const struct lease_grant *grant = answer->grant;
	if ((int64_t)waiter->cost > answer->left || waiter->provide)
		return false;
	answer->left -= (int32_t)waiter->cost;
	int64_t next = grant->next_is_open ? grant->granted_next : 0;
	*verdict = admit(core, client_at(core, pending->client), answer, answer->open + answer->left + next);
	return true;
}

/* Then, what is in the table: the rest of it, and what was there before. */
static bool serve_from_table(void *context, struct core *core, struct pending *pending,
                             const struct waiter *waiter, bool was_sent, struct core_verdict *verdict) {
	(void)context, (void)was_sent;
	struct client *client = client_at(core, pending->client);
	int bank = waiter->provide ? lease_find(core, client, waiter->cost)
	                           : lease_spend(core, client, core->now_ns, waiter->cost);
	if (bank < 0)
		return false;
	*verdict = verdict_by_lease(core, client, bank);
	return true;
}

/* Whether the next answer brings enough, if the client's leases give back what they hold: alone neither they nor
 * the store have so much. (A fallback's leases end so soon that it isn't worth while.) For who takes the credits
 * itself the store may have enough, but others were quicker at what this answer has brought. */
static bool would_fit(struct core *core, const struct client *client, const struct answer *answer,
                      const struct waiter *waiter) {
	uint64_t held = in_fallback(core) ? 0 : lease_returnable(core, client);
	return (held > 0 || waiter->provide) && waiter->cost <= held + (uint64_t)answer->grant->remaining;
}

/* Last, who doesn't fit is denied. But who came after the request was sent waits for the next answer if the store
 * has more; and so does who would fit then. A look takes nothing, and so brings nothing together. */
static bool deny_rest(void *context, struct core *core, struct pending *pending, const struct waiter *waiter,
                      bool was_sent, struct core_verdict *verdict) {
	struct answer *answer = context;
	const struct client *client = client_at(core, pending->client);
	int64_t remaining = answer->grant->remaining;
	int64_t held =
		client->slot == TABLE_NO_SLOT ? (int64_t)answer->left : (int64_t)lease_open_credits(core, client);
	if (was_sent && would_fit(core, client, answer, waiter)) {
		pending->gathers |= !waiter->looks && (int64_t)waiter->cost > remaining;
		*verdict = admit(core, client, answer, held);
		return waiter->looks;
	}
	if (!was_sent && remaining > 0)
		return false;
	if (answer->least_denied == 0 || waiter->cost < answer->least_denied)
		answer->least_denied = waiter->cost;
	*verdict = deny(core, client, answer, waiter->cost, held);
	return true;
}

static bool refuse(void *context, struct core *core, struct pending *pending, const struct waiter *waiter,
                   bool was_sent, struct core_verdict *verdict) {
	(void)context, (void)core, (void)pending, (void)waiter, (void)was_sent;
	*verdict = (struct core_verdict){.status = STINT_ENOPOLICY};
	return true;
}

static bool deny_unserved(void *context, struct core *core, struct pending *pending, const struct waiter *waiter,
                          bool was_sent, struct core_verdict *verdict) {
	(void)was_sent;
	*verdict = verdict_denied(core, client_at(core, pending->client), waiter->cost, context);
	core->counters.unserved++;
	return true;
}

/* Puts into the table what the answer brought and nobody who waited has got. */
static void install_lease(struct core *core, uint32_t index, const struct answer *a, int64_t sent_ns,
                          int64_t now_ns) {
	const struct client *client = client_at(core, index);
	const struct lease_grant *grant = a->grant;
	if (client->slot == TABLE_NO_SLOT)
		return; /* nowhere to keep what wasn't served: burnt; such requests ask for no more than they need */
	table_unsay(core->table, client->slot);
	table_set_own_limit(core->table, client->slot,
	                    grant->max_requests != terms_now(core, policy_of(core, client))->max_requests,
	                    (uint32_t)grant->max_requests);
	lease_install(core, index, grant, sent_ns, now_ns, grant->granted - a->left);
	table_set_mark(core->table, client->slot, demand_mark_base(core, client, grant));
	table_set_remaining(core->table, client->slot, (uint32_t)grant->remaining);
}

/*
 * Puts into the table what the store has left, and a denial until asking is of use again. The denial never goes
 * beyond the start of the next sub-window, when others may have returned credits, nor beyond DENIAL_MAX_US. It is
 * counted from the time of sending, since the store answered later than that.
 */
static void install_denial(struct core *core, uint32_t index, const struct answer *a, int64_t sent_ns) {
	const struct client *client = client_at(core, index);
	const struct lease_grant *grant = a->grant;
	if (client->slot == TABLE_NO_SLOT)
		return;
	int64_t cached_us = min64(min64(grant->starts_in_us, DENIAL_MAX_US), a->refused_us);
	uint32_t remaining = (uint32_t)grant->remaining;
	int64_t least_us = grant->max_requests == 0 && a->retry_us > 0; /* 0 would mean that the block doesn't end */
	int64_t retry_ms = us_to_ms_up(max64(a->retry_us - cached_us, least_us));
	int64_t reset_ms = max64(us_to_ms_up(a->reset_us - cached_us), retry_ms);
	uint32_t hint = hint_pack(a->fallback ? HINT_FALLBACK_BIT : 0, (uint64_t)retry_ms, (uint64_t)reset_ms);
	table_unsay(core->table, client->slot);
	if (!table_deny(core->table, client->slot, sent_ns + surely_within(cached_us * NS_PER_US),
	                remaining == 0 ? 1 : a->least_denied, remaining, hint))
		table_set_remaining(core->table, client->slot, remaining);
}

/* Three quarters of the limit are taken: others may need what lies idle here. */
static void note_tight(struct client *client, const struct lease_grant *grant) {
	if (4 * (int64_t)grant->remaining < grant->max_requests)
		client->flags |= CLIENT_TIGHT;
	else
		client->flags &= (uint8_t)~CLIENT_TIGHT;
}

/* By what is left, its lease would have lasted more than twice as long. */
static void note_newcomer(struct core *core, struct client *client, const struct lease_request *sent,
                          const struct lease_grant *grant) {
	struct grant_terms terms = *terms_now(core, policy_of(core, client));
	int64_t granted = (int64_t)grant->granted + grant->granted_next;
	int64_t span = grant->next_is_open ? (grant->next_valid_us - grant->starts_in_us) / terms.sub_window_us
	                                   : grant_brief_span(&terms, sent->span_least);
	terms.max_requests = grant->max_requests;
	if (granted > 0)
		client->newcomer =
			2 * span < grant_span_by_left(&terms, sent->span, sent->span_least, grant->remaining + granted);
}

/* A fallback needs to know it, and can't ask the database. */
static void note_blocked(struct client *client, bool blocked) {
	if (blocked)
		client->flags |= CLIENT_BLOCKED;
	else
		client->flags &= (uint8_t)~CLIENT_BLOCKED;
}

/* The table denies the client until then, and keeps what it knows of it otherwise. */
static void pause_client(struct core *core, const struct client *client, int64_t until_ns, uint64_t reset_ms) {
	uint32_t remaining = table_remaining(core->table, client->slot);
	table_unsay(core->table, client->slot);
	table_deny(core->table, client->slot, until_ns, 1, remaining == HINT_UNKNOWN ? 0 : remaining,
	           hint_pack(HINT_UNAVAILABLE_BIT, 0, reset_ms));
}

/* How long no other try is made for a client that wasn't served. */
static int64_t unserved_pause_us(const struct core_policy *policy) {
	int64_t window_us = policy->time_window_ms * 1000;
	return window_us < UNSERVED_PAUSE_US ? window_us : UNSERVED_PAUSE_US;
}

static struct denial unserved_denial(struct core *core, const struct client *client) {
	const struct core_policy *policy = policy_of(core, client);
	return (struct denial){
		.source = STINT_SOURCE_DATABASE,
		.unavailable = true,
		.limit = limit_of(core, client),
		.remaining = verdict_remaining(core, client),
		.retry_ms = us_to_ms_up(unserved_pause_us(policy)),
		.reset_ms = policy->time_window_ms,
	};
}

/*
 * The database serves others, but not this client: somebody keeps its row locked. Nobody is admitted whom the
 * database didn't count, and no check waits longer than it has to: so whoever waits is denied.
 */
static void answer_unserved(struct core *core, struct pending *pending, int64_t now_ns) {
	struct client *client = client_at(core, pending->client);
	const struct core_policy *policy = policy_of(core, client);
	int64_t pause_us = unserved_pause_us(policy);
	struct denial denial = unserved_denial(core, client);
	pending_drop_expired(core, pending, now_ns);
	pending_serve(core, pending, deny_unserved, &denial);
	if (client->slot != TABLE_NO_SLOT)
		pause_client(core, client, now_ns + pause_us * NS_PER_US,
		             (uint64_t)us_to_ms_up(policy->time_window_ms * 1000 - pause_us));
}

/* Who can't wait for the next try gets the answer now: when its time is up, its app would decide by itself. */
static bool deny_hurried(void *context, struct core *core, struct pending *pending, const struct waiter *waiter,
                         bool was_sent, struct core_verdict *verdict) {
	int64_t next_ns = core->now_ns + pending_delay_ns(core, pending) + 2 * core->rtt_ns + VERDICT_NS;
	return waiter->expires_ns <= next_ns && deny_unserved(context, core, pending, waiter, was_sent, verdict);
}

/* What was asked for is asked for again. */
static void want_again(struct pending *pending) {
	pending->wants_more |= pending->sent_more;
	pending->wants_next |= pending->sent_next;
}

/* Nobody waits any longer, nor does a resync. What the client owes stays owed, and what it returns can be returned
 * for as long as it may count: it is tried again, more and more rarely. */
static void lose_patience(struct core *core, struct pending *pending, int64_t now_ns) {
	const struct core_policy *policy = policy_of(core, client_at(core, pending->client));
	int64_t since_ns = now_ns - pending->busy_since_ns;
	if (pending->first)
		answer_unserved(core, pending, now_ns);
	pending->wants_more = pending->wants_next = false;
	debt_await_no_longer(core, pending);
	if (since_ns >= 2 * window_passes_ns(policy) || core->draining)
		pending_burn_reports(pending);
	if (core->draining)
		debt_abandon(core, pending);
}

void answer_busy(struct core *core, struct pending *pending, int64_t now_ns) {
	struct denial denial = unserved_denial(core, client_at(core, pending->client));
	if (pending->busy == 0)
		pending->busy_since_ns = now_ns;
	pending_count_busy(core, pending);
	core->counters.busy++;
	debt_charge_again(pending);
	pending_report_again(pending);
	want_again(pending);
	if (!pending->sent.skip || now_ns - pending->busy_since_ns >= LONG_LOCK_NS)
		core->skips_until_ns = now_ns + SKIPPING_NS;
	if (now_ns - pending->busy_since_ns >= BUSY_PATIENCE_NS) {
		lose_patience(core, pending, now_ns);
	} else {
		pending_drop_expired(core, pending, now_ns);
		pending_serve(core, pending, deny_hurried, &denial);
	}
	if (pending->sent.skip)
		pending_put_off(core, pending);
	else
		pending_requeue(core, pending); /* another row may have been to blame: that is found out at once */
}

static bool is_near_limit(const struct lease_grant *grant) {
	return (int64_t)grant->remaining * NEAR_LIMIT_PART < grant->max_requests;
}

/* The request is in no queue here. */
void answer_pending(struct core *core, struct pending *pending, const struct lease_grant *grant, int64_t sent_ns,
                    int64_t now_ns) {
	struct client *client = client_at(core, pending->client);
	if (grant->busy) {
		answer_busy(core, pending, now_ns);
		return;
	}
	pending->busy = 0;
	if (!grant->answered) {
		debt_settle(core, pending, 0);
		pending_serve(core, pending, refuse, NULL);
		pending_requeue(core, pending);
		return;
	}
	struct answer answer = answer_of(core, client, grant, sent_ns);
	core->counters.charged += (uint64_t)grant->charged;
	debt_settle(core, pending, grant->charged);
	if (!uses_memory(core)) {
		client->flags |= CLIENT_ANSWERED;
		note_blocked(client, grant->max_requests == 0);
	}
	core->counters.granted += (uint64_t)grant->granted + (uint64_t)grant->granted_next;
	if (answer.deadline_ns <= now_ns && grant->granted > 0) {
		core->counters.late++; /* who waits asks again, in the sub-window that has begun */
		install_lease(core, pending->client, &answer, sent_ns, now_ns);
		install_denial(core, pending->client, &answer, sent_ns);
		if (++pending->late >= LATE_MAX)
			answer_unserved(core, pending, now_ns);
		pending_requeue(core, pending);
		return;
	}
	note_tight(client, grant);
	core->near_limit[client->policy] += is_near_limit(grant);
	note_newcomer(core, client, &pending->sent, grant);
	answer.refused_us = recall_on_answer(core, pending->client, &pending->sent, grant) / NS_PER_US;
	pending->late = 0;
	pending_drop_expired(core, pending, now_ns);
	pending_serve(core, pending, serve, &answer);
	install_lease(core, pending->client, &answer, sent_ns, now_ns);
	pending_serve(core, pending, serve_from_table, NULL);
	pending_serve(core, pending, deny_rest, &answer);
	install_denial(core, pending->client, &answer, sent_ns);
	pending_requeue(core, pending);
}
