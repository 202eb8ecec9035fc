/*
 * client_id.c - UTF-8 as RFC 3629 has it: no overlong forms, no surrogates,
 * nothing above U+10FFFF.
 *
 * Nearly every id is short and ASCII. Every check must find the end of its id, and
 * learns on the way whether it is ASCII.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "client_id.h"
#include "protocol/hot.h"
#include "stint.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define BYTE_BY_BYTE
#endif
#endif
#if !defined(__SSE2__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BYTE_BY_BYTE
#endif

#ifndef BYTE_BY_BYTE
#include <emmintrin.h>

static unsigned zeros_in(__m128i bytes) {
	return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
}

/* Whether one of the bytes before the first zero is not ASCII. */
static bool is_high_before(unsigned high, unsigned zeros) {
	return (high & (zeros ^ (zeros - 1))) != 0;
}

/*
 * Like strnlen(); also finds out whether only ASCII comes before the end. Reads whole aligned vectors, as strlen()
 * does: the bytes of a vector before and after the string are in the same page, and are ignored. (Sanitizers would
 * report them.)
 */
static size_t find_end(const char *id, size_t max, bool *is_ascii) {
	size_t before = (uintptr_t)id % sizeof(__m128i), length = sizeof(__m128i) - before;
	const __m128i *vector = (const __m128i *)(const void *)(id - before);
	__m128i bytes = _mm_load_si128(vector);
	unsigned zeros = zeros_in(bytes) >> before, high = (unsigned)_mm_movemask_epi8(bytes) >> before;

	if (zeros != 0) {
		*is_ascii = !is_high_before(high, zeros);
		return (unsigned)__builtin_ctz(zeros);
	}
	for (; length < max; length += sizeof(__m128i)) {
		bytes = _mm_load_si128(++vector);
		zeros = zeros_in(bytes);
		if (zeros != 0) {
			*is_ascii = high == 0 && !is_high_before((unsigned)_mm_movemask_epi8(bytes), zeros);
			return length + (unsigned)__builtin_ctz(zeros);
		}
		high |= (unsigned)_mm_movemask_epi8(bytes);
	}
	*is_ascii = high == 0;
	return length;
}
#else
static size_t find_end(const char *id, size_t max, bool *is_ascii) {
	size_t length = 0;
	unsigned char high = 0;

	while (length < max && id[length] != '\0')
		high |= (unsigned char)id[length++];
	*is_ascii = high < 0x80;
	return length;
}
#endif

/*
 * Returns the length of the UTF-8 sequence at s, which has at most `left`
 * bytes; 0 when it is invalid. Only the range of the second byte depends on the
 * lead byte: it excludes overlong forms, surrogates and what is above U+10FFFF.
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

HOT size_t client_id_length(const char *id) {
	size_t length;
	bool is_ascii;

	if (!id)
		return 0;
	length = find_end(id, STINT_CLIENT_ID_MAX + 1, &is_ascii);
	if (length > STINT_CLIENT_ID_MAX)
		return 0;
	return is_ascii || is_utf8((const uint8_t *)id, length) ? length : 0;
}
