/*
 * sync.h - the agent and its database get in step after each connect:
 *
 *     up -> what apps have declared meanwhile is declared -> policies are loaded -> in step
 *
 * and here it is judged whether the server is the one that granted what is out; if not, its grants are held back.
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
	SYNC_AWAY,    /* no connection, or policies couldn't be loaded; the next heartbeat tries again */
	SYNC_LOADING,
	SYNC_DONE,
	SYNC_LOCKED,  /* somebody has locked what grants need: the database is away, though there is a connection */
};

struct sync_events {
	void (*connected)(void *context);
	/* Declare what was decided without the database; then changes_load_policies(). */
	void (*started)(void *context);
	/* Who waits for the database, or for its being away, has a turn. */
	void (*availability_changed)(void *context);
};

struct sync {
	struct driver *driver;
	struct change_reader *changes;
	const struct config *config;
	const char *instance;
	enum sync_state state;
	struct database_hello hello;
	int64_t left_ns;          /* when the database was lost */
	int64_t failed_logged_ns; /* attempts to connect fail often: logged now and then */
	char why[256];            /* the last trouble */
	char advice[640];         /* as last logged */
	const struct sync_events *events;
	void *context;
};

extern const struct database_events sync_on_database; /* its context is the sync */

int sync_open(struct sync *, struct event_base *base); /* the database as configured: 0, or -1 without memory */
void sync_close(struct sync *);        /* as long as the configuration changes */
void sync_start(struct sync *);        /* there is a connection */
void sync_on_loaded(struct sync *, bool done); /* policies; or not */
void sync_lock_out(struct sync *, int64_t now_ns, const char *why);
/* What the server says of itself and of other hosts. */
void sync_on_pulse(struct sync *, const struct database_pulse *pulse);

#endif
