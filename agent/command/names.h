/*
 * names.h - which of several names somebody may have meant by one that there is not: "did you mean".
 */
#ifndef STINT_NAMES_H
#define STINT_NAMES_H

#include <stddef.h>

/* Holds no copies: what was considered has to stay. Begins as {.word = what there is not}. */
struct names_search {
	const char *word;
	const char *nearest; /* NULL: none that is near enough to be meant */
	unsigned distance;   /* of the nearest */
};

void names_consider(struct names_search *, const char *name);

#endif
