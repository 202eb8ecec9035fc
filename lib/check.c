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
#include "sized.h"

struct check {
	struct stint_limiter *limiter;
	const char *id;
	size_t length;
	uint32_t cost;
};

static inline bool is_cost(uint32_t cost) {
	return cost >= 1 && cost <= STINT_MAX_REQUESTS_MAX;
}

/* Returns the length of an id whose length may be STINT_STRING; 0 if it is no id. */
HOT_PART static inline size_t measure(const char *id, size_t length) {
	if (length == STINT_STRING)
		return client_id_length(id);
	return client_id_is_valid(id, length) ? length : 0;
}

/* Fills *c. Returns 0, or an error when an argument is out of its range. */
static int make_check(struct check *c, struct stint_limiter *limiter, const char *id, size_t length,
                      uint32_t cost) {
	*c = (struct check){limiter, id, measure(id, length), cost};
	if (c->length == 0)
		return error_set(STINT_ECLIENT,
		                 "client_id is NULL, empty, longer than %d bytes, not UTF-8 or has a NUL in it",
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

/* Describes an admission by a credit of the fallback, or under a limit of the client's own, or after the store has
 * given a newer answer for the client. */
APART static void describe_unusual_admission(const struct binding *binding, const struct slot *slot,
                                             const _Atomic uint64_t *word, uint64_t found, uint32_t left,
                                             int64_t lease_ms, struct stint_result *result) {
	struct unusual unusual = decide_unusual_admission(binding->mapping, slot, word, found, left);
	result->remaining = (int64_t)unusual.left + unusual.beyond;
	if (unusual.fallback) {
		result->source = STINT_SOURCE_FALLBACK;
		result->limit = load_limit(&binding->entry->fallback_max_requests);
		result->reset_after_ms = lease_ms + load_ms(&binding->entry->fallback_weighs_ms);
	}
	if (unusual.own_limit != NO_OWN_LIMIT)
		result->limit = unusual.own_limit;
}

/*
 * Describes an admission. The agent describes its own verdicts in the same way, see agent/core/verdict.c. No value
 * in the directory can make a sum overflow.
 */
HOT_PART static inline void describe_allowed(const struct binding *binding, const struct decision *d,
                                             struct stint_result *result) {
	const struct policy_entry *policy = binding->entry;
	int64_t lease_ms = clock_ms_up(d->until_ns - d->now_ns);
	result->allowed = true;
	result->source = STINT_SOURCE_LEASE;
	result->reason = STINT_ADMITTED;
	result->limit = load_limit(&policy->max_requests);
	result->remaining = (int64_t)d->left + d->beyond;
	result->retry_after_ms = 0;
	result->reset_after_ms = lease_ms + load_ms(&policy->weighs_ms);
	if (SELDOM(d->unusual != 0))
		describe_unusual_admission(binding, d->slot, d->word, d->found, d->left, lease_ms, result);
}

/* Describes a denial by the fallback's limit or by one of the client's own, of a cost that is never admitted,
 * because the store couldn't look, or with a few credits left. Returns false when the denial has just been lifted
 * or replaced. */
COLD static bool describe_unusual_denial(const struct binding *binding, const struct slot *slot, uint64_t key,
                                         uint64_t denial, uint32_t times, uint64_t now_ns, uint32_t cost,
                                         struct stint_result *result) {
	const struct policy_entry *policy = binding->entry;
	struct unusual unusual = decide_unusual_denial(binding->mapping, slot, key, denial, times, now_ns);
	if (unusual.fallback) {
		result->source = STINT_SOURCE_FALLBACK;
		result->limit = load_limit(&policy->fallback_max_requests);
	}
	if (unusual.own_limit != NO_OWN_LIMIT)
		result->limit = unusual.own_limit;
	if (unusual.unavailable)
		result->reason = STINT_UNAVAILABLE;
	result->remaining = (int64_t)unusual.left + unusual.beyond;
	if (cost > result->limit) {
		result->reason = reason_of(false, cost, result->limit);
		result->retry_after_ms =
			load_limit(unusual.fallback ? &policy->fallback_time_window_ms : &policy->time_window_ms);
		if (result->remaining >= result->limit)
			result->reset_after_ms = 0;
	}
	return unusual.is_known;
}

HOT_PART static inline bool describe_denied(const struct binding *binding, const struct decision *d, uint32_t cost,
                                            struct stint_result *result) {
	int64_t denied_ms = clock_ms_up(d->until_ns - d->now_ns);
	int64_t limit = load_limit(&binding->entry->max_requests);
	result->allowed = false;
	result->source = STINT_SOURCE_LEASE;
	result->reason = STINT_OVER_LIMIT;
	result->limit = limit;
	result->remaining = (int64_t)d->left + d->beyond;
	result->retry_after_ms = denied_ms + hint_retry_ms(d->times);
	result->reset_after_ms = denied_ms + hint_reset_ms(d->times);
	if (SELDOM(d->unusual != 0 || cost > limit))
		return describe_unusual_denial(binding, d->slot, d->key, d->found, d->times, d->now_ns, cost, result);
	return true;
}

/* Fills the result of a verdict. Returns false when that isn't possible: then the verdict doesn't count. */
HOT_PART static inline bool describe(enum verdict verdict, const struct binding *binding, const struct decision *d,
                                     uint32_t cost, struct stint_result *result) {
	if (verdict == VERDICT_DENIED)
		return describe_denied(binding, d, cost, result);
	describe_allowed(binding, d, result);
	return true;
}

COLD static void tell_low(struct stint_limiter *limiter, const char *id, size_t length) {
	struct conversation *c = attachment_find_conversation(limiter->attachment);
	if (c)
		channel_send_low(&c->channel, limiter, id, length);
}

/* Returns VERDICT_NONE when the table has no plain answer: then nothing has happened, and the caller must check
 * again, closely. */
HOT_PART static inline enum verdict check_plainly(struct stint_limiter *limiter, const char *id, size_t length,
                                                  uint32_t cost, enum telling telling,
                                                  struct stint_result *result) {
	const struct binding *binding = atomic_load_explicit(&limiter->binding, memory_order_acquire);
	if (!binding || !is_cost(cost))
		return VERDICT_NONE;
	length = measure(id, length);
	if (length == 0)
		return VERDICT_NONE;
	struct decision d;
	enum verdict verdict = decide_plainly(binding->mapping, binding->policy, id, length, cost, telling, &d);
	if (verdict == VERDICT_NONE)
		return VERDICT_NONE;
	if (telling != TELL_NOTHING && !describe(verdict, binding, &d, cost, result))
		return VERDICT_NONE;
	if (SELDOM(d.low))
		tell_low(limiter, id, length);
	return verdict;
}

/* Returns true when the table has the answer. */
static bool check_closely(const struct check *c, struct stint_result *result) {
	const struct binding *binding = atomic_load_explicit(&c->limiter->binding, memory_order_acquire);
	if (!binding)
		return false;
	struct decision d;
	enum verdict verdict = decide_closely(binding->mapping, binding->policy, c->id, c->length, c->cost, &d);
	if (verdict == VERDICT_NONE || !describe(verdict, binding, &d, c->cost, result))
		return false;
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
	if (!conversation)
		return no_conversation();
	struct request request = request_make(c.limiter, c.id, c.length, c.cost, NULL);
	int status = channel_ask(&conversation->channel, &request);
	if (status == 0)
		*result = request_result(&request);
	if (status != REQUEST_DECIDE_ALONE)
		return status;
	decide_alone(c, result);
	return 0;
}

/* ---- When the table has no plain answer ----------------------------------------- */

COLD static int check(struct stint_limiter *limiter, const char *id, size_t length, uint32_t cost,
                      struct stint_result *result) {
	struct check c;
	int error = make_check(&c, limiter, id, length, cost);

	if (error)
		return error;
	return check_closely(&c, result) ? 0 : ask_agent(c, result);
}

COLD static bool is_allowed(struct stint_limiter *limiter, const char *id, size_t length) {
	struct check c;
	if (make_check(&c, limiter, id, length, 1) != 0)
		return false;
	struct stint_result result;
	if (!check_closely(&c, &result) && ask_agent(c, &result) != 0)
		limiter_decide_locally(limiter, c.id, c.length, c.cost, &result);
	return result.allowed;
}

COLD static int try(struct stint_limiter *limiter, const char *id, size_t length, uint32_t cost,
                    struct stint_result *result) {
	struct check c;
	int error = make_check(&c, limiter, id, length, cost);

	if (error)
		return error;
	return check_closely(&c, result) ? 1 : 0;
}

COLD static int check_async(struct stint_limiter *limiter, const char *id, size_t length, uint32_t cost,
                            struct stint_result *result, stint_callback *callback, void *arg) {
	struct conversation *conversation;
	struct check c;
	int status = make_check(&c, limiter, id, length, cost);

	if (status)
		return status;
	if (check_closely(&c, result))
		return 1;
	conversation = attachment_conversation(limiter->attachment);
	if (!conversation)
		return no_conversation();
	status = async_start(&conversation->async, limiter, c.id, c.length, c.cost, callback, arg, &result->ticket);
	if (status != REQUEST_DECIDE_ALONE)
		return status;
	decide_alone(c, result);
	return 1;
}

/* ---- For apps that were compiled with another stint.h ---------------------------- */

COLD static int check_resized(struct stint_limiter *limiter, const char *id, size_t length, uint32_t cost,
                              struct stint_result *result, size_t result_size) {
	struct stint_result own = {0};
	int status = sized_check_result(result_size);

	if (status == 0)
		status = check(limiter, id, length, cost, &own);
	if (status == 0)
		sized_copy_result(result, result_size, &own);
	return status;
}

COLD static int try_resized(struct stint_limiter *limiter, const char *id, size_t length, uint32_t cost,
                            struct stint_result *result, size_t result_size) {
	struct stint_result own = {0};
	int status = sized_check_result(result_size);

	if (status == 0)
		status = try(limiter, id, length, cost, &own);
	if (status == 1)
		sized_copy_result(result, result_size, &own);
	return status;
}

COLD static int check_async_resized(struct stint_limiter *limiter, const char *id, size_t length, uint32_t cost,
                                    struct stint_result *result, size_t result_size, stint_callback *callback,
                                    void *arg) {
	struct stint_result own = {0};
	int status = sized_check_result(result_size);

	if (status == 0)
		status = check_async(limiter, id, length, cost, &own, callback, arg);
	if (status >= 0)
		sized_copy_result(result, result_size, &own);
	return status;
}

/* ---- The public functions --------------------------------------------------- */

HOT bool stint_is_allowed_n(struct stint_limiter *limiter, const char *client_id, size_t length) {
	enum verdict verdict = check_plainly(limiter, client_id, length, 1, TELL_NOTHING, NULL);
	return verdict == VERDICT_NONE ? is_allowed(limiter, client_id, length) : verdict == VERDICT_ALLOWED;
}

HOT int stint_check_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                          struct stint_result *result, size_t result_size) {
	if (SELDOM(result_size != sizeof(*result)))
		return check_resized(limiter, client_id, length, cost, result, result_size);
	enum verdict verdict = check_plainly(limiter, client_id, length, cost, TELL_ALL, result);
	return verdict == VERDICT_NONE ? check(limiter, client_id, length, cost, result) : 0;
}

HOT int stint_try_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                        struct stint_result *result, size_t result_size) {
	if (SELDOM(result_size != sizeof(*result)))
		return try_resized(limiter, client_id, length, cost, result, result_size);
	enum verdict verdict = check_plainly(limiter, client_id, length, cost, TELL_ALL, result);
	return verdict == VERDICT_NONE ? try(limiter, client_id, length, cost, result) : 1;
}

HOT int stint_check_async_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                                struct stint_result *result, size_t result_size, stint_callback *callback,
                                void *arg) {
	if (SELDOM(result_size != sizeof(*result)))
		return check_async_resized(limiter, client_id, length, cost, result, result_size, callback, arg);
	enum verdict verdict = check_plainly(limiter, client_id, length, cost, TELL_ALL, result);
	return verdict == VERDICT_NONE ? check_async(limiter, client_id, length, cost, result, callback, arg) : 1;
}
