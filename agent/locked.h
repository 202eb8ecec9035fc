/*
 * locked.h - what the agent does when somebody has locked a table that every grant needs: VACUUM FULL, REINDEX,
 * ALTER TABLE, LOCK TABLE. A database that is locked for longer than database_timeout_ms counts as away, though
 * there is a connection. A lock on a single client's row is another matter: the core looks for that row, and
 * denies that client only.
 *
 * When a batch is refused for a lock, it is kept as if it were still under way. A statement that waits for the
 * tables alone then tells whether it is a table or a row that is locked.
 */
#ifndef STINT_LOCKED_H
#define STINT_LOCKED_H

#include <stdbool.h>

#include "config.h"
#include "driver.h"
#include "sync.h"

struct locked {
	struct driver *driver;
	struct sync *sync;
	const struct config *config;
	bool asking; /* whether the tables are free again */
};

bool locked_keeps_batch(struct locked *); /* whether a batch was refused for a lock: then its answer comes later */
void locked_look_again(struct locked *);  /* called with each heartbeat, as long as the tables are locked */
void locked_forget_database(struct locked *); /* what the database was asked gets no answer */

#endif
