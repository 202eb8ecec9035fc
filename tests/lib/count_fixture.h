/*
 * count_fixture.h - what has been counted in the table of a fake agent.
 */
#ifndef COUNT_FIXTURE_H
#define COUNT_FIXTURE_H

#include <string.h>

#include "async_fixture.h"
#include "protocol/tally.h"

#define FALLBACK_HINT (hint_pack(HINT_FALLBACK_BIT, 500, 900))
#define HINT          (hint_pack(0, 500, 900))
#define PLENTY        WORD_CREDITS_MASK

static inline const struct fake_table *table_of(const struct fixture *f) {
	return &f->agent.table;
}

static inline uint64_t counted(const struct fixture *f, enum stint_source source, enum tally_outcome outcome) {
	return fake_table_verdicts(table_of(f), 0, source, outcome);
}

static inline uint64_t counted_in_all(const struct fixture *f) {
	uint64_t sum = 0;
	for (unsigned place = 0; place < TALLY_SOURCES * TALLY_OUTCOMES; place++)
		sum +=
			counted(f, STINT_SOURCE_LEASE + place / TALLY_OUTCOMES, (enum tally_outcome)(place % TALLY_OUTCOMES));
	return sum;
}

#define expect_counted(f, source, outcome, n)                                                                     \
	do {                                                                                                          \
		assert_int_equal(counted(f, source, outcome), n);                                                         \
		assert_int_equal(counted_in_all(f), n);                                                                   \
	} while (0)

static inline void forget_all(struct fixture *f) {
	const struct directory_header *d = f->agent.table.directory;
	memset(f->agent.table.tallies, 0, d->table_bytes - d->tallies_offset);
}

static inline void set_shadow(struct fixture *f, uint8_t shadow) {
	atomic_store(&directory_entries(f->agent.table.directory)[0].shadow, shadow);
}

/* The library is attached, and the table knows client "c". */
static inline struct slot *attach(struct fixture *f) {
	assert_true(stint_is_allowed(f->api, "first"));
	struct slot *slot = fake_table_put(&f->agent.table, 0, "c");
	atomic_store(&slot->hint, 0);
	forget_all(f);
	return slot;
}

#endif
