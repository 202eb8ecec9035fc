/*
 * core.h - the lease protocol: decides what is asked of the database, what goes
 * into the table, and what waiting apps are told. Pure: (state, now, event) in,
 * calls of struct core_io out. No clock, no socket, no database in here, so the
 * same code runs under the agent, under tests and in a simulator.
 *
 * What always holds:
 *
 *   - A credit is in the table, or admitted, only after its store has counted it.
 *     (Relaxed policies: up to an advance, see relaxed_advance() in apps.c.)
 *   - What is unknown counts as spent. A grant whose answer is lost is never
 *     asked back; credits go back only after they were destroyed in the table,
 *     and are offered once.
 *   - A lease is usable from the receive time plus the store's duration and until the send
 *     time plus the store's duration: by anybody's clock no later than in the sub-window
 *     that it is charged to, and one that was leased ahead no earlier.
 *   - What is reported as spent was spent before the report was made: it may count from then on.
 *   - While the database is away the same leases come from store_memory with the
 *     fallback's terms. Whatever those admit is charged when the database is back,
 *     before the client gets anything else.
 *
 * Times are CLOCK_MONOTONIC nanoseconds. Nothing here may be called from a
 * callback of struct core_io.
 */
#ifndef STINT_CORE_H
#define STINT_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grant.h"
#include "store.h"
#include "table.h"

struct core;

/* The most rows of one statement. A hot row stays locked until its statement commits, so others wait for this many
 * rows at most. More would gain little: the round trip is spread over hundreds already. */
#define CORE_BATCH_MAX 256

/* The longest that grants are held back after a promotion: longer than agents take to find the new primary, which
 * is a deadline and then an attempt every two seconds. */
#define CORE_HOLD_MAX_NS INT64_C(10000000000)

struct core_verdict {
	int status; /* 0, or a negative enum stint_error and no verdict */
	bool allowed;
	uint8_t source;      /* enum stint_source */
	uint8_t reason;      /* enum stint_reason */
	int64_t deadline_ns; /* the admission is void after this */
	int64_t limit;
	int64_t remaining;
	int64_t retry_after_ms;
	int64_t reset_after_ms;
};

/* Why a client is denied; as the database numbers it, see stint.host_denial. */
enum core_denied_by {
	CORE_DENIED_BY_LIMIT = 1,
	CORE_DENIED_BY_BLOCK = 2,
	CORE_DENIED_BY_FALLBACK = 3,
	CORE_DENIED_BY_DATABASE = 4, /* it can't get at the client's row */
};

struct core_denied {
	uint16_t policy; /* its index */
	uint8_t id_len;
	const char *id; /* without a NUL; until the core is called again */
	enum core_denied_by by;
};

struct core_io {
	/* Send this batch; core_on_grants() must follow, once. Never called while one is under way. */
	void (*take)(void *context, int host, const struct lease_request *requests, size_t count);
	void (*verdict)(void *context, uint64_t peer, uint32_t serial, const struct core_verdict *verdict);
	/* Ask the other hosts for what they haven't spent of these clients' leases; each is told by core_recall(). It
	 * may be lost: nothing depends on it. NULL: nobody can be told. */
	void (*recall)(void *context, const struct lease_recall *recalls, size_t count);
	/* A verdict denies this client. Not of core_look(), and of core_provide() only what the store denies: the
	 * app notes in the table whom the table denies. NULL: nobody wants to know. */
	void (*denied)(void *context, const struct core_denied *);
};

struct core_options {
	bool memory_only;        /* no database: the memory store, for good */
	int64_t grace_ns;        /* how long to wait for a lost connection before the fallback */
	int64_t idle_timeout_ns; /* a client unused for so long leaves the table */
	/* of the memory store, a secret; the same for a table as long as it lives, so that its sub-windows go on
	 * where an earlier agent's leases have theirs. The database tells hosts apart by a part of it. */
	uint64_t seed;
	/* how many slots one step looks at when something concerns all clients; 0: as many as is good */
	uint32_t walk_slots;
};

struct core_policy {
	bool live;
	bool relaxed;
	int32_t policy_id;   /* the database's; 0: not known yet */
	uint32_t generation; /* see policy_number_make(); another one only while the policy is unused */
	int64_t time_window_ms;
	struct grant_terms terms;
	struct grant_terms fallback_terms;
};

struct core_counters {
	uint64_t wants, lows;                /* messages of apps */
	uint64_t allowed, denied;            /* verdicts sent */
	uint64_t batches, requests;          /* to the database, and clients in them */
	uint64_t granted, returned, charged; /* credits */
	uint64_t fallback_granted;           /* credits handed out in the current or last fallback */
	uint64_t late;                       /* grants that came too late to be used */
	uint64_t busy;                       /* requests that weren't applied, as the client's row was locked */
	uint64_t unserved;                   /* denied because the database couldn't get at the client's row */
	/* slots, timers, chains that were looked at without being asked: what one call does of it is bounded */
	uint64_t looked;
	uint64_t evicted_idle, evicted_for_room, tableless, repaired;
};

/*
 *     connecting --up--> in step --lost--> connecting
 *         |                ^
 *     down, or grace over  | all charged
 *         v                |
 *     fallback --up--> resync
 *
 * After a promotion "up" means: when the old primary's leases have run out (promotion.c).
 *
 * A connection that is lost is often back at once (a backend was terminated, a proxy restarted). Until the
 * grace is over, or an attempt to reconnect has failed, who has to ask waits: the promise comes first.
 */
enum core_state { CORE_MEMORY, CORE_CONNECTING, CORE_FALLBACK, CORE_RESYNC, CORE_IN_STEP };

/* Answers of the store, under the policy that has this index, that left a client less than a fifth of its
 * limit. */
uint64_t core_near_limit(const struct core *, uint16_t policy);

/* The table must outlive the core. Starts connecting, with a grace (or in memory). 0, or -1 without memory. */
int core_new(struct core **out, struct table *table, int64_t now_ns, const struct core_options *options,
             const struct core_io *io, void *context);
void core_free(struct core *);

/* A policy appears, changes or goes (live false). Leases that were made under other terms are void: from here on
 * nobody who asks is given any of them, and within a second, if there are a million clients, they are out of the
 * table (generation.c). */
void core_set_policy(struct core *, int64_t now_ns, uint16_t index, const struct core_policy *policy);
/* Its terms are what they were, but whatever was leased of it is void, as above. */
void core_void_policy(struct core *, int64_t now_ns, uint16_t index);
/* Nothing here is of the policy with this index: it may be given to another one, of a new generation. */
bool core_policy_is_unused(const struct core *, uint16_t index);
/* An override of one client changed. */
void core_client_changed(struct core *, int64_t now_ns, uint16_t policy, const char *id, uint8_t id_len);

/* An operator has had what was counted for it forgotten, age_ns ago or less: so is what it came to owe here
 * before. Of a debt that was made in parts all is kept if the last part may be of later. */
void core_client_reset(struct core *, int64_t now_ns, uint16_t policy, const char *id, uint8_t id_len,
                       int64_t age_ns);

/* Another host has none left for a client, of whom this one may have a long lease: what is unspent goes back. */
void core_recall(struct core *, int64_t now_ns, uint16_t policy, const char *id, uint8_t id_len);

/* An app waits for a verdict until expires_ns. */
typedef void core_event_want(struct core *, int64_t now_ns, uint64_t peer, uint32_t serial, uint16_t policy,
                             const char *id, uint8_t id_len, uint32_t cost, int64_t expires_ns);
core_event_want core_want;
/* The same, but the app takes the credits itself: an admission says that a lease in the table holds so many. */
core_event_want core_provide;
/* The same, but the app takes none: it only looks, and nobody is admitted or denied. */
core_event_want core_look;

/* An app has used this cost without asking: it counts, also beyond the limit. */
void core_charge(struct core *, int64_t now_ns, uint16_t policy, const char *id, uint8_t id_len, uint32_t cost);
/* An app saw a client's credits run low. */
void core_low(struct core *, int64_t now_ns, uint16_t policy, const char *id, uint8_t id_len);

void core_on_grants(struct core *, int64_t now_ns, enum lease_outcome outcome, const struct lease_grant *grants,
                    size_t count);
/* Leases of other hosts, whose policies may be unknown here, last for so long at most: a promotion waits for them
 * as well. */
void core_know_lease(struct core *, int64_t lease_us);
/* The server is another one than granted the leases that are out, for age_ns at least, and may lack what that one
 * committed last. So its grants are held back until those leases have run out on all hosts. Called before
 * core_database_up(), when policies are known. */
void core_database_promoted(struct core *, int64_t now_ns, int64_t age_ns);
/* policies that are known must have their ids */
void core_database_up(struct core *, int64_t now_ns, int live_hosts);
void core_database_lost(struct core *, int64_t now_ns); /* a connection that was up broke */
void core_database_down(struct core *, int64_t now_ns); /* it can't be made */
void core_set_hosts(struct core *, int live_hosts);
/* The database is another one from here on, or there is another way to it: what is under way gets no answer any
 * more, and no lease is returned. */
void core_database_changed(struct core *, int64_t now_ns);
void core_set_timing(struct core *, int64_t grace_ns, int64_t idle_timeout_ns);

/* Does what is due, sends what is queued. Call after events, and at core_next_ns() at the latest. */
void core_advance(struct core *, int64_t now_ns);
int64_t core_next_ns(const struct core *); /* INT64_MAX: nothing planned */

/* Before the end: takes all leases out of the table, to be returned by the next batches. */
void core_drain(struct core *, int64_t now_ns);
bool core_is_drained(const struct core *);

/* Who is in this slot of the table, and why it is denied, if it is. False: nobody that is known. */
bool core_find_denied(struct core *, int64_t now_ns, uint32_t slot, struct core_denied *denied);
int core_host(const struct core *); /* by which the database tells this host from others */
enum core_state core_state(const struct core *);
const struct core_counters *core_counters(const struct core *);
uint32_t core_client_count(const struct core *);
int64_t core_rtt_ns(const struct core *);            /* of a batch, smoothed */
int64_t core_fallback_since_ns(const struct core *); /* 0: not in fallback */
/* how long a lease may last, of any policy here, or that was told */
int64_t core_longest_lease_ns(const struct core *);
/* grants are held back after a promotion; in the past: they aren't */
int64_t core_held_until_ns(const struct core *);
uint64_t core_fallback_clients(const struct core *);
/* credits of the memory store's to clients that it had no room to tell apart */
uint64_t core_shared_granted(const struct core *);
size_t core_uncharged(const struct core *); /* clients whose fallback use is still to be charged */
size_t core_queued(const struct core *);    /* requests to the store, queued or under way */
bool core_is_walking(const struct core *);  /* some clients haven't met the last event that concerns all */
/* All clients have met whatever has happened so far when core_has_walked() as far as this. Events that follow
 * don't put that off. */
uint64_t core_walk_end(const struct core *);
bool core_has_walked(const struct core *, uint64_t end);

#endif
