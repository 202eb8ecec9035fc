/*
 * agent_status.c - asks the agent for its status, see agent_status.h. Speaks
 * wire.h: sends HELLO, then STATUS; receives STATUS_TEXT pieces until the last. A
 * status needs no table: the kernel closes the descriptors that come with
 * WELCOME, since nothing here takes them.
 */
#include "agent_status.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/layout.h"
#include "stint.h"
#include "monotonic.h"
#include "protocol/wire.h"

#define TIMEOUT_S     2          /* of each step: an agent that is alive answers in less than a millisecond */
#define TEXT_MAX      (4u << 20) /* 1024 policies take at most 3 KB each, in the metrics */
#define STATUS_SERIAL 2

struct message {
	size_t size;
	struct wire_head head;
	char body[WIRE_MESSAGE_MAX]; /* what follows the head */
};

struct text {
	char *bytes;
	size_t size;
};

const char *agent_status_socket(const char *socket_path) {
	if (!socket_path)
		socket_path = getenv("STINT_SOCKET");
	return socket_path && *socket_path != '\0' ? socket_path : STINT_DEFAULT_SOCKET;
}

static void explain_errno(char *why, size_t why_size) {
	bool late = errno == EAGAIN || errno == EWOULDBLOCK;
	snprintf(why, why_size, "%s", late ? "no answer in time" : strerror(errno));
}

static int connect_to(const char *path, char *why, size_t why_size) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path)) {
		snprintf(why, why_size, "the path is %zu bytes, must be 1 to %zu", strlen(path),
		         sizeof(address.sun_path) - 1);
		return -1;
	}
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	const struct timeval timeout = {.tv_sec = TIMEOUT_S};
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) == 0 && /* connect() heeds it too */
	    connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	explain_errno(why, why_size);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Receives one message, of at least a head. Returns false if none came, with the reason in why. */
static bool receive(int fd, struct message *message, char *why, size_t why_size) {
	struct iovec parts[] = {{&message->head, sizeof(message->head)}, {message->body, sizeof(message->body)}};
	ssize_t size = recvmsg(fd, &(struct msghdr){.msg_iov = parts, .msg_iovlen = 2}, 0);
	if (size < 0) {
		explain_errno(why, why_size);
		return false;
	}
	if ((size_t)size < sizeof(message->head)) {
		snprintf(why, why_size, size == 0 ? "it hung up" : "it sent what this program does not understand");
		return false;
	}
	message->size = (size_t)size - sizeof(message->head);
	return true;
}

static bool send_all(int fd, const void *bytes, size_t size, char *why, size_t why_size) {
	if (send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size)
		return true;
	explain_errno(why, why_size);
	return false;
}

static bool say_hello(int fd, char *why, size_t why_size) {
	const struct wire_hello hello = {
		.head = {.type = WIRE_HELLO, .serial = STATUS_SERIAL - 1},
		.wire_version = WIRE_VERSION,
		.layout_version = LAYOUT_VERSION,
		.monotonic_ns = (uint64_t)monotonic_now_ns(),
	};
	struct message message;
	if (!send_all(fd, &hello, sizeof(hello), why, why_size) || !receive(fd, &message, why, why_size))
		return false;
	struct wire_welcome welcome = {.head = message.head};
	if (message.head.type != WIRE_WELCOME || message.size < sizeof(welcome) - sizeof(welcome.head)) {
		snprintf(why, why_size, "it sent what this program does not understand");
		return false;
	}
	memcpy((char *)&welcome + sizeof(welcome.head), message.body, sizeof(welcome) - sizeof(welcome.head));
	bool same = welcome.wire_version == WIRE_VERSION && welcome.layout_version == LAYOUT_VERSION;
	if (welcome.status != 0)
		snprintf(why, why_size, "%s",
		         same ? stint_strerror(welcome.status)
		              : "this command and the agent are of different versions;"
		                " install all of one version, and restart the agent");
	return welcome.status == 0;
}

static bool append(struct text *text, const struct message *message) {
	if (text->size + message->size > TEXT_MAX)
		return false;
	char *bytes = realloc(text->bytes, text->size + message->size + 1);
	if (!bytes)
		return false;
	memcpy(bytes + text->size, message->body, message->size);
	text->bytes = bytes;
	text->size += message->size;
	return true;
}

static bool ask(int fd, uint16_t flags, struct text *text, char *why, size_t why_size) {
	const struct wire_head status = {.type = WIRE_STATUS, .flags = flags, .serial = STATUS_SERIAL};
	struct message message;
	if (!send_all(fd, &status, sizeof(status), why, why_size))
		return false;
	do {
		if (!receive(fd, &message, why, why_size))
			return false;
		/* If empty pieces were accepted, the agent could go on for ever. */
		if (message.head.type != WIRE_STATUS_TEXT || message.size == 0 || !append(text, &message)) {
			snprintf(why, why_size, "it sent what this program does not understand");
			return false;
		}
	} while (message.head.flags & WIRE_STATUS_MORE);
	return true;
}

/* The caller frees text->bytes, whatever comes. */
static bool fetch(const char *socket_path, uint16_t flags, struct text *text, char *why, size_t why_size) {
	int fd = connect_to(agent_status_socket(socket_path), why, why_size);
	if (fd < 0)
		return false;
	bool done = say_hello(fd, why, why_size) && ask(fd, flags, text, why, why_size);
	close(fd);
	return done;
}

json_t *agent_status_fetch(const char *socket_path, char *why, size_t why_size) {
	struct text text = {0};
	json_t *status = NULL;
	json_error_t error;
	if (fetch(socket_path, 0, &text, why, why_size)) {
		status = json_loadb(text.bytes ? text.bytes : "", text.size, JSON_REJECT_DUPLICATES, &error);
		if (!status || !json_is_object(status)) {
			const char *detail = status ? "something else" : error.text[0] != '\0' ? error.text : "out of memory";
			snprintf(why, why_size, "its status is no JSON object: %s", detail);
			json_decref(status);
			status = NULL;
		}
	}
	free(text.bytes);
	return status;
}

char *agent_metrics_fetch(const char *socket_path, size_t *size, char *why, size_t why_size) {
	struct text text = {0};
	bool done = fetch(socket_path, WIRE_STATUS_METRICS, &text, why, why_size);
	*size = text.size;
	if (done)
		return text.bytes;
	free(text.bytes);
	return NULL;
}
