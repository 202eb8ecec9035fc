/*
 * points.h - stops a running agent at a point of its code, by ptrace: at the N-th time that it enters or
 * leaves a function, or some instructions later.
 *
 * Only for functions that have a symbol of their own in build/stintd.
 */
#ifndef POINTS_H
#define POINTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct point {
	const char *function;
	bool leaving; /* right after its return; else before its first instruction */
};

struct tracer {
	pid_t pid;      /* 0: traces nobody */
	uint64_t base;  /* the address of its program */
	uint64_t place; /* the address of the trap; 0: none */
	long text;      /* what is there otherwise */
};

/* Reads the program's symbols. 0, or -1 with a line on stderr. */
int points_read(const char *program);
/* Whether there is such a function. */
bool point_exists(const struct point *);

/* Takes hold of a process of this program, and lets it run on with a trap at the function's beginning. 0 or -1. */
int tracer_set(struct tracer *, pid_t pid, const struct point *point);
/* Waits until it stops there for the `hit`-th time (1 ...), and `steps` instructions further. False: not within
 * timeout_ms; then it runs on, traced no more. */
bool tracer_wait(struct tracer *, const struct point *point, unsigned hit, unsigned steps, int timeout_ms);

#endif
