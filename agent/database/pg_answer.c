/*
 * pg_answer.c - values of an answer's rows, which come in binary: each has the type and the range that is wanted,
 * or is none.
 */
#include <endian.h>
#include <libpq-fe.h>
#include <string.h>

#include "pg.h"

/* Object ids of built-in types: fixed for ever by the server's catalogue (pg_type.dat). */
#define OID_BOOL 16u
#define OID_INT8 20u
#define OID_INT2 21u
#define OID_INT4 23u
#define OID_TEXT 25u

static const PGresult *result_of(const struct pg_answer *answer) {
	return (const PGresult *)answer;
}

void pg_answer_free(struct pg_answer *answer) {
	PQclear((PGresult *)answer);
}

int pg_answer_rows(const struct pg_answer *answer) {
	return PQntuples(result_of(answer));
}

int pg_answer_columns(const struct pg_answer *answer) {
	return PQnfields(result_of(answer));
}

/* The bytes of a value of that type and size (-1: any); NULL: it is none. */
static const char *value_of(const struct pg_answer *answer, int row, int column, Oid type, int size) {
	const PGresult *result = result_of(answer);
	if (row >= PQntuples(result) || column >= PQnfields(result) || PQgetisnull(result, row, column))
		return NULL;
	if (PQftype(result, column) != type || PQfformat(result, column) != 1)
		return NULL;
	return size < 0 || PQgetlength(result, row, column) == size ? PQgetvalue(result, row, column) : NULL;
}

static bool read_int(const struct pg_answer *answer, int row, int column, int64_t *out) {
	const char *value;
	uint16_t two;
	uint32_t four;
	uint64_t eight;
	if ((value = value_of(answer, row, column, OID_INT4, 4))) {
		memcpy(&four, value, 4);
		*out = (int32_t)be32toh(four);
	} else if ((value = value_of(answer, row, column, OID_INT8, 8))) {
		memcpy(&eight, value, 8);
		*out = (int64_t)be64toh(eight);
	} else if ((value = value_of(answer, row, column, OID_INT2, 2))) {
		memcpy(&two, value, 2);
		*out = (int16_t)be16toh(two);
	}
	return value != NULL;
}

bool pg_answer_int(const struct pg_answer *answer, int row, int column, int64_t low, int64_t high, int64_t *out) {
	int64_t value;
	if (!read_int(answer, row, column, &value) || value < low || value > high)
		return false;
	*out = value;
	return true;
}

bool pg_answer_int4(const struct pg_answer *answer, int row, int column, int64_t high, int32_t *out) {
	int64_t value;
	if (!pg_answer_int(answer, row, column, 0, high, &value))
		return false;
	*out = (int32_t)value;
	return true;
}

bool pg_answer_bool(const struct pg_answer *answer, int row, int column, bool *out) {
	const char *value = value_of(answer, row, column, OID_BOOL, 1);
	if (value)
		*out = *value != 0;
	return value != NULL;
}

bool pg_answer_text(const struct pg_answer *answer, int row, int column, size_t size, char *out) {
	const char *value = value_of(answer, row, column, OID_TEXT, -1);
	size_t length = value ? (size_t)PQgetlength(result_of(answer), row, column) : 0;
	if (!value || length >= size || memchr(value, '\0', length))
		return false;
	memcpy(out, value, length);
	out[length] = '\0';
	return true;
}

bool pg_answer_is_null(const struct pg_answer *answer, int row, int column) {
	const PGresult *result = result_of(answer);
	return row < PQntuples(result) && column < PQnfields(result) && PQgetisnull(result, row, column);
}
