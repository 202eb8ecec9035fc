/*
 * test_agent_killed.c - agents are killed with SIGKILL at random moments under load and
 * started again. Apps go on deciding from the table; the new agent takes it over; no
 * lease is given twice. The database is up all the time, and each agent back within two
 * seconds: so all admissions count, whoever decided.
 *
 *     STINT_KILLS   how often (60)
 *     STINT_SEED
 */
#include <stdio.h>

#include "books.h"
#include "proof.h"
#include "random.h"
#include "setting.h"
#include "stage.h"
#include "tap.h"

#define HOSTS            4u
#define KILLS_DEFAULT    60
#define KILL_MS          1000 /* what a kill takes at most, on the average */
#define WINDOW_MS        1000
#define LIMIT            300
#define CHECK_TIMEOUT_MS 1000
/* How much later than its timeout a check may end: what the scheduler takes on two busy cores. */
#define SLACK_MS 250

static const struct journal_plan plan = {
	.policy_count = 2,
	.policy =
		{
			{JOURNAL_POLICY("busy", LIMIT, 2 * LIMIT, WINDOW_MS, 3), .clients = 3, .skew = 1, .share = 4},
			{JOURNAL_CALM},
		},
	.seed = 9,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 1000000,
};

struct outcome {
	int restarts;   /* agents that came up again */
	uint64_t alone; /* admissions from the table while its agent was dead */
	int taken_over; /* restarted agents that went on with the table they found */
};

static void kill_once(struct stage *stage, uint64_t *random, struct outcome *outcome) {
	uint32_t h = random_below(random, HOSTS);
	uint64_t leased;

	sleep_ms(50 + random_below(random, 250));
	host_kill(&stage->host[h]);
	leased = crowd_admitted(&stage->crowd, h, ORACLE_LEASE);
	sleep_ms(random_below(random, 100));
	outcome->alone += crowd_admitted(&stage->crowd, h, ORACLE_LEASE) - leased;
	if (host_start(&stage->host[h]) != 0)
		return;
	outcome->restarts++;
	outcome->taken_over += host_number(&stage->host[h], "table", "taken_over") == 1;
}

static void kill_many(struct stage *stage, struct books *books, int kills, struct outcome *outcome) {
	uint64_t random = 4711 + setting_number("STINT_SEED", 0);

	for (int i = 0; i < kills; i++) {
		kill_once(stage, &random, outcome);
		books_look(books, &stage->cluster);
		if ((i + 1) % 60 == 0)
			tap_note("killed %d of %d times", i + 1, kills);
	}
}

static int play(const struct scene *scene) {
	const struct oracle_choice all = {.host = ORACLE_ANY};
	struct outcome outcome = {0};
	struct crowd_total total;
	struct oracle oracle;
	struct books books;
	struct stage stage;
	struct proof proof = {.invariants = "I1 I2 I4 I6",
	                      .fault = "agent kill -9 at random moments",
	                      .recovery_ms = PROOF_NO_RECOVERY};
	int kills = (int)setting_number("STINT_KILLS", KILLS_DEFAULT);

	if (stage_set(&stage, scene, HOSTS, STAGE_PATIENT) != 0 || stage_crowd(&stage, 2, &plan, 500) != 0)
		return tap_finish();
	books_init(&books);
	sleep_ms(2000);
	kill_many(&stage, &books, kills, &outcome);
	sleep_ms(2000);
	stage_read(&stage, &oracle, &total);

	tap_ok(outcome.restarts == kills, "agents were killed %d times and came back %d times", kills,
	       outcome.restarts);
	tap_ok(outcome.alone > 0, "%llu were admitted from tables whose agent was dead",
	       (unsigned long long)outcome.alone);
	tap_ok(outcome.taken_over == outcome.restarts, "%d of them went on with the table that they found",
	       outcome.taken_over);
	proof.violations = (uint64_t)(kills - outcome.taken_over) + total.errors;
	proof.violations += !stage_check_latency(&total, CHECK_TIMEOUT_MS, SLACK_MS);
	proof.violations += stage_check_promise(&oracle, &plan, &all, "whoever decided");
	proof.violations += books_check(&books, &oracle, &plan);
	proof.runs = (uint64_t)outcome.restarts;
	proof.checked = oracle.count;
	proof_print(&proof);
	stage_strike(&stage);
	books_free(&books);
	oracle_free(&oracle);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 60 + (int)setting_number("STINT_KILLS", KILLS_DEFAULT) * KILL_MS / 1000);
}
