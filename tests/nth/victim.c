/* victim.c - see victim.h. */
#include "victim.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "peer.h"
#include "process.h"
#include "setting.h"
#include "tap.h"

#define START_MS 10000
#define STOP_MS  10000
#define HELLO_MS 200
/* An agent that can never get what it needs serves nobody and waits. It need not wait for long here. */
#define SPARE_MS   600
#define TIMEOUT_MS 300
/* How long an agent takes to notice who hung up. */
#define SETTLE_MS 100
/* For a check for which nobody waited, on a busy machine. */
#define SLACK_MS 1500

int victim_prepare(struct victim *victim, const struct scene *scene, uint32_t number, const char *database,
                   const char *socket) {
	struct host_options options = {.database = database,
	                               .max_clients = 4096,
	                               .database_timeout_ms = 400,
	                               .socket = socket};

	memset(victim, 0, sizeof(*victim));
	victim->scene = scene;
	scene_path(scene, "victim.control", victim->control_path);
	victim->control = nth_make(victim->control_path);
	return victim->control != NULL ? host_prepare(&victim->host, scene, number, &options) : -1;
}

void victim_complain(struct victim *victim, const char *what, int64_t value) {
	victim->proof.violations++;
	tap_ok(false, "%s: %s %" PRId64, nth_describe(victim->control), what, value);
	host_print_log(&victim->host);
}

/* ---- Its life -------------------------------------------------------------------------- */

static bool greets(const struct host *host) {
	int fd = peer_connect(host->socket), answer = fd < 0 ? -1 : peer_hello(fd, HELLO_MS);

	if (fd >= 0)
		close(fd);
	return answer == 0;
}

/* All that it says goes into one log. Gives how much is already there. */
static off_t log_size(const struct host *host) {
	struct stat st;

	return stat(host->log, &st) == 0 ? st.st_size : 0;
}

static void judge_refusal(struct victim *victim, int status) {
	victim->refused++;
	if (!WIFEXITED(status))
		victim_complain(victim, "died at its start of signal", WTERMSIG(status));
	else if (WEXITSTATUS(status) != 1 && WEXITSTATUS(status) != 2)
		victim_complain(victim, "ended at its start with status", WEXITSTATUS(status));
	else if (log_size(&victim->host) == victim->said_before)
		victim_complain(victim, "ended at its start without a word, with status", WEXITSTATUS(status));
}

void victim_spare(struct victim *victim) {
	nth_disarm(victim->control);
}

static void launch(struct victim *victim, const struct nth_plan *plan) {
	const char *argv[] = {process_built("stintd"), "-c", victim->host.config, NULL};

	memset(victim->control, 0, sizeof(*victim->control));
	victim->control->plan = *plan;
	victim->control->at_start = 1;
	victim->said_before = log_size(&victim->host);
	victim->proof.runs++;
	victim->host.agent = nth_start(argv, victim->host.log, victim->control_path);
}

static bool has_refused(struct victim *victim, int timeout_ms) {
	int status;

	if (!process_wait(victim->host.agent, timeout_ms, &status))
		return false;
	victim->host.agent = 0;
	judge_refusal(victim, status);
	return true;
}

bool victim_start(struct victim *victim, const struct nth_plan *plan) {
	uint64_t began = monotonic_ns(), deadline = began + START_MS * NS_PER_MS;

	launch(victim, plan);
	while (monotonic_ns() < deadline) {
		if (has_refused(victim, 0))
			return false;
		if (greets(&victim->host))
			return true;
		if (monotonic_ns() > began + SPARE_MS * NS_PER_MS)
			victim_spare(victim);
		sleep_ms(1);
	}
	victim_complain(victim, "neither serves nor ends after ms", START_MS);
	host_kill(&victim->host);
	return false;
}

int victim_start_in_vain(struct victim *victim, const struct nth_plan *plan) {
	launch(victim, plan);
	if (has_refused(victim, START_MS))
		return 0;
	host_kill(&victim->host);
	return -1;
}

void victim_start_again(struct victim *victim) {
	if (host_start(&victim->host) != 0)
		victim_complain(victim, "an agent without failures doesn't start after it", 0);
	else if (host_stop(&victim->host) != 0)
		victim_complain(victim, "an agent without failures doesn't stop well after it", 0);
}

void victim_count_descriptors(struct victim *victim) {
	int descriptors;

	if (victim->control->plan.n == 0) {
		sleep_ms(SETTLE_MS);
		descriptors = process_descriptors(victim->host.agent);
		victim->descriptors = descriptors > victim->descriptors ? descriptors : victim->descriptors;
		return;
	}
	descriptors = process_wait_descriptors(victim->host.agent, victim->descriptors, 10 * SETTLE_MS);
	if (descriptors > victim->descriptors)
		victim_complain(victim, "descriptors that others don't have:", descriptors - victim->descriptors);
}

void victim_stop(struct victim *victim) {
	int64_t blocks;
	int status = 0;

	if (!host_is_running(&victim->host)) {
		victim_complain(victim, "the agent is gone", 0);
		return;
	}
	kill(victim->host.agent, SIGTERM);
	if (!process_wait(victim->host.agent, STOP_MS, &status)) {
		victim_complain(victim, "no end after ms", STOP_MS);
		host_kill(&victim->host);
		return;
	}
	victim->host.agent = 0;
	if (status != 0)
		victim_complain(victim, "it ended with wait status", status);
	blocks = atomic_load(&victim->control->blocks_end);
	if (victim->control->plan.n == 0 && blocks > victim->blocks)
		victim->blocks = blocks;
	if (blocks > victim->blocks)
		victim_complain(victim, "allocations that others don't leave:", blocks - victim->blocks);
}

uint64_t victim_step(uint64_t calls, uint64_t runs) {
	uint64_t step = setting_number("NTH_STEP", 0);

	return step > 0 ? step : calls / runs + 1;
}

/* ---- The app --------------------------------------------------------------------------- */

bool customer_open(struct customer *c, struct victim *victim, const char *client) {
	const struct stint_options options = {.policy = "nth",
	                                      .max_requests = VICTIM_LIMIT,
	                                      .time_window_ms = 3600000,
	                                      .fallback_max_requests = VICTIM_FALLBACK,
	                                      .timeout_ms = TIMEOUT_MS};

	*c = (struct customer){.victim = victim};
	snprintf(c->client, sizeof(c->client), "%s", client);
	return stint_open(&c->stint, victim->host.socket) == 0 &&
	       stint_limiter_new(&c->limiter, c->stint, &options) == 0;
}

bool customer_meet(struct customer *c, struct victim *victim, const struct nth_plan *plan, const char *client) {
	uint64_t before = victim->proof.violations;

	if (!victim_start(victim, plan)) {
		if (victim->proof.violations == before)
			victim_start_again(victim);
		return false;
	}
	if (!customer_open(c, victim, client))
		victim_complain(victim, "the app can't open", 0);
	return true;
}

/* An agent without memory says so. The library has no reason for other errors. */
static bool may_say(int error) {
	return error == STINT_ENOMEM;
}

static int check_once(struct customer *c, const char *client, struct stint_result *result) {
	uint64_t began = monotonic_ns();
	int error = stint_check(c->limiter, client, 1, result);
	int64_t took_ms = (int64_t)((monotonic_ns() - began) / NS_PER_MS);

	c->victim->proof.checked++;
	if (took_ms > TIMEOUT_MS + SLACK_MS)
		victim_complain(c->victim, "a check took ms", took_ms);
	if (error != 0 && !may_say(error))
		victim_complain(c->victim, stint_error_detail(), error);
	return error;
}

void customer_check(struct customer *c, int times) {
	struct stint_result result;

	for (int i = 0; i < times; i++)
		if (check_once(c, c->client, &result) == 0 && result.allowed)
			c->admitted[result.source]++;
}

void customer_recover(struct customer *c, int64_t limit_ms) {
	uint64_t began = monotonic_ns();
	struct stint_result result;
	int64_t took_ms;
	char client[64];

	for (int i = 0;; i++) {
		snprintf(client, sizeof(client), "%s-%d", c->client, i);
		if (check_once(c, client, &result) == 0 && result.source != STINT_SOURCE_LOCAL &&
		    result.source != STINT_SOURCE_FALLBACK)
			break;
		sleep_ms(5);
		if (monotonic_ns() > began + (uint64_t)limit_ms * NS_PER_MS) {
			victim_complain(c->victim, "no right decision after ms", limit_ms);
			return;
		}
	}
	took_ms = (int64_t)((monotonic_ns() - began) / NS_PER_MS);
	if (took_ms > c->victim->proof.recovery_ms)
		c->victim->proof.recovery_ms = took_ms;
}

int64_t customer_close(struct customer *c) {
	int64_t strict = c->admitted[STINT_SOURCE_LEASE] + c->admitted[STINT_SOURCE_DATABASE];

	if (strict > VICTIM_LIMIT)
		victim_complain(c->victim, "the limit was exceeded:", strict);
	if (c->admitted[STINT_SOURCE_FALLBACK] > VICTIM_FALLBACK)
		victim_complain(c->victim, "the host's own limit was exceeded:", c->admitted[STINT_SOURCE_FALLBACK]);
	if (c->admitted[STINT_SOURCE_LOCAL] > VICTIM_FALLBACK)
		victim_complain(c->victim, "the process's own limit was exceeded:", c->admitted[STINT_SOURCE_LOCAL]);
	stint_limiter_free(c->limiter);
	stint_close(c->stint);
	return strict;
}
