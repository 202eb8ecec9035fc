/*
 * crowd.h - the app processes of a test, spread over its hosts: each has a journal
 * in the scene's folder; together their journals are what the oracle reads.
 */
#ifndef CROWD_H
#define CROWD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "host.h"
#include "journal.h"
#include "oracle.h"
#include "scene.h"

#define CROWD_MAX 64u

struct crowd_member {
	struct journal journal;
	pid_t pid; /* 0: not running */
};

struct crowd {
	const struct scene *scene;
	struct crowd_member member[CROWD_MAX];
	uint32_t count;
};

/* What all checks of all members came to. */
struct crowd_total {
	uint64_t checks;
	uint64_t admitted[JOURNAL_SOURCES];
	uint64_t denied[JOURNAL_SOURCES];
	uint64_t errors;
	int last_error;
	struct histogram latency_ns;
	uint64_t coarse_lag_ns; /* the largest */
};

/* Adds a process on a host; it does not run yet. The plan's socket, host and seed are filled in; rate: checks
 * per second. */
int crowd_add(struct crowd *, const struct host *host, const struct journal_plan *plan, uint32_t rate);
/* Starts one process, or all that don't run. Returns when they make checks. 0 or -1. */
int crowd_start_one(struct crowd *, uint32_t index);
int crowd_start(struct crowd *);
void crowd_kill_one(struct crowd *, uint32_t index);
/* Tells all processes to end, and waits. Gives how many didn't end by themselves with status 0; each is named
 * on stderr. */
int crowd_stop(struct crowd *);
/* Gives how many have ended although nobody told them to. */
int crowd_missing(struct crowd *);
void crowd_free(struct crowd *);

/* Admissions on one host so far, of the sources that a choice of the oracle's would name; 0: of all. */
uint64_t crowd_admitted(const struct crowd *, uint32_t host, uint32_t sources);
void crowd_sum(const struct crowd *, struct crowd_total *total);
/* Adds one member's counts. */
void crowd_total_add(struct crowd_total *, const struct journal_counts *counts);
/* Reads all journals; sorted. 0 or -1. */
int crowd_read(const struct crowd *, struct oracle *oracle);

#endif
