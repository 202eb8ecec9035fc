/*
 * oracle.h - says from the journals of all app processes whether the promise was
 * kept.
 *
 * Each admission happened at some instant between its intent and its outcome;
 * CLOCK_MONOTONIC dates both, and is one clock for all processes here. Intervals
 * are half open, [x, x + window), by that clock, which runs at the same pace as
 * the database's on the same machine.
 *
 * Two figures for the most that any interval held:
 *
 *   certain     counts an admission only when its whole [intent, outcome] lies in the interval. More than
 *               the limit here is a violation, whatever the scheduler did. This is what tests assert.
 *   by outcome  dates each admission by its outcome. A process that is preempted between its
 *               admission and reading the clock can push this above the limit; printed beside
 *               the other, it shows how sharp that one is.
 *
 * An admission whose outcome is unknown (its process was killed) can't be certain.
 *
 * Brute force: the sum can be largest only for an interval that begins at some
 * admission's intent (or outcome, for the second figure), so these are all tried.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "journal.h"

#define ORACLE_UNKNOWN_NS UINT64_MAX

struct oracle_event {
	uint64_t intent_ns;
	uint64_t outcome_ns; /* ORACLE_UNKNOWN_NS: the process was killed meanwhile */
	uint32_t client;
	uint32_t cost;
	uint16_t policy;
	uint8_t source;
	uint8_t host;
};

struct oracle {
	struct oracle_event *events; /* sorted by policy, client, intent after oracle_sort() */
	size_t count, room;
};

#define ORACLE_ANY      UINT32_MAX
#define ORACLE_STRICT   (1u << 1 | 1u << 2) /* STINT_SOURCE_LEASE, STINT_SOURCE_DATABASE */
#define ORACLE_LEASE    (1u << 1)           /* of them those that needed no message */
#define ORACLE_FALLBACK (1u << 3)
#define ORACLE_LOCAL    (1u << 4)
#define ORACLE_ALL      UINT32_MAX
/* What I1 counts where the database was away for a part of the time: all but what hosts admitted on their own
 * then. That they did so at no other time is another check: stage_check_alone(). */
#define ORACLE_UP (ORACLE_ALL & ~ORACLE_FALLBACK)

/* Which events count. Zeroed fields of the second row mean: no restriction. */
struct oracle_choice {
	uint32_t policy, client, host; /* or ORACLE_ANY */
	uint32_t sources;              /* ORACLE_STRICT ...; 0: all */
	uint64_t from_ns, until_ns;    /* intent at or after the one, outcome before the other */
};

struct oracle_peak {
	int64_t certain;
	int64_t by_outcome;
	uint64_t certain_from_ns; /* where the interval of the first figure begins */
};

int oracle_add(struct oracle *, const struct oracle_event *event); /* 0, or -1: out of memory */
/* All admissions and the open record of a journal. `host` is the plan's. */
int oracle_read(struct oracle *, const struct journal *journal);
void oracle_sort(struct oracle *);
void oracle_free(struct oracle *);

/* The most that any interval of window_ns held. The oracle must be sorted. */
struct oracle_peak oracle_peak(const struct oracle *, const struct oracle_choice *choice, uint64_t window_ns);
/* The most that any of the aligned windows [edge + n x window, ...) held. An admission within tolerance_ns of
 * an edge is not certain. */
struct oracle_peak oracle_peak_aligned(const struct oracle *, const struct oracle_choice *choice,
                                       uint64_t window_ns, uint64_t edge_ns, uint64_t tolerance_ns);
/* Cost of all chosen admissions with a known outcome. */
int64_t oracle_sum(const struct oracle *, const struct oracle_choice *choice);
/* When the first and the last of them ended; false: there are none. */
bool oracle_span(const struct oracle *, const struct oracle_choice *choice, uint64_t *first_ns, uint64_t *last_ns);

#endif
