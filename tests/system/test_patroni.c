/*
 * test_patroni.c - a database that Patroni looks after: two nodes, an etcd, synchronous_mode. Agents name both
 * nodes. The leader is switched by patronictl; it dies, with its Patroni; etcd is away for longer than the
 * leader's key lasts.
 *
 *     test_patroni [all]     all: and a Patroni that dies alone; and etcd away with failsafe_mode
 *
 * A failover to Patroni's synchronous standby forgets nothing that an agent was told of: what holds is what
 * episode.h says, without an allowance. (What an asynchronous one may admit too much, test_failover.c holds.)
 *
 * etcd and Patroni's nodes listen in a network of the test's own, which needs root.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "books.h"
#include "episode.h"
#include "patroni.h"
#include "private_network.h"
#include "proof.h"
#include "stage.h"
#include "tap.h"

#define CANNOT "a database under Patroni"

#define WINDOW_MS        2000
#define LIMIT            200
#define FALLBACK_LIMIT   100
#define CHECK_TIMEOUT_MS 1500
/* Each commit waits for the other node, on a machine that may be busy. */
#define PATIENCE_MS 1500

#define STEADY_MS 2500
#define CALM_MS   2500
/* From the first write that a new primary takes until all hosts are in step with it: a pause of at most 2 s with
 * its jitter, the handshake, and as long as leases of the old one may be spent, a window and a sub-window at most.
 * That is 5 s; 3 s more for who has to find out by PATIENCE_MS that the old one is of no use; a busy machine. */
#define RETURN_MS 15000
/* Until a new primary takes writes: the key lasts PATRONI_TTL_S, some rounds of Patroni's, the promotion. That is
 * 13 s on a quiet machine. */
#define FAILOVER_MS 60000
/* A server that was killed is started, rewound, and has caught up. 15 s on a quiet machine. */
#define HEALTHY_MS 90000
#define ETCD_MS    ((PATRONI_TTL_S + 2) * 1000)

#define ALL "Patroni: switchover, killed leader, etcd away" /* for the proofs that are about the test as a whole */

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_API(LIMIT, FALLBACK_LIMIT, WINDOW_MS), .clients = 3, .skew = 1}},
	.seed = 19,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 400000,
};

struct play {
	struct stage stage;
	struct patroni patroni;
	struct books books;
	struct episode episode[8];
	uint32_t episodes;
	int64_t promotions;
};

static int64_t promotions(struct play *play) {
	return cluster_number(&play->patroni.cluster, "select count(*) from stint.promotion", -1);
}

static struct episode *begin_episode(struct play *play, const char *what) {
	struct episode *episode = &play->episode[play->episodes++];

	tap_ok(patroni_wait_healthy(&play->patroni, HEALTHY_MS), "a leader, and a synchronous standby");
	tap_ok(books_look(&play->books, &play->patroni.cluster) == 0, "the books are read");
	episode_begin(episode, what, RETURN_MS);
	return episode;
}

/* An agent may be in step with the old primary and not have noticed yet. */
static bool wait_noticed(struct play *play) {
	static const char sql[] = "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int";
	const struct stage *stage = &play->stage;
	int64_t now = cluster_number(&play->patroni.cluster, sql, -1);
	uint64_t began = monotonic_ns();
	uint32_t noticed = 0;

	while (noticed < stage->host_count && stage_ms_since(began) < RETURN_MS) {
		char timeline[16];

		host_text(&stage->host[noticed], "database", "timeline", timeline, sizeof(timeline));
		noticed += strtol(timeline, NULL, 16) == now;
		sleep_ms(5);
	}
	return noticed == stage->host_count;
}

/* Waits for the new primary. */
static void end_episode(struct play *play, struct episode *episode, int not_node) {
	int node = patroni_wait_primary(&play->patroni, FAILOVER_MS);

	episode->over_ns = monotonic_ns();
	tap_ok(node >= 0 && node != not_node, "%s: node %d takes writes", episode->what, node);
	tap_note("%s: after %lld ms", episode->what, (long long)stage_ms_since(episode->began_ns));
	tap_ok(wait_noticed(play), "all agents have found it");
	episode_over(episode, &play->stage, CALM_MS);
	tap_note("%s: all hosts are in step %lld ms after it began", episode->what,
	         (long long)((episode->in_step_ns - episode->began_ns) / NS_PER_MS));
	play->promotions++;
	tap_ok(promotions(play) == play->promotions, "agents have noticed promotion %lld",
	       (long long)play->promotions);
}

static void switch_over(struct play *play) {
	int was = patroni_wait_primary(&play->patroni, FAILOVER_MS);
	struct episode *episode = begin_episode(play, "Patroni: switchover");

	tap_ok(patroni_switch_over(&play->patroni) == 0, "patronictl switchover");
	end_episode(play, episode, was);
}

static void kill_leader(struct play *play) {
	int was = patroni_wait_primary(&play->patroni, FAILOVER_MS);
	struct episode *episode = begin_episode(play, "Patroni: leader killed, server and all");

	patroni_kill(&play->patroni, was);
	patroni_kill_server(&play->patroni, was);
	end_episode(play, episode, was);
	tap_ok(patroni_again(&play->patroni, was) == 0, "its node is started again");
}

/* The server lives on without anybody who looks after it. As its standby has left it, no commit on it ends. */
static void kill_patroni_alone(struct play *play) {
	int was = patroni_wait_primary(&play->patroni, FAILOVER_MS);
	struct episode *episode = begin_episode(play, "Patroni: killed, its server left alone");

	patroni_kill(&play->patroni, was);
	end_episode(play, episode, was);
	tap_ok(patroni_again(&play->patroni, was) == 0, "it is started again");
}

static void lose_etcd(struct play *play) {
	struct stage *stage = &play->stage;
	struct episode *episode = begin_episode(play, "Patroni: etcd away for longer than the ttl");
	uint32_t alone;

	patroni_pause_etcd(&play->patroni);
	alone = stage_wait_for(stage, "fallback", FAILOVER_MS);
	tap_ok(alone == stage->host_count, "the leader becomes read-only: %u of %u hosts are in fallback", alone,
	       stage->host_count);
	tap_note("%s: after %lld ms", episode->what, (long long)stage_ms_since(episode->began_ns));
	sleep_until_ns(episode->began_ns + ETCD_MS * NS_PER_MS);
	patroni_resume_etcd(&play->patroni);
	end_episode(play, episode, -1);
}

static void lose_etcd_with_failsafe(struct play *play) {
	struct stage *stage = &play->stage;
	struct episode *episode;

	tap_ok(patroni_set(&play->patroni, "failsafe_mode=true") == 0, "patronictl edit-config: failsafe_mode");
	episode = begin_episode(play, "Patroni: etcd away, with failsafe_mode");
	episode->away_ns = EPISODE_NEVER;
	patroni_pause_etcd(&play->patroni);
	sleep_ms(ETCD_MS);
	tap_ok(stage_hosts_in(stage, "in step") == stage->host_count, "all hosts are in step all the time");
	patroni_resume_etcd(&play->patroni);
	episode_over(episode, stage, CALM_MS);
	tap_ok(promotions(play) == play->promotions, "no node was promoted");
}

static bool begin(struct play *play, const struct scene *scene) {
	struct stage *stage = &play->stage;
	struct host_options options = {.database = play->patroni.cluster.agent, .database_timeout_ms = PATIENCE_MS};

	stage_init(stage, scene);
	books_init(&play->books);
	if (!private_network_set() ||
	    !tap_ok(patroni_start(&play->patroni, scene) == 0 && cluster_install(&play->patroni.cluster) == 0,
	            "Patroni runs on two nodes; a database with the schema is ready"))
		return false;
	return stage_hosts(stage, 2, &options) == 0 && stage_crowd(stage, 2, &plan, 800) == 0;
}

static bool all; /* or else the short form */

static int run(const struct scene *scene) {
	static struct play play;

	if (!private_network_enter(CANNOT))
		return tap_finish();
	if (!begin(&play, scene))
		return tap_finish();
	sleep_ms(STEADY_MS);
	switch_over(&play);
	kill_leader(&play);
	lose_etcd(&play);
	if (all) {
		kill_patroni_alone(&play);
		lose_etcd_with_failsafe(&play);
	}
	books_look(&play.books, &play.patroni.cluster);
	episode_conclude(play.episode, play.episodes, ALL, &play.stage, &play.books, &plan);
	stage_strike(&play.stage);
	patroni_stop(&play.patroni);
	books_free(&play.books);
	return tap_finish();
}

int main(int argc, char **argv) {
	all = argc == 2 && strcmp(argv[1], "all") == 0;
	if (argc > 1 && !all) {
		fprintf(stderr, "usage: test_patroni [all]\n");
		return 2;
	}
	if (patroni_cannot() != NULL) {
		tap_skip(CANNOT ": %s", patroni_cannot());
		return tap_finish();
	}
	return scene_run(run, 600);
}
