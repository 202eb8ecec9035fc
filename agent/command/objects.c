/*
 * objects.c - see objects.h.
 */
#include "objects.h"

#include <stdbool.h>
#include <string.h>

#include "database/pg.h"
#include "migrations.h"

enum column { OBJECT, PROBLEM, MEND, AS_OWNER, COLUMNS }; /* of sql/check.sql */

static const char *cell(const struct pg_rows *rows, int row, enum column column) {
	return rows->cells[row * COLUMNS + (int)column];
}

static json_t *list_problems(const struct pg_rows *rows) {
	json_t *list = json_array();
	for (int i = 0; i < rows->row_count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "object", cell(rows, i, OBJECT), "problem",
		                                      cell(rows, i, PROBLEM)));
	return list;
}

/* Whether even a table or a column that is compared is missing. */
static bool is_missing(const char *sqlstate) {
	return !strcmp(sqlstate, "42P01") || !strcmp(sqlstate, "42703");
}

json_t *objects_find_problems(struct pg *pg) {
	struct pg_rows rows;
	int error = pg_query(pg, embedded_check, 0, NULL, &rows);
	if (error == PG_FAILED && is_missing(pg_sqlstate(pg)))
		return json_pack("[{s:s, s:s}]", "object", "schema stint", "problem", pg_error(pg));
	if (error != PG_OK)
		return NULL;
	json_t *list = list_problems(&rows);
	pg_rows_free(&rows);
	return list;
}

static int mend_rows(struct pg *pg, const struct pg_rows *rows, bool as_owner) {
	int error = PG_OK;
	for (int i = 0; i < rows->row_count && error == PG_OK; i++)
		if (cell(rows, i, MEND) && (*cell(rows, i, AS_OWNER) == 't') == as_owner)
			error = pg_script(pg, cell(rows, i, MEND));
	return error;
}

/* Sets owners first, as the connected user, who may give objects away; then rights, as the owner, so that the
 * owner is who grants them. */
static int mend_all(struct pg *pg, const struct pg_rows *rows) {
	int error = mend_rows(pg, rows, false);
	if (error == PG_OK)
		error = pg_script(pg, "set local role stint_owner");
	if (error == PG_OK)
		error = mend_rows(pg, rows, true);
	return error == PG_OK ? pg_script(pg, "reset role") : error;
}

int objects_mend(struct pg *pg, void (*mended)(const char *object, const char *problem)) {
	struct pg_rows rows = {0};
	int error = pg_query(pg, "begin isolation level read committed", 0, NULL, NULL);
	if (error == PG_OK)
		error = pg_query(pg, embedded_check, 0, NULL, &rows); /* first, so that it finds which roles are missing */
	if (error == PG_OK && rows.row_count > 0)
		error = pg_script(pg, embedded_roles);
	if (error == PG_OK && rows.row_count > 0)
		error = mend_all(pg, &rows);
	if (error == PG_OK)
		error = pg_query(pg, "commit", 0, NULL, NULL);
	for (int i = 0; i < rows.row_count && error == PG_OK; i++)
		if (cell(&rows, i, MEND) || !strncmp(cell(&rows, i, OBJECT), "role ", 5))
			mended(cell(&rows, i, OBJECT), cell(&rows, i, PROBLEM));
	pg_rows_free(&rows);
	return error;
}
