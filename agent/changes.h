/*
 * changes.h - what others have changed in the database: policies, and clients' overrides.
 *
 * Changes are read in one chain, oldest first, a thousand at a time. News of further changes during a read only
 * notes that the chain isn't at its end. When a client's override has changed, its leases become void. When a
 * policy has changed, it is marked as stale; all stale policies are read again together, also one read at a time.
 *
 * The directory says up to which change the leases in the table are in force, and which server granted them. An
 * agent that takes a table over begins at that change: otherwise a client that was blocked while no agent lived
 * would keep its lease, which in a month's window lasts for days. Where the list of changes doesn't tell what has
 * changed, everything may have changed.
 */
#ifndef STINT_CHANGES_H
#define STINT_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "database/database.h"
#include "driver.h"
#include "policies.h"

struct origin {                       /* the server that granted the leases that are out here */
	char server[DATABASE_SERVER_MAX]; /* "": unknown */
	char timeline[9];
	int64_t wal_end; /* where the server's log ended, when it last told us */
};

struct change_reader {
	struct driver *driver;
	struct origin origin;
	int64_t change_id; /* changes up to this one are in force here; -1: unknown */
	int64_t newest;    /* the newest that the server has told of */
	int64_t in_force;  /* up to this one all clients have met them, since connecting; -1: unknown */
	bool reading;      /* changes are being read; one read at a time */
	int64_t read_ns;   /* when the last read began */
	bool unread;       /* there may be more than that read brings */
	bool inherited;    /* as far as the agent knows, the changes were made while no agent lived here */
	/* To be noted for the next agent once all clients have met it. */
	bool noting;
	int64_t noted_id;
	uint64_t noted_walk_end;
	bool awaited; /* getting in step waits for the end of loading: it is told even if there is nothing to load */
	uint16_t asked[POLICY_CAPACITY]; /* the policies that are being loaded */
	/* Loading policies has ended; done: it succeeded. */
	void (*loaded)(void *context, bool done);
	void *context;
};

/* Begins where the last agent of this table ended, as noted in the directory; taken_over false: there was none. */
void changes_inherit(struct change_reader *, bool taken_over);
/* Catches up with the changes made while the database was away, or voids all leases where those can't be told.
 * promoted: the leases are another server's and end with the hold, so earlier changes don't matter. */
void changes_settle(struct change_reader *, bool promoted);
void changes_note(struct change_reader *); /* notes in the directory, for the next agent, what is in force */
void changes_read(struct change_reader *); /* reads changes, as there may be new ones */
void changes_forget_database(struct change_reader *); /* reads that are under way get no answer */

/* Loads the stale policies. Where the end of loading is awaited, asks even if none is stale. */
void changes_load_policies(struct change_reader *);
/* Applies a policy's row as the database has it; policy_id 0: the database has no such policy. */
void changes_apply_row(struct change_reader *, int index, const struct policy_row *row);

#endif
