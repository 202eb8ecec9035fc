/*
 * trust.h - connects the command line to a database in which others may have put things in the way.
 *
 * What belongs to the schema runs with the rights of whoever asks: a view's functions, a trigger, a function
 * itself. Often that is a superuser, and a schema of that name may have been made before stint's by anybody who
 * may create in the database. So before anything of it is used, the catalogue tells whose it is.
 */
#ifndef STINT_TRUST_H
#define STINT_TRUST_H

#include <stdbool.h>

struct pg;

/* As pg_connect(); and the session's statements find names in pg_catalog alone. */
int trust_connect(struct pg **out, const char *conninfo, int timeout_ms);

struct trust {
	char why_not[600]; /* "": what belongs to the schema may be used, or there is no schema */
	char remedy[600];
};

/*
 * Trusted are stint_owner, superusers, and whoever may become this user anyway, with what they own. `tables`:
 * those that `stint db` uses itself must be such as run nothing when they are read, or get a row that they lack;
 * others may be members of stint_owner. Returns an enum pg_error.
 */
int trust_look(struct pg *, bool tables, struct trust *);

#endif
