/*
 * changes.h - what others have changed in the database: policies, and clients' overrides.
 *
 * Changes are read in one chain, oldest first, some hundred at a time. While a read is under way, what tells of
 * further changes only says that the chain isn't at its end. A client's leases are void when its override has
 * changed; a policy is marked as stale, and those that are stale are read again together, also one read at a time.
 *
 * The directory says up to which change the leases in the table are in force, and which server granted them. So an
 * agent that takes a table over begins there: a client that was blocked while no agent lived would otherwise keep
 * its lease, which in a month's window lasts for days. Where the list doesn't tell what has changed, everything
 * may have.
 */
#ifndef STINT_CHANGES_H
#define STINT_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "database/database.h"
#include "driver.h"
#include "policies.h"

struct origin { /* the server that granted what is out here */
	char server[DATABASE_SERVER_MAX]; /* "": unknown */
	char timeline[9];
	int64_t wal_end;                  /* where its log ended, when we last heard */
};

struct change_reader {
	struct driver *driver;
	struct origin origin;
	int64_t change_id; /* changes up to this one are in force here; -1: unknown */
	int64_t newest;    /* that the server has told of */
	bool reading;      /* changes; one read at a time */
	bool unread;       /* there may be more than that read brings */
	bool inherited;    /* they were made while no agent lived here, as far as is known */
	/* To be noted for the next agent once all clients have met it. */
	bool noting;
	int64_t noted_id;
	uint64_t noted_walk_end;
	bool awaited;      /* somebody gets in step: the end of loading is told, even if there is nothing to load */
	uint16_t asked[POLICY_CAPACITY]; /* the policies that are being loaded */
	/* Policies have been loaded, or not. */
	void (*loaded)(void *context, bool done);
	void *context;
};

/* From the agent whose table this is; taken_over false: there was none. */
void changes_inherit(struct change_reader *, bool taken_over);
/* Those since the database was here last. It has taken another server's place, if promoted. */
void changes_settle(struct change_reader *, bool promoted);
void changes_note(struct change_reader *); /* for the next agent */
void changes_read(struct change_reader *); /* there may be some */
void changes_forget_database(struct change_reader *); /* what is being read gets no answer */

/* Those policies that are stale, and if they are awaited, even none. */
void changes_load_policies(struct change_reader *);
/* As the database has it; policy_id 0: it has none. */
void changes_apply_row(struct change_reader *, int index, const struct policy_row *row);

#endif
