/*
 * database.c - the public face of the module: a database is a session that greets with this host's name. Its
 * statements are in take.c, call_back.c and calls.c.
 */
#include "database.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

/* ---- The session's events ------------------------------------------------------------ */

static void on_greet(void *context, struct session *session) {
	greeting_start(session, context);
}

static void on_down(void *context, const char *why) {
	struct database *db = context;
	db->events->down(db->context, why);
}

static void on_notified(void *context) {
	struct database *db = context;
	db->events->notified(db->context);
}

static void on_recalled(void *context) {
	struct database *db = context;
	db->events->recalled(db->context);
}

static const struct session_events session_events = {.greet = on_greet,
                                                     .down = on_down,
                                                     .notified = on_notified,
                                                     .recalled = on_recalled};

/* ---- Making and freeing -------------------------------------------------------------- */

static bool copy_options(struct database *db, const struct database_options *options) {
	db->host = strdup(options->host);
	db->instance = strdup(options->instance);
	db->version = strdup(options->version);
	db->mark = options->mark;
	db->keep_commit = options->keep_commit;
	return db->host && db->instance && db->version;
}

static bool init_session(struct database *db, struct event_base *base, const struct database_options *options) {
	static const char prefix[] = "stintd"; /* what pg_stat_activity shows */
	size_t size = sizeof(prefix) + 1 + strlen(options->host);
	char *name = malloc(size);
	/* A pooler has to tell the server each time that another name comes: behind it all agents have the same. */
	if (name && options->pooled)
		snprintf(name, size, "%s", prefix);
	else if (name)
		snprintf(name, size, "%s/%s", prefix, options->host);
	const struct session_options of_session = {.conninfo = options->conninfo,
	                                           .name = name,
	                                           .timeout_ms = options->timeout_ms,
	                                           .pooled = options->pooled};
	bool made = name && session_init(&db->session, base, &of_session, &session_events, db);
	free(name);
	return made;
}

int database_new(struct database **out, struct event_base *base, const struct database_options *options,
                 const struct database_events *events, void *context) {
	struct database *db = *out = calloc(1, sizeof(*db));
	if (!db)
		return -1;
	db->events = events;
	db->context = context;
	if (copy_options(db, options) && init_session(db, base, options))
		return 0;
	database_free(db);
	*out = NULL;
	return -1;
}

void database_free(struct database *db) {
	if (!db)
		return;
	session_deinit(&db->session);
	free(db->host);
	free(db->instance);
	free(db->version);
	free(db);
}

/* ---- What is known ------------------------------------------------------------------- */

void database_connect(struct database *db) {
	session_connect(&db->session);
}

bool database_is_up(const struct database *db) {
	return db->session.state == SESSION_UP;
}

bool database_was_reached(const struct database *db) {
	return db->session.reached;
}

bool database_hears(const struct database *db) {
	return session_hears(&db->session);
}

size_t database_in_flight(const struct database *db) {
	return db->session.in_flight;
}

bool database_met_a_lock(const struct database *db) {
	return db->session.met_a_lock;
}

const char *database_lookup_error(const struct database *db) {
	return session_lookup_error(&db->session);
}

bool database_is_direct(const struct database *db) {
	return db->session.direct;
}

const char *database_last_error(const struct database *db) {
	return db->session.error;
}
