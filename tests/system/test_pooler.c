/*
 * test_pooler.c - PgBouncer between the agents and the database. In session mode everything holds, even when
 * the pooler dies. In transaction mode a session's statements go to whichever connection is free, and what was
 * prepared on one is missing on another: agents say so and go on by their lenient limits, well, until there is
 * a session again.
 */
#include <stdio.h>
#include <string.h>

#include "books.h"
#include "episode.h"
#include "pooler.h"
#include "proof.h"
#include "stage.h"
#include "tap.h"

#define WINDOW_MS        1000
#define LIMIT            200
#define FALLBACK_LIMIT   150
#define CHECK_TIMEOUT_MS 1000

#define STEADY_MS 2000
#define FAULT_MS  2500
#define CALM_MS   2000
/* Reconnecting: a pause of at most 2 s with its jitter, the handshake, a heartbeat's worth of doubt, and a busy
 * machine. */
#define RETURN_MS 6000

#define ALL "PgBouncer killed, and in the wrong mode" /* for the proofs that are about the test as a whole */

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_API(LIMIT, FALLBACK_LIMIT, WINDOW_MS), .clients = 50, .skew = 1}},
	.seed = 31,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 100000,
};

struct play {
	struct stage stage;
	struct pooler pooler;
	struct books books;
	struct episode episode[2];
};

static bool start_pooler(struct play *play, const char *mode) {
	return tap_ok(pooler_start(&play->pooler, play->stage.scene, &play->stage.cluster, "pool", mode) == 0,
	              "PgBouncer runs in %s mode", mode);
}

static void look(struct play *play) {
	tap_ok(books_look(&play->books, &play->stage.cluster) == 0, "the books are read");
}

static void kill_pooler(struct play *play) {
	struct episode *episode = &play->episode[0];

	episode_begin(episode, "PgBouncer killed", RETURN_MS);
	pooler_kill(&play->pooler);
	sleep_ms(FAULT_MS);
	tap_ok(stage_wait_for(&play->stage, "fallback", RETURN_MS) == play->stage.host_count,
	       "all hosts are in fallback without it");
	start_pooler(play, "session");
	episode_over(episode, &play->stage, CALM_MS);
	look(play);
}

static void change_mode(struct play *play) {
	struct stage *stage = &play->stage;
	struct episode *episode = &play->episode[1];
	uint32_t say_why = 0;

	episode_begin(episode, "PgBouncer in transaction mode", RETURN_MS);
	pooler_kill(&play->pooler);
	start_pooler(play, "transaction");
	sleep_ms(2 * FAULT_MS);
	tap_note("%u hosts are in fallback, %u in step", stage_hosts_in(stage, "fallback"),
	         stage_hosts_in(stage, "in step"));
	for (uint32_t h = 0; h < stage->host_count; h++) {
		char why[512];

		host_text(&stage->host[h], "database", "last_error", why, sizeof(why));
		say_why += strstr(why, "is there a pooler in transaction mode?") != NULL;
		tap_note("host %u: %s", h, why);
	}
	tap_ok(say_why > 0, "%u of %u agents say what is wrong", say_why, stage->host_count);
	pooler_kill(&play->pooler);
	start_pooler(play, "session");
	episode_over(episode, stage, CALM_MS);
	look(play);
}

static int begin(struct play *play, const struct scene *scene) {
	struct stage *stage = &play->stage;

	stage_init(stage, scene);
	books_init(&play->books);
	if (!tap_ok(cluster_start(&stage->cluster, scene) == 0 && cluster_install(&stage->cluster) == 0,
	            "a database with the schema is ready") ||
	    !start_pooler(play, "session"))
		return -1;
	return stage_hosts(stage, 3, &(struct host_options){.database = play->pooler.agent}) == 0 &&
	               stage_crowd(stage, 2, &plan, 400) == 0
	           ? 0
	           : -1;
}

static int run(const struct scene *scene) {
	static struct play play;

	if (begin(&play, scene) != 0)
		return tap_finish();
	sleep_ms(STEADY_MS);
	look(&play);
	kill_pooler(&play);
	change_mode(&play);
	episode_conclude(play.episode, 2, ALL, &play.stage, &play.books, &plan);
	stage_strike(&play.stage);
	pooler_kill(&play.pooler);
	books_free(&play.books);
	return tap_finish();
}

int main(void) {
	return scene_run(run, 90);
}
