/*
 * fleet.c - simulates fleets, and tells what the lease protocol costs in each.
 *
 *     fleet [--quick | --plain] [--seed N] [--PARAMETER VALUE]... [SCENARIO]...
 *
 * --plain prints four numbers for each scenario, for other programs: rows for 1,000 checks, checks that wait in
 * percent, admissions in percent of an exact log's, and the most in a window as a part of the limit.
 *
 * Without names, all scenarios. Parameters replace those of the scenarios; what is to be reached isn't told then.
 * Fails when in any scenario some window held more admissions than the limit.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"
#include "tap.h"

#define QUICK_CHECKS 100000 /* of a scenario */

struct parameter {
	const char *name;
	enum { COUNT32, NUMBER32, NUMBER64, REAL, FLAG } kind;
	size_t offset;
	double least, most;
};

#define FIELD(field) offsetof(struct scenario, field)

static const struct parameter parameters[] = {
	{"hosts", COUNT32, FIELD(hosts), 1, FLEET_HOSTS_MAX},
	{"clients", COUNT32, FIELD(clients), 1, FLEET_CLIENTS_MAX},
	{"rate", REAL, FIELD(rate), 1e-6, 1e6},
	{"hot-rate", REAL, FIELD(hot_rate), 0, 1e6},
	{"zipf", FLAG, FIELD(by_zipf), 0, 1},
	{"sticky", FLAG, FIELD(is_sticky), 0, 1},
	{"uneven", FLAG, FIELD(is_uneven), 0, 1},
	{"limit", NUMBER32, FIELD(limit), 1, 1e9},
	{"window-ms", NUMBER64, FIELD(window_ms), 10, 1e9},
	{"resolution", NUMBER32, FIELD(resolution), 1, GRANT_RESOLUTION_MAX},
	{"rtt-us", NUMBER64, FIELD(rtt_us), 0, 1e7},
	{"processors", COUNT32, FIELD(processors), 1, 1024},
	{"warm-s", REAL, FIELD(warm_s), 0, 1e6},
	{"counted-s", REAL, FIELD(counted_s), 1, 1e6},
	{"burst", COUNT32, FIELD(burst), 1, 1e4},
	{"again-ms", NUMBER64, FIELD(again_ms), 0, BURST_MS},
	{"locked", COUNT32, FIELD(locked), 0, FLEET_CLIENTS_MAX},
};

#define PARAMETERS (sizeof(parameters) / sizeof(parameters[0]))

struct arguments {
	bool is_quick, is_plain, is_changed;
	uint64_t seed;
	double values[PARAMETERS];
	bool given[PARAMETERS];
	const char *names[64];
	size_t name_count;
};

static _Noreturn void usage(void) {
	fputs("usage: fleet [--quick | --plain] [--seed N] [--PARAMETER VALUE]... [SCENARIO]...\nparameters:", stderr);
	for (size_t i = 0; i < PARAMETERS; i++)
		fprintf(stderr, " %s", parameters[i].name);
	fputs("\nscenarios:", stderr);
	for (size_t i = 0; i < scenario_count; i++)
		fprintf(stderr, " %s", scenarios[i].name);
	fputs("\n", stderr);
	exit(2);
}

static double read_number(const char *text, double least, double most) {
	char *end;
	errno = 0;
	double value = text ? strtod(text, &end) : 0;
	if (!text || end == text || *end || errno || !(value >= least && value <= most))
		usage();
	return value;
}

static void set_parameter(struct scenario *s, const struct parameter *p, double value) {
	char *at = (char *)s + p->offset;
	switch (p->kind) {
	case COUNT32: *(uint32_t *)(void *)at = (uint32_t)value; break;
	case NUMBER32: *(int32_t *)(void *)at = (int32_t)value; break;
	case NUMBER64: *(int64_t *)(void *)at = (int64_t)value; break;
	case REAL: *(double *)(void *)at = value; break;
	case FLAG: *(bool *)at = value != 0; break;
	}
}

/* --NAME VALUE; returns where the value is. */
static int read_parameter(struct arguments *a, char **argv, int at) {
	for (size_t i = 0; i < PARAMETERS; i++) {
		if (strcmp(parameters[i].name, argv[at] + strlen("--")) != 0)
			continue;
		a->values[i] = read_number(argv[at + 1], parameters[i].least, parameters[i].most);
		a->given[i] = a->is_changed = true;
		return at + 1;
	}
	usage();
}

static void read_arguments(struct arguments *a, int argc, char **argv) {
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--quick") == 0)
			a->is_quick = true;
		else if (strcmp(argv[i], "--plain") == 0)
			a->is_plain = true;
		else if (strcmp(argv[i], "--seed") == 0)
			a->seed = (uint64_t)read_number(argv[++i], 0, 1e15);
		else if (strncmp(argv[i], "--", 2) == 0)
			i = read_parameter(a, argv, i);
		else if (scenario_find(argv[i]) && a->name_count < sizeof(a->names) / sizeof(a->names[0]))
			a->names[a->name_count++] = argv[i];
		else
			usage();
	}
	if (a->is_changed && a->name_count == 0)
		usage(); /* the same change to all would be no fleet that anybody has */
}

static bool is_wanted(const struct arguments *a, const char *name) {
	for (size_t i = 0; i < a->name_count; i++)
		if (strcmp(a->names[i], name) == 0)
			return true;
	return a->name_count == 0;
}

static void run(const struct arguments *a, struct scenario s) {
	if (a->is_changed)
		s.reach = (struct reach){0};
	for (size_t i = 0; i < PARAMETERS; i++)
		if (a->given[i])
			set_parameter(&s, &parameters[i], a->values[i]);
	if (a->is_quick)
		scenario_shorten(&s, QUICK_CHECKS);
	s.locked = s.locked < s.clients ? s.locked : s.clients - 1;
	struct fleet *f = fleet_new(&s, a->seed);
	fleet_run(f);
	if (a->is_plain)
		report_plain(f);
	else
		report_fleet(f);
	tap_ok(f->most <= (uint64_t)s.limit, "%s: %llu at most in a window, of %d", s.name,
	       (unsigned long long)f->most, s.limit);
	fleet_free(f);
}

int main(int argc, char **argv) {
	struct arguments a = {.seed = 1};
	int made, failed;
	read_arguments(&a, argc, argv);
	if (!a.is_quick)
		tap_quiet();
	if (!a.is_plain)
		report_heading();
	for (size_t i = 0; i < scenario_count; i++)
		if (is_wanted(&a, scenarios[i].name))
			run(&a, scenarios[i]);
	tap_count(&made, &failed);
	return a.is_plain ? failed > 0 : tap_finish();
}
