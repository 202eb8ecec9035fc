/*
 * quick.h - $STINT_BENCH_QUICK=1 makes a benchmark a tenth as long: to see that it works, not to quote its
 * figures.
 */
#ifndef BENCH_QUICK_H
#define BENCH_QUICK_H

#include <stdlib.h>

static inline int quick_ms(int full_ms) {
	return getenv("STINT_BENCH_QUICK") != NULL ? full_ms / 10 : full_ms;
}

#endif
