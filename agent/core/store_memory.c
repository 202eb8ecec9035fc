#include "store_memory.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define CHAINS_AT_START 1024 /* a power of two; doubles whenever it holds as many clients */

/* A time so late after the last charge that no run and no return can reach back to it. */
#define IDLE_SUB_WINDOWS (GRANT_RING_MAX + 2)

struct counter {
	struct counter *next;
	uint64_t hash;
	int64_t head_us;
	int64_t sub_window_us;
	struct debt owed; /* without a count here */
	int32_t policy_id;
	int32_t uncharged; /* granted here */
	uint8_t id_len;
	uint8_t length;   /* counts in use */
	uint8_t capacity; /* counts there is room for */
	int32_t counts[]; /* capacity, then the id's bytes */
};

struct store_memory {
	struct counter **chains;
	size_t chain_count;
	size_t count;
	size_t expire_at; /* the chain at which expiry goes on */
	uint64_t seed;
};

static char *counter_id(const struct counter *counter) {
	return (char *)(uintptr_t)(counter->counts + counter->capacity);
}

struct store_memory *store_memory_new(uint64_t seed) {
	struct store_memory *store = calloc(1, sizeof *store);
	if (!store)
		return NULL;
	store->seed = seed;
	store->chain_count = CHAINS_AT_START;
	store->chains = calloc(store->chain_count, sizeof *store->chains);
	if (!store->chains) {
		free(store);
		return NULL;
	}
	return store;
}

void store_memory_free(struct store_memory *store) {
	if (!store)
		return;
	for (size_t i = 0; i < store->chain_count; i++)
		for (struct counter *c = store->chains[i], *next; c; c = next) {
			next = c->next;
			free(c);
		}
	free(store->chains);
	free(store);
}

static uint64_t hash_of(const struct store_memory *store, int32_t policy_id, const char *id, uint8_t id_len) {
	return XXH3_64bits_withSeed(id, id_len, store->seed ^ (uint64_t)(uint32_t)policy_id << 32);
}

static struct counter **find(struct store_memory *store, uint64_t hash, int32_t policy_id, const char *id, uint8_t id_len) {
	struct counter **at = &store->chains[hash & (store->chain_count - 1)];
	for (; *at; at = &(*at)->next)
		if ((*at)->hash == hash && (*at)->policy_id == policy_id && (*at)->id_len == id_len &&
		    memcmp(counter_id(*at), id, id_len) == 0)
			break;
	return at;
}

/* Growing is an optimisation: without memory for it the chains just get longer. */
static void grow(struct store_memory *store) {
	size_t chain_count = store->chain_count * 2;
	struct counter **chains = calloc(chain_count, sizeof *chains);
	if (!chains)
		return;
	for (size_t i = 0; i < store->chain_count; i++)
		for (struct counter *c = store->chains[i], *next; c; c = next) {
			next = c->next;
			c->next = chains[c->hash & (chain_count - 1)];
			chains[c->hash & (chain_count - 1)] = c;
		}
	free(store->chains);
	store->chains = chains;
	store->chain_count = chain_count;
}

static struct counter *counter_new(uint64_t hash, int32_t policy_id, const char *id, uint8_t id_len, uint8_t capacity) {
	struct counter *c = calloc(1, sizeof *c + capacity * sizeof c->counts[0] + id_len);
	if (!c)
		return NULL;
	c->hash = hash;
	c->policy_id = policy_id;
	c->id_len = id_len;
	c->capacity = capacity;
	memcpy(counter_id(c), id, id_len);
	return c;
}

static void ring_load(struct grant_ring *ring, const struct counter *c) {
	*ring = (struct grant_ring){0};
	if (!c)
		return;
	ring->head_us = c->head_us;
	ring->sub_window_us = c->sub_window_us;
	ring->length = c->length;
	memcpy(ring->counts, c->counts, c->length * sizeof c->counts[0]);
}

static void ring_save(const struct grant_ring *ring, struct counter *c) {
	c->head_us = ring->head_us;
	c->sub_window_us = ring->sub_window_us;
	c->length = (uint8_t)ring->length;
	memcpy(c->counts, ring->counts, (size_t)ring->length * sizeof c->counts[0]);
}

/* A counter at *at with room for `length` counts; NULL without memory, and then nothing has changed. */
static struct counter *counter_with_room(struct store_memory *store, struct counter **at, uint64_t hash,
                                         const struct lease_request *request, int length) {
	struct counter *old = *at;
	if (old && old->capacity >= length)
		return old;
	struct counter *c = counter_new(hash, request->policy_id, request->client_id, request->client_id_len, (uint8_t)length);
	if (!c)
		return NULL;
	if (old) {
		c->next = old->next;
		c->uncharged = old->uncharged;
		c->owed = old->owed;
		free(old);
	} else {
		store->count++;
	}
	*at = c;
	return c;
}

/* Net of what was returned: grants minus returns, never below nothing. */
static int32_t uncharged_after(const struct counter *c, const struct lease_request *request, const struct lease_grant *grant) {
	int64_t owed = (c ? c->uncharged : 0) + (int64_t)grant->granted + grant->granted_next;
	if (request->return_sub_window > 0)
		owed -= (int64_t)request->return_first + request->return_second;
	return (int32_t)(owed < 0 ? 0 : owed > INT32_MAX ? INT32_MAX : owed);
}

void store_memory_take(struct store_memory *store, const struct grant_terms *terms, const struct lease_request *request,
                       int64_t t_us, int hosts, struct lease_grant *out) {
	uint64_t hash = hash_of(store, request->policy_id, request->client_id, request->client_id_len);
	struct counter **at = find(store, hash, request->policy_id, request->client_id, request->client_id_len);
	struct grant_terms own = *terms;
	own.phase_us = (int64_t)(hash % (uint64_t)terms->sub_window_us);

	struct grant_ring ring;
	ring_load(&ring, *at);
	grant_take(&ring, &own, request, t_us, hosts, out);
	int32_t uncharged = uncharged_after(*at, request, out);
	if (!*at && ring.length == 0)
		return; /* denied at first sight: nothing to remember */
	struct counter *c = counter_with_room(store, at, hash, request, ring.length);
	if (!c) {
		*out = (struct lease_grant){.answered = false};
		return;
	}
	ring_save(&ring, c);
	c->uncharged = uncharged;
	if (store->count > store->chain_count)
		grow(store);
}

struct debt debt_of(int64_t charge, int64_t advanced, int64_t since_us) {
	if (charge > INT32_MAX)
		charge = INT32_MAX;
	return (struct debt){(int32_t)charge, (int32_t)(advanced < charge ? advanced : charge), since_us};
}

struct debt debt_sum(struct debt a, struct debt b) {
	int64_t since_us = a.since_us > b.since_us ? a.since_us : b.since_us;
	return debt_of((int64_t)a.charge + b.charge, (int64_t)a.advanced + b.advanced, since_us);
}

struct debt store_memory_take_owed(struct store_memory *store, int32_t policy_id, const char *id, uint8_t id_len) {
	struct counter *c = *find(store, hash_of(store, policy_id, id, id_len), policy_id, id, id_len);
	struct debt owed = c ? c->owed : (struct debt){0};
	if (c)
		c->owed = (struct debt){0};
	return owed;
}

bool store_memory_owes(struct store_memory *store, int32_t policy_id, const char *id, uint8_t id_len) {
	if (store->count == 0)
		return false;
	const struct counter *c = *find(store, hash_of(store, policy_id, id, id_len), policy_id, id, id_len);
	return c && c->owed.charge > 0;
}

bool store_memory_owe(struct store_memory *store, int32_t policy_id, const char *id, uint8_t id_len, struct debt debt) {
	uint64_t hash = hash_of(store, policy_id, id, id_len);
	struct counter **at = find(store, hash, policy_id, id, id_len);
	if (!*at) {
		*at = counter_new(hash, policy_id, id, id_len, 0);
		if (!*at)
			return false;
		store->count++;
	}
	(*at)->owed = debt_sum((*at)->owed, debt);
	return true;
}

static void collect(struct counter *c, void (*visit)(void *, const struct store_memory_entry *), void *context) {
	if (c->uncharged <= 0 && c->owed.charge <= 0)
		return;
	visit(context, &(struct store_memory_entry){
		.policy_id = c->policy_id,
		.client_id = counter_id(c),
		.client_id_len = c->id_len,
		.uncharged = c->uncharged,
		.owed = c->owed,
		.sub_window_us = c->sub_window_us,
		.head_us = c->head_us,
		.length = c->length,
		.counts = c->counts,
	});
	c->uncharged = 0;
	c->owed = (struct debt){0};
}

void store_memory_collect_uncharged(struct store_memory *store, void (*visit)(void *, const struct store_memory_entry *),
                                    void *context) {
	for (size_t i = 0; i < store->chain_count; i++)
		for (struct counter *c = store->chains[i]; c; c = c->next)
			collect(c, visit, context);
}

/* A counter that was never taken from exists only for what it owes. */
static bool still_matters(const struct counter *c, int64_t t_us, int64_t debts_us) {
	if (c->owed.charge > 0 && c->owed.since_us + debts_us > t_us)
		return true;
	if (c->sub_window_us == 0)
		return false;
	if (c->uncharged > 0 && c->head_us + c->sub_window_us + debts_us > t_us)
		return true;
	return c->head_us + IDLE_SUB_WINDOWS * c->sub_window_us > t_us;
}

static void expire_chain(struct store_memory *store, struct counter **at, int64_t t_us, int64_t debts_us) {
	while (*at) {
		struct counter *c = *at;
		if (still_matters(c, t_us, debts_us)) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		free(c);
		store->count--;
	}
}

void store_memory_expire(struct store_memory *store, int64_t t_us, int64_t debts_us, size_t budget) {
	for (size_t i = 0; i < budget && i < store->chain_count; i++) {
		store->expire_at = (store->expire_at + 1) & (store->chain_count - 1);
		expire_chain(store, &store->chains[store->expire_at], t_us, debts_us);
	}
}

size_t store_memory_count(const struct store_memory *store) {
	return store->count;
}
