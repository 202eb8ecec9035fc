/*
 * alone.c - checks and looks without the agent, for those who can't wait for it.
 */
#include "count.h"
#include "limiter.h"
#include "question.h"
#include "sized.h"

/* Takes nothing if it is a look. */
static void decide(const struct question *q, struct stint_result *result) {
	limiter_decide_locally(q, result);
	limiter_tell(q->limiter, result);
}

int stint_check_alone_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                            struct stint_result *result, size_t result_size) {
	struct question q;
	struct stint_result own;
	int error = question_make_sized(&q, limiter, client_id, length, cost, result_size);
	if (error)
		return error;
	decide(&q, &own);
	count_verdict(limiter, &own);
	sized_copy_result(result, result_size, &own);
	return 0;
}

int stint_peek_alone_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                           struct stint_result *result, size_t result_size) {
	struct question q;
	struct stint_result own;
	int error = question_make_sized(&q, limiter, client_id, length, cost, result_size);
	if (error)
		return error;
	q.look = true;
	decide(&q, &own);
	sized_copy_result(result, result_size, &own);
	return 0;
}
