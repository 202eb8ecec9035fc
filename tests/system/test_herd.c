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

#include "pack.h"
#include "proof.h"
#include "setting.h"
#include "tap.h"
#include "trial.h"

#define AGENTS           50u
#define APPS             8u /* on the first hosts */
#define RATE             100
#define WINDOW_MS        1000
#define LIMIT            300
#define CHECK_TIMEOUT_MS 1000

#define START_MS 20000
#define DOWN_MS  2000 /* by then the pauses are long */
/* The most sessions in any 100 ms. If they were spread evenly over the longest pause's 2 s, there would be 2 or
 * 3. */
#define CROWDED_MAX 15
/* The longest pause, the attempt that is under way, and fifty handshakes on a busy machine. */
#define RETURN_MS 5000

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_POLICY("api", LIMIT, 100, WINDOW_MS, 1), .clients = 2, .share = 1}},
	.seed = 61,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 1000000,
};

#define FAULTS_MAX 1024u

struct play {
	struct pack pack;
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

static void expect(struct play *play, bool right) {
	play->violations += !right;
}

static void note_away(struct play *play, uint64_t from_ns) {
	if (play->faults < FAULTS_MAX)
		play->away[play->faults++] = (struct stage_away){.from_ns = from_ns, .until_ns = monotonic_ns()};
}

static void restart(struct play *play, const char *how, int (*stop)(struct cluster *)) {
	int64_t crowded, spread, took;
	uint64_t began = monotonic_ns(), again;
	bool all;

	cluster_close(&play->pack.cluster);
	stop(&play->pack.cluster);
	sleep_ms(DOWN_MS);
	expect(play, tap_ok(pack_wait_in_step(&play->pack, 0) == 0, "%s: no agent is in step", how));
	expect(play, tap_ok(cluster_again(&play->pack.cluster) == 0, "%s: the server is there again", how));
	again = monotonic_ns();
	all = pack_wait_in_step(&play->pack, 2 * RETURN_MS) == AGENTS;
	took = stage_ms_since(again);
	expect(play, tap_ok(all && took <= RETURN_MS, "I5 %s: all %u agents are in step after %lld ms; bound %d ms",
	                    how, AGENTS, (long long)took, RETURN_MS));
	crowded = cluster_number(&play->pack.cluster, crowded_sql, -1);
	spread = cluster_number(&play->pack.cluster, spread_sql, -1);
	expect(play, tap_ok(crowded > 0 && crowded <= CROWDED_MAX,
	                    "%s: they came within %lld ms, at most %lld in any 100 ms; bound %d", how,
	                    (long long)spread, (long long)crowded, CROWDED_MAX));
	expect(play, tap_ok(cluster_number(&play->pack.cluster, sessions_sql, -1) == AGENTS,
	                    "%s: each has one session", how));
	play->slowest_ms = took > play->slowest_ms ? took : play->slowest_ms;
	note_away(play, began);
	pack_look(&play->pack, 2 * WINDOW_MS);
}

/* The server is there. So agents find it after the first, short pause, all together, and it has to bear that. */
static void end_sessions(struct play *play) {
	int64_t crowded, took;
	uint64_t began;
	bool all;

	began = monotonic_ns();
	cluster_end_backends(&play->pack.cluster);
	sleep_ms(100);
	all = pack_wait_in_step(&play->pack, 2 * RETURN_MS) == AGENTS;
	took = stage_ms_since(began);
	crowded = cluster_number(&play->pack.cluster, crowded_sql, -1);
	expect(play, tap_ok(all && took <= RETURN_MS,
	                    "I5 sessions ended: all are in step after %lld ms; %lld came in the same 100 ms",
	                    (long long)took, (long long)crowded));
	note_away(play, began);
	pack_look(&play->pack, 2 * WINDOW_MS);
}

static void judge(struct play *play, uint64_t rounds) {
	uint64_t checked, wrong = pack_judge(&play->pack, &plan, play->away, play->faults, &checked);

	proof_print(&(struct proof){"I1 I2 I4 I5 I6", "50 agents lose one server and come back", 2 * rounds, checked,
	                            play->violations + wrong, play->slowest_ms});
}

static void play_round(struct play *play) {
	restart(play, "server killed and started", cluster_kill);
	end_sessions(play);
}

static int start(struct pack *pack) {
	const struct host_options options = {.database = pack->cluster.agent, .max_clients = 1000};

	if (!tap_ok(cluster_start(&pack->cluster, pack->scene) == 0 && cluster_install(&pack->cluster) == 0,
	            "a database") ||
	    pack_start_agents(pack, AGENTS, &options, START_MS) != 0)
		return -1;
	return pack_start_apps(pack, APPS, &plan, RATE);
}

static int play_all(const struct scene *scene) {
	static struct play play;
	uint64_t rounds = setting_number("STINT_ROUNDS", 1);

	play.pack.scene = scene;
	if (start(&play.pack) != 0)
		return tap_finish();
	pack_look(&play.pack, 2 * WINDOW_MS);
	for (uint64_t i = 0; i < rounds; i++) {
		play_round(&play);
		trial_round_over(i + 1, rounds);
	}
	judge(&play, rounds);
	pack_free(&play.pack);
	return tap_finish();
}

int main(void) {
	return scene_run(play_all, 60 + 30 * (int)setting_number("STINT_ROUNDS", 1));
}
