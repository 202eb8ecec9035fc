/*
 * utf8.h - UTF-8 as RFC 3629 and PostgreSQL have it: no overlong forms, no surrogates, nothing above U+10FFFF.
 *
 * The library checks clients' ids with it, and the agent whatever it sends to the database, which refuses
 * anything else.
 */
#ifndef STINT_UTF8_H
#define STINT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Returns the length of the UTF-8 sequence at s, which has at most `left`
 * bytes; 0 when it is invalid. Only the range of the second byte depends on the
 * lead byte: it excludes overlong forms, surrogates and what is above U+10FFFF.
 */
static inline size_t utf8_sequence(const uint8_t *s, size_t left) {
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

/* Returns how many of `size` bytes are valid, up to the first sequence that is not. NULs are characters, too. */
static inline size_t utf8_valid_length(const char *text, size_t size) {
	const uint8_t *s = (const uint8_t *)text;
	size_t at = 0;

	while (at < size) {
		size_t length = utf8_sequence(s + at, size - at);
		if (length == 0)
			break;
		at += length;
	}
	return at;
}

static inline bool utf8_is_valid(const char *text, size_t size) {
	return utf8_valid_length(text, size) == size;
}

#endif
