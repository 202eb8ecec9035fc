/*
 * attachment.h - what a struct stint is made of, and what each process has of it.
 *
 * A process talks to the agent through one struct conversation. A fork copies it
 * into the child, where its lock may be held by a thread that the child doesn't
 * have. So everything that needs a lock is in the conversation, and the
 * conversation knows its process (fork_mark.h). A child that finds its parent's
 * conversation doesn't use it and makes its own. Everything outside the
 * conversation changes by atomic operations alone, so it is consistent at any
 * instant.
 */
#ifndef STINT_ATTACHMENT_H
#define STINT_ATTACHMENT_H

#include <stdatomic.h>
#include <stdint.h>

#include "async.h"
#include "channel.h"
#include "fork_mark.h"
#include "stintd.h"

/* What one process has: its connection, the threads that wait on it, and its asynchronous checks. */
struct conversation {
	struct channel channel;
	struct async async;
	uint64_t process;           /* the process that made this, by fork_mark.h */
	struct conversation *older; /* next in struct stint.inherited */
};

struct stint {
	struct stintd stintd;
	struct fork_mark fork_mark;
	_Atomic(struct conversation *) conversation; /* this process's, or still its parent's */
	_Atomic(struct conversation *) inherited;    /* the ancestors': never used again, freed by stint_close() */
};

/* Returns NULL if there is no memory. The caller has checked that the path fits into an address. */
struct stint *attachment_new(const char *socket_path);

/* Frees the attachment with its conversations and mappings. No thread may be using it any more. */
void attachment_free(struct stint *);

/* Returns this process's conversation, and makes it if there is none; NULL, and this thread's detail, if there is
 * no memory. */
struct conversation *attachment_conversation(struct stint *);

/* Returns this process's conversation, or NULL if there is none; makes none. */
struct conversation *attachment_find_conversation(struct stint *);

#endif
