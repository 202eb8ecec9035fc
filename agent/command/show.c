/*
 * show.c - `stint client show`: why a client is denied, or how much it has left. By the database's views, and by
 * what this host's agent says, if there is one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "output.h"
#include "query.h"
#include "show.h"
#include "stint.h"
#include "verdict.h"

const char show_help[] =
	"Shows whether the client is denied, and why: its limit or block, what is charged to it by\n"
	"sub-window and until when that counts, what hosts may hold of it unspent and until when,\n"
	"and the last changes of what holds for it. At the end, what this host's agent says to a\n"
	"cost of 1 now; that takes nothing. (The agent may lease some credits for it.)\n"
	"\n"
	"  --json   as a JSON object\n";

/* $1: the policy; $2: the client's id; $3: QUERY_TIME_FORMAT. */
static const char client_sql[] =
	"select p.policy, $2::text as client_id, p.max_requests, p.time_window_ms, p.algorithm, p.shadow,"
	" (select row_to_json(x) from"
	"   (select blocked, to_char(blocked_until at time zone 'UTC', $3) as blocked_until, max_requests,"
	"           to_char(limited_until at time zone 'UTC', $3) as limited_until, changed_by, note"
	"    from stint.client_limit where policy = $1 and client_id = $2) x) as exception,"
	" (select row_to_json(x) from"
	"   (select used, max_requests, remaining, to_char(resets_at at time zone 'UTC', $3) as resets_at"
	"    from stint.usage where policy = $1 and client_id = $2) x) as usage,"
	" coalesce((select json_agg(x) from"
	"   (select to_char(starts_at at time zone 'UTC', $3) as starts_at,"
	"           to_char(ends_at at time zone 'UTC', $3) as ends_at, charged,"
	"           to_char(counts_until at time zone 'UTC', $3) as counts_until"
	"    from stint.client_charge where policy = $1 and client_id = $2 order by starts_at) x), '[]') as charges,"
	" (select row_to_json(x) from"
	"   (select leased, hosts, host_names, to_char(leased_until at time zone 'UTC', $3) as leased_until"
	"    from stint.client_lease where policy = $1 and client_id = $2) x) as leases,"
	" coalesce((select json_agg(x) from"
	"   (select to_char(at at time zone 'UTC', $3) as at, changed_by, action"
	"    from stint.policy_history where policy = $1 and client_id = $2"
	"    order by change_id desc limit 5) x), '[]') as changes"
	" from stint.policy_limit p where p.policy = $1";

/* ---- This host ------------------------------------------------------------------------- */

static void add_here(const struct command_call *call, json_t *client) {
	struct stint_result result;
	json_t *here = json_object();
	int error = verdict_ask(call->settings->socket_path, call->policy, call->client_id, 0, &result);
	if (error == 0)
		verdict_add(here, &result);
	else
		json_object_set_new(here, "error", json_string(stint_strerror(error)));
	json_object_set_new(client, "here", here);
}

static void print_here(const json_t *here) {
	const char *error = json_string_value(json_object_get(here, "error"));
	printf("\nThis host's agent: ");
	if (error) {
		puts(error);
		return;
	}
	const char *source = json_string_value(json_object_get(here, "source"));
	const char *reason = json_string_value(json_object_get(here, "reason"));
	char retry[OUTPUT_TEXT_SIZE];
	int64_t retry_ms = json_integer_value(json_object_get(here, "retry_after_ms"));
	bool allowed = json_is_true(json_object_get(here, "allowed"));
	printf("%s by %s (%s), %" PRId64 " of %" PRId64 " remaining", allowed ? "allowed" : "denied", source, reason,
	       (int64_t)json_integer_value(json_object_get(here, "remaining")),
	       (int64_t)json_integer_value(json_object_get(here, "limit")));
	if (!allowed)
		printf(", retry after %s", output_duration(retry, retry_ms));
	putchar('\n');
}

/* ---- The database ------------------------------------------------------------------------ */

static const char *text_of(const json_t *object, const char *key) {
	return json_string_value(json_object_get(object, key)); /* NULL where there is none */
}

static int64_t number_of(const json_t *object, const char *key) {
	return json_integer_value(json_object_get(object, key));
}

static void print_quoted(const char *before, const char *text) {
	char *printable = text ? output_printable(text) : NULL;
	if (printable)
		printf("%s\"%s\"", before, printable);
	free(printable);
}

static void print_until(const char *until) {
	if (until)
		printf(" until %s", until);
}

/* In one line, why, or how much is left. */
static void print_verdict(const json_t *client) {
	const json_t *exception = json_object_get(client, "exception"), *usage = json_object_get(client, "usage");
	const json_t *first = json_array_get(json_object_get(client, "charges"), 0);
	bool blocked = json_is_true(json_object_get(exception, "blocked"));
	bool limited = json_is_object(usage) && number_of(usage, "remaining") == 0;
	if (blocked) {
		printf("denied: blocked");
		print_until(text_of(exception, "blocked_until"));
		printf(", by %s", text_of(exception, "changed_by"));
		print_quoted(": ", text_of(exception, "note"));
	} else if (limited) {
		printf("denied: its limit is used up; %" PRId64 " free again at %s, all at %s",
		       number_of(first, "charged"), text_of(first, "counts_until"), text_of(usage, "resets_at"));
	} else {
		printf("admitted: %s", json_is_object(usage) ? "" : "nothing of its limit is used");
		if (json_is_object(usage))
			printf("%" PRId64 " of its limit are used, %" PRId64 " left", number_of(usage, "used"),
			       number_of(usage, "remaining"));
	}
	if ((blocked || limited) && json_is_true(json_object_get(client, "shadow")))
		printf(" (but the policy is a shadow: apps admit it, and are told)");
	putchar('\n');
}

static void print_limit(const json_t *client) {
	const json_t *exception = json_object_get(client, "exception");
	char window[OUTPUT_TEXT_SIZE];
	bool own = json_is_integer(json_object_get(exception, "max_requests"));
	output_duration(window, number_of(client, "time_window_ms"));
	printf("limit     %" PRId64 " in %s", number_of(own ? exception : client, "max_requests"), window);
	if (own) {
		printf(": its own,");
		print_until(text_of(exception, "limited_until"));
		printf(" by %s", text_of(exception, "changed_by"));
		print_quoted(": ", text_of(exception, "note"));
		printf("; the policy's is %" PRId64, number_of(client, "max_requests"));
	}
	putchar('\n');
}

static void print_leases(const json_t *leases) {
	if (!json_is_object(leases))
		return;
	printf("leases    up to %" PRId64 " unspent, on %" PRId64 " hosts", number_of(leases, "leased"),
	       number_of(leases, "hosts"));
	const json_t *names = json_object_get(leases, "host_names");
	for (size_t i = 0; i < json_array_size(names); i++) {
		char *name = output_printable(json_string_value(json_array_get(names, i)));
		printf("%s%s", i == 0 ? " (" : ", ", name ? name : "");
		free(name);
	}
	printf("%s, until %s\n", json_array_size(names) > 0 ? ")" : "", text_of(leases, "leased_until"));
}

static int print_rows(const char *heading, json_t *rows) {
	if (json_array_size(rows) == 0)
		return 0;
	printf("\n%s\n", heading);
	return output_objects(rows, 0, NULL, NULL, stdout);
}

static int print_client(json_t *client) {
	printf("policy    %s\n", text_of(client, "policy"));
	char *id = output_printable(text_of(client, "client_id"));
	printf("client    %s\nverdict   ", id ? id : "");
	free(id);
	print_verdict(client);
	print_limit(client);
	print_leases(json_object_get(client, "leases"));
	int error = print_rows("What is charged to it, by sub-window", json_object_get(client, "charges"));
	if (error == 0)
		error = print_rows("The last changes of what holds for it", json_object_get(client, "changes"));
	print_here(json_object_get(client, "here"));
	return error;
}

int show_client(struct command_call *call, bool as_json) {
	json_t *rows;
	const char *const params[] = {call->policy, call->client_id, QUERY_TIME_FORMAT};
	int code = query_fetch(call, client_sql, 3, params, &rows);
	if (code != COMMAND_DONE)
		return code;
	json_t *client = json_array_get(rows, 0);
	if (client)
		add_here(call, client);
	int error = !client ? -1 : as_json ? output_json(json_incref(client), stdout) : print_client(client);
	json_decref(rows);
	if (error == 0)
		return COMMAND_DONE;
	command_error(call, "out of memory, or the output can't be written");
	return COMMAND_FAILED;
}
