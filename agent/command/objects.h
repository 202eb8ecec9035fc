/*
 * objects.h - is the schema as the migrations made it: are all objects there, are they their owner's, may only those use them who should?
 * A dump that is restored into a cluster without the roles lacks all of that, and nothing else tells.
 *
 * The migrations write down what they made (stint.schema_object); sql/check.sql compares, and names for each difference the
 * statement that ends it. Looking and mending run the same.
 */
#ifndef STINT_OBJECTS_H
#define STINT_OBJECTS_H

#include <jansson.h>
#include <stddef.h>

struct pg;

/* What is wrong: an array of objects with "object" and "problem"; a new reference. NULL: this user may not see it, or the database
 * failed. */
json_t *objects_find_problems(struct pg *);

/*
 * Makes roles, owners and rights as they should be, in one transaction, and calls mended() after its commit for each difference. What
 * can't be mended stays: look again. An enum pg_error.
 */
int objects_mend(struct pg *, void (*mended)(const char *object, const char *problem));

#endif
