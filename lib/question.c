/*
 * question.c - checks the arguments of a check.
 */
#include "error.h"
#include "question.h"
#include "sized.h"

int question_make(struct question *q, struct stint_limiter *limiter, const char *id, size_t length,
                  uint32_t cost) {
	*q = (struct question){.limiter = limiter, .id = id, .length = question_measure(id, length), .cost = cost};
	if (q->length == 0)
		return error_set(STINT_ECLIENT,
		                 "client_id is NULL, empty, longer than %d bytes, not UTF-8 or has a NUL in it",
		                 STINT_CLIENT_ID_MAX);
	if (!question_is_cost(cost))
		return error_set(STINT_ERANGE, "cost is %u, must be 1 to %d", cost, STINT_MAX_REQUESTS_MAX);
	return 0;
}

int question_make_sized(struct question *q, struct stint_limiter *limiter, const char *id, size_t length,
                        uint32_t cost, size_t result_size) {
	int error = sized_check_result(result_size);
	return error ? error : question_make(q, limiter, id, length, cost);
}
