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

#include "layout.h"

struct place {
	uint32_t bucket[2]; /* may be the same one twice */
	uint16_t tag;       /* never 0 */
	uint64_t key;       /* never 0 */
};

/* Multiply instead of modulo: maps 32 random bits evenly to 0 .. n-1 (Lemire, 2016). */
static inline uint32_t place_scale(uint32_t random, uint32_t n) {
	return (uint32_t)((uint64_t)random * n >> 32);
}

static inline struct place place_of(const uint8_t secret[static SECRET_SIZE], uint32_t bucket_count, uint32_t policy_index,
                                    const char *id, size_t id_len) {
	XXH128_hash_t h = XXH3_128bits_withSecret(id, id_len, secret, SECRET_SIZE);
	/* A policy is another seed: odd constants spread the index over all bits (2^64 and 2^32 over the golden ratio). */
	uint64_t low = h.low64 ^ (policy_index + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);
	uint64_t high = h.high64 ^ (policy_index + UINT64_C(1)) * UINT64_C(0xd1b54a32d192ed03);
	struct place p = {
		.bucket = {place_scale((uint32_t)low, bucket_count), place_scale((uint32_t)(low >> 32), bucket_count)},
		.tag = (uint16_t)(low ^ low >> 16 ^ high >> 48),
		.key = high,
	};
	p.tag |= p.tag == 0;
	p.key |= p.key == 0;
	return p;
}

#endif
