/*
 * correct.c - what apps tell of costs beside checks: what was used without asking, what did not count after all.
 */
#include "ask.h"
#include "attachment.h"
#include "decide.h"
#include "error.h"
#include "question.h"
#include "receipt.h"
#include "sized.h"

static const struct binding *binding_of(const struct question *q) {
	return atomic_load_explicit(&q->limiter->binding, memory_order_acquire);
}

/* ---- Charges ---------------------------------------------------------------- */

/* Takes the cost from a lease that holds so much. */
static bool spend(const struct question *q) {
	const struct binding *b = binding_of(q);
	struct decision d;
	if (!b || decide_closely(b->mapping, b->policy, q->id, q->length, q->cost, &d) != VERDICT_ALLOWED)
		return false;
	if (d.low)
		ask_for_more(q->limiter, q->id, q->length);
	return true;
}

static int tell_agent(const struct question *q) {
	struct conversation *c = attachment_find_conversation(q->limiter->attachment);
	if (c && channel_send_charge(&c->channel, q))
		return 0;
	return error_set(STINT_EAGENT, "policy \"%s\": the agent can't be told at the moment", q->limiter->policy);
}

int stint_charge_n(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost) {
	struct question q;
	int error = question_make(&q, limiter, client_id, length, cost);
	if (error)
		return error;
	return spend(&q) ? 0 : tell_agent(&q);
}

/* ---- Refunds ------------------------------------------------------------------- */

/* Into the lease of the receipt, if that is still in the same epoch. */
static bool put_back(const struct question *q, uint64_t receipt) {
	const struct binding *b = binding_of(q);
	struct slot *slot = b ? decide_find_slot(b->mapping, b->policy, q->id, q->length) : NULL;
	for (int which = 0; slot && which < 2; which++)
		if (receipt_of(&slot->word[which], receipt) == receipt)
			return decide_put_back(&slot->word[which], receipt, q->cost);
	return false;
}

static bool give_back(const struct question *q, uint64_t receipt) {
	if (receipt_is_of_window(receipt))
		return limiter_give_back(q, receipt_window(receipt));
	return put_back(q, receipt);
}

int stint_refund_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                       struct stint_result *admission, size_t result_size) {
	struct stint_result own = {0};
	struct question q;
	int status = question_make_sized(&q, limiter, client_id, length, cost, result_size);
	if (status != 0)
		return status;
	sized_take_result(&own, admission, result_size);
	if (own.receipt == 0)
		return 0;
	if (own.cost != 0 && cost > own.cost)
		return error_set(STINT_ERANGE, "cost is %u, must be 1 to %u: what was admitted", cost, own.cost);
	status = give_back(&q, own.receipt) ? 1 : 0;
	own.receipt = 0;
	sized_copy_result(admission, result_size, &own);
	return status;
}
