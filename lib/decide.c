/*
 * decide.c - the cases that the short way of decide.h leaves: a client that is
 * not at its first home, an edge that is near, a word that others are at,
 * denials.
 */
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define TAGS_ONE_BY_ONE
#endif
#endif
#if !defined(__SSE2__) || defined(__SANITIZE_THREAD__)
#define TAGS_ONE_BY_ONE
#endif

#ifndef TAGS_ONE_BY_ONE
#include <emmintrin.h>
#endif

#include "decide.h"

/*
 * A CAS fails only when another process or thread got its own through, so as many
 * as there are CPUs compete for a word. A check that loses this often in a row
 * asks the agent instead of going on for ever.
 */
#define CAS_TRIES 64

/* The agent changes a hint twice within some hundred nanoseconds. If it was killed in between, verdicts don't tell
 * what the store has left until the next grant, and each check of this client looks this often. */
#define HINT_TRIES 256

_Atomic uint64_t decide_seen_ns;

/* ---- Finding --------------------------------------------------------------------- */

/*
 * Returns which of the sixteen tags are equal: bit i for tag i. The wide loads
 * are not atomic in C's eyes, but a torn row only mis-states a tag, and a tag
 * is only a reason to look at the slot's key.
 */
#ifdef TAGS_ONE_BY_ONE
static unsigned match_tags(const struct tag_row *row, uint16_t tag) {
	unsigned found = 0;
	for (unsigned i = 0; i < SLOTS_PER_BUCKET; i++)
		found |= (unsigned)(atomic_load_explicit(&row->tag[i], memory_order_relaxed) == tag) << i;
	return found;
}
#else
static unsigned match_tags(const struct tag_row *row, uint16_t tag) {
	const __m128i *half = (const __m128i *)(const void *)row;
	__m128i wanted = _mm_set1_epi16((short)tag);
	__m128i first = _mm_cmpeq_epi16(_mm_load_si128(&half[0]), wanted);
	__m128i second = _mm_cmpeq_epi16(_mm_load_si128(&half[1]), wanted);
	return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(first, second));
}
#endif

static struct slot *find_in_bucket(const struct mapping *m, uint32_t bucket, uint16_t tag, uint64_t key) {
	struct slot *slots = &m->slots[(size_t)bucket * SLOTS_PER_BUCKET];
	for (unsigned found = match_tags(&m->tags[bucket], tag); found; found &= found - 1) {
		struct slot *slot = &slots[__builtin_ctz(found)];
		if (DECIDE_LOAD(slot->key) == key)
			return slot;
	}
	return NULL;
}

/* Prefetches all the cache lines that may be needed at once: that makes two trips to memory, and not one for
 * each. */
struct slot *decide_find_elsewhere(const struct mapping *m, uint64_t low, uint64_t key) {
	struct place place = place_from(m->bucket_count, low, key);
	struct slot *second_home = &m->slots[place.home[1]];
	struct slot *slot;

	__builtin_prefetch(&m->tags[place_bucket(&place, 0)]);
	__builtin_prefetch(&m->tags[place_bucket(&place, 1)]);
	if (DECIDE_LOAD(second_home->key) == key)
		return second_home;
	slot = find_in_bucket(m, place_bucket(&place, 0), place_tag(&place), key);
	return slot ? slot : find_in_bucket(m, place_bucket(&place, 1), place_tag(&place), key);
}

struct slot *decide_find_slot(const struct mapping *m, uint32_t policy, const char *id, size_t length) {
	uint64_t key;
	return decide_find(m, policy, id, length, &key);
}

/* ---- Taking ---------------------------------------------------------------------- */

/* Whether the lease is open now. The lease with the greater deadline may be one for the next sub-window, which
 * opens later. */
static bool lease_is_open(const struct slot *slot, int which, uint64_t deadline_ns, uint64_t now_ns) {
	if (!clock_is_before(now_ns, deadline_ns))
		return false;
	return deadline_ns <= DECIDE_LOAD(slot->deadline_ns[!which]) ||
	       !clock_is_before(now_ns, DECIDE_LOAD(slot->later_start_ns));
}

/* Returns the credits of the leases that are open now. */
static uint32_t open_credits(const struct slot *slot, uint64_t now_ns) {
	uint32_t credits = 0;
	for (int which = 0; which < 2; which++)
		if (lease_is_open(slot, which, DECIDE_LOAD(slot->deadline_ns[which]), now_ns))
			credits += word_credits(DECIDE_LOAD(slot->word[which]));
	return credits;
}

bool decide_put_back(_Atomic uint64_t *word, uint64_t taken_from, uint32_t cost) {
	uint64_t present = DECIDE_LOAD(*word);
	for (int tries = 0; tries < CAS_TRIES; tries++) {
		if (word_epoch(present) != word_epoch(taken_from) || word_credits(present) > WORD_CREDITS_MASK - cost)
			return false;
		if (atomic_compare_exchange_strong_explicit(word, &present, present + cost, memory_order_acq_rel,
		                                            memory_order_acquire))
			return true;
	}
	return false;
}

void decide_undo(const struct decision *d, uint32_t cost) {
	_Atomic uint64_t *beside = &d->slot->word[d->word == &d->slot->word[0]];

	decide_put_back(d->word, d->found, cost - d->part);
	if (d->part > 0)
		decide_put_back(beside, d->part_found, d->part);
}

/*
 * Takes `cost` credits from one lease. All that is read of the slot between the
 * word and the CAS belongs to the word's epoch if the CAS succeeds.
 *
 * The clock is read once more after the CAS: this process may have been stopped
 * in between, and the credit's sub-window may be over. If they are taken, d->now_ns
 * stays the time before: from then on it counts how long they have been.
 */
static bool take_credits(struct slot *slot, int which, uint64_t key, uint32_t cost, struct decision *d) {
	struct lease_seen lease = {.word = &slot->word[which]};
	uint64_t before_ns = d->now_ns;

	for (int tries = 0; tries < CAS_TRIES; tries++) {
		uint64_t expected = lease.found = DECIDE_LOAD(*lease.word);

		lease.deadline_ns = DECIDE_LOAD(slot->deadline_ns[which]);
		if (word_credits(lease.found) < cost || !lease_is_open(slot, which, lease.deadline_ns, d->now_ns) ||
		    DECIDE_LOAD(slot->key) != key)
			return false;
		if (!atomic_compare_exchange_strong_explicit(lease.word, &expected, lease.found - cost,
		                                             memory_order_acq_rel, memory_order_relaxed))
			continue;
		if (!decide_is_in_time(slot, &lease, cost, before_ns, TELL_ALL, d))
			return false;
		d->now_ns = before_ns;
		return true;
	}
	return false;
}

/* Which lease ends last: the credits of both are back no sooner than that one's. */
static int last_to_end(const struct slot *slot) {
	return DECIDE_LOAD(slot->deadline_ns[1]) > DECIDE_LOAD(slot->deadline_ns[0]);
}

/* Takes what neither lease holds alone: all that the one holds which ends first, and the rest from the other.
 * Others may be quicker at that one, or this process late: then all goes back. */
static bool take_from_both(struct slot *slot, uint64_t key, uint32_t cost, struct decision *d) {
	int last = last_to_end(slot);
	uint32_t part = word_credits(DECIDE_LOAD(slot->word[!last]));

	if (part == 0 || part >= cost || open_credits(slot, d->now_ns) < cost ||
	    !take_credits(slot, !last, key, part, d))
		return false;
	struct decision first = *d;
	if (!take_credits(slot, last, key, cost - part, d)) {
		decide_undo(&first, part);
		return false;
	}
	d->low |= first.low;
	d->part = part;
	d->part_found = first.found;
	d->part_until_ns = first.until_ns;
	if (decide_is_still_good(d, clock_coarse_ns()))
		return true;
	decide_undo(d, cost);
	return false;
}

static bool is_denied(struct slot *slot, uint64_t key, uint32_t cost, struct decision *d) {
	uint64_t denial = DECIDE_LOAD(slot->denial);
	if (!decide_denial_covers(denial, cost))
		return false;
	d->until_ns = denial_until_ns(denial, d->now_ns);
	uint32_t few = word_credits(DECIDE_LOAD(slot->word[0])) | word_credits(DECIDE_LOAD(slot->word[1]));
	decide_read_denial(slot, key, denial, few, d);
	return DECIDE_LOAD(slot->key) == key && DECIDE_LOAD(slot->denial) == denial &&
	       clock_is_before(d->now_ns, d->until_ns);
}

enum verdict decide_closely(const struct mapping *m, uint32_t policy, const char *id, size_t length, uint32_t cost,
                            struct decision *d) {
	uint64_t key;
	struct slot *slot = decide_find(m, policy, id, length, &key);

	*d = (struct decision){0};
	if (!slot)
		return VERDICT_NONE;
	decide_mark_referenced(slot);
	decide_look_at_clock(d);
	if (take_credits(slot, 0, key, cost, d) || take_credits(slot, 1, key, cost, d) ||
	    take_from_both(slot, key, cost, d))
		return VERDICT_ALLOWED;
	/* Whoever lost a race for credits that are there asks the agent. */
	return open_credits(slot, d->now_ns) < cost && is_denied(slot, key, cost, d) ? VERDICT_DENIED : VERDICT_NONE;
}

/* Whether one lease is open and holds the cost. */
static bool holds(struct slot *slot, int which, uint64_t key, uint32_t cost, struct decision *d) {
	struct lease_seen lease = {.word = &slot->word[which]};
	lease.found = DECIDE_LOAD(*lease.word);
	lease.deadline_ns = DECIDE_LOAD(slot->deadline_ns[which]);
	if (word_credits(lease.found) < cost || !lease_is_open(slot, which, lease.deadline_ns, d->now_ns) ||
	    DECIDE_LOAD(slot->key) != key)
		return false;
	d->until_ns = lease.deadline_ns;
	d->left = word_credits(lease.found);
	d->slot = slot;
	d->word = lease.word;
	d->found = lease.found;
	decide_read_admission(slot, &lease, DECIDE_LOAD(slot->low_water), d);
	return true;
}

/* Whether both leases together do, of which neither does. */
static bool hold_together(struct slot *slot, uint64_t key, uint32_t cost, struct decision *d) {
	return open_credits(slot, d->now_ns) >= cost && holds(slot, last_to_end(slot), key, 1, d);
}

enum verdict decide_look(const struct mapping *m, uint32_t policy, const char *id, size_t length, uint32_t cost,
                         struct decision *d) {
	uint64_t key;
	struct slot *slot = decide_find(m, policy, id, length, &key);

	*d = (struct decision){0};
	if (!slot)
		return VERDICT_NONE;
	decide_mark_referenced(slot);
	decide_look_at_clock(d);
	if (holds(slot, 0, key, cost, d) || holds(slot, 1, key, cost, d) || hold_together(slot, key, cost, d))
		return VERDICT_ALLOWED;
	return is_denied(slot, key, cost, d) ? VERDICT_DENIED : VERDICT_NONE;
}

/* ---- Telling --------------------------------------------------------------------- */

static int64_t own_limit(const struct mapping *m, const struct slot *slot) {
	uint8_t low_water = DECIDE_LOAD(slot->low_water);
	if ((low_water & LOW_WATER_OWN_LIMIT) == 0)
		return NO_OWN_LIMIT;
	return DECIDE_LOAD(m->own_limits[own_limit_index(DECIDE_LOAD(slot->policy), low_water)]);
}

/* Returns what the store had left, or HINT_UNKNOWN. */
static uint32_t left_beyond(const struct slot *slot) {
	uint32_t hint = DECIDE_LOAD(slot->hint);
	if ((hint & HINT_TIMES_BIT) == 0)
		return hint & ~HINT_BOTH_BIT;
	uint64_t denial = DECIDE_LOAD(slot->denial);
	return (denial & DENIAL_COST_MASK) != 0 ? denial_left(denial) : HINT_UNKNOWN;
}

struct told {
	uint32_t left;
	uint32_t beyond;
};

/* Whether the lease is open. Its credits are told, not taken, so the coarse clock is good enough. */
static bool is_open_beside(const struct slot *slot, int which, uint64_t now_ns) {
	uint64_t deadline_ns = DECIDE_LOAD(slot->deadline_ns[which]);
	return now_ns < deadline_ns &&
	       (deadline_ns <= DECIDE_LOAD(slot->deadline_ns[!which]) || now_ns >= DECIDE_LOAD(slot->later_start_ns));
}

/* Returns what was left when the credits were taken from this lease, or else what is left now, if that can be
 * found out soon. The epochs of both leases tell that all of it is of one answer. */
static struct told look_again(const struct slot *slot, int which, uint64_t found, uint32_t left, uint64_t now_ns) {
	uint32_t left_then = left;
	for (int tries = 0; tries <= HINT_TRIES; tries++) {
		uint64_t other = DECIDE_LOAD(slot->word[!which]);
		uint32_t beside = is_open_beside(slot, !which, now_ns) ? word_credits(other) : 0;
		uint32_t beyond = left_beyond(slot);
		uint64_t present = DECIDE_LOAD(slot->word[which]);

		if (beyond != HINT_UNKNOWN && word_epoch(present) == word_epoch(found) &&
		    word_epoch(DECIDE_LOAD(slot->word[!which])) == word_epoch(other))
			return (struct told){left + beside, beyond};
		found = present;
		left = word_credits(present);
	}
	return (struct told){left_then, 0};
}

struct unusual decide_unusual_admission(const struct mapping *m, const struct slot *slot,
                                        const _Atomic uint64_t *word, uint64_t found, uint32_t left,
                                        uint64_t now_ns) {
	struct unusual unusual = {
		.is_known = true,
		.fallback = (found & WORD_FALLBACK_BIT) != 0,
		.own_limit = own_limit(m, slot),
	};
	struct told told = look_again(slot, word != &slot->word[0], found, left, now_ns);
	unusual.left = told.left;
	unusual.beyond = told.beyond;
	return unusual;
}

struct unusual decide_unusual_denial(const struct mapping *m, const struct slot *slot, uint64_t key,
                                     uint64_t denial, uint32_t times, uint64_t now_ns) {
	struct unusual unusual = {
		.fallback = (times & HINT_FALLBACK_BIT) != 0,
		.unavailable = (times & HINT_UNAVAILABLE_BIT) != 0,
		.left = open_credits(slot, now_ns),
		.beyond = denial_left(denial),
		.own_limit = own_limit(m, slot),
	};
	unusual.is_known =
		times != HINT_UNKNOWN && DECIDE_LOAD(slot->key) == key && DECIDE_LOAD(slot->denial) == denial;
	return unusual;
}
