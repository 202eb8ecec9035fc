/*
 * attachment.c - makes and frees attachments, and gives each process a
 * conversation of its own.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "attachment.h"
#include "error.h"

struct stint *attachment_new(const char *socket_path) {
	struct stint *st = calloc(1, sizeof(*st));
	if (!st)
		return NULL;
	st->stintd.address.sun_family = AF_UNIX;
	strcpy(st->stintd.address.sun_path, socket_path);
	fork_mark_init(&st->fork_mark);
	return st;
}

static bool is_ours(struct stint *st, const struct conversation *c) {
	return c->process == fork_mark_process(&st->fork_mark);
}

/* Makes a conversation. Notes in it the descriptors of the parent's stint_fd(), so that watch_start() can replace
 * them. */
static struct conversation *make_conversation(struct stint *st, const struct conversation *parents) {
	struct conversation *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->process = fork_mark_process(&st->fork_mark);
	async_init(&c->async, &c->channel, c->process);
	if (!channel_init(&c->channel, &st->stintd, async_watch, &c->async)) {
		free(c);
		return NULL;
	}
	if (parents)
		watch_inherit(&c->async.watch, &parents->async.watch);
	return c;
}

static void free_conversation(struct stint *st, struct conversation *c) {
	/* An inherited lock may be held by a thread that this process never had, so it is not destroyed. */
	if (is_ours(st, c))
		channel_destroy(&c->channel);
	else
		channel_abandon(&c->channel);
	async_destroy(&c->async);
	free(c);
}

static void free_conversations(struct stint *st, struct conversation *c) {
	while (c) {
		struct conversation *older = c->older;
		free_conversation(st, c);
		c = older;
	}
}

static void free_mappings(struct mapping *m) {
	while (m) {
		struct mapping *older = m->older;
		mapping_free(m);
		m = older;
	}
}

void attachment_free(struct stint *st) {
	free_conversations(st, atomic_load(&st->conversation));
	free_conversations(st, atomic_load(&st->inherited));
	free_mappings(atomic_load(&st->stintd.mappings));
	fork_mark_destroy(&st->fork_mark);
	free(st);
}

/* Keeps the parent's conversation until stint_close(), since another thread may still be reading its `process`. */
static void put_aside(struct stint *st, struct conversation *c) {
	channel_abandon(&c->channel);
	watch_forget(&c->async.watch);
	c->older = atomic_load(&st->inherited);
	while (!atomic_compare_exchange_weak(&st->inherited, &c->older, c))
		;
}

struct conversation *attachment_find_conversation(struct stint *st) {
	struct conversation *c = atomic_load(&st->conversation);
	return c && is_ours(st, c) ? c : NULL;
}

struct conversation *attachment_conversation(struct stint *st) {
	struct conversation *present = atomic_load(&st->conversation);
	if (present && is_ours(st, present))
		return present;
	struct conversation *fresh = make_conversation(st, present);
	if (!fresh) {
		error_set(STINT_ENOMEM, "no memory for a connection to the agent");
		return NULL;
	}
	if (!atomic_compare_exchange_strong(&st->conversation, &present, fresh)) {
		/* Another thread was faster: `present` is now this process's own, and has the inherited descriptors. */
		watch_forget(&fresh->async.watch);
		free_conversation(st, fresh);
		return present;
	}
	if (present)
		put_aside(st, present);
	return fresh;
}
