/*
 * audit.h - hands in what this host has decided, for audits: each minute, by policy and source, what apps have
 * counted since (tallies.h), and every five minutes the clients that were denied most (denials.h). Leases wait
 * for it no longer than for one another: these are short statements, not of all hosts at once, and no commit is
 * waited for.
 *
 * Minutes are those of the database's clock. While an agent hasn't met its database yet, they are the stopwatch's,
 * and are put right then.
 */
#ifndef STINT_AUDIT_H
#define STINT_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "decisions.h"
#include "denials.h"
#include "driver.h"
#include "sync.h"
#include "witness.h"

struct audit {
	const struct driver *driver;
	const struct sync *sync;
	struct decisions decisions;
	/* Up to where the tallies are in the decisions; of a policy of this generation. */
	uint64_t counted[POLICY_CAPACITY][TALLY_COUNTS];
	uint32_t generation[POLICY_CAPACITY];
	bool is_known[POLICY_CAPACITY]; /* the two are of the policy that is there, or was */
	int64_t clock_offset_us;        /* the database's clock minus ours, as last heard; 0: not yet */
	int64_t minute;                 /* that is counted now; 0: none yet */
	int64_t due_ns;                 /* when something may be handed in next */
	int64_t now_ns;                 /* at the last tick */
	uint16_t run, denials_run;      /* see decisions.h */
	bool under_way;
	bool is_refused; /* the last statement was, as logged */
	struct denials denials;
	struct witness witness;
	int64_t denials_due_ns; /* when they may be handed in next; 0: not yet decided */
	bool denials_under_way;
	bool denials_are_refused; /* the last statement with them was, as logged */
};

/* Twice a second. clock_offset_us: the database's clock minus the monotonic one; 0: not known now. */
void audit_tick(struct audit *, int64_t now_ns, int64_t clock_offset_us);
void audit_on_denied(struct audit *, const struct core_denied *); /* the agent has denied somebody */
void audit_policy_leaves(struct audit *, int index);              /* another policy is about to take its place */
void audit_finish(struct audit *, int64_t now_ns);                /* the agent stops: hands in what there is */
void audit_forget_database(struct audit *);                       /* what is under way gets no answer */
void audit_free(struct audit *);

#endif
