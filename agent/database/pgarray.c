/*
 * pgarray.c - see pgarray.h. The format is that of the server's array_recv():
 * in network order the number of dimensions, a flag for nulls, the element's type, and per
 * dimension its length and lower bound; then each element's length and bytes. A null is
 * the length -1.
 */
#include "pgarray.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

static void put(struct pgarray *array, const void *bytes, size_t length) {
	assert(length <= array->capacity - array->length);
	if (length > 0)
		memcpy(array->data + array->length, bytes, length);
	array->length += length;
}

static void put_word(struct pgarray *array, uint32_t word) {
	uint32_t big = htobe32(word);
	put(array, &big, sizeof(big));
}

bool pgarray_new(struct pgarray *array, size_t capacity) {
	*array = (struct pgarray){.data = malloc(capacity), .capacity = capacity};
	return array->data != NULL;
}

void pgarray_begin(struct pgarray *array, enum pgarray_type type, size_t count) {
	put_word(array, 1); /* dimensions */
	put_word(array, 1); /* nulls may follow */
	put_word(array, type);
	put_word(array, (uint32_t)count);
	put_word(array, 1); /* lower bound */
}

void pgarray_put_int4(struct pgarray *array, int32_t value) {
	put_word(array, sizeof(value));
	put_word(array, (uint32_t)value);
}

void pgarray_put_int8(struct pgarray *array, int64_t value) {
	uint64_t big = htobe64((uint64_t)value);
	put_word(array, sizeof(big));
	put(array, &big, sizeof(big));
}

/* Bytes of the character at p as the server takes it (no overlong form, no surrogate, up to U+10FFFF); 0: it isn't one. */
static size_t character_length(const unsigned char *p, size_t left) {
	size_t length = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
	if (length > left || p[0] == 0)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
	bool surrogate = p[0] == 0xed && p[1] > 0x9f;
	bool too_great = p[0] == 0xf4 && p[1] > 0x8f;
	return overlong || surrogate || too_great ? 0 : length;
}

bool pgarray_is_text(const char *text, size_t length) {
	for (size_t at = 0, n; at < length; at += n)
		if ((n = character_length((const unsigned char *)text + at, length - at)) == 0)
			return false;
	return true;
}

void pgarray_put_text(struct pgarray *array, const char *text, size_t length) {
	bool valid = pgarray_is_text(text, length);
	put_word(array, valid ? (uint32_t)length : UINT32_MAX);
	put(array, text, valid ? length : 0);
}
