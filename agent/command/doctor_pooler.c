/*
 * doctor_pooler.c - whether a pooler stands before the database, in which mode, and whether the agent's
 * configuration says so.
 *
 * A pooler tells a process of its own when a connection is made. In session mode the server's process behind a
 * connection stays the same. In transaction mode, one that is between two transactions has none: somebody else's
 * next transaction may get it. So a second connection makes transactions, and both look which process serves them.
 */
#include <stdbool.h>
#include <string.h>

#include "command.h"
#include "doctor.h"
#include "fields.h"
#include "monotonic.h"
#include "rows.h"
#include "trust.h"
#include "database/pg.h"

#define PATIENCE_MS 2000 /* a pool that is used up makes us wait; and so does one of a single connection */
#define ROUNDS      4    /* a pooler that takes its connections by turns comes round, if it has few */

enum mode { MODE_UNKNOWN, MODE_SESSION, MODE_TRANSACTION, MODE_STATEMENT };

static const char *const mode_names[] = {"in a mode that can't be told", "in session mode", "in transaction mode",
                                         "in statement mode"};

/* The server's process that does this transaction; 0: no answer. */
static int64_t server_process(struct pg *pg) {
	int error;
	pg_set_deadline(pg, monotonic_now_ms() + PATIENCE_MS);
	json_t *rows = rows_select(pg, "select pg_catalog.pg_backend_pid() as pid", 0, NULL, &error);
	int64_t pid = fields_number(json_array_get(rows, 0), "pid");
	json_decref(rows);
	pg_set_deadline(pg, 0);
	return pid;
}

/* *late: it has failed because there was no answer in time. */
static bool make_step(struct pg *pg, const char *sql, bool *late) {
	int64_t deadline_ms = monotonic_now_ms() + PATIENCE_MS;
	pg_set_deadline(pg, deadline_ms);
	int error = pg_query(pg, sql, 0, NULL, NULL);
	*late = monotonic_now_ms() >= deadline_ms;
	pg_set_deadline(pg, 0);
	return error == PG_OK;
}

/*
 * One transaction of the other connection, and meanwhile one of the first, which process `pid` has served before.
 * MODE_SESSION: nothing has been seen that doesn't go with it. MODE_UNKNOWN: somebody wasn't served in time.
 */
static enum mode try_round(struct pg *first, int64_t pid, struct pg *other) {
	bool late;
	if (!make_step(other, "begin", &late)) /* refused, where no transaction may have two statements */
		return late ? MODE_UNKNOWN : MODE_STATEMENT;
	int64_t others = server_process(other);
	if (others == pid)
		return MODE_TRANSACTION;
	int64_t now = others != 0 ? server_process(first) : 0;
	if (now != pid)
		return now == 0 ? MODE_UNKNOWN : MODE_TRANSACTION;
	return make_step(other, "commit", &late) ? MODE_SESSION : MODE_UNKNOWN;
}

/* By connections of its own: one that was waited for in vain is of no use any more. */
static enum mode find_mode(const char *conninfo) {
	struct pg *first, *other = NULL;
	enum mode mode = MODE_UNKNOWN;
	if (trust_connect(&first, conninfo, PATIENCE_MS) == PG_OK &&
	    trust_connect(&other, conninfo, PATIENCE_MS) == PG_OK) {
		int64_t pid = server_process(first);
		mode = pid != 0 ? MODE_SESSION : MODE_UNKNOWN;
		for (int i = 0; i < ROUNDS && mode == MODE_SESSION; i++)
			mode = try_round(first, pid, other);
	}
	pg_close(first);
	pg_close(other);
	return mode;
}

/* ---- What the agent says ---------------------------------------------------------------------- */

#define SET_TRANSACTION                                                                                           \
	"set pooler = transaction in the agent's configuration, and restart it: systemd/README.md, Poolers"
#define SET_NONE                                                                                                  \
	"take pooler = transaction out of the agent's configuration, and restart it: it hears of changes at once then"

enum said { SAID_NOTHING, SAID_NONE, SAID_TRANSACTION };

static enum said said_by_agent(const json_t *database) {
	const char *pooler = fields_text(database, "pooler");
	return strcmp(pooler, "transaction") == 0 ? SAID_TRANSACTION
	       : strcmp(pooler, "none") == 0      ? SAID_NONE
	                                          : SAID_NOTHING; /* no agent, or an older one */
}

static void find_behind(struct doctor *doctor, enum mode mode, enum said said) {
	static const char *const saying[] = {"", "; pooler = none, says the agent's configuration",
	                                     "; pooler = transaction, says the agent's configuration"};
	const char *remedy =
		"if it is in transaction mode, agents need pooler = transaction: systemd/README.md, Poolers";
	enum doctor_state state = DOCTOR_OK;
	if (mode == MODE_STATEMENT) {
		state = DOCTOR_ERROR;
		remedy = "agents need it in session or transaction mode: pool_mode = transaction, say";
	} else if (mode == MODE_TRANSACTION && said != SAID_TRANSACTION) {
		state = DOCTOR_WARNING;
		remedy = SET_TRANSACTION;
	} else if (mode == MODE_SESSION && said == SAID_TRANSACTION) {
		state = DOCTOR_WARNING;
		remedy = SET_NONE;
	} else if (mode == MODE_UNKNOWN) {
		state = DOCTOR_WARNING;
	}
	doctor_find(doctor, state, "pooler", remedy, "there is one between here and the server, %s%s",
	            mode_names[mode], saying[said]);
}

void doctor_look_at_pooler(struct doctor *doctor, bool between, const char *conninfo) {
	const json_t *database = json_object_get(doctor->status, "database");
	enum said said = said_by_agent(database);
	if (said == SAID_TRANSACTION && fields_is_set(database, "direct"))
		doctor_find(
			doctor, DOCTOR_WARNING, "pooler", SET_NONE,
			"pooler = transaction, says the agent's configuration, and there is none between it and the server");
	else if (between && said == SAID_NONE && fields_is_set(database, "direct"))
		doctor_find(doctor, DOCTOR_OK, "pooler", NULL,
		            "there is one between here and the server, and none between the agent and the server");
	else if (between)
		find_behind(doctor, find_mode(conninfo), said);
	else
		doctor_find(doctor, DOCTOR_OK, "pooler", NULL, "none between here and the server");
}
