/*
 * histogram.h - how long things took. Logarithmic classes, each cut into 16
 * equal parts: a value is known to 6%. Plain memory, so it can live in a shared
 * mapping with one writer.
 */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#define HISTOGRAM_PARTS_LOG2 4u
#define HISTOGRAM_CLASSES    ((64u - HISTOGRAM_PARTS_LOG2 + 1u) << HISTOGRAM_PARTS_LOG2)

struct histogram {
	_Atomic uint64_t count[HISTOGRAM_CLASSES];
	_Atomic uint64_t max;
};

static inline unsigned histogram_class(uint64_t value) {
	unsigned log2;

	if (value < 1u << HISTOGRAM_PARTS_LOG2)
		return (unsigned)value;
	log2 = 63u - (unsigned)__builtin_clzll(value);
	return ((log2 - HISTOGRAM_PARTS_LOG2 + 1u) << HISTOGRAM_PARTS_LOG2) +
	       (unsigned)(value >> (log2 - HISTOGRAM_PARTS_LOG2) & ((1u << HISTOGRAM_PARTS_LOG2) - 1u));
}

/* The largest value of a class. */
static inline uint64_t histogram_class_end(unsigned class) {
	unsigned row = class >> HISTOGRAM_PARTS_LOG2;
	uint64_t part = class & ((1u << HISTOGRAM_PARTS_LOG2) - 1u);

	if (row == 0)
		return part;
	return (((part | 1u << HISTOGRAM_PARTS_LOG2) + 1u) << (row - 1u)) - 1u;
}

/* One writer: a load and a store are enough. */
static inline void histogram_add(struct histogram *h, uint64_t value) {
	_Atomic uint64_t *count = &h->count[histogram_class(value)];

	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_relaxed);
	if (value > atomic_load_explicit(&h->max, memory_order_relaxed))
		atomic_store_explicit(&h->max, value, memory_order_relaxed);
}

void histogram_merge(struct histogram *into, const struct histogram *from);
uint64_t histogram_total(const struct histogram *);
/* The value that `per_mille` of 1000 don't exceed; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *, unsigned per_mille);
/* How many were above `value`, to the precision of a class. */
uint64_t histogram_above(const struct histogram *, uint64_t value);
/* "n 1234, p50 0.3 us, p99 1.2 us, p99.9 15 us, max 2.1 ms" into text. */
void histogram_describe(const struct histogram *, char *text, unsigned long size);

#endif
