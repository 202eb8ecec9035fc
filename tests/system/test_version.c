/*
 * test_version.c - a library and an agent of different versions, as after an upgrade of only one of them: they
 * refuse each other with words that name both versions, the app decides by the lenient limit inside its
 * process, and those of one version are served beside it. And an agent of another version makes a table of its
 * own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer.h"
#include "process.h"
#include "proof.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define CHECKS  60
#define LIMIT   10          /* the limit in ask.c; there is no database, so it holds at once */
#define LENIENT (2 * LIMIT) /* the default, in the process */
#define WAIT_MS 10000

static uint64_t runs, checked, violations;

static bool expect(bool passed) {
	checked++;
	violations += !passed;
	return passed;
}

struct answer {
	int error;
	char detail[256];
	int source;
	int allowed; /* how many of CHECKS were allowed */
};

static bool ask(const struct host *host, const char *program, struct answer *answer) {
	char checks[16], out[1024] = "";
	const char *argv[] = {process_built(program), host->socket, checks, NULL};

	snprintf(checks, sizeof(checks), "%d", CHECKS);
	*answer = (struct answer){.error = 1};
	return process_run(argv, WAIT_MS, out, sizeof(out), NULL) == 0 &&
	       sscanf(out, "%d\n%255[^\n]\n%d\n%d\n", &answer->error, answer->detail, &answer->source,
	              &answer->allowed) == 4;
}

/* Starts an agent of any version; host_start() would say HELLO in this one. */
static bool start(struct host *host, const char *program) {
	const char *argv[] = {process_built(program), "-c", host->config, NULL};
	uint64_t deadline = monotonic_ns() + WAIT_MS * NS_PER_MS;

	host->agent = process_start(argv, host->log);
	while (monotonic_ns() < deadline && host_is_running(host)) {
		int fd = peer_connect(host->socket);

		if (fd >= 0)
			return close(fd) == 0;
		sleep_ms(5);
	}
	host_print_log(host);
	return false;
}

struct pair {
	const char *agent, *app;
	bool alike;
	const char *detail; /* what the app is told must say this */
	const char *log;    /* what the agent logs, if it is the agent that refuses */
};

static const struct pair pairs[] = {
	{"stintd", "tests/version/ask", true, "", NULL},
	{"stintd", "other-layout/ask", false, "layout 77", "layout 77"},
	{"stintd", "other-wire/ask", false, "77", "wire 77"},
	{"other-layout/stintd", "tests/version/ask", false, "layout 77", "layout 77"},
	{"other-wire/stintd", "tests/version/ask", false, "77", NULL},
	{"other-layout/stintd", "other-layout/ask", true, "", NULL},
	{"other-wire/stintd", "other-wire/ask", true, "", NULL},
};

static void meet(const struct scene *scene, uint32_t number, const struct pair *pair) {
	const struct host_options options = {.database = "memory:"};
	struct answer answer;
	struct host host;
	bool as_should;

	if (!tap_ok(host_prepare(&host, scene, number, &options) == 0 && start(&host, pair->agent), "%s starts",
	            pair->agent))
		return;
	runs++;
	as_should = ask(&host, pair->app, &answer);
	if (pair->alike)
		as_should =
			as_should && answer.error == 0 && answer.source != STINT_SOURCE_LOCAL && answer.allowed == LIMIT;
	else
		as_should = as_should && answer.error == STINT_EVERSION && strstr(answer.detail, pair->detail) &&
		            answer.allowed == LENIENT;
	tap_ok(expect(as_should), "%s at %s: error %d (%s), source %d, %d of %d allowed", pair->app, pair->agent,
	       answer.error, answer.detail, answer.source, answer.allowed, CHECKS);
	if (pair->log)
		tap_ok(expect(host_wait_log(&host, pair->log, WAIT_MS)), "and the agent's log says why");
	tap_ok(expect(host_stop(&host) == 0), "the agent ends well");
}

/* One agent comes after the other on the same shared memory, which an agent of the same version would take
 * over. */
static void succeed(const struct scene *scene, uint32_t number, const char *program, bool takes_over) {
	const struct host_options options = {.database = "memory:"};
	struct host host;
	bool taken;

	if (!tap_ok(host_prepare(&host, scene, number, &options) == 0 && start(&host, "stintd") &&
	                host_stop(&host) == 0,
	            "stintd was here"))
		return;
	runs++;
	taken = start(&host, program) && host_log_count(&host, "table taken over") > 0;
	tap_ok(expect(host_is_running(&host) && taken == takes_over), "%s comes after it, and %s", program,
	       taken ? "takes the table over" : "makes its own");
	tap_ok(expect(host_stop(&host) == 0), "the agent ends well");
}

/* An app of this version is served while one of another is turned away again and again. */
static void stay_apart(const struct scene *scene, uint32_t number) {
	const struct host_options options = {.database = "memory:"};
	struct answer stranger, friend;
	struct host host;
	int refused = 0;
	bool served;

	if (!tap_ok(host_prepare(&host, scene, number, &options) == 0 && host_start(&host) == 0, "stintd starts"))
		return;
	for (int i = 0; i < 20; i++)
		refused += ask(&host, i % 2 ? "other-wire/ask" : "other-layout/ask", &stranger) &&
		           stranger.error == STINT_EVERSION;
	runs += 20;
	tap_ok(expect(refused == 20), "20 apps of other versions come, %d are refused", refused);
	served = ask(&host, "tests/version/ask", &friend) && friend.error == 0 && friend.allowed == LIMIT;
	tap_ok(expect(served), "one of this version is served: %d of %d allowed", friend.allowed, CHECKS);
	tap_ok(expect(host_stop(&host) == 0), "the agent ends well");
}

static int play(const struct scene *scene) {
	uint32_t number = 0;

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		meet(scene, number++, &pairs[i]);
	succeed(scene, number++, "stintd", true);
	succeed(scene, number++, "other-layout/stintd", false);
	succeed(scene, number++, "other-wire/stintd", true); /* the table is the same */
	stay_apart(scene, number++);
	proof_print(&(struct proof){
		.invariants = "I4 I6",
		.fault = "old library with a new agent, and the reverse",
		.runs = runs,
		.checked = checked,
		.violations = violations,
		.recovery_ms = PROOF_NO_RECOVERY,
	});
	return tap_finish();
}

int main(void) {
	return scene_run(play, 120);
}
