/*
 * test_descriptors.c - apps that close descriptors that they don't know and open their own, and apps without standard input and
 * output: what is the app's stays as it is, and the library goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "async_fixture.h"

/* In the child of a fork. */
#define expect(condition) \
	do { \
		if (!(condition)) { \
			dprintf(errors, "child, line %d: %s\n", __LINE__, #condition); \
			leave(1); \
		} \
	} while (0)

static int errors = 2; /* where a child that closes 2 can still complain */

static void assert_child_is_well(pid_t child) {
	int status;

	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- What the library has open -------------------------------------------------------- */

#define NUMBERS 256

static bool was_open[NUMBERS];
static struct slot *low; /* of a client whose credits run low, when it has one */

static bool is_open(int fd) {
	return fcntl(fd, F_GETFD) >= 0;
}

static int setup_numbers(void **state) {
	setup(state);
	low = NULL;
	for (int fd = 0; fd < NUMBERS; fd++)
		was_open[fd] = is_open(fd);
	return 0;
}

static bool is_agents(struct fake_agent *a, int fd) {
	bool found = false;

	fake_agent_lock(a);
	for (int i = 0; i < a->connections; i++)
		found = found || a->connection[i] == fd;
	fake_agent_unlock(a);
	return found;
}

/* The numbers of the library's descriptors: what has been opened since, and not by the agent. */
static int find_numbers(struct fixture *f, int *number) {
	int count_ = 0;

	for (int fd = 0; fd < NUMBERS; fd++) {
		if (is_open(fd) && !was_open[fd] && !is_agents(&f->agent, fd))
			number[count_++] = fd;
	}
	return count_;
}

/* Has a connection, and a descriptor for a loop. Three numbers. */
static void attach(struct fixture *f, int number[static 3]) {
	assert_true(stint_fd(f->st) >= 0);
	assert_true(stint_is_allowed(f->api, "c"));
	assert_int_equal(find_numbers(f, number), 3);
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
	int number; /* that was the library's */
	int peer;   /* the other end, or what is registered */
	struct stat was;
};

static const struct itimerspec timer_setting = {.it_value = {5000, 0}, .it_interval = {77, 7}};

static int open_kind(struct owned *o) {
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = 4711};
	char path[] = "/tmp/stint-test-XXXXXX";
	int pair[2], fd = -1;

	switch (o->kind) {
	case KIND_STREAM:
	case KIND_PACKETS:
		assert_int_equal(socketpair(AF_UNIX, (o->kind == KIND_STREAM ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_CLOEXEC, 0, pair), 0);
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

/* Closes what is behind the number, and has a file of its own there. */
static struct owned take(enum kind kind, int number) {
	struct owned o = {.kind = kind, .number = number, .peer = -1};
	int fd = open_kind(&o);

	assert_true(fd >= 0);
	assert_int_equal(dup2(fd, number), number);
	close(fd);
	assert_int_equal(fstat(number, &o.was), 0);
	return o;
}

/* Neither replaced, nor closed, nor written to, nor read from, nor set; NULL, or what has happened to it. */
static const char *find_harm(const struct owned *o) {
	struct epoll_event event[4];
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
		if (epoll_wait(o->number, event, 4, 0) != 1 || event[0].data.u64 != 4711)
			return "an epoll instance with something else in it";
		return NULL;
	case KIND_TIMER:
		if (timerfd_gettime(o->number, &timer) != 0 || timer.it_interval.tv_sec != 77 || timer.it_value.tv_sec < 4000)
			return "a timer that was set";
		return NULL;
	default:
		return st.st_size == 0 && lseek(o->number, 0, SEEK_CUR) == 0 ? NULL : "a file that was written";
	}
}

static void give_back(const struct owned *o) {
	close(o->number);
	if (o->peer >= 0)
		close(o->peer);
}

static bool all_are_well(const struct owned *o, int n) {
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

/* Every way there is to the descriptors. */
static bool use_all(struct fixture *f) {
	struct pollfd p = {.events = POLLIN};
	struct stint_result r;

	/* Credits run low: a LOW, by the short way. */
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

static void have_low_credits(struct fixture *f) {
	if (!low)
		low = fake_table_put(&f->agent.table, 0, "low");
	atomic_store(&low->low_water, 2);
	fake_slot_lease(low, 0, 4, LATER, 0);
}

static void free_all(struct fixture *f) {
	stint_limiter_free(f->api);
	stint_limiter_free(f->patient);
	stint_close(f->st);
	f->api = f->patient = NULL;
	f->st = NULL;
}

static void what_the_app_has_closed_is_the_apps(void **state) {
	struct fixture *f = *state;

	for (int kind = 0; kind < KINDS; kind++) {
		struct owned o[3];
		int number[3];

		attach(f, number);
		have_low_credits(f);
		for (int i = 0; i < 3; i++)
			o[i] = take((enum kind)kind, number[i]);
		assert_true(use_all(f));
		assert_true(all_are_well(o, 3));
		assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.low), 0);
		free_all(f);
		assert_true(all_are_well(o, 3));
		for (int i = 0; i < 3; i++)
			give_back(&o[i]);
		teardown(state);
		setup_numbers(state);
		f = *state;
	}
}

/* Nothing is put in place of what was closed. */
static void what_the_app_has_just_closed_is_not_missed(void **state) {
	struct fixture *f = *state;
	int number[3];

	for (int round = 0; round < 3; round++) {
		attach(f, number);
		have_low_credits(f);
		/* All; or one of them. */
		for (int i = 0; i < 3; i++) {
			if (round == 0 || round == i)
				close(number[i]);
		}
		assert_true(use_all(f));
		teardown(state);
		setup_numbers(state);
		f = *state;
	}
}

/* Not even a check comes in between. */
static void closing_leaves_alone_what_is_the_apps(void **state) {
	struct fixture *f = *state;

	for (int kind = 0; kind < KINDS; kind++) {
		struct owned o[3];
		int number[3];

		attach(f, number);
		for (int i = 0; i < 3; i++)
			o[i] = take((enum kind)kind, number[i]);
		free_all(f);
		assert_true(all_are_well(o, 3));
		for (int i = 0; i < 3; i++)
			give_back(&o[i]);
		teardown(state);
		setup_numbers(state);
		f = *state;
	}
}

/* ---- In the child of a fork ----------------------------------------------------------------- */

static void be_a_daemon(struct fixture *f, enum kind kind, const int *number, bool checks) {
	struct owned o[3];

	for (int i = 0; i < 3; i++)
		o[i] = take(kind, number[i]);
	expect(!checks || use_all(f));
	expect(all_are_well(o, 3));
	free_all(f);
	expect(all_are_well(o, 3));
	leave(0);
}

/* The child has files of its own where the parent has its socket, its timer and its epoll instance; the parent notices nothing. */
static void what_a_child_has_closed_is_the_childs(void **state) {
	struct fixture *f = *state;
	unsigned hellos = 1;
	int number[3];

	attach(f, number);
	for (int kind = 0; kind < KINDS; kind++) {
		for (int checks = 0; checks < 2; checks++) {
			pid_t child;

			have_low_credits(f);
			child = fork();
			if (child == 0)
				be_a_daemon(f, (enum kind)kind, number, checks != 0);
			assert_child_is_well(child);
			hellos += (unsigned)checks;
			have_low_credits(f);
			assert_true(use_all(f));
			assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), hellos);
		}
	}
}

/* It has made a connection of its own first, and asks for a descriptor only after it has closed all. */
static void a_child_may_close_later(void **state) {
	struct fixture *f = *state;
	int number[3];
	pid_t child;

	attach(f, number);
	have_low_credits(f);
	child = fork();
	if (child == 0) {
		struct owned o[3];
		struct stint_result r;

		expect(stint_check(f->api, "c", 1, &r) == 0 && r.source == STINT_SOURCE_DATABASE);
		for (int i = 0; i < 3; i++)
			o[i] = take(KIND_EPOLL, number[i]);
		expect(use_all(f));
		expect(all_are_well(o, 3));
		leave(0);
	}
	assert_child_is_well(child);
}

/* Its loop has the number that the parent's has, and neither hears of the other's. */
static void a_child_keeps_the_number_of_its_loop(void **state) {
	struct fixture *f = *state;
	int number[3], fd;
	pid_t child;

	attach(f, number);
	fd = stint_fd(f->st);
	child = fork();
	if (child == 0) {
		int mine[8];

		expect(stint_fd(f->st) == fd);
		expect(start(f, "c") == 0);
		while (f->called == 0) {
			struct pollfd p = {.fd = fd, .events = POLLIN};

			expect(poll(&p, 1, 20000) == 1);
			stint_dispatch(f->st);
		}
		/* A socket, a timer, an epoll instance; the parent's are closed. */
		expect(find_numbers(f, mine) == 3);
		free_all(f);
		expect(find_numbers(f, mine) == 0);
		leave(0);
	}
	assert_child_is_well(child);
	assert_false(is_readable(f, 0));
	assert_int_equal(start(f, "c"), 0);
	loop(f, 1);
}

/* ---- Under a thread that waits ------------------------------------------------------------------ */

static void *wait_for_an_answer(void *arg) {
	struct fixture *f = arg;
	struct stint_limiter *hasty = limiter_new(f, 500);
	struct stint_result r;

	assert_int_equal(stint_check(hasty, "waiting", 1, &r), 0);
	stint_limiter_free(hasty);
	return NULL;
}

/* It sleeps on the old socket; who asks meanwhile need not wait for it. */
static void one_who_waits_holds_nobody_up(void **state) {
	struct fixture *f = *state;
	struct owned o[3];
	pthread_t thread;
	int number[3];

	attach(f, number);
	set(f, &f->agent.mute, true);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_an_answer, f), 0);
	fake_agent_await(&f->agent, &f->agent.counts.declare, 2);
	usleep(20000);
	for (int i = 0; i < 3; i++)
		o[i] = take(KIND_PACKETS, number[i]);
	set(f, &f->agent.mute, false);
	assert_int_equal(stint_check(f->patient, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_DATABASE);
	pthread_join(thread, NULL);
	assert_true(all_are_well(o, 3));
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 2);
	for (int i = 0; i < 3; i++)
		give_back(&o[i]);
}

/* ---- Without standard input and output ------------------------------------------------------------ */

static bool stdio_is_closed; /* in the child */
static int printed_into = -1; /* the app puts this behind 1 while a message is received */
static int received;

/* Stands in for the C library's: the moment at which what the agent has sent gets its numbers. */
ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
	ssize_t length;
	char byte;

	if (stdio_is_closed && printed_into >= 0)
		expect(dup2(printed_into, 1) == 1);
	length = syscall(SYS_recvmsg, fd, message, flags);
	if (!stdio_is_closed || length <= 0)
		return length;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		int fds[2];

		expect(c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(fds)));
		memcpy(fds, CMSG_DATA(c), sizeof(fds));
		expect(fds[0] > 2 && fds[1] > 2);
		/* Another thread that prints now, or reads, finds that it can't. */
		expect(read(0, &byte, 1) == -1 && errno == EBADF && write(2, "app", 3) == -1 && errno == EBADF);
		expect(printed_into >= 0 || (write(1, "app", 3) == -1 && errno == EBADF));
		received++;
	}
	return length;
}

static void go_without_stdio(struct fixture *f, bool prints) {
	struct stint_result r;
	int number[8];

	errors = fcntl(2, F_DUPFD_CLOEXEC, 100);
	was_open[errors] = true;
	if (prints) {
		printed_into = memfd_create("output", MFD_CLOEXEC);
		was_open[printed_into] = was_open[1] = true;
	}
	stdio_is_closed = true;
	for (int fd = 0; fd <= 2; fd++) {
		close(fd);
		was_open[fd] = fd == 1 && prints;
	}
	expect(stint_check(f->api, "c", 1, &r) == 0 && r.source == STINT_SOURCE_DATABASE);
	expect(received == 1);
	expect(stint_fd(f->st) > 2);
	expect(start(f, "c") == 0);
	while (f->called == 0)
		stint_dispatch(f->st);
	expect(f->source == STINT_SOURCE_DATABASE);
	expect(find_numbers(f, number) == 3);
	expect(number[0] > 2);
	expect(!prints || (write(1, "app", 3) == 3 && lseek(printed_into, 0, SEEK_END) == 3));
	free_all(f);
	expect(find_numbers(f, number) == 0);
	leave(0);
}

static void standard_numbers_are_never_taken(void **state) {
	struct fixture *f = *state;

	for (int prints = 0; prints < 2; prints++) {
		pid_t child = fork();

		if (child == 0)
			go_without_stdio(f, prints != 0);
		assert_child_is_well(child);
	}
}

int main(void) {
#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_numbers, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_the_app_has_closed_is_the_apps),
		TEST(what_the_app_has_just_closed_is_not_missed),
		TEST(closing_leaves_alone_what_is_the_apps),
		TEST(what_a_child_has_closed_is_the_childs),
		TEST(a_child_may_close_later),
		TEST(a_child_keeps_the_number_of_its_loop),
		TEST(one_who_waits_holds_nobody_up),
		TEST(standard_numbers_are_never_taken),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
