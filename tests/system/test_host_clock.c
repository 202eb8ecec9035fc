/*
 * test_host_clock.c - clocks of the hosts. The time of day that agents and apps see is set back and forth by up
 * to an hour: nothing may come of it. And an app in a time namespace has another CLOCK_MONOTONIC than the
 * agent: it must not use the table, by however little they differ, and decide by its own lenient limit.
 *
 *     test_host_clock [STEPS [SEED]]      how often the time of day is set (default 40); 2000 for a long run
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"
#include "proof.h"
#include "random.h"
#include "setting.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"
#include "wall_clock.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define HOSTS            2u
#define HOUR_US          INT64_C(3600000000)
#define QUIET_MS         4000
#define STEP_MS          100
#define CHECK_TIMEOUT_MS 1000
#define SLACK_MS         500
#define OWN_LIMIT        7 /* the limit of a process that is on its own */

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_POLICY("busy", 500, 500, 1000, 2), .clients = 2, .share = 1}},
	.seed = 5,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 400000,
};

static unsigned long steps = 40;
static uint64_t seed = 1;

/* ---- The time of day ---------------------------------------------------------- */

static void set_often(struct wall_clock *clock) {
	uint64_t random = seed;

	for (unsigned long i = 0; i < steps; i++) {
		wall_clock_set(clock, (int64_t)random_below(&random, 2 * 3600000) * 1000 - HOUR_US);
		sleep_ms(STEP_MS);
		if (i % 100 == 99)
			tap_note("%lu of %lu steps", i + 1, steps);
	}
	wall_clock_set(clock, 0);
}

static int64_t per_second(const struct oracle *oracle, uint64_t from_ns, uint64_t until_ns) {
	const struct oracle_choice choice = {.host = ORACLE_ANY,
	                                     .client = ORACLE_ANY,
	                                     .from_ns = from_ns,
	                                     .until_ns = until_ns};

	return oracle_sum(oracle, &choice) * 1000 / (int64_t)((until_ns - from_ns) / NS_PER_MS);
}

/* Counts checks that weren't on the database's books, or took too long. */
static uint64_t count_broken(const struct crowd_total *total) {
	uint64_t alone = 0;

	alone += total->admitted[STINT_SOURCE_FALLBACK] + total->denied[STINT_SOURCE_FALLBACK];
	alone += total->admitted[STINT_SOURCE_LOCAL] + total->denied[STINT_SOURCE_LOCAL];
	tap_ok(alone == 0, "no check was decided without the database: %llu", (unsigned long long)alone);
	return alone + !stage_check_latency(total, CHECK_TIMEOUT_MS, SLACK_MS) + total->errors;
}

static uint64_t count_warnings(const struct stage *stage) {
	uint64_t count = 0;

	for (uint32_t h = 0; h < HOSTS; h++)
		count += (uint64_t)host_log_count(&stage->host[h], "warning:");
	return count;
}

static void play_time_of_day(struct stage *stage, struct wall_clock *clock) {
	uint64_t quiet_ns, began_ns, ended_ns, broken, calm, worried;
	const struct oracle_choice all = {.host = ORACLE_ANY};
	struct crowd_total total;
	struct oracle oracle;
	int64_t before, during;

	sleep_ms(1500);
	quiet_ns = monotonic_ns();
	sleep_ms(QUIET_MS);
	calm = count_warnings(stage);
	began_ns = monotonic_ns();
	set_often(clock);
	ended_ns = monotonic_ns();
	stage_read(stage, &oracle, &total);
	before = per_second(&oracle, quiet_ns, began_ns);
	during = per_second(&oracle, began_ns, ended_ns);
	broken = stage_check_promise(&oracle, &plan, &all, "while the clocks were set") + count_broken(&total);
	/* Clients above their limit get all of it at once, every 1.1 s. A few seconds may hold one such time less. */
	broken += !tap_ok(during * 10 >= 7 * plan.policy[0].max_requests * plan.policy[0].clients,
	                  "%lld credits a second while the clocks were set, %lld before", (long long)during,
	                  (long long)before);
	worried = count_warnings(stage) - calm;
	broken += !tap_ok(worried == 0, "the agents noticed nothing: %llu warnings", (unsigned long long)worried);
	proof_print(&(struct proof){"I1 I4 I5 I6", "host clocks set back and forward, up to an hour", steps,
	                            oracle.count, broken, PROOF_NO_RECOVERY});
	oracle_free(&oracle);
}

/* ---- Time namespaces ----------------------------------------------------------- */

struct offset {
	const char *words; /* seconds, nanoseconds */
	bool served;
};

static const struct offset offsets[] = {
	{"0 0", true}, {"100000 0", false}, {"30 0", false}, {"0 1", false}, {"-5 0", false}, {"-1 999000000", false},
};

/* Gives 0, or the number of what an app didn't find as it should be. */
static int ask_from_elsewhere(const struct host *host, bool served) {
	const struct stint_options options = {.policy = "elsewhere",
	                                      .max_requests = 1000,
	                                      .time_window_ms = 3600000,
	                                      .fallback_max_requests = OWN_LIMIT};
	struct stint_limiter *limiter;
	struct stint_result result;
	struct stint *stint;
	int status, allowed = 0;

	if (stint_open(&stint, host->socket) != 0 || stint_limiter_new(&limiter, stint, &options) != 0)
		return 1;
	status = stint_check(limiter, "anna", 1, &result);
	if (served)
		return status == 0 && result.source != STINT_SOURCE_LOCAL ? 0 : 2;
	if (status != STINT_ETIMENS)
		return 3;
	if (strstr(stint_error_detail(), "time namespace") == NULL)
		return 4;
	for (int i = 0; i < 10 * OWN_LIMIT; i++)
		allowed += stint_is_allowed(limiter, "anna");
	return allowed == OWN_LIMIT ? 0 : 5;
}

static int write_offset(const char *words) {
	char text[64];
	int fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	int length = snprintf(text, sizeof(text), "monotonic %s\n", words);
	bool written = fd >= 0 && write(fd, text, (size_t)length) == length;

	if (fd >= 0)
		close(fd);
	return written ? 0 : -1;
}

static int wait_status(pid_t child) {
	int status = 0;

	if (child < 0 || !process_wait(child, 10000, &status) || !WIFEXITED(status))
		return 120;
	return WEXITSTATUS(status);
}

/* A process doesn't enter the namespace that it makes; its children do. */
static int run_in_namespace(const struct host *host, const struct offset *offset) {
	pid_t child = fork();

	if (child == 0) {
		pid_t inner;

		if (unshare(CLONE_NEWTIME) != 0 || write_offset(offset->words) != 0)
			_exit(121);
		inner = fork();
		if (inner == 0)
			_exit(ask_from_elsewhere(host, offset->served));
		_exit(wait_status(inner));
	}
	return wait_status(child);
}

static bool may_make_namespaces(void) {
	pid_t child = fork();

	if (child == 0)
		_exit(unshare(CLONE_NEWTIME) != 0 ? errno : 0);
	errno = wait_status(child);
	return errno == 0;
}

static void play_namespaces(const struct host *host) {
	uint64_t broken = 0, count = sizeof(offsets) / sizeof(offsets[0]);

	if (!may_make_namespaces()) {
		tap_skip("apps with clocks that are off: no time namespaces here: %s", strerror(errno));
		return;
	}
	for (size_t i = 0; i < count; i++) {
		int found = run_in_namespace(host, &offsets[i]);

		broken += !tap_ok(found == 0, "an app whose clock is off by %s (s, ns) is %s: %d", offsets[i].words,
		                  offsets[i].served ? "served" : "refused, told why, and lenient by itself", found);
	}
	broken += !tap_ok(host_number(host, "table", "repaired") == 0, "and has written nothing into the table");
	proof_print(&(struct proof){"I1 I4 I6", "time namespace differs", count, count, broken, PROOF_NO_RECOVERY});
}

static int play(const struct scene *scene) {
	struct wall_clock clock;
	struct stage stage;

	if (!tap_ok(wall_clock_make(&clock, scene) == 0, "a clock for the hosts that can be set"))
		return tap_finish();
	wall_clock_export(&clock);
	if (stage_set(&stage, scene, HOSTS, STAGE_PATIENT) != 0 || stage_crowd(&stage, 2, &plan, 3000) != 0)
		return tap_finish();
	play_time_of_day(&stage, &clock);
	play_namespaces(&stage.host[0]);
	stage_strike(&stage);
	return tap_finish();
}

int main(int argc, char **argv) {
	steps = setting_argument(argc, argv, 1, steps);
	seed = setting_argument(argc, argv, 2, seed);
	return scene_run(play, 60 + (int)(steps / 5));
}
