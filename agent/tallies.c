/* tallies.c - reads and clears what apps have counted; see tallies.h. */
#include "tallies.h"

struct tallies tallies_of(const struct directory_header *directory, struct table_header *table) {
	return (struct tallies){
		.rows = (struct tally *)((char *)table + directory->tallies_offset),
		.stripes = directory->tally_stripes,
	};
}

static struct tally *row_at(const struct tallies *tallies, size_t index) {
	return &tallies->rows[index * tallies->stripes];
}

uint64_t tallies_verdicts(const struct tallies *tallies, int policy, unsigned source, enum tally_outcome outcome) {
	if (!tallies->rows)
		return 0;
	return tally_sum(row_at(tallies, (size_t)policy), tallies->stripes, tally_place(source, outcome));
}

uint64_t tallies_errors(const struct tallies *tallies, int error) {
	if (!tallies->rows)
		return 0;
	return tally_sum(row_at(tallies, POLICY_CAPACITY), tallies->stripes, tally_error_place(error));
}

static struct tally *handed_in_at(const struct tallies *tallies, int policy) {
	return row_at(tallies, POLICY_CAPACITY + 1) + policy;
}

uint64_t tallies_handed_in(const struct tallies *tallies, int policy, unsigned source,
                           enum tally_outcome outcome) {
	if (!tallies->rows)
		return 0;
	return tally_sum(handed_in_at(tallies, policy), 1, tally_place(source, outcome));
}

void tallies_hand_in(const struct tallies *tallies, int policy, unsigned source, enum tally_outcome outcome,
                     uint64_t count) {
	if (tallies->rows)
		atomic_fetch_add(&handed_in_at(tallies, policy)->count[tally_place(source, outcome)], count);
}

static void clear(struct tally *tallies, uint32_t count) {
	for (uint32_t i = 0; i < count; i++)
		for (unsigned place = 0; place < TALLY_COUNTS; place++)
			atomic_store_explicit(&tallies[i].count[place], 0, memory_order_relaxed);
}

void tallies_clear(const struct tallies *tallies, int policy) {
	if (!tallies->rows)
		return;
	clear(row_at(tallies, (size_t)policy), tallies->stripes);
	clear(handed_in_at(tallies, policy), 1);
}
