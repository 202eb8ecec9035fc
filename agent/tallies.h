/*
 * tallies.h - what apps have counted in the table's memory (lib/protocol/tally.h), as the agent sees it.
 */
#ifndef STINT_TALLIES_H
#define STINT_TALLIES_H

#include "protocol/layout.h"
#include "protocol/tally.h"

struct tallies {
	struct tally *rows; /* NULL: nothing is counted */
	uint32_t stripes;
};

/* Returns those of a table whose header and directory the caller has checked or made. */
struct tallies tallies_of(const struct directory_header *, struct table_header *);

/* How often apps were told this, under the policy with this index. */
uint64_t tallies_verdicts(const struct tallies *, int policy, unsigned source, enum tally_outcome outcome);
/* How many checks have ended with this error. */
uint64_t tallies_errors(const struct tallies *, int error);

/* Of these, how many an agent has handed in to the database, this one or an earlier one on the same table. */
uint64_t tallies_handed_in(const struct tallies *, int policy, unsigned source, enum tally_outcome outcome);
void tallies_hand_in(const struct tallies *, int policy, unsigned source, enum tally_outcome outcome,
                     uint64_t count);

/* The index is another policy's from here on. */
void tallies_clear(const struct tallies *, int policy);

#endif
