/*
 * books.h - the database's own counts against the limit and against what was
 * admitted: charged <= limit at every commit that is looked at, and charged >=
 * admitted.
 *
 * A look reads all counters. Each sub-window there is a bound: every admission that happened for certain after its
 * beginning, by then, had to be charged before: to it or to a later one.
 */
#ifndef BOOKS_H
#define BOOKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "cluster.h"
#include "journal.h"
#include "oracle.h"

/* One sub-window of one client, as it stood at looked_ns. */
struct books_entry {
	char policy[64];
	char client[64];
	uint64_t begin_ns, end_ns; /* CLOCK_MONOTONIC */
	uint64_t looked_ns;        /* before the statement was sent */
	int64_t charged;
	int64_t since; /* what is charged to it and all later ones */
};

struct books {
	struct books_entry *entries;
	size_t count, room;
	int looks;
	int over_limit; /* runs of sub-windows that summed to more than the limit */
	struct clock_relation clock;
};

void books_init(struct books *);
void books_free(struct books *);
/* Reads all counters. 0, or -1 when the database didn't answer. */
int books_look(struct books *, struct cluster *cluster);
/* How many entries are smaller than what was admitted since they began, strict sources only; the worst of them is
 * told on stderr. */
size_t books_short(const struct books *, const struct oracle *oracle, const struct journal_plan *plan);

/* Checks I2, a line for each half of it. How many sub-windows, or looks, are not as they should be. */
uint64_t books_check(const struct books *, const struct oracle *oracle, const struct journal_plan *plan);
/* The same, and prints the proof of I2 for that many runs with this fault. */
void books_judge(const struct books *, const struct oracle *oracle, const struct journal_plan *plan,
                 const char *fault, uint64_t runs);

/* One sub-window of a client, by its counter's row: where it begins, as CLOCK_MONOTONIC, and how long it is. A
 * fixed window is one. False: there is no row. */
bool books_sub_window(const struct books *, const char *policy, const char *client, uint64_t *begin_ns,
                      uint64_t *length_ns);

#endif
