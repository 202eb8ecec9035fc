/*
 * cmd_metrics.c - `stint metrics`: what this host's agent tells Prometheus, for node_exporter's textfile collector
 * and for the curious. The text is the agent's own.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent_status.h"
#include "command.h"

const char metrics_help[] =
	"Prints what the agent knows in Prometheus' text format: decisions by policy, outcome and\n"
	"who decided, the state of the agent, its database, its table. The same as it serves over\n"
	"HTTP where metrics_listen is set.\n"
	"\n"
	"For node_exporter leave out process_*, which it has of itself, and write the rest to\n"
	"another name first, so that no half file is read:\n"
	"  stint metrics | grep -vE '^(# [A-Z]+ )?process_' >stint.new && mv stint.new stint.prom\n";

int metrics_run(struct command_call *call) {
	const struct command_option options[] = {{0}};
	char why[256];
	size_t size;
	if (command_parse(call, options, NULL, 0, 0) != COMMAND_DONE)
		return COMMAND_USAGE;
	const char *path = agent_status_socket(call->settings->socket_path);
	char *text = agent_metrics_fetch(call->settings->socket_path, &size, why, sizeof(why));
	if (!text) {
		command_error(call, "the agent at %s is out of reach: %s", path, why);
		return COMMAND_NO_AGENT;
	}
	fwrite(text, 1, size, stdout); /* main.c notices if that fails */
	free(text);
	return COMMAND_DONE;
}
