/*
 * journal.h - what one app process did, in a file that it maps shared: the
 * kernel keeps what was stored, so a SIGKILL loses nothing.
 *
 * The file begins with the plan, written by the test before the process starts;
 * then what the process counts; then one record per admission. A record is
 * opened with its intent before the check, and closed with its outcome after
 * it. A denial frees the record for the next check. So at most one record is
 * ever open: that of the check under which the process was killed. Whether that
 * one was admitted is unknown.
 *
 * A process that is started again on its journal goes on behind the open record.
 */
#ifndef JOURNAL_H
#define JOURNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"

#define JOURNAL_POLICIES 12u
#define JOURNAL_SOURCES  6u /* enum stint_source, and 0 for what is unknown */
#define JOURNAL_NAMES    8u

/* How one policy is used by one process. */
struct journal_policy {
	char name[64];
	int64_t max_requests;
	int64_t time_window_ms;
	int64_t fallback_max_requests;
	int64_t fallback_time_window_ms;
	uint32_t algorithm;
	uint32_t mode;
	uint32_t resolution;
	uint32_t cost_min, cost_max;
	uint32_t clients; /* client n of them is drawn with weight (n + 1)^-skew */
	double skew;
	double share; /* of all checks, relative to the other policies */
};

/* For a plan's policy: its limit, and the one without the database, both for the same window. */
#define JOURNAL_LIMITS(limit, fallback_limit, window_ms)                                                          \
	.max_requests = (limit), .time_window_ms = (window_ms), .fallback_max_requests = (fallback_limit),            \
	.fallback_time_window_ms = (window_ms)

/* One with ten sub-windows, whose checks cost 1 to most_cost; each adds its clients and its share. */
#define JOURNAL_POLICY(policy_name, limit, fallback_limit, window_ms, most_cost)                                  \
	.name = policy_name, JOURNAL_LIMITS(limit, fallback_limit, window_ms), .resolution = 10, .cost_min = 1,       \
	.cost_max = (most_cost)

/* The policy that most tests put under load; each adds its clients and their skew. */
#define JOURNAL_API(limit, fallback_limit, window_ms)                                                             \
	JOURNAL_POLICY("api", limit, fallback_limit, window_ms, 3), .share = 1

/* A policy whose one client stays below its limit. Its sub-windows are long: leases outlive an agent. */
#define JOURNAL_CALM JOURNAL_POLICY("calm", 20000, 20000, 10000, 1), .clients = 1, .share = 1

struct journal_plan {
	char socket[108];
	uint32_t host; /* the host whose agent that is; for the reader */
	uint32_t policy_count;
	struct journal_policy policy[JOURNAL_POLICIES];
	char names[JOURNAL_NAMES][32]; /* ids of the first clients; "": made from the number */
	uint64_t seed;
	uint32_t timeout_ms;
	uint32_t each_once;    /* nothing is drawn: clients 0, 1, ... make one check each, then the process ends */
	uint32_t first_client; /* with each_once */
	uint32_t capacity;     /* records */
};

struct journal_record {
	_Atomic uint64_t intent_ns;  /* 0: free */
	_Atomic uint64_t outcome_ns; /* 0: open */
	uint32_t client;
	uint32_t cost;
	uint16_t policy; /* index into the plan */
	uint8_t source;
	uint8_t reserved[5];
};

struct journal_counts {
	_Atomic uint64_t checks;
	_Atomic uint64_t admitted[JOURNAL_SOURCES]; /* checks, by source */
	_Atomic uint64_t denied[JOURNAL_SOURCES];
	_Atomic uint64_t errors;
	_Atomic int32_t last_error;
	struct histogram latency_ns;    /* of the call */
	_Atomic uint64_t coarse_lag_ns; /* the most that the kernel's coarse clock was behind, before a check */
};

struct journal_file {
	struct journal_plan plan;
	_Atomic uint32_t stop;  /* the test sets it; the process ends after its check */
	_Atomic uint32_t rate;  /* checks per second; 0: as fast as it can. May change meanwhile */
	_Atomic uint32_t ready; /* the process runs */
	_Atomic uint32_t full;  /* the process ended because its journal is full */
	_Atomic uint32_t starts;
	_Atomic uint32_t count; /* records that are closed for good, or were left open by a kill */
	struct journal_counts counts;
	struct journal_record records[];
};

struct journal {
	struct journal_file *file;
	uint64_t bytes;
	char path[256];
};

/* Called by the test: makes the file. 0, or -1 with errno. */
int journal_create(struct journal *, const char *path, const struct journal_plan *plan, uint32_t rate);
/* Called by the app: opens it. */
int journal_open(struct journal *, const char *path);
void journal_close(struct journal *);

/* Returns the record, or NULL when the journal is full. */
struct journal_record *journal_intend(struct journal *, uint32_t policy, uint32_t client, uint32_t cost,
                                      uint64_t now_ns);
void journal_admitted(struct journal *, struct journal_record *, uint8_t source, uint64_t now_ns);
void journal_denied(struct journal *, struct journal_record *, uint8_t source);
void journal_failed(struct journal *, struct journal_record *, int error);

/* Gives the id of client n under a plan: the name that it has there, else 32 bytes with its number. */
void journal_client_id(const struct journal_plan *plan, uint32_t client, char id[static 64]);

#endif
