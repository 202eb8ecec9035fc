/*
 * clock.h - time, as the tests take it.
 *
 * All processes of a test are on one machine, the database too, so one
 * CLOCK_MONOTONIC dates every event. The database speaks of CLOCK_REALTIME;
 * clock_relate() says how far the two are apart.
 */
#ifndef TEST_CLOCK_H
#define TEST_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

static inline uint64_t clock_read_ns(clockid_t clock) {
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static inline uint64_t monotonic_ns(void) {
	return clock_read_ns(CLOCK_MONOTONIC);
}

static inline void sleep_until_ns(uint64_t when_ns) {
	struct timespec t = {.tv_sec = (time_t)(when_ns / NS_PER_S), .tv_nsec = (long)(when_ns % NS_PER_S)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
		continue;
}

static inline void sleep_ms(int64_t ms) {
	sleep_until_ns(monotonic_ns() + (uint64_t)ms * NS_PER_MS);
}

/* A moment of the database's clock, in microseconds, as CLOCK_MONOTONIC: us * 1000 - offset_ns, off by at most
 * error_ns. */
struct clock_relation {
	int64_t offset_ns;
	uint64_t error_ns;
};

/* Reads the one clock between two readings of the other; of 1000 tries, the narrowest wins. */
static inline struct clock_relation clock_relate(void) {
	struct clock_relation best = {.error_ns = UINT64_MAX};

	for (int i = 0; i < 1000; i++) {
		uint64_t before = monotonic_ns();
		uint64_t wall = clock_read_ns(CLOCK_REALTIME);
		uint64_t after = monotonic_ns();
		uint64_t error = (after - before + 1) / 2 + NS_PER_US; /* the database counts whole microseconds */

		if (error < best.error_ns)
			best = (struct clock_relation){(int64_t)(wall - before - (after - before) / 2), error};
	}
	return best;
}

static inline uint64_t clock_from_database_us(const struct clock_relation *relation, int64_t us) {
	return (uint64_t)(us * (int64_t)NS_PER_US - relation->offset_ns);
}

#endif
