/*
 * policies.h - the policies that apps of this host use. Apps know them by name, the table by index, the database
 * by id. What apps may know of a policy is copied to the directory.
 */
#ifndef STINT_POLICIES_H
#define STINT_POLICIES_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/layout.h"
#include "policy_row.h"
#include "tallies.h"
#include "word.h"

struct policy {
	struct policy_row row; /* policy_id 0: the database hasn't been asked yet */
	uint32_t generation;   /* the generation of its entry, see policy_number_make() */
	int64_t used_ns;       /* when an app of this host last asked for it or declared it */
	struct word word;      /* what an app of this host declared last */
	bool used;
	bool stale; /* the database may have another word: to be read again */
	/* Its limits are an app's, which the database has put off now: the limits in force are being read. */
	bool guessed;
	bool undeclared; /* said by an app while the database was away: to be declared when it is back */
};

struct policies {
	struct directory_header *directory;
	struct tallies tallies; /* set after policies_init(); or nothing is counted */
	struct policy policy[POLICY_CAPACITY];
	bool loading; /* the database is being asked about policies: no index may go to another policy */
};

/* With take_over, policies that an earlier agent left in the directory stay, each with its index. */
void policies_init(struct policies *, struct directory_header *directory, bool take_over);

int policies_find(const struct policies *, const char *name);       /* an index, or -1 */
int policies_find_id(const struct policies *, int32_t policy_id);   /* an index, or -1 */
int policies_find_number(const struct policies *, uint32_t number); /* an index, or -1 */
uint32_t policies_number(const struct policies *, int index);
int policies_add(struct policies *, const struct policy_row *row); /* an index, or -1: full */
/* Puts another policy in a policy's place; nothing may be left of the old one. */
void policies_replace(struct policies *, int index, const struct policy_row *row);
/* new limits, also in the directory */
void policies_set(struct policies *, int index, const struct policy_row *row);

#endif
