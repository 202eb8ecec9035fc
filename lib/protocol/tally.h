/*
 * tally.h - what has been decided, counted in the table's memory: how often, by policy, by outcome, and by who
 * decided.
 *
 * Behind its slots, the table has a row of tallies for each policy of the directory, and one more for errors. A
 * row has a tally for each CPU, and then some that are shared; what it says is their sum. Whoever runs on a CPU
 * adds to that CPU's tally without a lock, by one instruction that nothing interrupts (see lib/count.h); whoever
 * can't be sure of its CPU adds atomically to a shared one. So it doesn't matter which process counts, whether it
 * forks, how many threads it has, and when it ends: nothing need be gathered. A process that is killed between its
 * decision and its count leaves one decision uncounted.
 *
 * A count is only a number: whoever may write to the table can make it wrong, and nothing else.
 *
 * Behind the rows, agents keep one more tally for each policy, of what they have handed in to the database: the
 * next agent goes on from there. Apps don't look at it.
 *
 *     at tallies_offset:  (policy_capacity + 1) x tally_stripes x struct tally, then policy_capacity x struct
 * tally
 */
#ifndef STINT_TALLY_H
#define STINT_TALLY_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "stint.h"

enum tally_outcome {
	TALLY_ALLOWED = 0,
	TALLY_DENIED = 1,
	TALLY_SHADOW_DENIED = 2, /* denied, and admitted because the policy is a shadow */
};

#define TALLY_OUTCOMES 3u
#define TALLY_SOURCES  5u
#define TALLY_COUNTS   16u

/* In a policy's row, where no count is: 1 and the slot whose client was denied here last, by the table; 0: nobody,
 * or another way, or an older library. */
#define TALLY_LAST_DENIED 15u

/* Two cache lines: CPUs fetch these in pairs. */
struct tally {
	alignas(128) _Atomic uint64_t count[TALLY_COUNTS];
};

/* As many for those who can't be sure of their CPU: threads are spread over them. */
#define TALLY_SHARED 4u

/* CPUs with a tally of their own. The memory for them is taken whether they are used or not: 128 KiB for each. */
#define TALLY_CPUS_MAX 1024u

_Static_assert(sizeof(struct tally) == 128, "tally");
_Static_assert(STINT_SOURCE_LEASE == 1 && STINT_SOURCE_ADVANCE == TALLY_SOURCES, "each source has a place");
_Static_assert(TALLY_SOURCES *TALLY_OUTCOMES <= TALLY_LAST_DENIED, "each has a place");

/* Returns the place of a policy's decisions of this kind. */
static inline unsigned tally_place(unsigned source, enum tally_outcome outcome) {
	return (source - STINT_SOURCE_LEASE) * TALLY_OUTCOMES + (unsigned)outcome;
}

/* Returns the place of an error, a negative enum stint_error, in the row of errors. */
static inline unsigned tally_error_place(int error) {
	return (unsigned)-error % TALLY_COUNTS;
}

#define TALLY_HAS_PLACE(name, number, sentence)                                                                   \
	_Static_assert(-(number) < (int)TALLY_COUNTS, "the error has a place");
STINT_ERRORS(TALLY_HAS_PLACE)
#undef TALLY_HAS_PLACE

/* Returns the sum of a row's tallies at one place. */
static inline uint64_t tally_sum(const struct tally *row, uint32_t stripes, unsigned place) {
	uint64_t sum = 0;

	for (uint32_t i = 0; i < stripes; i++)
		sum += atomic_load_explicit(&row[i].count[place], memory_order_relaxed);
	return sum;
}

#endif
