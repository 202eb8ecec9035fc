/*
 * bench_limit_use.c - how much of a limit is used when more is offered, unevenly: 2 hosts, 500 a second
 * allowed, 700/s offered on one host and 100/s on the other. Never more than the limit, as near to it as the
 * algorithm can, and what that costs the database.
 *
 * A fixed window can give all of the limit. A sliding one can't: any resolution + 1 of its sub-windows are
 * within the limit together, and they are longer than the window; so what it can give is known, and stands
 * beside what it gave.
 *
 * Statements are those of the agents' own count; the database's count of commits is beside it.
 */
#include <stdio.h>
#include <string.h>

#include "books.h"
#include "core/grant.h"
#include "figure.h"
#include "quick.h"
#include "stage.h"
#include "tap.h"
#include "stint.h"

#define ROW       8
#define LIMIT     500
#define WINDOW_MS 1000
#define APP_RATE  100u
#define APPS_A    7u
#define APPS_B    1u
#define OFFERED   ((APPS_A + APPS_B) * APP_RATE)
#define WARM_MS   3000
#define RUN_MS    30000
#define AIM_FIXED 470.0

struct setting {
	const char *name;
	enum stint_algorithm algorithm;
	int resolution;
};

static const struct setting settings[] = {
	{"fixed_window", STINT_FIXED_WINDOW, 1},
	{"sliding_window, resolution 5", STINT_SLIDING_WINDOW, 5},
	{"sliding_window, resolution 10", STINT_SLIDING_WINDOW, 10},
	{"sliding_window, resolution 20", STINT_SLIDING_WINDOW, 20},
	{"sliding_window, resolution 60", STINT_SLIDING_WINDOW, 60},
};

/* What agents and database have counted up to a moment. */
struct counts {
	uint64_t at_ns;
	int64_t batches, requests, granted, returned, lows, wants;
	int64_t commits; /* of all sessions, this program's too */
};

struct run {
	const struct setting *setting;
	struct counts before, after;
	struct crowd_total total_before, total;
	double seconds;
	double per_s[2]; /* admitted, by host */
	struct oracle_peak peak;
};

/* The limit is given at most once in this time. */
static uint64_t period_us(const struct setting *setting) {
	if (setting->algorithm == STINT_FIXED_WINDOW)
		return WINDOW_MS * 1000;
	return (uint64_t)((setting->resolution + 1) * grant_sub_window_us(WINDOW_MS, setting->resolution));
}

static double possible_per_s(const struct setting *setting) {
	return LIMIT * 1e6 / (double)period_us(setting);
}

/* ---- One setting ------------------------------------------------------------ */

static void count(struct stage *stage, struct counts *c) {
	*c = (struct counts){.at_ns = monotonic_ns()};
	for (uint32_t i = 0; i < stage->host_count; i++) {
		const struct host *host = &stage->host[i];

		c->batches += host_number(host, "counters", "batches");
		c->requests += host_number(host, "counters", "requests");
		c->granted += host_number(host, "counters", "granted");
		c->returned += host_number(host, "counters", "returned");
		c->lows += host_number(host, "counters", "lows");
		c->wants += host_number(host, "counters", "wants");
	}
	c->commits =
		cluster_number(&stage->cluster, "select xact_commit from pg_stat_database where datname = 'stint'", 0);
}

static struct journal_plan plan_for(const struct setting *setting) {
	struct journal_plan plan = {
		.policy_count = 1,
		.policy = {{.max_requests = LIMIT,
	                .time_window_ms = WINDOW_MS,
	                .algorithm = setting->algorithm,
	                .resolution = (uint32_t)setting->resolution,
	                .cost_min = 1,
	                .cost_max = 1,
	                .clients = 1,
	                .share = 1}},
		.seed = 8,
		.timeout_ms = 1000,
		.capacity = APP_RATE * (WARM_MS + RUN_MS + 10000) / 1000,
	};

	snprintf(plan.policy[0].name, sizeof(plan.policy[0].name), "limit_use_%d_%d", (int)setting->algorithm,
	         setting->resolution);
	return plan;
}

static int start_crowd(struct stage *stage, const struct journal_plan *plan) {
	int status = 0;

	for (uint32_t i = 0; i < APPS_A + APPS_B && status == 0; i++)
		status = crowd_add(&stage->crowd, &stage->host[i < APPS_A ? 0 : 1], plan, APP_RATE);
	if (status == 0)
		status = crowd_start(&stage->crowd);
	if (status != 0)
		fprintf(stderr, "bench_limit_use: the app processes don't start\n");
	return status;
}

/* A fixed window promises for its own windows only; a sliding one for any interval. */
static int find_peak(struct stage *stage, const struct oracle *oracle, const struct journal_plan *plan,
                     struct run *run) {
	const struct oracle_choice all = {.policy = 0, .client = 0, .host = ORACLE_ANY};
	uint64_t edge_ns, length_ns;
	struct books books;
	char id[64];
	int status;

	if (run->setting->algorithm == STINT_SLIDING_WINDOW) {
		run->peak = oracle_peak(oracle, &all, WINDOW_MS * NS_PER_MS);
		return 0;
	}
	books_init(&books);
	journal_client_id(plan, 0, id);
	status = books_look(&books, &stage->cluster) == 0 &&
	                 books_sub_window(&books, plan->policy[0].name, id, &edge_ns, &length_ns)
	             ? 0
	             : -1;
	if (status == 0)
		run->peak = oracle_peak_aligned(oracle, &all, length_ns, edge_ns, books.clock.error_ns);
	else
		fprintf(stderr, "bench_limit_use: the database has no counter of the client\n");
	books_free(&books);
	return status;
}

static int read_run(struct stage *stage, const struct journal_plan *plan, struct run *run) {
	struct oracle_choice choice = {.from_ns = run->before.at_ns, .until_ns = run->after.at_ns};
	struct oracle oracle = {0};
	int status = crowd_stop(&stage->crowd) == 0 ? crowd_read(&stage->crowd, &oracle) : -1;

	run->seconds = (double)(run->after.at_ns - run->before.at_ns) / 1e9;
	for (choice.host = 0; choice.host < 2; choice.host++)
		run->per_s[choice.host] = (double)oracle_sum(&oracle, &choice) / run->seconds;
	if (status == 0)
		status = find_peak(stage, &oracle, plan, run);
	oracle_free(&oracle);
	crowd_free(&stage->crowd);
	return status;
}

/* A whole number of periods: what is admitted comes in bursts, one in each. */
static uint64_t run_ns(const struct setting *setting) {
	uint64_t period_ns = period_us(setting) * NS_PER_US;

	return ((uint64_t)quick_ms(RUN_MS) * NS_PER_MS + period_ns - 1) / period_ns * period_ns;
}

static int measure(struct stage *stage, struct run *run) {
	struct journal_plan plan = plan_for(run->setting);

	if (start_crowd(stage, &plan) != 0)
		return -1;
	sleep_ms(WARM_MS);
	crowd_sum(&stage->crowd, &run->total_before);
	count(stage, &run->before);
	sleep_until_ns(run->before.at_ns + run_ns(run->setting));
	crowd_sum(&stage->crowd, &run->total);
	count(stage, &run->after);
	return read_run(stage, &plan, run);
}

/* ---- What is told of it ------------------------------------------------------ */

static double percent_of(uint64_t part, uint64_t all) {
	return all > 0 ? (double)part * 100 / (double)all : 0;
}

static void put_admitted(const struct run *run) {
	bool fixed = run->setting->algorithm == STINT_FIXED_WINDOW;
	double admitted = run->per_s[0] + run->per_s[1];
	double granted = (double)(run->after.granted - run->before.granted) / run->seconds;
	double returned = (double)(run->after.returned - run->before.returned) / run->seconds;
	uint64_t checks = run->total.checks - run->total_before.checks, by_table = 0;
	char what[160], note[320];

	by_table += run->total.admitted[STINT_SOURCE_LEASE] - run->total_before.admitted[STINT_SOURCE_LEASE];
	by_table += run->total.denied[STINT_SOURCE_LEASE] - run->total_before.denied[STINT_SOURCE_LEASE];
	snprintf(what, sizeof(what), "500 in 1 s, 800/s offered 7:1 on 2 hosts, %s: admitted", run->setting->name);
	snprintf(note, sizeof(note),
	         "%.1f/s on the host with 700/s, %.1f/s on the one with 100/s; credits: %.1f/s leased, %.1f/s of them "
	         "returned, %.1f/s lost; %.1f%% of the checks were decided by the table",
	         run->per_s[0], run->per_s[1], granted, returned, granted - returned - admitted,
	         percent_of(by_table, checks));
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "/s",
	                            .value = admitted,
	                            .against = fixed ? NULL : "what its sub-windows can give",
	                            .base = possible_per_s(run->setting),
	                            .target = fixed ? FIGURE_AT_LEAST : FIGURE_STATED,
	                            .bound = AIM_FIXED,
	                            .note = note});
}

static void put_peak(const struct run *run) {
	bool fixed = run->setting->algorithm == STINT_FIXED_WINDOW;
	char what[160], note[96];

	snprintf(what, sizeof(what), "the same, %s: the most in any %s", run->setting->name,
	         fixed ? "window" : "second");
	snprintf(note, sizeof(note), "%lld when an admission is dated by its end", (long long)run->peak.by_outcome);
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "admissions",
	                            .value = (double)run->peak.certain,
	                            .against = "the limit",
	                            .base = LIMIT,
	                            .target = FIGURE_AT_MOST,
	                            .bound = 1,
	                            .note = note});
}

static void put_cost(const struct run *run) {
	double statements = (double)(run->after.batches - run->before.batches) / run->seconds;
	double rows = (double)(run->after.requests - run->before.requests) / run->seconds;
	double commits = (double)(run->after.commits - run->before.commits) / run->seconds;
	char what[160], note[160];

	snprintf(what, sizeof(what), "the same, %s: statements", run->setting->name);
	snprintf(note, sizeof(note),
	         "%.1f rows/s; the database counted %.1f commits/s, heartbeats included; apps sent %.1f messages/s "
	         "that credits run low, %.1f/s that asked",
	         rows, commits, (double)(run->after.lows - run->before.lows) / run->seconds,
	         (double)(run->after.wants - run->before.wants) / run->seconds);
	figure_put(&(struct figure){.row = ROW, .what = what, .unit = "/s", .value = statements, .note = note});
}

static void put(const struct run *run) {
	bool fixed = run->setting->algorithm == STINT_FIXED_WINDOW;
	const char *label = fixed ? "fixed_window" : "sliding_window";
	const char *possible = fixed ? "fixed_window, possible" : "sliding_window, possible";
	double resolution = run->setting->resolution;

	put_admitted(run);
	put_peak(run);
	put_cost(run);
	figure_point("limit_use", label, resolution, run->per_s[0] + run->per_s[1]);
	figure_point("limit_use", possible, resolution, possible_per_s(run->setting));
	figure_point("limit_use_statements", label, resolution,
	             (double)(run->after.batches - run->before.batches) / run->seconds);
}

static int play(const struct scene *scene) {
	struct stage stage;
	int status = 0;

	tap_quiet();
	if (stage_set(&stage, scene, 2, NULL) != 0)
		return 1;
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && status == 0; i++) {
		struct run run = {.setting = &settings[i]};

		status = measure(&stage, &run);
		if (status == 0)
			put(&run);
	}
	stage_strike(&stage);
	return status != 0 || tap_finish() != 0;
}

int main(void) {
	return scene_run(play, 300);
}
