/* sqlstate.c - see sqlstate.h. */
#include "sqlstate.h"

#include <stddef.h>
#include <string.h>

#define NO_WRITES          "25006"
#define NO_RIGHTS          "42501"
#define LOCK_NOT_AVAILABLE "55P03"

/* Errors after which the connection is of no more use. */
struct explanation {
	const char *sqlstate; /* or its beginning */
	const char *words;
};

static const struct explanation explanations[] = {
	{"08", NULL},                                    /* connection exception */
	{"0A000", "the schema changed under the agent"}, /* "cached plan must not change result type" */
	{NO_WRITES, NULL},                               /* see explain_no_writes() */
	{"26000", "prepared statements get lost: is there a pooler in transaction mode? set pooler = transaction"},
	{"40003", NULL}, /* "statement completion unknown": not PostgreSQL, but others that speak its protocol */
	{"3F000", "schema stint is missing: run `stint db init`"},
	{NO_RIGHTS, NULL},                                                       /* see explain_no_rights() */
	{"42883", "schema stint is missing or incomplete: run `stint db init`"}, /* undefined function */
	{"42P05", "prepared statements are mixed up: is there a pooler in transaction mode? set pooler = transaction"},
	{"53", NULL}, /* insufficient resources: disk full, out of memory, too many connections */
	{"ST002", "there is another server behind the pooler, or it was started anew"}, /* stint.begin_call() */
	{"57P", NULL}, /* shutdown, crash, cannot connect now */
	{"58", NULL},  /* system error: input or output */
	{"XX", NULL},  /* internal error, corrupted data */
};

static const struct explanation *find_explanation(const char *sqlstate) {
	for (size_t i = 0; i < sizeof(explanations) / sizeof(explanations[0]); i++)
		if (!strncmp(sqlstate, explanations[i].sqlstate, strlen(explanations[i].sqlstate)))
			return &explanations[i];
	return NULL;
}

bool sqlstate_ends_session(const char *sqlstate) {
	bool from_server = sqlstate[0] != '\0'; /* else libpq lost the thread, and the statement may have been done */
	return !from_server || find_explanation(sqlstate);
}

bool sqlstate_is_lock(const char *sqlstate) {
	return !strcmp(sqlstate, LOCK_NOT_AVAILABLE);
}

/* A standby, or a primary on which an operator, or who hosts it, has stopped writes: that is respected. */
static const char *explain_no_writes(const struct sqlstate_facts *facts) {
	if (!strcmp(facts->in_hot_standby, "on"))
		return "the server is a read-only standby: connect to the primary, or set target_session_attrs=read-write";
	if (!strcmp(facts->in_hot_standby, "off"))
		return "writes are turned off: default_transaction_read_only is on for this role, the database or the server";
	return "the server takes no writes: it is a standby, or default_transaction_read_only is on";
}

static const char *explain_no_rights(const struct sqlstate_facts *facts) {
	if (facts->not_owned)
		return "no rights: schema stint doesn't have its owner and rights any more: see `stint db status`";
	if (!facts->not_inherited)
		return "no rights: grant stint_agent to this role";
	if (facts->server_version >= 160000) /* since then it is a matter of each grant */
		return "no rights: this role is a member of stint_agent, but doesn't inherit: grant stint_agent to it with inherit true";
	return "no rights: this role is a member of stint_agent, but doesn't inherit: alter role … inherit";
}

const char *sqlstate_words(const char *sqlstate, const struct sqlstate_facts *facts) {
	if (!strcmp(sqlstate, NO_WRITES))
		return explain_no_writes(facts);
	if (!strcmp(sqlstate, NO_RIGHTS))
		return explain_no_rights(facts);
	const struct explanation *e = find_explanation(sqlstate);
	return e ? e->words : NULL;
}
