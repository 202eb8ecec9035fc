/*
 * channel.h - one process's conversation with the agent.
 *
 * All threads share one socket. The lock is held for moments only, to submit a
 * request, and to send and receive without waiting; no thread holds it while it
 * waits.
 *
 * Waiting. One of the waiting threads leads: it sleeps on the socket, receives
 * whatever arrives, and wakes the threads whose answers came. The others sleep on
 * a condition of their own. A leader that has its answer hands over to the next.
 *
 * When the connection breaks, outstanding requests wait for the next one, and are
 * sent again on it, once. While requests wait, the leading thread, or
 * stint_dispatch(), tries to connect again and again. Nobody waits for an agent
 * that has been missed for too long (absence.h).
 *
 * The socket keeps one descriptor number for as long as the app leaves it alone (a
 * new socket is moved to it), so that a LOW can be sent without the lock: at worst
 * it reaches a newer connection, where it is a harmless hint. Each time, the
 * library checks whether the app has taken the number (descriptor.h).
 */
#ifndef STINT_CHANNEL_H
#define STINT_CHANNEL_H

#include <pthread.h>

#include "descriptor.h"
#include "outstanding.h"
#include "stintd.h"

enum channel_state {
	CHANNEL_AWAY,     /* no connection */
	CHANNEL_GREETING, /* HELLO is sent */
	CHANNEL_READY,    /* WELCOME came, the table is mapped */
};

struct waiter;
TAILQ_HEAD(waiter_queue, waiter);

/* Tells the observer that the events to wait for on the socket, or the time to wait until, may have changed. The
 * caller holds the channel's lock. */
typedef void channel_changed(void *observer);

struct channel {
	struct stintd *stintd;
	channel_changed *changed;
	void *observer;
	struct descriptor socket;
	_Atomic uint64_t connection; /* the present connection's number, of struct stintd.connections */

	pthread_mutex_t lock; /* protects everything below */
	enum channel_state state;
	uint64_t next_attempt_ns;
	uint64_t backoff_ns;
	uint64_t random; /* for the backoff */
	int refusal;     /* the error for which the agent refused us or was refused; 0 if it is just away */
	char refusal_detail[256];
	struct mapping *mapping;

	uint64_t heard;           /* how many messages have come, in all */
	uint64_t silent_until_ns; /* a request timed out and no message came meanwhile: nobody waits until then */

	struct outstanding outstanding;
	struct waiter_queue waiters;
	bool led; /* a thread sleeps on the socket */
};

/* Initialises a channel that is all zero. Returns false if there is no memory. */
bool channel_init(struct channel *, struct stintd *, channel_changed *, void *observer);
void channel_destroy(struct channel *);

/* Closes the socket that the child of a fork inherited, and touches nothing that a thread of the parent may have
 * held. */
void channel_abandon(struct channel *);

/* Takes the channel's lock, and gives it back. A thread that is cancelled in between ends later: the lock would
 * never be free again. The first returns what the second restores. */
int channel_lock(struct channel *);
void channel_unlock(struct channel *, int cancel_state);

/* Asks the agent and waits, no longer than the request's time. Returns 0, an error, or REQUEST_DECIDE_ALONE. */
int channel_ask(struct channel *, struct request *);

/* Tells the agent that a client's credits run low, if the message can be sent at once. Needs no lock. */
void channel_send_low(struct channel *, const struct stint_limiter *, const char *id, size_t id_length);

/* Sends a CHARGE. Returns false when it wasn't sent: the agent doesn't know of it. */
bool channel_send_charge(struct channel *, const struct question *);

/* ---- The caller of these holds the channel's lock ---- */

/* Submits a request and returns 0. Or returns at once what channel_ask() would return: then the request is
 * finished. */
int channel_submit(struct channel *, struct request *);

/* Takes a request back; its answer will be ignored. */
void channel_withdraw(struct channel *, struct request *);

/* Withdraws a request whose time is up, after channel_receive(). Notices when the agent has sent nothing at all
 * meanwhile. */
void channel_give_up(struct channel *, struct request *);

/* Receives what has arrived, while requests are outstanding, and sends the messages that found the socket full.
 * Never waits. */
void channel_receive(struct channel *);

/* Tries to connect, if requests wait for an agent that isn't there and next_attempt_ns has passed. Ends those that
 * need not wait any longer. Never waits. */
void channel_look_for_agent(struct channel *);

/* Forgets the limiter's DECLARE, since the limiter is about to be freed: an answer will be ignored. */
void channel_forget(struct channel *, struct stint_limiter *);

/* Sets the calling thread's detail for a request that ended with this error. */
void channel_explain(const struct channel *, const struct request *, int error);

#endif
