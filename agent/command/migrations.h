/*
 * migrations.h - the schema's numbered migrations, carried inside the binary:
 * which there are, which a database has, and applying the missing ones.
 *
 * Each migration runs in a transaction of its own, under a lock that lasts
 * as long as the transaction (so it also works behind a pooler): if two operators
 * migrate at once, the second finds the work done. A migration's SQL
 * records itself in the schema, so that a script applied by hand leaves the
 * same state.
 *
 * A migration is breaking when agents made for an older version can't work with
 * what it leaves. After other migrations, older agents go on.
 */
#ifndef STINT_MIGRATIONS_H
#define STINT_MIGRATIONS_H

#include <stdbool.h>
#include <stddef.h>

struct pg;

struct embedded_migration {
	int version; /* ascending, no gaps */
	const char *name;
	bool breaking;
	const char *sql;
};

/* Generated at build time from sql/. */
extern const struct embedded_migration embedded_migrations[];
extern const size_t embedded_migration_count;

extern const char embedded_roles[]; /* makes the roles; may be run again */
extern const char embedded_check[]; /* finds what isn't as the migrations made it, see sql/check.sql */
extern const char embedded_trust[]; /* whether it may be used at all, see sql/trust.sql */

#define MIGRATIONS_NO_SCHEMA 0 /* the version of a database without a schema stint */

/* The oldest and the newest version that this binary carries. The oldest makes the schema; it also takes the place
 * of the schemas before it, of which nothing else is known here. */
int migrations_oldest(void);
int migrations_newest(void);

/* Reads the version of the connected database into *version. Returns an enum pg_error. */
int migrations_read_version(struct pg *, int *version);

/* Reads the oldest version that an agent may have been made for to work with the connected schema. Returns an enum
 * pg_error. */
int migrations_read_oldest_agent(struct pg *, int *version);

/*
 * Applies the missing migrations above version `from`, in order, and calls applied() after each commit. Stops at
 * the first failure, with all migrations before it committed. Returns an enum pg_error.
 */
int migrations_apply(struct pg *, int from, void (*applied)(const struct embedded_migration *));

#endif
