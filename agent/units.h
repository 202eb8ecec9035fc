/* units.h - parts of a second in nanoseconds, and the lesser and the greater of two numbers. */
#ifndef STINT_UNITS_H
#define STINT_UNITS_H

#include <stdint.h>

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

static inline int64_t min64(int64_t a, int64_t b) {
	return a < b ? a : b;
}

static inline int64_t max64(int64_t a, int64_t b) {
	return a > b ? a : b;
}

#endif
