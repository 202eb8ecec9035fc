/*
 * receipt.h - from which lease an admission took its credits: what stint_refund() needs to put them back there,
 * and nowhere else.
 *
 * A credit is charged to its lease's last sub-window; spent again by another lease, or after the agent has
 * reported it as spent, it would count at another time than it is spent at. So it goes back while the lease is
 * in the same epoch, or never (layout.h).
 *
 *     bits 63..32: the epoch of the lease's word, or the window of the limit inside the process
 *     bits 31..17: of the word's place in the table
 *     bits 16..1:  of the table's generation, and never all 1; all 1 if the process decided
 *     bit 0:       set
 */
#ifndef STINT_RECEIPT_H
#define STINT_RECEIPT_H

#include "decide.h"
#include "mapping.h"
#include "protocol/layout.h"

#define RECEIPT_PLACE_SHIFT 17
#define RECEIPT_TABLE_MASK  0xffffu
#define RECEIPT_OF_WINDOW   (RECEIPT_TABLE_MASK << 1 | 1u)
#define RECEIPT_EPOCH_MASK  (UINT64_MAX << WORD_EPOCH_SHIFT)

/* Returns the bits that all receipts of a table have. */
static inline uint32_t receipt_mark(uint64_t generation) {
	return (uint32_t)(generation % RECEIPT_TABLE_MASK) << 1 | 1u;
}

/* Of credits that were taken from the word when it had this value. */
HOT_PART static inline uint64_t receipt_of(const struct mapping *mapping, const _Atomic uint64_t *word,
                                           uint64_t value) {
	uint64_t place = (uint64_t)((uintptr_t)word - (uintptr_t)mapping->slots) / sizeof(*word);
	return (value & RECEIPT_EPOCH_MASK) | (uint32_t)place << RECEIPT_PLACE_SHIFT | mapping->receipt_mark;
}

/* Of an admission by the process. */
static inline uint64_t receipt_of_window(uint32_t window) {
	return (uint64_t)window << WORD_EPOCH_SHIFT | RECEIPT_OF_WINDOW;
}

static inline bool receipt_is_of_window(uint64_t receipt) {
	return (uint32_t)receipt == RECEIPT_OF_WINDOW;
}

static inline uint32_t receipt_window(uint64_t receipt) {
	return (uint32_t)(receipt >> WORD_EPOCH_SHIFT);
}

#endif
