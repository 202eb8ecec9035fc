/*
 * event_loop.h - runs the callbacks of asynchronous checks, which may free and
 * close everything that is used here.
 */
#ifndef STINT_EVENT_LOOP_H
#define STINT_EVENT_LOOP_H

#include "attachment.h"

/* Ends the limiter's asynchronous checks (all checks when it is NULL) with STINT_ECANCELED, runs their callbacks,
 * and forgets the limiter's DECLARE. Takes the channel's lock; callbacks run without it. */
void event_loop_cancel(struct stint *, struct stint_limiter *);

/* Tells the functions on this thread's stack whose callbacks are running not to touch the attachment any more. */
void event_loop_end(const struct stint *);

#endif
