/*
 * receipt.h - from which lease an admission took its credits: what stint_refund() needs to put them back there,
 * and nowhere else.
 *
 * A credit is charged to its lease's last sub-window; spent again by another lease, or after the agent has
 * reported it as spent, it would count at another time than it is spent at. So it goes back while the lease is
 * in the same epoch, or never (layout.h).
 *
 *     bits 63..32: the epoch of the lease's word, or the window of the limit inside the process
 *     bits 31..0:  of the word's address in this process, and 1 (a mapping stays where it is as long as its
 *                  attachment); or 2 if the process decided
 */
#ifndef STINT_RECEIPT_H
#define STINT_RECEIPT_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/hot.h"
#include "protocol/layout.h"

#define RECEIPT_OF_WORD    1u
#define RECEIPT_OF_WINDOW  2u
#define RECEIPT_EPOCH_MASK (UINT64_MAX << WORD_EPOCH_SHIFT)

/* Of credits that were taken from the word when it had this value. */
HOT_PART static inline uint64_t receipt_of(const _Atomic uint64_t *word, uint64_t value) {
	return (value & RECEIPT_EPOCH_MASK) | (uint32_t)(uintptr_t)word | RECEIPT_OF_WORD;
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
