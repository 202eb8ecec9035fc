/*
 * rows.c - what a statement selects, as JSON. The database makes it: so numbers
 * stay numbers without a table of types here.
 */
#include "rows.h"

#include <stdio.h>
#include <stdlib.h>

#include "database/pg.h"

json_t *rows_select(struct pg *pg, const char *select, int param_count, const char *const *params, int *pg_error) {
	struct pg_rows rows = {0};
	char *sql;
	*pg_error = PG_OK;
	if (asprintf(&sql, "select coalesce(json_agg(row_to_json(r)), '[]') from (%s) r", select) < 0)
		return NULL;
	*pg_error = pg_query(pg, sql, param_count, params, &rows);
	free(sql);
	if (*pg_error != PG_OK)
		return NULL;
	json_t *objects = json_loads(rows.cells[0], 0, NULL); /* always one row */
	pg_rows_free(&rows);
	return objects;
}
