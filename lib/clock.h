/*
 * clock.h - the monotonic clock, cheap when that is enough.
 *
 * CLOCK_MONOTONIC_COARSE costs 3 ns instead of 20, and is late: it shows the
 * time of the last timer tick. So the true time lies in [coarse, coarse + lag],
 * and the coarse clock alone decides every comparison with a time outside that
 * interval. The fine clock is asked only for a time inside it.
 */
#ifndef STINT_CLOCK_H
#define STINT_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

/* A tick is 10 ms on a kernel with HZ=100, the slowest that is built. (The lag is longer when a virtual CPU that
 * should tick isn't let run: lib/README.md names it among what isn't covered.) */
#define CLOCK_COARSE_LAG_NS (10 * NS_PER_MS)

typedef int clock_function(clockid_t, struct timespec *);

/* Reads the coarse clock: clock_gettime(), or what clock_find_shortcut() has found. */
extern __attribute__((visibility("hidden"))) /* declared hidden, it is read without a detour */
_Atomic(clock_function *) clock_read_coarse;

/* From then on the coarse clock is read without the C library, where that is possible. Any thread may call it, at
 * any time; not in a signal handler. */
void clock_find_shortcut(void);

static inline uint64_t clock_ns(const struct timespec *t) {
	return (uint64_t)t->tv_sec * NS_PER_S + (uint64_t)t->tv_nsec;
}

static inline uint64_t clock_coarse_ns(void) {
	struct timespec t;
	atomic_load_explicit(&clock_read_coarse, memory_order_relaxed)(CLOCK_MONOTONIC_COARSE, &t);
	return clock_ns(&t);
}

static inline uint64_t clock_fine_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return clock_ns(&t);
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
