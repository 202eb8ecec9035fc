/*
 * attachment.c - stint_open(), stint_close(), and whose channel it is.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "attachment.h"
#include "channel.h"
#include "error.h"

static const char *choose_path(const char *path) {
	if (path)
		return path;
	/* Not from whoever starts a set-user-ID program. */
	path = secure_getenv("STINT_SOCKET");
	return path ? path : STINT_DEFAULT_SOCKET;
}

int stint_open(struct stint **out, const char *socket_path) {
	const char *path = choose_path(socket_path);
	size_t length = strlen(path);
	struct stint *st;

	*out = NULL;
	if (length == 0 || length >= sizeof(st->address.sun_path))
		return error_set(STINT_EPATH, "the socket's path has %zu bytes, must have 1 to %zu", length,
			sizeof(st->address.sun_path) - 1);
	st = calloc(1, sizeof(*st));
	if (!st)
		return error_set(STINT_ENOMEM, "no memory for an attachment");
	st->address.sun_family = AF_UNIX;
	memcpy(st->address.sun_path, path, length + 1);
	fork_mark_init(&st->fork_mark);
	*out = st;
	return 0;
}

static void free_mappings(struct mapping *m) {
	while (m) {
		struct mapping *older = m->older;
		mapping_free(m);
		m = older;
	}
}

static void free_channels(struct channel *ch) {
	while (ch) {
		struct channel *older = ch->older;
		channel_free(ch);
		ch = older;
	}
}

/* A callback may close what is being closed already: then that is nothing. */
void stint_close(struct stint *st) {
	struct channel *ch;

	if (!st || atomic_exchange(&st->ending, true))
		return;
	ch = attachment_find_channel(st);
	if (ch)
		channel_forget_all(ch);
	async_attachment_ends(st);
	channel_free(atomic_load(&st->channel));
	free_channels(atomic_load(&st->inherited));
	free_mappings(atomic_load(&st->mappings));
	fork_mark_destroy(&st->fork_mark);
	free(st);
}

/* Another thread may still be looking whose it is, so it is freed in stint_close() only. */
static void put_aside(struct stint *st, struct channel *ch) {
	channel_abandon(ch);
	ch->older = atomic_load(&st->inherited);
	while (!atomic_compare_exchange_weak(&st->inherited, &ch->older, ch))
		;
}

struct channel *attachment_find_channel(struct stint *st) {
	struct channel *ch = atomic_load(&st->channel);
	return ch && ch->process == fork_mark_process(&st->fork_mark) ? ch : NULL;
}

struct channel *attachment_channel(struct stint *st) {
	struct channel *present = atomic_load(&st->channel);
	struct channel *fresh;

	if (present && present->process == fork_mark_process(&st->fork_mark))
		return present;
	fresh = channel_new(st, present);
	if (!fresh)
		return NULL;
	if (!atomic_compare_exchange_strong(&st->channel, &present, fresh)) {
		/* Another thread of this process was faster; `present` is its channel now, and has what was inherited. */
		watch_forget(&fresh->async.watch);
		channel_free(fresh);
		return present;
	}
	if (present)
		put_aside(st, present);
	return fresh;
}
