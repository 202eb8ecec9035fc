/*
 * episode.h - one fault under load, from its beginning over its end to calm again; and
 * the invariants that must have held meanwhile.
 *
 *     began ----------- over ------ in step --------- until
 *           the fault        return           calm
 *
 * Checked of each episode, from the journals of all apps:
 *
 *   I1  all admits but those on a host's own limit, in every interval that touches it: within the limit (and an
 *       allowance, for a failover that may lose commits)
 *   I3  on its own, no host admitted more than the fallback's limit
 *   I4  no admission took longer than the timeout; all apps are still there
 *   I5  all hosts are in step again, and on their own no more, within a stated time
 *   I6  all agents are still there
 *
 * and of all of them together, before the first, between them, and behind the last:
 *
 *   I1  all admits, whoever decided, in every interval from all hosts being in step until the next fault
 *   I1  no host admitted anything on its own at any time but from losing the database until all were in step
 *
 * So the only admits that I1 leaves out are those of hosts on their own, in the one time in which the database is
 * away for them: each keeps to its fallback's limit then, and that is I3.
 */
#ifndef EPISODE_H
#define EPISODE_H

#include <stdbool.h>
#include <stdint.h>

#include "books.h"
#include "oracle.h"
#include "stage.h"

#define EPISODE_CLIENTS 8u

#define EPISODE_NEVER UINT64_MAX

struct episode {
	const char *what;  /* the proof's words */
	int within_ms;     /* I5 */
	uint64_t began_ns; /* the fault was about to be caused */
	/* When the hosts were about to lose the database: when the fault began, unless this is set. EPISODE_NEVER:
	 * they kept it. */
	uint64_t away_ns;
	uint32_t cut_off;    /* hosts that have no database from the beginning, whatever away_ns says; a bit each */
	uint64_t over_ns;    /* the fault's cause is gone */
	uint64_t in_step_ns; /* all hosts say that they are in step */
	uint64_t until_ns;
	bool returned;
	uint32_t lost_apps, lost_agents;
	/* By how much client n of policy 0 may exceed I1: by what a failover forgot, and no more. */
	int64_t allowance[EPISODE_CLIENTS];
	int64_t over; /* set by episode_judge_all(): by how much the worst client exceeded it */
};

void episode_begin(struct episode *, const char *what, int within_ms);
/* The cause is gone, since over_ns if that is set. Waits until all hosts are in step, and calm_ms more. */
void episode_over(struct episode *, struct stage *stage, int calm_ms);
/* Checks what stands above, a line for each, and prints a proof of each episode, and one of all together, in
 * the words of `all`. The episodes are in their order, and there was no other fault. Gives the number of
 * violations. */
uint64_t episode_judge_all(struct episode *, uint32_t count, const char *all, const struct stage *stage,
                           const struct oracle *oracle, const struct journal_plan *plan);

/* For a test that has no more to say: stops the apps, and judges the episodes, the latencies and the books. */
void episode_conclude(struct episode *, uint32_t count, const char *all, struct stage *stage,
                      const struct books *books, const struct journal_plan *plan);

/* Checks I4 for all checks of a test, denials included: prints a line and the proof. */
void episode_check_latency(const char *what, const struct crowd_total *total, const struct journal_plan *plan);

#endif
