/*
 * watch.h - stint_fd(): an epoll descriptor that holds two, the channel's socket
 * and a timer.
 *
 * All epoll instances and timers of a machine have the same inode, so the inode
 * doesn't tell whether a descriptor is still the library's (descriptor.h). The
 * content does: the timer has a period of its own, which never ends; an epoll
 * instance that holds this timer is the library's. Both are checked before
 * anything is changed. (So the instance is left open when the app has closed the
 * timer alone.)
 *
 * The caller holds the channel's lock, except for watch_init(), watch_inherit(),
 * watch_forget() and watch_close().
 */
#ifndef STINT_WATCH_H
#define STINT_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct watch {
	_Atomic int epoll_fd; /* what stint_fd() returns; -1: it was not called yet, or the app has closed this */
	_Atomic int timer_fd;
	_Atomic uint64_t period_ns; /* the timer's period */
	bool running;               /* the descriptors are this process's own, not shared with a parent */
	uint64_t timer_at_ns;       /* when the timer expires, by CLOCK_MONOTONIC; 0: not set */
	uint32_t socket_events;     /* the events that the socket is registered for; 0: not registered */
};

void watch_init(struct watch *);

/* Makes the descriptors if there are none: the socket isn't registered and the timer isn't set. Returns false,
 * with errno, when that fails. */
bool watch_start(struct watch *);

/* In the child of a fork: notes the parent's descriptors, so that watch_start() can put a new one behind the same
 * number. */
void watch_inherit(struct watch *, const struct watch *parents);

/* Forgets the descriptors and leaves them open. */
void watch_forget(struct watch *);

/* Makes the epoll descriptor readable from this time on; 0: stops the timer. */
void watch_set_timer(struct watch *, uint64_t at_ns);

/* Makes the epoll descriptor readable when the socket has one of these events; 0: unregisters the socket. */
void watch_set_socket(struct watch *, int fd, uint32_t events);

/* Closes the descriptors that are still the library's. Safe whatever state a fork has left the struct in. */
void watch_close(struct watch *);

#endif
