/*
 * test_bad_config.c - configurations that an agent must not start with: it ends with an error that names what
 * is wrong.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "process.h"
#include "proof.h"
#include "scene.h"
#include "tap.h"

#define LONG_NAME                                                                                                 \
	"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"

struct bad_config {
	const char *text;  /* %s: a good path for the socket */
	const char *names; /* the complaint must say this */
};

static const struct bad_config bad_configs[] = {
	{"socket = %s\n[other]\nx = 1\n", ""},
	{"[stint]\nsocket = %s\ndatabase = memory:\nfrobnicate = 1\n", "frobnicate"},
	{"[stint]\nsocket = %s\ndatabase = memory:\nmax_clients = many\n", "max_clients"},
	{"[stint]\nsocket = %s\ndatabase = memory:\nmax_clients = 0\n", "max_clients"},
	{"[stint]\nsocket = %s\ndatabase = memory:\nmax_clients = -5\n", "max_clients"},
	{"[stint]\nsocket = %s\ndatabase = memory:\nmax_clients = 99999999999999999999\n", "max_clients"},
	{"[stint]\nsocket = %s\ndatabase = memory:\ndatabase_timeout_ms = 0\n", "database_timeout_ms"},
	{"[stint]\nsocket = %s\ndatabase = memory:\nidle_timeout_s = 1e9\n", "idle_timeout_s"},
	{"[stint]\nsocket = %s\ndatabase = memory:\nlog_level = loud\n", "log_level"},
	{"[stint]\nsocket = %s\ndatabase = nonsense nonsense\n", "database"},
	{"[stint]\ndatabase = memory:\nsocket = %s/" LONG_NAME "\n", "socket"},
	{"[stint]\ndatabase = memory:\nsocket = /nonexistent%s\n", "/nonexistent"},
	{"[stint]\nsocket = %s\ndatabase = memory:\nshm = a/b/c\n", "shm"},
};

static void write_file(const char *path, const char *format, const char *argument) {
	FILE *file = fopen(path, "we");

	if (file == NULL)
		abort();
	fprintf(file, format, argument); /* the formats are the constants above */
	fclose(file);
}

static void read_file(const char *path, char *text, size_t size) {
	FILE *file = fopen(path, "re");

	text[0] = '\0';
	if (file == NULL)
		return;
	text[fread(text, 1, size - 1, file)] = '\0';
	fclose(file);
}

/* Runs an agent that should not start. Gives its exit status, -1 when it still ran after 5 s, and what it said. */
static int run_agent(const char *config, const char *log, char *said, size_t size) {
	const char *argv[] = {process_built("stintd"), "-c", config, NULL};
	int status = -1;
	pid_t pid;

	unlink(log);
	pid = process_start(argv, log);
	if (!process_wait(pid, 5000, &status)) {
		process_kill(pid);
		status = -1;
	}
	read_file(log, said, size);
	return status;
}

static void try_all(const struct scene *scene) {
	char config[108], log[108], socket_path[108], shm[64], said[4096];
	int status;

	snprintf(shm, sizeof(shm), "%s-bad", scene->shm);
	scene_path(scene, "bad.conf", config);
	scene_path(scene, "bad.log", log);
	scene_path(scene, "bad.sock", socket_path);
	status = run_agent("/nonexistent/stint.conf", log, said, sizeof(said));
	tap_ok(status > 0 && strstr(said, "/nonexistent/stint.conf") != NULL, "no file: %.*s",
	       (int)strcspn(said, "\n"), said);
	for (size_t i = 0; i < sizeof(bad_configs) / sizeof(bad_configs[0]); i++) {
		const struct bad_config *bad = &bad_configs[i];

		/* An agent that starts after all must not touch the table of one that serves this machine. */
		if (strcmp(bad->names, "shm") == 0)
			unsetenv("STINT_SHM");
		else
			setenv("STINT_SHM", shm, 1);
		write_file(config, bad->text, socket_path);
		status = run_agent(config, log, said, sizeof(said));
		tap_ok(status > 0 && said[0] != '\0' && strstr(said, bad->names) != NULL, "%s: status %#x, %.*s",
		       bad->names[0] != '\0' ? bad->names : "no section [stint]", (unsigned)status,
		       (int)strcspn(said, "\n"), said);
	}
	unsetenv("STINT_SHM");
}

static int play(const struct scene *scene) {
	try_all(scene);
	proof_print_checks("I6", "wrong configuration");
	return tap_finish();
}

int main(void) {
	return scene_run(play, 90);
}
