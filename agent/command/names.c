/*
 * names.c - see names.h. How far two names are apart is counted in mistakes of typing: a character too much, too
 * few, or another one, and two that have changed places (the optimal string alignment distance). Capitals are the
 * same as small letters.
 */
#include "names.h"

#include <ctype.h>
#include <string.h>

#define LENGTH_MAX   255 /* bytes: of a client's id, the longest of all names */
#define MISTAKES_MAX 3   /* with more of them, it is hardly the same name */

/* One mistake in three characters: in a shorter name it may well be another one. */
static unsigned most_mistakes(size_t length) {
	size_t mistakes = (length + 1) / 3;
	return mistakes < MISTAKES_MAX ? (unsigned)mistakes : MISTAKES_MAX;
}

static unsigned least(unsigned a, unsigned b) {
	return a < b ? a : b;
}

static int small(char c) {
	return tolower((unsigned char)c);
}

/* Returns the distance; neither has more than LENGTH_MAX bytes. Of the matrix of distances between all beginnings,
 * three rows are kept: of the beginning of `a`, and of those shorter by one and by two. */
static unsigned distance(const char *a, const char *b) {
	unsigned rows[3][LENGTH_MAX + 1] = {{0}};
	size_t b_length = strlen(b);
	for (unsigned j = 0; j <= b_length; j++)
		rows[0][j] = j;
	unsigned i = 0;
	for (; a[i] != '\0'; i++) {
		unsigned *row = rows[(i + 1) % 3], *before = rows[i % 3];
		const unsigned *two_before = rows[(i + 2) % 3];
		row[0] = i + 1;
		for (size_t j = 0; j < b_length; j++) {
			row[j + 1] = least(least(row[j], before[j + 1]) + 1, before[j] + (small(a[i]) != small(b[j])));
			if (i > 0 && j > 0 && small(a[i]) == small(b[j - 1]) && small(a[i - 1]) == small(b[j]))
				row[j + 1] = least(row[j + 1], two_before[j - 1] + 1);
		}
	}
	return rows[i % 3][b_length];
}

void names_consider(struct names_search *search, const char *name) {
	size_t length = strlen(search->word);
	if (length > LENGTH_MAX || strlen(name) > LENGTH_MAX)
		return;
	unsigned mistakes = distance(search->word, name);
	if (mistakes > most_mistakes(length) || (search->nearest && mistakes >= search->distance))
		return;
	search->nearest = name;
	search->distance = mistakes;
}
