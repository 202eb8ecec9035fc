/*
 * cmd_client.c - `stint client ...`: exceptions from a policy for one client, and what was counted for it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "change.h"
#include "command.h"
#include "query.h"
#include "show.h"
#include "stint.h"

static const char block_help[] =
	"The client is denied, whatever it asks for, until the time is over, or \"stint client unblock\".\n"
	"A limit of its own that it has stays, and holds again afterwards. Without --for, one that is\n"
	"blocked for a while already is blocked until it is unblocked. Without --note, one that it has\n"
	"stays; an empty one takes it away.\n"
	"\n"
	"  --for DURATION   for so long, 1s to 365d: a number of s, m, h or d, such as 10m\n"
	"  --note TEXT      why, up to 1000 bytes; shown in the history\n";

static const char reset_help[] =
	"Forgets what was counted for the client, so that its whole limit is free again. What hosts\n"
	"may still hold unspent is kept until they have said that they hold none: within ten seconds\n"
	"or so, or, if one of them doesn't answer, until it has left the window. Shows how much was\n"
	"forgotten at once, and how much is kept. The client may so be admitted up to its limit once\n"
	"more, on top of what it has spent. A block, and a limit of its own, stay.\n"
	"\n"
	"  --json   as a JSON array\n";

static const char limit_help[] =
	"The client gets a max_requests of its own under the policy; the window stays. It replaces one\n"
	"that the client had, and ends a block.\n"
	"\n"
	"  --max-requests N   1 to 1000000000, required\n"
	"  --for DURATION     for so long, 1s to 365d: a number of s, m, h or d, such as 10m; then the\n"
	"                     policy's limit holds again\n"
	"  --note TEXT        why, up to 1000 bytes; shown in the history\n";

/* Parses the arguments that block, limit, clear and reset have in common: POLICY CLIENT. */
static int parse_client(struct command_call *call, const struct command_option *options,
                        const char *arguments[2]) {
	int code = command_parse(call, options, arguments, 2, 2);
	if (code == COMMAND_DONE)
		code = command_check_policy(call, arguments[0]);
	return code == COMMAND_DONE ? command_check_client(call, arguments[1]) : code;
}

struct number_text {
	char digits[24];
};

static const char *write_number(struct number_text *text, int64_t number) {
	snprintf(text->digits, sizeof(text->digits), "%" PRId64, number);
	return text->digits;
}

/* Gives --for in milliseconds, as text; NULL: it isn't given. */
static int read_for(const struct command_call *call, const char *duration, struct number_text *text,
                    const char **out) {
	/* As in sql/002_limiter/17_override.sql. */
	static const struct command_range range = {1, INT64_C(365) * 86400, "1s to 365d"};
	int64_t for_ms = 0;
	*out = NULL;
	if (!duration)
		return COMMAND_DONE;
	int code = command_parse_duration(call, "for", duration, &range, &for_ms);
	if (code == COMMAND_DONE)
		*out = write_number(text, for_ms);
	return code;
}

static int block_run(struct command_call *call) {
	const char *arguments[2], *note = NULL, *duration = NULL, *for_ms;
	struct number_text text;
	const struct command_option options[] = {{.name = "note", .text = &note},
	                                         {.name = "for", .text = &duration},
	                                         {0}};
	if (parse_client(call, options, arguments) != COMMAND_DONE || command_check_note(call, note) != COMMAND_DONE ||
	    read_for(call, duration, &text, &for_ms) != COMMAND_DONE)
		return COMMAND_USAGE;
	const char *const params[] = {arguments[0], arguments[1], note, for_ms};
	const struct change change = {"select stint.block_client($1, $2, $3, $4)", 4, params, NULL};
	return change_make(call, &change, NULL);
}

static int limit_run(struct command_call *call) {
	const char *arguments[2], *note = NULL, *duration = NULL, *for_ms;
	int64_t max_requests = 0;
	struct number_text texts[2];
	const struct command_option options[] = {
		{.name = "for", .text = &duration},
		{.name = "max-requests", .number = &max_requests, .min = 1, .max = STINT_MAX_REQUESTS_MAX},
		{.name = "note", .text = &note},
		{0},
	};
	if (parse_client(call, options, arguments) != COMMAND_DONE || command_check_note(call, note) != COMMAND_DONE ||
	    read_for(call, duration, &texts[0], &for_ms) != COMMAND_DONE)
		return COMMAND_USAGE;
	if (max_requests == 0)
		return command_misuse(call, "--max-requests is required");
	const char *const params[] = {arguments[0], arguments[1], write_number(&texts[1], max_requests), note, for_ms};
	const struct change change = {"select stint.set_override($1, $2, $3, $4, $5)", 5, params, NULL};
	return change_make(call, &change, NULL);
}

static int run_on_client(struct command_call *call, const char *sql) {
	const char *arguments[2];
	const struct command_option options[] = {{0}};
	if (parse_client(call, options, arguments) != COMMAND_DONE)
		return COMMAND_USAGE;
	const struct change change = {sql, 2, arguments, NULL};
	return change_make(call, &change, NULL);
}

static int unblock_run(struct command_call *call) {
	return run_on_client(call, "select stint.unblock_client($1, $2)");
}

static int clear_run(struct command_call *call) {
	return run_on_client(call, "select stint.clear_override($1, $2)");
}

static int reset_run(struct command_call *call) {
	const char *arguments[2];
	bool as_json = false;
	const struct command_option options[] = {{.name = "json", .flag = &as_json}, {0}};
	if (parse_client(call, options, arguments) != COMMAND_DONE)
		return COMMAND_USAGE;
	return query_print(call, "select forgotten, kept from stint.reset_client($1, $2)", 2, arguments, as_json);
}

static int show_run(struct command_call *call) {
	const char *arguments[2];
	bool as_json = false;
	const struct command_option options[] = {{.name = "json", .flag = &as_json}, {0}};
	if (parse_client(call, options, arguments) != COMMAND_DONE)
		return COMMAND_USAGE;
	return show_client(call, as_json);
}

/* until: when what holds now ends, the block of one that is blocked. $2: QUERY_TIME_FORMAT. */
static const char list_sql[] =
	"select policy, client_id, blocked, max_requests,"
	" to_char(case when blocked then blocked_until else limited_until end at time zone 'UTC', $2) as until,"
	" to_char(changed_at at time zone 'UTC', $2) as changed_at, changed_by, note"
	" from stint.client_limit where $1::text is null or policy = $1 order by policy, client_id";

static int list_run(struct command_call *call) {
	bool as_json = false;
	const char *policy = NULL;
	const struct command_option options[] = {{.name = "json", .flag = &as_json}, {0}};
	int code = command_parse(call, options, &policy, 0, 1);
	if (code == COMMAND_DONE && policy)
		code = command_check_policy(call, policy);
	if (code != COMMAND_DONE)
		return code;
	const char *const params[] = {policy, QUERY_TIME_FORMAT};
	return query_print(call, list_sql, 2, params, as_json);
}

#define OPERATOR "stint_operator"

const struct command client_commands[] = {
	{"block", "POLICY CLIENT [--for DURATION] [--note TEXT]", "admit nothing of a client", block_help, NULL,
     block_run, OPERATOR},
	{"limit", "POLICY CLIENT --max-requests N [--for DURATION] [--note TEXT]", "give a client a limit of its own",
     limit_help, NULL, limit_run, OPERATOR},
	{"show", "POLICY CLIENT [--json]", "show why a client is denied, or what it has left", show_help, NULL,
     show_run, "stint_auditor"},
	{"list", "[POLICY] [--json]", "show all exceptions, or one policy's", NULL, NULL, list_run, "stint_auditor"},
	{"unblock", "POLICY CLIENT", "end a client's block; a limit of its own holds again", NULL, NULL, unblock_run,
     OPERATOR},
	{"clear", "POLICY CLIENT", "end a client's block, and a limit of its own", NULL, NULL, clear_run, OPERATOR},
	{"reset", "POLICY CLIENT [--json]", "forget what was counted for a client", reset_help, NULL, reset_run,
     OPERATOR},
	{0},
};
