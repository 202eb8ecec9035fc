/*
 * locked.h - somebody has locked a table that every grant needs: VACUUM FULL, REINDEX, ALTER TABLE, LOCK TABLE. A
 * database that is locked for longer than database_timeout_ms is away, though there is a connection. A single
 * client's row that somebody has locked is another matter: the core looks for it, and denies that client only.
 *
 * When a batch is refused for a lock, it is kept as if it were still under way. A statement that waits for the
 * tables alone tells which of the two it is.
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

bool locked_keeps_batch(struct locked *); /* a batch was refused. True: for a lock, and its answer comes later */
void locked_look_again(struct locked *);  /* with each heartbeat, as long as the tables are locked */
void locked_forget_database(struct locked *); /* what it was asked gets no answer */

#endif
