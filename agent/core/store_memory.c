/*
 * store_memory.c - a hash table of counters in this process.
 *
 * A counter is one cell of a slab: a ring of counts as long as it is in use, what the client owes the database,
 * and its id. It is made when something is granted or owed, and goes when its window is over:
 * store_memory_expire().
 */
#include "store_memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "slab.h"
#include "stint.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* The hash table has so many chains at least, and otherwise one for so many clients that there is room for: few,
 * since all of the table takes memory once a few are in use. */
#define CHAINS_MIN     64
#define ROOM_PER_CHAIN 8

/* A policy has one shared counter for so many clients that there is room for. */
#define ROOM_PER_SHARED 1024

/* When there is no room for one more client, so many chains are looked through for what is over. */
#define CHAINS_FOR_ROOM 16

struct counter {
	struct counter *next;
	uint64_t hash;
	int64_t current_us;
	int64_t sub_window_us;
	struct debt owed; /* without a count here */
	int32_t policy_id;
	int32_t uncharged; /* granted here */
	int32_t early;
	uint8_t id_len;
	uint8_t length;   /* counts in use */
	uint8_t capacity; /* counts there is room for */
	uint8_t ahead;
	uint8_t runs;     /* of the terms under which it was last taken from */
	int32_t counts[]; /* capacity, then the id's bytes: none if it is shared */
};

struct store_memory {
	struct store_memory_options options;
	struct counter **chains; /* address space, memory as it is used */
	size_t chain_count;      /* a power of two */
	struct slab slab;
	size_t count;
	size_t shared_count;     /* of these, shared */
	size_t owing_count;      /* of these, with something uncharged or owed */
	uint64_t shared_granted; /* credits, ever */
	size_t expire_at;        /* the chain at which expiry goes on */
};

static char *counter_id(const struct counter *counter) {
	return (char *)(uintptr_t)(counter->counts + counter->capacity);
}

static size_t counter_bytes(uint8_t capacity, uint8_t id_len) {
	return sizeof(struct counter) + capacity * sizeof(int32_t) + id_len;
}

_Static_assert(sizeof(struct counter) + GRANT_RING_MAX * sizeof(int32_t) + UINT8_MAX <= SLAB_CELL_MAX,
               "a cell holds any counter");

_Static_assert(STORE_MEMORY_AHEAD_US / 1000 > STINT_TIME_WINDOW_MS_MAX, "longer than any window");

/* When the sub-window of the newest count starts, by the machine's clock. */
static int64_t newest_us(const struct counter *c) {
	return c->current_us - STORE_MEMORY_AHEAD_US + c->ahead * c->sub_window_us;
}

static bool is_shared(const struct counter *c) {
	return c->id_len == 0;
}

struct store_memory *store_memory_new(const struct store_memory_options *options) {
	struct store_memory *store = calloc(1, sizeof(*store));
	if (!store)
		return NULL;
	store->options = *options;
	store->chain_count = CHAINS_MIN;
	while (store->chain_count < options->capacity / ROOM_PER_CHAIN)
		store->chain_count *= 2;
	void *chains = mmap(NULL, store->chain_count * sizeof(*store->chains), PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (chains == MAP_FAILED) {
		free(store);
		return NULL;
	}
	store->chains = chains;
	return store;
}

void store_memory_free(struct store_memory *store) {
	if (!store)
		return;
	slab_deinit(&store->slab);
	munmap(store->chains, store->chain_count * sizeof(*store->chains));
	free(store);
}

static uint64_t hash_of(const struct store_memory *store, int32_t policy_id, const char *id, uint8_t id_len) {
	return XXH3_64bits_withSeed(id, id_len, store->options.seed ^ (uint64_t)(uint32_t)policy_id << 32);
}

static struct counter **find(struct store_memory *store, uint64_t hash, int32_t policy_id, const char *id,
                             uint8_t id_len) {
	struct counter **at = &store->chains[hash & (store->chain_count - 1)];
	for (; *at; at = &(*at)->next)
		if ((*at)->hash == hash && (*at)->policy_id == policy_id && (*at)->id_len == id_len &&
		    memcmp(counter_id(*at), id, id_len) == 0)
			break;
	return at;
}

static struct counter *counter_new(struct store_memory *store, uint64_t hash, int32_t policy_id, const char *id,
                                   uint8_t id_len, uint8_t capacity) {
	struct counter *c = slab_new(&store->slab, counter_bytes(capacity, id_len));
	if (!c)
		return NULL;
	*c = (struct counter){.hash = hash, .policy_id = policy_id, .id_len = id_len, .capacity = capacity};
	memcpy(counter_id(c), id, id_len);
	return c;
}

static void counter_free(struct store_memory *store, struct counter *c) {
	slab_free(&store->slab, c, counter_bytes(c->capacity, c->id_len));
}

/* No counter is left for one more client of its own, since as many clients as there is room for have one. */
static bool is_full(const struct store_memory *store) {
	return store->count - store->shared_count >= store->options.capacity;
}

static void add_counter(struct store_memory *store, struct counter **at, struct counter *c) {
	c->next = *at;
	*at = c;
	store->count++;
	store->shared_count += is_shared(c);
}

static void remove_counter(struct store_memory *store, struct counter **at) {
	struct counter *c = *at;
	*at = c->next;
	store->count--;
	store->shared_count -= is_shared(c);
	counter_free(store, c);
}

static void ring_load(struct grant_ring *ring, const struct counter *c) {
	*ring = (struct grant_ring){0};
	if (!c)
		return;
	ring->current_us = c->current_us;
	ring->ahead = c->ahead;
	ring->early = c->early;
	ring->sub_window_us = c->sub_window_us;
	ring->length = c->length;
	memcpy(ring->counts, c->counts, c->length * sizeof(c->counts[0]));
}

static void ring_save(const struct grant_ring *ring, struct counter *c) {
	c->current_us = ring->current_us;
	c->ahead = (uint8_t)ring->ahead;
	c->early = ring->early;
	c->sub_window_us = ring->sub_window_us;
	c->length = (uint8_t)ring->length;
	memcpy(c->counts, ring->counts, (size_t)ring->length * sizeof(c->counts[0]));
}

static bool owes(const struct counter *c) {
	return c->uncharged > 0 || c->owed.charge > 0;
}

static void set_debts(struct store_memory *store, struct counter *c, int32_t uncharged, struct debt owed) {
	store->owing_count -= owes(c);
	c->uncharged = uncharged;
	c->owed = owed;
	store->owing_count += owes(c);
}

/* Whose counter it is: a client's own, or one that several share. */
struct key {
	uint64_t hash;
	int32_t policy_id;
	const char *id;
	uint8_t id_len;
};

static struct key own_key(const struct store_memory *store, const struct lease_request *r) {
	return (struct key){hash_of(store, r->policy_id, r->client_id, r->client_id_len), r->policy_id, r->client_id,
	                    r->client_id_len};
}

static struct key shared_key(const struct store_memory *store, const struct key *own) {
	uint64_t number = own->hash % (store->options.capacity / ROOM_PER_SHARED + 1);
	return (struct key){hash_of(store, own->policy_id, (const char *)&number, sizeof(number)), own->policy_id, "",
	                    0};
}

static struct counter **find_key(struct store_memory *store, const struct key *key) {
	return find(store, key->hash, key->policy_id, key->id, key->id_len);
}

/* A counter at *at with room for `length` counts; NULL without memory, and then nothing has changed. */
static struct counter *counter_with_room(struct store_memory *store, struct counter **at, const struct key *key,
                                         int length) {
	struct counter *old = *at;
	if (old && old->capacity >= length)
		return old;
	struct counter *c = counter_new(store, key->hash, key->policy_id, key->id, key->id_len, (uint8_t)length);
	if (!c)
		return NULL;
	if (old) {
		c->next = old->next;
		c->uncharged = old->uncharged;
		c->owed = old->owed;
		counter_free(store, old);
		*at = c;
	} else {
		add_counter(store, at, c);
	}
	return c;
}

/* Net of what was returned: grants minus returns, never below nothing. */
static int32_t uncharged_after(const struct counter *c, const struct lease_request *request,
                               const struct lease_grant *grant) {
	int64_t owed = c->uncharged + (int64_t)grant->granted + grant->granted_next;
	for (int i = 0; i < LEASE_REPORTS; i++)
		if (request->report[i].sub_window > 0)
			owed -= request->report[i].unspent;
	return (int32_t)(owed < 0 ? 0 : owed > INT32_MAX ? INT32_MAX : owed);
}

/* A client that isn't known must share a counter when there is no room. */
static bool must_share(struct store_memory *store, const struct counter *own, int64_t t_us) {
	if (own || !is_full(store))
		return false;
	store_memory_expire(store, t_us, CHAINS_FOR_ROOM);
	return is_full(store);
}

void store_memory_take(struct store_memory *store, const struct grant_terms *terms,
                       const struct lease_request *request, int64_t t_us, int host, struct lease_grant *out) {
	struct key key = own_key(store, request), shared = shared_key(store, &key);
	if (must_share(store, *find_key(store, &key), t_us))
		key = shared;
	struct counter **at = find_key(store, &key);
	struct grant_terms own = *terms;
	own.phase_us = (int64_t)(key.hash % (uint64_t)terms->sub_window_us);

	struct grant_ring ring;
	/* Who finds room again, or for the first time, begins with what the shared counter holds: some of it may be
	 * this client's. */
	bool is_new = !*at || (*at)->sub_window_us == 0;
	ring_load(&ring, is_new && store->shared_count > 0 ? *find_key(store, &shared) : *at);
	grant_take(&ring, &own, request, t_us + STORE_MEMORY_AHEAD_US, host, out);
	if (!*at && ring.length == 0)
		return; /* denied at first sight: nothing to remember */
	struct counter *c = counter_with_room(store, at, &key, ring.length);
	if (!c) {
		*out = (struct lease_grant){.answered = false};
		return;
	}
	ring_save(&ring, c);
	c->runs = (uint8_t)terms->runs;
	if (is_shared(c))
		store->shared_granted += (uint64_t)out->granted + (uint64_t)out->granted_next;
	else
		set_debts(store, c, uncharged_after(c, request, out), c->owed);
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

static struct counter *find_client(struct store_memory *store, int32_t policy_id, const char *id, uint8_t id_len) {
	return *find(store, hash_of(store, policy_id, id, id_len), policy_id, id, id_len);
}

struct debt store_memory_collect_owed(struct store_memory *store, int32_t policy_id, const char *id,
                                      uint8_t id_len) {
	struct counter *c = find_client(store, policy_id, id, id_len);
	struct debt owed = c ? c->owed : (struct debt){0};
	if (c)
		set_debts(store, c, c->uncharged, (struct debt){0});
	return owed;
}

bool store_memory_owes(struct store_memory *store, int32_t policy_id, const char *id, uint8_t id_len) {
	if (store->owing_count == 0)
		return false;
	const struct counter *c = find_client(store, policy_id, id, id_len);
	return c && c->owed.charge > 0;
}

bool store_memory_owe(struct store_memory *store, int32_t policy_id, const char *id, uint8_t id_len,
                      struct debt debt) {
	uint64_t hash = hash_of(store, policy_id, id, id_len);
	struct counter **at = find(store, hash, policy_id, id, id_len), *c = *at;
	if (!c) {
		c = is_full(store) ? NULL : counter_new(store, hash, policy_id, id, id_len, 0);
		if (!c)
			return false;
		add_counter(store, at, c);
	}
	set_debts(store, c, c->uncharged, debt_sum(c->owed, debt));
	return true;
}

/* A copy is handed out, since visit may change the store. */
static void collect(struct store_memory *store, struct counter *c, store_memory_visit *visit, void *context) {
	struct store_memory_entry entry = {
		.policy_id = c->policy_id,
		.client_id_len = c->id_len,
		.uncharged = c->uncharged,
		.owed = c->owed,
		.sub_window_us = c->sub_window_us,
		.head_us = newest_us(c),
		.length = c->length,
	};
	memcpy(entry.client_id, counter_id(c), c->id_len);
	memcpy(entry.counts, c->counts, c->length * sizeof(c->counts[0]));
	set_debts(store, c, 0, (struct debt){0});
	visit(context, &entry);
}

bool store_memory_collect(struct store_memory *store, int32_t policy_id, const char *id, uint8_t id_len,
                          store_memory_visit *visit, void *context) {
	if (store->owing_count == 0)
		return false;
	struct counter *c = find_client(store, policy_id, id, id_len);
	if (!c || !owes(c))
		return false;
	collect(store, c, visit, context);
	return true;
}

/* Of one chain. Visiting may change it, so each time it is gone through from the start: those before owe nothing
 * any more. */
static size_t collect_chain(struct store_memory *store, size_t chain, size_t most, store_memory_visit *visit,
                            void *context) {
	size_t collected = 0;
	for (struct counter *c = store->chains[chain]; c && collected < most;) {
		if (!owes(c)) {
			c = c->next;
			continue;
		}
		collect(store, c, visit, context);
		collected++;
		c = store->chains[chain];
	}
	return collected;
}

void store_memory_collect_some(struct store_memory *store, size_t *chain, size_t chains, size_t most,
                               store_memory_visit *visit, void *context) {
	for (; chains > 0 && *chain < store->chain_count && store->owing_count > 0; chains--, ++*chain) {
		most -= collect_chain(store, *chain, most, visit, context);
		if (most == 0)
			return; /* there may be more in this one */
	}
	if (store->owing_count == 0)
		*chain = store->chain_count;
}

size_t store_memory_owing(const struct store_memory *store) {
	return store->owing_count;
}

/* A counter that was never taken from exists only for what it owes. */
static bool still_matters(const struct store_memory *store, const struct counter *c, int64_t t_us) {
	int64_t window_us = store->options.window_us(store->options.context, c->policy_id);
	int64_t ends_us = newest_us(c) + c->sub_window_us;
	if (c->owed.charge > 0 && c->owed.since_us + window_us > t_us)
		return true;
	if (c->sub_window_us == 0)
		return false;
	return ends_us + c->runs * c->sub_window_us > t_us || (c->uncharged > 0 && ends_us + window_us > t_us);
}

static void expire_chain(struct store_memory *store, struct counter **at, int64_t t_us) {
	while (*at) {
		if (still_matters(store, *at, t_us)) {
			at = &(*at)->next;
			continue;
		}
		set_debts(store, *at, 0, (struct debt){0});
		remove_counter(store, at);
	}
}

void store_memory_expire(struct store_memory *store, int64_t t_us, size_t chains) {
	if (store->count == 0)
		return;
	for (size_t i = 0; i < chains && i < store->chain_count; i++) {
		store->expire_at = (store->expire_at + 1) & (store->chain_count - 1);
		expire_chain(store, &store->chains[store->expire_at], t_us);
	}
	if (store->count == 0) { /* the chains' memory is given back, too */
		slab_deinit(&store->slab);
		madvise(store->chains, store->chain_count * sizeof(*store->chains), MADV_DONTNEED);
	}
}

size_t store_memory_chains(const struct store_memory *store) {
	return store->chain_count;
}

uint64_t store_memory_shared_granted(const struct store_memory *store) {
	return store->shared_granted;
}

size_t store_memory_count(const struct store_memory *store) {
	return store->count;
}
