/*
 * alone.c - checks without the agent, for those who can't wait for it.
 */
#include "count.h"
#include "limiter.h"
#include "question.h"
#include "sized.h"

int stint_check_alone_sized(struct stint_limiter *limiter, const char *client_id, size_t length, uint32_t cost,
                            struct stint_result *result, size_t result_size) {
	struct question q;
	struct stint_result own;
	int error = question_make_sized(&q, limiter, client_id, length, cost, result_size);
	if (error)
		return error;
	limiter_decide_locally(&q, &own);
	limiter_tell(limiter, &own);
	count_verdict(limiter, &own);
	sized_copy_result(result, result_size, &own);
	return 0;
}
