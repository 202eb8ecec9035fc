/*
 * cmd_status.c - `stint status`: what this host's agent says of itself. The JSON
 * is the agent's own. The tables show the fields that this program knows and skip
 * others, so that agent and command may be of different versions.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent_status.h"
#include "command.h"
#include "counters.h"
#include "fields.h"
#include "output.h"
#include "summary.h"
#include "terms.h"

const char status_help[] =
	"Shows how the agent stands with its database, its table, its counters and the policies\n"
	"that it knows.\n"
	"\n"
	"  --json   everything, as the agent reports it\n"
	"\n"
	"The exit code is 4 while the agent can't use its database, 3 when there is no agent.\n";

static void print_table(const json_t *table) {
	char text[200], bytes[OUTPUT_TEXT_SIZE];
	snprintf(text, sizeof(text),
	         "%" PRId64 " of %" PRId64 " clients, %s, %" PRId64 " evicted, %" PRId64 " without room",
	         fields_number(table, "clients"), fields_number(table, "capacity"),
	         output_bytes(bytes, fields_number(table, "bytes")), fields_number(table, "evictions"),
	         fields_number(table, "overflow"));
	summary_print_field(stdout, "table", text);
}

/* NULL: of a newer agent. */
static const char *meaning_of(const char *counter) {
#define MEANING(name, number, meaning)                                                                            \
	if (strcmp(counter, #name) == 0)                                                                              \
		return meaning;
	COUNTERS(MEANING, , )
#undef MEANING
	return NULL;
}

static int print_counters(json_t *counters) {
	struct output_table table;
	const char *name;
	json_t *value;
	output_table_start(&table, 3, (const char *[]){"counter", "value", "since the agent has started"});
	json_object_foreach(counters, name, value) {
		output_table_add(&table, name);
		output_table_add_number(&table, json_integer_value(value));
		output_table_add(&table, meaning_of(name));
	}
	putchar('\n');
	return output_table_end(&table, stdout);
}

static int print_policies(json_t *policies) {
	static const char *const names[] = {"name", "max_requests", TERMS, "pinned"};
	static const char *const headings[] = {
		"policy",    "max_requests", "window_ms", "fallback_max", "fallback_window_ms",
		"algorithm", "resolution",   "mode",      "shadow",       "pinned",
	};
	putchar('\n');
	return output_objects(policies, sizeof(names) / sizeof(*names), names, headings, stdout);
}

static int print_status(const json_t *status) {
	summary_print_agent(stdout, status);
	print_table(json_object_get(status, "table"));
	if (print_counters(json_object_get(status, "counters")) != 0)
		return COMMAND_FAILED;
	json_t *policies = json_object_get(status, "policies");
	return json_array_size(policies) == 0 || print_policies(policies) == 0 ? COMMAND_DONE : COMMAND_FAILED;
}

/* Whether the agent can't use its database. It can when it is in step, charges what a fallback has admitted, or
 * has no database (memory). A state that this program doesn't know isn't called trouble. */
static bool is_out_of_reach(const json_t *status) {
	const char *state = fields_text(json_object_get(status, "database"), "state");
	return strcmp(state, "fallback") == 0 || strcmp(state, "connecting") == 0;
}

int status_run(struct command_call *call) {
	bool as_json = false;
	char why[256];
	const struct command_option options[] = {{.name = "json", .flag = &as_json}, {0}};
	if (command_parse(call, options, NULL, 0, 0) != COMMAND_DONE)
		return COMMAND_USAGE;
	json_t *status = agent_status_fetch(call->settings->socket_path, why, sizeof(why));
	if (!status) {
		const char *path = agent_status_socket(call->settings->socket_path);
		command_error(call, "the agent at %s is out of reach: %s", path, why);
		return COMMAND_NO_AGENT;
	}
	int code = as_json ? (output_json(json_incref(status), stdout) == 0 ? COMMAND_DONE : COMMAND_FAILED)
	                   : print_status(status);
	if (code == COMMAND_FAILED)
		command_error(call, "out of memory, or the output can't be written");
	else if (is_out_of_reach(status))
		code = COMMAND_NO_DATABASE;
	json_decref(status);
	return code;
}
