/*
 * async.h - asynchronous checks of one channel, and when stint_fd() is readable.
 *
 * stint_fd() is readable when the socket is, and when stint_dispatch() has
 * something to do without a message: at once when checks are finished (a waiting
 * thread received their answers with its own), else when the first check may time
 * out, or when it is time to look for the agent again.
 *
 * A check is in one queue at any time, in this order: unused; pending, while the
 * agent is asked; finished; due, from the beginning of a stint_dispatch(); and
 * unused again before its callback runs. When its limiter is freed, a check goes
 * from any queue but the first to `cancelled`. So each has one callback.
 *
 * The channel's lock protects everything but the flag `dispatching`. Functions
 * take the lock unless they say that the caller holds it. Callbacks are run
 * elsewhere (event_loop.c), under no lock.
 */
#ifndef STINT_ASYNC_H
#define STINT_ASYNC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "channel.h"
#include "sized.h"
#include "together.h"
#include "watch.h"

/* Checks are allocated 64 at a time, 27 KiB, and reused. */
#define ASYNC_CHUNK  64u
#define ASYNC_CHUNKS 1024u /* times ASYNC_CHUNK is STINT_ASYNC_MAX */

struct async_check;
TAILQ_HEAD(async_queue, async_check);

struct async {
	struct channel *channel;
	struct async_check *chunk[ASYNC_CHUNKS]; /* freed by this list, since a fork may have left the queues
	                                            inconsistent */
	unsigned chunk_count;
	struct async_queue unused;
	struct async_queue pending;
	struct async_queue finished;
	struct async_queue due;
	struct async_queue cancelled;
	uint64_t next_timeout_ns; /* no pending check times out before this */
	uint64_t process;         /* of fork_mark.h */
	uint64_t ticket_count;    /* tickets that were made */
	bool collecting;          /* answers: then the timer is set once, when all are there */
	_Atomic bool dispatching;
	struct watch watch;
};

/* How a check ended. */
struct async_outcome {
	stint_callback *callback;
	void *arg;
	int status;
	struct stint_result result;
	unsigned char later[SIZED_LATER_MAX]; /* zeros: what a later struct stint_result has behind the result */
};

/* Initialises a struct that is all zero. process: its number, see fork_mark.h. */
void async_init(struct async *, struct channel *, uint64_t process);
void async_destroy(struct async *);

/* A channel_changed: registers the socket for the events that are wanted now, and sets the timer. The caller holds
 * the lock. */
void async_watch(void *async);

/* Does what stint_fd() does: returns the descriptor, or an error. */
int async_start_watching(struct async *);

/* Starts a check that the table had no answer for. Returns 0 and its ticket if it is pending, else an error, or
 * REQUEST_DECIDE_ALONE. */
int async_start(struct async *, const struct question *, stint_callback *, void *arg, uint64_t *ticket);

/* The same for a check of several limiters. If it is pending, *together is the check's, which frees it. */
int async_start_together(struct async *, struct together *, stint_callback *, void *arg, uint64_t *ticket);

/* Receives what came, and makes all finished checks due. Checks that finish while callbacks run are left for the
 * next time. */
void async_collect_due(struct async *);

/* Takes the outcome of the next due check; the check may then be reused. Returns false if there is none. */
bool async_take_due(struct async *, struct async_outcome *);

/* Cancels the checks of the limiter, or all when it is NULL: their answers will be ignored. The caller holds the
 * lock. */
void async_cancel(struct async *, const struct stint_limiter *);

/* Cancels the check with this ticket, and takes its outcome. Returns false if there is none. */
bool async_cancel_one(struct async *, uint64_t ticket, struct async_outcome *);

/* Takes the outcome of the limiter's next cancelled check, or of any when it is NULL. Returns false if there is
 * none. */
bool async_take_cancelled(struct async *, const struct stint_limiter *, struct async_outcome *);

#endif
