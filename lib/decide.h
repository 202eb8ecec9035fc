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
#include "protocol/hash.h"
#include "protocol/hot.h"
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
	uint32_t left;     /* credits that are still open: allowed: of this lease; denied: of either, too few */
	uint32_t beyond;   /* what the store had left when it gave them; 0 if that isn't known */
	uint32_t times;    /* denied: slot.hint, see layout.h */
	bool own;          /* the client has a limit of its own */
	uint32_t own_limit;
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

/* Credits of a lease and the hint that goes with them. */
struct told {
	uint32_t left;
	uint32_t beyond;
};

/* Both as they are now, if that can be found out soon; else as they are given. A decision that were handed over here
 * would lie in memory, also for those who never come here. */
struct told decide_look_again(const struct slot *slot, const _Atomic uint64_t *word, struct told);

/* What the leases hold that are open now. */
uint32_t decide_open_credits(const struct slot *slot, uint64_t now_ns);

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

/* Few have one. */
HOT_PART static inline void decide_read_limit(const struct mapping *m, const struct slot *slot, uint8_t low_water,
	struct decision *d) {
	d->own = (low_water & LOW_WATER_OWN_LIMIT) != 0;
	d->own_limit = 0;
	if (d->own)
		d->own_limit = DECIDE_LOAD(m->own_limits[own_limit_index(DECIDE_LOAD(slot->policy), low_water)]);
}

/* What the store had left, or HINT_UNKNOWN. */
static inline uint32_t decide_left_beyond(const struct slot *slot) {
	uint32_t hint = DECIDE_LOAD(slot->hint);
	uint64_t denial;

	if ((hint & HINT_TIMES_BIT) == 0)
		return hint;
	denial = DECIDE_LOAD(slot->denial);
	return (denial & DENIAL_COST_MASK) != 0 ? denial_left(denial) : HINT_UNKNOWN;
}

/* What goes with the credits that were taken: it is there, and the lease is still in the same epoch. */
HOT_PART static inline void decide_read_hint(const struct slot *slot, const struct lease_seen *lease, struct decision *d) {
	uint32_t beyond = decide_left_beyond(slot);
	uint64_t changed = (DECIDE_LOAD(*lease->word) ^ lease->found) >> WORD_EPOCH_SHIFT;

	if ((changed | (beyond == HINT_UNKNOWN)) != 0) {
		struct told told = decide_look_again(slot, lease->word, (struct told){d->left, 0});
		d->left = told.left;
		beyond = told.beyond;
	}
	d->beyond = beyond;
}

/* The CAS has taken the credits: were they good until now? If so, says what goes with them. */
HOT_PART static inline bool decide_is_in_time(const struct mapping *m, const struct slot *slot, const struct lease_seen *lease,
	uint32_t cost, struct decision *d) {
	uint8_t low_water = atomic_load_explicit(&slot->low_water, memory_order_relaxed);
	unsigned mark = low_water & LOW_WATER_MARK_MASK;
	uint32_t had = word_credits(lease->found);

	decide_look_at_clock(d);
	if (!clock_is_before(d->now_ns, lease->deadline_ns)) {
		decide_put_back(lease->word, lease->found, cost);
		return false;
	}
	d->until_ns = lease->deadline_ns;
	d->left = had - cost;
	d->low = d->left >> mark == 0 && had >> mark != 0 && mark != 0;
	d->fallback = (lease->found & WORD_FALLBACK_BIT) != 0;
	decide_read_limit(m, slot, low_water, d);
	decide_read_hint(slot, lease, d);
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
HOT_PART static inline bool decide_take_plainly(const struct mapping *m, struct slot *slot, uint64_t key, uint32_t cost,
	struct decision *d) {
	struct lease_seen lease;
	uint64_t expected;

	if ((!decide_sees_open(slot, 0, cost, &lease) && !decide_sees_open(slot, 1, cost, &lease)) || DECIDE_LOAD(slot->key) != key)
		return false;
	expected = lease.found;
	return atomic_compare_exchange_strong_explicit(lease.word, &expected, lease.found - cost, memory_order_acq_rel,
			memory_order_relaxed) &&
		decide_is_in_time(m, slot, &lease, cost, d);
}

/* What goes with a denial; false when it isn't the client's any more (the agent changes the key before the denial), or
 * has just been lifted or replaced. too_few: whether the leases hold any credits. */
HOT_PART static inline bool decide_describe_denial(const struct mapping *m, const struct slot *slot, uint64_t denial, uint64_t key,
	uint32_t too_few, struct decision *d) {
	d->until_ns = denial_until_ns(denial, d->now_ns);
	d->times = DECIDE_LOAD(slot->hint);
	d->beyond = denial_left(denial);
	decide_read_limit(m, slot, DECIDE_LOAD(slot->low_water), d);
	d->left = too_few == 0 ? 0 : decide_open_credits(slot, d->now_ns);
	return d->times != HINT_UNKNOWN && DECIDE_LOAD(slot->key) == key && DECIDE_LOAD(slot->denial) == denial;
}

static inline bool decide_denial_covers(uint64_t denial, uint32_t cost) {
	return (denial & DENIAL_COST_MASK) != 0 && cost >= (denial & DENIAL_COST_MASK);
}

/* Neither lease holds enough, whether it is open or not, and the denial lasts on. */
HOT_PART static inline bool decide_is_plainly_denied(const struct mapping *m, const struct slot *slot, uint64_t key, uint32_t cost,
	struct decision *d) {
	uint64_t denial = DECIDE_LOAD(slot->denial);
	uint32_t credits[2] = {word_credits(DECIDE_LOAD(slot->word[0])), word_credits(DECIDE_LOAD(slot->word[1]))};

	if (!decide_denial_covers(denial, cost) || credits[0] >= cost || credits[1] >= cost)
		return false;
	decide_look_at_clock(d);
	return decide_describe_denial(m, slot, denial, key, credits[0] | credits[1], d) && d->until_ns > d->now_ns + CLOCK_COARSE_LAG_NS;
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
	if (decide_take_plainly(m, slot, key, cost, d))
		return VERDICT_ALLOWED;
	return decide_is_plainly_denied(m, slot, key, cost, d) ? VERDICT_DENIED : VERDICT_NONE;
}

#endif
