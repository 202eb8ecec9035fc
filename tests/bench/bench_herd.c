/*
 * bench_herd.c - two hundred agents of one PostgreSQL, on this one machine: 10,000 overrides are set in one
 * statement, and all agents restart within a second. How long until the change is in force on all hosts, and until
 * all are in step? Then an operator's transaction holds up all changes of policies while apps on all hosts declare
 * one: how long do checks wait meanwhile that have nothing to do with it?
 *
 * In a fleet each agent has a machine of its own, and here all share one with the database. So the time of
 * processors that agents took, and that the server took, is told beside: the server's alone is what a fleet has to
 * wait for, once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "direct.h"
#include "figure.h"
#include "herd.h"
#include "histogram.h"
#include "quick.h"
#include "server_cost.h"
#include "stint.h"

#define ROW             14
#define FEW             40u /* agents, to see that it works */
#define OVERRIDES       10000
#define ROUNDS          3
#define SETTLE_MS       3000
#define IN_FORCE_MS     30000
#define LOOK_EACH_MS    2
#define RESTART_MS      1000 /* within which all are told to */
#define IN_STEP_MS      60000
#define IN_FORCE_GOAL   2000
#define IN_STEP_GOAL    5000
#define SESSIONS_END_MS 500
#define PROBE_MS        10000
#define PROBE_EACH_MS   5

/* One app on each host. */
struct app {
	struct stint *stint;
	struct stint_limiter *limiter, *declares;
	bool pending, done;
};

struct cost {
	double server_ms, agents_ms;
};

struct play {
	struct herd herd;
	struct app apps[HERD_MAX];
	char watched[32];
};

static double median(double of[static ROUNDS]) {
	double a = of[0], b = of[1], c = of[2];

	return a > b ? (b > c ? b : a > c ? c : a) : (a > c ? a : b > c ? c : b);
}

static double ms_since(uint64_t ns) {
	return (double)(monotonic_ns() - ns) / 1e6;
}

static struct cost look(struct play *p) {
	return (struct cost){server_cost_look(&p->herd.cluster).cpu_ms, herd_cpu_ms(&p->herd)};
}

static int start_apps(struct play *p) {
	const struct stint_options limit = {.policy = "api", .max_requests = 1000000, .time_window_ms = 60000};

	for (uint32_t i = 0; i < p->herd.count; i++)
		if (stint_open(&p->apps[i].stint, p->herd.hosts[i].socket) != 0 ||
		    stint_limiter_new(&p->apps[i].limiter, p->apps[i].stint, &limit) != 0) {
			fprintf(stderr, "bench_herd: %s\n", stint_error_detail());
			return -1;
		}
	return 0;
}

static void stop_apps(struct play *p) {
	for (uint32_t i = 0; i < p->herd.count; i++) {
		stint_limiter_free(p->apps[i].declares);
		stint_limiter_free(p->apps[i].limiter);
		stint_close(p->apps[i].stint);
	}
}

/* ---- Overrides ------------------------------------------------------------------------------------------- */

static int check_all(struct play *p) {
	struct stint_result result;

	for (uint32_t i = 0; i < p->herd.count; i++)
		if (stint_check(p->apps[i].limiter, p->watched, 1, &result) != 0 || !result.allowed) {
			fprintf(stderr, "bench_herd: a check fails on host %u\n", i);
			return -1;
		}
	return 0;
}

static void see(struct app *app, int status, const struct stint_result *result) {
	app->pending = false;
	app->done = status == 0 && result->reason == STINT_BLOCKED;
}

static void on_checked(int status, const struct stint_result *result, void *context) {
	see(context, status, result);
}

/* Whether this host knows by now that the client is blocked. */
static bool is_in_force(struct play *p, struct app *app) {
	struct stint_result result;
	int status;

	stint_dispatch(app->stint);
	if (app->done || app->pending)
		return app->done;
	app->pending = true;
	status = stint_check_async(app->limiter, p->watched, 1, &result, on_checked, app);
	if (status != 0)
		see(app, status == 1 ? 0 : status, &result);
	return app->done;
}

static bool wait_in_force(struct play *p) {
	uint64_t began = monotonic_ns();
	uint32_t done;

	for (uint32_t i = 0; i < p->herd.count; i++)
		p->apps[i].done = false;
	do {
		done = 0;
		sleep_ms(LOOK_EACH_MS);
		for (uint32_t i = 0; i < p->herd.count; i++)
			done += is_in_force(p, &p->apps[i]);
	} while (done < p->herd.count && ms_since(began) < IN_FORCE_MS);
	if (done < p->herd.count)
		fprintf(stderr, "bench_herd: in force on %u hosts only\n", done);
	return done == p->herd.count;
}

/* The last one of them blocks the client that all hosts see. */
static int set_overrides(struct play *p, int round) {
	char sql[512];

	snprintf(sql, sizeof(sql),
	         "insert into stint.client_override (policy_id, client_id, max_requests, blocked)"
	         " select p.policy_id, case i when %d then '%s' else 'client-%d-' || i end, 500, i = %d"
	         " from generate_series(1, %d) i, stint.policy p where p.name = 'api' order by i",
	         OVERRIDES, p->watched, round, OVERRIDES, OVERRIDES);
	return cluster_do(&p->herd.cluster, sql);
}

static int measure_overrides(struct play *p) {
	double statement_ms[ROUNDS], in_force_ms[ROUNDS], server_ms[ROUNDS], agents_ms[ROUNDS];
	int lost = herd_log_count(&p->herd, "lost the database");
	char what[160], note[160];

	for (int i = 0; i < ROUNDS; i++) {
		struct cost before, after;
		uint64_t began;

		snprintf(p->watched, sizeof(p->watched), "watched-%d", i);
		if (check_all(p) != 0)
			return -1;
		sleep_ms(SETTLE_MS);
		before = look(p);
		began = monotonic_ns();
		if (set_overrides(p, i) != 0)
			return -1;
		statement_ms[i] = ms_since(began);
		began = monotonic_ns();
		if (!wait_in_force(p))
			return -1;
		in_force_ms[i] = ms_since(began);
		after = look(p);
		server_ms[i] = after.server_ms - before.server_ms;
		agents_ms[i] = after.agents_ms - before.agents_ms;
	}
	lost = herd_log_count(&p->herd, "lost the database") - lost;
	snprintf(what, sizeof(what), "%d overrides in one statement: in force on %u hosts", OVERRIDES, p->herd.count);
	snprintf(note, sizeof(note),
	         "after its commit; the statement itself: %.0f ms; CPU: server %.0f ms, agents %.0f ms",
	         median(statement_ms), median(server_ms), median(agents_ms));
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "ms",
	                            .value = median(in_force_ms),
	                            .target = FIGURE_AT_MOST,
	                            .bound = IN_FORCE_GOAL,
	                            .note = note});
	figure_put(&(struct figure){.row = ROW,
	                            .what = "… connections that were lost meanwhile",
	                            .unit = "",
	                            .value = lost,
	                            .target = FIGURE_AT_MOST,
	                            .bound = 0});
	return 0;
}

/* What as many sessions cost the server that ask it one thing, and end. */
static double measure_sessions(struct play *p) {
	double before = server_cost_look(&p->herd.cluster).cpu_ms;

	for (uint32_t i = 0; i < p->herd.count; i++) {
		struct pg *pg;

		if (direct_open(&pg, p->herd.cluster.conninfo, "select 1") == 0)
			direct_call(pg, &(struct pg_params){.count = 0});
		pg_close(pg);
	}
	sleep_ms(SESSIONS_END_MS);
	return server_cost_look(&p->herd.cluster).cpu_ms - before;
}

/* ---- Restarts ---------------------------------------------------------------------------------------------- */

static int measure_restart(struct play *p) {
	double in_step_ms[ROUNDS], server_ms[ROUNDS], agents_ms[ROUNDS];
	char what[160], note[160];

	for (int i = 0; i < ROUNDS; i++) {
		struct cost before = look(p), after;
		uint64_t began = monotonic_ns();

		herd_restart(&p->herd, RESTART_MS);
		if (!herd_wait_in_step(&p->herd, IN_STEP_MS))
			return -1;
		in_step_ms[i] = ms_since(began) - RESTART_MS;
		after = look(p);
		server_ms[i] = after.server_ms - before.server_ms;
		agents_ms[i] = after.agents_ms - before.agents_ms;
		sleep_ms(SETTLE_MS);
	}
	snprintf(what, sizeof(what), "%u agents restart within a second: all in step again", p->herd.count);
	snprintf(note, sizeof(note), "after that second; CPU: server %.0f ms, agents %.0f ms", median(server_ms),
	         median(agents_ms));
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "ms",
	                            .value = median(in_step_ms),
	                            .target = FIGURE_AT_MOST,
	                            .bound = IN_STEP_GOAL,
	                            .note = note});
	figure_put(&(struct figure){.row = ROW,
	                            .what = "… the server's CPU for each",
	                            .unit = "ms",
	                            .value = median(server_ms) / p->herd.count,
	                            .against = "a session that asks for nothing",
	                            .base = measure_sessions(p) / p->herd.count});
	return 0;
}

/* ---- Declarations ------------------------------------------------------------------------------------------ */

static void on_declared(int status, const struct stint_result *result, void *context) {
	(void)status, (void)result, (void)context;
}

/* Each host's app declares a policy of its own. */
static int declare_all(struct play *p) {
	for (uint32_t i = 0; i < p->herd.count; i++) {
		char name[32];
		const struct stint_options limit = {.policy = name,
		                                    .max_requests = 100,
		                                    .time_window_ms = 60000,
		                                    .timeout_ms = 60000};
		struct stint_result result;

		snprintf(name, sizeof(name), "own-%u", i);
		if (stint_limiter_new(&p->apps[i].declares, p->apps[i].stint, &limit) != 0 ||
		    stint_check_async(p->apps[i].declares, "client", 1, &result, on_declared, NULL) != 0)
			return -1;
	}
	return 0;
}

/* First checks of clients, on one host after the other. */
static int probe(struct play *p, const char *kind, struct histogram *ns) {
	uint64_t end = monotonic_ns() + (uint64_t)quick_ms(PROBE_MS) * NS_PER_MS;

	for (uint32_t i = 0; monotonic_ns() < end; i++) {
		struct stint_result result;
		char id[32];

		snprintf(id, sizeof(id), "%s-%u", kind, i);
		sleep_ms(PROBE_EACH_MS);
		uint64_t began = monotonic_ns();

		if (stint_check(p->apps[i * 7 % p->herd.count].limiter, id, 1, &result) != 0 || !result.allowed)
			return -1;
		histogram_add(ns, monotonic_ns() - began);
	}
	return 0;
}

static void put_probe(const char *what, const struct histogram *held, const struct histogram *usual,
                      unsigned per_mille) {
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "ms",
	                            .value = (double)histogram_quantile(held, per_mille) / 1e6,
	                            .against = "nothing is declared",
	                            .base = (double)histogram_quantile(usual, per_mille) / 1e6});
}

static int measure_declarations(struct play *p) {
	static struct histogram usual_ns, held_ns;
	int status = probe(p, "usual", &usual_ns);

	if (status == 0)
		status = cluster_do(&p->herd.cluster, "begin; select from stint.change_queue for update");
	if (status == 0)
		status = declare_all(p);
	if (status == 0)
		status = probe(p, "held", &held_ns);
	cluster_do(&p->herd.cluster, "rollback");
	put_probe("declarations wait for an operator on all hosts: a first check of a client, p50", &held_ns,
	          &usual_ns, 500);
	put_probe("… p90", &held_ns, &usual_ns, 900);
	put_probe("… p99", &held_ns, &usual_ns, 990);
	return status;
}

static int play(const struct scene *scene) {
	static struct play p;
	int status = herd_start(&p.herd, scene, quick_ms(1000) < 1000 ? FEW : HERD_MAX);

	if (status == 0)
		status = measure_restart(&p);
	if (status == 0)
		status = start_apps(&p);
	if (status == 0)
		status = measure_overrides(&p);
	if (status == 0)
		status = measure_declarations(&p);
	stop_apps(&p);
	herd_stop(&p.herd);
	return status != 0;
}

int main(void) {
	return scene_run(play, 300);
}
