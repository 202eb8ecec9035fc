/*
 * attachment.h - what a struct stint and a struct stint_limiter are made of.
 *
 * A process talks to the agent through one struct channel. A fork makes a second
 * process with a copy of it, whose locks may be held by threads that the child
 * doesn't have. So everything with a lock lives in the channel, the channel
 * knows its process (fork_mark.h), and a child that finds its parent's leaves it
 * as it is and makes its own. What is outside the channel changes by atomic
 * operations alone and is whole at any instant.
 */
#ifndef STINT_ATTACHMENT_H
#define STINT_ATTACHMENT_H

#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/un.h>

#include "absence.h"
#include "fork_mark.h"
#include "local.h"
#include "mapping.h"
#include "stint.h"
#include "wire.h"

struct channel;
LIST_HEAD(limiter_list, stint_limiter);

struct stint {
	struct sockaddr_un address;
	struct fork_mark fork_mark;
	_Atomic(struct channel *) channel;   /* of this process, or still the parent's */
	_Atomic(struct channel *) inherited; /* the parent's, and its parent's: never used again */
	_Atomic(struct mapping *) mappings;  /* newest first; old ones may be in use until stint_close() */
	_Atomic uint64_t connections;        /* how many were made: numbers them, across forks */
	struct absence absence;              /* of the agent */
	_Atomic bool ending;                 /* stint_close() runs: nothing more is asked */
};

/* Where the limiter's policy is. Never changes; replaced by a newer one. */
struct binding {
	const struct mapping *mapping;
	const struct policy_entry *entry; /* the policy's, in the mapping */
	uint32_t policy; /* its number */
	struct binding *older; /* other threads may be reading it until stint_limiter_free() */
};

struct stint_limiter {
	_Atomic(struct binding *) binding; /* NULL: never declared yet */
	struct stint *attachment;
	_Atomic bool ending;          /* stint_limiter_free() runs: nothing more is asked for it */
	_Atomic uint64_t declared_on; /* number of the connection; 0: never */
	/* The DECLARE, which all requests of the limiter wait for. Under the channel's lock; a fork may leave it torn,
	 * but no connection of the child's ever has the number. */
	uint64_t declaring_on; /* number of the connection on which it has no answer yet; 0: none */
	uint32_t declare_serial; /* the newest */
	LIST_ENTRY(stint_limiter) declaring_link;
	struct wire_declare declaration;
	char policy[STINT_POLICY_NAME_MAX + 1];
	uint8_t policy_length;
	int timeout_ms;
	/* For the limit in the process. */
	int64_t local_max_requests; /* 0: the fallback's */
	int64_t fallback_max_requests;
	int64_t fallback_time_window_ms;
	struct local *local;
};

/* This process's channel, made if need be; NULL when there is no memory. */
struct channel *attachment_channel(struct stint *);

/* The same without making one. */
struct channel *attachment_find_channel(struct stint *);

/* Decides while the agent says nothing: denies as long as it may be back any moment, then by the limit inside the process. */
void limiter_decide_alone(struct stint_limiter *, const char *id, size_t length, uint32_t cost, struct stint_result *);

/* Decides by the limit inside the process. */
void limiter_decide_locally(struct stint_limiter *, const char *id, size_t length, uint32_t cost,
	struct stint_result *result);

/* Takes the index in as the limiter's, if it is news. False when there is no memory. */
bool limiter_bind(struct stint_limiter *, const struct mapping *, uint32_t policy);

#endif
