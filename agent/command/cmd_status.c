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
#include "output.h"

const char status_help[] =
	"Shows how the agent stands with its database, its table, its counters and the policies\n"
	"that it knows.\n"
	"\n"
	"  --json   everything, as the agent reports it\n"
	"\n"
	"The exit code is 4 while the agent can't use its database, 3 when there is no agent.\n";

static int64_t number_of(const json_t *object, const char *key) {
	return json_integer_value(json_object_get(object, key)); /* 0 where there is none */
}

static const char *text_of(const json_t *object, const char *key) {
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

static void print_field(const char *name, const char *value) {
	char *printable = output_printable(value);
	if (printable && *printable != '\0')
		printf("%-10s%s\n", name, printable);
	free(printable);
}

static void print_agent(const json_t *status) {
	char text[600], uptime[OUTPUT_TEXT_SIZE];
	output_duration(uptime, number_of(status, "uptime_ms"));
	snprintf(text, sizeof(text), "%s on host %s, process %" PRId64 ", up %s, apps connected: %" PRId64,
	         text_of(status, "version"), text_of(status, "host"), number_of(status, "pid"), uptime,
	         number_of(status, "apps"));
	print_field("agent", text);
}

/* After a failover, say: the error above it is of the time before. */
static void print_hold(int64_t held_ms) {
	char text[200], wait[OUTPUT_TEXT_SIZE];
	output_duration(wait, held_ms);
	snprintf(text, sizeof(text), "%s more, until leases of the server before have ended on all hosts", wait);
	if (held_ms > 0)
		print_field("waits", text);
}

static void print_database(const json_t *database) {
	char text[600], since[OUTPUT_TEXT_SIZE], round_trip[OUTPUT_TEXT_SIZE] = "-";
	int64_t rtt_us = number_of(database, "rtt_us");
	if (strcmp(text_of(database, "kind"), "memory") == 0) {
		print_field("database", "memory: none, this host counts for itself");
		return;
	}
	output_duration(since, number_of(database, "since_ms"));
	if (rtt_us > 0) /* else nothing has been asked yet */
		snprintf(round_trip, sizeof(round_trip), "%.1f ms", (double)rtt_us / 1000);
	snprintf(text, sizeof(text),
	         "%s, %s for %s, %" PRId64 " live hosts, round trip %s, %" PRId64 " fallbacks so far",
	         text_of(database, "kind"), text_of(database, "state"), since, number_of(database, "live_hosts"),
	         round_trip, number_of(database, "fallbacks"));
	print_field("database", text);
	/* An error that is over isn't shown: the log has it. */
	if (strcmp(text_of(database, "state"), "in step") != 0)
		print_field("error", text_of(database, "last_error"));
	print_hold(number_of(database, "held_ms"));
}

static void print_table(const json_t *table) {
	char text[200], bytes[OUTPUT_TEXT_SIZE];
	snprintf(text, sizeof(text),
	         "%" PRId64 " of %" PRId64 " clients, %s, %" PRId64 " evicted, %" PRId64 " without room",
	         number_of(table, "clients"), number_of(table, "capacity"),
	         output_bytes(bytes, number_of(table, "bytes")), number_of(table, "evictions"),
	         number_of(table, "overflow"));
	print_field("table", text);
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
	static const char *const names[] = {
		"name",
		"max_requests",
		"time_window_ms",
		"fallback_max_requests",
		"fallback_time_window_ms",
		"algorithm",
		"resolution",
		"mode",
		"shadow",
		"pinned",
	};
	static const char *const headings[] = {
		"policy",    "max_requests", "window_ms", "fallback_max", "fallback_window_ms",
		"algorithm", "resolution",   "mode",      "shadow",       "pinned",
	};
	putchar('\n');
	return output_objects(policies, sizeof(names) / sizeof(*names), names, headings, stdout);
}

static int print_status(const json_t *status) {
	print_agent(status);
	print_database(json_object_get(status, "database"));
	print_table(json_object_get(status, "table"));
	if (print_counters(json_object_get(status, "counters")) != 0)
		return COMMAND_FAILED;
	json_t *policies = json_object_get(status, "policies");
	return json_array_size(policies) == 0 || print_policies(policies) == 0 ? COMMAND_DONE : COMMAND_FAILED;
}

/* Whether the agent can't use its database. It can when it is in step, charges what a fallback has admitted, or
 * has no database (memory). A state that this program doesn't know isn't called trouble. */
static bool is_out_of_reach(const json_t *status) {
	const char *state = text_of(json_object_get(status, "database"), "state");
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
