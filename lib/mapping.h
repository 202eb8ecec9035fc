/*
 * mapping.h - the two shared-memory objects, mapped and checked.
 *
 * Everything that decides about addresses (counts, offsets, the secret) is
 * copied out of the directory once, checked against the sizes of the objects,
 * and never read from shared memory again. So whatever is written there later
 * can mislead a verdict, but never lead outside the mapping. One risk remains:
 * the agent's user may truncate an object; then reading raises SIGBUS, as with
 * any file.
 */
#ifndef STINT_MAPPING_H
#define STINT_MAPPING_H

#include <stdbool.h>

#include "protocol/layout.h"
#include "protocol/tally.h"

struct mapping {
	struct tag_row *tags;
	struct slot *slots;
	const struct policy_entry *policies; /* in read-only pages, like own_limits */
	const _Atomic uint32_t *own_limits;
	uint32_t bucket_count;
	uint32_t policy_capacity;
	struct tally *tallies;  /* a row for each policy, then one for errors */
	uint32_t tally_stripes; /* tallies of a row */
	alignas(64) uint8_t secret[SECRET_SIZE];

	uint64_t generation;
	const struct table_header *table;
	size_t table_bytes;
	const struct directory_header *directory;
	size_t directory_bytes;
	struct mapping *older;
};

/*
 * Maps the objects that WELCOME brought. The descriptors stay the caller's. Returns 0,
 * STINT_EVERSION, STINT_EPROTOCOL (the headers can't be true), STINT_ETIMENS, STINT_ESYSTEM
 * or STINT_ENOMEM.
 */
int mapping_new(struct mapping **out, int directory_fd, int table_fd, uint64_t generation);
void mapping_free(struct mapping *);

/* Returns the row of a policy, by its index in the directory; that of errors for policy_capacity. */
static inline struct tally *mapping_tallies(const struct mapping *mapping, uint32_t index) {
	return &mapping->tallies[(size_t)index * mapping->tally_stripes];
}

/* Whether another table has taken this one's place. */
static inline bool mapping_is_retired(const struct mapping *mapping) {
	return atomic_load_explicit(&mapping->table->state, memory_order_acquire) == TABLE_RETIRED;
}

#endif
