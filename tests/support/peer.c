/* peer.c - see peer.h. */
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "protocol/layout.h"
#include "protocol/wire.h"

#define NO_ANSWER (-1000)

int peer_connect(const char *socket_path) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void close_descriptors(struct msghdr *message) {
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL; part = CMSG_NXTHDR(message, part)) {
		size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; part->cmsg_type == SCM_RIGHTS && i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(fd));
			close(fd);
		}
	}
}

long peer_receive(int fd, void *packet, size_t size, int timeout_ms) {
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	char control[CMSG_SPACE(4 * sizeof(int))];
	struct iovec part = {.iov_base = packet, .iov_len = size};
	struct msghdr message = {.msg_iov = &part,
	                         .msg_iovlen = 1,
	                         .msg_control = control,
	                         .msg_controllen = sizeof(control)};
	ssize_t got;

	if (poll(&ready, 1, timeout_ms) <= 0)
		return -1;
	got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	if (got < 0)
		return errno == ECONNRESET || errno == EPIPE ? 0 : -1;
	close_descriptors(&message);
	return got;
}

int peer_hello(int fd, int timeout_ms) {
	struct wire_hello hello = {
		.head = {.type = WIRE_HELLO, .serial = 1},
		.wire_version = WIRE_VERSION,
		.layout_version = LAYOUT_VERSION,
		.monotonic_ns = monotonic_ns(),
	};
	union {
		struct wire_welcome welcome;
		char room[WIRE_MESSAGE_MAX];
	} answer;

	if (send(fd, &hello, sizeof(hello), MSG_NOSIGNAL) != (ssize_t)sizeof(hello))
		return NO_ANSWER;
	if (peer_receive(fd, &answer, sizeof(answer), timeout_ms) < (long)sizeof(answer.welcome))
		return NO_ANSWER;
	return answer.welcome.head.type == WIRE_WELCOME ? answer.welcome.status : NO_ANSWER;
}

static int read_status(int fd, char *text, size_t size, int timeout_ms) {
	size_t kept = 0;

	for (;;) {
		union {
			struct wire_head head;
			char room[WIRE_MESSAGE_MAX];
		} piece;
		long got = peer_receive(fd, &piece, sizeof(piece), timeout_ms);

		if (got < (long)sizeof(piece.head) || piece.head.type != WIRE_STATUS_TEXT)
			return -1;
		for (size_t i = sizeof(piece.head); i < (size_t)got && kept + 1 < size; i++)
			text[kept++] = piece.room[i];
		text[kept] = '\0';
		if ((piece.head.flags & WIRE_STATUS_MORE) == 0)
			return 0;
	}
}

int peer_status(const char *socket_path, char *text, size_t size, int timeout_ms) {
	struct wire_head ask = {.type = WIRE_STATUS, .serial = 2};
	int fd = peer_connect(socket_path), status = -1;

	if (fd < 0)
		return -1;
	if (peer_hello(fd, timeout_ms) == 0 && send(fd, &ask, sizeof(ask), MSG_NOSIGNAL) == (ssize_t)sizeof(ask))
		status = read_status(fd, text, size, timeout_ms);
	close(fd);
	return status;
}
