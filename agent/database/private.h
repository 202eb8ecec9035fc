/*
 * private.h - what the parts of the database module share above the session: database.c (the public face),
 * settings.c and greeting.c (what is said after connecting), take.c (the statements that ask for leases),
 * call_back.c (those that call them back), report.c (what is reported for audits) and calls.c (the other ones).
 * Nobody else includes it.
 */
#ifndef STINT_DATABASE_PRIVATE_H
#define STINT_DATABASE_PRIVATE_H

#include "database.h"
#include "session.h"

#define LIVE_HOSTS_MAX 1000000 /* more agents than any database takes connections */

struct database {
	struct session session; /* its context is this database */
	const struct database_events *events;
	void *context;
	char *host, *instance, *version;
	int mark;
	bool keep_commit;
	int32_t host_id;
	char advice[960]; /* what an operator should know, while greeting */
};

/* ---- settings.c ------------------------------------------------------ */

void settings_start(struct session *, struct database *);
/* From now on each transaction of a pooled session begins by asking whether this is still that server's run. */
void settings_begin_calls(struct session *, const struct database *, const char *server_run);
/* Where it holds, an operator is told so when the database is up. */
void settings_advise(struct database *, bool holds, const char *words);

/* ---- greeting.c ------------------------------------------------------ */

/* Queues what has to be said in a new session. In the end it is up, and the database's `up` is called. */
void greeting_start(struct session *, struct database *);

/* ---- take.c ---------------------------------------------------------- */

extern const struct call call_take, call_take_first, call_take_unlocked;

/* ---- call_back.c ----------------------------------------------------- */

extern const struct call call_recall, call_recalls;

/* ---- report.c -------------------------------------------------------- */

extern const struct call call_decisions, call_denials;

/* ---- calls.c --------------------------------------------------------- */

extern const struct call *const database_calls[]; /* all that are prepared; ends in NULL */

#endif
