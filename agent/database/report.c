/*
 * report.c - the statements that hand in, for audits, what this host has decided: rows of structs, as an array for
 * each of their fields.
 */
#include <stdlib.h>
#include <string.h>

#include "parameters.h"
#include "private.h"

struct field {
	enum pgarray_type type; /* int32_t, int64_t, const char * */
	size_t offset;
};

struct rows {
	const char *first;
	size_t size; /* of each */
	size_t count;
	const struct field *fields;
	size_t field_count;
};

static void get(const struct rows *rows, size_t i, const struct field *field, void *value, size_t size) {
	memcpy(value, rows->first + i * rows->size + field->offset, size);
}

static const char *get_text(const struct rows *rows, size_t i, const struct field *field) {
	const char *text;
	get(rows, i, field, &text, sizeof(text));
	return text;
}

static size_t array_size(const struct rows *rows, const struct field *field) {
	size_t size = PGARRAY_HEAD_SIZE;
	for (size_t i = 0; i < rows->count; i++)
		size += field->type == PGARRAY_TEXT   ? PGARRAY_TEXT_SIZE(strlen(get_text(rows, i, field)))
		        : field->type == PGARRAY_INT4 ? PGARRAY_INT4_SIZE
		                                      : PGARRAY_INT8_SIZE;
	return size;
}

static void put(struct pgarray *array, const struct rows *rows, size_t i, const struct field *field) {
	int32_t int4;
	int64_t int8;
	switch (field->type) {
	case PGARRAY_INT4:
		get(rows, i, field, &int4, sizeof(int4));
		pgarray_put_int4(array, int4);
		break;
	case PGARRAY_INT8:
		get(rows, i, field, &int8, sizeof(int8));
		pgarray_put_int8(array, int8);
		break;
	case PGARRAY_TEXT: pgarray_put_text(array, get_text(rows, i, field), strlen(get_text(rows, i, field))); break;
	}
}

static void add_array(struct parameters *p, struct pgarray *array, const struct rows *rows,
                      const struct field *field) {
	size_t start = array->length;
	pgarray_begin(array, field->type, rows->count);
	for (size_t i = 0; i < rows->count; i++)
		put(array, rows, i, field);
	parameters_add_array(p, array, start);
}

static void report(struct database *db, const struct operation *op, int run, const struct rows *rows) {
	struct parameters p = {.pg.count = 0};
	struct pgarray array;
	size_t size = 0;
	for (size_t i = 0; i < rows->field_count; i++)
		size += array_size(rows, &rows->fields[i]);
	if (!pgarray_new(&array, size)) {
		session_start(&db->session, op, NULL);
		return;
	}
	parameters_add_number(&p, db->host_id);
	parameters_add_number(&p, run);
	for (size_t i = 0; i < rows->field_count; i++)
		add_array(&p, &array, rows, &rows->fields[i]);
	session_start(&db->session, op, &p.pg);
	free(array.data);
}

const struct call call_decisions = {
	"stint.report_decisions",
	"select stint.report_decisions($1::int, $2::int, $3::bigint[], $4::text[], $5::int[], $6::bigint[], $7::bigint[], $8::bigint[])",
	1,
	false,
	operation_tell_end,
};

void database_report_decisions(struct database *db, int run, const struct database_decision *decisions,
                               size_t count, database_ended *done, void *context) {
	static const struct field fields[] = {
		{PGARRAY_INT8, offsetof(struct database_decision, minute)},
		{PGARRAY_TEXT, offsetof(struct database_decision, policy)},
		{PGARRAY_INT4, offsetof(struct database_decision, source)},
		{PGARRAY_INT8, offsetof(struct database_decision, allowed)},
		{PGARRAY_INT8, offsetof(struct database_decision, denied)},
		{PGARRAY_INT8, offsetof(struct database_decision, shadow_denied)},
	};
	const struct operation op = {.call = &call_decisions, .done.ended = done, .context = context};
	report(db, &op, run,
	       &(struct rows){(const char *)decisions, sizeof(*decisions), count, fields,
	                      sizeof(fields) / sizeof(fields[0])});
}

const struct call call_denials = {
	"stint.report_denials",
	"select stint.report_denials($1::int, $2::int, $3::bigint[], $4::text[], $5::text[], $6::int[], $7::bigint[], $8::bigint[])",
	1,
	false,
	operation_tell_end,
};

void database_report_denials(struct database *db, int run, const struct database_denial *denials, size_t count,
                             database_ended *done, void *context) {
	static const struct field fields[] = {
		{PGARRAY_INT8, offsetof(struct database_denial, hour)},
		{PGARRAY_TEXT, offsetof(struct database_denial, policy)},
		{PGARRAY_TEXT, offsetof(struct database_denial, client_id)},
		{PGARRAY_INT4, offsetof(struct database_denial, reason)},
		{PGARRAY_INT8, offsetof(struct database_denial, denied)},
		{PGARRAY_INT8, offsetof(struct database_denial, error)},
	};
	const struct operation op = {.call = &call_denials, .done.ended = done, .context = context};
	report(db, &op, run,
	       &(struct rows){(const char *)denials, sizeof(*denials), count, fields,
	                      sizeof(fields) / sizeof(fields[0])});
}
