/*
 * agent.h - stintd put together. A room of the agent knows those below it only. What it has to tell those above,
 * it tells by hooks, and agent.c, which stands above all, passes it on.
 *
 *   agent.c         wiring, starting, stopping, reading the configuration again
 *   heartbeat.c     twice a second: is anything new in the database? and this host's sign of life
 *   status.c        what `stint status` and systemd are told
 *   declaration.c   apps declare policies; the database has the last word
 *   locked.c        tables that somebody has locked
 *   expiry.c        counters that count nothing any more
 *   outage.c        how long this host was on its own, and what that cost
 *   sync.c          getting in step with the database after each connect
 *   changes.c       what others have changed in the database: policies and overrides
 *   driver.c        drives the core: events in, verdicts and batches out, its timer
 *
 * and below these the modules that know nothing of an agent: core/, database/, server.c, outbox.c,
 * policies.c with policy.c and word.c, shm.c, config.c, log.c, notify.c.
 */
#ifndef STINT_AGENT_H
#define STINT_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "changes.h"
#include "config.h"
#include "core/table.h"
#include "declaration.h"
#include "driver.h"
#include "expiry.h"
#include "heartbeat.h"
#include "locked.h"
#include "outage.h"
#include "policies.h"
#include "shm.h"
#include "status.h"
#include "sync.h"

struct event;
struct event_base;

struct agent {
	struct config config;
	const char *config_path;
	struct event_base *base;
	struct shm shm;
	struct table table;
	struct policies policies;
	struct driver driver;
	struct change_reader changes;
	struct sync sync;
	struct declarations declarations;
	struct locked locked;
	struct expiry expiry;
	struct outage outage;
	struct heartbeat heartbeat;
	struct status_sources status;
	struct event *tick;
	struct event *watchdog;
	struct event *signals[3];
	struct event *drained;
	uint64_t unserved;       /* checks, as last logged */
	int64_t stop_by_ns;
	bool stopping;
	char instance[40];
};

#define AGENT_ERROR_MAX 512

int agent_start(struct agent *, const struct config *config, const char *config_path,
                char error[static AGENT_ERROR_MAX]);
int agent_run(struct agent *); /* until SIGTERM or SIGINT; 0 */
void agent_stop(struct agent *);

/* For tests, which are the clock, the signals, or the database. */
void agent_wire(struct agent *);   /* tells the rooms of one another; its first step, on all zeros */
void agent_tick(struct agent *);   /* twice a second */
void agent_reopen(struct agent *); /* the database, after the configuration has changed */

#endif
