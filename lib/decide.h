/*
 * decide.h - the decision: one client, one look into the table, one CAS.
 *
 * Why this needs no lock is said at the head of layout.h. Nothing here makes a
 * system call, waits, allocates, or trusts what it reads: garbage in the table
 * gives a wrong verdict or a miss, nothing worse.
 *
 * Here is the way that nearly every check of an active client takes: the client
 * is at its home, a lease is open and holds enough, nobody interferes; or it is denied, for
 * a while yet. All else - and every case again from the start - is decide.c's. This part is inline,
 * so that what it finds out stays in registers: a decision that is copied as a
 * struct right after it was stored costs more than the compare-and-swap.
 */
#ifndef STINT_DECIDE_H
#define STINT_DECIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "clock.h"
#include "hash.h"
#include "hot.h"
#include "mapping.h"

enum verdict {
	VERDICT_NONE, /* the table has no answer: ask the agent */
	VERDICT_ALLOWED,
	VERDICT_DENIED,
};

/* What goes with a verdict; without one, nothing but `low` is set. */
struct decision {
	bool low;          /* this CAS crossed the low-water mark: tell the agent */
	bool fallback;     /* allowed: the credit was of the host's fallback window, not of the database */
	bool blocked;      /* denied: whatever it asks */
	uint32_t left;     /* allowed: credits that the lease still holds */
	uint32_t beyond;   /* allowed: what the database had left; denied: slot.hint, see layout.h */
	uint64_t until_ns; /* allowed: the lease's deadline; denied: the denial's end */
	uint64_t now_ns;   /* by the coarse clock */
};

/*
 * The latest time that a check of this process has seen. Mostly it is still right,
 * and then one look at the clock, the one after the CAS, is enough. It changes
 * with each tick only, so threads share its cache line.
 */
extern _Atomic uint64_t decide_seen_ns;

/* May `id`, of `length` bytes, go on under the policy with this index, at this cost? Whatever the case is. */
enum verdict decide_closely(const struct mapping *, uint32_t policy, const char *id, size_t length, uint32_t cost,
	struct decision *);

/* The slot of a client that is not at its first home; NULL. */
struct slot *decide_find_elsewhere(const struct mapping *, const struct place *place);

/* Credits that were taken too late go back into the lease that they came from, if that still stands: nobody can
 * spend them any more, but the agent can return them. */
void decide_put_back(_Atomic uint64_t *word, uint64_t taken_from, uint32_t cost);

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
	uint64_t found; /* in it */
	uint64_t deadline_ns;
};

/* The CAS has taken the credits: were they good until now? If so, says what goes with them. */
static inline bool decide_is_in_time(const struct slot *slot, const struct lease_seen *lease, uint32_t cost, struct decision *d) {
	unsigned mark = atomic_load_explicit(&slot->low_water, memory_order_relaxed);
	uint32_t had = word_credits(lease->found);

	decide_look_at_clock(d);
	if (!clock_is_before(d->now_ns, lease->deadline_ns)) {
		decide_put_back(lease->word, lease->found, cost);
		return false;
	}
	d->until_ns = lease->deadline_ns;
	d->left = had - cost;
	d->low = d->left >> (mark & 31) == 0 && had >> (mark & 31) != 0 && mark - 1 < 31;
	d->fallback = (lease->found & WORD_FALLBACK_BIT) != 0;
	d->beyond = (DECIDE_LOAD(slot->denial) & DENIAL_COST_MASK) != 0 ? 0 : DECIDE_LOAD(slot->hint); /* of a denial: a time */
	return true;
}

/*
 * Whether one of the leases is plainly open: it holds enough, no edge is near.
 *
 * decide_seen_ns may be old. That can't start a lease too early, and whether one is
 * over is asked after the CAS.
 */
HOT_PART static inline bool decide_sees_open(struct slot *slot, int which, uint32_t cost, struct lease_seen *lease) {
	uint64_t seen_ns = atomic_load_explicit(&decide_seen_ns, memory_order_relaxed);

	lease->word = &slot->word[which];
	lease->found = DECIDE_LOAD(*lease->word);
	lease->deadline_ns = DECIDE_LOAD(slot->deadline_ns[which]);
	return word_credits(lease->found) >= cost && lease->deadline_ns > seen_ns + CLOCK_COARSE_LAG_NS &&
		(lease->deadline_ns <= DECIDE_LOAD(slot->deadline_ns[!which]) || seen_ns >= DECIDE_LOAD(slot->later_start_ns));
}

/* Takes from a lease that is plainly open, if no other process is at the same word. False: there is none, or another process
 * was faster, or the credits came too late. */
HOT_PART static inline bool decide_take_plainly(struct slot *slot, uint64_t key, uint32_t cost, struct decision *d) {
	struct lease_seen lease;
	uint64_t expected;

	if ((!decide_sees_open(slot, 0, cost, &lease) && !decide_sees_open(slot, 1, cost, &lease)) || DECIDE_LOAD(slot->key) != key)
		return false;
	expected = lease.found;
	return atomic_compare_exchange_strong_explicit(lease.word, &expected, lease.found - cost, memory_order_acq_rel,
			memory_order_relaxed) &&
		decide_is_in_time(slot, &lease, cost, d);
}

/* What goes with a denial; false when it isn't the client's any more: the agent changes the key before the denial. */
static inline bool decide_describe_denial(const struct slot *slot, uint64_t denial, uint64_t key, struct decision *d) {
	d->until_ns = (denial >> DENIAL_UNTIL_SHIFT) * 1000;
	d->beyond = DECIDE_LOAD(slot->hint);
	/* Not even a cost of 1, ever: an operator has blocked the client. */
	d->blocked = (denial & DENIAL_COST_MASK) == 1 && (d->beyond & ~HINT_FALLBACK_BIT) == HINT_FOREVER;
	return DECIDE_LOAD(slot->key) == key;
}

static inline bool decide_denial_covers(uint64_t denial, uint32_t cost) {
	return (denial & DENIAL_COST_MASK) != 0 && cost >= (denial & DENIAL_COST_MASK);
}

/* Neither lease holds enough, whether it is open or not, and the denial lasts on. */
static inline bool decide_is_plainly_denied(const struct slot *slot, uint64_t key, uint32_t cost, struct decision *d) {
	uint64_t denial = DECIDE_LOAD(slot->denial);

	if (!decide_denial_covers(denial, cost) || word_credits(DECIDE_LOAD(slot->word[0])) >= cost ||
		word_credits(DECIDE_LOAD(slot->word[1])) >= cost)
		return false;
	decide_look_at_clock(d);
	return decide_describe_denial(slot, denial, key, d) && d->until_ns > d->now_ns + CLOCK_COARSE_LAG_NS;
}

/* The client's slot, and in *key what shows that it is; NULL: it has none, or the table is not in use any more. */
HOT_PART static inline struct slot *decide_find(const struct mapping *m, uint32_t policy, const char *id, size_t length,
	uint64_t *key) {
	struct place place = place_of(m->secret, m->bucket_count, policy, id, length);
	struct slot *slot = &m->slots[place.home[0]];

	*key = place.key;
	if (DECIDE_LOAD(slot->key) != place.key)
		slot = decide_find_elsewhere(m, &(struct place){{place.home[0], place.home[1]}, place.low, place.key});
	return mapping_is_retired(m) ? NULL : slot;
}

/* The same for the plain cases; VERDICT_NONE: look closely. */
HOT_PART static inline enum verdict decide_plainly(const struct mapping *m, uint32_t policy, const char *id, size_t length,
	uint32_t cost, struct decision *d) {
	uint64_t key;
	struct slot *slot = decide_find(m, policy, id, length, &key);

	d->low = false;
	if (!slot)
		return VERDICT_NONE;
	decide_mark_referenced(slot);
	if (decide_take_plainly(slot, key, cost, d))
		return VERDICT_ALLOWED;
	return decide_is_plainly_denied(slot, key, cost, d) ? VERDICT_DENIED : VERDICT_NONE;
}

#endif
