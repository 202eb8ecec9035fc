/*
 * timens.h - how far this process's CLOCK_MONOTONIC is off the machine's. Time
 * namespaces shift it: by the uptime of another machine, or by the seconds that a
 * container was frozen. Deadlines in the table are times of the agent's clock, so an app
 * whose clock is another one must not use them.
 */
#ifndef STINT_TIMENS_H
#define STINT_TIMENS_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

/* The kernel doesn't tell the offset: there is no /proc, or it is older than 5.6, which has no time namespaces. */
#define TIMENS_UNKNOWN UINT64_C(0)

/* Returns the offset in nanoseconds, plus 2^63; or TIMENS_UNKNOWN. */
static inline uint64_t timens_offset(void) {
	char text[160] = "";
	long long seconds, nanoseconds;
	int fd = open("/proc/self/timens_offsets", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return TIMENS_UNKNOWN;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	if (sscanf(text, "monotonic %lld %lld", &seconds, &nanoseconds) != 2)
		return TIMENS_UNKNOWN;
	return (UINT64_C(1) << 63) + (uint64_t)(seconds * 1000000000 + nanoseconds);
}

/* Whether two processes are known to have different clocks. */
static inline int timens_differ(uint64_t one, uint64_t other) {
	return one != TIMENS_UNKNOWN && other != TIMENS_UNKNOWN && one != other;
}

#endif
