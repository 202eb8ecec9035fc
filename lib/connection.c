/*
 * connection.c - one SOCK_SEQPACKET Unix socket: connect, send, receive.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "connection.h"
#include "descriptor.h"

static ssize_t send_packet(int fd, const void *head, size_t head_size, const char *name, size_t name_length) {
	struct iovec part[2] = {
		{.iov_base = (void *)(uintptr_t)head, .iov_len = head_size},
		{.iov_base = (void *)(uintptr_t)name, .iov_len = name_length},
	};
	struct msghdr message = {.msg_iov = part, .msg_iovlen = 2};
	ssize_t sent;
	do {
		sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (sent < 0 && errno == EINTR);
	return sent;
}

int connection_open(const struct sockaddr_un *address, const void *hello, size_t size) {
	int fd = descriptor_above_stdio(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (fd < 0)
		return -1;
	/* A Unix socket connects at once or not at all. */
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 ||
	    send_packet(fd, hello, size, NULL, 0) < 0) {
		int error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

/* The agent sets the socket's time of modification to its CLOCK_MONOTONIC, see wire.h. A time that the file system
 * has set lies far ahead. */
uint64_t connection_last_alive_ns(const struct sockaddr_un *address) {
	struct stat st;
	if (stat(address->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode) || st.st_mtim.tv_sec < 0)
		return 0;
	return (uint64_t)st.st_mtim.tv_sec * NS_PER_S + (uint64_t)st.st_mtim.tv_nsec;
}

bool connection_send_once(int fd, const void *head, size_t head_size, const char *name, size_t name_length) {
	return send_packet(fd, head, head_size, name, name_length) >= 0;
}

bool connection_send(int fd, const void *head, size_t head_size, const char *name, size_t name_length) {
	return connection_send_once(fd, head, head_size, name, name_length) ||
	       (errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS && errno != ENOMEM);
}

/* Notes all descriptors that came, wanted or not, so that packet_close() closes them: nobody else would. */
static void collect_fds(struct packet *packet, struct msghdr *message) {
	packet->fd_count = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t bytes = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || bytes > sizeof(packet->fd))
			continue;
		memcpy(packet->fd, CMSG_DATA(c), bytes);
		packet->fd_count = (int)(bytes / sizeof(int));
	}
}

enum received connection_receive(int fd, struct packet *packet) {
	/* Room for exactly two descriptors; the kernel closes all others and sets MSG_CTRUNC. */
	union {
		char bytes[CMSG_SPACE(sizeof(packet->fd))];
		struct cmsghdr align;
	} control;
	struct iovec part = {.iov_base = packet->bytes, .iov_len = sizeof(packet->bytes)};
	struct msghdr message;
	ssize_t length;

	do {
		message = (struct msghdr){
			.msg_iov = &part,
			.msg_iovlen = 1,
			.msg_control = control.bytes,
			.msg_controllen = sizeof(control.bytes),
		};
		length = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (length < 0 && errno == EINTR);

	if (length < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? RECEIVED_NOTHING : RECEIVED_END;
	collect_fds(packet, &message);
	packet->length = (size_t)length;
	if (length > 0 && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return RECEIVED_PACKET;
	packet_close(packet);
	/* Descriptors also get lost when this process has no free number: that is no fault of the agent's. */
	return message.msg_flags & MSG_TRUNC ? RECEIVED_GARBAGE : RECEIVED_END;
}

void packet_close(struct packet *packet) {
	for (int i = 0; i < packet->fd_count; i++) {
		if (packet->fd[i] >= 0)
			close(packet->fd[i]);
	}
	packet->fd_count = 0;
}
