/*
 * check.c - one check, from arguments to verdict: the table first; the agent
 * when the table has no answer; the limit inside the process when there is no
 * agent.
 */
#include "ask.h"
#include "count.h"
#include "describe.h"
#include "limiter.h"
#include "sized.h"

/* ---- The table ------------------------------------------------------------ */

/* Returns the place where a plain verdict is counted, see tally.h. A denial that was told has its result; one
 * that wasn't is made an admission if its policy is a shadow. */
HOT_PART static inline unsigned find_place(const struct binding *binding, enum verdict *verdict,
                                           const struct decision *d, enum telling telling,
                                           const struct stint_result *result) {
	if (*verdict == VERDICT_ALLOWED)
		return tally_place(d->found & WORD_FALLBACK_BIT ? STINT_SOURCE_FALLBACK : STINT_SOURCE_LEASE,
		                   TALLY_ALLOWED);
	count_note_denied(binding, d->slot);
	if (telling != TELL_NOTHING)
		return SELDOM(d->unusual != 0 || result->shadow_denied) ? count_place(result)
		                                                        : tally_place(STINT_SOURCE_LEASE, TALLY_DENIED);
	enum tally_outcome outcome = TALLY_DENIED;
	if (SELDOM(limiter_load_shadow(binding))) {
		*verdict = VERDICT_ALLOWED;
		outcome = TALLY_SHADOW_DENIED;
	}
	return tally_place(hint_is_fallback(d->times) ? STINT_SOURCE_FALLBACK : STINT_SOURCE_LEASE, outcome);
}

/* The id is valid. Returns VERDICT_NONE when the table has no plain answer: then nothing has happened, and the
 * caller must check again, closely. */
HOT_PART static inline enum verdict check_plainly(struct stint_limiter *limiter, const char *id, size_t length,
                                                  uint32_t cost, enum telling telling,
                                                  struct stint_result *result) {
	const struct binding *binding = atomic_load_explicit(&limiter->binding, memory_order_acquire);
	if (!binding || !question_is_cost(cost))
		return VERDICT_NONE;
	struct decision d;
	enum verdict verdict = decide_plainly(binding->mapping, binding->policy, id, length, cost, telling, &d);
	if (verdict == VERDICT_NONE)
		return VERDICT_NONE;
	if (telling != TELL_NOTHING && !describe(verdict, binding, &d, cost, result))
		return VERDICT_NONE;
	count_plainly(binding, find_place(binding, &verdict, &d, telling, result));
	if (SELDOM(d.low))
		ask_for_more(limiter, id, length);
	return verdict;
}

/* Returns true when the table has the answer. */
static bool check_closely(const struct question *q, struct stint_result *result) {
	const struct binding *binding = atomic_load_explicit(&q->limiter->binding, memory_order_acquire);
	if (!binding)
		return false;
	struct decision d;
	enum verdict verdict = decide_closely(binding->mapping, binding->policy, q->id, q->length, q->cost, &d);
	if (verdict == VERDICT_NONE || !describe(verdict, binding, &d, q->cost, result))
		return false;
	count_plainly(binding, count_place(result));
	if (verdict == VERDICT_DENIED)
		count_note_denied(binding, d.slot);
	if (d.low)
		ask_for_more(q->limiter, q->id, q->length);
	return true;
}

/* ---- When the table has no plain answer ----------------------------------------- */

/* These are for apps with another struct stint_result, too: so they fill one of their own, and copy it. */

/* The agent is asked, or the process decides. */
static int ask_and_count(const struct question *q, struct stint_result *result) {
	int status = ask_and_wait(q, result);
	if (status == 0)
		count_verdict(q->limiter, result);
	return status;
}

COLD static int check(struct stint_limiter *limiter, const char *id, size_t length, uint32_t cost,
                      struct stint_result *result, size_t result_size) {
	struct stint_result own = {0};
	struct question q;
	int status = question_make_sized(&q, limiter, id, length, cost, result_size);

	if (status == 0 && !check_closely(&q, &own))
		status = ask_and_count(&q, &own);
	if (status == 0)
		sized_copy_result(result, result_size, &own);
	return count_error(limiter, status);
}

COLD static bool is_allowed(struct stint_limiter *limiter, const char *id, size_t length) {
	struct question q;
	if (count_error(limiter, question_make(&q, limiter, id, length, 1)) != 0)
		return false;
	struct stint_result result;
	if (!check_closely(&q, &result) && count_error(limiter, ask_and_count(&q, &result)) != 0) {
		limiter_decide_locally(&q, &result);
		limiter_tell(limiter, &result);
		count_verdict(limiter, &result);
	}
	return result.allowed;
}

COLD static int try(struct stint_limiter *limiter, const char *id, size_t length, uint32_t cost,
                    struct stint_result *result, size_t result_size) {
	struct stint_result own = {0};
	struct question q;
	int error = question_make_sized(&q, limiter, id, length, cost, result_size);

	if (error)
		return count_error(limiter, error);
	if (!check_closely(&q, &own))
		return 0;
	sized_copy_result(result, result_size, &own);
	return 1;
}

/* A verdict that comes later is counted when the callback is about to run, see async.c. */
static int ask_and_count_later(const struct question *q, struct stint_result *result, stint_callback *callback,
                               void *arg) {
	int status = ask_async(q, result, callback, arg);
	if (status == 1)
		count_verdict(q->limiter, result);
	return status;
}

COLD static int check_async(struct stint_limiter *limiter, const char *id, size_t length, uint32_t cost,
                            struct stint_result *result, size_t result_size, stint_callback *callback, void *arg) {
	struct stint_result own = {0};
	struct question q;
	int status = question_make_sized(&q, limiter, id, length, cost, result_size);

	if (status == 0)
		status = check_closely(&q, &own) ? 1 : ask_and_count_later(&q, &own, callback, arg);
	if (status >= 0)
		sized_copy_result(result, result_size, &own);
	return count_error(limiter, status);
}

/* ---- The public functions --------------------------------------------------- */

HOT bool stint_is_allowed_n(struct stint_limiter *limiter, const char *client_id, size_t length) {
	size_t measured = question_measure(client_id, length);
	if (SELDOM(measured == 0)) /* what is wrong is told of the id as it was given */
		return is_allowed(limiter, client_id, length);
	enum verdict verdict = check_plainly(limiter, client_id, measured, 1, TELL_NOTHING, NULL);
	if (verdict == VERDICT_NONE)
		return is_allowed(limiter, client_id, measured);
	return verdict == VERDICT_ALLOWED;
}

HOT int stint_check_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                          struct stint_result *result, size_t result_size) {
	if (SELDOM(result_size != sizeof(*result)))
		return check(limiter, client_id, length, cost, result, result_size);
	size_t measured = question_measure(client_id, length);
	if (SELDOM(measured == 0)) /* what is wrong is told of the id as it was given */
		return check(limiter, client_id, length, cost, result, sizeof(*result));
	enum verdict verdict = check_plainly(limiter, client_id, measured, cost, TELL_ALL, result);
	return verdict == VERDICT_NONE ? check(limiter, client_id, measured, cost, result, sizeof(*result)) : 0;
}

HOT int stint_try_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                        struct stint_result *result, size_t result_size) {
	if (SELDOM(result_size != sizeof(*result)))
		return try(limiter, client_id, length, cost, result, result_size);
	size_t measured = question_measure(client_id, length);
	if (SELDOM(measured == 0)) /* what is wrong is told of the id as it was given */
		return try(limiter, client_id, length, cost, result, sizeof(*result));
	enum verdict verdict = check_plainly(limiter, client_id, measured, cost, TELL_ALL, result);
	return verdict == VERDICT_NONE ? try(limiter, client_id, measured, cost, result, sizeof(*result)) : 1;
}

HOT int stint_check_async_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                                struct stint_result *result, size_t result_size, stint_callback *callback,
                                void *arg) {
	if (SELDOM(result_size != sizeof(*result)))
		return check_async(limiter, client_id, length, cost, result, result_size, callback, arg);
	size_t measured = question_measure(client_id, length);
	if (SELDOM(measured == 0)) /* what is wrong is told of the id as it was given */
		return check_async(limiter, client_id, length, cost, result, sizeof(*result), callback, arg);
	enum verdict verdict = check_plainly(limiter, client_id, measured, cost, TELL_ALL, result);
	if (verdict == VERDICT_NONE)
		return check_async(limiter, client_id, measured, cost, result, sizeof(*result), callback, arg);
	return 1;
}
