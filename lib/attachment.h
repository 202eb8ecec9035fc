/*
 * attachment.h - what a struct stint is made of, and what each process has of it.
 *
 * A process talks to the agent through one struct conversation. A fork makes a
 * second process with a copy of it, whose lock may be held by a thread that the
 * child doesn't have. So everything with a lock lives in the conversation, the
 * conversation knows its process (fork_mark.h), and a child that finds its
 * parent's leaves it as it is and makes its own. What is outside of it changes by
 * atomic operations alone and is whole at any instant.
 */
#ifndef STINT_ATTACHMENT_H
#define STINT_ATTACHMENT_H

#include <stdatomic.h>
#include <stdint.h>

#include "async.h"
#include "channel.h"
#include "fork_mark.h"
#include "stintd.h"

/* One process's: its connection with those who wait on it, and its asynchronous checks. */
struct conversation {
	struct channel channel;
	struct async async;
	uint64_t process;           /* whose it is: see fork_mark.h */
	struct conversation *older; /* in the attachment's list of inherited ones */
};

struct stint {
	struct stintd stintd;
	struct fork_mark fork_mark;
	_Atomic(struct conversation *) conversation; /* of this process, or still the parent's */
	_Atomic(struct conversation *) inherited;    /* the parent's, and its parent's: never used again */
};

/* NULL when there is no memory. The path fits into an address. */
struct stint *attachment_new(const char *socket_path);

/* Nobody uses it any more. */
void attachment_free(struct stint *);

/* This process's, made if need be; NULL when there is no memory. */
struct conversation *attachment_conversation(struct stint *);

/* The same without making one. */
struct conversation *attachment_find_conversation(struct stint *);

#endif
