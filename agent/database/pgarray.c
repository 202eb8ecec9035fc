/*
 * pgarray.c - see pgarray.h. The format is that of the server's array_recv(): in network order the number of
 * dimensions, a flag for nulls, the element's type, and per dimension its length and lower bound; then each
 * element's length and bytes. A null has the length -1.
 */
#include "pgarray.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/utf8.h"

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

bool pgarray_is_text(const char *text, size_t length) {
	return utf8_is_valid(text, length) && (length == 0 || !memchr(text, '\0', length));
}

void pgarray_put_text(struct pgarray *array, const char *text, size_t length) {
	bool valid = pgarray_is_text(text, length);
	put_word(array, valid ? (uint32_t)length : UINT32_MAX);
	put(array, text, valid ? length : 0);
}
