/*
 * fleet.h - up to a thousand hosts and a million clients, all in one thread under a virtual clock. Each host has a
 * real lease core and a table in ordinary memory; the database is grant.c's arithmetic, with the time that
 * PostgreSQL was measured to take for statements, rows and commits, and with rows that are locked until their
 * statement commits. The worlds of simulate.c look for what breaks the promise, under every fault; this one asks
 * what the lease protocol costs a fleet, without faults but those of a scenario.
 *
 *   fleet.c      the program: which scenarios, with which parameters changed
 *   scenarios.c  the fleets that are simulated, and what is to be reached in each
 *   arrivals.c   who checks when, and on which host
 *   checks.c     a check, from the table or by way of the agent
 *   hosts.c      agents: woken, answered, started again
 *   server.c     the database: statements, rows and their locks
 *   recalls.c    leases that are called back
 *   fleet_run.c  a fleet is made; its events happen one after the other
 *   report.c     what is told of a scenario
 *
 * Beside every check an exact sliding log is asked, with the same arrivals: what it admits is what the best
 * limiter would. No window may hold more admissions than the limit.
 */
#ifndef FLEET_H
#define FLEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admissions.h"
#include "core/core.h"
#include "core/heap.h"
#include "fake_table.h"
#include "histogram.h"
#include "random.h"
#include "scenario.h"

#define US INT64_C(1000)
#define MS INT64_C(1000000)
#define S  INT64_C(1000000000)

#define NOBODY   UINT32_MAX
#define SOMEBODY (UINT32_MAX - 1) /* who isn't an agent: keeps a row locked */

enum fleet_event {
	CHECK,     /* somebody of the crowd */
	HOT_CHECK, /* client 0, if the scenario has a hot client */
	BURST,     /* of a client: it begins */
	AGAIN,     /* a check of it that was denied is made once more */
	COUNT,     /* figures count from now on, and rows are locked */
	WAKE,      /* of a host: the core wanted to be called */
	RESTART,   /* its agent is killed and started again */
	LOSE,      /* the database is away from it ... */
	MISS,      /* ... for good: no new connection can be made ... */
	MEET,      /* ... and is there again */
	REACH,     /* a statement: it arrives at the server */
	STEP,      /* its next row */
	TIMEOUT,   /* it has waited for a row for too long */
	COMMITTED,
	ANSWER, /* it arrives at the agent */
	READ,   /* agents read which clients' leases are called back */
};

/* What is counted of a run, from COUNT on. */
struct figures {
	uint64_t checks;   /* all others are of these ... */
	uint64_t exact;    /* ... an exact log admits */
	uint64_t admitted; /* ... this fleet did */
	uint64_t asked;    /* ... the agent was asked */
	uint64_t lost;     /* ... there was no answer, or an error */
	uint64_t statements, rows, hot_rows;
	uint64_t rejected;   /* statements */
	int64_t cpu_ns;      /* of the server */
	int64_t in_reach_ns; /* after an incident, until the last host decides by the database again ... */
	int64_t in_step_ns;  /* ... and until it has charged all that it admitted meanwhile */
	struct histogram waits, other_waits;          /* the second: of the hot client, and of those that are locked */
	uint64_t charges;                             /* rows that were charged for what a fallback admitted */
	struct histogram usual_waits, charging_waits; /* before an outage; while the host charges what it admitted */
};

struct fleet_host {
	struct fake_table table;
	struct core *core;
	struct statement *under_way;
	int64_t wake_ns;
	int64_t wanted_ns; /* since then it should be in step; 0: nothing has happened to it */
	bool is_in_reach;
	uint64_t seed;
	uint32_t life; /* which of its agents */
};

/* A client's row in the database. */
struct row {
	struct grant_ring ring;
	int64_t phase_us;
	uint32_t version;           /* how often it was written */
	int64_t recalled_ns;        /* when its leases were called back last */
	uint32_t holder;            /* the statement that has locked it, or NOBODY */
	uint32_t first_in, last_in; /* statements that wait for it, NOBODY if none does */
};

struct ask { /* a check that waits for its agent */
	int64_t at_ns;
	uint32_t client;
	bool waits, counts, is_burst;
	bool is_usual, is_charging; /* which of the figures its wait is one of */
};

#define RECALLED_MAX 1024u

#define ASKS_MAX (UINT32_C(1) << 20) /* a power of two: more than ever wait at once */

struct fleet {
	struct scenario scenario;
	struct grant_terms terms, fallback_terms;
	int64_t now_ns, begin_ns, count_from_ns, end_ns;
	int64_t outage_ns; /* when it begins, if there is one */
	bool is_counting;
	struct heap agenda;
	uint64_t chance, arrivals; /* one seed each: arrivals are the same whatever the protocol does */
	struct fleet_host *hosts;
	struct row *rows;
	struct admissions *admitted, *exact; /* of each client, in the window that ends now */
	double *client_share, *host_share;   /* sums of the shares up to this one; NULL: all are the same */
	int64_t *burst_ns;                   /* of each client, when its burst began */
	struct ask *asks;
	uint32_t serial;
	struct statement **statements;
	uint32_t statement_count, free_statement;
	uint32_t running;                                /* statements that want a processor */
	uint32_t recalled[RECALLED_MAX], recalled_count; /* clients; hosts haven't read it yet ... */
	bool reads_recalls;                              /* ... but will do so */
	uint64_t most;                                   /* admissions in any window of any client */
	struct figures figures;
};

/* fleet_run.c */
struct fleet *fleet_new(const struct scenario *, uint64_t seed);
void fleet_run(struct fleet *);
void fleet_free(struct fleet *);
void fleet_plan(struct fleet *, int64_t at_ns, enum fleet_event, uint32_t value);

/* arrivals.c */
void arrivals_start(struct fleet *);
void arrivals_on_event(struct fleet *, enum fleet_event, uint32_t value);
/* A check of a burst was denied: it is made again, if there is time. */
void arrivals_denied(struct fleet *, uint32_t client);

/* checks.c */
#define CLIENT_TEXT_LENGTH 8u
void check_make(struct fleet *, uint32_t host, uint32_t client, bool is_burst, bool is_first_try);
void check_decided(struct fleet *, uint32_t serial, const struct core_verdict *);
uint32_t check_client_of(const char *id);
void check_write_id(char id[static CLIENT_TEXT_LENGTH], uint32_t client);

/* hosts.c */
void host_start(struct fleet *, uint32_t host, bool with_database);
void host_on_event(struct fleet *, enum fleet_event, uint32_t host);
void host_on_recall(struct fleet *, uint32_t host, uint32_t client);
int host_bit(const struct fleet *, uint32_t host); /* by which the database tells hosts apart */
void host_on_answer(struct fleet *, uint32_t host, enum lease_outcome, const struct lease_grant *, size_t count);
/* After whatever was told to its core. */
void host_pump(struct fleet *, uint32_t host);
bool host_is_in_step(const struct fleet_host *);

/* server.c */
#define SERVER_ROW_NS (13 * US) /* what a row costs the server, but for its statement */
struct statement *server_take(struct fleet *, uint32_t host, int hosts, const struct lease_request *,
                              size_t count);
void server_forget(struct statement *); /* nobody waits for its answer any more */
void server_on_event(struct fleet *, enum fleet_event, uint32_t statement);
void server_free(struct fleet *);

/* recalls.c */
void recalls_ask(struct fleet *, const struct lease_recall *, size_t count);
void recalls_on_read(struct fleet *);

/* report.c */
void report_heading(void);
void report_fleet(const struct fleet *);
void report_plain(const struct fleet *); /* numbers alone */

#endif
