/*
 * test_server_stopped.c - parts of the server stop, or die, under load: the session of one
 * agent, the postmaster, all sessions of agents; and one session is killed, so that the server recovers
 * from a crash. What must hold is said in trial.h.
 *
 * No option of TCP or libpq ever notices a session that is stopped. The agent's own deadline does: a
 * statement is under way all the time here, so that takes database_timeout_ms, 500 by default, from the next
 * statement on.
 *
 *     STINT_ROUNDS, STINT_SEED      how often, and when; default 1 and 1
 */
#include <signal.h>
#include <stdio.h>

#include "database/pg_connect.h"
#include "random.h"
#include "setting.h"
#include "tap.h"
#include "trial.h"

#define HOSTS            2u
#define WINDOW_MS        500
#define LIMIT            150
#define CHECK_TIMEOUT_MS 1500 /* the batch under way and the next one may both wait for their deadlines */
#define SLACK_MS         200

#define AGENT_TIMEOUT_MS 500
/* The deadline, the time until the next statement, and some more for a busy machine. */
#define NOTICE_MS (AGENT_TIMEOUT_MS + 300)

#define AT_ONCE_MS     3000
#define AFTER_PAUSE_MS 4000

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_API(LIMIT, LIMIT, WINDOW_MS), .clients = 3, .skew = 0.5}},
	.seed = 31,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 4000000,
};

struct play {
	struct stage stage;
	struct trial trial;
	uint64_t random;
	int64_t notice_ms; /* the longest time until an agent noticed */
};

/* Gives how long it took until an agent had lost its database once more than `before`. */
static int64_t wait_noticed(const struct host *host, int before, uint64_t since_ns) {
	while (host_log_count(host, "lost the database") == before && stage_ms_since(since_ns) < 10 * NOTICE_MS)
		sleep_ms(2);
	return stage_ms_since(since_ns);
}

static void stop_session(struct play *play) {
	struct host *host = &play->stage.host[random_below(&play->random, HOSTS)];
	pid_t session = cluster_backend(&play->stage.cluster, host->name);
	int before = host_log_count(host, "lost the database");
	uint64_t began;
	int64_t took;

	if (!tap_ok(session > 0, "the session of %s is process %d", host->name, (int)session))
		return;
	sleep_ms(random_below(&play->random, 50));
	trial_fault(&play->trial, "server: session of one agent stopped", AFTER_PAUSE_MS);
	began = monotonic_ns();
	kill(session, SIGSTOP);
	took = wait_noticed(host, before, began);
	play->notice_ms = took > play->notice_ms ? took : play->notice_ms;
	trial_endure(&play->trial, 800);
	kill(session, SIGCONT);
	trial_over(&play->trial);
}

static void terminate_sessions(struct play *play) {
	struct trial_episode *episode;
	int before[HOSTS];

	for (uint32_t h = 0; h < HOSTS; h++)
		before[h] = host_log_count(&play->stage.host[h], "lost the database");
	episode = trial_fault(&play->trial, "server: sessions of all agents terminated", AT_ONCE_MS);
	cluster_end_backends(&play->stage.cluster);
	episode->over_ns = monotonic_ns();
	for (uint32_t h = 0; h < HOSTS; h++)
		wait_noticed(&play->stage.host[h], before[h], episode->over_ns);
	trial_over(&play->trial);
}

/* The kernel still takes connections, but nobody answers. */
static void stop_postmaster(struct play *play) {
	pid_t postmaster = cluster_postmaster(&play->stage.cluster);

	if (!tap_ok(postmaster > 0, "the postmaster is process %d", (int)postmaster))
		return;
	trial_fault(&play->trial, "server: postmaster stopped, sessions ended", AFTER_PAUSE_MS);
	kill(postmaster, SIGSTOP);
	cluster_end_backends(&play->stage.cluster);
	trial_endure(&play->trial, 1500);
	kill(postmaster, SIGCONT);
	trial_over(&play->trial);
}

static bool wait_for_answer(const struct cluster *cluster) {
	uint64_t began = monotonic_ns();
	bool answered = false;

	while (!answered && stage_ms_since(began) < 30000) {
		struct pg *pg = NULL;

		answered = pg_connect(&pg, cluster->conninfo, 1000) == PG_OK;
		pg_close(pg);
		sleep_ms(10);
	}
	return answered;
}

/* The postmaster then ends all other sessions, since the memory that they share may be damaged, and recovers. */
static void kill_session(struct play *play) {
	struct host *host = &play->stage.host[random_below(&play->random, HOSTS)];
	pid_t session = cluster_backend(&play->stage.cluster, host->name);

	if (!tap_ok(session > 0, "the session of %s is process %d", host->name, (int)session))
		return;
	cluster_close(&play->stage.cluster);
	trial_fault(&play->trial, "server: session killed, crash recovery", AFTER_PAUSE_MS);
	kill(session, SIGKILL);
	sleep_ms(50); /* the postmaster learns of it */
	tap_ok(wait_for_answer(&play->stage.cluster), "the server recovers from a killed session");
	trial_over(&play->trial);
}

static int play_all(const struct scene *scene) {
	static const struct trial_options options = {.name = "server: all these faults, one after the other",
	                                             .plan = &plan,
	                                             .slack_ms = SLACK_MS,
	                                             .database_is_hidden = true};
	static struct play play;
	uint64_t rounds = setting_number("STINT_ROUNDS", 1);

	play.random = setting_number("STINT_SEED", 1);
	if (stage_set(&play.stage, scene, HOSTS, NULL) != 0 || stage_crowd(&play.stage, 2, &plan, 400) != 0)
		return tap_finish();
	trial_begin(&play.trial, &play.stage, &options);
	for (uint64_t i = 0; i < rounds; i++) {
		stop_session(&play);
		terminate_sessions(&play);
		stop_session(&play);
		stop_postmaster(&play);
		kill_session(&play);
		trial_round_over(i + 1, rounds);
	}
	tap_ok(play.notice_ms <= NOTICE_MS, "a stopped session is noticed after %lld ms at most; bound %d ms",
	       (long long)play.notice_ms, NOTICE_MS);
	trial_judge(&play.trial);
	return tap_finish();
}

int main(void) {
	return scene_run(play_all, 90 * (int)setting_number("STINT_ROUNDS", 1));
}
