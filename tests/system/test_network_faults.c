/*
 * test_network_faults.c - everything that a network between agents and database can do,
 * in turn, under load on two hosts: slow, dark, cut, reset, refused, messages cut in the middle, and
 * replies lost after the server has committed. What must hold is said in trial.h.
 *
 * How long a recovery may take: an agent that lost its connection once is back after one
 * pause of at most 75 ms. One that has tried for a while may just have begun a pause of 3 s, or a try that
 * ends after database_timeout_ms: so systemd/README.md's "every 2 s in the end, each time off by a random
 * part" is 4 s here, with the handshake.
 *
 *     STINT_ROUNDS, STINT_SEED      how often, and in which order; default 1 and 1
 */
#include <stdio.h>

#include "network.h"
#include "random.h"
#include "setting.h"
#include "tap.h"
#include "trial.h"

#define HOSTS          2u
#define WINDOW_MS      500
#define LIMIT          150
#define FALLBACK_LIMIT 100
/* On a network that is almost too slow, a check may wait for the rest of the agent's batch under way, and then
 * for its own: twice database_timeout_ms. */
#define CHECK_TIMEOUT_MS 1500
#define SLACK_MS         200

#define LASTS_MS 1200 /* longer than the agent's deadline of 500 ms, with tries to reconnect */

/* The bounds of the recovery. The first is some hundred milliseconds, except on a busy machine. */
#define AT_ONCE_MS     3000
#define AFTER_PAUSE_MS 4000

#define TAKE "stint.take_leases" /* by this name, an agent asks for credits for clients that it knows */

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_API(LIMIT, FALLBACK_LIMIT, WINDOW_MS), .clients = 3, .skew = 0.5}},
	.seed = 21,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 4000000,
};

struct play {
	struct network network;
	struct trial trial;
	uint64_t random;
	uint32_t missed; /* faults that were aimed at a statement that did not come */
};

/* ---- Faults that last ------------------------------------------------------------- */

struct lasting {
	const char *fault;
	struct fault_line line;
	bool one_host;
	void (*end)(struct fault_proxy *); /* what happens at the beginning to the connections that are there */
};

static const struct lasting lasting[] = {
	{"network: dark, all hosts", {.dark = true}, false, NULL},
	{"network: dark, one host", {.dark = true}, true, NULL},
	{"network: connections cut, new ones refused", {.refuse = true}, false, fault_proxy_cut},
	{"network: connections reset, new ones in the dark", {.dark = true}, false, fault_proxy_reset},
	{"network: delays of 100 to 700 ms", {.delay_us = {50000, 50000}, .jitter_us = {300000, 300000}}, false, NULL},
	{"network: 2000 bytes per second", {.bytes_per_s = {2000, 2000}}, false, NULL},
	{"network: requests pass, replies creep", {.bytes_per_s = {0, 300}}, false, NULL},
};

static void cause_lasting(struct play *play, const struct lasting *fault) {
	uint32_t host = fault->one_host ? random_below(&play->random, HOSTS) : NETWORK_ALL;

	trial_fault(&play->trial, fault->fault, AFTER_PAUSE_MS);
	network_fault(&play->network, host, &fault->line);
	if (fault->end != NULL)
		network_each(&play->network, host, fault->end);
	trial_endure(&play->trial, LASTS_MS);
	network_clear(&play->network);
	trial_over(&play->trial);
}

/* ---- Faults of a moment ------------------------------------------------------------ */

struct aimed {
	const char *fault;
	enum fault_aim aim;
	uint64_t bound_ms;
};

/* When nothing comes, the agent's own deadline has to end the wait. */
static const struct aimed aimed[] = {
	{"network: reply lost after commit, then cut", FAULT_LOSE_REPLY_CUT, AT_ONCE_MS},
	{"network: reply lost after commit, then reset", FAULT_LOSE_REPLY_RESET, AT_ONCE_MS},
	{"network: reply lost after commit, then silence", FAULT_LOSE_REPLY_SILENCE, 500 + AT_ONCE_MS},
	{"network: reply truncated", FAULT_TRUNCATE_REPLY, AT_ONCE_MS},
	{"network: request truncated", FAULT_TRUNCATE_REQUEST, AT_ONCE_MS},
};

/* Returns when the agent has noticed, and connects again. False: the fault didn't happen. */
static bool hit_once(struct fault_proxy *proxy, enum fault_aim aim, uint32_t skip, struct trial_episode *episode) {
	uint32_t before = fault_proxy_accepted(proxy);

	fault_proxy_aim(proxy, aim, TAKE, skip);
	if (!fault_proxy_wait_hit(proxy, 3000))
		return false;
	episode->over_ns = monotonic_ns();
	for (int i = 0; i < 3000 && fault_proxy_accepted(proxy) == before; i++)
		sleep_ms(1);
	return fault_proxy_accepted(proxy) != before;
}

/* Causes it twice in a row: the second time, what was unknown after the first is still recent. */
static void cause_aimed(struct play *play, const struct aimed *fault) {
	struct fault_proxy *proxy = &play->network.proxy[random_below(&play->random, HOSTS)];

	struct trial_episode *episode = trial_fault(&play->trial, fault->fault, fault->bound_ms);

	for (int i = 0; i < 2; i++)
		play->missed += !hit_once(proxy, fault->aim, random_below(&play->random, 4), episode);
	network_clear(&play->network);
	trial_over(&play->trial);
}

static void cause_end(struct play *play, const char *fault, void (*end)(struct fault_proxy *)) {
	trial_fault(&play->trial, fault, AT_ONCE_MS);
	network_each(&play->network, NETWORK_ALL, end);
	trial_over(&play->trial);
}

/* ---- Faults that repeat -------------------------------------------------------------- */

/* One reply in three is lost after its commit, wherever it comes, for a while. */
static void cause_storm(struct play *play) {
	uint64_t end = monotonic_ns() + 2 * LASTS_MS * NS_PER_MS;
	uint32_t hits = 0;

	trial_fault(&play->trial, "network: replies lost after commit, one after the other", AFTER_PAUSE_MS);
	while (monotonic_ns() < end) {
		for (uint32_t h = 0; h < HOSTS; h++)
			fault_proxy_aim(&play->network.proxy[h], FAULT_LOSE_REPLY_CUT, TAKE, random_below(&play->random, 3));
		trial_endure(&play->trial, 60);
	}
	for (uint32_t h = 0; h < HOSTS; h++)
		hits += fault_proxy_hits(&play->network.proxy[h]);
	network_clear(&play->network);
	trial_over(&play->trial);
	tap_note("%u replies lost so far", hits);
}

static void cause_flapping(struct play *play) {
	trial_fault(&play->trial, "network: connections cut again and again", AFTER_PAUSE_MS);
	for (int i = 0; i < 16; i++) {
		network_each(&play->network, random_below(&play->random, HOSTS),
		             i % 3 ? fault_proxy_cut : fault_proxy_reset);
		trial_endure(&play->trial, 20 + random_below(&play->random, 150));
	}
	trial_over(&play->trial);
}

/* Packet loss looks like this from above TCP: nothing comes for a while, then all at once. */
static void cause_stalls(struct play *play) {
	trial_fault(&play->trial, "network: stalls of 20 to 400 ms, as of lost packets", AFTER_PAUSE_MS);
	for (int i = 0; i < 10; i++) {
		network_fault(&play->network, random_below(&play->random, HOSTS), &(struct fault_line){.dark = true});
		trial_endure(&play->trial, 20 + random_below(&play->random, 380));
		network_clear(&play->network);
		trial_endure(&play->trial, 10 + random_below(&play->random, 50));
	}
	trial_over(&play->trial);
}

/* ---- All of them ------------------------------------------------------------------------ */

#define LASTING (uint32_t)(sizeof(lasting) / sizeof(lasting[0]))
#define AIMED   (uint32_t)(sizeof(aimed) / sizeof(aimed[0]))
#define OTHERS  5u
#define FAULTS  (LASTING + AIMED + OTHERS)

static void cause(struct play *play, uint32_t number) {
	if (number < LASTING) {
		cause_lasting(play, &lasting[number]);
		return;
	}
	number -= LASTING;
	if (number < AIMED) {
		cause_aimed(play, &aimed[number]);
		return;
	}
	switch (number - AIMED) {
	case 0: cause_end(play, "network: all connections cut", fault_proxy_cut); break;
	case 1: cause_end(play, "network: all connections reset", fault_proxy_reset); break;
	case 2: cause_storm(play); break;
	case 3: cause_flapping(play); break;
	default: cause_stalls(play);
	}
}

static void cause_all(struct play *play) {
	uint32_t order[FAULTS];

	for (uint32_t i = 0; i < FAULTS; i++)
		order[i] = i;
	for (uint32_t i = FAULTS; i > 0; i--) {
		uint32_t chosen = random_below(&play->random, i), number = order[chosen];

		order[chosen] = order[i - 1];
		cause(play, number);
	}
}

static int play_all(const struct scene *scene) {
	static const struct trial_options options = {.name = "network: all these faults, one after the other",
	                                             .plan = &plan,
	                                             .slack_ms = SLACK_MS};
	static struct play play;
	uint64_t rounds = setting_number("STINT_ROUNDS", 1);
	uint64_t seed = setting_number("STINT_SEED", 1);

	play.random = seed;
	if (network_set(&play.network, scene, HOSTS, seed) != 0 ||
	    stage_crowd(&play.network.stage, 2, &plan, 400) != 0)
		return tap_finish();
	tap_note("seed %llu, %llu rounds", (unsigned long long)seed, (unsigned long long)rounds);
	trial_begin(&play.trial, &play.network.stage, &options);
	for (uint64_t i = 0; i < rounds && play.trial.count + FAULTS < TRIAL_EPISODES; i++) {
		cause_all(&play);
		trial_round_over(i + 1, rounds);
	}
	tap_ok(play.missed == 0, "each aimed fault met its statement; %u did not", play.missed);
	trial_judge(&play.trial);
	network_strike(&play.network);
	return tap_finish();
}

int main(void) {
	return scene_run(play_all, 120 * (int)setting_number("STINT_ROUNDS", 1));
}
