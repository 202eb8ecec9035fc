/*
 * heartbeat.h - keeps in touch with the database: twice a second it looks whether it is time to ask for news, or
 * to write that this host lives. Each time, what had to wait for the database has another turn.
 */
#ifndef STINT_HEARTBEAT_H
#define STINT_HEARTBEAT_H

#include <stdbool.h>
#include <stdint.h>

#include "changes.h"
#include "config.h"
#include "declaration.h"
#include "driver.h"
#include "expiry.h"
#include "locked.h"
#include "recalls.h"
#include "sync.h"

struct heartbeat {
	struct driver *driver;
	struct sync *sync;
	struct change_reader *changes;
	struct declarations *declarations;
	struct locked *locked;
	struct expiry *expiry;
	struct recalls *recalls;
	const struct config *config;
	int64_t beat_ns;         /* when the next heartbeat is due */
	int64_t pulse_ns;        /* when the next look for changes is due */
	int64_t clock_offset_us; /* the database's clock minus our monotonic one, at the last pulse; 0: unknown */
	bool rival;              /* another agent uses this host's name, as last logged */
};

void heartbeat_tick(struct heartbeat *);    /* twice a second */
void heartbeat_hasten(struct heartbeat *);  /* makes the next tick write, as this host's state has changed */
void heartbeat_restart(struct heartbeat *); /* forgets what was heard over the last connection */

#endif
