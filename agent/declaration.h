/*
 * declaration.h - an app declares what a policy's limits are. The database decides what comes of that: the policy
 * is created or changed, or stays as an operator has pinned it. While the database is away, the app's declaration
 * counts on this host, and is passed on later.
 *
 * One declaration is under way at a time, since leases share the connection and a declaration may have to wait for
 * an operator's transaction. What many processes declare alike at once, as they do after a deploy, is kept and
 * asked once. However many processes there are, there is room for each of the host's policies from each of
 * them. More come together only while the database gives no answer, or refuses them: then those of processes
 * that are gone make room, and who finds none is told STINT_EFULL.
 *
 * A declaration that the database puts off is declared again by the agent itself: see word.h.
 */
#ifndef STINT_DECLARATION_H
#define STINT_DECLARATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "changes.h"
#include "database/database.h"
#include "driver.h"
#include "server.h"
#include "sync.h"

/* How many different ones may wait: four for each policy that has a place, less than a megabyte in all. */
#define DECLARATIONS_MAX 4096

/* How many apps may wait for them: DECLARATIONS_MAX, and so many more for each connection, 16 to 32 kilobytes. */
#define WAITING_PER_CONNECTION POLICY_CAPACITY

struct declaration;

struct told_limits { /* limits that were declared in vain, as logged */
	struct policy_row row;
	int64_t at_ns; /* 0: none */
};

struct declarations {
	struct driver *driver;
	struct change_reader *changes;
	const struct sync *sync;
	struct declaration *first; /* of those that wait for the database */
	struct declaration *asked; /* the one of them that it has been asked for; NULL: none */
	size_t count;              /* how many of them there are */
	size_t waiting;            /* who waits for an answer to one of them, all together */
	int64_t refused_ns;        /* when it was last said that there are too many; 0: never */
	bool passing_on;           /* what was decided without the database, now that of policy `passed_on` */
	int passed_on;
	struct told_limits told[32];
};

void declarations_on_message(struct declarations *, server_peer peer, const struct wire_declare *message,
                             const char *name, size_t length);
/* Declares what was decided without the database, one policy after the other; then loads policies. */
void declarations_pass_on(struct declarations *);
void declarations_ask_again(struct declarations *); /* declares again what was put off, if it is time */
void declarations_resume(struct declarations *);    /* after the database has come up, or is known to be away */
void declarations_forget_database(struct declarations *); /* what the database was asked has to be asked again */
void declarations_free(struct declarations *);

#endif
