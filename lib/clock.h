/*
 * clock.h - the monotonic clock, cheap when that is enough.
 *
 * CLOCK_MONOTONIC_COARSE costs 4 ns instead of 20, and is late: it shows the
 * time of the last timer tick. So the true time lies in [coarse, coarse + lag],
 * and the coarse clock alone decides every comparison with a time outside that
 * interval. The fine clock is asked only for a time inside it.
 */
#ifndef STINT_CLOCK_H
#define STINT_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

/* A tick is 10 ms on a kernel with HZ=100, the slowest that is built. (The lag is longer when a virtual CPU that
 * should tick isn't let run: lib/README.md names it among what isn't covered.) */
#define CLOCK_COARSE_LAG_NS (10 * NS_PER_MS)

static inline uint64_t clock_read(clockid_t clock) {
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static inline uint64_t clock_coarse_ns(void) {
	return clock_read(CLOCK_MONOTONIC_COARSE);
}

static inline uint64_t clock_fine_ns(void) {
	return clock_read(CLOCK_MONOTONIC);
}

/* Whether the time is before at_ns; coarse_ns was read a moment ago. */
static inline bool clock_is_before(uint64_t coarse_ns, uint64_t at_ns) {
	if (at_ns <= coarse_ns)
		return false;
	return at_ns - coarse_ns > CLOCK_COARSE_LAG_NS || clock_fine_ns() < at_ns;
}

/* Returns the nanoseconds until at_ns; 0 when it has passed. */
static inline uint64_t clock_left_ns(uint64_t now_ns, uint64_t at_ns) {
	return at_ns > now_ns ? at_ns - now_ns : 0;
}

/* Returns milliseconds, rounded up: a caller that waits that long doesn't come too early. */
static inline int64_t clock_ms_up(uint64_t ns) {
	return (int64_t)((ns + NS_PER_MS - 1) / NS_PER_MS);
}

static inline struct timespec clock_timespec(uint64_t ns) {
	return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

#endif
