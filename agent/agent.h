/*
 * agent.h - stintd put together. A module of the agent knows only the modules below it. It tells those above
 * by hooks, and agent.c, which stands above all, passes that on.
 *
 *   agent.c         wiring, starting, stopping, reading the configuration again
 *   heartbeat.c     asks whether the database has anything new, and writes this host's sign of life
 *   status.c        what `stint status` and systemd are told
 *   scraper.c       who wants metrics gets them by turns
 *   declaration.c   apps declare policies; the database has the last word
 *   locked.c        waits while somebody has locked the database's tables
 *   expiry.c        deletes counters that count nothing any more
 *   recalls.c       leases that other hosts need, and that this one needs of others
 *   outage.c        how long this host was on its own, and what it admitted then
 *   audit.c         hands in what was decided
 *   sync.c          getting in step with the database after each connect
 *   changes.c       what others have changed in the database: policies and overrides
 *   driver.c        drives the core: events in, verdicts and batches out, its timer
 *
 * Below these stand the modules that know nothing of an agent: core/, database/, server.c, outbox.c,
 * policies.c with policy.c and word.c, shm.c, config.c, log.c, notify.c.
 */
#ifndef STINT_AGENT_H
#define STINT_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "audit.h"
#include "changes.h"
#include "config.h"
#include "core/table.h"
#include "declaration.h"
#include "driver.h"
#include "expiry.h"
#include "heartbeat.h"
#include "locked.h"
#include "metrics_server.h"
#include "outage.h"
#include "policies.h"
#include "recalls.h"
#include "scraper.h"
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
	struct recalls recalls;
	struct outage outage;
	struct heartbeat heartbeat;
	struct audit audit;
	struct status_sources status;
	struct scraper *scraper;
	struct metrics_server *metrics; /* NULL: metrics are not served */
	struct event *tick;
	struct event *watchdog;
	struct event *signals[3];
	struct event *drained;
	uint64_t unserved; /* unserved checks, as last logged */
	int64_t stop_by_ns;
	bool stopping;
	char instance[40];
};

#define AGENT_ERROR_MAX 512

int agent_start(struct agent *, const struct config *config, const char *config_path,
                char error[static AGENT_ERROR_MAX]);
int agent_run(struct agent *); /* runs until SIGTERM or SIGINT; 0, or -1 if the event loop failed */
void agent_stop(struct agent *);

/* For tests that stand in for the clock, the signals, or the database. */
void agent_wire(struct agent *);   /* connects the modules; the first step, on a struct of all zeros */
void agent_tick(struct agent *);   /* what happens twice a second */
void agent_reopen(struct agent *); /* opens the database anew, after the configuration has changed */

#endif
