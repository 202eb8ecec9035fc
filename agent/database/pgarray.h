/*
 * pgarray.h - arrays in PostgreSQL's binary format, one after another in one buffer: the parameters of a batch.
 * Neither side has to quote or parse them.
 */
#ifndef STINT_PGARRAY_H
#define STINT_PGARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pgarray {
	char *data; /* the caller's, to be freed */
	size_t length;
	size_t capacity;
};

/* What an array occupies: its head, each element's length, and the elements. */
#define PGARRAY_HEAD_SIZE         20u
#define PGARRAY_INT4_SIZE         8u
#define PGARRAY_INT8_SIZE         12u
#define PGARRAY_TEXT_SIZE(length) (4u + (size_t)(length))

enum pgarray_type { /* object ids of the elements' types in the server's catalogue */
	                PGARRAY_INT8 = 20,
	                PGARRAY_INT4 = 23,
	                PGARRAY_TEXT = 25,
};

bool pgarray_new(struct pgarray *, size_t capacity); /* false: out of memory */

/* Begins an array of `count` elements; as many of the following must be put. Never beyond the capacity. */
void pgarray_begin(struct pgarray *, enum pgarray_type type, size_t count);
void pgarray_put_int4(struct pgarray *, int32_t value);
void pgarray_put_int8(struct pgarray *, int64_t value);
/* UTF-8 as the server takes it, without a NUL. */
bool pgarray_is_text(const char *text, size_t length);
/* A text that the server would refuse (a NUL, or not UTF-8) becomes null: it may not fail the others. */
void pgarray_put_text(struct pgarray *, const char *text, size_t length);

#endif
