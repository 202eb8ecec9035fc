/*
 * decisions.h - what this host has decided, by minute, policy and source, as far as the database hasn't got it for
 * certain. No clock, no database.
 *
 * A row is handed in with what it counts in all, so it doesn't matter how often the database gets it. It gets it
 * twice: once when there is something new, and once more a while after it has said that it has it, since by then
 * its commit is on disk. So nothing is lost with a database that crashes, or with one that another takes the place
 * of; as much as memory holds, a day's worth of ten rows a minute, outlasts any outage. Beyond that, minutes that
 * were not handed in yet become hours, then days.
 */
#ifndef STINT_DECISIONS_H
#define STINT_DECISIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/tally.h"

/* So many rows at most, of 120 bytes. Even if all policies decide in all ways, two minutes of that have room. */
#define DECISIONS_MAX 16384u

/* When a row that was recorded is handed in once more: a server that doesn't wait for its disk writes to it thrice
 * in a second, and a standby that is to take its place is no further behind, or it is far behind. */
#define DECISIONS_CONFIRM_NS INT64_C(30000000000)

struct decision_row {
	int64_t minute; /* since 1970, by the database's clock */
	uint64_t count[TALLY_OUTCOMES];
	int64_t recorded_ns;    /* when the database said that it has it; 0: it hasn't yet */
	uint32_t policy_number; /* see policy_number_make() */
	uint16_t run;           /* tells rows of the same minute apart that were counted apart */
	uint8_t source;         /* enum stint_source */
	bool is_sent;           /* the database may have it */
	bool is_under_way;      /* in the statement that has no answer yet */
	char policy[64];
};

struct decisions {             /* begins as all zeros */
	struct decision_row *rows; /* by minute; what was merged, by hour or day */
	size_t count, capacity;
};

void decisions_free(struct decisions *);

/* Minutes must ascend, and no two rows have the same run, minute, policy and source. Returns false if there is no
 * room or memory. */
bool decisions_add(struct decisions *, const struct decision_row *);
/* The minutes were of another clock: it was so much behind. None of the rows may have been sent. */
void decisions_shift(struct decisions *, int64_t minutes);

/* Chooses up to `most` rows that are to be handed in now, all of one run, and marks them. Returns how many. */
size_t decisions_choose(struct decisions *, int64_t now_ns, const struct decision_row **rows, size_t most);
/* What was chosen last is recorded; `first`, if not NULL, is told of each row that is so for the first time. Rows
 * that are so for the second time are forgotten. */
void decisions_recorded(struct decisions *, int64_t now_ns,
                        void (*first)(void *context, const struct decision_row *), void *context);
/* Nobody knows whether what was chosen last is recorded. */
void decisions_unanswered(struct decisions *);

#endif
