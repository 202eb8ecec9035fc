/*
 * decide.h - the decision: one client, one look into the table, one CAS.
 *
 * Why this needs no lock is said at the head of layout.h. Nothing here makes a
 * system call, waits, allocates, or trusts what it reads: garbage in the table
 * gives a wrong verdict or a miss, nothing worse.
 *
 * This header has the way that nearly every check of an active client takes: the
 * client is at its home, a lease is open and holds enough, nobody interferes; or
 * the client is denied, and will be for a while. All else - and every case again
 * from the start - is decide.c's. The header's part is inline, so that what it
 * finds out stays in registers: a decision that is copied as a struct right after
 * it was stored costs more than the compare-and-swap.
 */
#ifndef STINT_DECIDE_H
#define STINT_DECIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "clock.h"
#include "protocol/hash.h"
#include "protocol/hot.h"
#include "mapping.h"

enum verdict {
	VERDICT_NONE, /* the table has no answer: ask the agent */
	VERDICT_ALLOWED,
	VERDICT_DENIED,
};

/* What a check wants to know beside its verdict. */
enum telling {
	TELL_NOTHING, /* `low`, and who decided: `found` of an admission, `times` and `slot` of a denial */
	TELL_ALL,
};

/* What goes with a verdict; without a verdict only `low` is set. */
struct decision {
	bool low;          /* this CAS crossed the low-water mark: tell the agent */
	uint64_t unusual;  /* 0: the limit is the policy's, and what follows is true; else see struct unusual */
	uint32_t left;     /* credits of this client that are still open here */
	uint32_t beyond;   /* what the store had left when it answered last */
	uint32_t times;    /* denied: slot.hint, see layout.h */
	uint64_t until_ns; /* allowed: the lease's deadline; denied: the denial's end */
	uint64_t now_ns;   /* when the check looked, by the coarse clock */
	/* What the verdict comes from. */
	struct slot *slot;
	uint64_t key;
	_Atomic uint64_t *word; /* allowed: the lease's word */
	uint64_t found;         /* allowed: the word before the CAS; denied: the denial */
	/* Allowed, though neither lease held so much: what came from the slot's other lease, which ends first. */
	uint32_t part; /* 0: nothing */
	uint64_t part_found;
	uint64_t part_until_ns;
};

/* What goes with an unusual verdict. */
struct unusual {
	bool is_known;     /* false: the denial has just been lifted or replaced */
	bool fallback;     /* the limit is the fallback's: credits are of the host's window, not of the database's */
	bool unavailable;  /* denied: the store couldn't look */
	uint32_t left;     /* credits of the leases that are open */
	uint32_t beyond;   /* what the store had left; 0 if that isn't known */
	int64_t own_limit; /* the client has a limit of its own; else NO_OWN_LIMIT */
};

#define NO_OWN_LIMIT INT64_C(-1)

/*
 * The latest time that a check of this process has seen. Mostly it is still right,
 * and then one look at the clock, the one after the CAS, is enough. It changes
 * with each tick only, so threads share its cache line.
 */
extern __attribute__((visibility("hidden"))) /* declared hidden, it is read without a detour */
_Atomic uint64_t decide_seen_ns;

/* Decides whether `id`, of `length` bytes, may go on under the policy with this number, at this cost. Handles all
 * cases. */
enum verdict decide_closely(const struct mapping *, uint32_t policy, const char *id, size_t length, uint32_t cost,
                            struct decision *);

/* Says what decide_closely() would, and takes nothing. */
enum verdict decide_look(const struct mapping *, uint32_t policy, const char *id, size_t length, uint32_t cost,
                         struct decision *);

/* Returns the client's slot, or NULL. */
struct slot *decide_find_slot(const struct mapping *, uint32_t policy, const char *id, size_t length);

/* Returns the slot of a client that is not at its first home, or NULL if it has none. low, key: of its place; all
 * of that would be an array on a check's stack. */
struct slot *decide_find_elsewhere(const struct mapping *, uint64_t low, uint64_t key);

/*
 * These get a decision's fields by value. A struct decision that is handed over would lie in memory, even for
 * checks that never come here.
 */
COLD struct unusual decide_unusual_admission(const struct mapping *, const struct slot *,
                                             const _Atomic uint64_t *word, uint64_t found, uint32_t left,
                                             uint64_t now_ns);
COLD struct unusual decide_unusual_denial(const struct mapping *, const struct slot *, uint64_t key,
                                          uint64_t denial, uint32_t times, uint64_t now_ns);

/* Puts credits back into the lease that they came from, if that is still in the epoch of the word taken_from.
 * Returns whether it is. (Nobody can spend those that were taken too late, but the agent can return them.) */
COLD bool decide_put_back(_Atomic uint64_t *word, uint64_t taken_from, uint32_t cost);

/* Puts back all that an admission at this cost took. */
COLD void decide_undo(const struct decision *, uint32_t cost);

#define DECIDE_LOAD(field) atomic_load_explicit(&(field), memory_order_acquire)

static inline void decide_look_at_clock(struct decision *d) {
	d->now_ns = clock_coarse_ns();
	if (atomic_load_explicit(&decide_seen_ns, memory_order_relaxed) != d->now_ns)
		atomic_store_explicit(&decide_seen_ns, d->now_ns, memory_order_relaxed);
}

/* Says that the client is not idle. Writing only when it changes something keeps the cache line shared. */
static inline void decide_mark_referenced(struct slot *slot) {
	if (atomic_load_explicit(&slot->referenced, memory_order_relaxed) == 0)
		atomic_store_explicit(&slot->referenced, 1, memory_order_relaxed);
}

/* A lease of a slot, as it was found. */
struct lease_seen {
	_Atomic uint64_t *word;
	uint64_t found; /* the word's value */
	uint64_t deadline_ns;
};

/* Reads what goes with the credits that were taken: mostly it is there, the lease is still in the same epoch, and
 * the other one holds nothing. */
HOT_PART static inline void decide_read_admission(const struct slot *slot, const struct lease_seen *lease,
                                                  uint8_t low_water, struct decision *d) {
	uint64_t changed;

	d->beyond = DECIDE_LOAD(slot->hint);
	changed = (DECIDE_LOAD(*lease->word) ^ lease->found) >> WORD_EPOCH_SHIFT;
	d->unusual = changed | (d->beyond & (HINT_TIMES_BIT | HINT_BOTH_BIT)) | (lease->found & WORD_FALLBACK_BIT) |
	             (low_water & LOW_WATER_OWN_LIMIT);
}

/*
 * The agent may tell the database what was spent by now, so that it counts from now on and not from when the lease
 * ends. So a credit must not be admitted much later than it was taken: a process that is stopped in between longer
 * than this puts it back. (The coarse clock lags by up to 4 ms, at both ends: the database allows for 20 ms more.)
 */
#define SPEND_LAG_NS UINT64_C(200000000)

/* Whether what decide_closely() took may be admitted now. */
static inline bool decide_is_still_good(const struct decision *d, uint64_t now_ns) {
	return now_ns - d->now_ns <= SPEND_LAG_NS && clock_is_before(now_ns, d->until_ns) &&
	       (d->part == 0 || clock_is_before(now_ns, d->part_until_ns));
}

/* After the CAS has taken the credits: returns whether they were good until now. If so, fills *d, else puts them
 * back. before_ns: a time before the CAS. */
HOT_PART static inline bool decide_is_in_time(struct slot *slot, const struct lease_seen *lease, uint32_t cost,
                                              uint64_t before_ns, enum telling telling, struct decision *d) {
	uint32_t had;
	uint8_t low_water;
	unsigned mark;

	decide_look_at_clock(d);
	if (SELDOM(d->now_ns - before_ns > SPEND_LAG_NS || !clock_is_before(d->now_ns, lease->deadline_ns))) {
		decide_put_back(lease->word, lease->found, cost);
		return false;
	}
	had = word_credits(lease->found);
	low_water = atomic_load_explicit(&slot->low_water, memory_order_relaxed);
	mark = low_water & LOW_WATER_MARK_MASK;
	d->until_ns = lease->deadline_ns;
	d->left = had - cost;
	d->low = d->left >> mark == 0 && had >> mark != 0 && mark != 0;
	d->slot = slot;
	d->word = lease->word;
	d->found = lease->found;
	d->part = 0;
	if (telling != TELL_NOTHING)
		decide_read_admission(slot, lease, low_water, d);
	return true;
}

/*
 * Whether this lease is plainly open: it holds enough, no edge is near.
 *
 * seen_ns, read from decide_seen_ns, may be old. An old time can't start a lease too early, and
 * whether the lease is over is asked after the CAS.
 */
HOT_PART static inline bool decide_sees_open(struct slot *slot, int which, uint32_t cost, uint64_t seen_ns,
                                             struct lease_seen *lease) {
	lease->word = &slot->word[which];
	lease->found = DECIDE_LOAD(*lease->word);
	lease->deadline_ns = DECIDE_LOAD(slot->deadline_ns[which]);
	return word_credits(lease->found) >= cost && lease->deadline_ns > seen_ns + CLOCK_COARSE_LAG_NS &&
	       (lease->deadline_ns <= DECIDE_LOAD(slot->deadline_ns[!which]) ||
	        seen_ns >= DECIDE_LOAD(slot->later_start_ns));
}

/* Takes the cost from a lease that was seen to be open, if no other process is at the same word. Returns false
 * when another process was faster, the slot is another client's, or the credits came too late. */
HOT_PART static inline bool decide_take_plainly(struct slot *slot, const struct lease_seen *lease, uint64_t key,
                                                uint32_t cost, uint64_t seen_ns, enum telling telling,
                                                struct decision *d) {
	uint64_t expected = lease->found;

	return DECIDE_LOAD(slot->key) == key &&
	       atomic_compare_exchange_strong_explicit(lease->word, &expected, lease->found - cost,
	                                               memory_order_acq_rel, memory_order_relaxed) &&
	       decide_is_in_time(slot, lease, cost, seen_ns, telling, d);
}

/* Reads what goes with a denial. few: not 0 if the leases may hold credits. */
HOT_PART static inline void decide_read_denial(struct slot *slot, uint64_t key, uint64_t denial, uint32_t few,
                                               struct decision *d) {
	d->slot = slot;
	d->key = key;
	d->found = denial;
	d->left = 0;
	d->beyond = denial_left(denial);
	d->times = DECIDE_LOAD(slot->hint);
	/* HINT_UNKNOWN has these bits, too. */
	d->unusual = few | (d->times & (HINT_FALLBACK_BIT | HINT_UNAVAILABLE_BIT)) |
	             (DECIDE_LOAD(slot->low_water) & LOW_WATER_OWN_LIMIT);
}

static inline bool decide_denial_covers(uint64_t denial, uint32_t cost) {
	uint32_t covered = (uint32_t)(denial & DENIAL_COST_MASK);

	return covered != 0 && cost >= covered;
}

/* Whether both leases together hold too little, be they open or not, and the denial lasts on. (The denial is the
 * client's: the agent changes the key before the denial. The denial is still there at the end, so everything that
 * was read in between belongs to one answer.) */
HOT_PART static inline bool decide_is_plainly_denied(struct slot *slot, uint64_t key, uint32_t cost,
                                                     enum telling telling, struct decision *d) {
	uint64_t denial = DECIDE_LOAD(slot->denial);
	uint32_t credits[2];

	if (!decide_denial_covers(denial, cost))
		return false;
	decide_look_at_clock(d);
	FORGET(slot);
	credits[0] = word_credits(DECIDE_LOAD(slot->word[0]));
	credits[1] = word_credits(DECIDE_LOAD(slot->word[1]));
	d->until_ns = denial_until_ns(denial, d->now_ns);
	if (credits[0] + credits[1] >= cost || d->until_ns <= d->now_ns + CLOCK_COARSE_LAG_NS)
		return false;
	d->slot = slot;
	if (telling != TELL_NOTHING)
		decide_read_denial(slot, key, denial, credits[0] | credits[1], d);
	else
		d->times = DECIDE_LOAD(slot->hint);
	return DECIDE_LOAD(slot->key) == key && (telling == TELL_NOTHING || DECIDE_LOAD(slot->denial) == denial);
}

/* Returns the client's slot, and the client's key in *key; NULL if the client has none, or the table is not in use
 * any more. */
HOT_PART static inline struct slot *decide_find(const struct mapping *m, uint32_t policy, const char *id,
                                                size_t length, uint64_t *key) {
	struct place place = place_of(m->secret, m->bucket_count, policy, id, length);
	struct slot *slot = &m->slots[place.home[0]];

	*key = place.key;
	if (DECIDE_LOAD(slot->key) != place.key)
		slot = decide_find_elsewhere(m, place.low, place.key);
	return mapping_is_retired(m) ? NULL : slot;
}

/* Decides the plain cases. Returns VERDICT_NONE for all others: look closely. */
HOT_PART static inline enum verdict decide_plainly(const struct mapping *m, uint32_t policy, const char *id,
                                                   size_t length, uint32_t cost, enum telling telling,
                                                   struct decision *d) {
	struct lease_seen lease;
	uint64_t key, seen_ns;
	struct slot *slot = decide_find(m, policy, id, length, &key);

	d->low = false;
	if (!slot)
		return VERDICT_NONE;
	decide_mark_referenced(slot);
	seen_ns = atomic_load_explicit(&decide_seen_ns, memory_order_relaxed);
	if (decide_sees_open(slot, 0, cost, seen_ns, &lease) || decide_sees_open(slot, 1, cost, seen_ns, &lease))
		return decide_take_plainly(slot, &lease, key, cost, seen_ns, telling, d) ? VERDICT_ALLOWED : VERDICT_NONE;
	return decide_is_plainly_denied(slot, key, cost, telling, d) ? VERDICT_DENIED : VERDICT_NONE;
}

#endif
