/*
 * test_server.c - the agent's socket against apps that behave and apps that don't.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "layout.h"
#include "random.h"
#include "server.h"
#include "stint.h"

#define GENERATION UINT64_C(0x1122334455667788)

static char dir[] = "/tmp/stint-test-server.XXXXXX", path[64];
static struct event_base *base;
static struct server *server;
static char error[SERVER_ERROR_MAX];
static char story[256]; /* a letter for each message that got through, and its text */
static server_peer last_peer;
static struct wire_declare last_declare;
static struct wire_want last_want;
static bool floods; /* answers each WANT with more than anybody may leave unread */

static void tell(char what, const char *text, size_t length) {
	size_t end = strlen(story);
	if (end + length + 2 < sizeof story)
		snprintf(story + end, sizeof story - end, "%c%.*s", what, (int)length, text);
}

static void on_declare(void *context, server_peer peer, const struct wire_declare *message, const char *text, size_t length) {
	(void)context;
	last_peer = peer;
	last_declare = *message;
	tell('D', text, length);
}

static void on_want(void *context, server_peer peer, const struct wire_want *message, const char *text, size_t length) {
	char answer[1024] = {0};
	(void)context;
	last_peer = peer;
	last_want = *message;
	tell('W', text, length);
	for (size_t sent = 0; floods && sent < 2 * SERVER_UNREAD_MAX; sent += sizeof answer)
		server_send(server, peer, answer, sizeof answer);
}

static void on_low(void *context, const struct wire_low *message, const char *text, size_t length) {
	(void)context, (void)message;
	tell('L', text, length);
}

static void on_status(void *context, server_peer peer, uint32_t serial) {
	(void)context, (void)serial;
	last_peer = peer;
	tell('S', "", 0);
}

static const struct server_events events = {on_declare, on_want, on_low, on_status};

static int start(void) {
	struct server_options options = {.socket_path = path, .directory_fd = 0, .table_fd = 1, .generation = GENERATION};
	return server_new(&server, base, &options, &events, NULL, error);
}

static int make(void **state) {
	(void)state;
	story[0] = '\0';
	base = event_base_new();
	return base ? start() : -1;
}

static int clean(void **state) {
	(void)state;
	server_free(server);
	event_base_free(base);
	return access(path, F_OK) == 0 ? -1 : 0;
}

static int make_directory(void **state) {
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/agent.sock", dir);
	return 0;
}

static int remove_directory(void **state) {
	(void)state;
	return rmdir(dir);
}

/* ---- An app ------------------------------------------------------------------------------------ */

static void turn(void) {
	for (int i = 0; i < 4; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static int connect_app(void) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	strcpy(address.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	turn();
	return fd;
}

static void say(int fd, const void *message, size_t size) {
	assert_int_equal(send(fd, message, size, MSG_NOSIGNAL), size);
	turn();
}

static struct wire_hello hello_at(int64_t offset_ns) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (struct wire_hello){
		.head.type = WIRE_HELLO, .wire_version = WIRE_VERSION, .layout_version = LAYOUT_VERSION,
		.monotonic_ns = (uint64_t)((int64_t)now.tv_sec * 1000000000 + now.tv_nsec + offset_ns),
	};
}

/* The WELCOME, and how many descriptors came with it. */
static struct wire_welcome receive_welcome(int fd, char *sentence, size_t size, size_t *descriptors) {
	struct wire_welcome welcome = {.status = 1};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control;
	struct iovec parts[] = {{&welcome, sizeof welcome}, {sentence, size - 1}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
	ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	assert_true(got >= (ssize_t)sizeof welcome);
	sentence[(size_t)got - sizeof welcome] = '\0';
	*descriptors = 0;
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	if (rights) {
		*descriptors = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < *descriptors; i++) {
			int received;
			memcpy(&received, CMSG_DATA(rights) + i * sizeof received, sizeof received);
			close(received);
		}
	}
	return welcome;
}

static int greet(void) {
	char sentence[256];
	size_t descriptors;
	int fd = connect_app();
	struct wire_hello hello = hello_at(0);
	say(fd, &hello, sizeof hello);
	struct wire_welcome welcome = receive_welcome(fd, sentence, sizeof sentence, &descriptors);
	assert_int_equal(welcome.status, 0);
	assert_int_equal(welcome.head.type, WIRE_WELCOME);
	assert_true(welcome.generation == GENERATION);
	assert_int_equal(descriptors, 2);
	return fd;
}

static void expect_cut_off(int fd) {
	char byte;
	ssize_t got = recv(fd, &byte, 1, 0);
	if (got != 0 && !(got < 0 && errno == ECONNRESET))
		fail_msg("still connected: %zd %s", got, strerror(errno));
	close(fd);
}

static void say_with_text(int fd, const void *head, size_t size, const char *text, size_t length) {
	char message[8192] = {0};
	memcpy(message, head, size);
	memcpy(message + size, text, length);
	say(fd, message, size + length);
}

static void say_want(int fd, const char *id, size_t length) {
	struct wire_want want = {.head = {.type = WIRE_WANT, .serial = 5}, .policy = 2, .cost = 3, .timeout_ms = 100};
	say_with_text(fd, &want, sizeof want, id, length);
}

/* Without waiting until it is heard. */
static void send_want(int fd, char id) {
	struct {
		struct wire_want want;
		char id;
	} message = {.want.head.type = WIRE_WANT, .id = id};
	size_t size = sizeof message.want + 1;
	assert_int_equal(send(fd, &message, size, MSG_NOSIGNAL), size);
}

/* ---- Those who behave ----------------------------------------------------------------------------- */

static void messages_arrive_with_their_text(void **state) {
	(void)state;
	int fd = greet();
	struct wire_declare declare = {.head = {.type = WIRE_DECLARE, .serial = 4}, .max_requests = 77};
	struct wire_low low = {.head.type = WIRE_LOW};
	struct wire_head status = {.type = WIRE_STATUS};
	say_with_text(fd, &declare, sizeof declare, "api", 3);
	say_want(fd, "client", 6);
	say_with_text(fd, &low, sizeof low, "b", 1);
	say(fd, &status, sizeof status);
	assert_string_equal(story, "DapiWclientLbS");
	assert_int_equal(last_declare.max_requests, 77);
	assert_int_equal(last_want.cost, 3);
	assert_int_equal(last_want.head.serial, 5);
	close(fd);
	turn();
	assert_int_equal(server_peer_count(server), 0);
}

static void answers_go_to_who_asked(void **state) {
	(void)state;
	char got[64];
	int one = greet(), two = greet();
	say_want(one, "x", 1);
	server_peer first = last_peer;
	say_want(two, "y", 1);
	assert_true(last_peer != first);
	server_send(server, first, "one", 3);
	server_send(server, last_peer, "two", 3);
	assert_int_equal(recv(one, got, sizeof got, 0), 3);
	assert_memory_equal(got, "one", 3);
	assert_int_equal(recv(two, got, sizeof got, 0), 3);
	assert_memory_equal(got, "two", 3);
	close(one);
	turn();
	int three = greet(); /* has the place of the first, but not its name */
	server_send(server, first, "late", 4);
	assert_int_equal(recv(three, got, sizeof got, 0), -1);
	close(two);
	close(three);
}

static void many_apps_at_once(void **state) {
	(void)state;
	int fds[300];
	for (int i = 0; i < 300; i++)
		fds[i] = greet();
	assert_int_equal(server_peer_count(server), 300);
	for (int i = 0; i < 300; i++)
		close(fds[i]);
	turn();
	assert_int_equal(server_peer_count(server), 0);
	close(greet());
}

static void what_cannot_be_sent_at_once_is_kept_in_order(void **state) {
	(void)state;
	int fd = greet();
	uint32_t numbers[64] = {0}, expected = 0;
	say_want(fd, "x", 1);
	for (uint32_t i = 0; i < 4000; i++) {
		numbers[0] = i;
		server_send(server, last_peer, numbers, sizeof numbers);
	}
	for (int patience = 0; expected < 4000 && patience < 100000; patience++) {
		if (recv(fd, numbers, sizeof numbers, 0) == sizeof numbers)
			assert_int_equal(numbers[0], expected++);
		else
			turn();
	}
	assert_int_equal(expected, 4000);
	close(fd);
}

/* More at once than the server takes from one app in a turn. */
static void a_burst_is_heard_in_order_to_its_end(void **state) {
	(void)state;
	char expected[sizeof story] = "";
	int fd = greet();
	for (int i = 0; i < 70; i++) {
		send_want(fd, (char)('a' + i % 26));
		snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "W%c", 'a' + i % 26);
	}
	close(fd); /* what was said before the end counts */
	turn();
	assert_string_equal(story, expected);
	assert_int_equal(server_peer_count(server), 0);
}

/* The lowest descriptor that is free. */
static int next_descriptor(void) {
	int fd = dup(0);
	assert_true(fd >= 0);
	close(fd);
	return fd;
}

static void without_a_descriptor_apps_wait_until_there_is_one(void **state) {
	(void)state;
	struct rlimit before, tight;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	tight = before;
	tight.rlim_cur = (rlim_t)next_descriptor() + 1; /* the app's own */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	int fd = connect_app();
	assert_int_equal(server_peer_count(server), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (int patience = 0; server_peer_count(server) == 0 && patience < 1000; patience++) {
		usleep(5000);
		turn();
	}
	assert_int_equal(server_peer_count(server), 1);
	close(fd);
}

/* ---- Those who don't --------------------------------------------------------------------------------- */

static void who_never_reads_is_cut_off(void **state) {
	(void)state;
	char message[1024] = {0};
	int fd = greet();
	say_want(fd, "x", 1);
	for (unsigned i = 0; i < 2 * SERVER_UNREAD_MAX / sizeof message; i++)
		server_send(server, last_peer, message, sizeof message);
	turn();
	assert_int_equal(server_peer_count(server), 0);
	close(fd);
}

static void nothing_goes_before_hello(void **state) {
	(void)state;
	int fd = connect_app();
	say_want(fd, "x", 1);
	expect_cut_off(fd);
	assert_string_equal(story, "");
}

static void hello_is_said_once(void **state) {
	(void)state;
	int fd = greet();
	struct wire_hello hello = hello_at(0);
	say(fd, &hello, sizeof hello);
	expect_cut_off(fd);
}

static void a_byte_at_a_time_is_no_message(void **state) {
	(void)state;
	int fd = connect_app();
	struct wire_hello hello = hello_at(0);
	say(fd, &hello, 1);
	expect_cut_off(fd);
	fd = greet();
	assert_int_equal(send(fd, &hello, 0, MSG_NOSIGNAL), 0); /* nothing at all reads as the end */
	turn();
	assert_int_equal(server_peer_count(server), 0);
	close(fd);
}

static void lengths_are_checked(void **state) {
	(void)state;
	static const struct {
		uint16_t type;
		size_t least, most;
	} cases[] = {
		{WIRE_DECLARE, sizeof(struct wire_declare) + 1, sizeof(struct wire_declare) + STINT_POLICY_NAME_MAX},
		{WIRE_WANT, sizeof(struct wire_want) + 1, sizeof(struct wire_want) + STINT_CLIENT_ID_MAX},
		{WIRE_LOW, sizeof(struct wire_low) + 1, sizeof(struct wire_low) + STINT_CLIENT_ID_MAX},
		{WIRE_STATUS, sizeof(struct wire_head), sizeof(struct wire_head)},
	};
	char message[8192];
	memset(message, 'x', sizeof message);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		memcpy(message, &(struct wire_head){.type = cases[i].type}, sizeof(struct wire_head));
		const size_t bad[] = {1, 7, cases[i].least - 1, cases[i].most + 1, WIRE_MESSAGE_MAX, WIRE_MESSAGE_MAX + 1, sizeof message};
		for (size_t b = 0; b < sizeof bad / sizeof bad[0]; b++) {
			int fd = greet();
			story[0] = '\0';
			say(fd, message, bad[b]);
			assert_string_equal(story, "");
			expect_cut_off(fd);
		}
		int fd = greet();
		say(fd, message, cases[i].least);
		say(fd, message, cases[i].most);
		assert_int_equal(server_peer_count(server), 1);
		close(fd);
		turn();
	}
}

static void types_are_checked(void **state) {
	(void)state;
	for (uint32_t type = 0; type < 70000; type += type < 20 ? 1 : 9999) {
		if (type == WIRE_DECLARE || type == WIRE_WANT || type == WIRE_LOW || type == WIRE_STATUS)
			continue;
		struct wire_head head = {.type = (uint16_t)type};
		int fd = greet();
		say(fd, &head, sizeof head);
		expect_cut_off(fd);
	}
}

static void nobody_is_heard_after_being_cut_off(void **state) {
	(void)state;
	int fd = greet(), other = greet();
	send_want(fd, 'a');
	assert_int_equal(send(fd, "?", 1, MSG_NOSIGNAL), 1);
	send_want(fd, 'b');
	send_want(other, 'o');
	turn();
	assert_null(strchr(story, 'b'));
	assert_non_null(strstr(story, "Wa"));
	assert_non_null(strstr(story, "Wo"));
	assert_int_equal(server_peer_count(server), 1);
	close(fd);
	close(other);
}

/* An answer to one message of a burst may be what an app is cut off for, by the one who handles that message. */
static void an_app_may_be_cut_off_by_its_answer(void **state) {
	(void)state;
	int fd = greet();
	floods = true;
	for (int i = 0; i < 8; i++)
		send_want(fd, 'a');
	turn();
	floods = false;
	assert_string_equal(story, "Wa");
	assert_int_equal(server_peer_count(server), 0);
	close(fd);
}

static void garbage_harms_nobody(void **state) {
	(void)state;
	uint64_t random = 17;
	int good = greet();
	for (int i = 0; i < 2000; i++) {
		char message[512];
		size_t size = 1 + random_below(&random, sizeof message);
		for (size_t n = 0; n < size; n++)
			message[n] = (char)random_next(&random);
		message[0] = (char)random_below(&random, 12); /* often a known type */
		message[1] = 0;
		int fd = i % 2 ? greet() : connect_app();
		send(fd, message, size, MSG_NOSIGNAL);
		turn();
		close(fd);
	}
	turn();
	assert_int_equal(server_peer_count(server), 1);
	story[0] = '\0';
	say_want(good, "still here", 10);
	assert_string_equal(story, "Wstill here");
	close(good);
}

/* ---- Those who can't be served ---------------------------------------------------------------------- */

static void expect_refused(struct wire_hello hello, int status, const char *why) {
	char sentence[256];
	size_t descriptors;
	int fd = connect_app();
	say(fd, &hello, sizeof hello);
	struct wire_welcome welcome = receive_welcome(fd, sentence, sizeof sentence, &descriptors);
	assert_int_equal(welcome.status, status);
	assert_int_equal(descriptors, 0);
	assert_int_equal(welcome.wire_version, WIRE_VERSION);
	assert_int_equal(welcome.layout_version, LAYOUT_VERSION);
	if (!strstr(sentence, why))
		fail_msg("\"%s\" does not say \"%s\"", sentence, why);
	expect_cut_off(fd);
}

static void other_versions_are_refused_with_a_reason(void **state) {
	(void)state;
	struct wire_hello hello = hello_at(0);
	hello.wire_version++;
	expect_refused(hello, STINT_EVERSION, "wire 2");
	hello = hello_at(0);
	hello.layout_version = UINT32_MAX;
	expect_refused(hello, STINT_EVERSION, "layout 4294967295");
}

static void other_clocks_are_refused(void **state) {
	(void)state;
	expect_refused(hello_at(INT64_C(3000000000)), STINT_ETIMENS, "time namespace");
	struct wire_hello hello = hello_at(0);
	hello.monotonic_ns = UINT64_MAX;
	expect_refused(hello, STINT_ETIMENS, "time namespace");
	if (hello_at(0).monotonic_ns > UINT64_C(200000000000)) /* up for long enough to be so far behind */
		expect_refused(hello_at(INT64_C(-100000000000)), STINT_ETIMENS, "time namespace");
}

/* ---- The socket itself ----------------------------------------------------------------------------------- */

static void group_may_connect_and_others_not(void **state) {
	(void)state;
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
}

static void a_second_agent_is_refused(void **state) {
	(void)state;
	struct server *first = server;
	assert_int_equal(start(), -1);
	assert_non_null(strstr(error, "another agent listens"));
	server = first;
	close(greet());
}

static void a_dead_agents_socket_is_replaced(void **state) {
	(void)state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	server_free(server);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	strcpy(address.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	close(fd);
	assert_int_equal(start(), 0);
	close(greet());
}

static void a_file_in_the_way_is_not_removed(void **state) {
	(void)state;
	server_free(server);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(start(), -1);
	assert_non_null(strstr(error, "no socket"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(start(), 0);
}

static void a_path_that_is_too_long_says_so(void **state) {
	(void)state;
	char too_long[200];
	struct server *ignored;
	memset(too_long, '/', sizeof too_long - 1);
	too_long[sizeof too_long - 1] = '\0';
	struct server_options options = {.socket_path = too_long};
	assert_int_equal(server_new(&ignored, base, &options, &events, NULL, error), -1);
	assert_non_null(strstr(error, "107"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clean)
	const struct CMUnitTest tests[] = {
		TEST(messages_arrive_with_their_text),
		TEST(answers_go_to_who_asked),
		TEST(many_apps_at_once),
		TEST(what_cannot_be_sent_at_once_is_kept_in_order),
		TEST(without_a_descriptor_apps_wait_until_there_is_one),
		TEST(a_burst_is_heard_in_order_to_its_end),
		TEST(who_never_reads_is_cut_off),
		TEST(nobody_is_heard_after_being_cut_off),
		TEST(an_app_may_be_cut_off_by_its_answer),
		TEST(nothing_goes_before_hello),
		TEST(hello_is_said_once),
		TEST(a_byte_at_a_time_is_no_message),
		TEST(lengths_are_checked),
		TEST(types_are_checked),
		TEST(garbage_harms_nobody),
		TEST(other_versions_are_refused_with_a_reason),
		TEST(other_clocks_are_refused),
		TEST(group_may_connect_and_others_not),
		TEST(a_second_agent_is_refused),
		TEST(a_dead_agents_socket_is_replaced),
		TEST(a_file_in_the_way_is_not_removed),
		TEST(a_path_that_is_too_long_says_so),
	};
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
