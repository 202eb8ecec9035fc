/*
 * random.h - seeded random numbers for tests (splitmix64: Steele, Lea, Flood 2014).
 */
#ifndef TEST_RANDOM_H
#define TEST_RANDOM_H

#include <stdint.h>

static inline uint64_t random_next(uint64_t *state) {
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* 0 ... n - 1; the bias of the multiplication is below n / 2^32. */
static inline uint32_t random_below(uint64_t *state, uint32_t n) {
	return (uint32_t)((random_next(state) >> 32) * n >> 32);
}

/* 0 up to but not 1. */
static inline double random_unit(uint64_t *state) {
	return (double)(random_next(state) >> 11) * 0x1p-53;
}

/* One of `count`, each as often as its share says. sums: of the shares up to each; NULL: all have the same. */
static inline uint32_t random_by_share(uint64_t *random, const double *sums, uint32_t count) {
	uint32_t low = 0, high = count - 1;
	double at;

	if (!sums)
		return random_below(random, count);
	at = random_unit(random) * sums[count - 1];
	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (sums[middle] > at)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

#endif
