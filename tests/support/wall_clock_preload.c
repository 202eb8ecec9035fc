/*
 * wall_clock_preload.c - is loaded before a program by $LD_PRELOAD, and shifts the time of day that it sees by
 * the microseconds that a shared file says at the moment (see wall_clock.h). CLOCK_MONOTONIC and all timers
 * stay as they are, as when somebody sets the machine's clock.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "wall_clock.h"

static const _Atomic int64_t *shift_us;
static int (*true_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void open_shift(void) {
	const char *path = getenv(WALL_CLOCK_VARIABLE);
	int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *memory = fd >= 0 ? mmap(NULL, sizeof(*shift_us), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (fd >= 0)
		close(fd);
	if (memory != MAP_FAILED)
		shift_us = memory;
}

/* Other libraries' constructors may ask before ours has run: the time is the true one then. */
static int read_clock(clockid_t clock, struct timespec *t) {
	int64_t ns;
	int status;

	if (true_clock == NULL)
		*(void **)&true_clock = dlsym(RTLD_NEXT, "clock_gettime");
	status = true_clock(clock, t);
	if (status != 0 || shift_us == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
		return status;
	ns = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec + atomic_load(shift_us) * 1000;
	*t = (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
	return 0;
}

int clock_gettime(clockid_t clock, struct timespec *t) {
	return read_clock(clock, t);
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
	struct timespec t;

	(void)zone;
	read_clock(CLOCK_REALTIME, &t);
	*tv = (struct timeval){.tv_sec = t.tv_sec, .tv_usec = t.tv_nsec / 1000};
	return 0;
}

time_t time(time_t *out) {
	struct timespec t;

	read_clock(CLOCK_REALTIME, &t);
	if (out != NULL)
		*out = t.tv_sec;
	return t.tv_sec;
}
