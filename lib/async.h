/*
 * async.h - asynchronous checks of one channel, their callbacks, and when
 * stint_fd() is readable: when the socket is, and from the moment from which
 * stint_dispatch() has something to do without any message. That is at once when
 * checks are finished (a thread that waited for its own answer took theirs in),
 * else when the first may time out, or the agent is to be looked for again.
 *
 * A check is in one queue at any time, in this order: unused; pending, while the
 * agent is asked; finished; due, from the beginning of a stint_dispatch(); and
 * unused again before its callback runs. Or cancelled, from any of them but the
 * first, when its limiter is freed. So each has one callback.
 *
 * All under the channel's lock but the flag of the dispatching thread. No
 * callback runs under a lock.
 */
#ifndef STINT_ASYNC_H
#define STINT_ASYNC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "stint.h"
#include "watch.h"

/* Checks are allocated 64 at a time, 27 KiB, and used again. */
#define ASYNC_CHUNK 64u
#define ASYNC_CHUNKS 1024u /* times ASYNC_CHUNK is STINT_ASYNC_MAX */

struct channel;
struct async_check;
TAILQ_HEAD(async_queue, async_check);

struct async {
	struct async_check *chunk[ASYNC_CHUNKS]; /* freed by this list, whatever a fork left in the others */
	unsigned chunk_count;
	struct async_queue unused;
	struct async_queue pending;
	struct async_queue finished;
	struct async_queue due;
	struct async_queue cancelled;
	uint64_t next_timeout_ns; /* no pending check times out before this */
	_Atomic bool dispatching;
	struct watch watch;
};

void async_init(struct async *);
void async_free(struct async *);

/* Registers the socket as its state now wants it, and sets the timer. */
void async_watch(struct channel *);

/* A check that the table had no answer for. 0: under way; else an error, or REQUEST_DECIDE_ALONE. Takes the lock. */
int async_start(struct channel *, struct stint_limiter *, const char *id, size_t length, uint32_t cost,
	stint_callback *, void *arg);

/* Under the lock: the checks of the limiter, or of all when it is NULL, will have no answer. */
void async_cancel(struct channel *, const struct stint_limiter *);

/* Without the lock: tells them. The callbacks may end the channel. */
void async_run_cancelled(struct channel *, const struct stint_limiter *);

/* Those on this thread's stack that have called back and are still in the attachment must not touch it any more. */
void async_attachment_ends(const struct stint *);

#endif
