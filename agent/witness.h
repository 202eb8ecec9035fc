/*
 * witness.h - finds out which clients apps deny by the table, where only counts are kept: beside its counts, each
 * tally says in which slot the client is that was denied last (lib/protocol/tally.h). The agent looks now and
 * then, and takes all that was denied there since it looked last to be that client's: see denials.h.
 */
#ifndef STINT_WITNESS_H
#define STINT_WITNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "denials.h"
#include "policies.h"

struct witness {
	const struct policies *policies;
	uint64_t *seen[POLICY_CAPACITY];      /* denials in each tally, when it was looked at last; NULL: never */
	uint32_t generation[POLICY_CAPACITY]; /* of the policy that these are of */
	int next;                             /* the policy to be looked at next */
	bool has_looked_round;                /* at all that were there when the agent came */
};

typedef void witness_tells(void *context, const struct denial *);

/* Looks at some of the policies, at others with the next call: a machine with many CPUs has many tallies. */
void witness_look(struct witness *, struct core *, int64_t now_ns, witness_tells *tells, void *context);
void witness_free(struct witness *);

#endif
