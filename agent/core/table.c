/*
 * table.c - writes the table that apps read at the same time, without a lock.
 *
 * In which order a slot's words are written is what keeps an app's decision right; lib/protocol/layout.h says why,
 * and tests/model/slot.pml tries every interleaving.
 */
#include "table.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/tally.h"

/* Two choices of 16-slot buckets overflow rarely up to this load; beyond it, idle clients give way. */
#define LOAD_PERCENT 85u

static uint64_t round_up(uint64_t n, uint64_t to) {
	return (n + to - 1) / to * to;
}

static uint64_t tally_bytes(uint32_t stripes) {
	uint64_t tallies = (POLICY_CAPACITY + 1) * (uint64_t)stripes + POLICY_CAPACITY;
	return stripes > 0 ? tallies * sizeof(struct tally) : 0;
}

struct table_geometry table_geometry_for(uint64_t max_clients, uint32_t tally_stripes) {
	struct table_geometry g = {.tags_offset = sizeof(struct table_header), .tally_stripes = tally_stripes};
	uint64_t slots = max_clients * 100 / LOAD_PERCENT + 1;
	g.bucket_count = (uint32_t)(round_up(slots, SLOTS_PER_BUCKET) / SLOTS_PER_BUCKET);
	g.slots_offset = round_up(g.tags_offset + (uint64_t)g.bucket_count * sizeof(struct tag_row), 4096);
	g.tallies_offset =
		round_up(g.slots_offset + (uint64_t)g.bucket_count * SLOTS_PER_BUCKET * sizeof(struct slot), 4096);
	g.table_bytes = round_up(g.tallies_offset + tally_bytes(tally_stripes), 4096);
	g.directory_bytes =
		DIRECTORY_ENTRIES_OFFSET + POLICY_CAPACITY * sizeof(struct policy_entry) + OWN_LIMITS * sizeof(uint32_t);
	g.directory_bytes = round_up(g.directory_bytes, 4096);
	return g;
}

/* ---- Limits of clients' own --------------------------------------------------- */

static bool has_own_limit(const struct table *table, uint32_t slot) {
	return atomic_load_explicit(&table->slots[slot].low_water, memory_order_relaxed) & LOW_WATER_OWN_LIMIT;
}

static uint32_t own_index(const struct table *table, uint32_t slot) {
	const struct slot *s = &table->slots[slot];
	uint16_t policy = atomic_load_explicit(&s->policy, memory_order_relaxed);
	return own_limit_index(policy, atomic_load_explicit(&s->low_water, memory_order_relaxed));
}

uint16_t table_policy(const struct table *table, uint32_t slot) {
	return atomic_load_explicit(&table->slots[slot].policy, memory_order_relaxed) & SLOT_POLICY_MASK;
}

bool table_own_limit(const struct table *table, uint32_t slot, int64_t *limit) {
	if (!has_own_limit(table, slot))
		return false;
	*limit = atomic_load_explicit(&table->own_limits[own_index(table, slot)], memory_order_relaxed);
	return true;
}

/* Returns the index of an own limit of this value, or of one that nobody uses; OWN_LIMITS: there is none. */
static uint32_t find_own_limit(const struct table *table, uint32_t limit) {
	uint32_t unused = OWN_LIMITS;
	for (uint32_t i = 0; i < OWN_LIMITS; i++) {
		if (table->own_users[i] == 0 && unused == OWN_LIMITS)
			unused = i;
		if (table->own_users[i] > 0 && atomic_load_explicit(&table->own_limits[i], memory_order_relaxed) == limit)
			return i;
	}
	return unused;
}

/* Apps may have written over what says which it is; then the numbers of users are wrong until the next agent
 * counts anew, and a wrong limit may be told. */
static void leave_own_limit(struct table *table, uint32_t slot) {
	struct slot *s = &table->slots[slot];
	if (!has_own_limit(table, slot))
		return;
	uint32_t *users = &table->own_users[own_index(table, slot)];
	*users -= *users > 0;
	uint8_t low_water = atomic_load_explicit(&s->low_water, memory_order_relaxed) & LOW_WATER_MARK_MASK;
	atomic_store_explicit(&s->low_water, low_water, memory_order_relaxed);
	atomic_store_explicit(&s->policy, table_policy(table, slot), memory_order_relaxed);
}

void table_set_own_limit(struct table *table, uint32_t slot, bool own, uint32_t limit) {
	struct slot *s = &table->slots[slot];
	int64_t present;
	if (own && table_own_limit(table, slot, &present) && present == (int64_t)limit)
		return;
	leave_own_limit(table, slot);
	uint32_t index = own ? find_own_limit(table, limit) : OWN_LIMITS;
	if (index == OWN_LIMITS)
		return;
	table->own_users[index]++;
	atomic_store_explicit(&table->own_limits[index], limit, memory_order_relaxed);
	uint16_t policy = (uint16_t)(table_policy(table, slot) | index >> 2 << 10);
	uint8_t mark = atomic_load_explicit(&s->low_water, memory_order_relaxed) & LOW_WATER_MARK_MASK;
	atomic_store_explicit(&s->policy, policy, memory_order_release);
	atomic_store_explicit(&s->low_water, (uint8_t)(LOW_WATER_OWN_LIMIT | (index & 3u) << 5 | mark),
	                      memory_order_release);
}

/* ---- Placing ------------------------------------------------------------------- */

static void adopt_orphans(struct table *table) {
	for (uint32_t i = 0; i < table->slot_count; i++) {
		uint16_t tag = atomic_load_explicit(&table->tags[i / SLOTS_PER_BUCKET].tag[i % SLOTS_PER_BUCKET],
		                                    memory_order_relaxed);
		if (tag == 0)
			continue;
		table->private_tags[i] = tag;
		table->owner[i] = TABLE_ORPHAN;
		table->used++;
		table->orphans++;
		if (has_own_limit(table, i))
			table->own_users[own_index(table, i)]++;
	}
}

int table_init(struct table *table, struct directory_header *directory, struct table_header *header,
               bool take_over) {
	*table = (struct table){
		.directory = directory,
		.header = header,
		.tags = (struct tag_row *)((char *)header + directory->tags_offset),
		.slots = (struct slot *)((char *)header + directory->slots_offset),
		.own_limits = directory_own_limits(directory),
		.bucket_count = directory->bucket_count,
		.slot_count = directory->bucket_count * SLOTS_PER_BUCKET,
	};
	table->private_tags = calloc(table->slot_count, sizeof(*table->private_tags));
	table->owner = malloc(table->slot_count * sizeof(*table->owner));
	if (!table->private_tags || !table->owner) {
		table_deinit(table);
		return -1;
	}
	memset(table->owner, 0xff, table->slot_count * sizeof(*table->owner));
	if (take_over)
		adopt_orphans(table);
	return 0;
}

void table_deinit(struct table *table) {
	free(table->private_tags);
	free(table->owner);
	*table = (struct table){0};
}

struct place table_place(const struct table *table, uint32_t policy, const char *id, size_t id_len) {
	return place_of(table->directory->secret, table->bucket_count,
	                policy_number_make(policy, table->generation[policy % POLICY_CAPACITY]), id, id_len);
}

uint32_t table_candidate(const struct place *place, uint32_t n) {
	return place_bucket(place, (int)(n / SLOTS_PER_BUCKET)) * SLOTS_PER_BUCKET + n % SLOTS_PER_BUCKET;
}

uint32_t table_next_candidate(const struct table *table, const struct place *place, uint32_t *cursor) {
	uint16_t tag = place_tag(place);
	while (*cursor < TABLE_CANDIDATES) {
		uint32_t slot = table_candidate(place, (*cursor)++);
		if (table->private_tags[slot] == tag)
			return slot;
	}
	return TABLE_NO_SLOT;
}

bool table_key_matches(const struct table *table, uint32_t slot, const struct place *place) {
	return atomic_load_explicit(&table->slots[slot].key, memory_order_relaxed) == place->key;
}

static uint32_t free_in_bucket(const struct table *table, uint32_t bucket, uint32_t *slot) {
	uint32_t count = 0;
	for (uint32_t i = bucket * SLOTS_PER_BUCKET; i < (bucket + 1) * SLOTS_PER_BUCKET; i++)
		if (table->private_tags[i] == 0 && count++ == 0)
			*slot = i;
	return count;
}

static void set_tag(struct table *table, uint32_t slot, uint16_t tag) {
	table->private_tags[slot] = tag;
	atomic_store_explicit(&table->tags[slot / SLOTS_PER_BUCKET].tag[slot % SLOTS_PER_BUCKET], tag,
	                      memory_order_release);
}

/* Ends both leases and forgets everything else, so that nothing of an earlier client is left. */
static void wipe(struct table *table, uint32_t slot) {
	struct slot *s = &table->slots[slot];
	for (int bank = 0; bank < 2; bank++)
		table_drain(table, slot, bank);
	leave_own_limit(table, slot);
	atomic_store_explicit(&s->later_start_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&s->denial, 0, memory_order_relaxed);
	atomic_store_explicit(&s->hint, HINT_UNKNOWN, memory_order_relaxed);
	atomic_store_explicit(&s->low_water, 0, memory_order_relaxed);
}

/* With as few free slots as this in a bucket, clients go where there is more room, home or not: measured, two
 * choices then fill to 85% without a bucket pair that is full. */
#define CROWDED 3u

static bool is_free(const struct table *table, uint32_t slot) {
	return table->private_tags[slot] == 0;
}

/* The home in the emptier bucket, else that in the other, else any place in the emptier one. */
static uint32_t choose_slot(const struct table *table, const struct place *place) {
	uint32_t any[2] = {TABLE_NO_SLOT, TABLE_NO_SLOT};
	uint32_t room[2] = {free_in_bucket(table, place_bucket(place, 0), &any[0]),
	                    free_in_bucket(table, place_bucket(place, 1), &any[1])};
	int better = room[1] > room[0];
	if (is_free(table, place->home[better]))
		return place->home[better];
	if (room[!better] > CROWDED && is_free(table, place->home[!better]))
		return place->home[!better];
	return any[better];
}

/* There is no key where there is no tag, see table_release(): apps look for keys, but the next agent for tags. If
 * this one is killed in between, a tag without a key stays, an orphan that nobody uses; a key without a tag would
 * stand for ever before a client that has been given its other home. */
uint32_t table_claim(struct table *table, const struct place *place, uint16_t policy, uint32_t owner) {
	uint32_t chosen = choose_slot(table, place);
	if (chosen == TABLE_NO_SLOT)
		return TABLE_NO_SLOT;
	wipe(table, chosen);
	struct slot *s = &table->slots[chosen];
	atomic_store_explicit(&s->policy, policy, memory_order_relaxed);
	atomic_store_explicit(&s->referenced, 1, memory_order_relaxed);
	set_tag(table, chosen, place_tag(place));
	atomic_store_explicit(&s->key, place->key, memory_order_release);
	table->owner[chosen] = owner;
	table->used++;
	return chosen;
}

static bool is_orphan(const struct table *table, uint32_t slot) {
	return table->owner[slot] == TABLE_ORPHAN || table->owner[slot] == TABLE_ORPHAN_IDLE;
}

void table_release(struct table *table, uint32_t slot) {
	table->orphans -= is_orphan(table, slot);
	atomic_store_explicit(&table->slots[slot].key, 0, memory_order_release);
	wipe(table, slot);
	set_tag(table, slot, 0);
	table->owner[slot] = TABLE_NO_OWNER;
	table->used--;
}

void table_adopt(struct table *table, uint32_t slot, uint32_t owner, uint16_t policy) {
	table->orphans -= is_orphan(table, slot);
	table->owner[slot] = owner;
	if (table_policy(table, slot) == policy)
		return;
	leave_own_limit(table, slot);
	atomic_store_explicit(&table->slots[slot].policy, policy, memory_order_relaxed);
}

void table_publish(struct table *table, uint32_t slot, int bank, const struct table_lease *lease) {
	struct slot *s = &table->slots[slot];
	uint32_t epoch = word_epoch(atomic_load_explicit(&s->word[bank], memory_order_relaxed)) + 1;
	atomic_exchange_explicit(&s->word[bank], word_make(epoch, 0, 0), memory_order_acq_rel);
	if (lease->is_next || lease->deadline_ns >= table_deadline(table, slot, !bank))
		atomic_store_explicit(&s->later_start_ns, lease->is_next ? (uint64_t)lease->start_ns : 0,
		                      memory_order_release);
	atomic_store_explicit(&s->deadline_ns[bank], (uint64_t)lease->deadline_ns, memory_order_release);
	atomic_store_explicit(&s->word[bank], word_make(epoch + 1, lease->credits, lease->flag), memory_order_release);
}

void table_add(struct table *table, uint32_t slot, int bank, uint32_t credits) {
	/* Wait-free, so that nobody can hold the agent up. What is legal can't carry into the epoch:
	 * a lease never holds more than 2 x 10^9. The epoch goes on, so that apps see that the hint is another. */
	atomic_fetch_add_explicit(&table->slots[slot].word[bank], word_make(1, credits, 0), memory_order_acq_rel);
}

uint32_t table_begin_epoch(struct table *table, uint32_t slot, int bank) {
	_Atomic uint64_t *word = &table->slots[slot].word[bank];
	return word_credits(atomic_fetch_add_explicit(word, word_make(1, 0, 0), memory_order_acq_rel));
}

uint32_t table_drain(struct table *table, uint32_t slot, int bank) {
	struct slot *s = &table->slots[slot];
	_Atomic uint64_t *word = &s->word[bank];
	uint32_t epoch = word_epoch(atomic_load_explicit(word, memory_order_relaxed)) + 1;
	uint32_t left = word_credits(atomic_exchange_explicit(word, word_make(epoch, 0, 0), memory_order_acq_rel));
	/* A deadline that stayed behind could be the greater one, and the other lease would then pass for the earlier
	 * of the two. What is left is the later one now: if the drained one was, the other has begun. */
	if (table_deadline(table, slot, bank) > table_deadline(table, slot, !bank))
		atomic_store_explicit(&s->later_start_ns, 0, memory_order_release);
	atomic_store_explicit(&s->deadline_ns[bank], 0, memory_order_release);
	return left;
}

uint32_t table_credits(const struct table *table, uint32_t slot, int bank) {
	return word_credits(atomic_load_explicit(&table->slots[slot].word[bank], memory_order_acquire));
}

bool table_is_fallback(const struct table *table, uint32_t slot, int bank) {
	return atomic_load_explicit(&table->slots[slot].word[bank], memory_order_relaxed) & WORD_FALLBACK_BIT;
}

static int64_t later(int64_t a, int64_t b) {
	return a > b ? a : b;
}

/* As denial_until_ns(), but also of one that is over, up to 26 days ago. */
static int64_t denial_ends_ns(uint64_t denial, int64_t now_ns) {
	int64_t now = now_ns >> DENIAL_TICK_SHIFT;
	int32_t left = (int32_t)((uint32_t)(denial >> DENIAL_UNTIL_SHIFT) - (uint32_t)now);
	return later(now + left, 0) << DENIAL_TICK_SHIFT;
}

bool table_is_denied_by_fallback(const struct table *table, uint32_t slot, int64_t now_ns, int64_t *ends_ns) {
	const struct slot *s = &table->slots[slot];
	uint64_t denial = atomic_load_explicit(&s->denial, memory_order_relaxed);
	bool is_fallbacks =
		(denial & DENIAL_COST_MASK) != 0 && hint_is_fallback(atomic_load_explicit(&s->hint, memory_order_relaxed));
	*ends_ns = is_fallbacks ? denial_ends_ns(denial, now_ns) : 0;
	return is_fallbacks;
}

bool table_tells_of_fallback(const struct table *table, uint32_t slot, int64_t now_ns, uint32_t *left,
                             int64_t *ends_ns) {
	*left = table_remaining(table, slot);
	table_is_denied_by_fallback(table, slot, now_ns, ends_ns);
	for (int bank = 0; bank < 2; bank++)
		if (table_is_fallback(table, slot, bank))
			*ends_ns = later(*ends_ns, table_deadline(table, slot, bank));
	return *ends_ns > 0;
}

int64_t table_deadline(const struct table *table, uint32_t slot, int bank) {
	return (int64_t)atomic_load_explicit(&table->slots[slot].deadline_ns[bank], memory_order_relaxed);
}

int64_t table_later_start(const struct table *table, uint32_t slot) {
	return (int64_t)atomic_load_explicit(&table->slots[slot].later_start_ns, memory_order_relaxed);
}

void table_clear_later_start(struct table *table, uint32_t slot) {
	atomic_store_explicit(&table->slots[slot].later_start_ns, 0, memory_order_release);
}

bool table_spend(struct table *table, uint32_t slot, int bank, uint32_t cost) {
	_Atomic uint64_t *word = &table->slots[slot].word[bank];
	uint64_t seen = atomic_load_explicit(word, memory_order_acquire);
	/* Bounded: apps take at the same time, and one that cheats must not keep the agent here. */
	for (int tries = 0; tries < 16 && word_credits(seen) >= cost; tries++)
		if (atomic_compare_exchange_weak_explicit(word, &seen, seen - cost, memory_order_acq_rel,
		                                          memory_order_acquire))
			return true;
	return false;
}

void table_unsay(struct table *table, uint32_t slot) {
	struct slot *s = &table->slots[slot];
	atomic_store_explicit(&s->denial, 0, memory_order_release);
	atomic_store_explicit(&s->hint, HINT_UNKNOWN, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst); /* before anything else is changed */
}

void table_set_remaining(struct table *table, uint32_t slot, uint32_t remaining) {
	bool both = table_credits(table, slot, 0) > 0 && table_credits(table, slot, 1) > 0;
	uint32_t hint = (remaining & ~(HINT_TIMES_BIT | HINT_BOTH_BIT)) | (both ? HINT_BOTH_BIT : 0);
	atomic_store_explicit(&table->slots[slot].hint, hint, memory_order_release);
}

uint32_t table_remaining(const struct table *table, uint32_t slot) {
	const struct slot *s = &table->slots[slot];
	uint64_t denial = atomic_load_explicit(&s->denial, memory_order_relaxed);
	uint32_t hint = atomic_load_explicit(&s->hint, memory_order_relaxed);
	if ((hint & HINT_TIMES_BIT) == 0)
		return hint & ~HINT_BOTH_BIT;
	return (denial & DENIAL_COST_MASK) != 0 ? denial_left(denial) : HINT_UNKNOWN;
}

/* Whoever sees the hint before the denial takes it for none: both are there together, or it is asked again. */
bool table_deny(struct table *table, uint32_t slot, int64_t until_ns, uint32_t cost, uint32_t remaining,
                uint32_t hint) {
	struct slot *s = &table->slots[slot];
	if (cost == 0 || cost > DENIAL_COST_MASK) {
		atomic_store_explicit(&s->denial, 0, memory_order_release);
		return false;
	}
	atomic_store_explicit(&s->denial, denial_pack((uint64_t)until_ns, remaining, cost), memory_order_release);
	atomic_store_explicit(&s->hint, hint, memory_order_release);
	return true;
}

bool table_denies(const struct table *table, uint32_t slot, int64_t now_ns, uint32_t cost, int64_t *left_ms,
                  uint32_t *hint) {
	const struct slot *s = &table->slots[slot];
	uint64_t denial = atomic_load_explicit(&s->denial, memory_order_acquire);
	int64_t left_ns = (int64_t)denial_until_ns(denial, (uint64_t)now_ns) - now_ns;
	if ((denial & DENIAL_COST_MASK) == 0 || cost < (denial & DENIAL_COST_MASK) || left_ns <= 0)
		return false;
	*left_ms = (left_ns + 999999) / 1000000;
	*hint = atomic_load_explicit(&s->hint, memory_order_relaxed);
	return true;
}

bool table_lift_denial(struct table *table, uint32_t slot, int64_t now_ns, int64_t latest_ns) {
	struct slot *s = &table->slots[slot];
	uint64_t denial = atomic_load_explicit(&s->denial, memory_order_relaxed);
	int64_t until_ns = (int64_t)denial_until_ns(denial, (uint64_t)now_ns);
	if (denial == 0 || (until_ns > now_ns && until_ns <= latest_ns))
		return false;
	table_set_remaining(table, slot, denial_left(denial));
	atomic_store_explicit(&s->denial, 0, memory_order_release);
	return until_ns > latest_ns;
}

void table_set_mark(struct table *table, uint32_t slot, uint32_t granted) {
	struct slot *s = &table->slots[slot];
	uint8_t own_limit = atomic_load_explicit(&s->low_water, memory_order_relaxed) & (uint8_t)~LOW_WATER_MARK_MASK;
	uint8_t mark = 0; /* the power of two between a quarter and a half of what was granted */
	for (uint32_t half = granted / 2; half > 1; half /= 2)
		mark++;
	if (granted >= 2 && mark == 0)
		mark = 1;
	if (granted > 0) /* an answer that brought nothing leaves the mark of the leases that are there */
		atomic_store_explicit(&s->low_water, mark | own_limit, memory_order_relaxed);
}

bool table_is_low(const struct table *table, uint32_t slot, uint32_t credits) {
	const struct slot *s = &table->slots[slot];
	unsigned mark = atomic_load_explicit(&s->low_water, memory_order_relaxed) & LOW_WATER_MARK_MASK;
	return mark != 0 && credits >> mark == 0;
}

bool table_was_referenced(struct table *table, uint32_t slot) {
	struct slot *s = &table->slots[slot];
	if (!atomic_load_explicit(&s->referenced, memory_order_relaxed))
		return false;
	atomic_store_explicit(&s->referenced, 0, memory_order_relaxed);
	return true;
}

void table_repair_header(struct table *table) {
	struct table_header *header = table->header;
	if (header->magic == LAYOUT_MAGIC && header->version == LAYOUT_VERSION &&
	    header->generation == table->directory->generation && atomic_load(&header->state) == TABLE_ALIVE)
		return;
	header->magic = LAYOUT_MAGIC;
	header->version = LAYOUT_VERSION;
	header->generation = table->directory->generation;
	atomic_store(&header->state, TABLE_ALIVE);
}

bool table_repair(struct table *table, uint32_t slot, const struct place *place, uint16_t policy) {
	struct slot *s = &table->slots[slot];
	_Atomic uint16_t *tag = &table->tags[slot / SLOTS_PER_BUCKET].tag[slot % SLOTS_PER_BUCKET];
	if (atomic_load_explicit(&s->key, memory_order_relaxed) == place->key && table_policy(table, slot) == policy &&
	    atomic_load_explicit(tag, memory_order_relaxed) == place_tag(place))
		return false;
	wipe(table, slot);
	atomic_store_explicit(&s->policy, policy, memory_order_relaxed);
	atomic_store_explicit(&s->key, place->key, memory_order_release);
	set_tag(table, slot, place_tag(place));
	return true;
}
