/*
 * receipt.h - from which lease an admission took its credits: what stint_refund() needs to put them back there,
 * and nowhere else.
 *
 * A credit is charged to its lease's last sub-window; spent again by another lease, or after the agent has
 * reported it as spent, it would count at another time than it is spent at. So it goes back while the lease is
 * in the same epoch, or never (layout.h).
 *
 *     bits 63..32: the epoch of the lease's word, or the window of the limit inside the process
 *     bits 31..20: of the slot's number
 *     bits 19..2:  of the table's generation; 0 if the process decided
 *     bit 1:       set
 *     bit 0:       which of the slot's leases
 */
#ifndef STINT_RECEIPT_H
#define STINT_RECEIPT_H

#include "decide.h"
#include "mapping.h"
#include "protocol/layout.h"

#define RECEIPT_BANK        UINT64_C(1)
#define RECEIPT_SET         UINT64_C(2)
#define RECEIPT_TABLE_SHIFT 2
#define RECEIPT_TABLE_BITS  18
#define RECEIPT_SLOT_SHIFT  20
#define RECEIPT_SLOT_MASK   UINT64_C(0xfff)
#define RECEIPT_EPOCH_SHIFT WORD_EPOCH_SHIFT
#define RECEIPT_EPOCH_MASK  (UINT64_MAX << RECEIPT_EPOCH_SHIFT)

/* Returns the bits that all receipts of a table have. */
static inline uint32_t receipt_mark(uint64_t generation) {
	uint32_t table = (uint32_t)(generation % ((1u << RECEIPT_TABLE_BITS) - 1)) + 1;
	return table << RECEIPT_TABLE_SHIFT | (uint32_t)RECEIPT_SET;
}

static inline uint64_t receipt_make(const struct mapping *mapping, const struct slot *slot, uint64_t word,
                                    int bank) {
	uint64_t number = (uint64_t)(slot - mapping->slots) & RECEIPT_SLOT_MASK;
	return (word & RECEIPT_EPOCH_MASK) | number << RECEIPT_SLOT_SHIFT | mapping->receipt_mark | (uint64_t)bank;
}

/* Of an admission by the table. */
HOT_PART static inline uint64_t receipt_of(const struct mapping *mapping, const struct decision *d) {
	return receipt_make(mapping, d->slot, d->found, d->word != &d->slot->word[0]);
}

/* Of an admission by the process. */
static inline uint64_t receipt_of_window(uint32_t window) {
	return (uint64_t)window << RECEIPT_EPOCH_SHIFT | RECEIPT_SET;
}

static inline bool receipt_is_of_window(uint64_t receipt) {
	return (uint32_t)receipt == RECEIPT_SET;
}

static inline uint32_t receipt_window(uint64_t receipt) {
	return (uint32_t)(receipt >> RECEIPT_EPOCH_SHIFT);
}

#endif
