/*
 * limiter.h - what a struct stint_limiter is made of, and how it decides without
 * the agent.
 */
#ifndef STINT_LIMITER_H
#define STINT_LIMITER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "local.h"
#include "mapping.h"
#include "stint.h"
#include "stintd.h"
#include "protocol/wire.h"

/* Where the limiter's policy is. Never changes; replaced by a newer one. */
struct binding {
	const struct mapping *mapping;
	const struct policy_entry *entry; /* the policy's, in the mapping */
	uint32_t policy;                  /* its number */
	struct binding *older;            /* other threads may be reading it until stint_limiter_free() */
};

struct stint_limiter {
	_Atomic(struct binding *) binding; /* NULL: never declared yet */
	struct stint *attachment;
	struct stintd *stintd;
	_Atomic bool ending;          /* stint_limiter_free() runs: nothing more is asked for it */
	_Atomic uint64_t declared_on; /* number of the connection; 0: never */
	/* The DECLARE, which all requests of the limiter wait for. Under the channel's lock; a fork may leave it torn,
	 * but no connection of the child's ever has the number. */
	uint64_t declaring_on;   /* number of the connection on which it has no answer yet; 0: none */
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

LIST_HEAD(limiter_list, stint_limiter);

/* With options that are as they may be. NULL when there is no memory. */
struct stint_limiter *limiter_new(struct stint *, struct stintd *, const struct stint_options *);
void limiter_free(struct stint_limiter *);

/* A callback may ask for what is being freed. */
bool limiter_is_ending(const struct stint_limiter *);

/* Takes the index in as the limiter's, if it is news. False when there is no memory. */
bool limiter_bind(struct stint_limiter *, const struct mapping *, uint32_t policy);

/* Decides while the agent says nothing: denies as long as it may be back any moment, then by the limit inside the
 * process. */
void limiter_decide_alone(struct stint_limiter *, const char *id, size_t length, uint32_t cost,
	struct stint_result *);

/* Decides by the limit inside the process. */
void limiter_decide_locally(struct stint_limiter *, const char *id, size_t length, uint32_t cost,
	struct stint_result *);

#endif
