/*
 * decision.h - the decision in the table, as a check takes it: first the quick way, and where that says
 * nothing, the careful way.
 */
#ifndef TEST_DECISION_H
#define TEST_DECISION_H

#include "decide.h"

static inline enum verdict decide(const struct mapping *m, uint32_t policy, const char *id, size_t length,
                                  uint32_t cost, struct decision *d) {
	enum verdict verdict = decide_plainly(m, policy, id, length, cost, TELL_ALL, d);

	return verdict != VERDICT_NONE ? verdict : decide_closely(m, policy, id, length, cost, d);
}

#endif
