/* herd.c - see herd.h. */
#include "herd.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "clock.h"

#define MAX_CLIENTS 1000
#define START_MS    60000

static int add_host(struct herd *herd, const struct scene *scene) {
	struct host *host = &herd->hosts[herd->count];
	char name[32];
	const struct host_options options = {.database = herd->cluster.agent,
	                                     .max_clients = MAX_CLIENTS,
	                                     .name = name};

	snprintf(name, sizeof(name), "host-%03u", herd->count);
	if (host_prepare(host, scene, herd->count, &options) != 0)
		return -1;
	herd->count++;
	return host_start(host);
}

int herd_start(struct herd *herd, const struct scene *scene, uint32_t count) {
	const struct cluster_options settings = {.settings = {"max_connections=260"}};

	if (cluster_start_with(&herd->cluster, scene, &settings) != 0 || cluster_install(&herd->cluster) != 0)
		return -1;
	while (herd->count < count)
		if (add_host(herd, scene) != 0)
			return -1;
	if (herd_wait_in_step(herd, START_MS))
		return 0;
	fprintf(stderr, "herd: not all %u agents are in step after %d ms\n", count, START_MS);
	return -1;
}

static void start_the_ended(struct herd *herd) {
	for (uint32_t i = 0; i < herd->count; i++)
		if (!host_is_running(&herd->hosts[i]))
			host_launch(&herd->hosts[i]);
}

void herd_restart(struct herd *herd, uint32_t within_ms) {
	uint64_t began = monotonic_ns();

	for (uint32_t i = 0; i < herd->count; i++) {
		sleep_until_ns(began + within_ms * NS_PER_MS * i / herd->count);
		herd->told_to_end[i] = herd->hosts[i].agent;
		host_end(&herd->hosts[i]);
		start_the_ended(herd);
	}
}

/* The status of one at a time, so that asking costs next to nothing. */
bool herd_wait_in_step(struct herd *herd, int timeout_ms) {
	uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	uint32_t i = 0;

	while (i < herd->count && monotonic_ns() < deadline) {
		char state[24];

		start_the_ended(herd);
		host_state(&herd->hosts[i], state);
		if (herd->hosts[i].agent != herd->told_to_end[i] && strcmp(state, "in step") == 0)
			i++;
		else
			sleep_ms(10);
	}
	return i == herd->count;
}

static double cpu_of(pid_t pid) {
	unsigned long user = 0, system = 0;
	char path[64], text[512];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = pid > 0 ? fopen(path, "r") : NULL;
	if (!file)
		return 0;
	if (fgets(text, sizeof(text), file) && strrchr(text, ')'))
		sscanf(strrchr(text, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
	fclose(file);
	return (double)(user + system) * 1000 / (double)sysconf(_SC_CLK_TCK);
}

double herd_cpu_ms(const struct herd *herd) {
	struct rusage ended;
	double sum;

	getrusage(RUSAGE_CHILDREN, &ended);
	sum = (double)(ended.ru_utime.tv_sec + ended.ru_stime.tv_sec) * 1e3 +
	      (double)(ended.ru_utime.tv_usec + ended.ru_stime.tv_usec) / 1e3;
	for (uint32_t i = 0; i < herd->count; i++)
		sum += cpu_of(herd->hosts[i].agent);
	return sum;
}

int herd_log_count(const struct herd *herd, const char *text) {
	int count = 0;

	for (uint32_t i = 0; i < herd->count; i++)
		count += host_log_count(&herd->hosts[i], text);
	return count;
}

void herd_stop(struct herd *herd) {
	for (uint32_t i = 0; i < herd->count; i++)
		host_end(&herd->hosts[i]);
	for (uint32_t i = 0; i < herd->count; i++)
		host_stop(&herd->hosts[i]);
	cluster_close(&herd->cluster);
	cluster_stop(&herd->cluster);
}
