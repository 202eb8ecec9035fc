/* wrk.c - see wrk.h. */
#include "wrk.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process.h"
#include "stint.h"

/* It ends by a signal long before. */
#define DURATION "600s"
#define STOP_MS  10000

bool wrk_is_there(void) {
	const char *argv[] = {"sh", "-c", "command -v wrk", NULL};
	return process_run(argv, STOP_MS, NULL, 0, NULL) == 0;
}

int wrk_start(struct wrk *wrk, const struct scene *scene, const struct wrk_options *options) {
	const char *name = options->name ? options->name : "wrk";
	char url[64], log[40], number[3][24], weights[WRK_PATHS_MAX][12];
	const char *argv[20 + 2 * WRK_PATHS_MAX] = {
		"wrk",
		"-t",
		number[0],
		"-c",
		number[0],
		"-d",
		DURATION,
		"--timeout",
		"30s",
		"-s",
		"tests/support/wrk.lua",
		url,
		"--",
		wrk->dir,
		number[1],
		number[2],
	};
	int count = 0;
	while (argv[count])
		count++;
	for (int i = 0; i < WRK_PATHS_MAX && options->paths[i]; i++) {
		snprintf(weights[i], sizeof(weights[i]), "%d", options->weights[i] > 0 ? options->weights[i] : 1);
		argv[count++] = weights[i];
		argv[count++] = options->paths[i];
	}
	snprintf(url, sizeof(url), "http://127.0.0.1:%d", options->port);
	snprintf(number[0], sizeof(number[0]), "%d", WRK_THREADS);
	snprintf(number[1], sizeof(number[1]), "%d", options->delay_ms);
	snprintf(number[2], sizeof(number[2]), "%llu", (unsigned long long)options->seed);
	snprintf(log, sizeof(log), "%.30s.log", name);
	*wrk = (struct wrk){.clients = options->clients ? options->clients : WRK_PATHS_MAX, .host = options->host};
	scene_path(scene, name, wrk->dir);
	scene_path(scene, log, wrk->log);
	mkdir(wrk->dir, 0755);
	wrk->pid = process_start(argv, wrk->log);
	return wrk->pid > 0 ? 0 : -1;
}

/* ---- What it noted ---------------------------------------------------------------- */

static FILE *open_notes(const struct wrk *wrk, const char *name) {
	char path[160];
	snprintf(path, sizeof(path), "%s/%s", wrk->dir, name);
	return fopen(path, "re");
}

static uint8_t read_source(const char *name) {
	static const char *const names[] = {
		[STINT_SOURCE_LEASE] = "lease", [STINT_SOURCE_DATABASE] = "database", [STINT_SOURCE_FALLBACK] = "fallback",
		[STINT_SOURCE_LOCAL] = "local", [STINT_SOURCE_ADVANCE] = "advance",
	};
	for (uint8_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i] && strcmp(names[i], name) == 0)
			return i;
	return 0;
}

static int read_answers(const struct wrk *wrk, int thread, struct oracle *oracle, struct wrk_sum *sum) {
	unsigned long long intent_ns, outcome_ns;
	char name[32], source[16];
	unsigned path;
	int status, failed = 0;
	snprintf(name, sizeof(name), "answers.%d", thread);
	FILE *file = open_notes(wrk, name);
	if (!file)
		return -1;
	while (fscanf(file, "%llu %llu %u %d %15s", &intent_ns, &outcome_ns, &path, &status, source) == 5) {
		struct oracle_event event = {.intent_ns = intent_ns,
		                             .outcome_ns = outcome_ns,
		                             .client = path % wrk->clients,
		                             .host = wrk->host,
		                             .cost = 1,
		                             .source = read_source(source)};
		if (status == 200) {
			sum->admitted++;
			failed |= oracle_add(oracle, &event);
		} else {
			sum->others++;
			sum->status = status;
		}
	}
	fclose(file);
	return failed;
}

static int read_sum(const struct wrk *wrk, struct wrk_sum *sum) {
	FILE *file = open_notes(wrk, "sum");
	int got = file ? fscanf(file, "%d %d %d", &sum->rejected, &sum->refused, &sum->late) : 0;
	if (file)
		fclose(file);
	return got == 3 ? 0 : -1;
}

static void print_log(const struct wrk *wrk) {
	char line[256];
	FILE *file = fopen(wrk->log, "re");
	while (file && fgets(line, sizeof(line), file))
		fprintf(stderr, "#   wrk: %s", line);
	if (file)
		fclose(file);
}

int wrk_stop(struct wrk *wrk, struct oracle *oracle, struct wrk_sum *sum) {
	*sum = (struct wrk_sum){0};
	kill(wrk->pid, SIGINT);
	bool ended = process_wait(wrk->pid, STOP_MS, NULL);
	if (!ended)
		process_kill(wrk->pid);
	int failed = !ended || read_sum(wrk, sum) != 0;
	for (int i = 0; i < WRK_THREADS && !failed; i++)
		failed = read_answers(wrk, i, oracle, sum) != 0;
	if (failed)
		print_log(wrk);
	oracle_sort(oracle);
	return failed ? -1 : 0;
}
