/*
 * pg_conninfo.c - what a connection string says, as libpq understands it.
 */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "one_line.h"
#include "pg.h"

/* libpq quotes what it can't read: of a URI, or of a value with a blank in it. That may be a password, or a part
 * of one. */
static void hide_secrets(char *message, bool is_uri) {
	char *quoted = is_uri ? strstr(message, ": \"") : NULL;
	if (quoted)
		*quoted = '\0';
	else if (strstr(message, "missing \"=\" after"))
		strcpy(message, "missing \"=\""); /* shorter than what was there */
}

static bool is_uri(const char *conninfo) {
	return strncmp(conninfo, "postgres://", 11) == 0 || strncmp(conninfo, "postgresql://", 13) == 0;
}

int pg_check_conninfo(const char *conninfo, char *reason, size_t size) {
	char *message = NULL;
	PQconninfoOption *options = PQconninfoParse(conninfo, &message);
	snprintf(reason, size, "%s", message ? message : options ? "" : "out of memory");
	one_line(reason);
	hide_secrets(reason, is_uri(conninfo));
	PQfreemem(message);
	PQconninfoFree(options);
	return options ? 0 : -1;
}

bool pg_has_password(const char *conninfo) {
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
	bool found = false;
	for (const PQconninfoOption *o = options; o && o->keyword && !found; o++)
		/* libpq's mark of what a dialogue hides: passwords */
		found = o->dispchar[0] == '*' && o->val && o->val[0];
	PQconninfoFree(options);
	return found;
}

/* ---- Servers --------------------------------------------------------------------- */

static bool copy_option(PQconninfoOption *options, const char *keyword, char **list) {
	const char *value = NULL;
	for (const PQconninfoOption *o = options; o && o->keyword; o++)
		if (!strcmp(o->keyword, keyword))
			value = o->val;
	*list = strdup(value ? value : "");
	return *list != NULL;
}

/* Only when libpq connects, it merges a connection string with the environment and a service file. So it is told
 * to connect, but in an sslmode that doesn't exist: it checks that last, and goes no further. (It is given a user
 * and a password so that it doesn't look for them.) */
int pg_find_servers(const char *conninfo, struct pg_servers *out) {
	static const char *const keywords[] = {"dbname", "user", "password", "sslmode", NULL};
	const char *const values[] = {conninfo, "none", "none", "to tell", NULL};
	PGconn *conn = PQconnectStartParams(keywords, values, 1);
	PQconninfoOption *options = PQconninfo(conn);
	*out = (struct pg_servers){.host = NULL};
	bool found = options && copy_option(options, "host", &out->host) &&
	             copy_option(options, "hostaddr", &out->hostaddr) && copy_option(options, "port", &out->port);
	PQconninfoFree(options);
	PQfinish(conn);
	if (found)
		return 0;
	pg_servers_free(out);
	return -1;
}

void pg_servers_free(struct pg_servers *servers) {
	free(servers->host);
	free(servers->hostaddr);
	free(servers->port);
	*servers = (struct pg_servers){.host = NULL};
}
