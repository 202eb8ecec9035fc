/*
 * change.c - see change.h. What a change has changed is read from its history, where the database has written it
 * down in the same transaction.
 */
#include "change.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "output.h"
#include "rows.h"
#include "terms.h"
#include "database/pg.h"

/* ---- In words ------------------------------------------------------------------------- */

/* Whether the key is left out: the history's other columns have it, or it interests nobody. */
static bool is_untold(const char *key) {
	return !strcmp(key, "policy_id") || !strcmp(key, "name") || !strcmp(key, "client_id");
}

/* These keys are told in this order; keys that only a newer schema has come behind. */
static const char *const told_first[] = {"blocked", "blocked_until", "max_requests", "limited_until", TERMS};

static bool is_told_first(const char *key) {
	for (size_t i = 0; i < sizeof(told_first) / sizeof(*told_first); i++)
		if (strcmp(key, told_first[i]) == 0)
			return true;
	return false;
}

static void tell_value(FILE *to, const char *key, const json_t *value) {
	char *text = json_dumps(value, JSON_ENCODE_ANY);
	if (json_is_string(value) && strcmp(key, "note") != 0)
		fputs(json_string_value(value), to);
	else if (json_is_string(value)) /* quotes show where people's words end */
		fprintf(to, "\"%s\"", json_string_value(value));
	else
		fputs(text ? text : "?", to);
	free(text);
}

/* These have a default. */
static bool is_by_default(const char *key, const char *const *given) {
	static const char *const all[] = {TERMS_BY_DEFAULT};
	bool has_default = false;
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		has_default = has_default || strcmp(all[i], key) == 0;
	for (; given && *given; given++)
		if (strcmp(*given, key) == 0)
			return false;
	return has_default;
}

/* Tells of one column, if it differs. was NULL: there was no row. */
static void tell_column(FILE *to, const char *key, const json_t *was, const json_t *becomes,
                        const char *const *given) {
	bool is_set = becomes && !json_is_null(becomes) && !json_is_false(becomes);
	bool was_set = was && !json_is_null(was) && !json_is_false(was);
	if ((!is_set && !was_set) || json_equal(was, becomes))
		return;
	fprintf(to, "%s%s%s", ftell(to) > 0 ? ", " : "", is_set ? "" : json_is_boolean(was) ? "not " : "no ", key);
	if (!is_set || json_is_boolean(becomes))
		return;
	fputc(' ', to);
	if (was_set) {
		tell_value(to, key, was);
		fputs(" \xe2\x86\x92 ", to); /* an arrow */
	}
	tell_value(to, key, becomes);
	if (given && is_by_default(key, given))
		fputs(" by default", to);
}

static void tell_columns(FILE *to, json_t *was, json_t *becomes, const char *const *given) {
	const char *key;
	json_t *value;
	for (size_t i = 0; i < sizeof(told_first) / sizeof(*told_first); i++)
		tell_column(to, told_first[i], json_object_get(was, told_first[i]),
		            json_object_get(becomes, told_first[i]), given);
	json_object_foreach(becomes, key, value) if (!is_untold(key) && !is_told_first(key))
		tell_column(to, key, json_object_get(was, key), value, given);
}

int change_tell(json_t *entry, const char *const *given) {
	json_t *was = json_object_get(entry, "old"), *becomes = json_object_get(entry, "new");
	char *words = NULL;
	size_t size;
	FILE *to = open_memstream(&words, &size);
	if (!to)
		return -1;
	if (json_is_object(becomes))
		tell_columns(to, was, becomes, given);
	else
		tell_columns(to, NULL, was, NULL);
	int error = fclose(to);
	if (error == 0)
		error = json_object_set_new(entry, "change", json_string(words));
	free(words);
	json_object_del(entry, "old");
	json_object_del(entry, "new");
	return error;
}

/* ---- Made ------------------------------------------------------------------------------ */

/* What this transaction has changed. It may have waited for others', who log in as the same role. Until it ends
 * nobody else changes anything: all behind the newest change of others is its own. So of a long history no more
 * is read, and nobody waits for that. */
static const char changes_sql[] =
	"select action, policy, client_id, old, new from stint.policy_history"
	" where change_id > (select coalesce(max(change_id), 0) from stint.policy_history where not own)"
	" and own and at >= now() and policy = $1 and ($2::text is null or client_id = $2)"
	" order by change_id";

/* An action that its words don't show. */
static bool is_told(const char *action) {
	return !strcmp(action, "created") || !strcmp(action, "dropped") || !strcmp(action, "cleared");
}

static int print_change(json_t *entry, const char *const *given) {
	const char *action = json_string_value(json_object_get(entry, "action"));
	const char *client_id = json_string_value(json_object_get(entry, "client_id"));
	if (change_tell(entry, given) != 0)
		return -1;
	char *client = output_printable(client_id ? client_id : "");
	char *words = output_printable(json_string_value(json_object_get(entry, "change")));
	bool failed =
		!client || !words ||
		printf("%s%s%s: %s%s%s\n", json_string_value(json_object_get(entry, "policy")), client_id ? " " : "",
	           client, is_told(action) ? action : "", is_told(action) ? ": " : "", words) < 0;
	free(client);
	free(words);
	return failed ? -1 : 0;
}

static int print_changes(const struct command_call *call, json_t *entries, const char *const *given) {
	int error = entries ? 0 : -1;
	if (json_array_size(entries) == 0 && error == 0)
		puts("nothing has changed: it was like that");
	/* Many clients' exceptions may go with a policy. */
	for (size_t i = 0; i < json_array_size(entries) && error == 0; i++) {
		json_t *entry = json_array_get(entries, i);
		if (call->client_id || json_is_null(json_object_get(entry, "client_id")))
			error = print_change(entry, given);
	}
	if (error == 0)
		return COMMAND_DONE;
	command_error(call, "out of memory, or the output can't be written");
	return COMMAND_FAILED;
}

/* Returns an enum pg_error. */
static int make(const struct command_call *call, struct pg *pg, const struct change *change, json_t **entries) {
	int error = pg_query(pg, "begin isolation level read committed", 0, NULL, NULL);
	if (error == PG_OK)
		error = pg_query(pg, change->sql, change->param_count, change->params, NULL);
	if (error == PG_OK)
		*entries = rows_select(pg, changes_sql, 2, (const char *const[]){call->policy, call->client_id}, &error);
	if (error == PG_OK)
		error = pg_query(pg, "commit", 0, NULL, NULL);
	return error;
}

int change_make(struct command_call *call, const struct change *change, json_t **entries) {
	struct pg *pg;
	json_t *made = NULL;
	int code = command_connect(call, &pg);
	if (code != COMMAND_DONE)
		return code;
	int error = make(call, pg, change, &made);
	code = error == PG_OK ? print_changes(call, made, change->given) : command_database_error(call, pg, error);
	if (code == COMMAND_DONE && entries)
		*entries = json_incref(made);
	json_decref(made);
	pg_close(pg);
	return code;
}
