/*
 * check.c - one check, from arguments to verdict: the table first; the agent
 * when the table has no answer; the limit inside the process when there is no
 * agent.
 */
#include "attachment.h"
#include "client_id.h"
#include "clock.h"
#include "decide.h"
#include "error.h"
#include "protocol/hot.h"
#include "reason.h"

struct check {
	struct stint_limiter *limiter;
	const char *id;
	size_t length;
	uint32_t cost;
};

static inline bool is_cost(uint32_t cost) {
	return cost >= 1 && cost <= STINT_MAX_REQUESTS_MAX;
}

/* Whether the arguments can be meant. */
static int make_check(struct check *c, struct stint_limiter *limiter, const char *id, uint32_t cost) {
	*c = (struct check){limiter, id, client_id_length(id), cost};
	if (c->length == 0)
		return error_set(STINT_ECLIENT, "client_id is NULL, empty, longer than %d bytes or not UTF-8",
			STINT_CLIENT_ID_MAX);
	if (!is_cost(cost))
		return error_set(STINT_ERANGE, "cost is %u, must be 1 to %d", cost, STINT_MAX_REQUESTS_MAX);
	return 0;
}

/* ---- The table ------------------------------------------------------------ */

static int64_t load_limit(const _Atomic int64_t *field) {
	return atomic_load_explicit(field, memory_order_relaxed);
}

static int64_t load_ms(const _Atomic uint32_t *field) {
	return atomic_load_explicit(field, memory_order_relaxed);
}

/*
 * The agent tells the same of its own verdicts, see agent/core/verdict.c. Whatever the directory says, it overflows nothing.
 */
HOT_PART static inline void describe_allowed(const struct policy_entry *policy, const struct decision *d,
	struct stint_result *result) {
	int64_t lease_ms = clock_ms_up(clock_left_ns(d->now_ns, d->until_ns));

	result->allowed = true;
	result->source = d->fallback ? STINT_SOURCE_FALLBACK : STINT_SOURCE_LEASE;
	result->reason = STINT_ADMITTED;
	result->limit = d->own ? d->own_limit : load_limit(d->fallback ? &policy->fallback_max_requests : &policy->max_requests);
	result->remaining = (int64_t)d->left + d->beyond;
	result->retry_after_ms = 0;
	result->reset_after_ms = lease_ms + load_ms(d->fallback ? &policy->fallback_weighs_ms : &policy->weighs_ms);
}

/* What isn't as usual: the fallback's limit, or one of the client's own; a cost that is never admitted; nobody could look. */
HOT_PART static inline void describe_unusual_denial(const struct policy_entry *policy, const struct decision *d, uint32_t cost,
	struct stint_result *result) {
	bool fallback = (d->times & HINT_FALLBACK_BIT) != 0;

	result->source = fallback ? STINT_SOURCE_FALLBACK : STINT_SOURCE_LEASE;
	result->limit = d->own ? d->own_limit : load_limit(fallback ? &policy->fallback_max_requests : &policy->max_requests);
	result->reason = (d->times & HINT_UNAVAILABLE_BIT) != 0 ? STINT_UNAVAILABLE : STINT_OVER_LIMIT;
	if (cost <= result->limit)
		return;
	result->reason = reason_of(false, cost, result->limit);
	result->retry_after_ms = load_limit(fallback ? &policy->fallback_time_window_ms : &policy->time_window_ms);
	if (result->remaining >= result->limit)
		result->reset_after_ms = 0;
}

HOT_PART static inline void describe_denied(const struct policy_entry *policy, const struct decision *d, uint32_t cost,
	struct stint_result *result) {
	int64_t denied_ms = clock_ms_up(clock_left_ns(d->now_ns, d->until_ns));
	int64_t limit = load_limit(&policy->max_requests);

	result->allowed = false;
	result->source = STINT_SOURCE_LEASE;
	result->reason = STINT_OVER_LIMIT;
	result->limit = limit;
	result->remaining = (int64_t)d->left + d->beyond;
	result->retry_after_ms = denied_ms + hint_retry_ms(d->times);
	result->reset_after_ms = denied_ms + hint_reset_ms(d->times);
	if (__builtin_expect((d->times & (HINT_FALLBACK_BIT | HINT_UNAVAILABLE_BIT)) != 0 || d->own || cost > limit, 0))
		describe_unusual_denial(policy, d, cost, result);
}

/* What goes with a verdict. */
HOT_PART static inline void describe(enum verdict verdict, const struct policy_entry *policy, const struct decision *d,
	uint32_t cost, struct stint_result *result) {
	if (verdict == VERDICT_ALLOWED)
		describe_allowed(policy, d, result);
	else
		describe_denied(policy, d, cost, result);
}

static void tell_low(struct stint_limiter *limiter, const char *id, size_t length) {
	struct conversation *c = attachment_find_conversation(limiter->attachment);

	if (c)
		channel_send_low(&c->channel, limiter, id, length);
}

/* True when the table has a plain answer. Else nothing has happened: check again, closely. */
HOT_PART static inline bool check_plainly(struct stint_limiter *limiter, const char *id, uint32_t cost,
	struct stint_result *result) {
	const struct binding *binding = atomic_load_explicit(&limiter->binding, memory_order_acquire);
	size_t length = client_id_length(id);
	enum verdict verdict;
	struct decision d;

	if (!binding || length == 0 || !is_cost(cost))
		return false;
	verdict = decide_plainly(binding->mapping, binding->policy, id, length, cost, &d);
	if (verdict == VERDICT_NONE)
		return false;
	describe(verdict, binding->entry, &d, cost, result);
	if (d.low)
		tell_low(limiter, id, length);
	return true;
}

/* True when the table has the answer. */
static bool check_closely(const struct check *c, struct stint_result *result) {
	const struct binding *binding = atomic_load_explicit(&c->limiter->binding, memory_order_acquire);
	enum verdict verdict;
	struct decision d;

	if (!binding)
		return false;
	verdict = decide_closely(binding->mapping, binding->policy, c->id, c->length, c->cost, &d);
	if (verdict == VERDICT_NONE)
		return false;
	describe(verdict, binding->entry, &d, c->cost, result);
	if (d.low)
		tell_low(c->limiter, c->id, c->length);
	return true;
}

/* ---- Beyond the table ------------------------------------------------------ */

static int no_conversation(void) {
	return error_set(STINT_ENOMEM, "no memory for a connection to the agent");
}

static void decide_alone(struct check c, struct stint_result *result) {
	limiter_decide_alone(c.limiter, c.id, c.length, c.cost, result);
}

static int ask_agent(struct check c, struct stint_result *result) {
	struct conversation *conversation = attachment_conversation(c.limiter->attachment);
	struct request request;
	int status;

	if (!conversation)
		return no_conversation();
	request = request_make(c.limiter, c.id, c.length, c.cost, NULL);
	status = channel_ask(&conversation->channel, &request);
	if (status == 0)
		*result = request_result(&request);
	if (status != REQUEST_DECIDE_ALONE)
		return status;
	decide_alone(c, result);
	return 0;
}

/* ---- The public functions --------------------------------------------------- */

static int check(struct stint_limiter *limiter, const char *id, uint32_t cost, struct stint_result *result) {
	struct check c;
	int error = make_check(&c, limiter, id, cost);

	if (error)
		return error;
	return check_closely(&c, result) ? 0 : ask_agent(c, result);
}

static bool is_allowed(struct stint_limiter *limiter, const char *id) {
	struct stint_result result;
	struct check c;

	if (make_check(&c, limiter, id, 1) != 0)
		return false;
	if (!check_closely(&c, &result) && ask_agent(c, &result) != 0)
		limiter_decide_locally(limiter, c.id, c.length, c.cost, &result);
	return result.allowed;
}

static int check_async(struct stint_limiter *limiter, const char *id, uint32_t cost, struct stint_result *result,
	stint_callback *callback, void *arg) {
	struct conversation *conversation;
	struct check c;
	int status = make_check(&c, limiter, id, cost);

	if (status)
		return status;
	if (check_closely(&c, result))
		return 1;
	conversation = attachment_conversation(limiter->attachment);
	if (!conversation)
		return no_conversation();
	status = async_start(&conversation->async, limiter, c.id, c.length, cost, callback, arg);
	if (status != REQUEST_DECIDE_ALONE)
		return status;
	decide_alone(c, result);
	return 1;
}

HOT bool stint_is_allowed(struct stint_limiter *limiter, const char *client_id) {
	struct stint_result result;

	return check_plainly(limiter, client_id, 1, &result) ? result.allowed : is_allowed(limiter, client_id);
}

HOT int stint_check(struct stint_limiter *limiter, const char *client_id, uint32_t cost, struct stint_result *result) {
	return check_plainly(limiter, client_id, cost, result) ? 0 : check(limiter, client_id, cost, result);
}

HOT int stint_check_async(struct stint_limiter *limiter, const char *client_id, uint32_t cost, struct stint_result *result,
	stint_callback *callback, void *arg) {
	return check_plainly(limiter, client_id, cost, result) ? 1 : check_async(limiter, client_id, cost, result, callback, arg);
}
