/*
 * event_loop.h - runs the callbacks of asynchronous checks, which may free and
 * close whatever is used here.
 */
#ifndef STINT_EVENT_LOOP_H
#define STINT_EVENT_LOOP_H

#include "attachment.h"

/* The checks of the limiter, or of all when it is NULL, end as STINT_ECANCELED; nothing more is heard of it. Callbacks run in
 * here. */
void event_loop_cancel(struct stint *, struct stint_limiter *);

/* Those on this thread's stack that have called back and are still in the attachment must not touch it any more. */
void event_loop_end(const struct stint *);

#endif
