/* host.c - see host.h. */
#include "host.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "peer.h"
#include "process.h"

/* An agent answers within milliseconds; on a busy machine it may take so long. */
#define START_MS  10000
#define STOP_MS   10000
#define STATUS_MS 1000

static void write_option(FILE *file, const char *key, int value) {
	if (value != 0)
		fprintf(file, "%s = %d\n", key, value);
}

static int write_config(const struct host *host, const struct host_options *options) {
	FILE *file = fopen(host->config, "we");

	if (file == NULL)
		return -1;
	fprintf(file, "[stint]\nsocket = %s\nshm = %s\nhost = %s\n", host->socket, host->shm, host->name);
	fprintf(file, "database = %s\n", options->database);
	write_option(file, "max_clients", options->max_clients);
	write_option(file, "database_timeout_ms", options->database_timeout_ms);
	write_option(file, "idle_timeout_s", options->idle_timeout_s);
	if (options->pooler != NULL)
		fprintf(file, "pooler = %s\n", options->pooler);
	return fclose(file);
}

int host_prepare(struct host *host, const struct scene *scene, uint32_t number,
                 const struct host_options *options) {
	char file[32];

	*host = (struct host){.number = number};
	if (options->name != NULL)
		snprintf(host->name, sizeof(host->name), "%s", options->name);
	else
		snprintf(host->name, sizeof(host->name), "host-%c", 'A' + (int)number);
	snprintf(file, sizeof(file), "%u.sock", number);
	scene_path(scene, file, host->socket);
	if (options->socket != NULL)
		snprintf(host->socket, sizeof(host->socket), "%s", options->socket);
	snprintf(file, sizeof(file), "%u.conf", number);
	scene_path(scene, file, host->config);
	snprintf(file, sizeof(file), "%u.log", number);
	scene_path(scene, file, host->log);
	snprintf(host->shm, sizeof(host->shm), "%s-%u", scene->shm, number);
	return write_config(host, options);
}

int host_reload(const struct host *host, const struct host_options *options) {
	return write_config(host, options) == 0 && kill(host->agent, SIGHUP) == 0 ? 0 : -1;
}

static bool wait_for_welcome(struct host *host) {
	uint64_t deadline = monotonic_ns() + START_MS * NS_PER_MS;

	while (monotonic_ns() < deadline && host_is_running(host)) {
		int fd = peer_connect(host->socket);
		int answer = fd < 0 ? -1 : peer_hello(fd, STATUS_MS);

		if (fd >= 0)
			close(fd);
		if (answer == 0)
			return true;
		sleep_ms(5);
	}
	return false;
}

void host_launch(struct host *host) {
	const char *argv[] = {process_built("stintd"), "-c", host->config, NULL};

	host->agent = process_start(argv, host->log);
}

int host_start(struct host *host) {
	host_launch(host);
	if (wait_for_welcome(host))
		return 0;
	fprintf(stderr, "# the agent of %s does not start:\n", host->name);
	host_print_log(host);
	host_kill(host);
	return -1;
}

void host_end(struct host *host) {
	if (host->agent > 0)
		kill(host->agent, SIGTERM);
}

int host_stop(struct host *host) {
	pid_t agent = host->agent;

	host->agent = 0;
	return process_stop(agent, STOP_MS);
}

void host_kill(struct host *host) {
	process_kill(host->agent);
	host->agent = 0;
}

void host_pause(struct host *host) {
	if (host->agent > 0)
		kill(host->agent, SIGSTOP);
}

void host_resume(struct host *host) {
	if (host->agent > 0)
		kill(host->agent, SIGCONT);
}

bool host_is_running(struct host *host) {
	if (host->agent > 0 && process_wait(host->agent, 0, NULL))
		host->agent = 0;
	return host->agent > 0;
}

/* NULL: no answer. */
static json_t *fetch_status(const struct host *host) {
	char text[65536];

	if (peer_status(host->socket, text, sizeof(text), STATUS_MS) != 0)
		return NULL;
	return json_loads(text, 0, NULL);
}

void host_text(const struct host *host, const char *section, const char *name, char *text, size_t size) {
	json_t *status = fetch_status(host);
	const char *said = json_string_value(json_object_get(json_object_get(status, section), name));

	snprintf(text, size, "%s", said != NULL ? said : "");
	json_decref(status);
}

void host_state(const struct host *host, char state[static 24]) {
	host_text(host, "database", "state", state, 24);
}

int64_t host_number(const struct host *host, const char *section, const char *name) {
	json_t *status = fetch_status(host);
	json_t *number = json_object_get(json_object_get(status, section), name);
	int64_t value = json_is_integer(number) ? json_integer_value(number) : -1;

	if (json_is_boolean(number))
		value = json_is_true(number);
	json_decref(status);
	return value;
}

bool host_wait_in_step(const struct host *host, int timeout_ms) {
	uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;

	do {
		char state[24];

		host_state(host, state);
		if (strcmp(state, "in step") == 0)
			return true;
		sleep_ms(10);
	} while (monotonic_ns() < deadline);
	return false;
}

int host_log_count(const struct host *host, const char *text) {
	FILE *file = fopen(host->log, "re");
	char line[1024];
	int count = 0;

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		count += strstr(line, text) != NULL;
	if (file != NULL)
		fclose(file);
	return count;
}

bool host_wait_log(const struct host *host, const char *text, int timeout_ms) {
	uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;

	while (host_log_count(host, text) == 0 && monotonic_ns() < deadline)
		sleep_ms(10);
	return host_log_count(host, text) > 0;
}

void host_print_log(const struct host *host) {
	enum { KEPT = 4096 };
	FILE *file = fopen(host->log, "re");
	char line[1024];

	if (file == NULL)
		return;
	if (fseek(file, -KEPT, SEEK_END) == 0)
		(void)!fgets(line, sizeof(line), file); /* the rest of a line */
	else
		rewind(file);
	while (fgets(line, sizeof(line), file) != NULL)
		fprintf(stderr, "#   %s: %s", host->name, line);
	fclose(file);
}
