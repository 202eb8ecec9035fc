/*
 * client_id.c - UTF-8 as RFC 3629 has it: no overlong forms, no surrogates,
 * nothing above U+10FFFF.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "client_id.h"
#include "stint.h"

#define HIGH_BITS UINT64_C(0x8080808080808080)

static uint64_t load_8(const char *at) {
	uint64_t part;

	memcpy(&part, at, sizeof(part));
	return part;
}

/* Nearly every id is ASCII: eight bytes at a time, on the way of every check. The last eight overlap those before. */
static bool is_ascii(const char *id, size_t length) {
	uint64_t seen = 0;

	if (length >= sizeof(seen)) {
		const char *last = id + length - sizeof(seen);

		for (; id < last; id += sizeof(seen))
			seen |= load_8(id);
		seen |= load_8(last);
	} else {
		for (; length > 0; id++, length--)
			seen |= (uint8_t)*id;
	}
	return (seen & HIGH_BITS) == 0;
}

/*
 * Length of the sequence at s, of `left` bytes at most; 0 when it is none. What
 * may follow a lead byte differs in the second byte only: that is where
 * overlong forms, surrogates and what is above U+10FFFF are told apart.
 */
static size_t sequence_length(const uint8_t *s, size_t left) {
	uint8_t low = 0x80, high = 0xbf;
	size_t length;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	length = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (left < length || s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	return length;
}

static bool is_utf8(const uint8_t *s, size_t left) {
	while (left > 0) {
		size_t length = sequence_length(s, left);
		if (length == 0)
			return false;
		s += length;
		left -= length;
	}
	return true;
}

size_t client_id_length(const char *id) {
	size_t length;

	if (!id)
		return 0;
	length = strnlen(id, STINT_CLIENT_ID_MAX + 1);
	if (length > STINT_CLIENT_ID_MAX)
		return 0;
	if (is_ascii(id, length) || is_utf8((const uint8_t *)id, length))
		return length;
	return 0;
}
