/*
 * hash.h - where a client lives in the table. Private to library and agent.
 *
 * XXH3-128 (Yann Collet, https://xxhash.com) with a secret that the agent makes
 * per table: who doesn't know the secret can't choose ids that collide. The hash
 * never leaves the host.
 */
#ifndef STINT_HASH_H
#define STINT_HASH_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "hot.h"
#include "layout.h"

/* The two slots that a client prefers, one in each of its buckets; it may be in any other slot of these. */
struct place {
	uint32_t home[2]; /* may be the same one twice */
	uint64_t low;     /* of the hash: the homes and the tag come from it */
	uint64_t key;     /* never 0 */
};

static inline uint32_t place_bucket(const struct place *place, int which) {
	return place->home[which] / SLOTS_PER_BUCKET;
}

/* Never 0. */
static inline uint16_t place_tag(const struct place *place) {
	uint16_t tag = (uint16_t)(place->low ^ place->low >> 16 ^ place->key >> 48);
	return (uint16_t)(tag | (tag == 0));
}

/* Multiply instead of modulo: maps 32 random bits evenly to 0 .. n-1 (Lemire, 2016). */
static inline uint32_t place_scale(uint32_t random, uint32_t n) {
	return (uint32_t)((uint64_t)random * n >> 32);
}

#define SHORT_ID_MAX 16u

/* XXH3 has ways of its own for short input. Where only these are left, they are a leaf function of a few dozen instructions;
 * among the long ones they would come with their frame. */
__attribute__((flatten, noinline, unused)) HOT static XXH128_hash_t hash_short_id(const char *id, size_t length,
	const uint8_t secret[static SECRET_SIZE]) {
	if (length > SHORT_ID_MAX)
		__builtin_unreachable();
	return XXH3_128bits_withSecret(id, length, secret, SECRET_SIZE);
}

static inline XXH128_hash_t hash_id(const char *id, size_t length, const uint8_t secret[static SECRET_SIZE]) {
	return length <= SHORT_ID_MAX ? hash_short_id(id, length, secret) : XXH3_128bits_withSecret(id, length, secret, SECRET_SIZE);
}

static inline struct place place_of(const uint8_t secret[static SECRET_SIZE], uint32_t bucket_count, uint32_t policy_number,
                                    const char *id, size_t id_len) {
	XXH128_hash_t h = hash_id(id, id_len, secret);
	/* A policy is another seed: the odd constant spreads the number over all bits (2^64 over the golden ratio). */
	uint64_t policy = (policy_number + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);
	uint64_t low = h.low64 ^ policy;
	uint32_t slot_count = bucket_count * SLOTS_PER_BUCKET;
	return (struct place){
		.home = {place_scale((uint32_t)low, slot_count), place_scale((uint32_t)(low >> 32), slot_count)},
		.low = low,
		.key = (h.high64 + policy) | 1,
	};
}

#endif
