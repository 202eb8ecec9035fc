/*
 * decide.c - finds the client's slot, takes credits from one of its two leases,
 * or sees that the client is denied.
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

#include "clock.h"
#include "decide.h"
#include "hash.h"

/*
 * A CAS fails only when another process or thread got its own through, so the
 * word is fought over by as many as there are CPUs. Who loses this often in a row
 * asks the agent instead of going on for ever.
 */
#define CAS_TRIES 64

#define LOAD(field) atomic_load_explicit(&(field), memory_order_acquire)

/*
 * Which of the sixteen tags are equal: bit i for tag i. The wide loads are not
 * atomic in C's eyes, but a torn row only mis-states a tag, and a tag is only a
 * reason to look at the slot's key.
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

static struct slot *find_slot(const struct mapping *m, const struct place *place) {
	__builtin_prefetch(&m->tags[place->bucket[0]]);
	__builtin_prefetch(&m->tags[place->bucket[1]]);
	for (int b = 0; b < 2; b++) {
		struct slot *bucket = &m->slots[(size_t)place->bucket[b] * SLOTS_PER_BUCKET];
		unsigned found = match_tags(&m->tags[place->bucket[b]], place->tag);

		for (; found; found &= found - 1) {
			struct slot *slot = &bucket[__builtin_ctz(found)];
			if (LOAD(slot->key) == place->key)
				return slot;
		}
	}
	return NULL;
}

/* Now, and not only later: the lease with the greater deadline is for the sub-window that comes after the other's. */
static bool lease_is_open(const struct slot *slot, int which, uint64_t deadline_ns, uint64_t now_ns) {
	if (!clock_is_before(now_ns, deadline_ns))
		return false;
	return deadline_ns <= LOAD(slot->deadline_ns[!which]) || !clock_is_before(now_ns, LOAD(slot->later_start_ns));
}

static bool crosses_low_water(const struct slot *slot, uint32_t before, uint32_t after) {
	unsigned mark = atomic_load_explicit(&slot->low_water, memory_order_relaxed);
	return mark > 0 && mark < 32 && before >> mark != 0 && after >> mark == 0;
}

/*
 * Takes `cost` credits from one lease. All that is read of the slot between the
 * word and the CAS belongs to the word's epoch if the CAS succeeds.
 *
 * The clock is read once more after the CAS: this process may have been stopped
 * in between, and the credit's sub-window may be over. Then the credit is burnt.
 */
static bool take_credits(struct slot *slot, int which, uint64_t key, uint32_t cost, struct decision *d) {
	for (int tries = 0; tries < CAS_TRIES; tries++) {
		uint64_t word = LOAD(slot->word[which]);
		uint64_t deadline_ns = LOAD(slot->deadline_ns[which]);

		if (word_credits(word) < cost || !lease_is_open(slot, which, deadline_ns, d->now_ns) ||
			LOAD(slot->key) != key)
			return false;
		if (!atomic_compare_exchange_strong_explicit(&slot->word[which], &word, word - cost,
				memory_order_acq_rel, memory_order_relaxed))
			continue;
		d->left = word_credits(word) - cost;
		d->low |= crosses_low_water(slot, word_credits(word), d->left);
		d->fallback = (word & WORD_FALLBACK_BIT) != 0;
		d->until_ns = deadline_ns;
		d->now_ns = clock_coarse_ns();
		return clock_is_before(d->now_ns, deadline_ns);
	}
	return false;
}

static bool is_denied(const struct slot *slot, uint64_t key, uint32_t cost, struct decision *d) {
	uint64_t denial = LOAD(slot->denial);
	uint64_t from_cost = denial & DENIAL_COST_MASK;
	uint64_t until_ns = (denial >> DENIAL_UNTIL_SHIFT) * 1000;

	if (from_cost == 0 || cost < from_cost || !clock_is_before(d->now_ns, until_ns))
		return false;
	d->beyond = LOAD(slot->hint);
	/* Not even a cost of 1, ever: an operator has blocked the client. */
	d->blocked = from_cost == 1 && (d->beyond & ~HINT_FALLBACK_BIT) == HINT_FOREVER;
	d->until_ns = until_ns;
	/* The agent may have given the slot to another client meanwhile: it changes the key before the denial. */
	return LOAD(slot->key) == key;
}

/* Says that the client is not idle. Writing only when it changes something keeps the cache line shared. */
static void mark_referenced(struct slot *slot) {
	if (atomic_load_explicit(&slot->referenced, memory_order_relaxed) == 0)
		atomic_store_explicit(&slot->referenced, 1, memory_order_relaxed);
}

static void decide_on_slot(struct slot *slot, uint64_t key, uint32_t cost, struct decision *d) {
	mark_referenced(slot);
	if (take_credits(slot, 0, key, cost, d) || take_credits(slot, 1, key, cost, d)) {
		bool hint_is_ms = (LOAD(slot->denial) & DENIAL_COST_MASK) != 0;
		d->beyond = hint_is_ms ? 0 : LOAD(slot->hint);
		d->verdict = VERDICT_ALLOWED;
	} else if (is_denied(slot, key, cost, d)) {
		d->verdict = VERDICT_DENIED;
	}
}

struct decision decide(const struct mapping *m, uint32_t policy, const char *id, size_t length, uint32_t cost) {
	struct place place = place_of(m->secret, m->bucket_count, policy, id, length);
	struct decision d = {.verdict = VERDICT_NONE, .now_ns = clock_coarse_ns()};
	struct slot *slot = find_slot(m, &place);

	if (slot && !mapping_is_retired(m))
		decide_on_slot(slot, place.key, cost, &d);
	return d;
}
