/*
 * server_fixture.h - the agent's socket, in a folder of its own, and apps whose messages the test writes one by
 * one.
 *
 * What gets through to the agent becomes a story: a letter for each message (D, W, L, S), and its text.
 */
#ifndef SERVER_FIXTURE_H
#define SERVER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "protocol/layout.h"
#include "server.h"

#define GENERATION UINT64_C(0x1122334455667788)

struct fixture {
	char dir[48], path[64];
	struct event_base *base;
	struct server *server;
	char error[SERVER_ERROR_MAX];
	char story[256];
	server_peer last_peer;
	struct wire_declare last_declare;
	struct wire_want last_want;
	bool floods; /* answers each WANT with more than an app may leave unread */
};

/* ---- The agent's side -------------------------------------------------------------------------- */

static inline void tell(struct fixture *f, char what, const char *text, size_t length) {
	size_t end = strlen(f->story);
	if (end + length + 2 < sizeof(f->story))
		snprintf(f->story + end, sizeof(f->story) - end, "%c%.*s", what, (int)length, text);
}

static inline void on_declare(void *context, server_peer peer, const struct wire_declare *message,
                              const char *text, size_t length) {
	struct fixture *f = context;
	f->last_peer = peer;
	f->last_declare = *message;
	tell(f, 'D', text, length);
}

static inline void on_want(void *context, server_peer peer, const struct wire_want *message, const char *text,
                           size_t length) {
	struct fixture *f = context;
	char answer[1024] = {0};
	f->last_peer = peer;
	f->last_want = *message;
	tell(f, 'W', text, length);
	for (size_t sent = 0; f->floods && sent < 2 * SERVER_UNREAD_MAX; sent += sizeof(answer))
		server_send(f->server, peer, answer, sizeof(answer));
}

static inline void on_low(void *context, const struct wire_low *message, const char *text, size_t length) {
	(void)message;
	tell(context, 'L', text, length);
}

static inline void on_charge(void *context, const struct wire_charge *message, const char *text, size_t length) {
	(void)message;
	tell(context, 'C', text, length);
}

static inline void on_status(void *context, server_peer peer, const struct wire_head *message) {
	struct fixture *f = context;
	(void)message;
	f->last_peer = peer;
	tell(f, 'S', "", 0);
}

static inline int listen_at(struct fixture *f, const char *path, struct server **server) {
	static const struct server_events events = {on_declare, on_want, on_low, on_charge, on_status};
	struct server_options options = {.socket_path = path,
	                                 .directory_fd = 0,
	                                 .table_fd = 1,
	                                 .generation = GENERATION};
	return server_new(server, f->base, &options, &events, f, f->error);
}

static inline int make(void **state) {
	struct fixture *f = *state = calloc(1, sizeof(*f));
	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "/tmp/stint-test-server.XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/agent.sock", f->dir);
	f->base = event_base_new();
	return f->base ? listen_at(f, f->path, &f->server) : -1;
}

/* The agent has removed its socket: else rmdir() would fail. */
static inline int clean(void **state) {
	struct fixture *f = *state;
	server_free(f->server);
	event_base_free(f->base);
	int status = rmdir(f->dir);
	free(f);
	return status;
}

/* ---- An app ------------------------------------------------------------------------------------ */

static inline void turn(struct fixture *f) {
	for (int i = 0; i < 4; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
}

static inline int connect_app(struct fixture *f) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	strcpy(address.sun_path, f->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	turn(f);
	return fd;
}

static inline void say(struct fixture *f, int fd, const void *message, size_t size) {
	assert_int_equal(send(fd, message, size, MSG_NOSIGNAL), size);
	turn(f);
}

/* A HELLO by a clock that is so far off. */
static inline struct wire_hello hello_at(int64_t offset_ns) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (struct wire_hello){
		.head.type = WIRE_HELLO,
		.wire_version = WIRE_VERSION,
		.layout_version = LAYOUT_VERSION,
		.monotonic_ns = (uint64_t)((int64_t)now.tv_sec * 1000000000 + now.tv_nsec + offset_ns),
	};
}

/* Receives the WELCOME, and checks how many descriptors came with it. */
static inline struct wire_welcome receive_welcome(int fd, char *sentence, size_t size, size_t *descriptors) {
	struct wire_welcome welcome = {.status = 1};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control;
	struct iovec parts[] = {{&welcome, sizeof(welcome)}, {sentence, size - 1}};
	struct msghdr message = {.msg_iov = parts,
	                         .msg_iovlen = 2,
	                         .msg_control = control.bytes,
	                         .msg_controllen = sizeof(control.bytes)};
	ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	assert_true(got >= (ssize_t)sizeof(welcome));
	sentence[(size_t)got - sizeof(welcome)] = '\0';
	*descriptors = 0;
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	if (rights) {
		*descriptors = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < *descriptors; i++) {
			int received;
			memcpy(&received, CMSG_DATA(rights) + i * sizeof(received), sizeof(received));
			close(received);
		}
	}
	return welcome;
}

static inline int greet(struct fixture *f) {
	char sentence[256];
	size_t descriptors;
	int fd = connect_app(f);
	struct wire_hello hello = hello_at(0);
	say(f, fd, &hello, sizeof(hello));
	struct wire_welcome welcome = receive_welcome(fd, sentence, sizeof(sentence), &descriptors);
	assert_int_equal(welcome.status, 0);
	assert_int_equal(welcome.head.type, WIRE_WELCOME);
	assert_true(welcome.generation == GENERATION);
	assert_int_equal(descriptors, 2);
	return fd;
}

static inline void expect_cut_off(int fd) {
	char byte;
	ssize_t got = recv(fd, &byte, 1, 0);
	if (got != 0 && !(got < 0 && errno == ECONNRESET))
		fail_msg("still connected: %zd %s", got, strerror(errno));
	close(fd);
}

static inline void say_with_text(struct fixture *f, int fd, const void *head, size_t size, const char *text,
                                 size_t length) {
	char message[8192] = {0};
	memcpy(message, head, size);
	memcpy(message + size, text, length);
	say(f, fd, message, size + length);
}

static inline void say_want(struct fixture *f, int fd, const char *id, size_t length) {
	struct wire_want want = {.head = {.type = WIRE_WANT, .serial = 5}, .policy = 2, .cost = 3, .timeout_ms = 100};
	say_with_text(f, fd, &want, sizeof(want), id, length);
}

/* Sends it, and doesn't wait until it is heard. */
static inline void send_want(int fd, char id) {
	struct {
		struct wire_want want;
		char id;
	} message = {.want.head.type = WIRE_WANT, .id = id};
	size_t size = sizeof(message.want) + 1;
	assert_int_equal(send(fd, &message, size, MSG_NOSIGNAL), size);
}

#endif
