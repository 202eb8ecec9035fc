/*
 * peek.c - what is left of a limit, without taking any of it.
 */
#include "ask.h"
#include "describe.h"
#include "limiter.h"
#include "sized.h"

/* Returns true when the table tells what a check would say. */
static bool look(const struct question *q, struct stint_result *result) {
	const struct binding *binding = atomic_load_explicit(&q->limiter->binding, memory_order_acquire);
	if (!binding)
		return false;
	struct decision d;
	enum verdict verdict = decide_look(binding->mapping, binding->policy, q->id, q->length, q->cost, &d);
	bool told = verdict != VERDICT_NONE && describe(verdict, binding, &d, q->cost, result);
	result->receipt = 0; /* nothing was taken */
	return told;
}

static int make_look(struct question *q, struct stint_limiter *limiter, const char *id, size_t length,
                     uint32_t cost, size_t result_size) {
	int error = question_make_sized(q, limiter, id, length, cost, result_size);
	q->look = true;
	return error;
}

int stint_peek_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                     struct stint_result *result, size_t result_size) {
	struct stint_result own = {0};
	struct question q;
	int status = make_look(&q, limiter, client_id, length, cost, result_size);
	if (status == 0 && !look(&q, &own))
		status = ask_and_wait(&q, &own);
	if (status == 0)
		sized_copy_result(result, result_size, &own);
	return status;
}

int stint_peek_async_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                           struct stint_result *result, size_t result_size, stint_callback *callback, void *arg) {
	struct stint_result own = {0};
	struct question q;
	int status = make_look(&q, limiter, client_id, length, cost, result_size);
	if (status == 0)
		status = look(&q, &own) ? 1 : ask_async(&q, &own, callback, arg);
	if (status >= 0)
		sized_copy_result(result, result_size, &own);
	return status;
}
