/*
 * cmd_top.c - `stint top`: what this host decides now, and which clients use most, again and again.
 *
 * A view is a JSON object, which --json prints and top_view.c writes as text. Agent and database are asked each
 * time anew: while one is away, the view has its error in its place.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent_status.h"
#include "command.h"
#include "fields.h"
#include "monotonic.h"
#include "output.h"
#include "screen.h"
#include "top_database.h"
#include "top_rates.h"
#include "top_view.h"

#define INTERVAL_MAX_S 3600
#define ROWS_MAX       1000

const char top_help[] =
	"Shows how this host's agent stands with its database, how many checks its apps decide in a\n"
	"second, by policy, outcome and who decided, and which clients use most, by the database.\n"
	"On a terminal it draws that anew every few seconds, until q or Ctrl-C; elsewhere it is as\n"
	"with --once. While the agent or the database is away, its part says so, and the rest goes on.\n"
	"\n"
	"  --interval N   seconds from one view to the next, 1 to 3600 (default 2)\n"
	"  --rows N       at most so many policies, and so many clients, 1 to 1000 (default 50)\n"
	"  --once         one view, after one interval, and no more\n"
	"  --json         each view as a JSON object, in a line of its own; its keys are in stint(1)\n"
	"\n"
	"Rates are what has been counted between two views, by the time between them; \"-\" where that\n"
	"can't be told: at first, and after the agent was started anew. Clients are asked for with the\n"
	"role stint_auditor; the longer that takes, the more seldom it is done.\n"
	"\n"
	"The exit code is 3 if neither the agent nor the database can be asked at first.\n";

struct top {
	const struct command_call *call;
	int64_t interval_s, rows;
	bool once, json;
	struct top_scrape scrape; /* the last one; none, if the agent was away */
	struct top_database database;
	json_t *view;
};

/* ---- A view ------------------------------------------------------------------------------- */

/* Returns the agent's status, and its scrape; NULL: it is away, and why. */
static json_t *ask_agent(const struct top *top, struct top_scrape *scrape, char *why, size_t why_size) {
	const char *socket_path = top->call->settings->socket_path;
	size_t size;
	int64_t began_ns = monotonic_now_ns();
	char *text = agent_metrics_fetch(socket_path, &size, why, why_size);
	int64_t ended_ns = monotonic_now_ns();
	json_t *status = text ? agent_status_fetch(socket_path, why, why_size) : NULL;
	if (status && top_scrape_read(scrape, text, size) == 0) {
		scrape->at_ns = began_ns + (ended_ns - began_ns) / 2;
		snprintf(scrape->agent, sizeof(scrape->agent), "%s", fields_text(status, "instance"));
	} else if (status) {
		snprintf(why, why_size, "out of memory");
		json_decref(status);
		status = NULL;
	}
	free(text);
	return status;
}

/* Where it is away, what it said before is no base for rates any more. */
static void add_agent(struct top *top, json_t *view) {
	char why[256] = "", error[600];
	struct top_scrape scrape = {0};
	json_t *status = ask_agent(top, &scrape, why, sizeof(why));
	double seconds = top_seconds(&top->scrape, &scrape);
	snprintf(error, sizeof(error), "the agent at %.200s is out of reach: %s",
	         agent_status_socket(top->call->settings->socket_path), why);
	json_object_set_new(view, "seconds", seconds > 0 ? json_real(seconds) : json_null());
	json_object_set_new(view, "decisions_per_second", status ? top_rates(&top->scrape, &scrape) : json_null());
	json_object_set_new(view, "agent_error", status ? json_null() : json_string(error));
	json_object_del(status, "counters");
	json_object_del(status, "policies");
	json_object_set_new(view, "agent", status ? status : json_null());
	top_scrape_free(&top->scrape);
	top->scrape = scrape;
}

/* An agent that counts in memory has no database, unless one is named all the same. */
static bool has_database(const struct top *top, const json_t *view) {
	const json_t *database = json_object_get(json_object_get(view, "agent"), "database");
	const char *named = top->database.conninfo;
	return named ? strcmp(named, "memory:") != 0 : strcmp(fields_text(database, "kind"), "memory") != 0;
}

static void add_database(struct top *top, json_t *view) {
	struct top_database *database = &top->database;
	bool asked = has_database(top, view);
	if (asked)
		top_database_ask(database, top->rows);
	bool said = asked && database->said;
	json_object_set_new(view, "database_error", asked && !said ? json_string(database->error) : json_null());
	json_object_set_new(view, "database_age_ms",
	                    said ? json_integer(monotonic_now_ms() - database->said_ms) : json_null());
	json_object_set(view, "hosts", said ? json_object_get(database->said, "hosts") : json_null());
	json_object_set(view, "clients", said ? json_object_get(database->said, "clients") : json_null());
}

static void cut_rates(const struct top *top, json_t *view) {
	json_t *rates = json_object_get(view, "decisions_per_second");
	while ((int64_t)json_array_size(rates) > top->rows)
		json_array_remove(rates, json_array_size(rates) - 1);
}

static json_t *wall_clock(void) {
	char text[32], time[40];
	struct timespec now;
	struct tm parts;
	clock_gettime(CLOCK_REALTIME, &now);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &parts));
	snprintf(time, sizeof(time), "%s.%03dZ", text, (int)(now.tv_nsec / NS_PER_MS));
	return json_string(time);
}

static void look(struct top *top) {
	json_t *view = json_object();
	json_object_set_new(view, "at", wall_clock());
	add_agent(top, view);
	add_database(top, view);
	cut_rates(top, view);
	json_decref(top->view);
	top->view = view;
}

/* ---- Shown ----------------------------------------------------------------------------------- */

static int fail(const struct top *top) {
	command_error(top->call, "out of memory, or the output can't be written");
	return COMMAND_FAILED;
}

/* At first: it may have been started with the wrong names. Later they may both be away for a while. */
static int report_nothing(const struct top *top) {
	const char *agent = fields_text(top->view, "agent_error"),
			   *database = fields_text(top->view, "database_error");
	command_error(top->call, "%s", agent);
	if (*database != '\0')
		command_error(top->call, "the database: %s", database);
	return COMMAND_NO_AGENT;
}

static int draw(const struct top *top) {
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);
	int error = to ? top_view_print(to, top->view, screen_lines()) : -1;
	if (to && fclose(to) != 0)
		error = -1;
	if (error == 0)
		error = screen_draw(text);
	free(text);
	return error;
}

static int run_live(struct top *top) {
	enum screen_event event = SCREEN_RESIZED;
	if (screen_open() != 0)
		return fail(top);
	for (int64_t next_ms = monotonic_now_ms() + top->interval_s * 1000; event != SCREEN_QUIT;) {
		if (draw(top) != 0)
			break;
		event = screen_wait(next_ms);
		if (event == SCREEN_TIME) {
			next_ms = monotonic_now_ms() + top->interval_s * 1000;
			look(top);
		}
	}
	screen_close();
	return event == SCREEN_QUIT ? COMMAND_DONE : fail(top);
}

static int print_line(const json_t *view) {
	int error = json_dumpf(view, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
	putchar('\n');
	return fflush(stdout) != 0 ? -1 : error;
}

static void sleep_until(int64_t until_ms) {
	const struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * NS_PER_MS};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

/* Without an agent there is nothing to wait for: one view has no rates then. */
static int run_lines(struct top *top) {
	int error;
	do {
		if (!top->once || json_is_object(json_object_get(top->view, "agent"))) {
			sleep_until(monotonic_now_ms() + top->interval_s * 1000);
			look(top);
		}
		error = top->json ? print_line(top->view) : top_view_print(stdout, top->view, 0);
	} while (!top->once && error == 0);
	return error != 0 && !ferror(stdout) ? fail(top) : COMMAND_DONE; /* main.c tells of the output */
}

static void close_all(struct top *top) {
	top_database_close(&top->database);
	top_scrape_free(&top->scrape);
	json_decref(top->view);
}

int top_run(struct command_call *call) {
	struct top top = {.call = call, .interval_s = 2, .rows = 50};
	const struct command_option options[] = {
		{.name = "interval", .number = &top.interval_s, .min = 1, .max = INTERVAL_MAX_S},
		{.name = "json", .flag = &top.json},
		{.name = "once", .flag = &top.once},
		{.name = "rows", .number = &top.rows, .min = 1, .max = ROWS_MAX},
		{0},
	};
	if (command_parse(call, options, NULL, 0, 0) != COMMAND_DONE)
		return COMMAND_USAGE;
	bool live = !top.json && !top.once && screen_is_possible();
	top.once |= !live && !top.json;
	top.database.conninfo = command_conninfo(call);
	look(&top);
	bool nothing =
		json_is_null(json_object_get(top.view, "agent")) && json_is_null(json_object_get(top.view, "clients"));
	int code = nothing ? report_nothing(&top) : live ? run_live(&top) : run_lines(&top);
	close_all(&top);
	return code;
}
