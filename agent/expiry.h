/*
 * expiry.h - deletes counters in the database that count nothing any more, and takes away blocks and limits of
 * clients' own that have ended, so that all hosts hear of it. One host at a time does this for all: the heartbeat
 * tells whether it is this host's turn.
 */
#ifndef STINT_EXPIRY_H
#define STINT_EXPIRY_H

#include <stdbool.h>

#include "driver.h"
#include "sync.h"

struct expiry {
	const struct driver *driver;
	const struct sync *sync;
	struct event *timer;
	bool is_ours; /* it is this host's turn */
	bool under_way;
	bool is_over; /* the agent stops */
};

int expiry_start(struct expiry *, struct event_base *base); /* 0, or -1 without memory */
void expiry_on_timer(struct expiry *);
void expiry_stop(struct expiry *);
void expiry_free(struct expiry *);
void expiry_forget_database(struct expiry *); /* what the database was asked gets no answer */

#endif
