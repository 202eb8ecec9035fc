/*
 * fake_table.h - the shared table in ordinary memory, and an app that decides in it by
 * the rules of lib/protocol/layout.h at a time that the test chooses.
 */
#ifndef FAKE_TABLE_H
#define FAKE_TABLE_H

#include <stdlib.h>
#include <string.h>

#include "random.h"
#include "core/table.h"

struct fake_table {
	struct directory_header *directory;
	struct table_header *header;
	struct table table;
};

/* Whole pages, as shared memory has them. */
static inline void *fake_memory(uint64_t bytes) {
	void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
	if (!memory)
		abort();
	return memset(memory, 0, bytes);
}

static inline void fake_table_make(struct fake_table *fake, uint64_t max_clients, uint64_t seed) {
	struct table_geometry g = table_geometry_for(max_clients, 0);
	fake->directory = fake_memory(g.directory_bytes);
	fake->header = fake_memory(g.table_bytes);
	fake->directory->tags_offset = g.tags_offset;
	fake->directory->slots_offset = g.slots_offset;
	fake->directory->policy_capacity = POLICY_CAPACITY;
	fake->directory->bucket_count = g.bucket_count;
	for (size_t i = 0; i < SECRET_SIZE; i++)
		fake->directory->secret[i] = (uint8_t)random_next(&seed);
	if (table_init(&fake->table, fake->directory, fake->header, false) != 0)
		abort();
}

/* The agent is gone, another comes. */
static inline void fake_table_take_over(struct fake_table *fake) {
	table_deinit(&fake->table);
	if (table_init(&fake->table, fake->directory, fake->header, true) != 0)
		abort();
}

static inline void fake_table_free(struct fake_table *fake) {
	table_deinit(&fake->table);
	free(fake->directory);
	free(fake->header);
}

/* ---- An app ------------------------------------------------------------------- */

enum app_verdict { APP_ASKS, APP_ALLOWED, APP_DENIED };

struct app_decision {
	enum app_verdict verdict;
	bool low;
	bool fallback;
	uint32_t left;
	int64_t until_ns;
	/* allowed: where the credits came from, and what was there */
	uint32_t slot;
	int bank;
	uint64_t found;
	/* so many of them from the other bank, whose lease ends first; 0: none */
	uint32_t part;
	bool part_fallback;
	int64_t part_until_ns;
};

static inline uint32_t app_find(const struct fake_table *fake, uint32_t policy, const char *id, size_t id_len) {
	struct place place = table_place(&fake->table, policy, id, id_len);
	for (uint32_t n = 0; n < TABLE_CANDIDATES; n++) {
		uint32_t slot = table_candidate(&place, n);
		uint16_t tag = atomic_load(&fake->table.tags[slot / SLOTS_PER_BUCKET].tag[slot % SLOTS_PER_BUCKET]);
		if (tag == place_tag(&place) && atomic_load(&fake->table.slots[slot].key) == place.key)
			return slot;
	}
	return TABLE_NO_SLOT;
}

static inline bool app_sees_open(struct slot *slot, int bank, int64_t now_ns) {
	uint64_t deadline_ns = atomic_load(&slot->deadline_ns[bank]), now = (uint64_t)now_ns;
	return now < deadline_ns &&
	       (deadline_ns <= atomic_load(&slot->deadline_ns[!bank]) || now >= atomic_load(&slot->later_start_ns));
}

static inline bool app_takes(struct slot *slot, int bank, uint32_t cost, int64_t now_ns, struct app_decision *d) {
	for (;;) {
		uint64_t word = atomic_load(&slot->word[bank]);
		uint64_t deadline_ns = atomic_load(&slot->deadline_ns[bank]);
		if (word_credits(word) < cost || !app_sees_open(slot, bank, now_ns))
			return false;
		if (!atomic_compare_exchange_strong(&slot->word[bank], &word, word - cost))
			continue;
		uint32_t mark = atomic_load(&slot->low_water) & LOW_WATER_MARK_MASK;
		d->left = word_credits(word) - cost;
		d->low = mark > 0 && mark < 32 && word_credits(word) >> mark != 0 && d->left >> mark == 0;
		d->fallback = (word & WORD_FALLBACK_BIT) != 0;
		d->until_ns = (int64_t)deadline_ns;
		d->bank = bank;
		d->found = word;
		d->part = 0;
		return true;
	}
}

/* What neither bank holds alone. Nobody takes anything in between. */
static inline bool app_takes_both(struct slot *slot, uint32_t cost, int64_t now_ns, struct app_decision *d) {
	int last = atomic_load(&slot->deadline_ns[1]) > atomic_load(&slot->deadline_ns[0]);
	uint32_t part = word_credits(atomic_load(&slot->word[!last]));
	uint32_t rest = word_credits(atomic_load(&slot->word[last]));
	struct app_decision first = *d;
	if (part == 0 || part >= cost || rest < cost - part || !app_sees_open(slot, last, now_ns) ||
	    !app_takes(slot, !last, part, now_ns, &first) || !app_takes(slot, last, cost - part, now_ns, d))
		return false;
	d->low |= first.low;
	d->part = part;
	d->part_fallback = first.fallback;
	d->part_until_ns = first.until_ns;
	return true;
}

/* Into the lease that it was taken from, if that still is in the same epoch. */
static inline bool app_puts_back(struct slot *slot, int bank, uint64_t found, uint32_t cost) {
	uint64_t word = atomic_load(&slot->word[bank]);
	return word_epoch(word) == word_epoch(found) &&
	       atomic_compare_exchange_strong(&slot->word[bank], &word, word + cost);
}

static inline bool app_is_denied(struct slot *slot, uint32_t cost, int64_t now_ns) {
	uint64_t denial = atomic_load(&slot->denial), from_cost = denial & DENIAL_COST_MASK;
	return from_cost > 0 && cost >= from_cost && (uint64_t)now_ns < denial_until_ns(denial, (uint64_t)now_ns);
}

static inline struct app_decision app_decides(struct fake_table *fake, uint32_t policy, const char *id,
                                              size_t id_len, uint32_t cost, int64_t now_ns) {
	struct app_decision d = {.verdict = APP_ASKS};
	uint32_t at = app_find(fake, policy, id, id_len);
	if (at == TABLE_NO_SLOT)
		return d;
	struct slot *slot = &fake->table.slots[at];
	d.slot = at;
	atomic_store(&slot->referenced, 1);
	if (app_takes(slot, 0, cost, now_ns, &d) || app_takes(slot, 1, cost, now_ns, &d) ||
	    app_takes_both(slot, cost, now_ns, &d)) {
		d.verdict = APP_ALLOWED;
	} else if (app_is_denied(slot, cost, now_ns)) {
		d.verdict = APP_DENIED;
		d.until_ns = (int64_t)denial_until_ns(atomic_load(&slot->denial), (uint64_t)now_ns);
	}
	return d;
}

#endif
