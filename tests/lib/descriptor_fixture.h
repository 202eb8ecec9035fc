/*
 * descriptor_fixture.h - an app that closes the library's descriptors and has its own behind their numbers.
 */
#ifndef DESCRIPTOR_FIXTURE_H
#define DESCRIPTOR_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#include "async_fixture.h"
#include "child.h"

static bool is_child;

static inline pid_t fork_app(void) {
	pid_t child = fork();

	is_child = child == 0;
	return child;
}

/* ---- What the library has open -------------------------------------------------------- */

#define NUMBERS 256

static bool was_open[NUMBERS];
static struct slot *low; /* the slot of a client whose credits run low; NULL: there is none */

static inline bool is_open(int fd) {
	return fcntl(fd, F_GETFD) >= 0;
}

static inline int setup_numbers(void **state) {
	setup(state);
	low = NULL;
	for (int fd = 0; fd < NUMBERS; fd++)
		was_open[fd] = is_open(fd);
	return 0;
}

static inline bool is_agents(const struct fake_agent *a, int fd) {
	for (int i = 0; i < a->connections; i++) {
		if (a->connection[i] == fd)
			return true;
	}
	return false;
}

/* Finds the numbers of the library's descriptors: those that have been opened since, but not by the agent. The
 * agent is a thread, which a child of a fork doesn't have; its lock may be held for ever there. */
static inline int find_numbers(struct fixture *f, int number[static NUMBERS]) {
	int n = 0;

	if (!is_child)
		fake_agent_lock(&f->agent);
	for (int fd = 0; fd < NUMBERS; fd++) {
		if (is_open(fd) && !was_open[fd] && !is_agents(&f->agent, fd))
			number[n++] = fd;
	}
	if (!is_child)
		fake_agent_unlock(&f->agent);
	return n;
}

/* Opens a connection, and a descriptor for an event loop: three numbers. */
static inline void attach(struct fixture *f, int number[static 3]) {
	int found[NUMBERS];

	assert_true(stint_fd(f->st) >= 0);
	assert_true(stint_is_allowed(f->api, "c"));
	assert_int_equal(find_numbers(f, found), 3);
	memcpy(number, found, 3 * sizeof(int));
}

/* ---- What the app puts there -------------------------------------------------------------- */

enum kind {
	KIND_STREAM,
	KIND_PACKETS,
	KIND_EPOLL,
	KIND_TIMER,
	KIND_FILE,
	KINDS,
};

struct owned {
	enum kind kind;
	int number; /* the number that was the library's */
	int peer;   /* the other end of a socket, or what an epoll instance watches */
	struct stat was;
};

static const struct itimerspec timer_setting = {.it_value = {5000, 0}, .it_interval = {77, 7}};

static inline int open_kind(struct owned *o) {
	struct epoll_event event = {.events = EPOLLIN};
	char path[] = "/tmp/stint-test-XXXXXX";
	int pair[2], fd = -1;

	switch (o->kind) {
	case KIND_STREAM:
	case KIND_PACKETS:
		assert_int_equal(socketpair(AF_UNIX,
		                            (o->kind == KIND_STREAM ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_CLOEXEC, 0,
		                            pair),
		                 0);
		o->peer = pair[1];
		assert_int_equal(send(o->peer, "for the app", 11, 0), 11);
		return pair[0];
	case KIND_EPOLL:
		o->peer = eventfd(1, EFD_CLOEXEC);
		fd = epoll_create1(EPOLL_CLOEXEC);
		assert_int_equal(epoll_ctl(fd, EPOLL_CTL_ADD, o->peer, &event), 0);
		return fd;
	case KIND_TIMER:
		fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
		assert_int_equal(timerfd_settime(fd, 0, &timer_setting, NULL), 0);
		return fd;
	default:
		fd = mkostemp(path, O_CLOEXEC);
		unlink(path);
		return fd;
	}
}

/* The app closes what is behind the number, and opens a file of its own there. */
static inline struct owned take(enum kind kind, int number) {
	struct owned o = {.kind = kind, .number = number, .peer = -1};
	int fd = open_kind(&o);

	assert_true(fd >= 0);
	assert_int_equal(dup2(fd, number), number);
	close(fd);
	assert_int_equal(fstat(number, &o.was), 0);
	return o;
}

static inline int count_registered(int epoll_fd) {
	char path[64], line[128];
	FILE *info;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epoll_fd);
	info = fopen(path, "r");
	while (info && fgets(line, sizeof(line), info))
		n += strncmp(line, "tfd:", 4) == 0;
	if (info)
		fclose(info);
	return n;
}

/* Has the app's file been replaced, closed, written to, read from, or set? NULL, or what has happened to it. */
static inline const char *find_harm(const struct owned *o) {
	struct itimerspec timer;
	char bytes[64];
	struct stat st;

	if (fstat(o->number, &st) != 0 || st.st_ino != o->was.st_ino || st.st_dev != o->was.st_dev)
		return "closed or replaced";
	switch (o->kind) {
	case KIND_STREAM:
	case KIND_PACKETS:
		if (recv(o->peer, bytes, sizeof(bytes), MSG_DONTWAIT) >= 0 || errno != EAGAIN)
			return "written to, or shut down";
		return recv(o->number, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_PEEK) == 11 ? NULL : "read from";
	case KIND_EPOLL:
		return count_registered(o->number) == 1 ? NULL : "an epoll instance with something else in it";
	case KIND_TIMER:
		if (timerfd_gettime(o->number, &timer) != 0 || timer.it_interval.tv_sec != 77 ||
		    timer.it_value.tv_sec < 4000)
			return "a timer that was set";
		return NULL;
	default: return st.st_size == 0 && lseek(o->number, 0, SEEK_CUR) == 0 ? NULL : "a file that was written";
	}
}

static inline void give_back(const struct owned *o) {
	close(o->number);
	if (o->peer >= 0)
		close(o->peer);
}

static inline bool all_are_well(const struct owned *o, int n) {
	for (int i = 0; i < n; i++) {
		const char *harm = find_harm(&o[i]);

		if (!harm)
			continue;
		dprintf(errors, "the app's %d, of kind %d, is %s\n", o[i].number, (int)o[i].kind, harm);
		return false;
	}
	return true;
}

/* ---- What the library does then ------------------------------------------------------------- */

/* Uses the library's descriptors in every way there is. */
static inline bool use_all(struct fixture *f) {
	struct pollfd p = {.events = POLLIN};
	struct stint_result r;

	/* Credits run low: the library sends a LOW without waiting for anything. */
	if (stint_check(f->api, "low", 1, &r) != 0 || r.source != STINT_SOURCE_LEASE)
		return false;
	for (int i = 0; i < 2; i++) {
		if (stint_check(f->api, "c", 1, &r) != 0 || r.source != STINT_SOURCE_DATABASE)
			return false;
	}
	f->called = 0;
	if (start(f, "c") != 0)
		return false;
	while (f->called == 0) {
		p.fd = stint_fd(f->st);
		if (p.fd <= 2 || poll(&p, 1, 20000) != 1)
			return false;
		stint_dispatch(f->st);
	}
	return f->source == STINT_SOURCE_DATABASE;
}

static inline void have_low_credits(struct fixture *f) {
	if (!low)
		low = fake_table_put(&f->agent.table, 0, "low");
	atomic_store(&low->low_water, 2);
	fake_slot_lease(low, 0, 4, LATER, 0);
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_numbers, teardown)

#endif
