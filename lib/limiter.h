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
#include "question.h"
#include "stint.h"
#include "stintd.h"
#include "protocol/wire.h"

/* Where the limiter's policy is. A binding never changes; a newer one replaces it. */
struct binding {
	const struct mapping *mapping;
	const struct policy_entry *entry; /* the policy's entry, in the mapping */
	uint32_t policy;                  /* the policy's number */
	uint32_t tally_cpus;              /* CPUs with a tally of their own */
	struct tally *tallies;            /* the policy's row, in the mapping; see count.h */
	struct binding *older;            /* kept until stint_limiter_free(): other threads may be reading it */
};

struct stint_limiter {
	_Atomic(struct binding *) binding; /* NULL: the policy was never declared */
	struct stint *attachment;
	struct stintd *stintd;
	_Atomic bool ending;          /* stint_limiter_free() runs: no request begins */
	_Atomic uint64_t declared_on; /* number of the connection on which the policy is declared; 0: none */
	/* The DECLARE that all requests of the limiter wait for. The channel's lock protects these. A fork may leave
	 * them torn, but no connection of the child ever has the number. */
	uint64_t declaring_on;   /* number of the connection on which the DECLARE has no answer yet; 0: none */
	uint32_t declare_serial; /* the newest DECLARE's */
	LIST_ENTRY(stint_limiter) declaring_link;
	struct wire_declare declaration;
	char policy[STINT_POLICY_NAME_MAX + 1];
	uint8_t policy_length;
	int timeout_ms;
	/* For the limit inside the process. */
	enum stint_on_error on_error;
	int64_t local_max_requests; /* 0: use the fallback's */
	int64_t fallback_max_requests;
	int64_t fallback_time_window_ms;
	struct local *local;
	struct owed *owed; /* what isn't counted yet, see count.h; may be NULL */
};

LIST_HEAD(limiter_list, stint_limiter);

/* Returns whether the policy is a shadow, by the directory: not 0 if it is. */
HOT_PART static inline unsigned limiter_load_shadow(const struct binding *binding) {
	return atomic_load_explicit(&binding->entry->shadow, memory_order_relaxed);
}

/* Makes a limiter from options that options_check() has accepted. Returns NULL if there is no memory. */
struct stint_limiter *limiter_new(struct stint *, struct stintd *, const struct stint_options *);
void limiter_free(struct stint_limiter *);

/* Whether the limiter or its attachment is being freed: callbacks may ask it for checks even then. */
bool limiter_is_ending(const struct stint_limiter *);

/* Binds the limiter to the policy with this number, unless it is bound to it already. Returns false if there is no
 * memory. The caller holds the channel's lock. */
bool limiter_bind(struct stint_limiter *, const struct mapping *, uint32_t policy);

/* A shadow policy admits whom it denies: makes this of a denial. */
static inline void limiter_excuse(struct stint_result *result) {
	result->allowed = result->shadow_denied = true;
}

/* Completes a verdict before an app sees it: does that if the limiter's policy is a shadow, and tells the window
 * of an agent's verdict; as far as this process knows them. The table's verdicts are complete, see describe(). */
void limiter_tell(const struct stint_limiter *, struct stint_result *);

/* Decides without the agent, by on_error: denies as long as the agent may be back any moment, then decides by the
 * limit inside the process; or always denies, or admits. */
void limiter_decide_alone(const struct question *, struct stint_result *);

/* Takes back what the process has counted for an admission in this window of its own, by the admission's receipt.
 * Returns false when that isn't possible any more. */
bool limiter_give_back(const struct question *, uint32_t window);

/* The same as limiter_decide_alone(), as if the agent had been away for long. */
void limiter_decide_locally(const struct question *, struct stint_result *);

#endif
