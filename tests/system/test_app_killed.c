/*
 * test_app_killed.c - app processes are killed with SIGKILL, 500 times, in the middle
 * of their checks. The others never wait for them, the promise holds, and the agents
 * keep nothing of the dead.
 *
 *     STINT_KILLS   how often (500)
 *     STINT_SEED
 */
#include <stdio.h>

#include "process.h"
#include "proof.h"
#include "random.h"
#include "setting.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define HOSTS            2u
#define APPS             4u /* per host */
#define KILLS_DEFAULT    500
#define KILLS_PER_S      20 /* so many kills a second, at least */
#define CHECK_TIMEOUT_MS 1000

static const struct journal_plan plan = {
	.policy_count = 2,
	.policy =
		{
			{JOURNAL_POLICY("sliding", 500, 500, 1000, 3), .clients = 3, .skew = 1, .share = 1},
			{JOURNAL_POLICY("tight", 5, 5, 1000, 1), .clients = 3, .skew = 1, .share = 1},
		},
	.seed = 21,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 200000,
};

static int kill_many(struct crowd *crowd, int kills) {
	uint64_t random = 815 + setting_number("STINT_SEED", 0);
	int restarted = 0;

	for (int i = 0; i < kills; i++) {
		uint32_t victim = random_below(&random, crowd->count);

		sleep_until_ns(monotonic_ns() + random_below(&random, 20000) * NS_PER_US);
		crowd_kill_one(crowd, victim);
		restarted += crowd_start_one(crowd, victim) == 0;
		if ((i + 1) % KILLS_DEFAULT == 0 && i + 1 < kills)
			tap_note("killed %d of %d times", i + 1, kills);
	}
	return restarted;
}

static size_t count_unknown(const struct oracle *oracle) {
	size_t unknown = 0;

	for (size_t i = 0; i < oracle->count; i++)
		unknown += oracle->events[i].outcome_ns == ORACLE_UNKNOWN_NS;
	return unknown;
}

static bool check_nobody_waited(const struct crowd_total *total) {
	return tap_ok(total->latency_ns.max < CHECK_TIMEOUT_MS * NS_PER_MS && total->admitted[STINT_SOURCE_LOCAL] == 0,
	              "nobody waited for the dead: the longest check took %llu ms",
	              (unsigned long long)(total->latency_ns.max / NS_PER_MS));
}

static int play(const struct scene *scene) {
	const struct oracle_choice all = {.host = ORACLE_ANY};
	int before[HOSTS], after[HOSTS], restarted;
	struct crowd_total total;
	struct oracle oracle;
	struct stage stage;
	int kills = (int)setting_number("STINT_KILLS", KILLS_DEFAULT);
	struct proof proof = {.invariants = "I1 I4 I6",
	                      .fault = "app killed with SIGKILL at random moments",
	                      .recovery_ms = PROOF_NO_RECOVERY};

	if (stage_set(&stage, scene, HOSTS, STAGE_PATIENT) != 0 || stage_crowd(&stage, APPS, &plan, 4000) != 0)
		return tap_finish();
	sleep_ms(1000);
	for (uint32_t h = 0; h < HOSTS; h++)
		before[h] = process_descriptors(stage.host[h].agent);
	restarted = kill_many(&stage.crowd, kills);
	sleep_ms(1000);
	for (uint32_t h = 0; h < HOSTS; h++)
		after[h] = process_wait_descriptors(stage.host[h].agent, before[h], 5000);
	stage_read(&stage, &oracle, &total);

	tap_ok(restarted == kills, "apps were killed %d times and started again %d times", kills, restarted);
	tap_note("%zu of them were killed in the middle of a check", count_unknown(&oracle));
	proof.violations = (uint64_t)(kills - restarted) + total.errors;
	proof.violations += !check_nobody_waited(&total);
	proof.violations += stage_check_promise(&oracle, &plan, &all, "all the time");
	for (uint32_t h = 0; h < HOSTS; h++)
		proof.violations += !tap_ok(after[h] <= before[h], "I6: %s had %d descriptors open before and %d after",
		                            stage.host[h].name, before[h], after[h]);
	proof.runs = (uint64_t)restarted;
	proof.checked = oracle.count;
	proof_print(&proof);
	stage_strike(&stage);
	oracle_free(&oracle);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 100 + (int)setting_number("STINT_KILLS", KILLS_DEFAULT) / KILLS_PER_S);
}
