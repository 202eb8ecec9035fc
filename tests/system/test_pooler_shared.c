/*
 * test_pooler_shared.c - many agents behind PgBouncer in transaction mode share a few connections to the server:
 * all are in step, and are counted; apps are served, and the promise holds; news reach them; and when the server
 * was away, all are back soon. What the server has to do for them is printed.
 *
 *     test_pooler_shared [AGENTS [CONNECTIONS]]     default 20 and 2
 */
#include <stdio.h>
#include <stdlib.h>

#include "pack.h"
#include "pooler.h"
#include "proof.h"
#include "setting.h"
#include "tap.h"

#define APPS             8u /* on the first hosts */
#define RATE             100
#define WINDOW_MS        1000
#define LIMIT            300
#define LOWER_LIMIT      250
#define CHECK_TIMEOUT_MS 1000

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
	.policy = {{JOURNAL_POLICY("api", LIMIT, 100, WINDOW_MS, 1), .clients = 2, .share = 1}},
	.seed = 67,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 1000000,
};

static uint32_t agents = 20, connections = 2;

struct play {
	struct pack pack;
	struct pooler pooler;
	struct stage_away away;
	int64_t recovery_ms;
};

static int patience_ms(int for_twenty_ms) {
	return for_twenty_ms * (int)((agents + 19) / 20);
}

/* ---- In step ------------------------------------------------------------------------------------------- */

static int64_t number(struct play *play, const char *sql) {
	return cluster_number(&play->pack.cluster, sql, -1);
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
	tap_ok(cluster_do(&play->pack.cluster, change) == 0, "an operator changes the limit");
	while (told < APPS && stage_ms_since(began) < patience_ms(IN_FORCE_MS)) {
		if (host_log_count(&play->pack.host[told], logged) > 0)
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

	cluster_close(&play->pack.cluster);
	tap_ok(cluster_kill(&play->pack.cluster) == 0, "the server is killed");
	sleep_ms(DOWN_MS);
	count = pack_wait_in_step(&play->pack, 0);
	tap_ok(count == 0, "no agent is in step: %u are", count);
	tap_ok(cluster_again(&play->pack.cluster) == 0, "the server is there again");
	again = monotonic_ns();
	count = pack_wait_in_step(&play->pack, patience_ms(RETURN_MS));
	play->recovery_ms = stage_ms_since(again);
	tap_ok(count == agents, "I5: %u of %u agents are in step again after %lld ms", count, agents,
	       (long long)play->recovery_ms);
	play->away = (struct stage_away){.from_ns = began, .until_ns = monotonic_ns()};
	pack_look(&play->pack, 2 * WINDOW_MS);
}

static void judge(struct play *play) {
	uint64_t checked, wrong = pack_judge(&play->pack, &plan, &play->away, 1, &checked);

	proof_print(&(struct proof){"I1 I2 I4 I5 I6", FAULT, 1, checked, wrong, play->recovery_ms});
}

/* ---- The play ---------------------------------------------------------------------------------------- */

static int begin(struct play *play) {
	struct pack *pack = &play->pack;
	const struct host_options options = {.database = play->pooler.agent,
	                                     .pooler = "transaction",
	                                     .max_clients = 1000};

	play->pooler.pool_size = (int)connections;
	if (!tap_ok(cluster_start(&pack->cluster, pack->scene) == 0 && cluster_install(&pack->cluster) == 0,
	            "a database with the schema is ready") ||
	    !tap_ok(pooler_start(&play->pooler, pack->scene, &pack->cluster, "pool", "transaction") == 0,
	            "PgBouncer runs in transaction mode"))
		return -1;
	return pack_start_agents(pack, agents, &options, patience_ms(START_MS));
}

static int run(const struct scene *scene) {
	static struct play play;

	play.pack.scene = scene;
	if (begin(&play) != 0)
		return tap_finish();
	measure_idle(&play);
	check_sessions(&play);
	if (pack_start_apps(&play.pack, APPS, &plan, RATE) != 0)
		return tap_finish();
	pack_look(&play.pack, STEADY_MS);
	change_policy(&play);
	restart_server(&play);
	judge(&play);
	pooler_kill(&play.pooler);
	pack_free(&play.pack);
	return tap_finish();
}

int main(int argc, char **argv) {
	agents = (uint32_t)setting_argument(argc, argv, 1, agents);
	connections = (uint32_t)setting_argument(argc, argv, 2, connections);
	if (agents < APPS || agents > PACK_MAX || connections < 1) {
		fprintf(stderr, "usage: test_pooler_shared [AGENTS [CONNECTIONS]], %u to %u agents\n", APPS, PACK_MAX);
		return 2;
	}
	return scene_run(run, 60 + 3 * (int)agents);
}
