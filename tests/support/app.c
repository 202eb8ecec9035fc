/*
 * app.c - one app process of a test: makes the checks that its journal's plan
 * says, through the public library only, and writes down what came of them.
 *
 *     app JOURNAL
 *
 * Exits 0 when it was told to stop or is done, 1 when it could not begin, 3 when
 * the journal was full.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "journal.h"
#include "load.h"
#include "stint.h"

/* How often a process with a rate wakes. */
#define TICK_NS (1 * NS_PER_MS)
/* A process that has waited for an answer makes up for the checks that it owes, up to this much: that keeps up
 * the pressure, without a flood. */
#define ARREARS_NS (100 * NS_PER_MS)

struct app {
	struct journal journal;
	struct load load;
	struct stint *stint;
	struct stint_limiter *limiter[JOURNAL_POLICIES];
};

static int make_limiter(struct app *app, uint32_t index) {
	const struct journal_plan *plan = &app->journal.file->plan;
	const struct journal_policy *policy = &plan->policy[index];
	struct stint_options options = {
		.policy = policy->name,
		.max_requests = policy->max_requests,
		.time_window_ms = policy->time_window_ms,
		.fallback_max_requests = policy->fallback_max_requests,
		.fallback_time_window_ms = policy->fallback_time_window_ms,
		.algorithm = (enum stint_algorithm)policy->algorithm,
		.mode = (enum stint_mode)policy->mode,
		.resolution = (int32_t)policy->resolution,
		.timeout_ms = (int32_t)plan->timeout_ms,
		.must_exist = policy->max_requests == 0,
	};

	return stint_limiter_new(&app->limiter[index], app->stint, &options);
}

static int begin(struct app *app, const char *path) {
	const struct journal_plan *plan;
	int error;

	if (journal_open(&app->journal, path) != 0) {
		fprintf(stderr, "app: %s: %s\n", path, strerror(errno));
		return -1;
	}
	plan = &app->journal.file->plan;
	error = load_init(&app->load, plan, plan->seed + app->journal.file->starts);
	if (error == 0)
		error = stint_open(&app->stint, plan->socket);
	for (uint32_t i = 0; i < plan->policy_count && error == 0; i++)
		error = make_limiter(app, i);
	if (error != 0)
		fprintf(stderr, "app: %s: %s\n", stint_strerror(error), stint_error_detail());
	return error;
}

static void end(struct app *app) {
	for (uint32_t i = 0; i < JOURNAL_POLICIES; i++)
		stint_limiter_free(app->limiter[i]);
	stint_close(app->stint);
	load_free(&app->load);
	journal_close(&app->journal);
}

/* False: there are no more checks to make. */
static bool check_once(struct app *app) {
	struct load_check check;

	return load_next(&app->load, &check) && check_make(&app->journal, app->limiter[check.policy], &check);
}

static void run(struct app *app) {
	struct journal_file *file = app->journal.file;
	uint64_t due = monotonic_ns();

	file->ready = 1;
	while (!file->stop) {
		uint32_t rate = file->rate;
		uint64_t now = monotonic_ns();

		if (rate == 0) {
			if (!check_once(app))
				return;
			due = now;
			continue;
		}
		if (now > due + ARREARS_NS)
			due = now - ARREARS_NS;
		for (; due <= now && !file->stop; due += NS_PER_S / rate)
			if (!check_once(app))
				return;
		sleep_until_ns(due > now + TICK_NS ? due : now + TICK_NS);
	}
}

int main(int argc, char **argv) {
	struct app app = {0};
	int status = 1;

	if (argc != 2) {
		fprintf(stderr, "usage: app JOURNAL\n");
		return 2;
	}
	if (begin(&app, argv[1]) == 0) {
		run(&app);
		status = app.journal.file->full ? 3 : 0;
	}
	end(&app);
	return status;
}
