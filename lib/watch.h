/*
 * watch.h - stint_fd(): an epoll descriptor that holds two, the channel's socket
 * and a timer.
 *
 * All epoll instances and timers of a machine have one inode, so that doesn't
 * tell whether they are still the library's (descriptor.h). What tells is their
 * content: the timer has a period of its own, of which nobody ever sees the end;
 * an epoll instance that holds this timer is ours. Each is asked before anything
 * is changed. (So an instance is left open when the app has closed the timer
 * alone.)
 *
 * Under the channel's lock, but for watch_inherit() and watch_close().
 */
#ifndef STINT_WATCH_H
#define STINT_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct watch {
	_Atomic int epoll_fd; /* what stint_fd() returns; -1: not asked for yet, or the app has taken it */
	_Atomic int timer_fd;
	_Atomic uint64_t period_ns; /* the timer's */
	bool running;         /* they are this process's own, not shared with a parent */
	uint64_t timer_at_ns; /* CLOCK_MONOTONIC; 0: not set */
	uint32_t socket_events; /* what the socket is registered for; 0: not registered */
};

void watch_init(struct watch *);

/* Makes the descriptors, if they are not there: with nothing registered and no time set. False, with errno, when that can't be done. */
bool watch_start(struct watch *);

/* In the child of a fork: knows what the parent had, to replace it behind the same number when it is started. */
void watch_inherit(struct watch *, const struct watch *parents);

/* Knows nothing of them any more, and leaves them open. */
void watch_forget(struct watch *);

/* Readable from this time on; 0: never. */
void watch_set_timer(struct watch *, uint64_t at_ns);

/* Readable when these events are there for the socket. */
void watch_set_socket(struct watch *, int fd, uint32_t events);

/* Closes what is still the library's. Safe whatever a fork has left in it. */
void watch_close(struct watch *);

#endif
