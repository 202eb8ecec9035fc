/*
 * decide.h - the fast path: one client, one look into the table, one CAS.
 *
 * Why this needs no lock is said at the head of layout.h. Nothing here makes a
 * system call, waits, allocates, or trusts what it reads: garbage in the table
 * gives a wrong verdict or a miss, nothing worse.
 */
#ifndef STINT_DECIDE_H
#define STINT_DECIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "mapping.h"

enum verdict {
	VERDICT_NONE, /* the table has no answer: ask the agent */
	VERDICT_ALLOWED,
	VERDICT_DENIED,
};

struct decision {
	enum verdict verdict;
	bool fallback;     /* the credit was of the host's fallback window, not of the database */
	bool low;          /* this CAS crossed the low-water mark: tell the agent */
	uint32_t left;     /* credits that the lease still holds */
	bool blocked;      /* denied, whatever it asks */
	uint32_t beyond;   /* allowed: what the database had left; denied: slot.hint, see layout.h */
	uint64_t until_ns; /* allowed: the lease's deadline; denied: the denial's end */
	uint64_t now_ns;   /* by the coarse clock */
};

/* May `id`, of `length` bytes, go on under the policy with this index, at this cost? */
struct decision decide(const struct mapping *, uint32_t policy, const char *id, size_t length, uint32_t cost);

#endif
