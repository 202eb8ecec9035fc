/*
 * trial.h - a crowd that is served all the time while one fault follows the other, and what
 * must hold through each of them:
 *
 *   I1  no interval holds more than the limit, faults or not, whoever decided. This leaves out only what hosts
 *       admit on their own from the beginning of a fault of the database until it is over; and they do so at no
 *       other time
 *   I2  the books: at most the limit is charged, and at least what was admitted
 *   I3  a host on its own keeps to its fallback limit
 *   I4  no check fails or takes longer than its timeout, and a margin for a busy machine
 *   I5  a stated time after the fault's end all hosts are in step and nobody decides on its own any more; one
 *       window later the busiest client gets again what its policy promises at least
 *   I6  the agents are the same processes, with the same number of descriptors and about the same memory
 *
 * A fault is one episode: trial_fault(), whatever causes it, trial_over(). The next may begin
 * when that returns. trial_judge() ends the crowd, checks all this and prints the proof, one line for each
 * name of a fault.
 */
#ifndef TRIAL_H
#define TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "books.h"
#include "stage.h"

#define TRIAL_EPISODES 512u

struct trial_options {
	const char *name;                /* the proof's words for all its faults together */
	const struct journal_plan *plan; /* with one policy */
	uint32_t slack_ms;               /* how much later than its timeout a check may end */
	/* for two seconds at most: checks may run into their timeouts; and the database is there all the time */
	bool agents_hang;
	bool database_is_hidden; /* the books can't be read during a fault */
};

struct trial_episode {
	const char *fault;
	uint64_t bound_ms;           /* the bound of the recovery */
	uint64_t began_ns;           /* before the fault */
	uint64_t over_ns;            /* when it ended: set by trial_over(), if not before */
	uint64_t in_step_ns;         /* all hosts say so; 0: they didn't, in twice the bound */
	uint64_t until_ns;           /* the next may begin */
	uint64_t errors, late;       /* checks meanwhile */
	size_t first_entry, entries; /* the part of the books that was read meanwhile */
	int over_limit;
};

struct trial {
	struct stage *stage;
	struct trial_options options;
	struct books books;
	struct trial_episode episode[TRIAL_EPISODES];
	uint32_t count;
	struct trial_agent {
		pid_t pid;
		int descriptors;
		long private_kib;
	} agent[STAGE_HOSTS];
	uint64_t looked_ns;
};

/* Prints a line of progress, when there are several rounds. */
void trial_round_over(uint64_t done, uint64_t rounds);
/* Called when the crowd runs. Returns when its first moments are over. */
void trial_begin(struct trial *, struct stage *stage, const struct trial_options *options);
/* Lets time go by, and looks at the books. */
void trial_pass(struct trial *, int64_t ms);
/* A fault is about to be caused; it recovers within bound_ms of its end. */
struct trial_episode *trial_fault(struct trial *, const char *fault, uint64_t bound_ms);
/* Like trial_pass(), without the books if they can't be read. */
void trial_endure(struct trial *, int64_t ms);
/* The fault has ended: waits until all are in step and three windows are over. */
void trial_over(struct trial *);
/* Ends the crowd and the agents. */
void trial_judge(struct trial *);

#endif
