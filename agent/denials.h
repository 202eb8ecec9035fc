/*
 * denials.h - which clients this host has denied most, by hour, policy and reason, as far as the database hasn't
 * got it for certain. No clock, no database.
 *
 * Of a denial that the agent itself has told, it knows the client. Denials that apps read in the table are only
 * counted there; of each CPU's the last one is known, a few times a second (witness.h). All that the CPU has
 * denied in between are taken to be that client's. So what a client gets is right on average, and by how much it
 * may be wrong follows from how many at a time were taken to be one's: `variance` is the sum of the squares.
 *
 * Of these, a few are handed in: who is denied most. As with decisions.h, what is handed in is what there is in
 * all, and goes twice; the most that is kept through an outage is DENIALS_MAX sketches: four days of five policies
 * that deny all the time. Then the oldest go.
 */
#ifndef STINT_DENIALS_H
#define STINT_DENIALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sketch.h"

#define DENIALS_MAX 512u /* of 19 KiB each */

/* Of a policy in an hour, so many are handed in, and whoever has been among them earlier in the hour. With five
 * policies that is half a megabyte in the database, for a host and day. */
#define DENIALS_CLIENTS 16u

struct denials_hour { /* of one policy, whichever bears the name */
	int64_t hour;     /* since 1970, by the database's clock */
	uint16_t run;     /* see decisions.h */
	char policy[64];
	struct sketch sketch;
};

struct denials {                             /* begins as all zeros */
	struct denials_hour *hours[DENIALS_MAX]; /* the oldest first */
	size_t count;
	uint32_t round;
};

struct denial {
	const char *policy;
	const char *client_id; /* of client_id_len bytes, 1 to 255 */
	uint8_t client_id_len;
	uint8_t reason; /* enum core_denied_by */
	uint64_t count;
	double variance;
};

/* What is known of a client, to be handed in. */
struct denial_row {
	int64_t hour;
	const char *policy, *client_id; /* each with a NUL at its end; until denials_add() or denials_recorded() */
	uint64_t denied, error;         /* rather less than the first by the second, than more */
	uint16_t run;
	uint8_t reason;
};

void denials_free(struct denials *);

/* The hour, and the run, must be those that are counted now. Without memory, nothing is kept. */
void denials_add(struct denials *, int64_t hour, uint16_t run, const struct denial *);

/* It is time to hand in what has changed, and once more what was recorded in the round before. */
void denials_begin_round(struct denials *);
/* Chooses up to `most` rows that are to be handed in in this round, all of one run, and marks them. Returns how
 * many. */
size_t denials_choose(struct denials *, struct denial_row *rows, size_t most);
/* What was chosen last is recorded. Hours before this one, that are so altogether, are forgotten. */
void denials_recorded(struct denials *, int64_t hour);
void denials_unanswered(struct denials *);

#endif
