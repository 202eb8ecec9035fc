/*
 * query.c - runs SQL for the command line, see query.h. The database makes the
 * JSON: so numbers stay numbers without a table of types here, and tables are
 * printed from the same objects.
 */
#include "query.h"

#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "output.h"
#include "database/pg.h"

json_t *query_objects(struct pg *pg, const char *select, int param_count, const char *const *params,
                      int *pg_error) {
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

int query_fetch(const struct command_call *call, const char *select, int param_count, const char *const *params,
                json_t **objects) {
	struct pg *pg;
	int error;
	*objects = NULL;
	int code = command_connect(call, &pg);
	if (code != COMMAND_DONE)
		return code;
	*objects = query_objects(pg, select, param_count, params, &error);
	if (error != PG_OK)
		code = command_database_error(call, pg, error);
	else if (call->policy && json_is_array(*objects) && json_array_size(*objects) == 0)
		code = command_find_policy(call, pg); /* nothing of a policy that there is not is no answer */
	if (code != COMMAND_DONE) {
		json_decref(*objects);
		*objects = NULL;
	}
	pg_close(pg);
	return code;
}

static int print_objects(json_t *objects, bool as_json) {
	if (as_json)
		return output_json(objects, stdout);
	int status = output_objects(objects, 0, NULL, NULL, stdout);
	json_decref(objects);
	return status;
}

int query_show(const struct command_call *call, json_t *objects, bool as_json) {
	if (objects && print_objects(objects, as_json) == 0)
		return COMMAND_DONE;
	command_error(call, "out of memory, or the output can't be written");
	return COMMAND_FAILED;
}

int query_print(const struct command_call *call, const char *select, int param_count, const char *const *params,
                bool as_json) {
	json_t *objects;
	int code = query_fetch(call, select, param_count, params, &objects);
	return code == COMMAND_DONE ? query_show(call, objects, as_json) : code;
}
