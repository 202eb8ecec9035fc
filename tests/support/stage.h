/*
 * stage.h - what most system tests need at once: a database, some hosts in step
 * with it, and a crowd of apps; and the sentences that they all print.
 */
#ifndef STAGE_H
#define STAGE_H

#include "cluster.h"
#include "crowd.h"
#include "host.h"
#include "scene.h"

#define STAGE_HOSTS 8u

/* For tests in which the database is there all the time. The hosts wait for it longer than a busy machine makes
 * them. With the agent's default, half a second, a host would be on its own then, as it should be, and what it
 * admits would be over the limit. */
#define STAGE_PATIENT (&(struct host_options){.database_timeout_ms = 3000})

struct stage {
	const struct scene *scene;
	struct cluster cluster;
	struct host host[STAGE_HOSTS];
	uint32_t host_count;
	struct crowd crowd;
};

/* Makes the database and starts the hosts; `options` may be NULL, its database is filled in. 0 or -1. Counts
 * as a check. */
int stage_set(struct stage *, const struct scene *scene, uint32_t host_count, const struct host_options *options);
/* The same in parts, for hosts that differ, or for a database that is made in another way: makes nothing yet;
 * makes the database; adds hosts, whose options name the database; waits until all of them are in step. */
void stage_init(struct stage *, const struct scene *scene);
int stage_set_database(struct stage *, const struct scene *scene);
int stage_add_host(struct stage *, const struct host_options *options);
int stage_hosts(struct stage *, uint32_t host_count, const struct host_options *options);
int stage_wait_in_step(struct stage *);
/* Starts as many apps on each host, each at its host's rate: the first host gets `rate`, the others less and
 * less. Counts as a check. */
int stage_crowd(struct stage *, uint32_t apps_per_host, const struct journal_plan *plan, uint32_t rate);
/* Stops the apps and reads what they did; checks that they ended well and that no check failed. */
void stage_read(struct stage *, struct oracle *oracle, struct crowd_total *total);
/* Stops the agents, checks that they were there and end with status 0. */
void stage_strike(struct stage *);

/* Gives how many hosts are in a state now ("fallback", say). */
uint32_t stage_hosts_in(const struct stage *, const char *state);
/* Waits until all hosts are in a state. Gives how many are in the end. */
uint32_t stage_wait_for(const struct stage *, const char *state, int timeout_ms);
/* Gives how many lines with a text the agents' logs have, all together. */
int stage_log_count(const struct stage *, const char *text);

/* Checks I1 for each client of each policy of the plan: no interval of the policy's window is over its limit.
 * Prints the peak of each policy. `choice` restricts what is counted; its policy and client are filled in.
 * Gives how many clients are over. */
uint32_t stage_check_promise(const struct oracle *oracle, const struct journal_plan *plan,
                             const struct oracle_choice *choice, const char *what);
/* A time in which the database was away for some hosts, or one of them might not have noticed yet that it was
 * back. */
struct stage_away {
	uint64_t from_ns, until_ns;
	uint32_t hosts; /* a bit each; 0: all */
};

/* Checks that at all other times no host admitted anything on its own, since I1 leaves that out only in these.
 * Gives how many such admissions there were. */
uint64_t stage_check_alone(const struct oracle *oracle, const struct stage_away *away, size_t count);
/* Checks I3 for each client on each host of the stage. Gives how many are over. */
uint32_t stage_check_fallback(const struct stage *, const struct oracle *oracle, const struct journal_plan *plan,
                              uint64_t from_ns, uint64_t until_ns);
/* Checks I4: no check took longer than its timeout, denials included. `slack_ms` is what the scheduler may
 * take. */
bool stage_check_latency(const struct crowd_total *total, uint32_t timeout_ms, uint32_t slack_ms);
/* Prints a line with counts by source, and one with latencies. */
void stage_print_total(const struct crowd_total *total);
/* A duration in ms since a moment. */
int64_t stage_ms_since(uint64_t then_ns);

#endif
