/*
 * client_id.c - a client's id is 1 to 255 bytes of UTF-8 (protocol/utf8.h).
 *
 * Nearly every id is short and ASCII. Every check must find the end of its id, and
 * learns on the way whether it is ASCII.
 */
#include <stdint.h>
#include <string.h>

#include "client_id.h"
#include "protocol/hot.h"
#include "protocol/utf8.h"
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

HOT size_t client_id_length(const char *id) {
	if (!id)
		return 0;
	bool is_ascii;
	size_t length = find_end(id, STINT_CLIENT_ID_MAX + 1, &is_ascii);
	if (length > STINT_CLIENT_ID_MAX)
		return 0;
	return is_ascii || utf8_is_valid(id, length) ? length : 0;
}

/* The last eight overlap those before them: that is quicker than byte by byte. */
static inline bool is_plain_ascii(const char *id, size_t length) {
	uint64_t unusual = 0;

	if (length < sizeof(uint64_t)) {
		for (size_t i = 0; i < length; i++)
			unusual |= (uint64_t)((signed char)id[i] <= 0);
		return unusual == 0;
	}
	for (size_t i = 0; i + sizeof(uint64_t) < length; i += sizeof(uint64_t))
		unusual |= client_id_unusual_bytes(id + i);
	return (unusual | client_id_unusual_bytes(id + length - sizeof(uint64_t))) == 0;
}

/* Apart from that of ASCII, which needs no call, and so no register of the caller's. */
APART static bool is_other_text(const char *id, size_t length) {
	return !memchr(id, '\0', length) && utf8_is_valid(id, length);
}

HOT bool client_id_is_valid_any(const char *id, size_t length) {
	if (!id || length == 0 || length > STINT_CLIENT_ID_MAX)
		return false;
	return is_plain_ascii(id, length) || is_other_text(id, length);
}
