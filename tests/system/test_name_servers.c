/*
 * test_name_servers.c - agents know their database by its name, and the name server falls silent: while they
 * run, while the database is dark as well, and before they start. A lookup hangs for two seconds then. It must
 * stop nothing: what must hold is said in trial.h, and the address that the name had last serves meanwhile.
 * Last, one of the name's two addresses is dark.
 *
 * Networks, mounts and the packet filter need root: without, the test says so and is skipped.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "name_server.h"
#include "private_network.h"
#include "probe.h"
#include "process.h"
#include "proof.h"
#include "tap.h"
#include "trial.h"

#define CANNOT "a name server can't be replaced" /* where something isn't permitted */

#define HOSTS            2u
#define WINDOW_MS        500
#define LIMIT            150
#define CHECK_TIMEOUT_MS 1500
#define SLACK_MS         200
#define LASTS_MS         2500 /* longer than a lookup */
#define AFTER_PAUSE_MS   4000

/* For an agent that starts in silence. */
#define ALONE_LIMIT 20
#define ALONE_MS    3000
#define WATCHDOG_US "400000" /* it is fed every 200 ms */
/* The longest pause of a loop that nothing stops, on a busy machine. A lookup would take two or three times as
 * long. */
#define STALL_MS 800
/* For how long the loop may be seen to sleep where it shouldn't. A busy machine doesn't count here. */
#define BLOCKED_MS 10

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_API(LIMIT, LIMIT, WINDOW_MS), .clients = 3, .skew = 0.5}},
	.seed = 91,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 2000000,
};

struct play {
	struct stage stage;
	struct trial trial;
	struct name_server names;
	int notify_fd; /* where the agent notifies, in systemd's place */
};

static void nft(const char *rules) {
	tap_ok(private_network_filter(rules), "nft %s", rules);
}

static bool set_up(struct play *play, const struct scene *scene) {
	return private_network_set() &&
	       tap_ok(name_server_start(&play->names, scene) == 0, "a name server of its own");
}

/* ---- While agents run ----------------------------------------------------------------- */

static void end_sessions(struct play *play, struct trial_episode *episode) {
	int lost = 0, before = 0;

	for (uint32_t h = 0; h < HOSTS; h++)
		before += host_log_count(&play->stage.host[h], "lost the database");
	cluster_end_backends(&play->stage.cluster);
	episode->over_ns = monotonic_ns();
	for (int i = 0; i < 3000 && lost < before + (int)HOSTS; i++) {
		sleep_ms(1);
		lost = 0;
		for (uint32_t h = 0; h < HOSTS; h++)
			lost += host_log_count(&play->stage.host[h], "lost the database");
	}
}

/* All agents are back before the name server is. */
static void fall_silent(struct play *play) {
	struct trial_episode *episode = trial_fault(&play->trial, "names: silent, connections end", AFTER_PAUSE_MS);
	int said = 0;

	atomic_store(&play->names.silent, true);
	end_sessions(play, episode);
	trial_over(&play->trial);
	for (uint32_t h = 0; h < HOSTS; h++)
		said += host_log_count(&play->stage.host[h], "connected by an address of earlier") > 0;
	tap_ok(play->names.swallowed > 0 && said == HOSTS,
	       "%u questions were swallowed, %d of %u agents connected by the last address", play->names.swallowed,
	       said, HOSTS);
	atomic_store(&play->names.silent, false);
}

static void fall_silent_in_the_dark(struct play *play) {
	trial_fault(&play->trial, "names: silent, database dark", AFTER_PAUSE_MS);
	atomic_store(&play->names.silent, true);
	nft("add rule inet stint_test loss tcp sport " PRIVATE_PORT " drop");
	trial_endure(&play->trial, LASTS_MS);
	nft("flush chain inet stint_test loss");
	atomic_store(&play->names.silent, false);
	trial_over(&play->trial);
}

/* An attempt spends all its time on the dark address; the next one begins with the other. */
static void darken_one_address(struct play *play) {
	struct trial_episode *episode =
		trial_fault(&play->trial, "names: the first of two addresses is dark", AFTER_PAUSE_MS);

	atomic_store(&play->names.addresses, 2);
	nft("add rule inet stint_test loss ip daddr 127.0.0.9 drop");
	end_sessions(play, episode);
	trial_over(&play->trial);
	nft("flush chain inet stint_test loss");
}

/* ---- Before one starts ------------------------------------------------------------------- */

static bool take_notify_socket(struct play *play) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	scene_path(play->stage.scene, "notify", address.sun_path);
	play->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	setenv("WATCHDOG_USEC", WATCHDOG_US, 1);
	return play->notify_fd >= 0 && bind(play->notify_fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
}

static bool was_fed(int fd) {
	char message[512];
	bool fed = false;

	for (ssize_t got; (got = recv(fd, message, sizeof(message) - 1, 0)) > 0;) {
		message[got] = '\0';
		fed |= strstr(message, "WATCHDOG=1") != NULL;
	}
	return fed;
}

struct seen {
	uint64_t checks, admitted, by_process;
	int64_t slowest_ms, hungry_ms, blocked_ms;
};

/* Many looks in a row must find the loop asleep elsewhere: two looks may see two short stays, far apart. */
static void look_at_loop(const struct host *host, struct seen *seen) {
	uint64_t began = monotonic_ns();
	int64_t blocked_ms = 0;
	int looks = 0;

	while (process_is_blocked(host->agent) && blocked_ms <= 2 * BLOCKED_MS) {
		blocked_ms = stage_ms_since(began);
		looks++;
		sleep_ms(1);
	}
	if (looks >= BLOCKED_MS / 2 && blocked_ms > seen->blocked_ms)
		seen->blocked_ms = blocked_ms;
}

/* Apps come and go, and each makes one check. */
static void look(struct play *play, const struct host *host, struct seen *seen) {
	static const struct stint_options options = {.policy = "alone",
	                                             .max_requests = 1000,
	                                             .time_window_ms = 3600000,
	                                             .fallback_max_requests = ALONE_LIMIT};
	uint64_t end = monotonic_ns() + ALONE_MS * NS_PER_MS, fed_ns = monotonic_ns();

	for (uint64_t now; (now = monotonic_ns()) < end; sleep_ms(2)) {
		look_at_loop(host, seen);
		int source = probe_once(host, &options, "carol");
		int64_t took = stage_ms_since(now);

		seen->checks++;
		seen->admitted += source != 0;
		seen->by_process += source == STINT_SOURCE_LOCAL;
		seen->slowest_ms = took > seen->slowest_ms ? took : seen->slowest_ms;
		if (was_fed(play->notify_fd))
			fed_ns = monotonic_ns();
		if (stage_ms_since(fed_ns) > seen->hungry_ms)
			seen->hungry_ms = stage_ms_since(fed_ns);
	}
}

static void start_in_silence(struct play *play) {
	struct host *host = &play->stage.host[0];
	struct seen seen = {0};
	uint64_t back_ns;
	bool in_step, right;
	int64_t took_ms;

	atomic_store(&play->names.silent, true);
	if (!tap_ok(take_notify_socket(play) && host_start(host) == 0,
	            "an agent starts while the name server is silent"))
		return;
	look(play, host, &seen);
	back_ns = monotonic_ns();
	atomic_store(&play->names.silent, false);
	in_step = host_wait_in_step(host, 2 * AFTER_PAUSE_MS);
	took_ms = stage_ms_since(back_ns);
	right = tap_ok(seen.admitted == ALONE_LIMIT && seen.by_process == 0,
	               "I3 it alone decides meanwhile: %" PRIu64 " of %" PRIu64 " checks admitted, %" PRIu64
	               " by their process; limit %d",
	               seen.admitted, seen.checks, seen.by_process, ALONE_LIMIT);
	right &= tap_ok(seen.slowest_ms < STALL_MS, "I4 the slowest check took %" PRId64 " ms; bound %d ms",
	                seen.slowest_ms, STALL_MS);
	right &= tap_ok(seen.hungry_ms < STALL_MS, "I6 its watchdog was not fed for %" PRId64 " ms; bound %d ms",
	                seen.hungry_ms, STALL_MS);
	right &= tap_ok(seen.blocked_ms <= BLOCKED_MS, "I6 its loop was stopped for %" PRId64 " ms; bound %d ms",
	                seen.blocked_ms, BLOCKED_MS);
	right &=
		tap_ok(in_step && took_ms <= AFTER_PAUSE_MS,
	           "I5 in step %" PRId64 " ms after the name server's return; bound %d ms", took_ms, AFTER_PAUSE_MS);
	tap_ok(host_stop(host) == 0, "it ends well");
	proof_print(&(struct proof){"I3 I4 I5 I6", "names: silent from the start", 1, seen.checks, !right, took_ms});
}

static int play_all(const struct scene *scene) {
	static const struct trial_options options = {.name = "names: all these faults, one after the other",
	                                             .plan = &plan,
	                                             .slack_ms = SLACK_MS};
	static struct play play;

	if (!private_network_enter(CANNOT))
		return tap_finish();
	if (!set_up(&play, scene) || private_network_stage(&play.stage, scene, HOSTS, NAME_SERVER_NAME) != 0 ||
	    stage_crowd(&play.stage, 2, &plan, 400) != 0)
		return tap_finish();
	trial_begin(&play.trial, &play.stage, &options);
	fall_silent(&play);
	fall_silent_in_the_dark(&play);
	darken_one_address(&play);
	trial_judge(&play.trial);
	start_in_silence(&play);
	name_server_stop(&play.names);
	return tap_finish();
}

int main(void) {
	if (geteuid() == 0 && scene_own_mounts() != 0) {
		tap_skip(CANNOT ": no mounts of its own here: %s", strerror(errno));
		return tap_finish();
	}
	return scene_run(play_all, 90);
}
