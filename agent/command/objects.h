/*
 * objects.h - checks whether the schema is as the migrations made it: whether all objects are there, belong to
 * their owner, and can be used only by the roles that should. After a dump was restored into a cluster without
 * the roles, owners and rights are missing, and nothing else tells.
 *
 * The migrations write down what they made (stint.schema_object). sql/check.sql compares that with what is there,
 * and names the statement that mends each difference. To look and to mend, the same query is run.
 */
#ifndef STINT_OBJECTS_H
#define STINT_OBJECTS_H

#include <jansson.h>
#include <stddef.h>

struct pg;

/* Returns what is wrong: an array of objects with "object" and "problem", a new reference. NULL: this user may not
 * see it, or the database failed. */
json_t *objects_find_problems(struct pg *);

/*
 * Makes roles, owners and rights as they should be, in one transaction, and calls mended() after its commit for
 * each mended difference. What can't be mended stays: look again to see it. Returns an enum pg_error.
 */
int objects_mend(struct pg *, void (*mended)(const char *object, const char *problem));

#endif
