/*
 * test_library.c - the Nth allocation, the Nth system call of an app fails inside the library: an error that
 * stint.h names or a decision within the limits, never a crash, nothing leaked, and right again soon after.
 *
 *     test_library            the test: starts an agent, and itself as the app
 *     test_library app SOCKET CLASS SEED
 *
 *     $NTH_ROUNDS   how often all N are gone through, each time with other errors; default 4
 */
#include <dirent.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "host.h"
#include "nth.h"
#include "process.h"
#include "proof.h"
#include "scene.h"
#include "setting.h"
#include "stint.h"
#include "tap.h"

#define LIMIT       8
#define LOCAL_LIMIT 10
#define TIMEOUT_MS  300
/* For a check for which nobody waited, on a busy machine. */
#define SLACK_MS 1500
/* The library tries to connect again after a second at most, and that attempt may fail as well. */
#define RECOVERY_MS 3500
/* One app's runs; some take the library's pause of a second. */
#define APP_MS 540000

/* ---- The app ---------------------------------------------------------------------- */

struct run {
	struct nth_control *control;
	struct stint *stint;
	struct stint_limiter *limiter;
	char client[40], other[40], third[40], fourth[40], fifth[40];
	int64_t strict, local, unknown; /* admitted checks of `client`, by who decided */
	int status;                     /* the status of the asynchronous check; 1: there is none yet */
	int may_be;                     /* a status that is no failure */
	int source;
	uint64_t checks;
};

static void complain(struct run *r, const char *what, int64_t value) {
	struct nth_control *c = r->control;

	fprintf(stderr, "%s: %s %" PRId64 "\n", nth_describe(c), what, value);
	if (atomic_fetch_add(&c->violations, 1) == 0)
		snprintf(c->complaint, sizeof(c->complaint), "%s: %s %" PRId64, nth_describe(c), what, value);
}

static bool may_say(int error) {
	return error == STINT_ENOMEM || error == STINT_ESYSTEM;
}

static int count_descriptors(void) {
	DIR *dir = opendir("/proc/self/fd");
	int count = -3; /* ".", ".." and the folder's own descriptor don't count */

	while (dir != NULL && readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

/* Makes one check, which must end in time with a verdict or an error that is allowed. True: it was admitted. */
static bool check(struct run *r, const char *client, uint32_t cost, struct stint_result *result) {
	uint64_t began = monotonic_ns();
	int error = stint_check(r->limiter, client, cost, result);
	int64_t took_ms = (int64_t)((monotonic_ns() - began) / NS_PER_MS);

	r->checks++;
	if (took_ms > TIMEOUT_MS + SLACK_MS)
		complain(r, "a check took ms", took_ms);
	if (error != 0 && !may_say(error))
		complain(r, "a check said", error);
	return error == 0 && result->allowed;
}

static void check_some(struct run *r, int times) {
	struct stint_result result;

	for (int i = 0; i < times; i++)
		if (check(r, r->client, 1, &result))
			*(result.source == STINT_SOURCE_LOCAL ? &r->local : &r->strict) += 1;
}

static void on_checked(int status, const struct stint_result *result, void *context) {
	struct run *r = context;

	if (r->status != 1)
		complain(r, "a callback ran twice, the second time with", status);
	if ((status != 0 && status != r->may_be && !may_say(status)) || (status == 0) != (result != NULL))
		complain(r, "a callback got", status);
	r->status = status;
	r->source = status == 0 ? (int)result->source : 0;
}

/* Of one limit, or of two: then for the client and another one. */
static void check_async(struct run *r, const char *client, const char *another) {
	const struct stint_part parts[] =
		{{.limiter = r->limiter, .client_id = client, .length = STINT_STRING, .cost = 1},
	     {.limiter = r->limiter, .client_id = another, .length = STINT_STRING, .cost = 1}};
	uint64_t deadline = monotonic_ns() + (TIMEOUT_MS + SLACK_MS) * NS_PER_MS;
	int fd = stint_fd(r->stint);
	struct stint_result result;
	int started;

	if (fd < 0 && fd != STINT_ESYSTEM)
		complain(r, "stint_fd() said", fd);
	r->status = 1;
	started = another ? stint_check_all_async(parts, 2, &result, on_checked, r)
	                  : stint_check_async(r->limiter, client, 1, &result, on_checked, r);
	r->checks++;
	if (started < 0 && !may_say(started))
		complain(r, "an asynchronous check said", started);
	while (started == 0 && r->status == 1 && monotonic_ns() < deadline) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};

		if (fd < 0 || poll(&ready, 1, 1000) < 0)
			sleep_ms(5);
		if (stint_dispatch(r->stint) < 0)
			complain(r, "stint_dispatch() failed", -1);
	}
	if (started == 1)
		r->source = (int)result.source;
	if (started == 0 && r->status == 1)
		complain(r, "a callback never ran", 0);
}

/* Frees the limiter of a check that is under way, or that nobody was told of. */
static void check_cancelled(struct run *r, const struct stint_options *options) {
	struct stint_limiter *limiter;
	struct stint_result result;
	int started;

	if (stint_limiter_new(&limiter, r->stint, options) != 0)
		return;
	r->status = 1;
	r->may_be = STINT_ECANCELED;
	started = stint_check_async(limiter, r->other, 1, &result, on_checked, r);
	stint_limiter_free(limiter);
	if (started == 0 && r->status != STINT_ECANCELED)
		complain(r, "a check that was cancelled got", r->status);
	r->may_be = 0;
}

/* Does everything that may fail. */
static void play(struct run *r, const char *socket_path) {
	const struct stint_options options = {.policy = "nth",
	                                      .max_requests = LIMIT,
	                                      .time_window_ms = 3600000,
	                                      .fallback_max_requests = LOCAL_LIMIT,
	                                      .timeout_ms = TIMEOUT_MS};
	struct stint_result result;
	int error = stint_open(&r->stint, socket_path);

	if (error == 0)
		error = stint_limiter_new(&r->limiter, r->stint, &options);
	if (error != 0 && error != STINT_ENOMEM)
		complain(r, "opening said", error);
	if (error != 0)
		return;
	check_some(r, 4);
	check_async(r, r->other, NULL);
	check_async(r, r->fourth, r->fifth);
	check_cancelled(r, &options);
	if (check(r, r->client, LOCAL_LIMIT + 1, &result))
		complain(r, "was admitted more than any limit, source", result.source);
	check_some(r, 12);
	for (int i = 0; i < 4; i++)
		r->unknown += stint_is_allowed(r->limiter, r->client);
}

/* Nothing fails any more: checks until somebody else than the process itself decides. Gives how long that took. */
static int64_t recover(struct run *r) {
	uint64_t began = monotonic_ns();
	struct stint_result result;
	int64_t took_ms;
	int error;

	for (;;) {
		error = stint_check(r->limiter, r->third, 1, &result);
		took_ms = (int64_t)((monotonic_ns() - began) / NS_PER_MS);
		if (error == 0 && result.source != STINT_SOURCE_LOCAL)
			return took_ms;
		if (took_ms > RECOVERY_MS) {
			complain(r, "no right decision after ms", took_ms);
			return took_ms;
		}
		sleep_ms(5);
	}
}

/* The same in an event loop: the callback must run when the answer is there, not when the check's time is over. */
static void recover_async(struct run *r) {
	char client[48];
	int64_t took_ms = 0;

	for (int i = 0; i < 5; i++) {
		uint64_t began = monotonic_ns();

		snprintf(client, sizeof(client), "%s-%d", r->third, i);
		check_async(r, client, NULL);
		took_ms = (int64_t)((monotonic_ns() - began) / NS_PER_MS);
		if (r->source != STINT_SOURCE_LOCAL && r->source != 0 && took_ms < TIMEOUT_MS / 2)
			return;
	}
	complain(r,
	         r->source == STINT_SOURCE_LOCAL ? "asynchronous checks are decided locally; ms"
	                                         : "an asynchronous check took ms",
	         took_ms);
}

static void recover_all(struct run *r) {
	int64_t took_ms;

	if (r->limiter == NULL)
		return;
	took_ms = recover(r);
	recover_async(r);
	if (took_ms > atomic_load(&r->control->recovery_ms))
		atomic_store(&r->control->recovery_ms, took_ms);
}

static void judge(struct run *r) {
	if (r->strict > LIMIT)
		complain(r, "the agent's limit was exceeded:", r->strict);
	if (r->local > LOCAL_LIMIT)
		complain(r, "the process's limit was exceeded:", r->local);
	if (r->strict + r->local + r->unknown > LIMIT + LOCAL_LIMIT)
		complain(r, "both limits were exceeded:", r->strict + r->local + r->unknown);
	atomic_fetch_add(&r->control->checked, r->checks);
}

/* Gives how many calls were counted. */
static uint64_t run_one(struct nth_control *control, const char *socket_path, const struct nth_plan *plan,
                        const char *name) {
	struct run r = {.control = control};
	int descriptors = count_descriptors();
	uint64_t calls;
	int64_t blocks;

	snprintf(r.client, sizeof(r.client), "a-%s", name);
	snprintf(r.other, sizeof(r.other), "b-%s", name);
	snprintf(r.third, sizeof(r.third), "c-%s", name);
	snprintf(r.fourth, sizeof(r.fourth), "d-%s", name);
	snprintf(r.fifth, sizeof(r.fifth), "e-%s", name);
	atomic_fetch_add(&control->runs, 1);
	nth_arm(control, plan);
	play(&r, socket_path);
	calls = nth_disarm(control);
	recover_all(&r);
	judge(&r);
	stint_limiter_free(r.limiter);
	stint_close(r.stint);
	blocks = atomic_load(&control->blocks) - atomic_load(&control->blocks_then);
	if (blocks != 0)
		complain(&r, "allocations leaked:", blocks);
	if (count_descriptors() != descriptors)
		complain(&r, "descriptors leaked:", count_descriptors() - descriptors);
	return calls;
}

static int run_app(const char *socket_path, uint32_t class, uint64_t random) {
	struct nth_control *control = nth_find();
	char name[32];
	uint64_t calls = 0;

	if (control == NULL)
		return 2;
	/* this makes what a process makes only once */
	run_one(control, socket_path, &(struct nth_plan){.classes = class}, "warm");
	for (uint64_t n = 1; n == 1 || n - 1 <= calls; n++) {
		struct nth_plan plan = nth_plan_for(class, n, &random);

		snprintf(name, sizeof(name), "%x-%" PRIx64 "-%" PRIu64, class, random, n);
		calls = run_one(control, socket_path, &plan, name);
		/* a call that failed for good hides those that would follow */
		calls = plan.span == 1 || calls < n ? calls : n;
	}
	return 0;
}

/* ---- The test ------------------------------------------------------------------------- */

static void sweep(const struct scene *scene, const struct host *host, uint32_t class, uint64_t seed,
                  struct proof *total) {
	char path[108], log[108], class_text[16], seed_text[32];
	const char *argv[] =
		{process_built("tests/nth/test_library"), "app", host->socket, class_text, seed_text, NULL};
	struct nth_control *control;
	int status = -1;
	pid_t pid;

	scene_path(scene, "library.control", path);
	scene_path(scene, "library.log", log);
	snprintf(class_text, sizeof(class_text), "%u", class);
	snprintf(seed_text, sizeof(seed_text), "%" PRIu64, seed);
	control = nth_make(path);
	if (!tap_ok(control != NULL, "a file to share with the app"))
		return;
	pid = nth_start(argv, log, path);
	if (!process_wait(pid, APP_MS, &status))
		process_kill(pid);
	tap_ok(status == 0, "the app ends well: status %#x; last %s", (unsigned)status, nth_describe(control));
	tap_ok(control->violations == 0,
	       "each %s fails once: %" PRIu64 " runs, %" PRIu64 " checks, %" PRIu64 " wrong; %s",
	       nth_class_name(class), control->runs, control->checked, control->violations, control->complaint);
	tap_ok(control->runs > 5, "%" PRIu64 " calls were there to fail", control->runs);
	total->runs += control->runs;
	total->checked += control->checked;
	total->violations += control->violations + (status != 0);
	if (control->recovery_ms > total->recovery_ms)
		total->recovery_ms = control->recovery_ms;
	munmap(control, sizeof(*control));
}

static void sweep_all(const struct scene *scene, const struct host *host) {
	struct proof memory = {.invariants = "I4 I6", .fault = "Nth allocation fails, library"};
	struct proof system = {.invariants = "I4 I6", .fault = "Nth system call fails, library"};
	uint64_t rounds = setting_number("NTH_ROUNDS", 4), seed = setting_number("NTH_SEED", 1);

	for (uint64_t i = 0; i < rounds; i++) {
		sweep(scene, host, NTH_MEMORY, seed + i, &memory);
		sweep(scene, host, NTH_SYSTEM, seed + i, &system);
	}
	proof_print(&memory);
	proof_print(&system);
}

static int play_all(const struct scene *scene) {
	const struct host_options options = {.database = "memory:", .max_clients = 16384};
	int before, after;
	struct host host;

	if (!tap_ok(host_prepare(&host, scene, 0, &options) == 0 && host_start(&host) == 0, "an agent"))
		return tap_finish();
	sleep_ms(50); /* until the agent has seen that nobody is connected any more */
	before = process_descriptors(host.agent);
	sweep_all(scene, &host);
	sleep_ms(50);
	after = process_descriptors(host.agent);
	tap_ok(after == before, "the agent has as many descriptors as before: %d, %d", before, after);
	tap_ok(host_is_running(&host) && host_stop(&host) == 0, "the agent was not touched");
	return tap_finish();
}

int main(int argc, char **argv) {
	if (argc == 5 && strcmp(argv[1], "app") == 0)
		return run_app(argv[2], (uint32_t)atoi(argv[3]), strtoull(argv[4], NULL, 10));
	return scene_run(play_all, 3600);
}
