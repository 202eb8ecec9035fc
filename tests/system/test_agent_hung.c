/*
 * test_agent_hung.c - an agent is stopped under load, for shorter and longer than leases last,
 * and goes on: its apps wait no longer than their timeout and keep to the table's leases, and are denied when
 * there is none; the other host doesn't notice; and what the agent was doing when it was stopped
 * doesn't count any more. What must hold is said in trial.h.
 *
 * (That systemd restarts an agent that hangs for good is tested in tests/systemd.)
 *
 *     STINT_ROUNDS, STINT_SEED      how often, and when; default 1 and 1
 */
#include <stdio.h>

#include "random.h"
#include "setting.h"
#include "tap.h"
#include "trial.h"

#define HOSTS            2u
#define WINDOW_MS        500
#define LIMIT            150
#define FALLBACK_LIMIT   300 /* of each process as well, which would be too much */
#define CHECK_TIMEOUT_MS 300
#define SLACK_MS         200

/* After SIGCONT, the agent answers apps that still wait, and apps that gave up on it ask again. */
#define AT_ONCE_MS 1000

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_API(LIMIT, FALLBACK_LIMIT, WINDOW_MS), .clients = 3, .skew = 0.5}},
	.seed = 41,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 4000000,
};

struct play {
	struct stage stage;
	struct trial trial;
	uint64_t random;
	uint64_t longest_neighbour_ns; /* for which nobody was admitted on the other host */
};

/* Lets time go by, and measures for how long nobody on the host was admitted. */
static void watch_neighbour(struct play *play, uint32_t host, int64_t ms) {
	uint64_t end = monotonic_ns() + (uint64_t)ms * NS_PER_MS, last = monotonic_ns();
	uint64_t count = crowd_admitted(&play->stage.crowd, host, 0);

	while (monotonic_ns() < end) {
		trial_endure(&play->trial, 10);
		if (crowd_admitted(&play->stage.crowd, host, 0) != count)
			last = monotonic_ns();
		else if (monotonic_ns() - last > play->longest_neighbour_ns)
			play->longest_neighbour_ns = monotonic_ns() - last;
		count = crowd_admitted(&play->stage.crowd, host, 0);
	}
}

static void hang(struct play *play, const char *fault, int64_t ms) {
	uint32_t h = random_below(&play->random, HOSTS);

	sleep_ms(random_below(&play->random, 50)); /* so it may be anywhere in a sub-window */
	trial_fault(&play->trial, fault, AT_ONCE_MS);
	host_pause(&play->stage.host[h]);
	watch_neighbour(play, 1 - h, ms);
	host_resume(&play->stage.host[h]);
	trial_over(&play->trial);
}

/* Stops the agent for short times, between a grant and its deadline, which passes meanwhile. */
static void stutter(struct play *play) {
	trial_fault(&play->trial, "agent: stopped for 20 to 150 ms, again and again", AT_ONCE_MS);
	for (int i = 0; i < 20; i++) {
		struct host *host = &play->stage.host[random_below(&play->random, HOSTS)];

		host_pause(host);
		trial_endure(&play->trial, 20 + random_below(&play->random, 130));
		host_resume(host);
		trial_endure(&play->trial, random_below(&play->random, 40));
	}
	trial_over(&play->trial);
}

static int play_all(const struct scene *scene) {
	static const struct trial_options options = {.name = "agent: hung for shorter and longer",
	                                             .plan = &plan,
	                                             .slack_ms = SLACK_MS,
	                                             .agents_hang = true};
	static struct play play;
	uint64_t rounds = setting_number("STINT_ROUNDS", 1);

	play.random = setting_number("STINT_SEED", 1);
	if (stage_set(&play.stage, scene, HOSTS, NULL) != 0 || stage_crowd(&play.stage, 2, &plan, 400) != 0)
		return tap_finish();
	trial_begin(&play.trial, &play.stage, &options);
	for (uint64_t i = 0; i < rounds; i++) {
		hang(&play, "agent: hung for 600 ms", 600);
		stutter(&play);
		hang(&play, "agent: hung for 2 s", 2000);
		trial_round_over(i + 1, rounds);
	}
	tap_ok(play.longest_neighbour_ns < 2 * WINDOW_MS * NS_PER_MS,
	       "I6: meanwhile the other host was never longer than %llu ms without an admission; window %d ms",
	       (unsigned long long)(play.longest_neighbour_ns / NS_PER_MS), WINDOW_MS);
	trial_judge(&play.trial);
	return tap_finish();
}

int main(void) {
	return scene_run(play_all, 90 * (int)setting_number("STINT_ROUNDS", 1));
}
