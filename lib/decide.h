/*
 * decide.h - the decision: one client, one look into the table, one CAS.
 *
 * Why this needs no lock is said at the head of layout.h. Nothing here makes a
 * system call, waits, allocates, or trusts what it reads: garbage in the table
 * gives a wrong verdict or a miss, nothing worse.
 *
 * Here is the way that nearly every check of an active client takes: the client
 * is at its home, a lease is open and holds enough, nobody interferes. All
 * else - and every case again from the start - is decide.c's. This part is inline
 * so that what it finds out stays in registers: a decision that is copied as a
 * struct right after it was stored costs more than the compare-and-swap.
 */
#ifndef STINT_DECIDE_H
#define STINT_DECIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "clock.h"
#include "hash.h"
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

/* The slot of a client that is not at its first home; NULL. */
struct slot *decide_find(const struct mapping *, const struct place *);

/* Credits that were taken too late go back into the lease that they came from, if that still stands: nobody can
 * spend them any more, but the agent can return them. */
void decide_put_back(_Atomic uint64_t *word, uint64_t taken_from, uint32_t cost);

/* The whole decision on a slot. */
enum verdict decide_on_slot(struct slot *, uint64_t key, uint32_t cost, struct decision *);

/* The way of a warm check is one function to the compiler; what goes to the other ways is a copy, see `slow`. */
#define DECIDE_HOT __attribute__((always_inline))

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

/* The CAS has taken the credits from `word`: were they good until now? If so, says what goes with them. */
static inline bool decide_is_in_time(struct slot *slot, int which, uint64_t word, uint64_t deadline_ns, uint32_t cost,
	struct decision *d) {
	unsigned mark = atomic_load_explicit(&slot->low_water, memory_order_relaxed);

	decide_look_at_clock(d);
	if (!clock_is_before(d->now_ns, deadline_ns)) {
		decide_put_back(&slot->word[which], word, cost);
		return false;
	}
	d->until_ns = deadline_ns;
	d->left = word_credits(word) - cost;
	d->low = d->left >> (mark & 31) == 0 && word_credits(word) >> (mark & 31) != 0 && mark - 1 < 31;
	d->fallback = (word & WORD_FALLBACK_BIT) != 0;
	d->beyond = (DECIDE_LOAD(slot->denial) & DENIAL_COST_MASK) != 0 ? 0 : DECIDE_LOAD(slot->hint); /* of a denial: a time */
	return true;
}

/*
 * Takes from one lease if that is plainly open: no other process is at the same word,
 * no edge is near. False: it was not, or the credits came too late; decide_on_slot() looks again.
 *
 * decide_seen_ns may be old. That can't start a lease too early, and whether one is
 * over is asked after the CAS.
 */
DECIDE_HOT static inline bool decide_take_plainly(struct slot *slot, int which, uint64_t key, uint32_t cost,
	struct decision *d) {
	uint64_t word = DECIDE_LOAD(slot->word[which]), taken_from = word;
	uint64_t deadline_ns = DECIDE_LOAD(slot->deadline_ns[which]);
	uint64_t seen_ns = atomic_load_explicit(&decide_seen_ns, memory_order_relaxed);

	if (word_credits(word) < cost || deadline_ns <= seen_ns + CLOCK_COARSE_LAG_NS || DECIDE_LOAD(slot->key) != key)
		return false;
	if (deadline_ns > DECIDE_LOAD(slot->deadline_ns[!which]) && seen_ns < DECIDE_LOAD(slot->later_start_ns))
		return false;
	return atomic_compare_exchange_strong_explicit(&slot->word[which], &word, word - cost, memory_order_acq_rel,
			memory_order_relaxed) &&
		decide_is_in_time(slot, which, taken_from, deadline_ns, cost, d);
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

/* A line of the table that may be needed. All are asked for at once: a client that no cache holds costs one trip to memory, not
 * one for the tags and then one for the slot. */
static inline void decide_prefetch(const struct mapping *m, const struct place *place) {
	for (int i = 0; i < 2; i++) {
		__builtin_prefetch(&m->slots[place->home[i]]);
		__builtin_prefetch(&m->tags[place_bucket(place, i)]);
	}
}

/* May `id`, of `length` bytes, go on under the policy with this index, at this cost? */
DECIDE_HOT static inline enum verdict decide(const struct mapping *m, uint32_t policy, const char *id, size_t length,
	uint32_t cost, struct decision *d) {
	struct place place = place_of(m->secret, m->bucket_count, policy, id, length);
	struct slot *slot = &m->slots[place.home[0]];
	struct decision slow;
	enum verdict verdict;

	d->low = false;
	decide_prefetch(m, &place);
	if (DECIDE_LOAD(slot->key) != place.key)
		slot = decide_find(m, &(struct place){{place.home[0], place.home[1]}, place.low, place.key});
	if (!slot || mapping_is_retired(m))
		return VERDICT_NONE;
	decide_mark_referenced(slot);
	if (decide_take_plainly(slot, 0, place.key, cost, d) || decide_take_plainly(slot, 1, place.key, cost, d))
		return VERDICT_ALLOWED;
	if (decide_is_plainly_denied(slot, place.key, cost, d))
		return VERDICT_DENIED;
	verdict = decide_on_slot(slot, place.key, cost, &slow);
	*d = slow;
	return verdict;
}

#endif
