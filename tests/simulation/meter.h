/* meter.h - how much was admitted in the window that ends now: the sum is largest for a window that begins with
 * an admission. */
#ifndef METER_H
#define METER_H

#include <stdint.h>
#include <stdlib.h>

struct meter_entry {
	int64_t at_ns;
	int64_t cost;
};

struct meter {
	struct meter_entry *entries;
	size_t first, count, room;
	int64_t sum;
};

static inline void meter_reset(struct meter *meter) {
	meter->first = meter->count = 0;
	meter->sum = 0;
}

static inline void meter_free(struct meter *meter) {
	free(meter->entries);
	*meter = (struct meter){0};
}

/* The sum of what was admitted in (at_ns - window_ns, at_ns]. */
static inline int64_t meter_sum(struct meter *meter, int64_t at_ns, int64_t window_ns) {
	for (; meter->first < meter->count && meter->entries[meter->first].at_ns + window_ns <= at_ns; meter->first++)
		meter->sum -= meter->entries[meter->first].cost;
	return meter->sum;
}

/* The same, this included. */
static inline int64_t meter_add(struct meter *meter, int64_t at_ns, int64_t cost, int64_t window_ns) {
	if (meter->count == meter->room) {
		meter->room = meter->room ? 2 * meter->room : 64;
		meter->entries = realloc(meter->entries, meter->room * sizeof(*meter->entries));
		if (!meter->entries)
			abort();
	}
	meter->entries[meter->count++] = (struct meter_entry){at_ns, cost};
	meter->sum += cost;
	return meter_sum(meter, at_ns, window_ns);
}

#endif
