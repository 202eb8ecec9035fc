/*
 * sync.h - the agent and its database get in step after each connect:
 *
 *     up -> what apps have declared meanwhile is declared -> policies are loaded -> in step
 *
 * sync.c also judges whether the server is the one that granted the leases that are out; if it isn't, its grants
 * are held back.
 */
#ifndef STINT_SYNC_H
#define STINT_SYNC_H

#include <stdbool.h>
#include <stdint.h>

#include "changes.h"
#include "config.h"
#include "database/database.h"
#include "driver.h"

enum sync_state {
	SYNC_AWAY, /* no connection, or policies couldn't be loaded; the next heartbeat tries again */
	SYNC_LOADING,
	SYNC_DONE,
	SYNC_LOCKED, /* somebody has locked what grants need: the database counts as away, though connected */
};

struct sync_events {
	void (*connected)(void *context);
	/* Has to declare what was decided without the database, and then call changes_load_policies(). */
	void (*started)(void *context);
	/* Gives a turn to what waits until the database is there, or known to be away. */
	void (*availability_changed)(void *context);
	/* Somebody calls leases back. */
	void (*recalled)(void *context);
};

struct sync {
	struct driver *driver;
	struct change_reader *changes;
	const struct config *config;
	const char *instance;
	enum sync_state state;
	struct database_hello hello;
	uint64_t old_snapshots;   /* how often the database has told of one */
	int64_t left_ns;          /* when the database was lost */
	int64_t failed_logged_ns; /* when a failed attempt to connect was last logged; 0: not yet */
	char why[256];            /* the last trouble with the database */
	char advice[960];         /* the server's advice, as last logged */
	const struct sync_events *events;
	void *context;
};

extern const struct database_events sync_on_database; /* its context is the sync */

int sync_open(struct sync *, struct event_base *base); /* opens the configured database: 0, or -1 without memory */
void sync_close(struct sync *);                        /* before sync_open() with another configuration */
void sync_start(struct sync *);                        /* begins to get in step, over a connection that is there */
void sync_on_loaded(struct sync *, bool done);         /* policies were loaded, or, if not done, couldn't be */
void sync_lock_out(struct sync *, int64_t now_ns, const char *why); /* the tables are locked: counts as away */
/* Takes in what the server says of itself and of other hosts. */
void sync_on_pulse(struct sync *, const struct database_pulse *pulse);

#endif
