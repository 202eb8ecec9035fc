/*
 * test_daemons.c - apps that become daemons: children that close what they inherited, and apps that have no
 * standard input and output.
 */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "descriptor_fixture.h"

/* ---- In the child of a fork ----------------------------------------------------------------- */

static void be_a_daemon(struct fixture *f, enum kind kind, const int *number, bool checks) {
	struct owned o[3];

	for (int i = 0; i < 3; i++)
		o[i] = take(kind, number[i]);
	expect(!checks || use_all(f));
	expect(all_are_well(o, 3));
	app_close(f);
	expect(all_are_well(o, 3));
	leave(0);
}

/* The child has files of its own where the parent has its socket, its timer and its epoll instance; the parent
 * notices nothing. */
static void what_a_child_has_closed_is_the_childs(void **state) {
	struct fixture *f = *state;
	unsigned hellos = 1;
	int number[3];

	attach(f, number);
	for (int kind = 0; kind < KINDS; kind++) {
		for (int checks = 0; checks < 2; checks++) {
			pid_t child;

			have_low_credits(f);
			child = fork_app();
			if (child == 0)
				be_a_daemon(f, (enum kind)kind, number, checks != 0);
			assert_true(is_well(child));
			hellos += (unsigned)checks;
			have_low_credits(f);
			assert_true(use_all(f));
			assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), hellos);
		}
	}
}

/* The child first makes a connection of its own, then closes all, and only then asks for a descriptor. */
static void a_child_may_close_later(void **state) {
	struct fixture *f = *state;
	int number[3];
	pid_t child;

	attach(f, number);
	have_low_credits(f);
	child = fork_app();
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
	assert_true(is_well(child));
}

static bool is_busy;

/* Takes the place of the C library's. */
int dup3(int fd, int number, int flags) {
	if (is_busy) {
		errno = EBUSY;
		return -1;
	}
	return (int)syscall(SYS_dup3, fd, number, flags);
}

/* The child's loop has the same number as the parent's, and neither hears of the other's events. */
static void a_child_keeps_the_number_of_its_loop(void **state) {
	struct fixture *f = *state;
	int number[3], fd;
	pid_t child;

	attach(f, number);
	fd = stint_fd(f->st);
	child = fork_app();
	if (child == 0) {
		int mine[NUMBERS];

		is_busy = true;
		expect(stint_fd(f->st) == STINT_ESYSTEM);
		is_busy = false;
		expect(stint_fd(f->st) == fd);
		expect(start(f, "c") == 0);
		while (f->called == 0) {
			struct pollfd p = {.fd = fd, .events = POLLIN};

			expect(poll(&p, 1, 20000) == 1);
			stint_dispatch(f->st);
		}
		/* A socket, a timer, an epoll instance; the parent's are closed. */
		expect(find_numbers(f, mine) == 3);
		app_close(f);
		expect(find_numbers(f, mine) == 0);
		leave(0);
	}
	assert_true(is_well(child));
	assert_false(is_readable(f, 0));
	assert_int_equal(start(f, "c"), 0);
	loop(f, 1);
}

/* ---- Without standard input and output ------------------------------------------------------------ */

static bool stdio_is_closed;  /* read in the child */
static int printed_into = -1; /* the app puts this behind 1 while the first message is received */
static int received;

/* Takes the place of the C library's: the descriptors that the agent has sent get their numbers here. */
ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
	ssize_t length;
	char byte;

	if (stdio_is_closed && printed_into >= 0 && received == 0)
		expect(dup2(printed_into, 1) == 1);
	length = syscall(SYS_recvmsg, fd, message, flags);
	if (!stdio_is_closed || length <= 0)
		return length;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		int fds[2];

		expect(c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(fds)));
		memcpy(fds, CMSG_DATA(c), sizeof(fds));
		expect(fds[0] > 2 && fds[1] > 2);
		/* Another thread that prints or reads now finds that it can't. */
		expect(read(0, &byte, 1) == -1 && errno == EBADF && write(2, "app", 3) == -1 && errno == EBADF);
		expect(printed_into >= 0 || (write(1, "app", 3) == -1 && errno == EBADF));
		received++;
	}
	return length;
}

static void go_without_stdio(struct fixture *f, bool prints) {
	struct stint_result r;
	int number[NUMBERS];

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
	app_close(f);
	expect(find_numbers(f, number) == 0);
	leave(0);
}

static void standard_numbers_are_never_taken(void **state) {
	struct fixture *f = *state;

	for (int prints = 0; prints < 2; prints++) {
		pid_t child = fork_app();

		if (child == 0)
			go_without_stdio(f, prints != 0);
		assert_true(is_well(child));
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(what_a_child_has_closed_is_the_childs),
		TEST(a_child_may_close_later),
		TEST(a_child_keeps_the_number_of_its_loop),
		TEST(standard_numbers_are_never_taken),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
