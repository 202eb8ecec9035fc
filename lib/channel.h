/*
 * channel.h - one process's conversation with the agent.
 *
 * All threads share one socket. The lock is held for moments only: to put a
 * request in, to send and receive without waiting; never while somebody waits.
 *
 * Waiting. Of the threads that wait, one leads: it sleeps on the socket, takes in
 * whatever arrives, and wakes whose answer it was. The others sleep on a condition
 * of their own. A leader that has its answer hands over to the next.
 *
 * When the connection breaks, requests under way wait for the next one, and are
 * said again on it, once. While somebody waits, connecting is tried again and
 * again: by the thread that leads, or by stint_dispatch(). An agent that has been
 * missed for too long (absence.h) is not waited for.
 *
 * The socket keeps one descriptor number for as long as the app leaves it alone (a
 * new one is moved to it), so that a LOW can be sent without the lock: at worst it
 * reaches a newer connection, where it is a harmless hint. Whether the app has
 * taken the number is looked at each time (descriptor.h).
 */
#ifndef STINT_CHANNEL_H
#define STINT_CHANNEL_H

#include <pthread.h>

#include "descriptor.h"
#include "outstanding.h"
#include "stintd.h"

enum channel_state {
	CHANNEL_AWAY,     /* no connection */
	CHANNEL_GREETING, /* HELLO is out */
	CHANNEL_READY,    /* WELCOME came, the table is mapped */
};

struct waiter;
TAILQ_HEAD(waiter_queue, waiter);

/* Under the lock: what is to be waited for on the socket, or until when, may be different now. */
typedef void channel_changed(void *observer);

struct channel {
	struct stintd *stintd;
	channel_changed *changed;
	void *observer;
	struct descriptor socket;
	_Atomic uint64_t connection; /* the present one's number, of struct stintd.connections */

	pthread_mutex_t lock; /* for all that follows */
	enum channel_state state;
	uint64_t next_attempt_ns;
	uint64_t backoff_ns;
	uint64_t random; /* for the backoff */
	int refusal; /* why the agent turned us down or was turned down, 0 if it is just away */
	char refusal_detail[256];
	struct mapping *mapping;

	uint64_t heard;           /* messages, in all */
	uint64_t silent_until_ns; /* a request timed out and nothing was heard meanwhile: nobody waits until then */

	struct outstanding outstanding;
	struct waiter_queue waiters;
	bool led; /* a thread sleeps on the socket */
};

/* Of a channel that is all zero. False when there is no memory. */
bool channel_init(struct channel *, struct stintd *, channel_changed *, void *observer);
void channel_destroy(struct channel *);

/* Closes what the child of a fork inherited and doesn't need, touching nothing that a vanished thread may have held. */
void channel_abandon(struct channel *);

/* Asks and waits, no longer than the request's time. 0, an error, or REQUEST_DECIDE_ALONE. */
int channel_ask(struct channel *, struct request *);

/* Tells the agent that a client's credits run low, if that can be done at once. Needs no lock. */
void channel_send_low(struct channel *, const struct stint_limiter *, const char *id, size_t id_length);

/* ---- Under the lock ---- */

/* Puts a request on its way: 0. Or says at once what channel_ask() would return, and it is not under way. */
int channel_submit(struct channel *, struct request *);

/* Takes a request back; its answer will be ignored. */
void channel_withdraw(struct channel *, struct request *);

/* A request's time is up, and what has arrived is taken in: withdraws it, and notices when the agent says nothing at all any more. */
void channel_give_up(struct channel *, struct request *);

/* Takes in what has arrived, until nobody waits for more, and sends what was left over. Never waits. */
void channel_receive(struct channel *);

/* While requests wait for an agent that isn't there: tries to connect when that is due, the next time at next_attempt_ns. Never waits. */
void channel_look_for_agent(struct channel *);

/* The limiter's DECLARE will have no answer: it is about to be freed. */
void channel_forget(struct channel *, struct stint_limiter *);

/* The calling thread's detail for a request that ended with an error. */
void channel_explain(const struct channel *, const struct request *, int error);

#endif
