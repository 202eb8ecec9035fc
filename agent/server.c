/*
 * server.c - the socket and its connections, see server.h: who may connect, what is read, what waits to be
 * written, and what is done when descriptors run out.
 */
#include "server.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <libgen.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/layout.h"
#include "stint.h"
#include "log.h"
#include "monotonic.h"
#include "socket_path.h"

/* Members of the socket's group may connect: who may connect is who may limit. The directory that holds the socket
 * decides for everybody else. */
#define SOCKET_MODE   0660
#define BACKLOG       1024
#define NO_CONNECTION UINT32_MAX

/* Messages taken from one peer before the others get their turn. One system call takes them, even when there is
 * only one. */
#define MESSAGES_PER_TURN 32

/* When descriptors run out, the agent pauses accepting instead of spinning on the listener. */
static const struct timeval accept_pause = {.tv_usec = 100000};

/* An agent that starts holds the lock of the socket's directory for some microseconds. */
#define LOCK_TRIES 100
static const struct timespec lock_pause = {.tv_nsec = 10000000};

/* An app's clock may be behind ours by as long as we slept before reading its hello, and is never ahead. The
 * library itself notices a smaller offset than this, where the kernel tells (see timens.h). */
#define CLOCK_AHEAD_MAX_NS  UINT64_C(1000000000)
#define CLOCK_BEHIND_MAX_NS UINT64_C(60000000000)

/* Who is refused tries again some times a second, for as long as it runs. Each is named once in the log, as long
 * as no more than so many take turns. */
#define REFUSED_NAMED 1024u

struct connection {
	struct server *server;
	struct event *readable;
	struct event *writable;
	struct evbuffer *unsent; /* records of a 2-byte size and a message; NULL until it is needed */
	int fd;
	uint32_t index;
	uint32_t generation;
	uint32_t next_free;
	bool greeted;
	bool is_app; /* has said hello, and hasn't asked for a status: only the operator's command does */
};

/* What an app may send. */
union message {
	struct wire_head head;
	struct wire_hello hello;
	struct wire_declare declare;
	struct wire_want want;
	struct wire_low low;
	struct wire_charge charge;
	char bytes[WIRE_MESSAGE_MAX];
};

struct inbox {
	union message messages[MESSAGES_PER_TURN];
	struct iovec parts[MESSAGES_PER_TURN];
	struct mmsghdr headers[MESSAGES_PER_TURN];
};

struct server {
	struct event_base *base;
	struct server_options options;
	struct server_events events;
	void *context;
	struct event *listener;
	struct event *resume;
	struct connection **connections;
	uint32_t capacity;
	uint32_t free_head;
	size_t count, app_count;
	uint64_t refused; /* apps of another version */
	pid_t refused_pids[REFUSED_NAMED];
	unsigned refused_next;
	struct sockaddr_un address;
	int fd;
	struct inbox inbox; /* messages of the connection whose turn it is */
};

/* ---- Connections ------------------------------------------------------------ */

static server_peer peer_of(const struct connection *c) {
	return (uint64_t)c->generation << 32 | c->index;
}

/* The process that connected, as the kernel knows it; its number is 0 if it can't be seen from here. A process in
 * a container may have a number here that it doesn't know itself. */
static struct ucred process_of(int fd) {
	struct ucred who = {.pid = 0};
	socklen_t size = sizeof(who);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0)
		who.pid = 0;
	return who;
}

/* Logs which app is cut off. */
static void log_cut_off(int fd, const char *why) {
	struct ucred who = process_of(fd);
	if (who.pid == 0)
		log_warning("cut off an app that can't be seen from here: %s", why);
	else
		log_warning("cut off an app, process %d of user %u: %s", (int)who.pid, (unsigned)who.uid, why);
}

static void count_app(struct connection *c, bool is_app) {
	c->server->app_count += is_app;
	c->server->app_count -= c->is_app;
	c->is_app = is_app;
}

/* Closes a connection. why NULL: the app has gone by itself. */
static void hang_up(struct connection *c, const char *why) {
	struct server *server = c->server;
	if (c->fd < 0)
		return;
	if (why)
		log_cut_off(c->fd, why);
	event_free(c->readable);
	if (c->writable)
		event_free(c->writable);
	if (c->unsent)
		evbuffer_free(c->unsent);
	close(c->fd);
	c->fd = -1;
	c->readable = c->writable = NULL;
	c->unsent = NULL;
	c->generation++;
	c->next_free = server->free_head;
	server->free_head = c->index;
	server->count--;
	count_app(c, false);
	log_debug("an app has gone, %zu are connected", server->count);
}

static struct connection *connection_at(const struct server *server, server_peer peer) {
	uint32_t index = (uint32_t)peer;
	if (index >= server->capacity || !server->connections[index])
		return NULL;
	struct connection *c = server->connections[index];
	return c->fd >= 0 && c->generation == (uint32_t)(peer >> 32) ? c : NULL;
}

static struct connection *connection_slot(struct server *server) {
	if (server->free_head != NO_CONNECTION) {
		struct connection *c = server->connections[server->free_head];
		server->free_head = c->next_free;
		return c;
	}
	struct connection **grown = realloc(server->connections, (server->capacity + 1) * sizeof(*grown));
	if (!grown)
		return NULL;
	server->connections = grown;
	struct connection *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->server = server;
	c->fd = -1;
	c->index = server->capacity;
	server->connections[server->capacity++] = c;
	return c;
}

/* ---- Sending ----------------------------------------------------------------- */

static void on_writable(evutil_socket_t fd, short what, void *context) {
	struct connection *c = context;
	uint16_t size;
	(void)fd;
	(void)what;
	while (evbuffer_copyout(c->unsent, &size, sizeof(size)) == sizeof(size)) {
		const unsigned char *record = evbuffer_pullup(c->unsent, (ev_ssize_t)(sizeof(size) + size));
		if (!record || send(c->fd, record + sizeof(size), size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
			if (record && (errno == EAGAIN || errno == EINTR))
				return;
			hang_up(c, NULL);
			return;
		}
		evbuffer_drain(c->unsent, sizeof(size) + size);
	}
	event_del(c->writable);
}

static void keep_unsent(struct connection *c, const void *message, uint16_t size) {
	if (!c->unsent)
		c->unsent = evbuffer_new();
	if (!c->writable)
		c->writable = event_new(c->server->base, c->fd, EV_WRITE | EV_PERSIST, on_writable, c);
	if (!c->unsent || !c->writable || evbuffer_add(c->unsent, &size, sizeof(size)) != 0 ||
	    evbuffer_add(c->unsent, message, size) != 0 || event_add(c->writable, NULL) != 0) {
		hang_up(c, "out of memory");
		return;
	}
	if (evbuffer_get_length(c->unsent) <= SERVER_UNREAD_MAX)
		return;
	hang_up(c, "it doesn't read its answers");
	/* The answers were megabytes in small pieces, which the allocator would keep: such a peer must not cost
	 * anything for long. */
	malloc_trim(0);
}

void server_send(struct server *server, server_peer peer, const void *message, size_t size) {
	struct connection *c = connection_at(server, peer);
	if (!c)
		return;
	bool queued = c->unsent && evbuffer_get_length(c->unsent) > 0;
	if (!queued && send(c->fd, message, size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return;
	if (queued || errno == EAGAIN || errno == EINTR)
		keep_unsent(c, message, (uint16_t)size);
	else
		hang_up(c, NULL); /* the app is gone; what it waited for counts as spent */
}

static int send_welcome(struct connection *c) {
	const struct server_options *options = &c->server->options;
	struct wire_welcome welcome = {
		.head = {.type = WIRE_WELCOME},
		.wire_version = WIRE_VERSION,
		.layout_version = LAYOUT_VERSION,
		.generation = options->generation,
	};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct iovec part = {.iov_base = &welcome, .iov_len = sizeof(welcome)};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(2 * sizeof(int));
	memcpy(CMSG_DATA(rights), (int[]){options->directory_fd, options->table_fd}, 2 * sizeof(int));
	return sendmsg(c->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(welcome) ? 0 : -1;
}

/* Returns whether the process is among those that were refused last; now it is. All that can't be seen are one. */
static bool is_refused_again(struct server *server, pid_t pid) {
	if (pid == 0)
		pid = -1;
	for (unsigned i = 0; i < REFUSED_NAMED; i++)
		if (server->refused_pids[i] == pid)
			return true;
	server->refused_pids[server->refused_next++ % REFUSED_NAMED] = pid;
	return false;
}

static void refuse(struct connection *c, int status, const char *sentence) {
	struct {
		struct wire_welcome welcome;
		char sentence[160];
	} message = {.welcome = {
					 .head = {.type = WIRE_WELCOME},
					 .status = status,
					 .wire_version = WIRE_VERSION,
					 .layout_version = LAYOUT_VERSION,
				 }};
	size_t length = strlen(sentence);
	memcpy(message.sentence, sentence, length);
	send(c->fd, &message, sizeof(message.welcome) + length, MSG_DONTWAIT | MSG_NOSIGNAL);
	hang_up(c, is_refused_again(c->server, process_of(c->fd).pid) ? NULL : sentence);
}

/* ---- Receiving --------------------------------------------------------------- */

static void on_hello(struct connection *c, const struct wire_hello *hello) {
	char sentence[128];
	uint64_t now_ns = (uint64_t)monotonic_now_ns();
	if (hello->wire_version != WIRE_VERSION || hello->layout_version != LAYOUT_VERSION) {
		snprintf(sentence, sizeof(sentence), "library speaks wire %u layout %u, this agent wire %u layout %u",
		         hello->wire_version, hello->layout_version, WIRE_VERSION, LAYOUT_VERSION);
		c->server->refused++;
		refuse(c, STINT_EVERSION, sentence);
	} else if (hello->monotonic_ns > now_ns + CLOCK_AHEAD_MAX_NS ||
	           hello->monotonic_ns + CLOCK_BEHIND_MAX_NS < now_ns) {
		refuse(c, STINT_ETIMENS, "its CLOCK_MONOTONIC is another than the agent's: a time namespace");
	} else if (send_welcome(c) != 0) {
		bool gone = errno == EPIPE || errno == ECONNRESET; /* it didn't wait, while the agent was stopped, say */
		snprintf(sentence, sizeof(sentence), "it can't be handed the table's descriptors: %s", strerror(errno));
		hang_up(c, gone ? NULL : sentence);
	} else {
		c->greeted = true;
		count_app(c, true);
		log_debug("an app has attached, %zu are connected", c->server->count);
	}
}

static size_t fixed_size(uint16_t type) {
	switch (type) {
	case WIRE_HELLO: return sizeof(struct wire_hello);
	case WIRE_DECLARE: return sizeof(struct wire_declare);
	case WIRE_WANT: return sizeof(struct wire_want);
	case WIRE_LOW: return sizeof(struct wire_low);
	case WIRE_CHARGE: return sizeof(struct wire_charge);
	case WIRE_STATUS:
	case WIRE_PING: return sizeof(struct wire_head);
	default: return 0;
	}
}

/* Whether a message's variable end has a length that its type allows. Whoever uses a client's id checks the
 * rest. */
static bool fits(uint16_t type, size_t fixed, size_t size) {
	if (size < fixed)
		return false;
	size_t rest = size - fixed;
	switch (type) {
	case WIRE_DECLARE: return rest >= 1 && rest <= STINT_POLICY_NAME_MAX;
	case WIRE_WANT:
	case WIRE_CHARGE:
	case WIRE_LOW: return rest >= 1 && rest <= STINT_CLIENT_ID_MAX;
	default: return rest == 0;
	}
}

static void send_pong(struct connection *c, uint32_t serial) {
	struct wire_head pong = {.type = WIRE_PONG, .serial = serial};
	server_send(c->server, peer_of(c), &pong, sizeof(pong));
}

static void dispatch(struct connection *c, const union message *m, size_t size) {
	struct server *server = c->server;
	uint16_t type = size >= sizeof(m->head) ? m->head.type : 0;
	size_t fixed = fixed_size(type);
	if (fixed == 0 || !fits(type, fixed, size)) {
		hang_up(c, "it sent a malformed message");
		return;
	}
	if (c->greeted == (type == WIRE_HELLO)) {
		hang_up(c, c->greeted ? "it said hello twice" : "it didn't say hello first");
		return;
	}
	const char *text = m->bytes + fixed;
	switch (type) {
	case WIRE_HELLO: on_hello(c, &m->hello); break;
	case WIRE_DECLARE: server->events.declare(server->context, peer_of(c), &m->declare, text, size - fixed); break;
	case WIRE_WANT: server->events.want(server->context, peer_of(c), &m->want, text, size - fixed); break;
	case WIRE_LOW: server->events.low(server->context, &m->low, text, size - fixed); break;
	case WIRE_CHARGE: server->events.charge(server->context, &m->charge, text, size - fixed); break;
	case WIRE_PING: send_pong(c, m->head.serial); break;
	default: count_app(c, false); server->events.status(server->context, peer_of(c), &m->head);
	}
}

static void inbox_init(struct inbox *inbox) {
	for (int i = 0; i < MESSAGES_PER_TURN; i++) {
		inbox->parts[i] = (struct iovec){.iov_base = &inbox->messages[i], .iov_len = sizeof(inbox->messages[i])};
		inbox->headers[i].msg_hdr = (struct msghdr){.msg_iov = &inbox->parts[i], .msg_iovlen = 1};
	}
}

static void take_in(struct connection *c, const union message *message, size_t size) {
	if (size == 0)
		hang_up(c, NULL);
	else if (size > sizeof(*message))
		hang_up(c, "it sent an oversized message");
	else
		dispatch(c, message, size);
}

static void on_readable(evutil_socket_t fd, short what, void *context) {
	struct connection *c = context;
	struct inbox *inbox = &c->server->inbox;
	int count = recvmmsg(fd, inbox->headers, MESSAGES_PER_TURN, MSG_DONTWAIT | MSG_TRUNC, NULL);
	(void)what;
	if (count < 0 && errno != EAGAIN && errno != EINTR)
		hang_up(c, NULL);
	for (int i = 0; i < count && c->fd >= 0; i++)
		take_in(c, &inbox->messages[i], inbox->headers[i].msg_len);
}

/* ---- Listening --------------------------------------------------------------- */

static void on_resume(evutil_socket_t fd, short what, void *context) {
	struct server *server = context;
	(void)fd;
	(void)what;
	if (event_add(server->listener, NULL) != 0) /* epoll has no memory for it: try again later */
		event_add(server->resume, &accept_pause);
}

static void pause_accepting(struct server *server, const char *why) {
	log_error("cannot take another app: %s", why);
	event_del(server->listener);
	event_add(server->resume, &accept_pause);
}

static void on_connection(evutil_socket_t listener, short what, void *context) {
	struct server *server = context;
	(void)what;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			pause_accepting(server, strerror(errno));
		return;
	}
	struct connection *c = connection_slot(server);
	struct event *readable = c ? event_new(server->base, fd, EV_READ | EV_PERSIST, on_readable, c) : NULL;
	if (!readable || event_add(readable, NULL) != 0) {
		close(fd);
		if (readable)
			event_free(readable);
		if (c) {
			c->next_free = server->free_head;
			server->free_head = c->index;
		}
		pause_accepting(server, "out of memory");
		return;
	}
	c->fd = fd;
	c->readable = readable;
	c->greeted = false;
	server->count++;
}

/*
 * Two agents that start at once would each find that nobody listens, and the later one would remove the other's
 * new socket. So one agent at a time claims the path; close() releases the lock. Others may take this lock, too,
 * by mistake or malice: so an agent waits no longer for it than for another agent, and then goes on without it.
 */
static int lock_directory(const char *path) {
	char copy[sizeof((struct sockaddr_un *)0)->sun_path];
	strcpy(copy, path); /* fits: start_listening() has checked */
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int tries = 0; fd >= 0 && tries < LOCK_TRIES && flock(fd, LOCK_EX | LOCK_NB) != 0; tries++)
		nanosleep(&lock_pause, NULL);
	return fd;
}

static int clear_path(const struct sockaddr_un *address, char *error) {
	int failure = socket_path_clear(address, SOCK_SEQPACKET);
	if (failure == EEXIST)
		snprintf(error, SERVER_ERROR_MAX, "%s exists and is no socket", address->sun_path);
	else if (failure == EADDRINUSE)
		snprintf(error, SERVER_ERROR_MAX, "another agent listens on %s", address->sun_path);
	else if (failure)
		snprintf(error, SERVER_ERROR_MAX, "cannot tell whether another agent listens on %s: %s", address->sun_path,
		         strerror(failure));
	return failure ? -1 : 0;
}

static int claim_path(struct server *server, char *error) {
	const char *path = server->address.sun_path;
	if (clear_path(&server->address, error) != 0)
		return -1;
	server->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->fd < 0 || bind(server->fd, (struct sockaddr *)&server->address, sizeof(server->address)) != 0 ||
	    chmod(path, SOCKET_MODE) != 0 || listen(server->fd, BACKLOG) != 0) {
		snprintf(error, SERVER_ERROR_MAX, "cannot listen on %.120s: %s", path, strerror(errno));
		return -1;
	}
	return 0;
}

static int start_listening(struct server *server, char *error) {
	const char *path = server->options.socket_path;
	server->address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(server->address.sun_path)) {
		snprintf(error, SERVER_ERROR_MAX, "socket path has %zu bytes, at most %zu fit: %.120s", strlen(path),
		         sizeof(server->address.sun_path) - 1, path);
		return -1;
	}
	strcpy(server->address.sun_path, path);
	int lock = lock_directory(path);
	int result = claim_path(server, error);
	if (lock >= 0)
		close(lock);
	return result;
}

int server_new(struct server **out, struct event_base *base, const struct server_options *options,
               const struct server_events *events, void *context, char error[static SERVER_ERROR_MAX]) {
	struct server *server = calloc(1, sizeof(*server));
	*out = NULL;
	if (!server) {
		snprintf(error, SERVER_ERROR_MAX, "out of memory");
		return -1;
	}
	server->base = base;
	server->options = *options;
	server->events = *events;
	server->context = context;
	server->free_head = NO_CONNECTION;
	server->fd = -1;
	inbox_init(&server->inbox);
	if (start_listening(server, error) != 0)
		goto fail;
	server->listener = event_new(base, server->fd, EV_READ | EV_PERSIST, on_connection, server);
	server->resume = event_new(base, -1, 0, on_resume, server);
	if (!server->listener || !server->resume || event_add(server->listener, NULL) != 0) {
		snprintf(error, SERVER_ERROR_MAX, "out of memory");
		goto fail;
	}
	server_note_alive(server);
	*out = server;
	return 0;
fail:
	server_free(server);
	return -1;
}

void server_free(struct server *server) {
	if (!server)
		return;
	for (uint32_t i = 0; i < server->capacity; i++) {
		hang_up(server->connections[i], NULL);
		free(server->connections[i]);
	}
	free(server->connections);
	if (server->listener) {
		event_free(server->listener);
		unlink(server->address.sun_path);
	}
	if (server->resume)
		event_free(server->resume);
	if (server->fd >= 0)
		close(server->fd);
	free(server);
}

void server_note_alive(const struct server *server) {
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, monotonic_now()};
	(void)!utimensat(AT_FDCWD, server->address.sun_path, times, AT_SYMLINK_NOFOLLOW);
}

uint64_t server_refused_count(const struct server *server) {
	return server->refused;
}

size_t server_peer_count(const struct server *server) {
	return server->count;
}

size_t server_app_count(const struct server *server) {
	return server->app_count;
}

bool server_is_connected(const struct server *server, server_peer peer) {
	return connection_at(server, peer) != NULL;
}
