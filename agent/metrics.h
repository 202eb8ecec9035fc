/*
 * metrics.h - writes what is known of this host in Prometheus' text format. The names are for dashboards and
 * alerts: they stay as they are.
 */
#ifndef STINT_METRICS_H
#define STINT_METRICS_H

#include <stdbool.h>
#include <stdio.h>

#include "core/core.h"
#include "durations.h"
#include "protocol/tally.h"
#include "stint.h"

struct metrics_policy {
	char name[STINT_POLICY_NAME_MAX + 1];
	int64_t max_requests;
	int64_t time_window_ms;
	uint64_t near_limit;
	uint64_t verdicts[TALLY_SOURCES][TALLY_OUTCOMES]; /* the first: STINT_SOURCE_LEASE */
};

/* What isn't known of it is left out of the text: a gap alarms nobody, and a zero may. */
struct metrics_process {
	double cpu_seconds;
	double started;                        /* in Unix time; 0: unknown */
	int64_t resident_bytes, virtual_bytes; /* -1: unknown */
	int64_t open_fds, max_fds;             /* -1: unknown */
};

struct metrics_facts {
	enum core_state state;
	int64_t live_hosts;
	uint64_t fallbacks, fallback_admitted;
	uint64_t uncharged_clients;
	uint64_t old_snapshots;
	const struct core_counters *core;
	const struct durations *batches;
	int64_t deadline_ms; /* of a statement */
	uint64_t clients, capacity;
	uint64_t processes, refused_processes;
	uint64_t errors[TALLY_COUNTS]; /* by tally_error_place() */
	struct metrics_process process;
	const struct metrics_policy *policies;
	size_t policy_count;
};

/* How far the text is written; begins as all zeros. */
struct metrics_position {
	unsigned part;
	size_t policy;
};

/* Writes a slice of the text, some 250 lines, as the agent has other things to do meanwhile. Returns whether there
 * is more. */
bool metrics_write_slice(FILE *, const struct metrics_facts *, struct metrics_position *);

#endif
