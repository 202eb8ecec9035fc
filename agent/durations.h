/* durations.h - how long something took, each time: a histogram. */
#ifndef STINT_DURATIONS_H
#define STINT_DURATIONS_H

#include <stddef.h>
#include <stdint.h>

/* Upper bounds: from a fast local server to the longest deadline that makes sense. Longer ones are in the last
 * count. */
static const int64_t durations_bounds_us[] = {500,   1000,   2500,   5000,   10000,   25000,
                                              50000, 100000, 250000, 500000, 1000000, 5000000};
#define DURATIONS_BOUNDS (sizeof(durations_bounds_us) / sizeof(durations_bounds_us[0]))

struct durations {
	uint64_t count[DURATIONS_BOUNDS + 1]; /* those above the bound before, and not above this one */
	int64_t sum_ns;
};

static inline void durations_add(struct durations *durations, int64_t ns) {
	size_t i = 0;
	while (i < DURATIONS_BOUNDS && ns > durations_bounds_us[i] * 1000)
		i++;
	durations->count[i]++;
	durations->sum_ns += ns;
}

#endif
