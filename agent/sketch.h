/*
 * sketch.h - who is denied most, in memory that doesn't grow: Space-Saving (Metwally, Agrawal, El Abbadi 2005),
 * with weights. A client that isn't in the sketch takes the place of the one with the least count, and its count:
 * so no count is too small, each says by how much it may be too large, and that is never more than all that was
 * added, divided by the number of places. Whoever has a larger share than that is in it for certain. Clients that
 * were told to somebody keep their places, so that what was told can be put right: what was said of places is true
 * of the others.
 */
#ifndef STINT_SKETCH_H
#define STINT_SKETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SKETCH_CLIENTS  64u
#define SKETCH_TOLD_MAX 48u /* enough for 16 in each hour that are others in each twelfth of it, by chance */

struct sketch_client {
	uint64_t count;
	uint64_t over;   /* so much of it may be others' */
	double variance; /* of what was estimated, see denials.h */
	uint8_t reason;  /* clients that are denied for two reasons are two */
	/* For denials.c: how often it was recorded since it changed last, in which round it was so last; and whether
	 * it is in the statement that has no answer yet, as it is now. */
	uint8_t confirmations;
	uint32_t round;
	bool is_under_way;
	bool is_told; /* and keeps its place */
	uint8_t id_len;
	char id[256];
};

struct sketch { /* begins as all zeros */
	struct sketch_client client[SKETCH_CLIENTS];
	unsigned used;
	unsigned told;
	uint64_t total; /* all that was added */
};

/* id_len: 1 to 255. */
void sketch_add(struct sketch *, const char *id, uint8_t id_len, uint8_t reason, uint64_t count, double variance);
/* From here on the client keeps its place. Not more than SKETCH_TOLD_MAX may. */
void sketch_tell(struct sketch *, struct sketch_client *);
/* How many others have a larger count, or the same and an earlier place. */
unsigned sketch_rank(const struct sketch *, const struct sketch_client *);

#endif
