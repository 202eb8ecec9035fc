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
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "process.h"
#include "setting.h"
#include "tap.h"
#include "trial.h"

#define HOSTS            2u
#define PORT             "5432" /* the namespace is empty */
#define WINDOW_MS        500
#define LIMIT            150
#define CHECK_TIMEOUT_MS 1500
#define SLACK_MS         200
#define LASTS_MS         2000
#define AFTER_PAUSE_MS   4000

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{.name = "api",
                JOURNAL_LIMITS(LIMIT, LIMIT, WINDOW_MS),
                .resolution = 10,
                .cost_min = 1,
                .cost_max = 3,
                .clients = 3,
                .skew = 0.5,
                .share = 1}},
	.seed = 71,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 2000000,
};

struct filter {
	const char *fault;
	const char *rule; /* NULL: connections that are there are killed */
	int64_t lasts_ms;
};

#define FROM_SERVER        "add rule inet stint_test loss tcp sport " PORT
#define TO_SERVER          "add rule inet stint_test loss tcp dport " PORT
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

static bool run(const char *const *argv) {
	int status = process_run(argv, 10000, NULL, 0, NULL);

	if (status != 0)
		tap_note("%s: exit %d", argv[0], status);
	return status == 0;
}

/* One transaction of nft's. */
static bool nft(const char *rules) {
	return run((const char *const[]){"nft", rules, NULL});
}

static bool set_up_network(void) {
	static const char *const up[] = {"ip", "link", "set", "lo", "up", NULL};

	return tap_ok(run(up), "a network of its own") &&
	       tap_ok(nft("add table inet stint_test;"
	                  "add chain inet stint_test loss { type filter hook input priority 0 ; }"),
	              "with a packet filter");
}

static void cause(struct trial *trial, const struct filter *filter) {
	static const char *const kill_sockets[] = {"ss", "-K", "-t", "dport", "=", PORT, NULL};

	trial_fault(trial, filter->fault, AFTER_PAUSE_MS);
	if (filter->rule != NULL)
		tap_ok(nft(filter->rule), "%s: now", filter->fault);
	else
		tap_ok(run(kill_sockets), "%s: now", filter->fault);
	trial_endure(trial, filter->lasts_ms);
	if (filter->rule != NULL)
		tap_ok(nft("flush chain inet stint_test loss"), "%s: over", filter->fault);
	trial_over(trial);
}

static int set_stage(struct stage *stage, const struct scene *scene) {
	static const struct host_options options = {.database =
	                                                "host=127.0.0.1 port=" PORT " dbname=stint user=test_agent"};
	static const struct cluster_options listens = {.settings = {"listen_addresses=127.0.0.1", "port=" PORT}};

	stage_init(stage, scene);
	if (!tap_ok(cluster_start_with(&stage->cluster, scene, &listens) == 0 && cluster_install(&stage->cluster) == 0,
	            "a database listens in it"))
		return -1;
	return stage_hosts(stage, HOSTS, &options);
}

static int play_all(const struct scene *scene) {
	static const struct trial_options options = {.name = "packets: all these faults, one after the other",
	                                             .plan = &plan,
	                                             .slack_ms = SLACK_MS};
	static struct stage stage;
	static struct trial trial;
	uint64_t rounds = setting_number("STINT_ROUNDS", 1);

	if (geteuid() != 0) {
		tap_skip("packets can't be dropped: a network namespace and its filter need root");
		return tap_finish();
	}
	if (unshare(CLONE_NEWNET) != 0) {
		tap_skip("packets can't be dropped: no network of its own here: %s", strerror(errno));
		return tap_finish();
	}
	if (!set_up_network() || set_stage(&stage, scene) != 0 || stage_crowd(&stage, 2, &plan, 400) != 0)
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
