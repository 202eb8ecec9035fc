/*
 * locked.c - somebody has locked a table that every grant needs: VACUUM FULL, REINDEX, ALTER TABLE, LOCK TABLE. What lasts longer than
 * database_timeout_ms is a database that is away, though there is a connection. A client's row that somebody has locked is
 * not: the core looks for it, and denies that client only.
 *
 * A batch that is refused for a lock is kept, as if it were still under way, until a statement that waits for the tables alone
 * has told which of the two it is.
 */
#include <stdio.h>

#include "agent.h"
#include "log.h"

static void ask(struct agent *agent, database_ended *done) {
	database_await_tables(agent->database, done, agent);
}

/* Who waits in the batch has waited since it was sent: the core counts from there. */
static void lose(struct agent *agent) {
	struct link *link = &agent->link;
	int64_t now_ns = monotonic_now_ns();
	link->locked = true;
	link->synced = false;
	link->left_ns = now_ns;
	snprintf(link->why, sizeof link->why, "somebody has locked stint's tables: %.200s", database_last_error(agent->database));
	log_warning("%s", link->why);
	core_on_grants(agent->core, now_ns, LEASE_UNKNOWN, NULL, 0);
	core_database_lost(agent->core, now_ns);
	declarations_resume(agent);
	agent_pump(agent);
}

static void on_refused_batch(void *context, enum lease_outcome outcome) {
	struct agent *agent = context;
	bool locked = outcome == LEASE_REJECTED && database_met_a_lock(agent->database);
	if (!locked) {
		core_on_grants(agent->core, monotonic_now_ns(), outcome == LEASE_DONE ? LEASE_REJECTED : outcome, NULL, 0);
		agent_pump_soon(agent);
	} else if (monotonic_now_ns() - agent->link.taken_ns < agent->config.database_timeout_ms * INT64_C(1000000)) {
		ask(agent, on_refused_batch);
	} else {
		lose(agent);
	}
}

bool locked_keeps_batch(struct agent *agent) {
	if (!database_met_a_lock(agent->database))
		return false;
	ask(agent, on_refused_batch);
	return true;
}

static void on_asked_again(void *context, enum lease_outcome outcome) {
	struct agent *agent = context;
	agent->link.asking = false;
	if (outcome != LEASE_DONE || !agent->link.locked)
		return; /* with the next heartbeat; or the connection is lost, too */
	agent->link.locked = false;
	log_info("stint's tables are no longer locked");
	link_start_sync(agent);
}

/* One at a time: each may wait for longer than until the next heartbeat, and all that is asked behind it waits, too. */
void locked_look_again(struct agent *agent) {
	if (agent->link.asking)
		return;
	agent->link.asking = true;
	ask(agent, on_asked_again);
}
