/*
 * test_packet_loss.c - a network of its own, in which the kernel's packet filter drops packets between
 * agents and database at random, drops all of them, or resets connections; and kills sockets. So TCP
 * itself is what fails here, with its own retransmissions and timeouts. What must hold is said in trial.h.
 *
 * TCP sends a lost packet again after 200 ms at the earliest, the first one of a connection after 1 s. That is
 * more than the agent waits (database_timeout_ms): with some packets lost, it is on its own at times.
 *
 * The network namespace, nft and `ss -K` need root: without, the test says so and is skipped.
 *
 *     STINT_ROUNDS      how often; default 1
 */
#include <stdio.h>

#include "private_network.h"
#include "setting.h"
#include "tap.h"
#include "trial.h"

#define HOSTS            2u
#define WINDOW_MS        500
#define LIMIT            150
#define CHECK_TIMEOUT_MS 1500
#define SLACK_MS         200
#define LASTS_MS         2000
#define AFTER_PAUSE_MS   4000

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_API(LIMIT, LIMIT, WINDOW_MS), .clients = 3, .skew = 0.5}},
	.seed = 71,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 2000000,
};

struct filter {
	const char *fault;
	const char *rule; /* NULL: kills the connections that are there */
	int64_t lasts_ms;
};

#define FROM_SERVER        "add rule inet stint_test loss tcp sport " PRIVATE_PORT
#define TO_SERVER          "add rule inet stint_test loss tcp dport " PRIVATE_PORT
#define BOTH(verdict)      FROM_SERVER verdict ";" TO_SERVER verdict
#define AT_RANDOM(percent) BOTH(" numgen random mod 100 < " percent " drop")

static const struct filter filters[] = {
	{"packets: 10% lost", AT_RANDOM("10"), LASTS_MS},
	{"packets: 30% lost", AT_RANDOM("30"), LASTS_MS},
	{"packets: all lost", BOTH(" drop"), LASTS_MS / 2},
	{"packets: all of the server's lost", FROM_SERVER " drop", LASTS_MS / 2},
	{"packets: answered by resets", FROM_SERVER " reject with tcp reset", LASTS_MS / 2},
	{"sockets: killed", NULL, 0},
};

static void cause(struct trial *trial, const struct filter *filter) {
	static const char *const kill_sockets[] = {"ss", "-K", "-t", "dport", "=", PRIVATE_PORT, NULL};

	trial_fault(trial, filter->fault, AFTER_PAUSE_MS);
	if (filter->rule != NULL)
		tap_ok(private_network_filter(filter->rule), "%s: now", filter->fault);
	else
		tap_ok(private_network_run(kill_sockets), "%s: now", filter->fault);
	trial_endure(trial, filter->lasts_ms);
	if (filter->rule != NULL)
		tap_ok(private_network_filter("flush chain inet stint_test loss"), "%s: over", filter->fault);
	trial_over(trial);
}

static int play_all(const struct scene *scene) {
	static const struct trial_options options = {.name = "packets: all these faults, one after the other",
	                                             .plan = &plan,
	                                             .slack_ms = SLACK_MS};
	static struct stage stage;
	static struct trial trial;
	uint64_t rounds = setting_number("STINT_ROUNDS", 1);

	if (!private_network_enter("packets can't be dropped"))
		return tap_finish();
	if (!private_network_set() || private_network_stage(&stage, scene, HOSTS, "127.0.0.1") != 0 ||
	    stage_crowd(&stage, 2, &plan, 400) != 0)
		return tap_finish();
	trial_begin(&trial, &stage, &options);
	for (uint64_t i = 0; i < rounds; i++) {
		for (size_t f = 0; f < sizeof(filters) / sizeof(filters[0]); f++)
			cause(&trial, &filters[f]);
		trial_round_over(i + 1, rounds);
	}
	trial_judge(&trial);
	return tap_finish();
}

int main(void) {
	return scene_run(play_all, 90 * (int)setting_number("STINT_ROUNDS", 1));
}
