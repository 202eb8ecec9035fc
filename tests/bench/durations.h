/*
 * durations.h - each duration of a run, kept as it is: for quantiles that are compared with a bound.
 */
#ifndef BENCH_DURATIONS_H
#define BENCH_DURATIONS_H

#include <stddef.h>
#include <stdint.h>

struct durations {
	size_t count, room;
	uint32_t *ns; /* the longest that it can tell is 4.3 s */
};

/* 0, or -1 when there is no memory. */
int durations_open(struct durations *, size_t room);
void durations_close(struct durations *);

void durations_add(struct durations *, uint64_t ns); /* beyond the room: ignored */
void durations_append(struct durations *, const uint32_t *ns, size_t count);

/* Sorts; quantiles can be asked for then. */
void durations_sort(struct durations *);
/* The one that this fraction, 0 to 1, of all stays below; 0 of none. */
double durations_quantile(const struct durations *, double fraction);

#endif
