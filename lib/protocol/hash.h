/*
 * hash.h - where a client lives in the table. Private to library and agent.
 *
 * XXH3-128 (Yann Collet, https://xxhash.com) with a secret that the agent makes
 * per table: nobody can choose ids that collide without knowing the secret. The
 * hash never leaves the host.
 */
#ifndef STINT_HASH_H
#define STINT_HASH_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "hot.h"
#include "layout.h"

/* The two slots that a client prefers, one in each of its buckets; it may be in any other slot of these. */
struct place {
	uint32_t home[2]; /* both may be the same slot */
	uint64_t low;     /* the hash's lower half: the homes and the tag come from it */
	uint64_t key;     /* never 0 */
};

static inline uint32_t place_bucket(const struct place *place, int which) {
	return place->home[which] / SLOTS_PER_BUCKET;
}

/* Returns the client's tag; never 0. */
static inline uint16_t place_tag(const struct place *place) {
	uint16_t tag = (uint16_t)(place->low ^ place->low >> 16 ^ place->key >> 48);
	return (uint16_t)(tag | (tag == 0));
}

/* Multiply instead of modulo: maps 32 random bits evenly to 0 .. n-1 (Lemire, 2016). */
static inline uint32_t place_scale(uint32_t random, uint32_t n) {
	return (uint32_t)((uint64_t)random * n >> 32);
}

#define SHORT_ID_MAX 16u

/* XXH3 has code of its own for short input. That code alone is a leaf function of a few dozen instructions;
 * together with the code for long input it would need a stack frame. */
__attribute__((flatten, noinline, unused)) HOT static XXH128_hash_t
hash_short_id(const char *id, size_t length, const uint8_t secret[static SECRET_SIZE]) {
	if (length > SHORT_ID_MAX)
		__builtin_unreachable();
	return XXH3_128bits_withSecret(id, length, secret, SECRET_SIZE);
}

static inline XXH128_hash_t hash_id(const char *id, size_t length, const uint8_t secret[static SECRET_SIZE]) {
	return length <= SHORT_ID_MAX ? hash_short_id(id, length, secret)
	                              : XXH3_128bits_withSecret(id, length, secret, SECRET_SIZE);
}

/* Makes a place anew of two of its fields. */
static inline struct place place_from(uint32_t bucket_count, uint64_t low, uint64_t key) {
	uint32_t slot_count = bucket_count * SLOTS_PER_BUCKET;
	return (struct place){
		.home = {place_scale((uint32_t)low, slot_count), place_scale((uint32_t)(low >> 32), slot_count)},
		.low = low,
		.key = key,
	};
}

static inline struct place place_of(const uint8_t secret[static SECRET_SIZE], uint32_t bucket_count,
                                    uint32_t policy_number, const char *id, size_t id_len) {
	XXH128_hash_t h = hash_id(id, id_len, secret);
	/* The policy's number acts as a seed: the odd constant spreads it over all bits (2^64 over the golden
	 * ratio). */
	uint64_t policy = (policy_number + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);
	return place_from(bucket_count, h.low64 ^ policy, (h.high64 + policy) | 1);
}

#endif
