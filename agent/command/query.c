/*
 * query.c - runs SQL for the command line, see query.h. Tables are printed from
 * the same objects as JSON.
 */
#include "query.h"

#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "output.h"
#include "rows.h"
#include "database/pg.h"

int query_fetch(const struct command_call *call, const char *select, int param_count, const char *const *params,
                json_t **objects) {
	struct pg *pg;
	int error;
	*objects = NULL;
	int code = command_connect(call, &pg);
	if (code != COMMAND_DONE)
		return code;
	*objects = rows_select(pg, select, param_count, params, &error);
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
