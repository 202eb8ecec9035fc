/*
 * internal.h - shared by the core's files only.
 *
 *   core.c      events of apps, policies and the database; time
 *   state.c     which store is asked
 *   generation.c events that concern all clients: each meets them when it is looked at, or when a walk comes by
 *   registry.c  where each client is
 *   arrival.c   who comes in, and in whose stead
 *   sweep.c     who is idle leaves
 *   repair.c    what was scribbled over is put back
 *   pending.c   one client's request: who waits for it, in which queue
 *   debt.c      what was admitted before it was counted
 *   batch.c     sending requests to the store, many at a time
 *   answer.c    what a store's answer means
 *   verdict.c   what goes with a verdict
 *   leases.c    leases: sizes, into the table and out of it again, timers
 *   fallback.c  the way into fallback and back
 *   promotion.c another server in the place of the database
 */
#ifndef STINT_CORE_INTERNAL_H
#define STINT_CORE_INTERNAL_H

#include "client.h"
#include "core.h"
#include "heap.h"
#include "store_memory.h"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_US INT64_C(1000)
#define NO_PENDING CLIENT_NO_PENDING

/* A host returns what lies idle after 5 s at most; a denied client costs one statement in that time, which writes nothing. */
#define DENIAL_MAX_US INT64_C(6000000)

/* Requests that may stand in the background queue before no more are made for clients who can wait: several batches. */
#define BACKGROUND_ROOM 4096u

#define TABLELESS_LISTS 4096 /* a power of two; a sixteenth of how many there may be */

struct waiter {
	struct waiter *next;
	uint64_t peer;
	int64_t expires_ns;
	uint32_t serial;
	uint32_t cost;
};

enum pending_state { PENDING_URGENT, PENDING_BACKGROUND, PENDING_IN_FLIGHT };

/* One client's request to the store: queued or under way, at most one per client. */
struct pending {
	uint32_t index;               /* its number */
	uint32_t client;
	uint32_t previous, next;      /* in its queue */
	uint8_t state;                /* enum pending_state */
	bool wants_more;              /* credits ran low */
	bool wants_next;              /* time to lease the next sub-window */
	bool of_fallback;             /* its debt, or part of it, is one of those that the resync waits for */
	bool grouped;                 /* was in a large batch that was rejected: with a few others next */
	uint8_t rejections;           /* in a row, of this request, in such a group or a small batch */
	uint8_t late;                 /* answers that came too late to be used, in a row */
	struct waiter *first, **last; /* who waits, in order */
	uint32_t sent_waiters;        /* how many of them the request under way counts */
	struct debt debt;             /* admitted already */
	int64_t return_sub_window;
	int32_t return_first, return_second;
	struct lease_request sent;
	struct debt sent_debt; /* what sent.charge is of */
};

struct pending_queue {
	uint32_t first, last;
};

/* An event for all clients: those of an earlier generation haven't met it yet. Closed when there are none. */
struct mark {
	uint32_t generation;
	bool open;
	uint64_t ends; /* when walks have looked at so many slots */
};

struct core {
	struct table *table;
	struct core_io io;
	void *context;
	struct core_options options;
	struct core_policy policies[POLICY_CAPACITY];
	struct client_pool pool;
	uint32_t tableless[TABLELESS_LISTS]; /* clients without a slot, by key */
	struct heap timers; /* value: client */
	struct store_memory *memory;
	struct core_counters counters;

	int64_t now_ns; /* of the event being handled */
	enum core_state state;
	int hosts; /* that are alive; 0: the database hasn't said yet */
	int64_t grace_until_ns;
	int64_t up_ns;               /* when the database came up last */
	uint32_t lone_rejections;    /* in a row, of clients that were asked for alone */
	int64_t unanswered_since_ns; /* when the batch was sent whose connection broke; 0: the last one was answered */
	int64_t fallback_since_ns;
	bool connected;        /* the database is there, though its grants may still be held back */
	bool promoted;         /* it is another one than granted the leases that are out */
	int64_t held_until_ns; /* no grants of it before */
	int64_t others_lease_ns; /* how long leases of other hosts last, at most that of the longest hold */

	struct pending **pending; /* by number; address space for all, memory as they come */
	struct slab pending_slab; /* and of those who wait */
	uint32_t pending_count, pending_high, pending_capacity, pending_free;
	uint32_t waiter_count;
	struct pending_queue urgent, background;
	size_t background_count;
	size_t charges_left;        /* of the resync: requests whose charge is still to be acknowledged */
	bool collecting;            /* and there may be more in the memory store ... */
	size_t collect_chain;       /* ... from this chain on */
	int64_t background_at_ns;   /* when the background queue is sent at the latest */
	uint32_t in_flight[CORE_BATCH_MAX];
	size_t in_flight_count;
	int64_t sent_ns;
	int64_t rtt_ns;

	/* generation.c */
	uint32_t generation;
	bool generation_used;      /* somebody has met it */
	uint32_t generations_open; /* that somebody may not have met */
	uint64_t generation_ends[CLIENT_GENERATIONS]; /* of each of these: when everybody has met it, as a mark's */
	struct mark lost;          /* the database */
	struct mark returned;      /* from a fallback */
	struct mark disowned;      /* leases: another database's, perhaps */
	struct mark burnt;         /* what was disowned */
	struct mark drained;       /* before the end */
	struct mark voided[POLICY_CAPACITY];
	bool forfeits[POLICY_CAPACITY]; /* what is void of this policy's isn't returned either */
	uint32_t walk_slot;
	uint64_t walked, walk_ends; /* slots, ever: that walks have looked at; where this one ends */
	int64_t walk_at_ns, collect_at_ns;
	bool has_orphans; /* perhaps of an agent that was in a fallback */

	uint32_t sweep_slot;
	int64_t sweep_at_ns;
	bool draining;
};

static inline struct client *client_at(struct core *core, uint32_t index) {
	return &core->pool.clients[index];
}

static inline struct core_policy *policy_of(struct core *core, const struct client *client) {
	return &core->policies[client->policy];
}

static inline bool in_fallback(const struct core *core) {
	return core->state == CORE_FALLBACK;
}

static inline bool uses_memory(const struct core *core) {
	return core->state == CORE_MEMORY || core->state == CORE_FALLBACK;
}

static inline const struct grant_terms *terms_now(const struct core *core, const struct core_policy *policy) {
	return in_fallback(core) ? &policy->fallback_terms : &policy->terms;
}

static inline bool is_orphan(uint32_t owner) {
	return owner == TABLE_ORPHAN || owner == TABLE_ORPHAN_IDLE;
}

_Static_assert(POLICY_CAPACITY <= CLIENT_POLICIES, "a record holds any policy");

/* Whether one more request of a client may be made that can as well be made later. */
static inline bool has_background_room(const struct core *core, const struct client *client) {
	return client->pending != NO_PENDING || core->background_count < BACKGROUND_ROOM;
}

/* state.c */
void state_begin(struct core *core, int64_t now_ns);
void state_enter_fallback(struct core *core, int64_t now_ns);
void state_return(struct core *core);       /* the database answers; what a fallback admitted is charged first */
void state_note_charged(struct core *core); /* some of that was charged: if it was the last, the state follows */
bool state_lose(struct core *core, int64_t now_ns); /* false: it was out of step already, the state stays */
bool state_grace_is_over(const struct core *core, int64_t now_ns);
bool state_is_held(const struct core *core);    /* the database is there, but isn't asked for anything yet */
int64_t state_next_ns(const struct core *core); /* when a grace or a hold ends; INT64_MAX: neither is on */

/* generation.c */
struct mark generation_begin(struct core *core);
void client_stamp(struct core *core, struct client *client); /* a new one */
void client_meet(struct core *core, uint32_t index);         /* before anything is done with a client, or its leases are looked at */
void orphan_meet(struct core *core, uint32_t slot);
void orphan_void(struct core *core, uint32_t slot);
void walk_step(struct core *core, int64_t now_ns);
bool generation_is_walking(const struct core *core);

/* registry.c */
/* The slot of this client: its owner, or an orphan with its key; TABLE_NO_SLOT. */
uint32_t registry_find_slot(struct core *core, const struct place *place, uint16_t policy, const char *id,
                            uint8_t id_len);
/* Among the clients without a slot; CLIENT_NONE. */
uint32_t registry_find_tableless(struct core *core, const struct place *place, uint16_t policy, const char *id,
                                 uint8_t id_len);
/* A new client's slot is this one, or none. */
void registry_enter(struct core *core, const struct place *place, uint32_t index, uint32_t slot);
void registry_forget(struct core *core, uint32_t index);

/* arrival.c */
/* Found or made; CLIENT_NONE: no room. */
uint32_t arrival_obtain(struct core *core, uint16_t policy, const char *id, uint8_t id_len);

/* sweep.c */
void sweep_step(struct core *core, int64_t now_ns);

/* Records lie in the order in which clients came, not in that of the slots: whoever goes round the table asks for them ahead, or
 * each costs two waits for the memory. Inline, since a compiler leaves out a call that has no effect in the language's eyes. */
__attribute__((always_inline)) static inline void client_fetch_ahead(struct core *core, uint32_t slot) {
	const struct table *table = core->table;
	uint32_t far = table->owner[(slot + 16) % table->slot_count], near = table->owner[(slot + 8) % table->slot_count];
	if (far < core->pool.high)
		__builtin_prefetch(client_at(core, far));
	if (near < core->pool.high)
		__builtin_prefetch(client_at(core, near)->id);
}

/* repair.c */
void repair_client(struct core *core, uint32_t client, int64_t now_ns);
void repair_orphan(struct core *core, uint32_t slot, int64_t now_ns);
/* Whether an agent can have made the lease in this bank of an orphan. */
bool repair_is_plausible(const struct core *core, const struct core_policy *policy, uint32_t slot, int bank, int64_t now_ns);

/* pending.c */
int pending_init(struct core *core, uint32_t clients); /* 0, or -1 without memory */
void pending_deinit(struct core *core);
/* The client's, made if there is none; NULL without memory. */
struct pending *pending_for(struct core *core, uint32_t client);
void pending_enqueue(struct core *core, struct pending *pending, enum pending_state state);
void pending_dequeue(struct core *core, struct pending *pending);
void pending_make_urgent(struct core *core, struct pending *pending);
/* Back into a queue if there is more to ask for, else freed. */
void pending_requeue(struct core *core, struct pending *pending);
void pending_free(struct core *core, struct pending *pending);
/* 0, or -1: no room. */
int pending_add_waiter(struct core *core, struct pending *pending, uint64_t peer, uint32_t serial, uint32_t cost,
                       int64_t expires_ns);
void pending_drop_expired(struct core *core, struct pending *pending, int64_t now_ns);
/* Asks about each who waits, in order of arrival, for the verdict. False: it waits on. */
typedef bool pending_decide(void *context, struct core *core, const struct pending *pending,
                            const struct waiter *waiter, bool was_sent, struct core_verdict *verdict);
void pending_serve(struct core *core, struct pending *pending, pending_decide *decide, void *context);
void send_verdict(struct core *core, uint64_t peer, uint32_t serial, const struct core_verdict *verdict);

/* debt.c */
void debt_recall(struct core *core, uint32_t client); /* of a client that comes in: it may owe from earlier */
/* If the client owes something, makes the request that it is charged with. */
void debt_call_in(struct core *core, uint32_t client);
/* While nothing can be charged: false if there is no room to note it. */
bool debt_put_by(struct core *core, struct pending *pending);
/* What of the client's admissions isn't counted yet, as far as this request knows. */
int64_t debt_uncounted(const struct pending *pending);
void debt_advance(struct core *core, struct pending *pending, uint32_t cost);
/* A fallback admitted it, and the resync waits for it. The client owes `most` at the most. */
void debt_add_fallback(struct core *core, struct pending *pending, struct debt debt, int32_t most);
/* To what is about to be sent, and when the answer is there. */
void debt_attach(struct core *core, struct pending *pending);
void debt_settle(struct core *core, struct pending *pending, int64_t charged);
/* There is no answer: what was sent joins what has been admitted since then. */
void debt_charge_again(struct pending *pending);
/* The database refuses it again and again: only an advance is kept. */
void debt_abandon(struct core *core, struct pending *pending);
void debt_retry_later(struct core *core);

/* batch.c */
void batch_flush(struct core *core, int64_t now_ns);
/* The batch that is under way has ended so. */
void batch_end(struct core *core, int64_t now_ns, enum lease_outcome outcome, const struct lease_grant *grants,
               size_t count);

/* answer.c */
void answer_pending(struct core *core, struct pending *pending, const struct lease_grant *grant, int64_t sent_ns,
                    int64_t now_ns);
void answer_unserved(struct core *core, struct pending *pending, int64_t now_ns);

/* verdict.c */
struct denial {
	uint8_t source;   /* enum stint_source */
	bool unavailable; /* the store couldn't look */
	int64_t limit;
	int64_t remaining;
	int64_t retry_ms;
	int64_t reset_ms;
};
int64_t verdict_limit(struct core *core, const struct client *client); /* the database's for this client, as far as is known */
int64_t verdict_remaining(const struct core *core, const struct client *client);
struct core_verdict verdict_allowed(struct core *core, const struct client *client, uint8_t source, int64_t deadline_ns);
struct core_verdict verdict_denied(struct core *core, const struct client *client, uint32_t cost, const struct denial *denial);
/* By the denial that the table holds; false if it holds none of this cost. */
bool verdict_from_denial(struct core *core, const struct client *client, uint32_t cost, struct core_verdict *verdict);

/* leases.c */
void lease_size(struct core *core, const struct client *client, const struct pending *pending, int64_t now_ns,
                struct lease_request *request);
void lease_install(struct core *core, uint32_t client, const struct lease_grant *grant, int64_t sent_ns,
                   int64_t now_ns, int32_t served);
void lease_settle(struct core *core, uint32_t client, int bank, bool give_back);
/* Both, and a denial: as far as there is room now, what is left goes back now, the rest later. */
void lease_void(struct core *core, uint32_t client, bool give_back);
/* Forgets what was used so far: "used" means since here from now on. */
void lease_begin_period(struct core *core, struct client *client);
/* A timer has run out. False: it was of a client that is gone, or lost its slot. Else lease_on_timer() is next. */
bool lease_end_timer(struct core *core, uint32_t client);
void lease_on_timer(struct core *core, uint32_t client, int64_t now_ns);
/* From which bank the cost was spent; -1: from none, there is not so much. */
int lease_spend(struct core *core, struct client *client, int64_t now_ns, uint32_t cost);
uint32_t lease_mark_base(struct core *core, const struct client *client, const struct lease_grant *grant);
uint64_t lease_unspent(const struct core *core, const struct client *client);
uint32_t lease_open_credits(const struct core *core, const struct client *client); /* those that can be spent now */

/*
 * Clocks run at different rates: kept in step with true time, one may be this part faster or slower than another (NTP slews by as
 * much). A duration of the store's is so long by our clock at least, or at most.
 */
#define CLOCK_RATES_DIVISOR 2000

static inline int64_t surely_within(int64_t ns) {
	return ns - ns / CLOCK_RATES_DIVISOR;
}

static inline int64_t surely_after(int64_t ns) {
	return ns + ns / CLOCK_RATES_DIVISOR;
}

/*
 * Where a duration of the store's ends and begins by our clock. The store answered between our sending and our
 * receiving, so an end counted from the sending is never late, and a start counted from the receiving never early.
 * Half of the window's slack each way closes the gap between two sub-windows that this, and not to know the clocks' rates, would
 * leave.
 */
static inline int64_t lease_ends_ns(const struct grant_terms *terms, int64_t sent_ns, int64_t duration_us) {
	return sent_ns + surely_within((duration_us + terms->slack_us / 2) * NS_PER_US);
}

static inline int64_t lease_starts_ns(const struct grant_terms *terms, int64_t received_ns, int64_t duration_us) {
	return received_ns + surely_after((duration_us - terms->slack_us / 2) * NS_PER_US);
}

/* After so long by our clock, nothing that was admitted is in the policy's window any more. */
static inline int64_t window_passes_ns(const struct core_policy *policy) {
	return surely_after(policy->time_window_ms * NS_PER_MS);
}

/* fallback.c */
void fallback_enter(struct core *core, int64_t now_ns);
void fallback_absorb(struct core *core, uint32_t client);
void fallback_leave(struct core *core, int64_t now_ns);
/* What a client owes for it becomes part of its next request. */
void fallback_charge(struct core *core, uint32_t client);
/* So for those who don't come by themselves. */
void fallback_collect(struct core *core, int64_t now_ns);
bool fallback_may_collect(const struct core *core);

/* promotion.c */
void promotion_begin(struct core *core, int64_t now_ns, int64_t age_ns);
int64_t promotion_longest_lease_ns(const struct core *core);
bool promotion_is_over(struct core *core);

#endif
