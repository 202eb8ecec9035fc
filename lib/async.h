/*
 * async.h - asynchronous checks of one channel, and when stint_fd() is readable:
 * when the socket is, and from the moment from which stint_dispatch() has
 * something to do without any message. That is at once when checks are finished
 * (a thread that waited for its own answer took theirs in), else when the first
 * may time out, or the agent is to be looked for again.
 *
 * A check is in one queue at any time, in this order: unused; pending, while the
 * agent is asked; finished; due, from the beginning of a stint_dispatch(); and
 * unused again before its callback runs. Or cancelled, from any of them but the
 * first, when its limiter is freed. So each has one callback.
 *
 * All is under the channel's lock, which functions take unless they say otherwise,
 * but the flag of the dispatching thread. Callbacks are run elsewhere
 * (event_loop.c), under no lock.
 */
#ifndef STINT_ASYNC_H
#define STINT_ASYNC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "channel.h"
#include "watch.h"

/* Checks are allocated 64 at a time, 27 KiB, and used again. */
#define ASYNC_CHUNK 64u
#define ASYNC_CHUNKS 1024u /* times ASYNC_CHUNK is STINT_ASYNC_MAX */

struct async_check;
TAILQ_HEAD(async_queue, async_check);

struct async {
	struct channel *channel;
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

/* What a check came to. */
struct async_outcome {
	stint_callback *callback;
	void *arg;
	int status;
	struct stint_result result;
};

/* Of one that is all zero. */
void async_init(struct async *, struct channel *);
void async_destroy(struct async *);

/* Under the lock, a channel_changed: registers the socket as its state now wants it, and sets the timer. */
void async_watch(void *async);

/* For stint_fd(): the descriptor, or an error. */
int async_start_watching(struct async *);

/* A check that the table had no answer for. 0: under way; else an error, or REQUEST_DECIDE_ALONE. */
int async_start(struct async *, struct stint_limiter *, const char *id, size_t length, uint32_t cost,
	stint_callback *, void *arg);

/* Takes in what came. What is finished now is due; what finishes while callbacks run is for the next time. */
void async_collect_due(struct async *);

/* The next one that is due, out of a check that may be used for another then. False: there is none. */
bool async_take_due(struct async *, struct async_outcome *);

/* Under the lock: the checks of the limiter, or of all when it is NULL, will have no answer. */
void async_cancel(struct async *, const struct stint_limiter *);

/* The next of those. */
bool async_take_cancelled(struct async *, const struct stint_limiter *, struct async_outcome *);

#endif
