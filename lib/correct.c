/*
 * correct.c - what apps tell of costs beside checks: what was used without asking, what did not count after all.
 */
#include "ask.h"
#include "attachment.h"
#include "decide.h"
#include "error.h"
#include "question.h"

/* Returns 0, or STINT_EAGENT when the message can't be sent now. */
static int tell_agent(const struct question *q, enum wire_type type) {
	struct conversation *c = attachment_find_conversation(q->limiter->attachment);
	if (c && channel_send_correction(&c->channel, type, q))
		return 0;
	return error_set(STINT_EAGENT, "policy \"%s\": the agent can't be told at the moment", q->limiter->policy);
}

/* Takes the cost from a lease that holds so much. */
static bool spend(const struct question *q) {
	const struct binding *binding = atomic_load_explicit(&q->limiter->binding, memory_order_acquire);
	struct decision d;
	if (!binding ||
	    decide_closely(binding->mapping, binding->policy, q->id, q->length, q->cost, &d) != VERDICT_ALLOWED)
		return false;
	if (d.low)
		ask_for_more(q->limiter, q->id, q->length);
	return true;
}

int stint_charge_n(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost) {
	struct question q;
	int error = question_make(&q, limiter, client_id, length, cost);
	if (error)
		return error;
	return spend(&q) ? 0 : tell_agent(&q, WIRE_CHARGE);
}

int stint_refund_n(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost) {
	struct question q;
	int error = question_make(&q, limiter, client_id, length, cost);
	return error ? error : tell_agent(&q, WIRE_REFUND);
}
