/*
 * cmd_policy.c - `stint policy ...`: the limits, as an operator sets and sees
 * them. Ranges are checked here first, so that the message names the option.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "protocol/limits.h"
#include "query.h"
#include "stint.h"

static const char set_help[] =
	"Creates a policy or changes the one of that name, and pins it: what apps declare from\n"
	"then on changes nothing. An option that is left out gets its default, even when the policy\n"
	"exists. All agents follow within a second.\n"
	"\n"
	"  --max-requests N               1 to 1000000000, required\n"
	"  --time-window-ms N             100 to 2678400000 (31 days), required\n"
	"  --fallback-max-requests N      per host while the database is away,\n"
	"                                 1 to 2000000000 (default 2 x --max-requests)\n"
	"  --fallback-time-window-ms N    100 to 2678400000 (default --time-window-ms)\n"
	"  --algorithm A                  sliding_window (default) or fixed_window\n"
	"  --resolution N                 sub-windows of a sliding window, 1 to 60 (default 20;\n"
	"                                 10 of a window below 2 s)\n"
	"  --mode M                       strict (default) or relaxed\n"
	"  --shadow, --no-shadow          a shadow denies nobody: apps admit whom the limit would\n"
	"                                 deny, and are told. Without either, an existing policy\n"
	"                                 stays what it is, and a new one is none. Without other\n"
	"                                 options, the limits stay as well\n";

static const char history_help[] =
	"Shows every change of the policies and of their clients' exceptions, oldest first; with\n"
	"NAME, those of one policy. Changes made by plain SQL are included.\n"
	"\n"
	"  --json   as a JSON array, with the whole row before and after\n";

static const char history_sql[] = "select " QUERY_TIME(
	"at") " as at, changed_by, action, policy, client_id, old, new"
		  " from stint.policy_history where $1::text is null or policy = $1 order by change_id";

struct limits {
	int64_t max_requests;
	int64_t time_window_ms;
	int64_t fallback_max_requests;
	int64_t fallback_time_window_ms;
	int64_t resolution;
	const char *algorithm; /* NULL: the default */
	const char *mode;
	bool shadow, no_shadow;
};

/* Whether only this is to change. */
static bool is_shadow_alone(const struct limits *l) {
	return (l->shadow || l->no_shadow) && !l->max_requests && !l->time_window_ms && !l->fallback_max_requests &&
	       !l->fallback_time_window_ms && !l->resolution && !l->algorithm && !l->mode;
}

/* Checks what concerns more than one option, or what must be given. */
static int check_limits(const struct command_call *call, const struct limits *limits) {
	if (limits->shadow && limits->no_shadow)
		return command_misuse(call, "--shadow and --no-shadow exclude one another");
	if (is_shadow_alone(limits))
		return COMMAND_DONE;
	if (limits->max_requests == 0)
		return command_misuse(call, "--max-requests is required");
	if (limits->time_window_ms == 0)
		return command_misuse(call, "--time-window-ms is required");
	int32_t algorithm = limits->algorithm ? limits_algorithm(limits->algorithm) : STINT_SLIDING_WINDOW;
	if (algorithm < 0)
		return command_misuse(call, "--algorithm is \"%s\", must be sliding_window or fixed_window",
		                      limits->algorithm);
	if (limits->mode && limits_mode(limits->mode) < 0)
		return command_misuse(call, "--mode is \"%s\", must be strict or relaxed", limits->mode);
	int64_t resolution =
		limits->resolution ? limits->resolution : limits_default_resolution(limits->time_window_ms);
	int64_t sub_window_ms =
		limits_sub_window_ms((enum stint_algorithm)algorithm, limits->time_window_ms, resolution);
	if (sub_window_ms >= STINT_SUB_WINDOW_MS_MIN)
		return COMMAND_DONE;
	return command_misuse(call, "--time-window-ms / --resolution is %" PRId64 ", must be at least %d",
	                      sub_window_ms, STINT_SUB_WINDOW_MS_MIN);
}

static int parse_limits(struct command_call *call, struct limits *limits, const char **name) {
	const struct command_option options[] = {
		{.name = "max-requests", .number = &limits->max_requests, .min = 1, .max = STINT_MAX_REQUESTS_MAX},
		{.name = "time-window-ms",
	     .number = &limits->time_window_ms,
	     .min = STINT_TIME_WINDOW_MS_MIN,
	     .max = STINT_TIME_WINDOW_MS_MAX},
		{.name = "fallback-max-requests",
	     .number = &limits->fallback_max_requests,
	     .min = 1,
	     .max = STINT_FALLBACK_REQUESTS_MAX},
		{.name = "fallback-time-window-ms",
	     .number = &limits->fallback_time_window_ms,
	     .min = STINT_TIME_WINDOW_MS_MIN,
	     .max = STINT_TIME_WINDOW_MS_MAX},
		{.name = "resolution", .number = &limits->resolution, .min = 1, .max = STINT_RESOLUTION_MAX},
		{.name = "algorithm", .text = &limits->algorithm},
		{.name = "mode", .text = &limits->mode},
		{.name = "shadow", .flag = &limits->shadow},
		{.name = "no-shadow", .flag = &limits->no_shadow},
		{0},
	};
	int code = command_parse(call, options, name, 1, 1);
	if (code == COMMAND_DONE)
		code = command_check_policy(call, *name);
	return code == COMMAND_DONE ? check_limits(call, limits) : code;
}

struct number_text {
	char digits[24];
};

/* Returns the number as text, or NULL if it isn't given: the SQL function has the defaults. */
static const char *optional(struct number_text *text, int64_t number) {
	snprintf(text->digits, sizeof(text->digits), "%" PRId64, number);
	return number != 0 ? text->digits : NULL;
}

/* Returns NULL for what is to stay as it is. */
static const char *shadow_word(const struct limits *limits) {
	return limits->shadow ? "true" : limits->no_shadow ? "false" : NULL;
}

static int set_run(struct command_call *call) {
	struct limits limits = {0};
	struct number_text texts[5];
	const char *name;
	if (parse_limits(call, &limits, &name) != COMMAND_DONE)
		return COMMAND_USAGE;
	if (is_shadow_alone(&limits))
		return query_run(call, "select stint.set_shadow($1, $2)", 2,
		                 (const char *const[]){name, shadow_word(&limits)});
	const char *const params[] = {
		name,
		optional(&texts[0], limits.max_requests),
		optional(&texts[1], limits.time_window_ms),
		optional(&texts[2], limits.fallback_max_requests),
		optional(&texts[3], limits.fallback_time_window_ms),
		limits.algorithm ? limits.algorithm : limits_algorithm_word(STINT_SLIDING_WINDOW),
		optional(&texts[4], limits.resolution),
		limits.mode ? limits.mode : limits_mode_word(STINT_STRICT),
		shadow_word(&limits),
	};
	return query_run(call, "select stint.set_policy($1, $2, $3, $4, $5, $6, $7, $8, $9)", 9, params);
}

static int list_run(struct command_call *call) {
	bool as_json = false;
	const struct command_option options[] = {{.name = "json", .flag = &as_json}, {0}};
	if (command_parse(call, options, NULL, 0, 0) != COMMAND_DONE)
		return COMMAND_USAGE;
	return query_print(
		call,
		"select policy as name, max_requests, time_window_ms, fallback_max_requests,"
		" fallback_time_window_ms, algorithm, resolution, mode, shadow, pinned from stint.policy_limit"
		" order by policy",
		0, NULL, as_json);
}

/* ---- History, in words ------------------------------------------------------------ */

/* Whether the key is left out: the history's other columns have it, or it interests nobody. */
static bool is_untold(const char *key) {
	return !strcmp(key, "policy_id") || !strcmp(key, "name") || !strcmp(key, "client_id");
}

/* These keys are told in this order; keys that only a newer schema has come behind. */
static const char *const told_first[] = {
	"blocked",
	"blocked_until",
	"max_requests",
	"limited_until",
	"time_window_ms",
	"fallback_max_requests",
	"fallback_time_window_ms",
	"algorithm",
	"resolution",
	"mode",
	"shadow",
};

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

/* Tells of one column, if it differs. was NULL: there was no row. */
static void tell_column(FILE *to, const char *key, const json_t *was, const json_t *becomes) {
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
}

static void tell_columns(FILE *to, json_t *was, json_t *becomes) {
	const char *key;
	json_t *value;
	for (size_t i = 0; i < sizeof(told_first) / sizeof(*told_first); i++)
		tell_column(to, told_first[i], json_object_get(was, told_first[i]),
		            json_object_get(becomes, told_first[i]));
	json_object_foreach(becomes, key, value) if (!is_untold(key) && !is_told_first(key))
		tell_column(to, key, json_object_get(was, key), value);
}

/* Replaces the rows before and after by words: "max_requests 100 → 500, pinned". For a row that is gone, the words
 * say what it was. */
static int tell_change(json_t *entry) {
	json_t *was = json_object_get(entry, "old"), *becomes = json_object_get(entry, "new");
	char *words = NULL;
	size_t size;
	FILE *to = open_memstream(&words, &size);
	if (!to)
		return -1;
	if (json_is_object(becomes))
		tell_columns(to, was, becomes);
	else
		tell_columns(to, NULL, was);
	int error = fclose(to);
	if (error == 0)
		error = json_object_set_new(entry, "change", json_string(words));
	free(words);
	json_object_del(entry, "old");
	json_object_del(entry, "new");
	return error;
}

static int show_history(const struct command_call *call, json_t *entries) {
	json_t *entry;
	size_t index;
	int error = 0;
	json_array_foreach(entries, index, entry) if (error == 0) error = tell_change(entry);
	if (error == 0)
		return query_show(call, entries, false);
	json_decref(entries);
	return query_show(call, NULL, false);
}

static int history_run(struct command_call *call) {
	bool as_json = false;
	const char *name = NULL;
	const struct command_option options[] = {{.name = "json", .flag = &as_json}, {0}};
	if (command_parse(call, options, &name, 0, 1) != COMMAND_DONE)
		return COMMAND_USAGE;
	if (name && command_check_policy(call, name) != COMMAND_DONE)
		return COMMAND_USAGE;
	if (as_json)
		return query_print(call, history_sql, 1, &name, true);
	json_t *entries;
	int code = query_fetch(call, history_sql, 1, &name, &entries);
	return code == COMMAND_DONE ? show_history(call, entries) : code;
}

/* ---- The rest ---------------------------------------------------------------------- */

/* Runs SQL that takes the policy's name as its parameter. */
static int run_on_policy(struct command_call *call, const char *sql) {
	const char *name;
	const struct command_option options[] = {{0}};
	int code = command_parse(call, options, &name, 1, 1);
	if (code == COMMAND_DONE)
		code = command_check_policy(call, name);
	return code == COMMAND_DONE ? query_run(call, sql, 1, &name) : code;
}

static int unpin_run(struct command_call *call) {
	return run_on_policy(call, "select stint.unpin_policy($1)");
}

static int drop_run(struct command_call *call) {
	return run_on_policy(call, "select stint.drop_policy($1)");
}

#define OPERATOR "stint_operator"
#define AUDITOR  "stint_auditor"

const struct command policy_commands[] = {
	{"set", "NAME [--max-requests N --time-window-ms N] [OPTION ...]", "create or change a policy, and pin it",
     set_help, NULL, set_run, OPERATOR},
	{"list", "[--json]", "show all policies", NULL, NULL, list_run, AUDITOR},
	{"history", "[NAME] [--json]", "show who changed what, and when", history_help, NULL, history_run, AUDITOR},
	{"unpin", "NAME", "let the apps' declarations set the policy again", NULL, NULL, unpin_run, OPERATOR},
	{"drop", "NAME", "delete a policy, its exceptions and its counters", NULL, NULL, drop_run, OPERATOR},
	{0},
};
