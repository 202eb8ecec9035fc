/*
 * test_pooler_transaction.c - agents behind PgBouncer in transaction mode, said to them by pooler = transaction:
 * all that holds elsewhere holds here, but that news come with the pulse, twice a second. Faults under load:
 * PgBouncer killed, the server killed behind it, a failover behind it.
 *
 * In the end, with nobody at work, PgBouncer is turned from the primary to a standby that was promoted, while both
 * run and no agent loses its connection. Agents have to find out all the same: what the old primary committed last
 * may be unknown to the new one.
 */
#include <stdio.h>
#include <string.h>

#include "books.h"
#include "database/pg_connect.h"
#include "episode.h"
#include "pooler.h"
#include "probe.h"
#include "proof.h"
#include "stage.h"
#include "tap.h"

#define WINDOW_MS        1000
#define LIMIT            200
#define NEW_LIMIT        300
#define FALLBACK_LIMIT   150
#define CHECK_TIMEOUT_MS 1000
#define HOSTS            4u
#define CONNECTIONS      2

#define STEADY_MS 2000
#define FAULT_MS  2500
#define CALM_MS   2500
/* As without a pooler, a second more: so long PgBouncer waits before it tries again to reach a server. The hold
 * after a promotion is 200 ms. */
#define RETURN_MS 7500
/* A pulse, and what it takes to read what is new, on a busy machine. */
#define IN_FORCE_MS 1500

#define ALL "PgBouncer in transaction mode, and what dies behind it"

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_API(LIMIT, FALLBACK_LIMIT, WINDOW_MS), .clients = 50, .skew = 1}},
	.seed = 37,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 100000,
};

struct play {
	struct stage stage; /* its cluster is the primary */
	struct cluster other;
	struct pooler pooler;
	struct books books;
	struct episode episode[3];
	uint32_t episodes;
};

static struct episode *next_episode(struct play *play, const char *what) {
	struct episode *episode = &play->episode[play->episodes++];

	episode_begin(episode, what, RETURN_MS);
	return episode;
}

static void look(struct play *play) {
	tap_ok(books_look(&play->books, &play->stage.cluster) == 0, "the books are read");
}

/* ---- Nobody has a session ------------------------------------------------------------------------ */

static const char left_sql[] =
	"select concat_ws(' ', (select count(*) from pg_prepared_statements), (select count(*) from pg_listening_channels()),"
	" current_setting('statement_timeout'), current_setting('lock_timeout'))";

/* Of the server's sessions, as the next one finds them who comes by the pooler. */
static void check_sessions(struct play *play) {
	static const char sql[] = "select count(*) from pg_stat_activity where usename = 'test_agent'";
	int64_t sessions = cluster_number(&play->stage.cluster, sql, -1);
	struct pg *pg;
	struct pg_rows rows = {.row_count = 0};
	bool read = pg_connect(&pg, play->pooler.agent, 5000) == PG_OK &&
	            pg_query(pg, left_sql, 0, NULL, &rows) == PG_OK && rows.row_count == 1;

	tap_ok(sessions >= 1 && sessions <= CONNECTIONS, "%u agents have %lld sessions between them", HOSTS,
	       (long long)sessions);
	tap_ok(read && strcmp(rows.cells[0], "0 0 0 0") == 0,
	       "they leave no statement, channel or timeout in them: %s", read ? rows.cells[0] : pg_error(pg));
	pg_rows_free(&rows);
	pg_close(pg);
	tap_ok(cluster_number(&play->stage.cluster, "select live_hosts from stint.fleet", -1) == HOSTS,
	       "%u hosts are counted", HOSTS);
	tap_ok(stage_log_count(&play->stage, "the database:") == 0, "no agent had any trouble with it");
}

/* ---- News come with the pulse ----------------------------------------------------------------------- */

static bool has_limit(const struct probe *probe, int64_t limit) {
	struct stint_result result = {0};

	return stint_check(probe->limiter, "busy", 1, &result) == 0 && result.limit == limit;
}

/* In force on so many hosts. */
static uint32_t wait_for_limit(const struct probe probes[HOSTS], int64_t limit, int timeout_ms) {
	uint64_t began = monotonic_ns();
	uint32_t told = 0;

	while (told < HOSTS && stage_ms_since(began) < timeout_ms) {
		if (has_limit(&probes[told], limit))
			told++;
		else
			sleep_ms(5);
	}
	return told;
}

static void change_policy(struct play *play) {
	const struct stint_options options = {.policy = "api", .must_exist = true};
	struct probe probes[HOSTS];
	uint64_t began;
	uint32_t told;
	int failed = 0;
	char sql[96];

	for (uint32_t h = 0; h < HOSTS; h++)
		failed |= probe_open(&probes[h], &play->stage.host[h], &options);
	tap_ok(failed == 0 && wait_for_limit(probes, LIMIT, IN_FORCE_MS) == HOSTS, "an app on each host");
	snprintf(sql, sizeof(sql), "select stint.set_policy('api', %d, %d)", NEW_LIMIT, WINDOW_MS);
	began = monotonic_ns();
	tap_ok(cluster_do(&play->stage.cluster, sql) == 0, "an operator changes the limit");
	told = wait_for_limit(probes, NEW_LIMIT, 3 * IN_FORCE_MS);
	tap_ok(told == HOSTS && stage_ms_since(began) <= IN_FORCE_MS,
	       "it is in force on %u of %u hosts after %lld ms; bound %d ms", told, HOSTS,
	       (long long)stage_ms_since(began), IN_FORCE_MS);
	for (uint32_t h = 0; h < HOSTS; h++)
		probe_close(&probes[h]);
}

/* ---- Faults ------------------------------------------------------------------------------------------ */

static bool start_pooler(struct play *play) {
	return tap_ok(pooler_start(&play->pooler, play->stage.scene, &play->stage.cluster, "pool", "transaction") == 0,
	              "PgBouncer runs in transaction mode, with %d connections to the server", CONNECTIONS);
}

static void kill_pooler(struct play *play) {
	struct episode *episode = next_episode(play, "PgBouncer in transaction mode killed");

	pooler_kill(&play->pooler);
	sleep_ms(FAULT_MS);
	tap_ok(stage_wait_for(&play->stage, "fallback", RETURN_MS) == HOSTS, "all hosts are in fallback without it");
	start_pooler(play);
	episode_over(episode, &play->stage, CALM_MS);
	look(play);
}

static void kill_server(struct play *play) {
	struct episode *episode = next_episode(play, "server killed behind PgBouncer in transaction mode");

	tap_ok(cluster_kill(&play->stage.cluster) == 0, "the server is killed");
	sleep_ms(FAULT_MS);
	tap_ok(stage_wait_for(&play->stage, "fallback", RETURN_MS) == HOSTS, "all hosts are in fallback without it");
	tap_ok(cluster_again(&play->stage.cluster) == 0, "the server is there again");
	episode_over(episode, &play->stage, CALM_MS);
	look(play);
}

/* Synchronous: commits wait until it has applied them, so a failover forgets nothing. */
static int make_standby(struct play *play, bool synchronous) {
	static const char streams[] = "select count(*) from pg_stat_replication where state = 'streaming'";
	struct cluster *primary = &play->stage.cluster;
	const char *name = strstr(primary->dir, "/a") != NULL ? "b" : "a";
	uint64_t began = monotonic_ns();

	if (cluster_start_standby(&play->other, primary, play->stage.scene, name) != 0)
		return -1;
	while (cluster_number(primary, streams, 0) != 1)
		if (stage_ms_since(began) > 5000)
			return -1;
	if (!synchronous)
		return 0;
	return cluster_do(primary, "alter system set synchronous_standby_names = '*'") == 0 &&
	               cluster_do(primary, "alter system set synchronous_commit = remote_apply") == 0 &&
	               cluster_do(primary, "select pg_reload_conf()") == 0 && cluster_do(primary, "checkpoint") == 0
	           ? 0
	           : -1;
}

static void swap(struct play *play) {
	struct cluster before = play->stage.cluster;

	play->stage.cluster = play->other;
	play->other = before;
}

static void turn_pooler(struct play *play) {
	tap_ok(pooler_turn(&play->pooler, &play->stage.cluster, "transaction") == 0, "PgBouncer is turned to it");
}

/* An agent's log has it once for each promotion so far. */
static void check_log(struct play *play, uint32_t times) {
	int count = stage_log_count(&play->stage, "a standby was promoted: timeline");

	tap_ok(count == (int)(times * HOSTS), "all agents have noticed each promotion: %d of %d", count,
	       (int)(times * HOSTS));
}

static void fail_over(struct play *play) {
	struct episode *episode;

	if (!tap_ok(make_standby(play, true) == 0, "a standby follows, synchronous"))
		return;
	sleep_ms(STEADY_MS);
	look(play);
	episode = next_episode(play, "failover behind PgBouncer in transaction mode");
	tap_ok(cluster_kill(&play->stage.cluster) == 0, "the primary is killed");
	sleep_ms(FAULT_MS);
	tap_ok(cluster_promote(&play->other) == 0, "the standby is promoted");
	swap(play);
	turn_pooler(play);
	episode_over(episode, &play->stage, CALM_MS);
	check_log(play, 1);
	look(play);
}

static const char noticed[] = "there is another server behind the pooler";

static uint32_t count_who_noticed(const struct play *play, const int before[static HOSTS]) {
	uint32_t count = 0;

	for (uint32_t h = 0; h < HOSTS; h++)
		count += host_log_count(&play->stage.host[h], noticed) > before[h];
	return count;
}

static uint32_t count_who_met(const struct play *play, const char *timeline) {
	uint32_t count = 0;

	for (uint32_t h = 0; h < HOSTS; h++) {
		char met[16];

		host_text(&play->stage.host[h], "database", "timeline", met, sizeof(met));
		count += strcmp(met, timeline) == 0;
	}
	return count;
}

/*
 * Both servers run. While PgBouncer still has a connection to the first one, an agent may be given that for its
 * greeting and the other for its next transaction: so one finds out twice, now and then.
 */
static void switch_over(struct play *play) {
	int before[HOSTS];
	uint32_t met;
	uint64_t began;

	for (uint32_t h = 0; h < HOSTS; h++)
		before[h] = host_log_count(&play->stage.host[h], noticed);

	cluster_remove(&play->other);
	if (!tap_ok(make_standby(play, false) == 0, "a standby follows, and nobody is at work"))
		return;
	tap_ok(cluster_promote(&play->other) == 0, "the standby is promoted, and the primary lives on");
	swap(play);
	turn_pooler(play);
	began = monotonic_ns();
	while (count_who_noticed(play, before) < HOSTS && stage_ms_since(began) < RETURN_MS)
		sleep_ms(20);
	tap_ok(count_who_noticed(play, before) == HOSTS, "each agent has found out: %s", noticed);
	tap_ok(stage_wait_for(&play->stage, "in step", RETURN_MS) == HOSTS, "and is in step");
	while ((met = count_who_met(play, "00000003")) < HOSTS && stage_ms_since(began) < RETURN_MS)
		sleep_ms(20);
	tap_ok(met == HOSTS, "with the other one: %u of %u are on its timeline", met, HOSTS);
	check_log(play, 2);
}

/* ---- The play ---------------------------------------------------------------------------------------- */

static int begin(struct play *play, const struct scene *scene) {
	struct stage *stage = &play->stage;
	const struct host_options options = {.database = play->pooler.agent, .pooler = "transaction"};

	stage_init(stage, scene);
	books_init(&play->books);
	play->pooler.pool_size = CONNECTIONS;
	if (!tap_ok(cluster_start_with(&stage->cluster, scene, &(struct cluster_options){.name = "a"}) == 0 &&
	                cluster_install(&stage->cluster) == 0,
	            "a database with the schema is ready") ||
	    !start_pooler(play))
		return -1;
	return stage_hosts(stage, HOSTS, &options) == 0 && stage_crowd(stage, 2, &plan, 400) == 0 ? 0 : -1;
}

static int run(const struct scene *scene) {
	static struct play play;

	if (begin(&play, scene) != 0)
		return tap_finish();
	sleep_ms(STEADY_MS);
	look(&play);
	check_sessions(&play);
	kill_pooler(&play);
	kill_server(&play);
	fail_over(&play);
	episode_conclude(play.episode, play.episodes, ALL, &play.stage, &play.books, &plan);
	change_policy(&play);
	switch_over(&play);
	stage_strike(&play.stage);
	pooler_kill(&play.pooler);
	books_free(&play.books);
	cluster_close(&play.stage.cluster);
	cluster_close(&play.other);
	return tap_finish();
}

int main(void) {
	return scene_run(run, 120);
}
