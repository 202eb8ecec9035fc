/* monotonic.h - the clock that the agent goes by: CLOCK_MONOTONIC, which all processes of a host share. */
#ifndef STINT_MONOTONIC_H
#define STINT_MONOTONIC_H

#include <stdint.h>
#include <time.h>

#include "units.h"

static inline struct timespec monotonic_now(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now;
}

static inline int64_t monotonic_now_ns(void) {
	struct timespec now = monotonic_now();
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static inline int64_t monotonic_now_ms(void) {
	return monotonic_now_ns() / NS_PER_MS;
}

#endif
