/*
 * internal.h - shared by the core's files only. Each calls those below it, none above it:
 *
 *   core.c          what core.h declares: events of policies and the database; time
 *   apps.c          and events of apps
 *   sweep.c         goes round the table: idle clients leave, the table is repaired
 *   lows.c          clients whose credits run low, as their apps say, and as the table shows
 *   batch.c         sends pending requests to the store, many at a time
 *   fallback.c      the way into a fallback, and back
 *   answer.c        what the store's answer to one request means
 *   arrival.c       a client comes in, if need be in the stead of another
 *   promotion.c     another server in the place of the database
 *   repair.c        puts back what was scribbled over
 *   generation.c    events that concern all clients, each of which meets them when it is looked at
 *   inheritance.c   what a fallback of an earlier agent's has left behind
 *   recall.c        calls back what lies unspent on other hosts
 *   denied.c        tells those who count who is denied, and why
 *   verdict.c       what goes with a verdict: limit, remaining, times
 *   lease_install.c what was granted comes into the table
 *   lease_timer.c   when to look at a client's leases
 *   leases.c        what a client holds, and what becomes of it: spent, reported, returned
 *   demand.c        how much a client uses, whether it goes on, and how large a lease is asked for it
 *   debt.c          what was admitted before the database counted it
 *   pending.c       a client's request that is queued or under way, and who waits for it
 *   registry.c      in which slot each client is
 *   state.c         which store is asked
 *
 * Below these are the parts that know no struct core: store_memory, grant, table, client, heap and slab.
 */
#ifndef STINT_CORE_INTERNAL_H
#define STINT_CORE_INTERNAL_H

#include "client.h"
#include "core.h"
#include "heap.h"
#include "store_memory.h"
#include "units.h"

#define NO_PENDING CLIENT_NO_PENDING

/* How long a denial is cached at most. Hosts return what lies idle of such a client after 5 to 20 s, so a longer
 * denial could outlast its reason; a shorter one would cost a denied client more statements. */
#define DENIAL_MAX_US INT64_C(6000000)

/* With so many requests in the background queue, several batches, no more are made for what can wait. */
#define BACKGROUND_ROOM 4096u

#define TABLELESS_LISTS 4096 /* a power of two; a sixteenth of how many there may be */

struct waiter {
	struct waiter *next;
	uint64_t peer;
	int64_t expires_ns;
	uint32_t serial;
	uint32_t cost;
	bool provide; /* takes the credits itself, from the table */
	bool looks;   /* and, with that, takes none */
};

enum pending_state { PENDING_URGENT, PENDING_BACKGROUND, PENDING_IN_FLIGHT, PENDING_PUT_OFF };

/* A request that wasn't applied is put off, for twice as long each time in a row, up to the time of this one. Each
 * delay has a queue of its own, in which what was put off first is due first. */
#define BUSY_MAX 13u

/* One client's request to the store: queued, put off or under way, at most one per client. */
struct pending {
	uint32_t index; /* its number */
	uint32_t client;
	uint32_t previous, next;      /* in its queue */
	uint8_t state;                /* enum pending_state */
	bool wants_more;              /* credits ran low */
	bool wants_next;              /* it is time for the next lease */
	bool gathers;                 /* what the client's leases hold goes back with it: see serve() */
	bool of_fallback;             /* its debt is of a fallback, at least in part: the resync waits for it */
	uint8_t busy;                 /* so many times in a row it was not applied: see pending_count_busy() ... */
	uint8_t step;                 /* ... and in which queue it therefore waits */
	int64_t busy_since_ns;        /* the first of these */
	int64_t due_ns;               /* while it is put off: when it is asked again */
	uint8_t late;                 /* answers that came too late to be used, in a row */
	struct waiter *first, **last; /* who waits, in order */
	uint32_t sent_waiters;        /* how many of them the request under way counts */
	struct debt debt;             /* admitted already, not counted yet */
	struct lease_report report[LEASE_REPORTS]; /* what is told of leases with it */
	struct lease_request sent;                 /* what is under way, or was last */
	bool sent_more, sent_next;                 /* it was asked for since the client wanted more, or the next one */
	struct debt sent_debt;                     /* what sent.charge was made from */
};

struct pending_queue {
	uint32_t first, last;
};

/* So many clients are called back at a time, and so many with one message. */
#define RECALL_CLIENTS 1024u
#define RECALL_MAX     64u

struct recall { /* of a client's leases on other hosts */
	uint32_t client;
	int64_t since_ns;
	int64_t until_ns; /* no other recall of the client before */
	int64_t pause_ns; /* between since_ns and until_ns: it grows while recalls are in vain; 0: the last was not */
};

/* An event that concerns all clients. A client of an earlier generation hasn't met it yet; it is closed when all
 * have met it. */
struct mark {
	uint32_t generation;
	bool open;
	uint64_t ends; /* all have met it when walks have looked at so many slots */
};

struct core {
	struct table *table;
	struct core_io io;
	void *context;
	struct core_options options;
	struct core_policy policies[POLICY_CAPACITY];
	struct store_memory *memory;
	struct core_counters counters;
	uint64_t near_limit[POLICY_CAPACITY];
	int64_t now_ns;   /* of the event being handled */
	int hosts;        /* that are alive; 0: the database hasn't said yet */
	bool draining;    /* before the end */
	bool has_orphans; /* perhaps of an agent that was in a fallback */

	/* state.c */
	enum core_state state; /* nothing else writes it */
	bool connected;        /* the database is there, though its grants may still be held back */
	int64_t up_ns;         /* when the database came up last */
	int64_t grace_until_ns;
	int64_t fallback_since_ns;

	/* promotion.c */
	bool promoted;           /* the leases that are out were granted by another server */
	int64_t held_until_ns;   /* no grants before */
	int64_t others_lease_ns; /* how long leases of other hosts last, at most that of the longest hold */

	/* registry.c */
	struct client_pool pool;
	uint32_t tableless[TABLELESS_LISTS]; /* clients without a slot, by key */

	/* pending.c */
	struct pending **pending; /* by number; address space for all, memory as they come */
	struct slab pending_slab; /* and of those who wait */
	uint32_t pending_count, pending_high, pending_capacity, pending_free;
	uint32_t waiter_count;
	struct pending_queue urgent, background, put_off[BUSY_MAX]; /* the last: by their delays */
	size_t background_count, put_off_count;

	/* lease_timer.c */
	struct heap timers; /* value: client */

	/* batch.c */
	int64_t background_at_ns; /* when the background queue is sent at the latest */
	uint32_t in_flight[CORE_BATCH_MAX];
	size_t in_flight_count;
	int64_t sent_ns;
	int64_t rtt_ns;
	int64_t usual_rtt_ns;        /* what it was when the last fallback began */
	int64_t unanswered_since_ns; /* when the batch was sent whose connection broke; 0: the last one was answered */
	int64_t skips_until_ns;      /* rows are locked for long: until then no statement waits for any */

	/* debt.c, fallback.c: what a resync waits for */
	size_t charges_left;  /* requests whose charge is still to be acknowledged */
	bool collecting;      /* and there may be more in the memory store ... */
	size_t collect_chain; /* ... from this chain on */
	int64_t collect_at_ns;

	/* generation.c */
	uint32_t generation;
	bool generation_used;                         /* some client has met it */
	uint32_t generations_open;                    /* that some client may not have met */
	uint64_t generation_ends[CLIENT_GENERATIONS]; /* when all have met each of these, as a mark's */
	struct mark lost;                             /* the database was lost */
	struct mark away;                             /* and stays away: a fallback has begun */
	struct mark returned;                         /* it is back, after a fallback */
	struct mark disowned;                         /* the leases may be another database's */
	struct mark burnt;                            /* what was disowned is destroyed */
	struct mark drained;                          /* before the end, all leases are */
	struct mark voided[POLICY_CAPACITY];          /* the leases of a policy are void */
	bool forfeits[POLICY_CAPACITY];               /* and nothing of them is returned */
	uint32_t walk_slot;
	uint64_t walked;    /* slots that walks have looked at, ever */
	uint64_t walk_ends; /* this walk is over when it was so many */
	int64_t walk_at_ns;

	/* recall.c */
	struct recall recalls[RECALL_CLIENTS]; /* by the client's number; two that share a place have one */
	uint32_t to_recall[RECALL_MAX], recall_count;
	int64_t recall_at_ns; /* when the next message may be sent */

	/* sweep.c */
	uint32_t sweep_slot;
	int64_t sweep_at_ns;

	/* lows.c */
	uint32_t lows_count; /* that apps have told of since ... */
	int64_t lows_since_ns;
	uint32_t lows_left;    /* slots that are still to be looked at, the last ones first; 0: none is */
	int64_t lows_began_ns; /* when the first was */
	int64_t lows_at_ns;    /* not before */
};

static inline struct client *client_at(struct core *core, uint32_t index) {
	return &core->pool.clients[index];
}

static inline struct core_policy *policy_of(struct core *core, const struct client *client) {
	return &core->policies[client->policy];
}

static inline bool policy_is_live(const struct core *core, uint16_t policy) {
	return policy < POLICY_CAPACITY && core->policies[policy].live;
}

/* By which the database tells this host from others. */
static inline int own_host(const struct core *core) {
	return (int)((core->options.seed >> 56) % GRANT_HOSTS);
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

static inline uint8_t fallback_flag(int bank) {
	return (uint8_t)(CLIENT_BANK_FALLBACK << bank);
}

/* The database's for this client, its own or its policy's, as far as it is known. */
static inline int64_t limit_of(struct core *core, const struct client *client) {
	int64_t own;
	if (client->slot != TABLE_NO_SLOT && table_own_limit(core->table, client->slot, &own))
		return own;
	return policy_of(core, client)->terms.max_requests;
}

static inline int64_t sub_window_ns(struct core *core, const struct client *client) {
	return terms_now(core, policy_of(core, client))->sub_window_us * NS_PER_US;
}

static inline bool is_live(const struct client *client, int bank, int64_t now_ns) {
	return client->lease[bank].deadline_ns > now_ns;
}

static inline uint32_t credits_left(const struct core *core, const struct client *client, int bank) {
	if (client->slot == TABLE_NO_SLOT)
		return 0;
	uint32_t credits = table_credits(core->table, client->slot, bank);
	return credits < client->granted[bank] ? credits : client->granted[bank];
}

static inline uint32_t used_of(const struct core *core, const struct client *client, int bank) {
	return client->granted[bank] - credits_left(core, client, bank);
}

_Static_assert(POLICY_CAPACITY <= CLIENT_POLICIES, "a record holds any policy");

/* Whether a request may be made for this client that can as well be made later. */
static inline bool has_background_room(const struct core *core, const struct client *client) {
	return client->pending != NO_PENDING || core->background_count + core->put_off_count < BACKGROUND_ROOM;
}

/* state.c */
void state_begin(struct core *core, int64_t now_ns);
void state_connect(struct core *core, int64_t now_ns); /* the state stays until state_return() */
void state_disconnect(struct core *core);
void state_enter_fallback(struct core *core, int64_t now_ns);
void state_return(struct core *core);       /* the database answers; what a fallback admitted is charged first */
void state_note_charged(struct core *core); /* some of that was charged: if it was the last, the state follows */
bool state_lose(struct core *core, int64_t now_ns); /* false: it was out of step already, the state stays */
bool state_grace_is_over(const struct core *core, int64_t now_ns);
bool state_is_held(const struct core *core);    /* the database is there, but isn't asked for anything yet */
int64_t state_next_ns(const struct core *core); /* when a grace or a hold ends; INT64_MAX: neither is on */

/* generation.c */
struct mark generation_begin(struct core *core);
void generation_stamp(struct core *core, struct client *client); /* a new one */
/* The client meets what it hasn't met yet: before anything is done with it, or its leases are looked at. */
void generation_meet(struct core *core, uint32_t index);
void generation_meet_orphan(struct core *core, uint32_t slot);
void generation_void_orphan(struct core *core, uint32_t slot);
void generation_walk(struct core *core, int64_t now_ns);
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

/* lows.c */
void lows_tell(struct core *core, uint32_t client); /* by its app: its credits run low */
void lows_look(struct core *core);
int64_t lows_next_ns(const struct core *core); /* when lows_look() has something to do; INT64_MAX: never */

/* sweep.c */
void sweep_step(struct core *core, int64_t now_ns);

/* Records lie in the order in which clients came, not in that of the slots. Whoever goes round the table fetches
 * them ahead, or else waits twice for the memory at each. Inline, since a compiler leaves out a call that has no
 * effect in the language's eyes. */
__attribute__((always_inline)) static inline void registry_fetch_ahead(struct core *core, uint32_t slot) {
	const struct table *table = core->table;
	uint32_t far = table->owner[(slot + 16) % table->slot_count];
	uint32_t near = table->owner[(slot + 8) % table->slot_count];
	if (far < core->pool.high)
		__builtin_prefetch(client_at(core, far));
	if (near < core->pool.high)
		__builtin_prefetch(client_at(core, near)->id);
}

/* repair.c */
void repair_client(struct core *core, uint32_t client, int64_t now_ns);
void repair_orphan(struct core *core, uint32_t slot, int64_t now_ns);
/* Whether an agent can have made the lease in this bank of an orphan. */
bool repair_is_plausible(const struct core *core, const struct core_policy *policy, uint32_t slot, int bank,
                         int64_t now_ns);

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
/* The same for a request that wasn't applied: it is asked again later. */
void pending_put_off(struct core *core, struct pending *pending);
/* It was not applied. While somebody waits for it, tries come as often as before, and only the first count. */
void pending_count_busy(const struct core *core, struct pending *pending);
int64_t pending_delay_ns(const struct core *core, const struct pending *pending); /* for how long, then */
/* Those that were put off and are due are put back, or all of them; a bounded number with each call. */
void pending_take_up(struct core *core, bool all);
int64_t pending_next_ns(const struct core *core); /* when the next one is due; INT64_MAX: there is none */
void pending_free(struct core *core, struct pending *pending);
/* A copy of it. 0, or -1: no room. */
int pending_add_waiter(struct core *core, struct pending *pending, const struct waiter *waiter);
void pending_drop_expired(struct core *core, struct pending *pending, int64_t now_ns);
/* Asks about each who waits, in order of arrival, for the verdict. False: it waits on. */
typedef bool pending_decide(void *context, struct core *core, struct pending *pending, const struct waiter *waiter,
                            bool was_sent, struct core_verdict *verdict);
void pending_serve(struct core *core, struct pending *pending, pending_decide *decide, void *context);
/* What is left of a lease, or was spent of it, goes with the request: false if it is of a third sub-window, which
 * there is no room for. Whoever can keep it asks before. */
bool pending_may_report(struct pending *pending, int64_t sub_window);
bool pending_add_report(struct pending *pending, int64_t sub_window, uint32_t unspent, uint32_t spent);
void pending_attach_reports(struct pending *pending); /* to what is about to be sent */
void pending_report_again(struct pending *pending);   /* what was sent was not applied */
void pending_burn_reports(struct pending *pending);
void send_verdict(struct core *core, uint64_t peer, uint32_t serial, const struct core_verdict *verdict);

/* denied.c */
/* Tells those who count denials, if the verdict of the client's with this index is one. */
void tell_if_denied(struct core *core, uint32_t client, const struct waiter *waiter,
                    const struct core_verdict *verdict);

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
/* It takes too long to charge it: the resync goes on without. */
void debt_await_no_longer(struct core *core, struct pending *pending);
/* It can't be charged before the end: only an advance is kept. */
void debt_abandon(struct core *core, struct pending *pending);
/* What the client came to owe until then, by our clock: what its request is still to charge, and if that is under
 * way, what it will leave. */
void debt_forget(struct core *core, uint32_t client, int64_t until_us);
void debt_retry_later(struct core *core);

/* batch.c */
void batch_flush(struct core *core, int64_t now_ns);
/* The batch that is under way has ended so. */
void batch_end(struct core *core, int64_t now_ns, enum lease_outcome outcome, const struct lease_grant *grants,
               size_t count);

/* answer.c */
void answer_pending(struct core *core, struct pending *pending, const struct lease_grant *grant, int64_t sent_ns,
                    int64_t now_ns);
/* It wasn't applied: somebody has locked the client's row, or the statement was refused. */
void answer_busy(struct core *core, struct pending *pending, int64_t now_ns);

/* recall.c */
/* The store has answered. If the client was refused, its long leases on other hosts are called back, if there are
 * such. Returns for how long a denial is good, as credits may come back soon; INT64_MAX: none are expected. */
int64_t recall_on_answer(struct core *core, uint32_t client, const struct lease_request *sent,
                         const struct lease_grant *grant);
void recall_flush(struct core *core);            /* sends what is to be called back, if it is time */
int64_t recall_next_ns(const struct core *core); /* INT64_MAX: there is nothing to send */

/* verdict.c */
struct denial {
	uint8_t source;   /* enum stint_source */
	bool unavailable; /* the store couldn't look */
	int64_t limit;
	int64_t remaining;
	int64_t retry_ms;
	int64_t reset_ms;
};
/* The database's for this client, as far as is known. */
int64_t verdict_remaining(const struct core *core, const struct client *client);
struct core_verdict verdict_allowed(struct core *core, const struct client *client, uint8_t source,
                                    int64_t deadline_ns);
struct core_verdict verdict_by_lease(struct core *core, const struct client *client, int bank);
struct core_verdict verdict_denied(struct core *core, const struct client *client, uint32_t cost,
                                   const struct denial *denial);
/* The table has no room for the client. */
struct core_verdict verdict_no_room(struct core *core, const struct client *client, uint32_t cost);
/* By the denial that the table holds; false if it holds none of this cost. */
bool verdict_from_denial(struct core *core, const struct client *client, uint32_t cost,
                         struct core_verdict *verdict);

/* demand.c */
/* A request for the next lease is made so many round trips before it is needed, at least. */
#define LEAD_ROUND_TRIPS 8

/* Forgets what was used so far: what counts as used from now on is what is used after this. */
void demand_begin_period(struct core *core, struct client *client);
void demand_end_period(struct core *core, struct client *client); /* learns from what was used, and begins anew */
uint32_t demand_period_use(const struct core *core, const struct client *client); /* credits, since it began */
/* While the database is away, what was used of its leases since then has to be known as long as they stand: see
 * count_in_fallback(). */
bool demand_must_remember(const struct core *core, const struct client *client);
/* Credits in a sub-window, by what is known of the client and what it has used in this period. */
double demand_by_now(struct core *core, const struct client *client);
/* Whether the client will use its next lease, most likely: so that it is worth its row. */
bool demand_goes_on(struct core *core, const struct client *client);
/* For how many sub-windows after the present one a lease has to last. */
int demand_span_least(const struct core *core, const struct grant_terms *terms);
/* What was used in the present period, and for how long that has lasted, in sub-windows (never 0). */
struct demand_period {
	double used, length;
};
struct demand_period demand_present_period(struct core *core, const struct client *client);
/* How much is asked for, and for how long, of a client that has used so much lately. */
void demand_size(struct core *core, const struct client *client, const struct pending *pending,
                 const struct demand_period *period, struct lease_request *request);
/* What the low-water mark of what was granted is a part of. */
uint32_t demand_mark_base(struct core *core, const struct client *client, const struct lease_grant *grant);

/* lease_install.c */
void lease_install(struct core *core, uint32_t client, const struct lease_grant *grant, int64_t sent_ns,
                   int64_t now_ns, int32_t served);

/* lease_timer.c */
/* Sets the client's timer, unless it has one, for when something is to be done: its next lease is to be asked for,
 * a lease is over, or it may no longer use what it has. */
void lease_plan_timer(struct core *core, uint32_t client, int64_t now_ns);
/* A timer has run out. False: it was of a client that is gone, or lost its slot. Else lease_on_timer() is next. */
bool lease_end_timer(struct core *core, uint32_t client);
void lease_on_timer(struct core *core, uint32_t client, int64_t now_ns);
/* Ends both leases and a denial. What is left goes back now if there is room for the request, else later. */
void lease_void(struct core *core, uint32_t client, bool give_back);

/* leases.c */
void lease_settle(struct core *core, uint32_t client, int bank, bool give_back);
/* Another host needs what lies idle here of a long lease: it goes back at once. */
void lease_recall(struct core *core, uint32_t client);
/* Puts into the request what has become of the client's leases: what those that are over left unspent, and what
 * was spent of the others. */
void lease_report(struct core *core, struct pending *pending);
#define LEASE_BOTH 2
/* From which bank the cost was spent, or LEASE_BOTH; -1: from none, there is not so much. */
int lease_spend(struct core *core, struct client *client, int64_t now_ns, uint32_t cost);
/* Which bank holds the cost, and can be spent from now; LEASE_BOTH: they do together; -1: there is not so much. */
int lease_find(const struct core *core, const struct client *client, uint32_t cost);
/* Spends as much of it as there is. Returns how much that was. */
uint32_t lease_spend_some(struct core *core, struct client *client, uint32_t cost);
/* What was used without a lease counts in the memory store, also beyond the limit. */
void lease_charge_memory(struct core *core, const struct client *client, struct grant_terms terms, uint32_t used,
                         int64_t at_ns);
/* How much of what the client's leases hold can go back to the store with its next request. */
uint64_t lease_returnable(const struct core *core, const struct client *client);
/* Others may need what this client leaves unused; or it costs nothing to give it back. */
bool lease_must_not_idle(const struct core *core, const struct client *client);
uint64_t lease_unspent(const struct core *core, const struct client *client);
/* Those that can be spent now. */
uint32_t lease_open_credits(const struct core *core, const struct client *client);
/* A lease that is open is half full at least, whatever another one says. */
bool lease_is_ample(struct core *core, const struct client *client);
/* Whether a lease can be spent now: the one that ends last may not have begun. */
bool lease_is_spendable(const struct core *core, const struct client *client, int bank, int64_t now_ns);
/* The bank whose lease ends last; -1: none is live. */
int lease_last_bank(const struct client *client, int64_t now_ns);
/* How long before a lease ends the next one is asked for. */
int64_t lease_lead_ns(const struct core *core, int64_t sub_ns);
/* When what was charged to the lease's sub-window begins to count for nothing: from then on a return would change
 * nothing. */
int64_t lease_off_books_ns(struct core *core, const struct client *client, int bank);
/* Credits go back to the store that is asked now: to the database with the client's next request, which is made
 * for that if need be. */
void lease_note_return(struct core *core, uint32_t client, int64_t sub_window, uint32_t credits);

/* How long a lease lasts at most: for the running sub-window, and as many after it as the window has; of a fixed
 * window, for the next one. */
static inline int64_t lease_longest_us(const struct grant_terms *terms) {
	return (terms->runs > 1 ? terms->runs + 1 : 2) * terms->sub_window_us + terms->slack_us;
}

/*
 * Clocks run at different rates. Of two that are kept in step with true time, one may be faster than the other by
 * this part: NTP slews by as much. So a duration of the store's lasts by our clock surely_within() of it at least,
 * and surely_after() of it at most.
 */
#define CLOCK_RATES_DIVISOR 2000

static inline int64_t surely_within(int64_t ns) {
	return ns - ns / CLOCK_RATES_DIVISOR;
}

static inline int64_t surely_after(int64_t ns) {
	return ns + ns / CLOCK_RATES_DIVISOR;
}

/*
 * When a lease ends and starts by our clock. The store answered between our sending and our receiving: so an end
 * counted from the sending is never late, and a start counted from the receiving is never early. That would leave
 * a gap between two sub-windows, and so would the clocks' rates. Half of the window's slack on each side closes
 * it.
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

/* inheritance.c */
/* An orphan's client is about to be adopted from this slot: what an earlier agent's fallback gave it counts, as if
 * it had all been used at the end of the last lease or denial. */
void inheritance_take(struct core *core, uint32_t client, uint32_t slot);
/* An orphan's denial is by an earlier agent's fallback: it stays, also when it is over, for inheritance_take(). */
bool inheritance_is_told(const struct core *core, uint32_t slot);

/* fallback.c */
void fallback_enter(struct core *core, int64_t now_ns);
void fallback_absorb(struct core *core, uint32_t client); /* before the client gets anything of the fallback's */
void fallback_leave(struct core *core, int64_t now_ns);
/* What the fallback admitted to this client goes with its next request. */
void fallback_charge(struct core *core, uint32_t client);
/* The same for clients who don't come by themselves, some at a time. */
void fallback_collect(struct core *core, int64_t now_ns);
bool fallback_may_collect(const struct core *core);
/* What the client came to owe until then, as the memory store knows it: of what a fallback admitted, what counts
 * in sub-windows that had ended. */
void fallback_forget(struct core *core, uint16_t policy, const char *id, uint8_t id_len, int64_t until_us);

/* promotion.c */
void promotion_begin(struct core *core, int64_t now_ns, int64_t age_ns);
int64_t promotion_longest_lease_ns(const struct core *core);
/* After the hold: begins what is left to do, and says whether it is done. */
bool promotion_is_over(struct core *core);

#endif
