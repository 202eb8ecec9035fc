/*
 * cmd_policy.c - `stint policy ...`: the limits, as an operator sets and sees
 * them. Ranges are checked here first, so that the message names the option.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "change.h"
#include "command.h"
#include "names.h"
#include "protocol/limits.h"
#include "query.h"
#include "stint.h"

static const char set_help[] =
	"Creates a policy or changes the one of that name, and pins it: what apps declare from\n"
	"then on changes nothing. Of an existing policy, what isn't named stays as it is; but what\n"
	"has its default keeps following the limit and the window. Prints what has changed. All\n"
	"agents follow within a second.\n"
	"\n"
	"  --max-requests N               1 to 1000000000; a new policy needs it\n"
	"  --time-window-ms N             100 to 2678400000 (31 days); a new policy needs it\n"
	"  --fallback-max-requests N      per host while the database is away,\n"
	"                                 1 to 2000000000 (default 2 x --max-requests)\n"
	"  --fallback-time-window-ms N    100 to 2678400000 (default --time-window-ms)\n"
	"  --algorithm A                  sliding_window (default) or fixed_window\n"
	"  --resolution N                 sub-windows of a sliding window, 1 to 60 (default 20;\n"
	"                                 10 of a window below 2 s)\n"
	"  --mode M                       strict (default) or relaxed\n"
	"  --shadow, --no-shadow          a shadow denies nobody: apps admit whom the limit would\n"
	"                                 deny, and are told\n";

static const char unpin_help[] =
	"The limits stay what they are until an app declares others: every process of an app does\n"
	"so when it starts. (What running ones have declared before is not asked for again.)\n";

static const char drop_help[] =
	"Deletes the policy, and what was counted for it. Where clients are blocked or have limits\n"
	"of their own, these would go with it: then it needs --yes.\n"
	"\n"
	"An app that still uses the policy brings it back with its next declaration, unpinned and\n"
	"without exceptions. That isn't silent: the history says \"brought back\", the agent's log\n"
	"warns, and \"stint doctor\" shows it until an operator sets the policy.\n"
	"\n"
	"  --yes   even if blocks and clients' limits go with it\n";

static const char history_help[] =
	"Shows every change of the policies and of their clients' exceptions, oldest first; with\n"
	"NAME, those of one policy. Changes made by plain SQL are included.\n"
	"\n"
	"  --json   as a JSON array, with the whole row before and after\n";

/* $2: QUERY_TIME_FORMAT. */
static const char history_sql[] =
	"select to_char(at at time zone 'UTC', $2) as at, changed_by, action, policy, client_id, old, new"
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

static bool is_nothing(const struct limits *l) {
	return !l->shadow && !l->no_shadow && !l->max_requests && !l->time_window_ms && !l->fallback_max_requests &&
	       !l->fallback_time_window_ms && !l->resolution && !l->algorithm && !l->mode;
}

/* Checks what concerns more than one option. What isn't given, the database knows. */
static int check_limits(const struct command_call *call, const struct limits *limits) {
	if (limits->shadow && limits->no_shadow)
		return command_misuse(call, "--shadow and --no-shadow exclude one another");
	if (is_nothing(limits))
		return command_misuse(call, "what to set? There is no option");
	int32_t algorithm = limits->algorithm ? limits_algorithm(limits->algorithm) : STINT_SLIDING_WINDOW;
	if (algorithm < 0)
		return command_misuse(call, "--algorithm is \"%s\", must be sliding_window or fixed_window",
		                      limits->algorithm);
	if (limits->mode && limits_mode(limits->mode) < 0)
		return command_misuse(call, "--mode is \"%s\", must be strict or relaxed", limits->mode);
	if (limits->time_window_ms == 0 || limits->resolution == 0)
		return COMMAND_DONE;
	int64_t sub_window_ms =
		limits_sub_window_ms((enum stint_algorithm)algorithm, limits->time_window_ms, (int32_t)limits->resolution);
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

/* Columns that the options name, in the order of struct limits. */
static void list_given(const struct limits *l, const char *given[6]) {
	const struct {
		bool is_given;
		const char *column;
	} all[] = {{l->fallback_max_requests != 0, "fallback_max_requests"},
	           {l->fallback_time_window_ms != 0, "fallback_time_window_ms"},
	           {l->resolution != 0, "resolution"},
	           {l->algorithm != NULL, "algorithm"},
	           {l->mode != NULL, "mode"}};
	size_t count = 0;
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (all[i].is_given)
			given[count++] = all[i].column;
	given[count] = NULL;
}

/* A name that there was not may be a mistake of typing, which limits nobody. */
static int warn_of_new(struct command_call *call, json_t *entries) {
	const char *action = json_string_value(json_object_get(json_array_get(entries, 0), "action"));
	json_t *others, *row;
	size_t i;
	if (!action || strcmp(action, "created") != 0)
		return COMMAND_DONE;
	int code = query_fetch(call, "select policy as name from stint.policy_limit where policy <> $1", 1,
	                       &call->policy, &others);
	struct names_search search = {.word = call->policy};
	json_array_foreach(others, i, row) names_consider(&search, json_string_value(json_object_get(row, "name")));
	if (search.nearest)
		command_error(call,
		              "warning: \"%s\" is a new policy, beside \"%s\"; if that was meant, \"stint policy drop %s\""
		              " takes the new one back",
		              call->policy, search.nearest, call->policy);
	json_decref(others);
	return code;
}

static int set_run(struct command_call *call) {
	struct limits limits = {0};
	struct number_text texts[5];
	const char *name, *given[6];
	if (parse_limits(call, &limits, &name) != COMMAND_DONE)
		return COMMAND_USAGE;
	list_given(&limits, given);
	const char *const params[] = {
		name,
		optional(&texts[0], limits.max_requests),
		optional(&texts[1], limits.time_window_ms),
		optional(&texts[2], limits.fallback_max_requests),
		optional(&texts[3], limits.fallback_time_window_ms),
		limits.algorithm,
		optional(&texts[4], limits.resolution),
		limits.mode,
		shadow_word(&limits),
	};
	const struct change change = {"select stint.set_policy($1, $2, $3, $4, $5, $6, $7, $8, $9)", 9, params, given};
	json_t *entries = NULL;
	int code = change_make(call, &change, &entries);
	if (code == COMMAND_DONE)
		code = warn_of_new(call, entries);
	else if (code == COMMAND_USAGE && !(limits.max_requests && limits.time_window_ms))
		command_error(call, "(a new policy needs --max-requests and --time-window-ms)");
	json_decref(entries);
	return code;
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

/* ---- History ------------------------------------------------------------------------ */

static int show_history(const struct command_call *call, json_t *entries) {
	json_t *entry;
	size_t index;
	int error = 0;
	json_array_foreach(entries, index, entry) if (error == 0) error = change_tell(entry, NULL);
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
	const char *const params[] = {name, QUERY_TIME_FORMAT};
	if (as_json)
		return query_print(call, history_sql, 2, params, true);
	json_t *entries;
	int code = query_fetch(call, history_sql, 2, params, &entries);
	return code == COMMAND_DONE ? show_history(call, entries) : code;
}

/* ---- The rest ---------------------------------------------------------------------- */

static int parse_name(struct command_call *call, const struct command_option *options, const char **name) {
	int code = command_parse(call, options, name, 1, 1);
	return code == COMMAND_DONE ? command_check_policy(call, *name) : code;
}

static int unpin_run(struct command_call *call) {
	const char *name;
	const struct command_option options[] = {{0}};
	if (parse_name(call, options, &name) != COMMAND_DONE)
		return COMMAND_USAGE;
	const struct change change = {"select stint.unpin_policy($1)", 1, &name, NULL};
	int code = change_make(call, &change, NULL);
	if (code == COMMAND_DONE)
		printf(
			"%s: its limits stay until an app declares others, as every process of an app does when it starts\n",
			name);
	return code;
}

static size_t count_actions(json_t *entries, const char *action) {
	size_t count = 0;
	for (size_t i = 0; i < json_array_size(entries); i++) {
		const json_t *entry = json_array_get(entries, i);
		count += strcmp(json_string_value(json_object_get(entry, "action")), action) == 0;
	}
	return count;
}

static int drop_run(struct command_call *call) {
	const char *name;
	bool yes = false;
	json_t *entries = NULL;
	const struct command_option options[] = {{.name = "yes", .flag = &yes}, {0}};
	if (parse_name(call, options, &name) != COMMAND_DONE)
		return COMMAND_USAGE;
	const char *const params[] = {name, yes ? "true" : "false"};
	const struct change change = {"select stint.drop_policy($1, $2)", 2, params, NULL};
	int code = change_make(call, &change, &entries);
	if (code == COMMAND_DONE)
		printf(
			"%s: with it %zu exceptions of clients; what was counted goes within a while. An app that still declares"
			" it brings it back: \"stint policy history\" tells\n",
			name, count_actions(entries, "cleared"));
	json_decref(entries);
	return code;
}

#define OPERATOR "stint_operator"
#define AUDITOR  "stint_auditor"

const struct command policy_commands[] = {
	{"set", "NAME OPTION ...", "create or change a policy, and pin it", set_help, NULL, set_run, OPERATOR},
	{"list", "[--json]", "show all policies", NULL, NULL, list_run, AUDITOR},
	{"history", "[NAME] [--json]", "show who changed what, and when", history_help, NULL, history_run, AUDITOR},
	{"unpin", "NAME", "let the apps' declarations set the policy again", unpin_help, NULL, unpin_run, OPERATOR},
	{"drop", "NAME [--yes]", "delete a policy, its exceptions and its counters", drop_help, NULL, drop_run,
     OPERATOR},
	{0},
};
