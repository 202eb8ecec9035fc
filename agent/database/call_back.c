/*
 * call_back.c - the statements by which leases are called back: one says of which clients, the other asks which of
 * this host's are wanted by others.
 */
#include <stdlib.h>
#include <string.h>

#include "parameters.h"
#include "private.h"

const struct call call_recall = {
	"stint.recall_leases", "select stint.recall_leases($1::int[], $2::text[])", 1, false, operation_tell_end,
};

static void add_policy_ids(struct parameters *p, struct pgarray *array, const struct lease_recall *recalls,
                           size_t count) {
	size_t start = array->length;
	pgarray_begin(array, PGARRAY_INT4, count);
	for (size_t i = 0; i < count; i++)
		pgarray_put_int4(array, recalls[i].policy_id);
	parameters_add_array(p, array, start);
}

static void add_client_ids(struct parameters *p, struct pgarray *array, const struct lease_recall *recalls,
                           size_t count) {
	size_t start = array->length;
	pgarray_begin(array, PGARRAY_TEXT, count);
	for (size_t i = 0; i < count; i++)
		pgarray_put_text(array, recalls[i].client_id, recalls[i].client_id_len);
	parameters_add_array(p, array, start);
}

void database_recall(struct database *db, const struct lease_recall *recalls, size_t count, database_ended *done,
                     void *context) {
	struct operation op = {.call = &call_recall, .done.ended = done, .context = context};
	struct parameters p = {.pg.count = 0};
	struct pgarray array;
	size_t size = 2 * PGARRAY_HEAD_SIZE + count * PGARRAY_INT4_SIZE;
	for (size_t i = 0; i < count; i++)
		size += PGARRAY_TEXT_SIZE(recalls[i].client_id_len);
	if (!pgarray_new(&array, size)) {
		session_start(&db->session, &op, NULL);
		return;
	}
	add_policy_ids(&p, &array, recalls, count);
	add_client_ids(&p, &array, recalls, count);
	session_start(&db->session, &op, &p.pg);
	free(array.data);
}

/* The last row, and no other, names no client. */
static bool read_recall(const struct pg_answer *answer, int row, struct recall_row *recall) {
	bool is_last = row == pg_answer_rows(answer) - 1;
	if (!pg_answer_int(answer, row, 0, 0, INT64_MAX, &recall->recall_id) ||
	    pg_answer_is_null(answer, row, 1) != is_last || pg_answer_is_null(answer, row, 2) != is_last)
		return false;
	return is_last || (pg_answer_int4(answer, row, 1, INT32_MAX, &recall->policy_id) &&
	                   pg_answer_text(answer, row, 2, sizeof(recall->client_id), recall->client_id));
}

static bool finish_recalls(struct session *s, const struct operation *op, enum lease_outcome outcome,
                           const struct pg_answer *answer) {
	int count = outcome == LEASE_DONE ? pg_answer_rows(answer) : 0;
	struct recall_row *rows = calloc((size_t)count + 1, sizeof(*rows));
	bool good = outcome != LEASE_DONE || (rows && count > 0);
	(void)s;
	for (int i = 0; good && i < count; i++)
		good = read_recall(answer, i, &rows[i]);
	if (good)
		op->done.recalls(op->context, outcome, rows, count > 0 ? (size_t)count - 1 : 0,
		                 count > 0 ? rows[count - 1].recall_id : 0);
	free(rows);
	return good;
}

const struct call call_recalls = {
	"stint.get_recalls",
	"select recall_id, policy_id, client_id from stint.get_recalls($1::int, $2::bigint)",
	3,
	false,
	finish_recalls,
};

void database_get_recalls(struct database *db, int host, int64_t since, database_recalls *done, void *context) {
	struct operation op = {.call = &call_recalls, .done.recalls = done, .context = context};
	struct parameters p = {.pg.count = 0};
	parameters_add_number(&p, host);
	parameters_add_number(&p, since);
	session_start(&db->session, &op, &p.pg);
}
