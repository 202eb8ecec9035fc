/*
 * metrics_server.c - as much of HTTP as a scrape needs: a request's first line is read, and after its empty line
 * one answer is sent, which ends with the connection. See metrics_server.h.
 */
#include "metrics_server.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "metrics_address.h"
#include "socket_path.h"

/* More would only hold descriptors that apps need: anybody on the host may connect to a port. Who comes when all
 * are taken waits in the backlog. */
#define CONNECTIONS_MAX 8
#define BACKLOG         16

/* Without a descriptor for it who comes stays in the backlog, and the listener readable: to try again at once
 * would be all that the agent does. */
static const struct timeval accept_pause = {.tv_usec = 100000};

/* A request of Prometheus' has some 300 bytes. */
#define REQUEST_MAX 8192

/* For a request, and for reading the answer: whoever takes longer makes room for others. */
static const struct timeval patience = {.tv_sec = 5};

/* As for the apps' socket: the group may connect. */
#define SOCKET_MODE 0660

struct connection {
	LIST_ENTRY(connection) link;
	struct metrics_server *server;
	struct bufferevent *stream;
	struct event *deadline; /* it ends then, whatever comes in meanwhile */
	struct evbuffer *text;  /* what there is of it so far; NULL: it isn't wanted yet */
	void *job;              /* of the source, which makes the text; NULL: none */
	bool with_body;
	bool answered;
};

LIST_HEAD(connection_list, connection);

struct metrics_server {
	struct event_base *base;
	struct event *listener;
	struct event *resume;
	struct metrics_address where;
	struct metrics_source source;
	struct connection_list connections;
	int count;
	int fd;
};

/* ---- One connection ------------------------------------------------------------------- */

static void resume_accepting(struct metrics_server *server) {
	if (event_add(server->listener, NULL) != 0) /* epoll has no memory for it: try again later */
		event_add(server->resume, &accept_pause);
}

static void hang_up(struct connection *c) {
	struct metrics_server *server = c->server;
	if (server->count-- == CONNECTIONS_MAX)
		resume_accepting(server);
	LIST_REMOVE(c, link);
	if (c->job)
		server->source.cancel(c->job);
	if (c->text)
		evbuffer_free(c->text);
	bufferevent_free(c->stream);
	event_free(c->deadline);
	free(c);
}

static void on_deadline(evutil_socket_t fd, short what, void *context) {
	(void)fd;
	(void)what;
	hang_up(context);
}

static void answer(struct connection *c, const char *status, const char *type, struct evbuffer *body,
                   bool with_body) {
	struct evbuffer *out = bufferevent_get_output(c->stream);
	c->answered = true;
	event_add(c->deadline, &patience);
	evbuffer_add_printf(out,
	                    "HTTP/1.1 %s\r\nContent-Type: %s; charset=utf-8\r\nContent-Length: %zu\r\n"
	                    "Connection: close\r\n\r\n",
	                    status, type, evbuffer_get_length(body));
	if (with_body)
		evbuffer_add_buffer(out, body);
}

static void answer_in_words(struct connection *c, const char *status) {
	struct evbuffer *body = evbuffer_new();
	if (body && evbuffer_add(body, status, strlen(status)) == 0)
		answer(c, status, "text/plain", body, true);
	if (body)
		evbuffer_free(body);
}

/* Without memory for a piece, what there is is thrown away: half a text would be half the truth. */
static void on_text(void *context, const char *text, size_t size, bool more) {
	struct connection *c = context;
	if (!more)
		c->job = NULL;
	if (c->text && (!text || evbuffer_add(c->text, text, size) != 0)) {
		evbuffer_free(c->text);
		c->text = NULL;
	}
	if (more)
		return;
	if (c->text)
		answer(c, "200 OK", "text/plain; version=0.0.4", c->text, c->with_body);
	else
		answer_in_words(c, "503 Service Unavailable");
}

static void begin_text(struct connection *c, bool with_body) {
	const struct metrics_source *source = &c->server->source;
	c->with_body = with_body;
	c->text = evbuffer_new();
	c->job = c->text ? source->begin(source->context, on_text, c) : NULL;
	if (!c->job)
		answer_in_words(c, "503 Service Unavailable");
}

static bool is_path(const char *at, const char *path) {
	size_t length = strlen(path);
	return strncmp(at, path, length) == 0 && (at[length] == ' ' || at[length] == '?');
}

static void answer_request(struct connection *c, const char *line) {
	bool get = strncmp(line, "GET ", 4) == 0, head = strncmp(line, "HEAD ", 5) == 0;
	if (!get && !head) {
		answer_in_words(c, "405 Method Not Allowed");
		return;
	}
	if (!is_path(line + (get ? 4 : 5), "/metrics")) {
		answer_in_words(c, "404 Not Found");
		return;
	}
	begin_text(c, get);
}

static bool has_all(struct evbuffer *in) {
	return evbuffer_search(in, "\r\n\r\n", 4, NULL).pos >= 0 || evbuffer_search(in, "\n\n", 2, NULL).pos >= 0;
}

static void on_read(struct bufferevent *stream, void *context) {
	struct connection *c = context;
	struct evbuffer *in = bufferevent_get_input(stream);
	bool all = has_all(in);
	if (!all && evbuffer_get_length(in) < REQUEST_MAX)
		return;
	bufferevent_disable(stream, EV_READ);
	char *line = all ? evbuffer_readln(in, NULL, EVBUFFER_EOL_CRLF) : NULL;
	if (line)
		answer_request(c, line);
	else
		answer_in_words(c, "400 Bad Request");
	free(line);
}

/* All that was to be written is written. */
static void on_written(struct bufferevent *stream, void *context) {
	struct connection *c = context;
	(void)stream;
	if (c->answered)
		hang_up(c);
}

static void on_end(struct bufferevent *stream, short what, void *context) {
	(void)stream;
	(void)what;
	hang_up(context);
}

/* ---- Listening ---------------------------------------------------------------------- */

static struct connection *begin(struct metrics_server *server, int fd) {
	struct connection *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->server = server;
	c->deadline = evtimer_new(server->base, on_deadline, c);
	c->stream = c->deadline ? bufferevent_socket_new(server->base, fd, BEV_OPT_CLOSE_ON_FREE) : NULL;
	if (!c->stream) {
		if (c->deadline)
			event_free(c->deadline);
		free(c);
		return NULL;
	}
	LIST_INSERT_HEAD(&server->connections, c, link);
	if (++server->count == CONNECTIONS_MAX)
		event_del(server->listener);
	return c;
}

static void on_resume(evutil_socket_t fd, short what, void *context) {
	(void)fd;
	(void)what;
	resume_accepting(context);
}

static void pause_accepting(struct metrics_server *server) {
	event_del(server->listener);
	event_add(server->resume, &accept_pause);
}

static void on_connection(evutil_socket_t listener, short what, void *context) {
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	(void)what;
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			pause_accepting(context);
		return;
	}
	struct connection *c = begin(context, fd);
	if (!c) {
		close(fd);
		return;
	}
	bufferevent_setcb(c->stream, on_read, on_written, on_end, c);
	bufferevent_setwatermark(c->stream, EV_READ, 0, REQUEST_MAX);
	if (event_add(c->deadline, &patience) != 0 || bufferevent_enable(c->stream, EV_READ | EV_WRITE) != 0)
		hang_up(c);
}

/* NULL: it is no path. */
static const struct sockaddr_un *path_of(const struct metrics_address *where) {
	return where->address.ss_family == AF_UNIX ? (const struct sockaddr_un *)&where->address : NULL;
}

/* Returns 0, or -1 with errno. */
static int clear_path(const struct sockaddr_un *path) {
	errno = path ? socket_path_clear(path, SOCK_STREAM) : 0;
	return errno ? -1 : 0;
}

static int start_listening(struct metrics_server *server) {
	const struct sockaddr_un *path = path_of(&server->where);
	int on = 1;
	server->fd = socket(server->where.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->fd < 0 || clear_path(path) != 0)
		return -1;
	setsockopt(server->fd, SOL_SOCKET, SO_REUSEADDR, &on,
	           sizeof(on)); /* else a restart waits for old connections */
	if (bind(server->fd, (struct sockaddr *)&server->where.address, server->where.length) != 0 ||
	    (path && chmod(path->sun_path, SOCKET_MODE) != 0) || listen(server->fd, BACKLOG) != 0)
		return -1;
	server->listener = event_new(server->base, server->fd, EV_READ | EV_PERSIST, on_connection, server);
	server->resume = event_new(server->base, -1, 0, on_resume, server);
	return server->listener && server->resume ? event_add(server->listener, NULL) : -1;
}

int metrics_server_new(struct metrics_server **out, struct event_base *base, const char *where,
                       const struct metrics_source *source, char error[static METRICS_SERVER_ERROR_MAX]) {
	struct metrics_server *server = *out = calloc(1, sizeof(*server));
	if (!server) {
		snprintf(error, METRICS_SERVER_ERROR_MAX, "out of memory");
		return -1;
	}
	server->base = base;
	server->source = *source;
	server->fd = -1;
	LIST_INIT(&server->connections);
	if (metrics_address_parse(&server->where, where) && start_listening(server) == 0)
		return 0;
	snprintf(error, METRICS_SERVER_ERROR_MAX, "cannot serve metrics at %.120s: %s", where, strerror(errno));
	metrics_server_free(server);
	*out = NULL;
	return -1;
}

void metrics_server_free(struct metrics_server *server) {
	if (!server)
		return;
	while (!LIST_EMPTY(&server->connections))
		hang_up(LIST_FIRST(&server->connections));
	const struct sockaddr_un *path = path_of(&server->where);
	if (server->listener) {
		event_free(server->listener);
		if (path)
			unlink(path->sun_path);
	}
	if (server->resume)
		event_free(server->resume);
	if (server->fd >= 0)
		close(server->fd);
	free(server);
}
