/*
 * check.c - one check, from arguments to verdict: the table first; the agent
 * when the table has no answer; the limit inside the process when there is no
 * agent.
 */
#include "attachment.h"
#include "channel.h"
#include "client_id.h"
#include "clock.h"
#include "decide.h"
#include "error.h"

struct check {
	struct stint_limiter *limiter;
	const char *id;
	size_t length;
	uint32_t cost;
};

/* Whether the arguments can be meant; fills in the check field by field, since a copied struct costs (see decide.h). */
DECIDE_HOT static inline int make_check(struct check *c, struct stint_limiter *limiter, const char *id, uint32_t cost) {
	c->limiter = limiter;
	c->id = id;
	c->length = client_id_length(id);
	c->cost = cost;
	if (c->length == 0)
		return error_set(STINT_ECLIENT, "client_id is NULL, empty, longer than %d bytes or not UTF-8",
			STINT_CLIENT_ID_MAX);
	if (cost < 1 || cost > STINT_MAX_REQUESTS_MAX)
		return error_set(STINT_ERANGE, "cost is %u, must be 1 to %d", cost, STINT_MAX_REQUESTS_MAX);
	return 0;
}

/* ---- The table ------------------------------------------------------------ */

static void tell_low(struct stint_limiter *limiter, const char *id, size_t length) {
	struct channel *ch = attachment_find_channel(limiter->attachment);

	if (ch)
		channel_send_low(ch, limiter, id, length);
}

DECIDE_HOT static inline enum verdict decide_by_table(const struct check *c, const struct binding *binding, struct decision *d) {
	enum verdict verdict;

	if (!binding)
		return VERDICT_NONE;
	verdict = decide(binding->mapping, binding->policy, c->id, c->length, c->cost, d);
	if (d->low)
		tell_low(c->limiter, c->id, c->length);
	return verdict;
}

static int64_t load_limit(const _Atomic int64_t *field) {
	return atomic_load_explicit(field, memory_order_relaxed);
}

DECIDE_HOT static inline void describe_allowed(const struct policy_entry *policy, const struct decision *d,
	struct stint_result *result) {
	int64_t lease_ms = clock_ms_up(clock_left_ns(d->now_ns, d->until_ns));

	result->allowed = true;
	result->retry_after_ms = 0;
	if (d->fallback) {
		/* A fallback window is a fixed one, and its credits last until its end. */
		result->source = STINT_SOURCE_FALLBACK;
		result->limit = load_limit(&policy->fallback_max_requests);
		result->remaining = d->left;
		result->reset_after_ms = lease_ms;
	} else {
		/* What is charged to this sub-window weighs for a window after its end. */
		result->source = STINT_SOURCE_LEASE;
		result->limit = load_limit(&policy->max_requests);
		result->remaining = (int64_t)d->left + d->beyond;
		result->reset_after_ms = lease_ms + load_limit(&policy->time_window_ms);
	}
}

DECIDE_HOT static inline void describe_denied(const struct policy_entry *policy, const struct decision *d,
	struct stint_result *result) {
	int64_t denied_ms = clock_ms_up(clock_left_ns(d->now_ns, d->until_ns));
	uint32_t beyond_ms = d->beyond & ~HINT_FALLBACK_BIT;
	bool fallback = (d->beyond & HINT_FALLBACK_BIT) != 0;

	result->allowed = false;
	result->source = fallback ? STINT_SOURCE_FALLBACK : STINT_SOURCE_LEASE;
	result->limit = load_limit(fallback ? &policy->fallback_max_requests : &policy->max_requests);
	if (d->blocked)
		result->limit = 0;
	result->remaining = 0;
	result->retry_after_ms = beyond_ms == HINT_FOREVER ? -1 : denied_ms + beyond_ms;
	result->reset_after_ms = load_limit(fallback ? &policy->fallback_time_window_ms : &policy->time_window_ms);
}

/* True when the table has the answer. */
DECIDE_HOT static inline bool check_table(const struct check *c, struct stint_result *result) {
	const struct binding *binding = atomic_load_explicit(&c->limiter->binding, memory_order_acquire);
	struct decision d;
	enum verdict verdict = decide_by_table(c, binding, &d);

	if (verdict == VERDICT_ALLOWED)
		describe_allowed(&binding->mapping->policies[binding->policy], &d, result);
	else if (verdict == VERDICT_DENIED)
		describe_denied(&binding->mapping->policies[binding->policy], &d, result);
	return verdict != VERDICT_NONE;
}

/* ---- Beyond the table ------------------------------------------------------ */

static int no_channel(void) {
	return error_set(STINT_ENOMEM, "no memory for a connection to the agent");
}

static void decide_locally(struct check c, struct stint_result *result) {
	limiter_decide_locally(c.limiter, c.id, c.length, c.cost, result);
}

static int ask_agent(struct check c, struct stint_result *result) {
	struct channel *ch = attachment_channel(c.limiter->attachment);
	struct request request;
	int status;

	if (!ch)
		return no_channel();
	request = request_make(c.limiter, c.id, c.length, c.cost, NULL);
	status = channel_ask(ch, &request);
	if (status == 0)
		*result = request_result(&request);
	if (status != REQUEST_DECIDE_LOCALLY)
		return status;
	decide_locally(c, result);
	return 0;
}

/* ---- The public functions --------------------------------------------------- */

bool stint_is_allowed(struct stint_limiter *limiter, const char *client_id) {
	struct stint_result result;
	enum verdict verdict;
	struct decision d;
	struct check c;

	if (make_check(&c, limiter, client_id, 1) != 0)
		return false;
	verdict = decide_by_table(&c, atomic_load_explicit(&limiter->binding, memory_order_acquire), &d);
	if (verdict != VERDICT_NONE)
		return verdict == VERDICT_ALLOWED;
	if (ask_agent(c, &result) != 0)
		decide_locally(c, &result);
	return result.allowed;
}

int stint_check(struct stint_limiter *limiter, const char *client_id, uint32_t cost, struct stint_result *result) {
	struct check c;
	int error = make_check(&c, limiter, client_id, cost);

	if (error)
		return error;
	if (check_table(&c, result))
		return 0;
	return ask_agent(c, result);
}

int stint_check_async(struct stint_limiter *limiter, const char *client_id, uint32_t cost, struct stint_result *result,
	stint_callback *callback, void *arg) {
	struct channel *ch;
	struct check c;
	int status = make_check(&c, limiter, client_id, cost);

	if (status)
		return status;
	if (check_table(&c, result))
		return 1;
	ch = attachment_channel(limiter->attachment);
	if (!ch)
		return no_channel();
	status = async_start(ch, limiter, c.id, c.length, cost, callback, arg);
	if (status != REQUEST_DECIDE_LOCALLY)
		return status;
	decide_locally(c, result);
	return 1;
}
