/*
 * figure.h - what a benchmark found: figures, each a line of the table, and points, each a mark in a plot. Both
 * go, as one JSON object a line, to the end of the file $STINT_BENCH_OUT (without it, to nowhere), and figures
 * to stdout for who is waiting. tests/bench/report reads that file.
 */
#ifndef BENCH_FIGURE_H
#define BENCH_FIGURE_H

#include <stdbool.h>

enum figure_target {
	FIGURE_STATED,  /* measured, no target */
	FIGURE_AT_MOST, /* of the ratio when there is something to compare with, else of the value */
	FIGURE_AT_LEAST,
};

struct figure {
	int row;          /* of the table; figures of a row stand together, in the order they came */
	const char *what; /* the workload, and the quantity: "one hot client, allowed: time per check" */
	const char *unit; /* "ns", "checks/s", "%", ... */
	double value;
	const char *against;  /* what it is compared with, measured in the same run; NULL: nothing */
	double base;          /* that one's value, in the same unit */
	bool base_over_value; /* the ratio is base / value: "500 times as fast" of durations */
	enum figure_target target;
	double bound;
	const char *note; /* why it is as it is; may be NULL */
};

void figure_put(const struct figure *);

/* A mark at (x, y) of the line `label` in the plot `plot`. */
void figure_point(const char *plot, const char *label, double x, double y);

#endif
