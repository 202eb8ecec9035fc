/*
 * cmd_doctor.c - `stint doctor`: see doctor.h.
 */
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "doctor.h"
#include "output.h"

const char doctor_help[] =
	"Looks at this host (the socket and who may use it, the agent, shared memory, which processes\n"
	"have the library, of which version, and whether it was replaced since) and at the database\n"
	"(schema, owners, rights, roles, hosts, clocks, old snapshots, settings, a pooler, its mode,\n"
	"and whether the agent's configuration says so). One line each: ok, warning or error, and\n"
	"what to do. Changes nothing. What the database shows to everybody is less than what it shows\n"
	"to a superuser, or to a member of pg_monitor and stint_auditor; other users' processes are\n"
	"seen by a superuser of the host.\n"
	"\n"
	"  --json   as a JSON array\n"
	"\n"
	"The exit code is 1 if there is an error, else 0, whatever warnings there are.\n";

static void print_finding(const json_t *finding) {
	const char *remedy = json_string_value(json_object_get(finding, "remedy"));
	char *found = output_printable(json_string_value(json_object_get(finding, "found")));
	printf("%-9s%-19s%s%s%s\n", json_string_value(json_object_get(finding, "state")),
	       json_string_value(json_object_get(finding, "what")), found ? found : "", remedy ? "; " : "",
	       remedy ? remedy : "");
	free(found);
}

int doctor_run(struct command_call *call) {
	bool as_json = false;
	const struct command_option options[] = {{.name = "json", .flag = &as_json}, {0}};
	if (command_parse(call, options, NULL, 0, 0) != COMMAND_DONE)
		return COMMAND_USAGE;
	struct doctor doctor = {.call = call, .findings = json_array()};
	doctor_look_at_host(&doctor);
	doctor_look_at_libraries(&doctor);
	doctor_look_at_database(&doctor);
	for (size_t i = 0; i < json_array_size(doctor.findings) && !as_json; i++)
		print_finding(json_array_get(doctor.findings, i));
	if (as_json)
		output_json(json_incref(doctor.findings), stdout);
	json_decref(doctor.findings);
	json_decref(doctor.status);
	return doctor.errors > 0 ? COMMAND_NO : COMMAND_DONE;
}
