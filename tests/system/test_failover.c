/*
 * test_failover.c - the primary dies under load and a standby takes its place: asynchronous,
 * with commits that the standby never heard of, and synchronous, with none; statements that are
 * cancelled while they wait for a standby; an agent that is shown a standby only. And another cluster, with a
 * dump of the old one's.
 *
 *     test_failover [ROUNDS]     default 1: that many failovers of each kind
 *
 * Two folders, a and b, hold primary and standby in turn. The agents' connection string names both.
 *
 * What an asynchronous failover may admit too much is what it forgot, and no more. The test knows that exactly:
 * the books of the standby before it is promoted (or of the other cluster), against those of the old primary,
 * which is started once more where no agent looks for it. A synchronous one forgets nothing that an agent was
 * told of.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "books.h"
#include "episode.h"
#include "proof.h"
#include "setting.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define WINDOW_MS 2000
#define LIMIT     200
/* It is little, so that what is charged after the return doesn't hide what was forgotten. */
#define FALLBACK_LIMIT   40
#define CHECK_TIMEOUT_MS 1000
#define ROUNDS_MAX       100

#define STEADY_MS 2500
#define CALM_MS   3000
/* How long the standby hears nothing before the primary dies. An asynchronous one misses so much that the limit
 * was used up meanwhile, and all of that is forgotten. For a synchronous one some statements wait, but no agent
 * has given up yet. */
#define LAG_MS      WINDOW_MS
#define SYNC_LAG_MS 200
#define CANCELS_MS  2000
/* An agent whose clients are all denied has nothing to commit for a while; a statement in each sub-window is
 * enough in the end. */
#define COMMITS_MS 10000
#define CANCELS    10

/* How long no host gets anything from a new primary: leases of the old one may still be spent, that of the
 * current sub-window and that of the next. */
#define HOLD_MS (2 * WINDOW_MS / 10)
/* Reconnecting: a pause of at most 2 s with its jitter, the handshake, a busy machine; and the hold. */
#define RETURN_MS (6000 + HOLD_MS)

#define ALL "failovers, and waits for a standby cancelled" /* for the proofs that are about the test as a whole */

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_API(LIMIT, FALLBACK_LIMIT, WINDOW_MS), .clients = 3, .skew = 1}},
	.seed = 11,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 200000,
};

struct play {
	struct stage stage;
	struct cluster cluster[2];
	uint32_t primary;   /* which of the two is the primary */
	struct books books; /* what was committed for good: the primary's, or the standby's before its promotion */
	struct episode episode[2 * ROUNDS_MAX + 4];
	/* when the first agent found the new primary; 0: there is none in the episode */
	uint64_t found_ns[2 * ROUNDS_MAX + 4];
	uint32_t episodes;
	int64_t forgotten; /* by all asynchronous failovers together */
	int64_t over;
};

static struct cluster *primary_of(struct play *play) {
	return &play->cluster[play->primary];
}

static struct cluster *standby_of(struct play *play) {
	return &play->cluster[!play->primary];
}

static struct episode *next_episode(struct play *play, const char *what, int within_ms) {
	struct episode *episode = &play->episode[play->episodes++];

	episode_begin(episode, what, within_ms);
	return episode;
}

static const char *standby_name(const struct play *play) {
	return play->primary == 0 ? "b" : "a";
}

/* ---- Primary and standby ------------------------------------------------------------ */

/* Makes a standby, whose folder is empty. Synchronous: commits wait until it has applied them. */
static int make_standby(struct play *play, bool synchronous) {
	char sql[160];

	if (cluster_start_standby(standby_of(play), primary_of(play), play->stage.scene, standby_name(play)) != 0)
		return -1;
	snprintf(sql, sizeof(sql), "alter system set synchronous_standby_names = '%s'", synchronous ? "*" : "");
	if (cluster_do(primary_of(play), sql) != 0 ||
	    cluster_do(primary_of(play), "alter system set synchronous_commit = remote_apply") != 0 ||
	    cluster_do(primary_of(play), "select pg_reload_conf()") != 0)
		return -1;
	for (int i = 0; i < 500; i++) {
		if (cluster_number(primary_of(play), "select count(*) from pg_stat_replication where state = 'streaming'",
		                   0) == 1)
			/* The checkpointer makes commits wait: now it knows. */
			return cluster_do(primary_of(play), "checkpoint");
		sleep_ms(10);
	}
	return -1;
}

/* The new primary waits for no standby: its settings were copied before the old one's were set. */
static void promote(struct play *play, struct episode *episode) {
	tap_ok(cluster_promote(standby_of(play)) == 0, "the standby is promoted");
	play->primary = !play->primary;
	episode->over_ns = monotonic_ns();
}

static void stop_sending(struct play *play) {
	int64_t pid = cluster_number(primary_of(play), "select pid from pg_stat_replication", 0);

	tap_ok(pid > 1 && kill((pid_t)pid, SIGSTOP) == 0, "the primary no longer tells its standby");
}

/* Waits until all that arrived is applied, so that what a read sees is what a promotion keeps. (The last record
 * may have arrived in part, so this asks whether anything still happens.) */
static void wait_replayed(struct cluster *standby) {
	static const char sql[] = "select pg_last_wal_replay_lsn() - '0/0'";
	int64_t before = -1, now;

	while ((now = cluster_number(standby, sql, -1)) != before) {
		before = now;
		sleep_ms(40);
	}
}

/* ---- What was forgotten ----------------------------------------------------------------- */

static int64_t charged_in(const struct books *books, const struct books_entry *like) {
	for (size_t i = 0; i < books->count; i++) {
		const struct books_entry *entry = &books->entries[i];
		int64_t apart_ns = (int64_t)(entry->begin_ns - like->begin_ns);

		if (strcmp(entry->client, like->client) == 0 &&
		    llabs(apart_ns) < (int64_t)(entry->end_ns - entry->begin_ns) / 2)
			return entry->charged;
	}
	return 0;
}

/* Counts by client what the old books have and the new ones lack. */
static void count_forgotten(struct play *play, const struct books *had, const struct books *kept,
                            struct episode *episode) {
	for (size_t i = 0; i < had->count; i++) {
		int64_t forgotten = had->entries[i].charged - charged_in(kept, &had->entries[i]);
		char id[64];

		for (uint32_t client = 0; client < plan.policy[0].clients && forgotten > 0; client++) {
			journal_client_id(&plan, client, id);
			if (strcmp(id, had->entries[i].client) == 0)
				episode->allowance[client] += forgotten;
		}
		play->forgotten += forgotten > 0 ? forgotten : 0;
	}
}

/* Starts the old primary once more, where no agent looks for it, and reads it. Its folder is empty afterwards. */
static void read_old(struct play *play, struct books *had) {
	struct cluster *old = standby_of(play);

	tap_ok(cluster_again_with(old, "port=7777") == 0 && books_look(had, old) == 0,
	       "the old primary's books are read once more");
	cluster_remove(old);
}

/* ---- Failovers ---------------------------------------------------------------------------- */

/* True: an agent says that the new primary's grants are held back. */
static bool is_held(const struct stage *stage, int timeout_ms) {
	uint64_t began = monotonic_ns();

	for (uint32_t h = 0; stage_ms_since(began) < timeout_ms; h++) {
		if (host_number(&stage->host[h % stage->host_count], "database", "held_ms") > 0)
			return true;
		sleep_ms(2);
	}
	return false;
}

/* When the first agent found the new primary. */
static uint64_t found_ns(struct play *play) {
	static const char sql[] = "select (extract(epoch from max(seen_at)) * 1000000)::bigint from stint.promotion";

	return clock_from_database_us(&play->books.clock, cluster_number(primary_of(play), sql, 0));
}

static int64_t timeline_of(struct play *play) {
	static const char sql[] = "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int";

	return cluster_number(primary_of(play), sql, -1);
}

/* The loss is reported: in the log, the status, and for audits. */
static void check_report(struct play *play) {
	struct stage *stage = &play->stage;
	int64_t now = timeline_of(play);
	char timeline[16], logged[96];
	uint32_t told = 0;

	for (uint32_t h = 0; h < stage->host_count; h++) {
		host_text(&stage->host[h], "database", "timeline", timeline, sizeof(timeline));
		told += strtol(timeline, NULL, 16) == now;
	}
	tap_ok(told == stage->host_count, "%u of %u agents' status tell of timeline %lld", told, stage->host_count,
	       (long long)now);
	snprintf(logged, sizeof(logged), "a standby was promoted: timeline %08llX, was %08llX",
	         (unsigned long long)now, (unsigned long long)now - 1);
	tap_ok(stage_log_count(stage, logged) == (int)stage->host_count, "each agent has logged once: %s", logged);
	tap_ok(cluster_number(primary_of(play), "select count(*) from stint.promotion", -1) == now - 1,
	       "the view stint.promotion has all %lld", (long long)now - 1);
}

static void fail_over(struct play *play, bool synchronous) {
	struct books had, kept;
	struct episode *episode;

	books_init(&had);
	books_init(&kept);
	if (!tap_ok(make_standby(play, synchronous) == 0, "a standby follows, %s",
	            synchronous ? "synchronous" : "asynchronous"))
		return;
	sleep_ms(STEADY_MS);
	tap_ok(books_look(&play->books, primary_of(play)) == 0, "the books are read");
	episode = next_episode(play,
	                       synchronous ? "failover to a synchronous standby"
	                                   : "failover to an asynchronous standby, over by no more than it forgot",
	                       RETURN_MS);
	stop_sending(play);
	sleep_ms(synchronous ? SYNC_LAG_MS : LAG_MS);
	if (!synchronous)
		episode->away_ns = monotonic_ns(); /* until now, commits waited for nobody */
	tap_ok(cluster_kill(primary_of(play)) == 0, "the primary is killed");
	wait_replayed(standby_of(play));
	books_look(&kept, standby_of(play));
	promote(play, episode);
	tap_ok(is_held(&play->stage, RETURN_MS), "an agent says that the new primary's grants are held back");
	episode_over(episode, &play->stage, CALM_MS);
	play->found_ns[play->episodes - 1] = found_ns(play);
	check_report(play);
	read_old(play, &had);
	if (!synchronous)
		count_forgotten(play, &had, &kept, episode);
	books_free(&had);
	books_free(&kept);
}

/* ---- Another cluster ------------------------------------------------------------------------ */

/* The restored cluster's timeline is the first again, like that of the cluster with which the agents began. */
static void check_report_of_restored(struct play *play, int64_t before) {
	static const char logged[] = "this is another server than before, or a dump was restored";
	struct cluster *primary = primary_of(play);

	tap_ok(stage_log_count(&play->stage, logged) == (int)play->stage.host_count, "each agent has logged once: %s",
	       logged);
	tap_ok(cluster_number(primary, "select count(*) from stint.promotion", -1) == before + 1 &&
	           cluster_number(primary, "select count(*) from stint.promotion where what = 'another server'", -1) ==
	               1,
	       "the view stint.promotion has it");
}

/* A dump of the primary is restored into a cluster that takes its place. What was granted after the dump is
 * forgotten. */
static void move_to_restored(struct play *play) {
	struct books had, kept;
	struct episode *episode;
	int64_t promotions = cluster_number(primary_of(play), "select count(*) from stint.promotion", -1);

	books_init(&had);
	books_init(&kept);
	sleep_ms(STEADY_MS);
	books_look(&play->books, primary_of(play));
	if (!tap_ok(cluster_start_restored(standby_of(play), primary_of(play), play->stage.scene,
	                                   standby_name(play)) == 0,
	            "a dump is restored into another cluster"))
		return;
	episode =
		next_episode(play, "another cluster in the database's place, from a dump, over by no more than it forgot",
	                 RETURN_MS);
	books_look(&kept, standby_of(play));
	sleep_ms(LAG_MS);
	episode->away_ns = monotonic_ns();
	tap_ok(cluster_kill(primary_of(play)) == 0, "the old one is killed");
	play->primary = !play->primary;
	episode->over_ns = monotonic_ns();
	tap_ok(is_held(&play->stage, RETURN_MS), "an agent says that the other one's grants are held back");
	episode_over(episode, &play->stage, CALM_MS);
	play->found_ns[play->episodes - 1] = found_ns(play);
	check_report_of_restored(play, promotions);
	read_old(play, &had);
	count_forgotten(play, &had, &kept, episode);
	books_free(&had);
	books_free(&kept);
}

/* ---- The synchronous standby goes away --------------------------------------------------------- */

/* Commits wait for the standby, so to the agents the database is away. But what they asked for is committed in
 * the end. */
static void stop_standby(struct play *play) {
	struct stage *stage = &play->stage;
	struct episode *episode = next_episode(play, "synchronous standby stopped", RETURN_MS);

	cluster_pause(standby_of(play));
	for (uint64_t began = monotonic_ns();
	     stage_ms_since(began) < COMMITS_MS && stage_hosts_in(stage, "fallback") < stage->host_count;)
		sleep_ms(20);
	tap_ok(stage_hosts_in(stage, "fallback") == stage->host_count, "no commit ends: all hosts are in fallback");
	cluster_resume(standby_of(play));
	episode_over(episode, stage, CALM_MS);
	books_look(&play->books, primary_of(play));
}

/* ---- Cancelled while it waits for a standby ------------------------------------------------- */

/* The commit is done all the same, with a warning. The agent must neither rely on it nor ask as if it hadn't
 * been done. */
static void cancel_waits(struct play *play) {
	static const char cancel_sql[] = "select count(*) filter (where pg_cancel_backend(pid)) from pg_stat_activity"
									 " where usename = 'test_agent' and wait_event = 'SyncRep'";
	struct cluster *primary = primary_of(play);
	struct episode *episode = next_episode(play, "waits for a synchronous standby cancelled", RETURN_MS);
	uint64_t began = monotonic_ns();
	int64_t cancelled = 0;

	cluster_pause(standby_of(play));
	while (stage_ms_since(began) < CANCELS_MS || (cancelled < CANCELS && stage_ms_since(began) < COMMITS_MS)) {
		cancelled += cluster_number(primary, cancel_sql, 0);
		sleep_ms(20);
		books_look(&play->books, primary);
	}
	tap_ok(cancelled >= CANCELS, "%lld statements of agents were cancelled while they waited for the standby",
	       (long long)cancelled);
	cluster_resume(standby_of(play));
	episode_over(episode, &play->stage, CALM_MS);
	books_look(&play->books, primary);
}

/* ---- A standby only --------------------------------------------------------------------------- */

static void show_standby_only(struct play *play) {
	struct stage *stage = &play->stage;
	struct host *reader = &stage->host[stage->host_count];
	struct host_options options = {.database = standby_of(play)->agent};
	struct episode *episode = next_episode(play, "an agent that is shown a read-only standby", RETURN_MS);
	char state[24];

	episode->cut_off = 1u << stage->host_count;
	if (!tap_ok(host_prepare(reader, stage->scene, stage->host_count, &options) == 0 && host_start(reader) == 0 &&
	                crowd_add(&stage->crowd, reader, &plan, 200) == 0 && crowd_start(&stage->crowd) == 0,
	            "one more host is shown the standby only"))
		return;
	stage->host_count++;
	sleep_ms(STEADY_MS);
	host_state(reader, state);
	tap_ok(strcmp(state, "fallback") == 0, "it is in fallback: %s", state);
	tap_ok(host_log_count(reader, "the server is a read-only standby: connect to the primary") >= 1,
	       "and says why");
	episode->away_ns = monotonic_ns(); /* since then, for all the others */
	tap_ok(cluster_kill(primary_of(play)) == 0, "the primary is killed");
	wait_replayed(standby_of(play));
	promote(play, episode);
	episode_over(episode, stage, CALM_MS);
	play->found_ns[play->episodes - 1] = found_ns(play);
	books_look(&play->books, primary_of(play));
}

/* ---- The play ------------------------------------------------------------------------------------ */

static int begin(struct play *play, const struct scene *scene) {
	struct stage *stage = &play->stage;
	struct host_options options = {0};
	char database[256];

	stage_init(stage, scene);
	books_init(&play->books);
	if (!tap_ok(cluster_start_with(&play->cluster[0], scene, &(struct cluster_options){.name = "a"}) == 0 &&
	                cluster_install(&play->cluster[0]) == 0 &&
	                /* The warning of a commit that may not have reached the standby comes all the same. */
	                cluster_do(&play->cluster[0], "alter role test_agent set client_min_messages = error") == 0,
	            "a database with the schema is ready"))
		return -1;
	snprintf(database, sizeof(database),
	         "host=%s/a/pg,%s/b/pg dbname=stint user=test_agent target_session_attrs=read-write", scene->dir,
	         scene->dir);
	options.database = database;
	return stage_hosts(stage, 2, &options) == 0 && stage_crowd(stage, 2, &plan, 800) == 0 ? 0 : -1;
}

/* While old leases may be spent, nobody gets anything new: no check is decided by the new primary. */
static uint32_t judge_hold(uint64_t found_ns, const struct oracle *oracle) {
	struct oracle_choice choice = {.policy = 0,
	                               .client = ORACLE_ANY,
	                               .host = ORACLE_ANY,
	                               .sources = 1u << STINT_SOURCE_DATABASE,
	                               .from_ns = found_ns};
	uint64_t first = 0, last;

	int64_t waited_ms;

	oracle_span(oracle, &choice, &first, &last);
	waited_ms = (int64_t)(first - found_ns) / 1000000;
	tap_ok(waited_ms >= HOLD_MS,
	       "I1 after the first agent found it, the new primary admitted nothing for %lld ms, %d are due",
	       (long long)waited_ms, HOLD_MS);
	return waited_ms < HOLD_MS;
}

static void judge(struct play *play) {
	struct crowd_total total;
	struct oracle oracle;
	uint64_t early = 0, promotions = 0;

	stage_read(&play->stage, &oracle, &total);
	episode_check_latency(ALL, &total, &plan);
	episode_judge_all(play->episode, play->episodes, ALL, &play->stage, &oracle, &plan);
	for (uint32_t i = 0; i < play->episodes; i++) {
		struct episode *episode = &play->episode[i];
		int64_t may = 0;

		for (uint32_t client = 0; client < EPISODE_CLIENTS; client++)
			may += episode->allowance[client];
		promotions += play->found_ns[i] != 0;
		early += play->found_ns[i] != 0 ? judge_hold(play->found_ns[i], &oracle) : 0;
		tap_note("%s: forgot %lld credits; at most %lld over the limit", episode->what, (long long)may,
		         (long long)episode->over);
	}
	tap_ok(play->forgotten > 0, "the asynchronous failovers forgot %lld credits", (long long)play->forgotten);
	proof_print(&(struct proof){.invariants = "I1",
	                            .fault = "no grants of a new primary while leases of the old one are out",
	                            .runs = promotions,
	                            .checked = promotions,
	                            .violations = early,
	                            .recovery_ms = PROOF_NO_RECOVERY});
	books_judge(&play->books, &oracle, &plan, ALL, play->episodes);
	oracle_free(&oracle);
}

static uint32_t rounds = 1;

static int run(const struct scene *scene) {
	static struct play play;

	if (begin(&play, scene) != 0)
		return tap_finish();
	for (uint32_t i = 0; i < rounds; i++) {
		fail_over(&play, false);
		fail_over(&play, true);
		tap_note("%u of %u rounds", i + 1, rounds);
	}
	move_to_restored(&play);
	if (tap_ok(make_standby(&play, true) == 0, "a standby follows, synchronous")) {
		stop_standby(&play);
		cancel_waits(&play);
		show_standby_only(&play);
	}
	judge(&play);
	stage_strike(&play.stage);
	books_free(&play.books);
	cluster_close(&play.cluster[0]);
	cluster_close(&play.cluster[1]);
	return tap_finish();
}

int main(int argc, char **argv) {
	rounds = (uint32_t)setting_argument(argc, argv, 1, rounds);
	if (rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: test_failover [ROUNDS], 1 to %d\n", ROUNDS_MAX);
		return 2;
	}
	return scene_run(run, 110 + 60 * (int)rounds);
}
