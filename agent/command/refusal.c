/*
 * refusal.c - connects the command line to the database, and says in an operator's words why that, or a statement,
 * was refused: see command.h.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "names.h"
#include "rows.h"
#include "trust.h"
#include "database/pg.h"

#define CONNECT_TIMEOUT_MS 5000 /* an operator waits; long enough for a far server behind TLS */

const char *command_conninfo(const struct command_call *call) {
	const char *conninfo = call->settings->conninfo;
	return conninfo ? conninfo : getenv("STINT_DATABASE");
}

/* ---- What there is not ------------------------------------------------------------ */

int command_no_policy(const struct command_call *call, const struct names_search *search) {
	if (search->nearest)
		command_error(call, "there is no policy \"%s\"; did you mean \"%s\"?", search->word, search->nearest);
	else
		command_error(call, "there is no policy \"%s\"; \"stint policy list\" shows those that exist",
		              search->word);
	return COMMAND_USAGE;
}

/* Considers the names that `select` gives. Returns whether the word itself is one of them, or can't be looked
 * for. */
static bool consider(struct pg *pg, const char *select, const char *param, struct names_search *search,
                     json_t **names) {
	int error;
	*names = rows_select(pg, select, param ? 1 : 0, &param, &error);
	bool found = !*names;
	json_t *row;
	size_t i;
	json_array_foreach(*names, i, row) {
		const char *name = json_string_value(json_object_get(row, "name"));
		names_consider(search, name);
		found = found || strcmp(name, search->word) == 0;
	}
	return found;
}

int command_find_policy(const struct command_call *call, struct pg *pg) {
	struct names_search search = {.word = call->policy};
	json_t *names;
	bool found = consider(pg, "select policy as name from stint.policy_limit", NULL, &search, &names);
	int code = found ? COMMAND_DONE : command_no_policy(call, &search);
	json_decref(names);
	return code;
}

/* The policy is there, so it is the client that has no exception from it. */
static int report_no_client(const struct command_call *call, struct pg *pg, const char *message) {
	struct names_search search = {.word = call->client_id};
	json_t *names;
	if (!consider(pg, "select client_id as name from stint.client_limit where policy = $1 limit 10000",
	              call->policy, &search, &names) &&
	    search.nearest)
		command_error(call, "%s; did you mean \"%s\"?", message, search.nearest);
	else
		command_error(call, "%s; \"stint client list %s\" shows all exceptions", message, call->policy);
	json_decref(names);
	return COMMAND_USAGE;
}

/* ---- Statements ----------------------------------------------------------------------- */

/* Whether the database refused a value. The schema's functions check values before the tables' CHECKs do, and
 * raise class 22, data exception. */
static bool is_bad_value(const char *sqlstate) {
	return strncmp(sqlstate, "22", 2) == 0;
}

/* What the schema's functions raise of a policy, or of a client's exception, that there is not. */
static bool is_unknown_name(const char *sqlstate) {
	return strcmp(sqlstate, "P0002") == 0;
}

/* Whether it looks as if the database had no schema, or an older one. */
static bool is_missing_object(const char *sqlstate) {
	return strcmp(sqlstate, "3F000") == 0 || strcmp(sqlstate, "42P01") == 0 || strcmp(sqlstate, "42883") == 0;
}

static bool is_no_right(const char *sqlstate) {
	return strcmp(sqlstate, "42501") == 0;
}

/* A policy that would take exceptions of clients with it. */
static bool is_in_use(const char *sqlstate) {
	return strcmp(sqlstate, "2BP01") == 0;
}

static int report_unknown(const struct command_call *call, struct pg *pg, const char *message) {
	pg_query(pg, "rollback", 0, NULL, NULL);
	int code = call->policy ? command_find_policy(call, pg) : COMMAND_DONE;
	if (code == COMMAND_DONE && call->client_id)
		return report_no_client(call, pg, message);
	if (code == COMMAND_DONE)
		command_error(call, "%s", message);
	return COMMAND_USAGE;
}

static void report(const struct command_call *call, const struct pg *pg, const char *message) {
	const char *role = call->command->role;
	if (is_missing_object(pg_sqlstate(pg)))
		command_error(call, "%s; \"stint db status\" tells whether the schema is there", message);
	else if (is_no_right(pg_sqlstate(pg)) && role)
		command_error(call, "%s; this needs the role %s: grant %s to \"%s\"", message, role, role, pg_user(pg));
	else
		command_error(call, "%s", message);
	if (is_in_use(pg_sqlstate(pg)))
		command_error(call, "if they may go, too: --yes");
}

int command_database_error(const struct command_call *call, struct pg *pg, int error) {
	char message[1024];
	/* what the schema's functions start their errors with */
	size_t prefix = strncmp(pg_error(pg), "stint: ", strlen("stint: ")) == 0 ? strlen("stint: ") : 0;
	snprintf(message, sizeof(message), "%s", pg_error(pg) + prefix);
	if (error != PG_UNREACHABLE && is_unknown_name(pg_sqlstate(pg)))
		return report_unknown(call, pg, message);
	report(call, pg, message);
	if (error == PG_UNREACHABLE)
		return COMMAND_NO_DATABASE;
	return is_bad_value(pg_sqlstate(pg)) ? COMMAND_USAGE : COMMAND_NO;
}

/* ---- The connection ----------------------------------------------------------------- */

int command_trust(const struct command_call *call, struct pg *pg, bool tables) {
	struct trust trust;
	int error = trust_look(pg, tables, &trust);
	if (error != PG_OK)
		return command_database_error(call, pg, error);
	if (trust.why_not[0] == '\0')
		return COMMAND_DONE;
	command_error(call, "%s [%s]", trust.why_not, trust.remedy);
	return COMMAND_NO;
}

int command_connect(const struct command_call *call, struct pg **out) {
	const char *conninfo = command_conninfo(call);
	if (!conninfo)
		conninfo = "";
	*out = NULL;
	if (strcmp(conninfo, "memory:") == 0)
		return command_misuse(call, "the database \"memory:\" lives inside the agent; nothing to connect to");
	struct pg *pg;
	int code = COMMAND_NO_DATABASE;
	if (trust_connect(&pg, conninfo, CONNECT_TIMEOUT_MS) == PG_OK)
		code = command_trust(call, pg, false);
	else
		command_error(call, "can't connect to the database: %s", pg ? pg_error(pg) : "out of memory");
	if (code == COMMAND_DONE)
		*out = pg;
	else
		pg_close(pg);
	return code;
}
