/*
 * test_herd.c - fifty agents lose one server at the same moment, and come back when it does. They
 * don't come all at once, and soon all are in step again; the promise holds meanwhile.
 *
 * An agent pauses 50 ms at first, then twice as long each time, up to 2 s, and half to one and a half
 * times that. So what is measured is how far the returns are apart, by the server's own record of when each
 * session began, and how many fall into any 100 ms.
 *
 *     STINT_ROUNDS      how often; default 1
 */
#include <stdio.h>

#include "books.h"
#include "proof.h"
#include "setting.h"
#include "stage.h"
#include "tap.h"
#include "trial.h"

#define AGENTS           50u
#define APPS             8u /* on the first hosts */
#define RATE             100
#define WINDOW_MS        1000
#define LIMIT            300
#define CHECK_TIMEOUT_MS 1000
#define SLACK_MS         200

#define DOWN_MS 2000 /* by then the pauses are long */
/* The most sessions in any 100 ms. If they were spread evenly over the longest pause's 2 s, there would be 2 or
 * 3. */
#define CROWDED_MAX 15
/* The longest pause, the attempt that is under way, and fifty handshakes on a busy machine. */
#define RETURN_MS 5000

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{.name = "api",
                JOURNAL_LIMITS(LIMIT, 100, WINDOW_MS),
                .resolution = 10,
                .cost_min = 1,
                .cost_max = 1,
                .clients = 2,
                .share = 1}},
	.seed = 61,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 1000000,
};

#define FAULTS_MAX 1024u

struct play {
	const struct scene *scene;
	struct cluster cluster;
	struct host host[AGENTS];
	struct crowd crowd;
	struct books books;
	struct stage_away away[FAULTS_MAX];
	size_t faults;
	uint64_t violations;
	int64_t slowest_ms;
};

/* Runs after each round, and counts by the server's records since then. */
static const char crowded_sql[] =
	"select coalesce(max(n), 0) from (select (select count(*) from pg_stat_activity b"
	" where b.application_name like 'stintd/%' and b.backend_start >= a.backend_start"
	" and b.backend_start < a.backend_start + interval '100 ms') n"
	" from pg_stat_activity a where a.application_name like 'stintd/%') x";

static const char spread_sql[] = "select 1000 * extract(epoch from max(backend_start) - min(backend_start))"
								 " from pg_stat_activity where application_name like 'stintd/%'";

static const char sessions_sql[] = "select count(*) from pg_stat_activity where application_name like 'stintd/%'";

static uint32_t count_in_step(const struct play *play) {
	uint32_t count = 0;

	for (uint32_t i = 0; i < AGENTS; i++)
		count += host_wait_in_step(&play->host[i], 0);
	return count;
}

static bool wait_all_in_step(const struct play *play, int timeout_ms) {
	uint64_t began = monotonic_ns();

	for (uint32_t i = 0; i < AGENTS; i++) {
		int64_t left = timeout_ms - stage_ms_since(began);

		if (!host_wait_in_step(&play->host[i], left > 0 ? (int)left : 0))
			return false;
	}
	return true;
}

static int start_agents(struct play *play) {
	uint64_t began = monotonic_ns();

	for (uint32_t i = 0; i < AGENTS; i++) {
		char name[32];
		struct host_options options = {.database = play->cluster.agent, .max_clients = 1000, .name = name};

		snprintf(name, sizeof(name), "host-%02u", i);
		if (host_prepare(&play->host[i], play->scene, i, &options) != 0 || host_start(&play->host[i]) != 0)
			return -1;
	}
	return tap_ok(wait_all_in_step(play, 20000), "%u agents are in step after %lld ms", AGENTS,
	              (long long)stage_ms_since(began))
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

static void expect(struct play *play, bool right) {
	play->violations += !right;
}

static void look(struct play *play, int64_t ms) {
	for (int64_t i = 0; i < ms; i += 200) {
		books_look(&play->books, &play->cluster);
		sleep_ms(200);
	}
}

static void note_away(struct play *play, uint64_t from_ns) {
	if (play->faults < FAULTS_MAX)
		play->away[play->faults++] = (struct stage_away){.from_ns = from_ns, .until_ns = monotonic_ns()};
}

static void restart(struct play *play, const char *how, int (*stop)(struct cluster *)) {
	int64_t crowded, spread, took;
	uint64_t began = monotonic_ns(), again;
	bool all;

	cluster_close(&play->cluster);
	stop(&play->cluster);
	sleep_ms(DOWN_MS);
	expect(play, tap_ok(count_in_step(play) == 0, "%s: no agent is in step", how));
	expect(play, tap_ok(cluster_again(&play->cluster) == 0, "%s: the server is there again", how));
	again = monotonic_ns();
	all = wait_all_in_step(play, 2 * RETURN_MS);
	took = stage_ms_since(again);
	expect(play, tap_ok(all && took <= RETURN_MS, "I5 %s: all %u agents are in step after %lld ms; bound %d ms",
	                    how, AGENTS, (long long)took, RETURN_MS));
	crowded = cluster_number(&play->cluster, crowded_sql, -1);
	spread = cluster_number(&play->cluster, spread_sql, -1);
	expect(play, tap_ok(crowded > 0 && crowded <= CROWDED_MAX,
	                    "%s: they came within %lld ms, at most %lld in any 100 ms; bound %d", how,
	                    (long long)spread, (long long)crowded, CROWDED_MAX));
	expect(play,
	       tap_ok(cluster_number(&play->cluster, sessions_sql, -1) == AGENTS, "%s: each has one session", how));
	play->slowest_ms = took > play->slowest_ms ? took : play->slowest_ms;
	note_away(play, began);
	look(play, 2 * WINDOW_MS);
}

/* The server is there. So agents find it after the first, short pause, all together, and it has to bear that. */
static void end_sessions(struct play *play) {
	int64_t crowded, took;
	uint64_t began;
	bool all;

	began = monotonic_ns();
	cluster_end_backends(&play->cluster);
	sleep_ms(100);
	all = wait_all_in_step(play, 2 * RETURN_MS);
	took = stage_ms_since(began);
	crowded = cluster_number(&play->cluster, crowded_sql, -1);
	expect(play, tap_ok(all && took <= RETURN_MS,
	                    "I5 sessions ended: all are in step after %lld ms; %lld came in the same 100 ms",
	                    (long long)took, (long long)crowded));
	note_away(play, began);
	look(play, 2 * WINDOW_MS);
}

static void judge(struct play *play, uint64_t rounds) {
	const struct oracle_choice up = {.host = ORACLE_ANY, .sources = ORACLE_UP};
	static struct crowd_total total; /* large */
	struct oracle oracle = {0};
	uint32_t well = 0;

	expect(play, tap_ok(crowd_stop(&play->crowd) == 0, "all apps ended well"));
	crowd_sum(&play->crowd, &total);
	stage_print_total(&total);
	expect(play, tap_ok(total.errors == 0, "I4: no check failed"));
	expect(play, stage_check_latency(&total, CHECK_TIMEOUT_MS, SLACK_MS));
	expect(play, crowd_read(&play->crowd, &oracle) == 0);
	play->violations += stage_check_promise(&oracle, &plan, &up, "but for hosts on their own") +
	                    books_check(&play->books, &oracle, &plan);
	play->violations += stage_check_alone(&oracle, play->away, play->faults);
	for (uint32_t i = 0; i < AGENTS; i++)
		well += host_is_running(&play->host[i]) && host_stop(&play->host[i]) == 0;
	expect(play, tap_ok(well == AGENTS, "I6: %u of %u agents were still there and ended well", well, AGENTS));
	proof_print(&(struct proof){"I1 I2 I4 I5 I6", "50 agents lose one server and come back", 2 * rounds,
	                            oracle.count + play->books.count, play->violations, play->slowest_ms});
	oracle_free(&oracle);
}

static void play_round(struct play *play) {
	restart(play, "server killed and started", cluster_kill);
	end_sessions(play);
}

static int play_all(const struct scene *scene) {
	static struct play play;
	uint64_t rounds = setting_number("STINT_ROUNDS", 1);

	play.scene = scene;
	if (!tap_ok(cluster_start(&play.cluster, scene) == 0 && cluster_install(&play.cluster) == 0, "a database") ||
	    start_agents(&play) != 0 || start_apps(&play) != 0)
		return tap_finish();
	books_init(&play.books);
	look(&play, 2 * WINDOW_MS);
	for (uint64_t i = 0; i < rounds; i++) {
		play_round(&play);
		trial_round_over(i + 1, rounds);
	}
	judge(&play, rounds);
	books_free(&play.books);
	crowd_free(&play.crowd);
	cluster_close(&play.cluster);
	return tap_finish();
}

int main(void) {
	return scene_run(play_all, 60 + 30 * (int)setting_number("STINT_ROUNDS", 1));
}
