/*
 * test_two_agents.c - two agents are started with the same names: one after the other, and pairs at the same
 * moment. One works; the other says why it can't, and ends. Pairs share the shared memory, the socket, or both;
 * before each, the agent of the pair before was stopped or killed.
 *
 *     test_two_agents [PAIRS [SEED]]      how many pairs of each kind (default 20); 500 for a long run
 */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer.h"
#include "probe.h"
#include "process.h"
#include "proof.h"
#include "random.h"
#include "setting.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define READY_MS 5000

static unsigned long pairs = 20;
static uint64_t seed = 1;

struct outcome {
	uint64_t pairs, one_works, says_why, served, not_served;
	int64_t longest_ms; /* until the one that works answers */
};

static const struct stint_options terms = {.policy = "twice",
                                           .max_requests = 1000000,
                                           .time_window_ms = 3600000,
                                           .fallback_max_requests = 1000000};

static pid_t start(const struct host *host) {
	const char *argv[] = {process_built("stintd"), "-c", host->config, NULL};

	return process_start(argv, host->log);
}

static bool answers(const struct host *host) {
	int fd = peer_connect(host->socket);
	bool welcome = fd >= 0 && peer_hello(fd, 1000) == 0;

	if (fd >= 0)
		close(fd);
	return welcome;
}

/* Asks on both sockets, since the loser's may be the winner's or nobody's. Gives which agent ended, or -1. */
static int wait_for_loser(const pid_t *agents, int *status) {
	uint64_t began = monotonic_ns();

	while (stage_ms_since(began) < READY_MS) {
		for (int i = 0; i < 2; i++)
			if (process_wait(agents[i], 0, status))
				return i;
		sleep_ms(1);
	}
	return -1;
}

static int said_why(const struct host *host) {
	return host_log_count(host, "another agent");
}

static void end_winner(struct host *host, pid_t pid, uint64_t *random) {
	host->agent = pid;
	if (random_below(random, 2) == 0)
		host_kill(host);
	else
		host_stop(host);
}

/* The app was served by earlier agents with these names, and has to find this one. */
static void ask(const struct probe *app, struct outcome *outcome) {
	uint64_t began = monotonic_ns();
	struct stint_result result;

	do {
		if (stint_check(app->limiter, "anna", 1, &result) == 0 && result.source != STINT_SOURCE_LOCAL) {
			outcome->served++;
			return;
		}
		sleep_ms(10);
	} while (stage_ms_since(began) < READY_MS);
	outcome->not_served++;
}

static void race(struct host hosts[2], const struct probe *app, uint64_t *random, struct outcome *outcome) {
	int before = said_why(&hosts[0]) + said_why(&hosts[1]), status = 0, loser;
	uint64_t began = monotonic_ns();
	pid_t agents[2];

	agents[0] = start(&hosts[0]);
	/* The second one comes while the first one makes the table, or a little later. */
	if (random_below(random, 4) == 0)
		sleep_until_ns(monotonic_ns() + random_below(random, 8000) * NS_PER_US);
	agents[1] = start(&hosts[1]);
	loser = wait_for_loser(agents, &status);
	outcome->pairs++;
	if (loser < 0) {
		process_kill(agents[0]);
		process_kill(agents[1]);
		return;
	}
	while (!answers(&hosts[!loser]) && stage_ms_since(began) < READY_MS)
		sleep_ms(1);
	outcome->longest_ms =
		stage_ms_since(began) > outcome->longest_ms ? stage_ms_since(began) : outcome->longest_ms;
	hosts[!loser].agent = agents[!loser];
	outcome->one_works += host_is_running(&hosts[!loser]) && answers(&hosts[!loser]);
	outcome->says_why +=
		WIFEXITED(status) && WEXITSTATUS(status) == 1 && said_why(&hosts[0]) + said_why(&hosts[1]) == before + 1;
	if (app != NULL)
		ask(app, outcome);
	end_winner(&hosts[!loser], agents[!loser], random);
}

static void judge(const struct outcome *outcome, const char *what) {
	char fault[96];

	tap_ok(outcome->one_works == outcome->pairs, "%s: one of the two works: %llu of %llu pairs", what,
	       (unsigned long long)outcome->one_works, (unsigned long long)outcome->pairs);
	tap_ok(outcome->says_why == outcome->pairs, "%s: the other one says why, and ends with status 1: %llu", what,
	       (unsigned long long)outcome->says_why);
	tap_ok(outcome->not_served == 0, "%s: an app that was there before is served by whom it is: %llu times", what,
	       (unsigned long long)outcome->served);
	snprintf(fault, sizeof(fault), "two agents at once, %s", what);
	proof_print(&(struct proof){"I1 I6", fault, outcome->pairs, outcome->served + outcome->pairs,
	                            2 * outcome->pairs - outcome->one_works - outcome->says_why + outcome->not_served,
	                            outcome->longest_ms});
}

static int prepare(const struct scene *scene, struct host hosts[2], bool same_shm, bool same_socket) {
	const struct host_options options = {.database = "memory:", .max_clients = 1000};
	struct host pattern;

	if (host_prepare(&pattern, scene, 0, &options) != 0)
		return -1;
	for (uint32_t i = 0; i < 2; i++) {
		FILE *file;

		if (host_prepare(&hosts[i], scene, i + 1, &options) != 0)
			return -1;
		if (same_socket)
			snprintf(hosts[i].socket, sizeof(hosts[i].socket), "%s", pattern.socket);
		if (same_shm)
			snprintf(hosts[i].shm, sizeof(hosts[i].shm), "%s", pattern.shm);
		file = fopen(hosts[i].config, "we");
		if (file == NULL)
			return -1;
		fprintf(file, "[stint]\nsocket = %s\nshm = %s\ndatabase = memory:\nmax_clients = 1000\n", hosts[i].socket,
		        hosts[i].shm);
		fclose(file);
	}
	return 0;
}

static void play_races(const struct scene *scene, bool same_shm, bool same_socket, const char *what) {
	struct outcome outcome = {0};
	struct probe app = {0};
	struct host hosts[2];
	uint64_t random = seed;

	if (!tap_ok(prepare(scene, hosts, same_shm, same_socket) == 0 &&
	                (!same_socket || probe_open(&app, &hosts[0], &terms) == 0),
	            "agents with %s", what))
		return;
	for (unsigned long i = 0; i < pairs; i++) {
		race(hosts, same_socket ? &app : NULL, &random, &outcome);
		if (i % 100 == 99)
			tap_note("%lu of %lu pairs", i + 1, pairs);
	}
	judge(&outcome, what);
	probe_close(&app);
}

/* Any number of others that try don't disturb the agent that is there. */
static void play_second(const struct scene *scene) {
	const struct host_options options = {.database = "memory:", .max_clients = 1000};
	struct probe app = {0};
	struct stint_result result;
	struct host host;
	uint64_t wrong = 0, checked = 0;
	int64_t generation;

	if (!tap_ok(host_prepare(&host, scene, 0, &options) == 0 && host_start(&host) == 0 &&
	                probe_open(&app, &host, &terms) == 0 && stint_check(app.limiter, "anna", 1, &result) == 0,
	            "an agent that works"))
		return;
	generation = host_number(&host, "table", "generation");
	for (unsigned long i = 0; i < pairs; i++) {
		process_stop(start(&host), 0); /* it ends by itself, or is killed while it tries */
		for (int n = 0; n < 100; n++, checked++)
			wrong += stint_check(app.limiter, "anna", 1, &result) != 0 || result.source == STINT_SOURCE_LOCAL;
	}
	for (unsigned long i = 0; i < pairs; i++) {
		const char *argv[] = {process_built("stintd"), "-c", host.config, NULL};

		wrong += process_run(argv, READY_MS, NULL, 0, host.log) != 1;
		wrong += stint_check(app.limiter, "anna", 1, &result) != 0 || result.source == STINT_SOURCE_LOCAL;
	}
	wrong += said_why(&host) < (int)pairs;
	wrong += host_number(&host, "table", "generation") != generation;
	tap_ok(wrong == 0, "%lu others that are started are refused and told why; apps notice nothing: %llu",
	       2 * pairs, (unsigned long long)wrong);
	proof_print(
		&(struct proof){"I4 I6", "a second agent on one table", 2 * pairs, checked, wrong, PROOF_NO_RECOVERY});
	tap_ok(host_stop(&host) == 0, "and the first one ends with status 0");
	probe_close(&app);
}

static int play(const struct scene *scene) {
	play_second(scene);
	play_races(scene, true, true, "the same table and socket");
	play_races(scene, true, false, "the same table");
	play_races(scene, false, true, "the same socket");
	return tap_finish();
}

int main(int argc, char **argv) {
	pairs = setting_argument(argc, argv, 1, pairs);
	seed = setting_argument(argc, argv, 2, seed);
	return scene_run(play, 60 + (int)pairs * 4);
}
