/*
 * local.c - the table of counts, and a decision by it.
 *
 * An entry is two words: the client's key, and (number of the window, count). A
 * count of another window counts as 0, so nothing need be done when a window
 * ends.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#include "clock.h"
#include "protocol/hash.h"
#include "local.h"
#include "reason.h"
#include "receipt.h"

/* 512 sets of 8 are 4096 clients and 64 KiB a limiter: mostly as many clients as one process serves in a window. A
 * set is two cache lines. */
#define SETS 512u
#define WAYS 8u

/* At most as many threads as there are CPUs compete for an entry; a check that loses this often is denied for the
 * moment. */
#define TRIES 256

struct entry {
	_Atomic uint64_t key;   /* 0: never used */
	_Atomic uint64_t state; /* number of the window in the upper half, count in the lower */
};

struct local {
	alignas(64) struct entry set[SETS][WAYS];
	uint64_t seed; /* secret, so that nobody can choose ids that share a set */
};

struct local *local_new(void) {
	struct local *local = aligned_alloc(alignof(struct local), sizeof(*local));
	if (!local)
		return NULL;
	memset(local, 0, sizeof(*local));
	/* Early in the boot there may be no random bytes yet: a seed that can be guessed is better than waiting. */
	if (getrandom(&local->seed, sizeof(local->seed), GRND_NONBLOCK) != (ssize_t)sizeof(local->seed))
		local->seed = clock_fine_ns() ^ (uintptr_t)local;
	return local;
}

void local_free(struct local *local) {
	free(local);
}

static uint32_t count_in(uint64_t state, uint32_t window) {
	return state >> 32 == window ? (uint32_t)state : 0;
}

static uint32_t window_at(uint64_t now_ns, int64_t time_window_ms) {
	return (uint32_t)(now_ns / ((uint64_t)time_window_ms * NS_PER_MS));
}

static uint64_t make_state(uint32_t window, uint32_t count) {
	return (uint64_t)window << 32 | count;
}

/* Returns the client's entry, or the one to replace: that with the lowest count in this window. */
static struct entry *choose_entry(struct entry set[static WAYS], uint64_t key, uint32_t window) {
	struct entry *least = &set[0];
	uint32_t least_count = UINT32_MAX;
	for (unsigned i = 0; i < WAYS; i++) {
		uint32_t count = count_in(atomic_load(&set[i].state), window);
		if (atomic_load(&set[i].key) == key)
			return &set[i];
		if (count < least_count) {
			least = &set[i];
			least_count = count;
		}
	}
	return least;
}

/*
 * Makes the entry the client's; returns false if another client got it. Only
 * the thread that changed the key clears the count, and only if the count has
 * not changed meanwhile: another thread may have counted for this client first,
 * and its count must not be lost.
 */
static bool claim_entry(struct entry *entry, uint64_t key, uint32_t window) {
	uint64_t state = atomic_load(&entry->state);
	uint64_t owner = atomic_load(&entry->key);
	if (owner == key)
		return true;
	if (!atomic_compare_exchange_strong(&entry->key, &owner, key))
		return owner == key;
	atomic_compare_exchange_strong(&entry->state, &state, make_state(window, 0));
	return true;
}

static struct entry *set_of(struct local *local, uint64_t key) {
	return local->set[place_scale((uint32_t)(key >> 32), SETS)];
}

/* Adds the cost to the client's count if the sum stays within max, and returns whether it did. *count is the count
 * afterwards. */
static bool add_to_count(struct local *local, uint64_t key, uint32_t window, uint64_t max, uint32_t cost,
                         uint32_t *count) {
	struct entry *set = set_of(local, key);
	*count = 0;
	for (int tries = 0; tries < TRIES; tries++) {
		struct entry *entry = choose_entry(set, key, window);
		uint64_t state;

		if (!claim_entry(entry, key, window))
			continue;
		state = atomic_load(&entry->state);
		*count = count_in(state, window);
		if (*count > max || cost > max - *count)
			return false;
		if (atomic_compare_exchange_strong(&entry->state, &state, make_state(window, *count + cost))) {
			*count += cost;
			return true;
		}
	}
	return false;
}

static struct entry *find_entry(struct local *local, uint64_t key) {
	struct entry *set = set_of(local, key);
	for (unsigned i = 0; i < WAYS; i++)
		if (atomic_load(&set[i].key) == key)
			return &set[i];
	return NULL;
}

/* The same without adding anything. */
static bool has_room(struct local *local, uint64_t key, uint32_t window, uint64_t max, uint32_t cost,
                     uint32_t *count) {
	struct entry *entry = find_entry(local, key);
	*count = entry ? count_in(atomic_load(&entry->state), window) : 0;
	return *count <= max && cost <= max - *count;
}

static uint64_t key_of(const struct local *local, const struct question *q) {
	uint64_t key = XXH3_64bits_withSeed(q->id, q->length, local->seed);
	return key | (key == 0);
}

void local_take(struct local *local, int64_t max_requests, int64_t time_window_ms, const struct question *q,
                uint64_t now_ns, struct stint_result *result) {
	uint64_t window_ns = (uint64_t)time_window_ms * NS_PER_MS;
	uint32_t window = window_at(now_ns, time_window_ms);
	int64_t ends_ms = clock_ms_up(window_ns - now_ns % window_ns);
	uint64_t key = key_of(local, q);
	uint32_t count, cost = q->cost;
	bool allowed = q->look ? has_room(local, key, window, (uint64_t)max_requests, cost, &count)
	                       : add_to_count(local, key, window, (uint64_t)max_requests, cost, &count);

	*result = (struct stint_result){
		.allowed = allowed,
		.source = STINT_SOURCE_LOCAL,
		.reason = reason_of(allowed, cost, max_requests),
		.limit = max_requests,
		.remaining = count < max_requests ? max_requests - count : 0,
		.retry_after_ms = allowed               ? 0
	                      : cost > max_requests ? time_window_ms
	                                            : ends_ms,
		.reset_after_ms = count > 0 ? ends_ms : 0,
		.receipt = allowed && !q->look ? receipt_of_window(window) : 0,
		.cost = cost,
		.time_window_ms = time_window_ms,
	};
}

bool local_give_back(struct local *local, int64_t time_window_ms, uint32_t window, const struct question *q,
                     uint64_t now_ns) {
	struct entry *entry = find_entry(local, key_of(local, q));
	if (!entry || window != window_at(now_ns, time_window_ms))
		return false;
	uint64_t state = atomic_load(&entry->state);
	for (int tries = 0; tries < TRIES; tries++) {
		uint32_t count = count_in(state, window);
		if (count < q->cost)
			return false;
		if (atomic_compare_exchange_strong(&entry->state, &state, make_state(window, count - q->cost)))
			return true;
	}
	return false;
}
