/*
 * wait.c - channel_ask(): many threads wait for their answers on one socket.
 */
#include <poll.h>

#include "channel.h"
#include "clock.h"

/* A sleeping leader can't be told that a request has found the socket full. So that request's thread wakes up
 * after this time, and sends the request itself if the socket has room. */
#define RETRY_SEND_NS (10 * NS_PER_MS)

struct waiter {
	struct request request;
	pthread_cond_t wake;
	TAILQ_ENTRY(waiter) link;
};

/* Makes a condition that waits by CLOCK_MONOTONIC, as all deadlines do: a stepped wall clock must not make anybody
 * wait longer. */
static bool condition_init(pthread_cond_t *condition) {
	pthread_condattr_t attributes;
	if (pthread_condattr_init(&attributes) != 0)
		return false;
	bool made = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
	            pthread_cond_init(condition, &attributes) == 0;
	pthread_condattr_destroy(&attributes);
	return made;
}

/* Wakes the request's thread: another thread has received its answer, or the connection broke. */
static void wake_waiter(struct request *r) {
	/* The request is the first member of its waiter. */
	pthread_cond_signal(&((struct waiter *)r)->wake);
}

/* Sleeps on the socket without the lock, then receives what came, for all waiters. Without a connection, sleeps
 * until the next attempt to connect is due, and makes it. */
static void lead(struct channel *ch, uint64_t until_ns) {
	bool away = ch->state == CHANNEL_AWAY;
	struct pollfd socket = {.fd = away ? -1 : atomic_load(&ch->socket.number), .events = POLLIN};
	if (away && ch->next_attempt_ns < until_ns)
		until_ns = ch->next_attempt_ns;
	struct timespec left = clock_timespec(clock_left_ns(clock_fine_ns(), until_ns));
	if (!TAILQ_EMPTY(&ch->outstanding.unsent))
		socket.events |= POLLOUT;
	ch->led = true;
	pthread_mutex_unlock(&ch->lock);
	ppoll(&socket, 1, &left, NULL);
	pthread_mutex_lock(&ch->lock);
	ch->led = false;
	channel_receive(ch);
	channel_look_for_agent(ch);
}

static void follow(struct channel *ch, struct waiter *w, uint64_t until_ns) {
	struct timespec until = clock_timespec(until_ns);
	pthread_cond_timedwait(&w->wake, &ch->lock, &until);
}

static void wait_until_finished(struct channel *ch, struct waiter *w) {
	struct request *r = &w->request;
	while (r->step != REQUEST_FINISHED) {
		uint64_t now_ns = clock_fine_ns();
		uint64_t until_ns = r->give_up_ns;

		if (now_ns >= r->give_up_ns) {
			/* If this process was stopped, the answer may lie in the socket, or the agent may be back. */
			channel_receive(ch);
			channel_look_for_agent(ch);
			if (r->step != REQUEST_FINISHED)
				channel_give_up(ch, r);
			return;
		}
		if (r->unsent && now_ns + RETRY_SEND_NS < until_ns)
			until_ns = now_ns + RETRY_SEND_NS;
		if (!ch->led) {
			lead(ch, until_ns);
			continue;
		}
		follow(ch, w, until_ns);
		if (r->unsent)
			channel_receive(ch);
	}
}

/* Asks again, while there is time, when an admission is void on arrival. */
static int ask(struct channel *ch, struct waiter *w) {
	do {
		int status = channel_submit(ch, &w->request);
		if (status != 0)
			return status;
		wait_until_finished(ch, w);
	} while (request_is_void(&w->request) && clock_fine_ns() < w->request.give_up_ns);
	return request_is_void(&w->request) ? REQUEST_DECIDE_ALONE : w->request.status;
}

/* Wakes the next leader if there is none: as long as threads wait, one must listen on the socket. */
static void hand_over(struct channel *ch) {
	if (!ch->led && !TAILQ_EMPTY(&ch->waiters))
		pthread_cond_signal(&TAILQ_FIRST(&ch->waiters)->wake);
}

int channel_ask(struct channel *ch, struct request *request) {
	struct waiter w = {.request = *request};
	w.request.finished = wake_waiter;
	if (!condition_init(&w.wake))
		return REQUEST_DECIDE_ALONE;
	/* Also while it waits, without the lock, the thread isn't cancelled: it would leave pointers to its stack in
	 * the queues. */
	int cancel_state = channel_lock(ch);
	TAILQ_INSERT_TAIL(&ch->waiters, &w, link);
	int status = ask(ch, &w);
	TAILQ_REMOVE(&ch->waiters, &w, link);
	hand_over(ch);
	if (status < 0)
		channel_explain(ch, &w.request, status);
	channel_unlock(ch, cancel_state);
	pthread_cond_destroy(&w.wake);
	*request = w.request;
	return status;
}
