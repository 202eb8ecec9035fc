/*
 * test_agent_away.c - the only agent is killed, stopped, and restarted, under load, and is back
 * within two seconds. The database is up all the time: nobody is admitted beyond the limit, whoever decides.
 * Half of the processes wait long enough for the agent to be back, the others don't: those deny. Others start
 * while it is dead.
 *
 *     STINT_ROUNDS     how often; default 1
 */
#include <stdio.h>

#include "proof.h"
#include "setting.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define PROCESSES  4u /* of each kind */
#define LIMIT      10
#define SLACK_MS   250
#define PATIENT_MS 1000
#define HASTY_MS   20

/* How long after the agent's return processes that look for it every 50 ms may still decide by themselves. It
 * takes some of that to reach its database; the rest is for a busy machine. */
#define BACK_MS 1000

static const struct journal_plan plan = {
	.policy_count = 2,
	/* The clients of one policy are new while the agent is away; the leases and denials of the other's end. */
	.policy =
		{
			{JOURNAL_POLICY("minute", LIMIT, 2 * LIMIT, 60000, 1), .clients = 1000, .skew = 0.5, .share = 1},
			{JOURNAL_POLICY("brief", LIMIT, 2 * LIMIT, 3000, 2), .clients = 5, .share = 1},
		},
	.seed = 17,
	.timeout_ms = PATIENT_MS,
	.capacity = 200000,
};

/* A process starts while the agent is dead: all that it sees is a socket on which nobody listens. */
static void start_another(struct stage *stage) {
	struct journal_plan hasty = plan;

	hasty.timeout_ms = HASTY_MS;
	if (stage->crowd.count < CROWD_MAX && crowd_add(&stage->crowd, &stage->host[0], &hasty, 200) == 0)
		crowd_start_one(&stage->crowd, stage->crowd.count - 1);
}

static void kill_it(struct stage *stage, int ms) {
	host_kill(&stage->host[0]);
	start_another(stage);
	sleep_ms(ms);
	host_start(&stage->host[0]);
}

static void restart_it(struct stage *stage, int ms) {
	host_stop(&stage->host[0]);
	sleep_ms(ms);
	host_start(&stage->host[0]);
}

static void pause_it(struct stage *stage, int ms) {
	host_pause(&stage->host[0]);
	sleep_ms(ms);
	host_resume(&stage->host[0]);
}

static const struct fault {
	const char *what;
	void (*cause)(struct stage *, int ms);
	int ms;
} faults[] = {
	{"killed for a second", kill_it, 1000},    {"killed and back at once", kill_it, 0},
	{"killed for 1.8 seconds", kill_it, 1800}, {"restarted, half a second away", restart_it, 500},
	{"stopped for a second", pause_it, 1000},  {"stopped for 1.9 seconds", pause_it, 1900},
};

#define FAULTS (sizeof(faults) / sizeof(faults[0]))

/* Counts what those processes decided alone that wait longer than a busy machine makes them. */
static uint64_t decided_alone(const struct crowd *crowd) {
	uint64_t sum = 0;

	for (uint32_t i = 0; i < crowd->count; i++) {
		const struct journal_file *file = crowd->member[i].journal.file;

		if (file->plan.timeout_ms == PATIENT_MS)
			sum += file->counts.admitted[STINT_SOURCE_LOCAL] + file->counts.denied[STINT_SOURCE_LOCAL];
	}
	return sum;
}

static uint64_t cause(struct stage *stage, const struct fault *fault) {
	uint64_t before = decided_alone(&stage->crowd), after;

	fault->cause(stage, fault->ms);
	sleep_ms(BACK_MS);
	after = decided_alone(&stage->crowd);
	sleep_ms(500);
	tap_note("%s: %llu checks that waited were decided without it", fault->what,
	         (unsigned long long)(after - before));
	return !tap_ok(decided_alone(&stage->crowd) == after, "I5 agent %s: %d ms later none is any more", fault->what,
	               BACK_MS);
}

static int add_apps(struct stage *stage) {
	struct journal_plan hasty = plan;
	int status = 0;

	hasty.timeout_ms = HASTY_MS;
	for (unsigned i = 0; i < PROCESSES && status == 0; i++)
		status = crowd_add(&stage->crowd, &stage->host[0], &plan, 200) |
		         crowd_add(&stage->crowd, &stage->host[0], &hasty, 200);
	return status | crowd_start(&stage->crowd);
}

static int play(const struct scene *scene) {
	const struct oracle_choice all = {.host = ORACLE_ANY};
	struct proof proof = {.invariants = "I1 I4 I5",
	                      .fault = "agent: away for less than two seconds, all admissions counted"};
	uint64_t rounds = setting_number("STINT_ROUNDS", 1);
	static struct crowd_total total; /* large */
	struct oracle oracle;
	struct stage stage;

	if (stage_set(&stage, scene, 1, STAGE_PATIENT) != 0 ||
	    !tap_ok(add_apps(&stage) == 0, "%u app processes run", 2 * PROCESSES))
		return tap_finish();
	sleep_ms(300);
	for (; proof.runs < rounds * FAULTS; proof.runs++)
		proof.violations += cause(&stage, &faults[proof.runs % FAULTS]);
	stage_read(&stage, &oracle, &total);
	tap_ok(total.denied[STINT_SOURCE_LOCAL] > 0, "some were denied without the agent");
	proof.violations += stage_check_promise(&oracle, &plan, &all, "whoever decided");
	proof.violations += !stage_check_latency(&total, PATIENT_MS, SLACK_MS) + total.errors;
	proof.checked = oracle.count;
	proof.recovery_ms = BACK_MS;
	proof_print(&proof);
	stage_strike(&stage);
	oracle_free(&oracle);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 60 + 30 * (int)setting_number("STINT_ROUNDS", 1));
}
