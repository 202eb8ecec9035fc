/*
 * question.c - checks the arguments of a check.
 */
#include <string.h>

#include "error.h"
#include "protocol/utf8.h"
#include "question.h"
#include "sized.h"

/* Which rule the id breaks. A NUL comes before UTF-8, as utf8.h takes it for a character. */
static int refuse_id(const char *id, size_t length) {
	if (!id)
		return error_set(STINT_ECLIENT, "client_id is NULL, must be 1 to %d bytes", STINT_CLIENT_ID_MAX);
	bool is_string = length == STINT_STRING;
	if (is_string) /* its end isn't looked for any further than that */
		length = strnlen(id, STINT_CLIENT_ID_MAX + 1);
	if (length == 0)
		return error_set(STINT_ECLIENT, "client_id is empty, must be 1 to %d bytes", STINT_CLIENT_ID_MAX);
	if (length > STINT_CLIENT_ID_MAX && is_string)
		return error_set(STINT_ECLIENT, "client_id is longer than %d bytes", STINT_CLIENT_ID_MAX);
	if (length > STINT_CLIENT_ID_MAX)
		return error_set(STINT_ECLIENT, "client_id is %zu bytes, must be 1 to %d", length, STINT_CLIENT_ID_MAX);
	const char *nul = memchr(id, '\0', length);
	if (nul)
		return error_set(STINT_ECLIENT, "client_id has a NUL, byte %td of %zu", nul - id + 1, length);
	size_t valid = utf8_valid_length(id, length);
	return error_set(STINT_ECLIENT, "client_id is not UTF-8 from byte %zu of %zu on, which is 0x%02x", valid + 1,
	                 length, (unsigned)(unsigned char)id[valid]);
}

/* An int below 0 arrives as a huge cost: its caller knows it by the value that he gave. */
static int refuse_cost(uint32_t cost) {
	if (cost > INT32_MAX)
		return error_set(STINT_ERANGE, "cost is %u, or as an int %d, must be 1 to %d", cost, (int32_t)cost,
		                 STINT_MAX_REQUESTS_MAX);
	return error_set(STINT_ERANGE, "cost is %u, must be 1 to %d", cost, STINT_MAX_REQUESTS_MAX);
}

int question_make(struct question *q, struct stint_limiter *limiter, const char *id, size_t length,
                  uint32_t cost) {
	*q = (struct question){.limiter = limiter, .id = id, .length = question_measure(id, length), .cost = cost};
	if (q->length == 0)
		return refuse_id(id, length);
	return question_is_cost(cost) ? 0 : refuse_cost(cost);
}

int question_make_sized(struct question *q, struct stint_limiter *limiter, const char *id, size_t length,
                        uint32_t cost, size_t result_size) {
	int error = sized_check_result(result_size);
	return error ? error : question_make(q, limiter, id, length, cost);
}
