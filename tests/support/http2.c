/* http2.c - see http2.h. */
#include "http2.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"

#define FRAME_HEAD   9
#define FRAME_MAX    16384
#define HEADERS      1
#define SETTINGS     4
#define END_STREAM   0x1
#define END_HEADERS  0x4
#define STATUS_200   0x88 /* a field of HPACK's static table, as are these */
#define METHOD_GET   0x82
#define SCHEME_HTTP  0x86
#define PATH_IS      0x04
#define AUTHORITY_IS 0x01

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static size_t put_head(uint8_t *at, size_t length, uint8_t type, uint8_t flags, uint8_t stream) {
	const uint8_t head[FRAME_HEAD] = {0, (uint8_t)(length >> 8), (uint8_t)length, type, flags, 0, 0, 0, stream};
	memcpy(at, head, FRAME_HEAD);
	return FRAME_HEAD;
}

static size_t put_text(uint8_t *at, uint8_t field, const char *text) {
	uint8_t length = (uint8_t)strlen(text);
	at[0] = field;
	at[1] = length;
	memcpy(at + 2, text, length);
	return (size_t)length + 2;
}

static size_t put_request(uint8_t *at, const char *path, uint8_t stream) {
	uint8_t *block = at + FRAME_HEAD;
	size_t length = 2;
	block[0] = METHOD_GET;
	block[1] = SCHEME_HTTP;
	length += put_text(block + length, PATH_IS, path);
	length += put_text(block + length, AUTHORITY_IS, "test");
	return length + put_head(at, length, HEADERS, END_STREAM | END_HEADERS, stream);
}

static int connect_to(const char *path) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

int http2_ask(const char *socket, const char *path, int count) {
	int fd = connect_to(socket);
	uint8_t bytes[sizeof(preface) + FRAME_HEAD + 256];
	size_t length = sizeof(preface) - 1;
	char one[100];
	memcpy(bytes, preface, length);
	length += put_head(bytes + length, 0, SETTINGS, 0, 0);
	for (int i = 0; i < count && fd >= 0; i++) {
		snprintf(one, sizeof(one), "%.80s-%d", path, i);
		length += put_request(bytes + length, one, (uint8_t)(2 * i + 1));
		if (send(fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length)
			break;
		length = 0;
	}
	return fd;
}

static bool read_all(int fd, uint8_t *bytes, size_t length, uint64_t deadline_ns) {
	for (size_t got = 0; got < length;) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		uint64_t now = monotonic_ns();
		if (now >= deadline_ns || poll(&ready, 1, (int)((deadline_ns - now) / NS_PER_MS) + 1) <= 0)
			return false;
		ssize_t more = recv(fd, bytes + got, length - got, 0);
		if (more <= 0)
			return false;
		got += (size_t)more;
	}
	return true;
}

int http2_read(int fd, int count, int timeout_ms) {
	uint64_t deadline_ns = monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	uint8_t head[FRAME_HEAD], body[FRAME_MAX];
	int answered = 0, right = 0;
	while (answered < count && read_all(fd, head, sizeof(head), deadline_ns)) {
		size_t length = (size_t)head[1] << 8 | head[2];
		if (head[0] > 0 || length > sizeof(body) || !read_all(fd, body, length, deadline_ns))
			break;
		answered += head[3] == HEADERS;
		right += head[3] == HEADERS && length > 0 && body[0] == STATUS_200;
	}
	close(fd);
	return right;
}
