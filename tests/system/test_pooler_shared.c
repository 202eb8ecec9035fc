/*
 * test_pooler_shared.c - many agents behind PgBouncer in transaction mode share a few connections to the server:
 * all are in step, and are counted; apps are served, and the promise holds; news reach them; and when the server
 * was away, all are back soon. What the server has to do for them is printed.
 *
 *     test_pooler_shared [AGENTS [CONNECTIONS]]     default 20 and 2
 */
#include <stdio.h>
#include <stdlib.h>

#include "books.h"
#include "pooler.h"
#include "proof.h"
#include "setting.h"
#include "stage.h"
#include "tap.h"

#define AGENTS_MAX       400u
#define APPS             8u /* on the first hosts */
#define RATE             100
#define WINDOW_MS        1000
#define LIMIT            300
#define LOWER_LIMIT      250
#define CHECK_TIMEOUT_MS 1000
#define SLACK_MS         200

#define START_MS  20000 /* for 20 agents, and as much again for each 20 more */
#define STEADY_MS 5000
#define DOWN_MS   2000
/* As in test_herd.c, and a second until PgBouncer tries again to reach the server. */
#define RETURN_MS 6000
/* A pulse, and what it takes to read what is new, on a busy machine. */
#define IN_FORCE_MS 1500

#define FAULT "agents that share a few connections by PgBouncer lose the server and come back"

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{.name = "api",
                JOURNAL_LIMITS(LIMIT, 100, WINDOW_MS),
                .resolution = 10,
                .cost_min = 1,
                .cost_max = 1,
                .clients = 2,
                .share = 1}},
	.seed = 67,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 1000000,
};

static uint32_t agents = 20, connections = 2;

struct play {
	const struct scene *scene;
	struct cluster cluster;
	struct pooler pooler;
	struct host host[AGENTS_MAX];
	struct crowd crowd;
	struct books books;
	struct stage_away away;
	int64_t recovery_ms;
};

static int patience_ms(int for_twenty_ms) {
	return for_twenty_ms * (int)((agents + 19) / 20);
}

static uint32_t wait_in_step(const struct play *play, int timeout_ms) {
	uint64_t began = monotonic_ns();
	uint32_t count = 0;

	for (uint32_t i = 0; i < agents; i++) {
		int64_t left = timeout_ms - stage_ms_since(began);

		count += host_wait_in_step(&play->host[i], left > 0 ? (int)left : 0);
	}
	return count;
}

static int start_agents(struct play *play) {
	uint64_t began = monotonic_ns();
	uint32_t ready;

	for (uint32_t i = 0; i < agents; i++) {
		char name[32];
		struct host_options options = {.database = play->pooler.agent,
		                               .pooler = "transaction",
		                               .max_clients = 1000,
		                               .name = name};

		snprintf(name, sizeof(name), "host-%03u", i);
		if (host_prepare(&play->host[i], play->scene, i, &options) != 0 || host_start(&play->host[i]) != 0)
			return -1;
	}
	ready = wait_in_step(play, patience_ms(START_MS));
	return tap_ok(ready == agents, "%u of %u agents are in step over %u connections after %lld ms", ready, agents,
	              connections, (long long)stage_ms_since(began))
	           ? 0
	           : -1;
}

static int start_apps(struct play *play) {
	play->crowd.scene = play->scene;
	for (uint32_t i = 0; i < APPS; i++)
		if (crowd_add(&play->crowd, &play->host[i], &plan, RATE) != 0)
			return -1;
	return tap_ok(crowd_start(&play->crowd) == 0, "%u apps run", APPS) ? 0 : -1;
}

static void look(struct play *play, int64_t ms) {
	for (int64_t i = 0; i < ms; i += 200) {
		books_look(&play->books, &play->cluster);
		sleep_ms(200);
	}
}

/* ---- In step ------------------------------------------------------------------------------------------- */

static int64_t number(struct play *play, const char *sql) {
	return cluster_number(&play->cluster, sql, -1);
}

/* A transaction is known to the statistics within a second. */
static void measure_idle(struct play *play) {
	static const char commits[] = "select xact_commit from pg_stat_database where datname = current_database()";
	static const char writes[] = "select (txid_snapshot_xmax(txid_current_snapshot()))::text::bigint";
	int64_t commits_before, writes_before;
	double s = STEADY_MS / 1e3;

	sleep_ms(1500);
	commits_before = number(play, commits);
	writes_before = number(play, writes);
	sleep_ms(STEADY_MS);
	tap_note("%u idle agents make %.1f transactions/s and %.1f writing ones", agents,
	         (double)(number(play, commits) - commits_before) / s,
	         (double)(number(play, writes) - writes_before) / s);
}

static void check_sessions(struct play *play) {
	int64_t sessions = number(play, "select count(*) from pg_stat_activity where usename = 'test_agent'");
	int64_t live = number(play, "select live_hosts from stint.fleet");

	tap_ok(sessions >= 1 && sessions <= connections, "%u agents have %lld sessions of the server between them",
	       agents, (long long)sessions);
	tap_ok(live == agents, "%lld hosts are counted", (long long)live);
}

/* A lower limit, so that the plan's holds, too. An agent says so in its log if it serves apps of the policy. */
static void change_policy(struct play *play) {
	char change[96], logged[96];
	uint64_t began = monotonic_ns();
	uint32_t told = 0;

	snprintf(change, sizeof(change), "select stint.set_policy('api', %d, %d)", LOWER_LIMIT, WINDOW_MS);
	snprintf(logged, sizeof(logged), "policy api is now %d requests", LOWER_LIMIT);
	tap_ok(cluster_do(&play->cluster, change) == 0, "an operator changes the limit");
	while (told < APPS && stage_ms_since(began) < patience_ms(IN_FORCE_MS)) {
		if (host_log_count(&play->host[told], logged) > 0)
			told++;
		else
			sleep_ms(5);
	}
	tap_ok(told == APPS, "%u of %u agents that serve apps know of it after %lld ms", told, APPS,
	       (long long)stage_ms_since(began));
}

/* ---- The server is away ---------------------------------------------------------------------------------- */

static void restart_server(struct play *play) {
	uint64_t began = monotonic_ns(), again;
	uint32_t count;

	cluster_close(&play->cluster);
	tap_ok(cluster_kill(&play->cluster) == 0, "the server is killed");
	sleep_ms(DOWN_MS);
	count = wait_in_step(play, 0);
	tap_ok(count == 0, "no agent is in step: %u are", count);
	tap_ok(cluster_again(&play->cluster) == 0, "the server is there again");
	again = monotonic_ns();
	count = wait_in_step(play, patience_ms(RETURN_MS));
	play->recovery_ms = stage_ms_since(again);
	tap_ok(count == agents, "I5: %u of %u agents are in step again after %lld ms", count, agents,
	       (long long)play->recovery_ms);
	play->away = (struct stage_away){.from_ns = began, .until_ns = monotonic_ns()};
	look(play, 2 * WINDOW_MS);
}

static void judge(struct play *play) {
	const struct oracle_choice up = {.host = ORACLE_ANY, .sources = ORACLE_UP};
	static struct crowd_total total; /* large */
	struct oracle oracle = {0};
	uint64_t wrong;
	uint32_t well = 0;

	tap_ok(crowd_stop(&play->crowd) == 0, "all apps ended well");
	crowd_sum(&play->crowd, &total);
	stage_print_total(&total);
	tap_ok(total.errors == 0, "I4: no check failed");
	stage_check_latency(&total, CHECK_TIMEOUT_MS, SLACK_MS);
	tap_ok(crowd_read(&play->crowd, &oracle) == 0, "their journals are read");
	wrong = stage_check_promise(&oracle, &plan, &up, "but for hosts on their own") +
	        books_check(&play->books, &oracle, &plan) + stage_check_alone(&oracle, &play->away, 1);
	for (uint32_t i = 0; i < agents; i++)
		well += host_is_running(&play->host[i]) && host_stop(&play->host[i]) == 0;
	tap_ok(well == agents, "I6: %u of %u agents were still there and ended well", well, agents);
	proof_print(
		&(struct proof){"I1 I2 I4 I5 I6", FAULT, 1, oracle.count + play->books.count, wrong, play->recovery_ms});
	oracle_free(&oracle);
}

/* ---- The play ---------------------------------------------------------------------------------------- */

static int begin(struct play *play) {
	books_init(&play->books);
	play->pooler.pool_size = (int)connections;
	if (!tap_ok(cluster_start(&play->cluster, play->scene) == 0 && cluster_install(&play->cluster) == 0,
	            "a database with the schema is ready") ||
	    !tap_ok(pooler_start(&play->pooler, play->scene, &play->cluster, "pool", "transaction") == 0,
	            "PgBouncer runs in transaction mode"))
		return -1;
	return start_agents(play);
}

static int run(const struct scene *scene) {
	static struct play play;

	play.scene = scene;
	if (begin(&play) != 0)
		return tap_finish();
	measure_idle(&play);
	check_sessions(&play);
	if (start_apps(&play) != 0)
		return tap_finish();
	look(&play, STEADY_MS);
	change_policy(&play);
	restart_server(&play);
	judge(&play);
	pooler_kill(&play.pooler);
	books_free(&play.books);
	crowd_free(&play.crowd);
	cluster_close(&play.cluster);
	return tap_finish();
}

int main(int argc, char **argv) {
	agents = (uint32_t)setting_argument(argc, argv, 1, agents);
	connections = (uint32_t)setting_argument(argc, argv, 2, connections);
	if (agents < APPS || agents > AGENTS_MAX || connections < 1) {
		fprintf(stderr, "usage: test_pooler_shared [AGENTS [CONNECTIONS]], %u to %u agents\n", APPS, AGENTS_MAX);
		return 2;
	}
	return scene_run(run, 60 + 3 * (int)agents);
}
