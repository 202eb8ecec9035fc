/*
 * question.h - what is asked with one check: of the table first, and then perhaps of the agent.
 */
#ifndef STINT_QUESTION_H
#define STINT_QUESTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client_id.h"
#include "protocol/hot.h"
#include "stint.h"

struct question {
	struct stint_limiter *limiter;
	const char *id; /* the asker's: it lasts as long as the question */
	size_t length;
	uint32_t cost;
	uint64_t until_ns; /* nobody waits for the answer any longer; 0: by the limiter's timeout */
	bool look;         /* takes nothing; the agent puts into the table what it can get */
	bool of_several;   /* it is one of a check of several limiters, which a denial of one ends */
};

static inline bool question_is_cost(uint32_t cost) {
	return cost >= 1 && cost <= STINT_MAX_REQUESTS_MAX;
}

/* Returns the length of an id whose length may be STINT_STRING; 0 if it is no id. */
HOT_PART static inline size_t question_measure(const char *id, size_t length) {
	if (length == STINT_STRING)
		return client_id_length(id);
	return client_id_is_valid(id, length) ? length : 0;
}

/* Fills *q. Returns 0, or an error when an argument is out of its range. */
int question_make(struct question *q, struct stint_limiter *, const char *id, size_t length, uint32_t cost);

/* The same for a function that fills a struct stint_result of the app's: its size is an argument, too. */
int question_make_sized(struct question *q, struct stint_limiter *, const char *id, size_t length, uint32_t cost,
                        size_t result_size);

#endif
