/*
 * demo.c - one limit, kept together by eight processes on two hosts, seen live; then
 * the database dies, and returns.
 *
 * The hosts are two agents with a table each, on this machine. What the apps were
 * allowed is judged at the end from their own journals, over every interval.
 *
 * Exits 0 when the promise was kept, 1 when it was broken or the demo could not run.
 */
#include <stdio.h>
#include <string.h>

#include "process.h"
#include "stage.h"
#include "stint.h"
#include "verdict.h"
#include "view.h"

#define APPS_PER_HOST  4u
#define LIMIT          100
#define WINDOW_MS      2000
#define FALLBACK_LIMIT 150

/* When things happen, in ms since the apps began. */
#define KILL_AT_MS   16000
#define RETURN_AT_MS 24000
#define END_AT_MS    38000
#define FRAME_MS     200

static const char *const host_names[VIEW_HOSTS] = {"berlin", "tokyo"};
static const uint32_t host_rates[VIEW_HOSTS] = {360, 140}; /* checks a second of each app */

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_POLICY("api", LIMIT, FALLBACK_LIMIT, WINDOW_MS, 1), .clients = VIEW_CLIENTS, .skew = 2.5,
                .share = 1}},
	.names = {"alice", "bob", "carol", "dave", "eve"},
	.seed = 2024,
	.timeout_ms = 1000,
	.capacity = 50000,
};

/* What the verdict needs to know of the run. */
struct run {
	uint64_t killed_ns, returned_ns;
	bool in_step; /* all hosts, at the end */
};

static void print_header(const struct view *view) {
	printf("\n  %sstint: one limit per client, kept together by every process of every host%s\n\n"
	       "  PostgreSQL   one, private to this demo: it knows what each client has used\n"
	       "  hosts        berlin and tokyo: on each an agent (stintd) that leases credits from PostgreSQL\n"
	       "               and keeps them in shared memory\n"
	       "  apps         %u processes on each host; most checks are one compare-and-swap in that memory\n"
	       "  the limit    a client gets at most %d requests in any %d s, both hosts together\n"
	       "  no database  each host alone then admits at most %d per client and %d s; when PostgreSQL is\n"
	       "               back, that is charged, and the limit holds again\n\n",
	       view_bold(view), view_plain(view), APPS_PER_HOST, LIMIT, WINDOW_MS / 1000, FALLBACK_LIMIT,
	       WINDOW_MS / 1000);
	fflush(stdout);
}

static int set_up(struct stage *stage, const struct scene *scene) {
	memset(stage, 0, sizeof(*stage));
	stage->scene = stage->crowd.scene = scene;
	stage->host_count = VIEW_HOSTS;
	if (cluster_start(&stage->cluster, scene) != 0 || cluster_install(&stage->cluster) != 0)
		return -1;
	for (uint32_t h = 0; h < VIEW_HOSTS; h++) {
		const struct host_options options = {.name = host_names[h], .database = stage->cluster.agent};

		if (host_prepare(&stage->host[h], scene, h, &options) != 0 || host_start(&stage->host[h]) != 0 ||
		    !host_wait_in_step(&stage->host[h], 10000))
			return -1;
		for (uint32_t i = 0; i < APPS_PER_HOST; i++)
			if (crowd_add(&stage->crowd, &stage->host[h], &plan, host_rates[h]) != 0)
				return -1;
	}
	return crowd_start(&stage->crowd);
}

static void show_until(struct view *view, int64_t at_ms) {
	uint64_t next = monotonic_ns();

	while (stage_ms_since(view->began_ns) < at_ms) {
		view_show(view);
		next += FRAME_MS * NS_PER_MS;
		sleep_until_ns(next);
	}
}

static int run_story(struct stage *stage, struct view *view, struct run *run) {
	view->story = "Both hosts lease from PostgreSQL; together they stop at the limit.";
	view_tell(view, "the apps begin; alice asks for far more than her limit, eve for less");
	show_until(view, KILL_AT_MS);

	run->killed_ns = monotonic_ns();
	if (cluster_kill(&stage->cluster) != 0)
		return -1;
	view->database_up = false;
	view->story = "Each host is on its own, and holds each client to its lenient limit.";
	view_tell(view, "PostgreSQL is killed (SIGKILL)");
	show_until(view, RETURN_AT_MS);

	if (cluster_again(&stage->cluster) != 0)
		return -1;
	run->returned_ns = monotonic_ns();
	view->database_up = true;
	view->story = "PostgreSQL knows what was admitted meanwhile; the limit holds again.";
	view_tell(view, "PostgreSQL is started again");
	show_until(view, END_AT_MS);
	view_end(view);
	run->in_step = host_wait_in_step(&stage->host[0], 1000) && host_wait_in_step(&stage->host[1], 1000);
	return crowd_missing(&stage->crowd) == 0 ? 0 : -1;
}

/* ---- Afterwards --------------------------------------------------------------- */

static void print_view(const struct stage *stage, const char *what, const char *sql) {
	char program[256] = "";
	const char *find[] = {"tests/support/pg-cluster", "bindir", NULL};
	const char *ask[] = {program, "-X", "-P", "footer=off", "-P", "pager=off", "-c", sql, stage->cluster.conninfo,
	                     NULL};
	char text[8192];

	if (process_run(find, 5000, program, sizeof(program) - 8, NULL) != 0)
		return;
	program[strcspn(program, "\n")] = '\0';
	strcat(program, "/psql"); /* there is room: see above */
	printf("  %s\n  stint=> %s\n", what, sql);
	if (process_run(ask, 10000, text, sizeof(text), NULL) == 0)
		printf("%s\n", text);
	fflush(stdout);
}

static void print_audit(const struct stage *stage) {
	printf("  What PostgreSQL can tell, by SQL:\n\n");
	print_view(
		stage, "who uses how much of which limit",
		"select policy, client_id, used, max_requests, remaining, resets_at from stint.usage order by client_id");
	print_view(stage, "who is being limited now",
	           "select policy, client_id, used, max_requests, resets_at from stint.limited");
	print_view(stage, "who uses most", "select * from stint.top_client");
	print_view(stage, "the hosts",
	           "select name, state, version, clients, seen_ago, fallback_since from stint.host");
	print_view(stage, "when each host was on its own",
	           "select host, began_at, lasted, admitted, clients from stint.fallback_period");
}

static int print_verdict(struct stage *stage, const struct view *view, const struct run *run) {
	struct oracle oracle = {0};
	struct verdict verdict = {.killed_ns = run->killed_ns,
	                          .returned_ns = run->returned_ns,
	                          .by = "the apps' own journals"};
	struct crowd_total total;
	char text[128];

	crowd_sum(&stage->crowd, &total);
	if (crowd_read(&stage->crowd, &oracle) != 0)
		return 1;
	verdict_judge(&verdict, view, &oracle);
	histogram_describe(&total.latency_ns, text, sizeof(text));
	printf("    Checks: %s.\n\n", text);
	bool kept = verdict.broken == 0 && total.errors == 0 && run->in_step;
	verdict_print_end(view, kept);
	oracle_free(&oracle);
	return kept ? 0 : 1;
}

static int play(const struct scene *scene) {
	struct stage stage = {.crowd = {0}};
	struct run run = {0};
	struct view view;
	int status;

	view_init(&view, &stage, &plan);
	print_header(&view);
	if (set_up(&stage, scene) != 0) {
		fprintf(stderr, "The demo could not be set up; STINT_KEEP=1 keeps its folder with the logs.\n");
		return 1;
	}
	view.began_ns = view.checks_ns = monotonic_ns();
	status = run_story(&stage, &view, &run);
	print_audit(&stage); /* while the apps still run, so that it shows who is limited now */
	if (crowd_stop(&stage.crowd) != 0 || status != 0) {
		fprintf(stderr, "The demo did not run to its end.\n");
		return 1;
	}
	return print_verdict(&stage, &view, &run);
}

int main(void) {
	return scene_run(play, 120);
}
