/* locked.c - waits while somebody has locked the database's tables, see locked.h. */
#include "locked.h"

#include <stdio.h>

#include "log.h"
#include "monotonic.h"

static void ask(struct locked *locked, database_ended *done) {
	database_await_tables(locked->driver->database, done, locked);
}

/* Gives the batch, and the database, up for lost. Clients in the batch have waited since it was sent: the core
 * counts from there. */
static void lose(struct locked *locked) {
	struct driver *driver = locked->driver;
	int64_t now_ns = monotonic_now_ns();
	char why[256];
	snprintf(why, sizeof(why), "somebody has locked stint's tables: %.200s",
	         database_last_error(driver->database));
	log_warning("%s", why);
	core_on_grants(driver->core, now_ns, LEASE_UNKNOWN, NULL, 0);
	sync_lock_out(locked->sync, now_ns, why);
	driver_pump(driver);
}

static void on_refused_batch(void *context, enum lease_outcome outcome) {
	struct locked *locked = context;
	struct driver *driver = locked->driver;
	bool is_locked = outcome == LEASE_REJECTED && database_met_a_lock(driver->database);
	int64_t now_ns = monotonic_now_ns();
	if (!is_locked) {
		core_on_grants(driver->core, now_ns, outcome == LEASE_DONE ? LEASE_REJECTED : outcome, NULL, 0);
		driver_pump_soon(driver);
	} else if (now_ns - driver->taken_ns < locked->config->database_timeout_ms * NS_PER_MS) {
		ask(locked, on_refused_batch);
	} else {
		lose(locked);
	}
}

bool locked_keeps_batch(struct locked *locked) {
	if (!database_met_a_lock(locked->driver->database))
		return false;
	ask(locked, on_refused_batch);
	return true;
}

static void on_asked_again(void *context, enum lease_outcome outcome) {
	struct locked *locked = context;
	locked->asking = false;
	if (outcome != LEASE_DONE || locked->sync->state != SYNC_LOCKED)
		return; /* the next heartbeat asks again; or the connection is lost, too */
	log_info("stint's tables are no longer locked");
	sync_start(locked->sync);
}

/* Asks once at a time: the statement may wait until after the next heartbeat, and all that is asked behind it
 * waits, too. */
void locked_look_again(struct locked *locked) {
	if (locked->asking)
		return;
	locked->asking = true;
	ask(locked, on_asked_again);
}

void locked_forget_database(struct locked *locked) {
	locked->asking = false;
}
