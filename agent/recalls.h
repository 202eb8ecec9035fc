/*
 * recalls.h - leases that are called back: tells the database of which clients this host needs more, and learns
 * which of its own leases other hosts need.
 *
 * A notice says that there is something to read. The agent reads, and reads again after a tenth of a second until
 * nothing is new, as the database sends no other notice meanwhile; more rarely while what is new concerns other
 * hosts only. Where notices don't arrive, it reads with each tick of the heartbeat.
 */
#ifndef STINT_RECALLS_H
#define STINT_RECALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "driver.h"

struct recalls {
	struct driver *driver;
	struct event *timer;
	int64_t known; /* the newest recall that this agent has read of; 0: none yet */
	int pause_ms;  /* until it reads again */
	bool reading;  /* one read at a time */
	bool unread;   /* there may be more than that read brings */
};

int recalls_start(struct recalls *, struct event_base *base); /* 0, or -1 without memory */
void recalls_free(struct recalls *);
void recalls_read(struct recalls *);            /* there may be something new */
void recalls_forget_database(struct recalls *); /* what was asked gets no answer; another database counts anew */

#endif
