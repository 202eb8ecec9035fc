/*
 * reason.h - the reason of a verdict, as it follows from cost and limit.
 */
#ifndef STINT_REASON_H
#define STINT_REASON_H

#include "stint.h"

static inline enum stint_reason reason_of(bool allowed, uint32_t cost, int64_t limit) {
	if (allowed)
		return STINT_ADMITTED;
	if (limit <= 0)
		return STINT_BLOCKED;
	return (int64_t)cost > limit ? STINT_COST_ABOVE_LIMIT : STINT_OVER_LIMIT;
}

#endif
