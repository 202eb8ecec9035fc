/*
 * pg_frames.h - PostgreSQL's protocol 3.0, seen by somebody in the middle: where messages
 * begin and end, and which statement a reply belongs to.
 *
 * A client that sends commands one behind the other, each with a sync of its own, gets
 * one ReadyForQuery for each, in their order. The server sends it after the command's
 * transaction has ended: whoever sees it knows that the commit is done.
 *
 * Plain connections only: neither TLS nor GSSAPI may be asked for.
 */
#ifndef PG_FRAMES_H
#define PG_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PG_FRAMES_PENDING 512u /* commands without a reply, at most: an agent has some dozens */
#define PG_FRAMES_NAME    64u

#define PG_FRAMES_STARTUP "(startup)" /* what the first ReadyForQuery answers */
#define PG_FRAMES_PREPARE "(prepare)"

enum pg_side { PG_CLIENT, PG_SERVER };

struct pg_message {
	char type;        /* '\0': the start packet */
	uint8_t head_had; /* bytes of the head that have been seen */
	uint8_t head[5];
	uint32_t left; /* bytes of the body to come */
	size_t text_length;
	char text[2 * PG_FRAMES_NAME]; /* the body's beginning, of a client's messages */
};

struct pg_command {
	char name[PG_FRAMES_NAME]; /* of the prepared statement; of an unnamed one its text */
	int mark;                  /* the caller's; 0 at first */
};

struct pg_frames {
	struct pg_message message[2]; /* by side */
	bool started;
	char name[PG_FRAMES_NAME]; /* of the last statement that was bound, for the next sync */
	struct pg_command pending[PG_FRAMES_PENDING];
	uint32_t first, count;
	bool lost; /* more than there is room for, or no message: names are no longer known */
};

/* A part of a message, as it arrived. */
struct pg_piece {
	size_t length;
	char type;
	bool ends; /* it is the message's last */
};

/* Consumes the next piece of what a side sent; length > 0. When a client's sync ends, its command is pending. */
struct pg_piece pg_frames_next(struct pg_frames *, enum pg_side side, const char *data, size_t length);
/* The oldest and the newest command without a whole reply; NULL: none. */
struct pg_command *pg_frames_oldest(struct pg_frames *);
struct pg_command *pg_frames_newest(struct pg_frames *);
/* The reply's ReadyForQuery has been seen. */
void pg_frames_answered(struct pg_frames *);

#endif
