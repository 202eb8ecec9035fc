/*
 * summary.c - see summary.h. Shows the fields that this program knows and skips others, so that agent and command
 * may be of different versions.
 */
#include "summary.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "output.h"

void summary_print_field(FILE *to, const char *name, const char *value) {
	char *printable = output_printable(value);
	if (printable && *printable != '\0')
		fprintf(to, "%-10s%s\n", name, printable);
	free(printable);
}

static void print_agent(FILE *to, const json_t *status) {
	char text[600], uptime[OUTPUT_TEXT_SIZE];
	output_duration(uptime, fields_number(status, "uptime_ms"));
	snprintf(text, sizeof(text), "%s on host %s, process %" PRId64 ", up %s, apps connected: %" PRId64,
	         fields_text(status, "version"), fields_text(status, "host"), fields_number(status, "pid"), uptime,
	         fields_number(status, "apps"));
	summary_print_field(to, "agent", text);
}

/* After a failover, say: the error above it is of the time before. */
static void print_hold(FILE *to, int64_t held_ms) {
	char text[200], wait[OUTPUT_TEXT_SIZE];
	output_duration(wait, held_ms);
	snprintf(text, sizeof(text), "%s more, until leases of the server before have ended on all hosts", wait);
	if (held_ms > 0)
		summary_print_field(to, "waits", text);
}

static void print_database(FILE *to, const json_t *database) {
	char text[600], since[OUTPUT_TEXT_SIZE], round_trip[OUTPUT_TEXT_SIZE] = "-";
	int64_t rtt_us = fields_number(database, "rtt_us");
	if (strcmp(fields_text(database, "kind"), "memory") == 0) {
		summary_print_field(to, "database", "memory: none, this host counts for itself");
		return;
	}
	output_duration(since, fields_number(database, "since_ms"));
	if (rtt_us > 0) /* else nothing has been asked yet */
		snprintf(round_trip, sizeof(round_trip), "%.1f ms", (double)rtt_us / 1000);
	snprintf(text, sizeof(text),
	         "%s, %s for %s, %" PRId64 " live hosts, round trip %s, %" PRId64 " fallbacks so far",
	         fields_text(database, "kind"), fields_text(database, "state"), since,
	         fields_number(database, "live_hosts"), round_trip, fields_number(database, "fallbacks"));
	summary_print_field(to, "database", text);
	/* An error that is over isn't shown: the log has it. */
	if (strcmp(fields_text(database, "state"), "in step") != 0)
		summary_print_field(to, "error", fields_text(database, "last_error"));
	print_hold(to, fields_number(database, "held_ms"));
}

void summary_print_agent(FILE *to, const json_t *status) {
	print_agent(to, status);
	print_database(to, json_object_get(status, "database"));
}
