/*
 * test_server_rude_apps.c - the agent's socket, and apps that don't behave: the agent cuts them off at the
 * first message that makes no sense, and they harm nobody else.
 */
#include "server_fixture.h"

#include <sys/syscall.h>

#include "log.h"
#include "random.h"
#include "stint.h"

/* The last line that the agent logged. */
static char said[512];

void log_line(enum log_level level, const char *format, ...) {
	va_list arguments;
	if (level == LOG_LEVEL_DEBUG)
		return;
	va_start(arguments, format);
	vsnprintf(said, sizeof(said), format, arguments);
	va_end(arguments);
}

/* ---- A socket that fails ----------------------------------------------------------------------- */

static int receiving_fails; /* once, with this error; 0: it doesn't */

/* In place of the C library's. */
int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout) {
	errno = receiving_fails;
	receiving_fails = 0;
	return errno ? -1 : (int)syscall(SYS_recvmmsg, fd, messages, count, flags, timeout);
}

/* Else the loop would be told of it again and again. */
static void whose_socket_fails_is_cut_off(void **state) {
	static const struct { int error, peers; } failures[] = {{EAGAIN, 1}, {EINTR, 1}, {EIO, 0}};
	struct fixture *f = *state;
	int fd = greet(f);
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		receiving_fails = failures[i].error;
		send_want(fd, 'a');
		turn(f);
		assert_int_equal(server_peer_count(f->server), failures[i].peers);
	}
	close(fd);
}

static void who_goes_is_not_blamed(void **state) {
	struct fixture *f = *state;
	int fd = greet(f);
	said[0] = '\0';
	close(fd);
	turn(f);
	assert_int_equal(server_peer_count(f->server), 0);
	assert_string_equal(said, "");
}

/* ---- Not reading ------------------------------------------------------------------------------ */

static void who_never_reads_is_cut_off(void **state) {
	struct fixture *f = *state;
	char message[1024] = {0};
	int fd = greet(f);
	say_want(f, fd, "x", 1);
	for (unsigned i = 0; i < 2 * SERVER_UNREAD_MAX / sizeof(message); i++)
		server_send(f->server, f->last_peer, message, sizeof(message));
	turn(f);
	assert_int_equal(server_peer_count(f->server), 0);
	close(fd);
}

/* The answer to one message of a burst may cut the app off, while that message is handled. */
static void an_app_may_be_cut_off_by_its_answer(void **state) {
	struct fixture *f = *state;
	int fd = greet(f);
	f->floods = true;
	for (int i = 0; i < 8; i++)
		send_want(fd, 'a');
	turn(f);
	f->floods = false;
	assert_string_equal(f->story, "Wa");
	assert_int_equal(server_peer_count(f->server), 0);
	close(fd);
}

static int allocations_left; /* of libevent; then one fails */

static void *allocate(size_t size) {
	return allocations_left-- == 0 ? NULL : malloc(size);
}

/* Answers an app that doesn't read, with more than the kernel keeps for it. */
static void leave_unread(struct fixture *f) {
	char message[4096] = {0};
	for (unsigned i = 0; i < SERVER_UNREAD_MAX / 2 / sizeof(message); i++)
		server_send(f->server, f->last_peer, message, sizeof(message));
}

/* Whichever allocation fails. */
static void whose_answers_have_no_room_is_cut_off(void **state) {
	struct fixture *f = *state;
	int cut_off = 0, fd;
	for (;; cut_off++) {
		fd = greet(f);
		say_want(f, fd, "x", 1);
		event_set_mem_functions(allocate, realloc, free);
		allocations_left = cut_off;
		leave_unread(f);
		event_set_mem_functions(malloc, realloc, free);
		turn(f);
		if (server_peer_count(f->server) > 0)
			break;
		assert_non_null(strstr(said, "out of memory"));
		close(fd);
	}
	assert_true(cut_off >= 3); /* the answers' room, the event, and a piece of the room */
	close(fd);
}

/* ---- Making no sense -------------------------------------------------------------------------- */

static void nothing_goes_before_hello(void **state) {
	struct fixture *f = *state;
	int fd = connect_app(f);
	say_want(f, fd, "x", 1);
	expect_cut_off(fd);
	assert_string_equal(f->story, "");
}

static void who_is_cut_off_is_said(void **state) {
	struct fixture *f = *state;
	char expected[128];
	int fd = connect_app(f);
	said[0] = '\0';
	say_want(f, fd, "x", 1);
	expect_cut_off(fd);
	snprintf(expected, sizeof(expected), "cut off an app, process %d of user %u: it didn't say hello first",
	         (int)getpid(), (unsigned)getuid());
	assert_string_equal(said, expected);
}

/* As when the agent was stopped meanwhile. */
static void who_has_gone_before_the_welcome_is_not_blamed(void **state) {
	struct fixture *f = *state;
	int fd = connect_app(f);
	struct wire_hello hello = hello_at(0);
	said[0] = '\0';
	assert_int_equal(send(fd, &hello, sizeof(hello), MSG_NOSIGNAL), sizeof(hello));
	close(fd);
	turn(f);
	assert_int_equal(server_peer_count(f->server), 0);
	assert_string_equal(said, "");
}

static void hello_is_said_once(void **state) {
	struct fixture *f = *state;
	int fd = greet(f);
	struct wire_hello hello = hello_at(0);
	say(f, fd, &hello, sizeof(hello));
	expect_cut_off(fd);
}

static void a_byte_at_a_time_is_no_message(void **state) {
	struct fixture *f = *state;
	int fd = connect_app(f);
	struct wire_hello hello = hello_at(0);
	say(f, fd, &hello, 1);
	expect_cut_off(fd);
	fd = greet(f);
	assert_int_equal(send(fd, &hello, 0, MSG_NOSIGNAL), 0); /* an empty message reads like the end */
	turn(f);
	assert_int_equal(server_peer_count(f->server), 0);
	close(fd);
}

static void lengths_are_checked(void **state) {
	struct fixture *f = *state;
	static const struct {
		uint16_t type;
		size_t least, most;
	} cases[] = {
		{WIRE_DECLARE, sizeof(struct wire_declare) + 1, sizeof(struct wire_declare) + STINT_POLICY_NAME_MAX},
		{WIRE_WANT, sizeof(struct wire_want) + 1, sizeof(struct wire_want) + STINT_CLIENT_ID_MAX},
		{WIRE_LOW, sizeof(struct wire_low) + 1, sizeof(struct wire_low) + STINT_CLIENT_ID_MAX},
		{WIRE_CHARGE, sizeof(struct wire_charge) + 1, sizeof(struct wire_charge) + STINT_CLIENT_ID_MAX},
		{WIRE_STATUS, sizeof(struct wire_head), sizeof(struct wire_head)},
		{WIRE_PING, sizeof(struct wire_head), sizeof(struct wire_head)},
	};
	char message[8192];
	memset(message, 'x', sizeof(message));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memcpy(message, &(struct wire_head){.type = cases[i].type}, sizeof(struct wire_head));
		const size_t bad[] =
			{1, 7, cases[i].least - 1, cases[i].most + 1, WIRE_MESSAGE_MAX, WIRE_MESSAGE_MAX + 1, sizeof(message)};
		for (size_t b = 0; b < sizeof(bad) / sizeof(bad[0]); b++) {
			int fd = greet(f);
			f->story[0] = '\0';
			say(f, fd, message, bad[b]);
			assert_string_equal(f->story, "");
			expect_cut_off(fd);
		}
		int fd = greet(f);
		say(f, fd, message, cases[i].least);
		say(f, fd, message, cases[i].most);
		assert_int_equal(server_peer_count(f->server), 1);
		close(fd);
		turn(f);
	}
}

static void types_are_checked(void **state) {
	struct fixture *f = *state;
	for (uint32_t type = 0; type < 70000; type += type < 20 ? 1 : 9999) {
		if (type == WIRE_DECLARE || type == WIRE_WANT || type == WIRE_LOW || type == WIRE_STATUS ||
		    type == WIRE_PING || type == WIRE_CHARGE)
			continue;
		struct wire_head head = {.type = (uint16_t)type};
		int fd = greet(f);
		say(f, fd, &head, sizeof(head));
		expect_cut_off(fd);
	}
}

/* ---- The others ------------------------------------------------------------------------------- */

static void nobody_is_heard_after_being_cut_off(void **state) {
	struct fixture *f = *state;
	int fd = greet(f), other = greet(f);
	send_want(fd, 'a');
	assert_int_equal(send(fd, "?", 1, MSG_NOSIGNAL), 1);
	send_want(fd, 'b');
	send_want(other, 'o');
	turn(f);
	assert_null(strchr(f->story, 'b'));
	assert_non_null(strstr(f->story, "Wa"));
	assert_non_null(strstr(f->story, "Wo"));
	assert_int_equal(server_peer_count(f->server), 1);
	close(fd);
	close(other);
}

static void garbage_harms_nobody(void **state) {
	struct fixture *f = *state;
	uint64_t random = 17;
	int good = greet(f);
	for (int i = 0; i < 2000; i++) {
		char message[512];
		size_t size = 1 + random_below(&random, sizeof(message));
		for (size_t n = 0; n < size; n++)
			message[n] = (char)random_next(&random);
		message[0] = (char)random_below(&random, 12); /* often of a known type */
		message[1] = 0;
		int fd = i % 2 ? greet(f) : connect_app(f);
		send(fd, message, size, MSG_NOSIGNAL);
		turn(f);
		close(fd);
	}
	turn(f);
	assert_int_equal(server_peer_count(f->server), 1);
	f->story[0] = '\0';
	say_want(f, good, "still here", 10);
	assert_string_equal(f->story, "Wstill here");
	close(good);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clean)
	const struct CMUnitTest tests[] = {
		TEST(who_goes_is_not_blamed),
		TEST(whose_socket_fails_is_cut_off),
		TEST(who_never_reads_is_cut_off),
		TEST(an_app_may_be_cut_off_by_its_answer),
		TEST(whose_answers_have_no_room_is_cut_off),
		TEST(nothing_goes_before_hello),
		TEST(hello_is_said_once),
		TEST(who_is_cut_off_is_said),
		TEST(who_has_gone_before_the_welcome_is_not_blamed),
		TEST(a_byte_at_a_time_is_no_message),
		TEST(lengths_are_checked),
		TEST(types_are_checked),
		TEST(nobody_is_heard_after_being_cut_off),
		TEST(garbage_harms_nobody),
	};
	return cmocka_run_group_tests_name("server_rude_apps", tests, NULL, NULL);
}
