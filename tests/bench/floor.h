/*
 * floor.h - the least that any such limiter has to do: hash the id, read the coarse clock, one compare-and-swap in
 * shared memory.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "protocol/hash.h"
#include "scene.h"

struct floor_cell {
	_Alignas(64) _Atomic uint64_t word;
};

struct floor {
	struct floor_cell *cells; /* in a POSIX shared-memory object, as stint's table is */
	size_t count;
	uint8_t secret[SECRET_SIZE];
};

/* Made, filled with zeros, all its memory taken. 0 or -1, with a line on stderr. The scene clears it away. */
int floor_open(struct floor *, const struct scene *scene, size_t count);
void floor_close(struct floor *);

/* Returns what the word was. */
static inline uint64_t floor_swap(struct floor_cell *cell, uint64_t less) {
	uint64_t word = atomic_load_explicit(&cell->word, memory_order_acquire);

	while (!atomic_compare_exchange_strong_explicit(&cell->word, &word, word - less, memory_order_acq_rel,
	                                                memory_order_relaxed))
		continue;
	return word;
}

static inline bool floor_hash_and_clock(const struct floor *floor, const char *id, size_t length) {
	XXH128_hash_t hash = XXH3_128bits_withSecret(id, length, floor->secret, SECRET_SIZE);
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (hash.low64 ^ hash.high64) == (uint64_t)now.tv_nsec;
}

static inline uint64_t floor_check(const struct floor *floor, struct floor_cell *cell, const char *id,
                                   size_t length) {
	return floor_swap(cell, 1 + floor_hash_and_clock(floor, id, length));
}

#endif
