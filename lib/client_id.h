/*
 * client_id.h - which client_id is accepted.
 *
 * PostgreSQL refuses text that is not UTF-8, and one bad id must not fail a
 * whole batch; so an id is checked here, before anything else reads it.
 */
#ifndef STINT_CLIENT_ID_H
#define STINT_CLIENT_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "protocol/hot.h"

/* Returns the length in bytes of an id that ends with a NUL; 0 when it is NULL, empty, longer than
 * STINT_CLIENT_ID_MAX or not UTF-8. */
size_t client_id_length(const char *id);

/* Whether these bytes are an id. A NUL among them is none of UTF-8 as PostgreSQL has it. */
bool client_id_is_valid_any(const char *id, size_t length);

/* Not 0 if one of the next eight bytes is a NUL or is not ASCII. (A borrow can only come from a NUL.) */
static inline uint64_t client_id_unusual_bytes(const char *bytes) {
	const uint64_t ones = UINT64_C(0x0101010101010101), highs = UINT64_C(0x8080808080808080);
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return (word | (word - ones)) & highs;
}

/* The same, quicker for most ids: they are ASCII, and two words, which may overlap, have all of it. */
HOT_PART static inline bool client_id_is_valid(const char *id, size_t length) {
	const size_t word = sizeof(uint64_t);

	if (id && length >= word && length <= 2 * word &&
	    (client_id_unusual_bytes(id) | client_id_unusual_bytes(id + length - word)) == 0)
		return true;
	return client_id_is_valid_any(id, length);
}

#endif
