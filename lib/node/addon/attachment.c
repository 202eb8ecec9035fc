/*
 * attachment.c - one attachment for each path that an environment's limiters use, watched by its event loop.
 *
 * libuv watches the descriptor all the time, but only while checks wait does that keep the loop, and with it the
 * process, going.
 */
#include <stdlib.h>
#include <string.h>

#include "addon.h"

static void dispatch(uv_poll_t *poll, int status, int events);

static bool is_path(const struct attachment *a, const char *path) {
	return path && a->path ? strcmp(path, a->path) == 0 : path == a->path;
}

static struct attachment *find(struct environment *e, const char *path) {
	struct attachment *a;
	LIST_FOREACH(a, &e->attachments, link) {
		if (is_path(a, path))
			return a;
	}
	return NULL;
}

static void free_attachment(struct attachment *a) {
	free(a->path);
	free(a);
}

/* libuv may look at a handle until it calls this. */
static void handle_closed(uv_handle_t *handle) {
	struct attachment *a = handle->data;
	struct environment *e = a->environment;
	free_attachment(a);
	e->handles--;
	if (e->ended && e->handles == 0)
		environment_release(e);
}

static int watch(struct attachment *a) {
	int fd = stint_fd(a->stint);
	if (fd < 0)
		return fd;
	if (uv_poll_init(a->environment->loop, &a->poll, fd) != 0)
		return ERROR_EVENT_LOOP;
	a->environment->handles++;
	a->polls = true;
	a->poll.data = a;
	uv_unref((uv_handle_t *)&a->poll);
	return uv_poll_start(&a->poll, UV_READABLE, dispatch) == 0 ? 0 : ERROR_EVENT_LOOP;
}

static int open_attachment(struct attachment *a, const char *path) {
	if (path && !(a->path = strdup(path)))
		return STINT_ENOMEM;
	int error = stint_open(&a->stint, path);
	return error ? error : watch(a);
}

/* The descriptor goes with the attachment, so libuv lets go of it first. */
static void close_attachment(struct attachment *a) {
	LIST_REMOVE(a, link);
	if (a->polls)
		uv_poll_stop(&a->poll);
	stint_close(a->stint);
	a->stint = NULL;
	if (a->polls)
		uv_close((uv_handle_t *)&a->poll, handle_closed);
	else
		free_attachment(a);
}

int attachment_join(struct attachment **out, struct environment *e, const char *path) {
	struct attachment *a = find(e, path);
	if (!a) {
		if (!(a = calloc(1, sizeof(*a))))
			return STINT_ENOMEM;
		a->environment = e;
		LIST_INSERT_HEAD(&e->attachments, a, link);
		int error = open_attachment(a, path);
		if (error) {
			close_attachment(a);
			return error;
		}
	}
	a->limiters++;
	*out = a;
	return 0;
}

void attachment_leave(struct attachment *a) {
	if (--a->limiters == 0)
		close_attachment(a);
}

void attachment_began(struct attachment *a) {
	if (a->pending++ == 0)
		uv_ref((uv_handle_t *)&a->poll);
}

void attachment_finished(struct attachment *a) {
	if (--a->pending == 0)
		uv_unref((uv_handle_t *)&a->poll);
}

/* No JavaScript runs inside stint_dispatch(): callbacks only queue what came. */
static void dispatch(uv_poll_t *poll, int status, int events) {
	struct attachment *a = poll->data;
	(void)status;
	(void)events;
	stint_dispatch(a->stint);
	environment_settle(a->environment, true);
}
