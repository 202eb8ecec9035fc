/*
 * watch.c - makes the epoll descriptor and its timer, recognises them, and sets
 * them.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "clock.h"
#include "descriptor.h"
#include "watch.h"

/* The library's periods lie between this and twice this, 68 to 136 years: no app waits for one, and the kernel's
 * limit is 292 years. */
#define PERIOD_MIN_NS ((UINT64_C(1) << 31) * NS_PER_S)

void watch_init(struct watch *w) {
	atomic_init(&w->epoll_fd, -1);
	atomic_init(&w->timer_fd, -1);
	atomic_init(&w->period_ns, 0);
}

void watch_forget(struct watch *w) {
	atomic_store(&w->epoll_fd, -1);
	atomic_store(&w->timer_fd, -1);
	w->running = false;
	w->timer_at_ns = 0;
	w->socket_events = 0;
}

/* ---- Whose the descriptors are ----------------------------------------------- */

static uint64_t to_ns(struct timespec t) {
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Returns a period that no other timer of the process has: two watches differ in their address, or in the
 * nanosecond in which they were made. */
static uint64_t choose_period(const struct watch *w) {
	uint64_t place = (uintptr_t)w / 16 % (UINT64_C(1) << 31);
	return PERIOD_MIN_NS + place * NS_PER_S + clock_fine_ns() % NS_PER_S;
}

static bool owns_timer(const struct watch *w) {
	int fd = atomic_load(&w->timer_fd);
	struct itimerspec timer;
	return fd >= 0 && timerfd_gettime(fd, &timer) == 0 && to_ns(timer.it_interval) == atomic_load(&w->period_ns);
}

/* EPOLL_CTL_MOD changes nothing when the timer is registered with the same events, and fails when it isn't
 * registered. */
static bool owns_epoll(const struct watch *w) {
	struct epoll_event event = {.events = EPOLLIN};
	int fd = atomic_load(&w->epoll_fd);
	return fd >= 0 && epoll_ctl(fd, EPOLL_CTL_MOD, atomic_load(&w->timer_fd), &event) == 0;
}

static bool owns_both(const struct watch *w) {
	return owns_timer(w) && owns_epoll(w);
}

void watch_close(struct watch *w) {
	if (owns_timer(w)) {
		if (owns_epoll(w))
			close(atomic_load(&w->epoll_fd));
		close(atomic_load(&w->timer_fd));
	}
	watch_forget(w);
}

/* ---- Making the descriptors ----------------------------------------------------- */

static bool set_timer(const struct watch *w, uint64_t at_ns) {
	struct itimerspec timer = {
		.it_value = clock_timespec(at_ns),
		.it_interval = clock_timespec(atomic_load(&w->period_ns)),
	};
	/* Setting the timer also cancels an expiry that nobody has read. */
	return timerfd_settime(atomic_load(&w->timer_fd), TFD_TIMER_ABSTIME, &timer, NULL) == 0;
}

static void close_if_open(int fd) {
	if (fd >= 0)
		close(fd);
}

/* Makes both descriptors. Checks that they are recognised, which a sandbox may prevent: otherwise each call of
 * stint_fd() would make another pair. */
static bool make(struct watch *w, uint64_t period_ns) {
	int timer_fd = descriptor_above_stdio(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
	int epoll_fd = timer_fd < 0 ? -1 : descriptor_above_stdio(epoll_create1(EPOLL_CLOEXEC));
	struct epoll_event event = {.events = EPOLLIN};
	atomic_store(&w->timer_fd, timer_fd);
	atomic_store(&w->epoll_fd, epoll_fd);
	atomic_store(&w->period_ns, period_ns);
	if (epoll_fd >= 0 && set_timer(w, 0) && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event) == 0 &&
	    owns_both(w))
		return true;
	int error = errno;
	close_if_open(timer_fd);
	close_if_open(epoll_fd);
	errno = error;
	return false;
}

/* Puts the new epoll instance behind the number of the instance that is shared with a parent. */
static bool move_to_shared(struct watch *fresh, const struct watch *shared) {
	int number = atomic_load(&shared->epoll_fd), fd = atomic_load(&fresh->epoll_fd);
	if (dup3(fd, number, O_CLOEXEC) < 0)
		return false;
	close(fd);
	close(atomic_load(&shared->timer_fd));
	atomic_store(&fresh->epoll_fd, number);
	return true;
}

static void copy(struct watch *w, const struct watch *from) {
	atomic_store(&w->epoll_fd, atomic_load(&from->epoll_fd));
	atomic_store(&w->timer_fd, atomic_load(&from->timer_fd));
	atomic_store(&w->period_ns, atomic_load(&from->period_ns));
}

bool watch_start(struct watch *w) {
	bool own = owns_both(w);
	struct watch fresh = {.running = false};
	if (own && w->running)
		return true;
	if (!own)
		watch_close(w);
	if (!make(&fresh, choose_period(w)))
		return false;
	if (own && !move_to_shared(&fresh, w)) {
		int error = errno;

		watch_close(&fresh);
		errno = error;
		return false;
	}
	copy(w, &fresh);
	w->running = true;
	return true;
}

void watch_inherit(struct watch *w, const struct watch *parents) {
	copy(w, parents);
}

/* ---- Using the descriptors ------------------------------------------------------- */

void watch_set_timer(struct watch *w, uint64_t at_ns) {
	if (!w->running || w->timer_at_ns == at_ns)
		return;
	if (!owns_timer(w)) {
		watch_close(w);
		return;
	}
	w->timer_at_ns = at_ns;
	set_timer(w, at_ns);
}

void watch_set_socket(struct watch *w, int fd, uint32_t events) {
	struct epoll_event event = {.events = events};
	int operation = w->socket_events == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
	if (!w->running || w->socket_events == events)
		return;
	if (!owns_both(w)) {
		watch_close(w);
		return;
	}
	/* When the kernel has no memory for this, the next check tries again. */
	if (epoll_ctl(atomic_load(&w->epoll_fd), operation, fd, &event) == 0 || events == 0)
		w->socket_events = events;
}
