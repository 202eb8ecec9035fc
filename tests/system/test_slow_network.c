/*
 * test_slow_network.c - a database that is 20 to 80 ms away, there and back. That is no
 * fault: no host falls back on itself, the promise holds, and active clients are
 * still decided from leases in their own process, without a wait. What else must hold is said in trial.h.
 *
 * A client near its limit has leases of one sub-window, and a grant is of no use when it comes after their end: so
 * the sub-windows here are some round trips long, as those of any window of some seconds are.
 *
 *     STINT_ROUNDS      how often; default 1
 */
#include <stdio.h>

#include "network.h"
#include "setting.h"
#include "tap.h"
#include "trial.h"

#define HOSTS            2u
#define WINDOW_MS        1000
#define LIMIT            300
#define CHECK_TIMEOUT_MS 1000
#define SLACK_MS         200
#define LASTS_MS         3000
#define SUB_WINDOW_MS    503
#define RATE             700 /* checks a second of each process; one on each host checks calm clients only */
/* A slow network has nothing to recover from, but a busy machine may just then have cut a host off. That host
 * takes so long to be back: a pause of at most 2 s with its jitter, and the handshake. */
#define RETURN_MS 4000

#define BUSY 0u
#define CALM 1u

static const struct journal_plan plan = {
	.policy_count = 2,
	.policy =
		{
			{.name = "busy",
             JOURNAL_LIMITS(LIMIT, LIMIT, WINDOW_MS),
             .resolution = 2,
             .cost_min = 1,
             .cost_max = 3,
             .clients = 3,
             .skew = 0.5,
             .share = 1},
			/* The client is far below its limit: each of its checks should find a lease. */
			{.name = "calm",
             JOURNAL_LIMITS(20000, 20000, WINDOW_MS),
             .resolution = 2,
             .cost_min = 1,
             .cost_max = 1,
             .clients = 3,
             .share = 1},
		},
	.seed = 51,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 2000000,
};

/* A process waits for the database when a client that is over its limit gets a new sub-window. So calm clients
 * have a process of their own, to show that they don't wait. */
static int start_crowd(struct stage *stage) {
	int status = 0;

	for (uint32_t i = 0; i < 2 * HOSTS && status == 0; i++) {
		struct journal_plan own = plan;

		own.policy[i % 2].share = 0;
		status = crowd_add(&stage->crowd, &stage->host[i / 2], &own, RATE);
	}
	return status == 0 ? crowd_start(&stage->crowd) : status;
}

struct phase {
	const char *what;
	struct fault_line line;
	uint64_t began_ns, over_ns;
};

static struct phase phases[] = {
	{"20 ms", {.delay_us = {10000, 10000}}, 0, 0},
	{"60 to 80 ms", {.delay_us = {30000, 30000}, .jitter_us = {10000, 10000}}, 0, 0},
};

#define PHASES (sizeof(phases) / sizeof(phases[0]))

static void play_phase(struct network *network, struct trial *trial, struct phase *phase) {
	network_fault(network, NETWORK_ALL, &phase->line);
	trial_endure(trial, WINDOW_MS);
	phase->began_ns = monotonic_ns();
	trial_endure(trial, LASTS_MS - WINDOW_MS);
	phase->over_ns = monotonic_ns();
	for (uint32_t h = 0; h < HOSTS; h++)
		tap_note("%s: %s says that a round trip takes %lld us; %lld grants came too late so far", phase->what,
		         network->stage.host[h].name,
		         (long long)host_number(&network->stage.host[h], "database", "rtt_us"),
		         (long long)host_number(&network->stage.host[h], "counters", "late"));
}

static int64_t admitted(const struct oracle *oracle, const struct phase *phase, uint32_t policy, uint32_t client,
                        uint32_t sources) {
	struct oracle_choice choice = {.policy = policy,
	                               .client = client,
	                               .host = ORACLE_ANY,
	                               .sources = sources,
	                               .from_ns = phase->began_ns,
	                               .until_ns = phase->over_ns};

	return oracle_sum(oracle, &choice);
}

static void check_phase(const struct oracle *oracle, const struct phase *phase) {
	int64_t all = admitted(oracle, phase, CALM, ORACLE_ANY, 0);
	int64_t leased = admitted(oracle, phase, CALM, ORACLE_ANY, ORACLE_LEASE);
	int64_t alone = admitted(oracle, phase, CALM, ORACLE_ANY, ORACLE_FALLBACK | ORACLE_LOCAL) +
	                admitted(oracle, phase, BUSY, ORACLE_ANY, ORACLE_FALLBACK | ORACLE_LOCAL);
	int64_t ms = (int64_t)((phase->over_ns - phase->began_ns) / NS_PER_MS);

	tap_ok(all >= (int64_t)HOSTS * RATE * ms / 1000 * 6 / 10,
	       "%s: calm clients got %lld/s of %u/s that they asked for", phase->what, (long long)(all * 1000 / ms),
	       HOSTS * RATE);
	tap_ok(leased * 100 >= all * 97, "%s: %lld of these %lld were from leases, 97%% at least", phase->what,
	       (long long)leased, (long long)all);
	tap_ok(alone == 0, "%s: no host decided on its own: %lld", phase->what, (long long)alone);
}

/* What is granted in one sub-window counts for three. So admissions come in bursts, and a single phase may hold
 * only a part of one. All phases together must hold half of the limit of each three sub-windows. The rest is
 * for credits that end unspent. */
static void check_busiest(const struct oracle *oracle) {
	struct phase all = {.began_ns = phases[0].began_ns, .over_ns = phases[PHASES - 1].over_ns};
	int64_t got = admitted(oracle, &all, BUSY, 0, 0);
	int64_t threes = (int64_t)((all.over_ns - all.began_ns) / NS_PER_MS) / (3 * SUB_WINDOW_MS);

	tap_ok(got >= threes * LIMIT / 2, "the busiest client got %lld, in %lld times three sub-windows with %d each",
	       (long long)got, (long long)threes, LIMIT);
}

static int play_all(const struct scene *scene) {
	static const struct trial_options options = {.name = "network: slow, all the time",
	                                             .plan = &plan,
	                                             .slack_ms = SLACK_MS};
	static struct network network;
	static struct trial trial;
	struct oracle oracle = {0};

	if (network_set(&network, scene, HOSTS, 1) != 0 || start_crowd(&network.stage) != 0)
		return tap_finish();
	trial_begin(&trial, &network.stage, &options);
	for (uint64_t i = 0; i < setting_number("STINT_ROUNDS", 1); i++) {
		trial_fault(&trial, "network: slow, 20 to 80 ms there and back", RETURN_MS);
		for (size_t p = 0; p < PHASES; p++)
			play_phase(&network, &trial, &phases[p]);
		network_clear(&network);
		trial_over(&trial);
	}
	crowd_read(&network.stage.crowd, &oracle); /* reads what was written so far; the crowd goes on */
	for (size_t p = 0; p < PHASES; p++)
		check_phase(&oracle, &phases[p]);
	check_busiest(&oracle);
	oracle_free(&oracle);
	trial_judge(&trial);
	network_strike(&network);
	return tap_finish();
}

int main(void) {
	return scene_run(play_all, 60 * (int)setting_number("STINT_ROUNDS", 1));
}
