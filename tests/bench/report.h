/*
 * report.h - what the benchmarks of a run have found, read back from their lines.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* A line of the table. Strings belong to the JSON beside it; those that are not there are NULL. */
struct line {
	int row;
	const char *what, *unit, *against, *target, *note;
	double value, base, ratio, bound;
	bool has_ratio;
	int reached;
};

struct report {
	struct line *lines; /* by row; within one, in the order they came */
	size_t count;
	json_t *figures; /* the same, as they were written */
	json_t *plots;   /* name: label: [[x, y], ...] */
	json_t *benches; /* what ran: name, seconds, failed, quick */
	bool quick;      /* a benchmark was cut short */
	int left_out;    /* lines that could not be understood */
};

/* 0, or -1 when the file can't be read at all. Lines that can't be understood are named on stderr, counted and
 * left out. */
int report_read(struct report *, const char *path);
void report_free(struct report *);

/* Of the figures with a target, how many there are and how many are reached. */
void report_count_targets(const struct report *, size_t *targets, size_t *reached);

#endif
