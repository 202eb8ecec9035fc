/*
 * bench_node.c - lib/node: isAllowed() awaited and tryCheck(), beside rate-limiter-flexible in memory, in one and
 * in two processes, of 100 clients and of 100,000.
 */
#include <stdio.h>
#include <stdlib.h>

#include "figure.h"
#include "host.h"
#include "process.h"
#include "quick.h"
#include "scene.h"

#define ROW         17
#define MAX_CLIENTS 200000
#define RUN_MS      2000
#define START_MS    30000

/* What awaited.js prints. */
struct rates {
	double awaited, tried, flexible, delay_ms;
};

static int run(int processes, int clients, struct rates *r) {
	char text[3][16], out[256], library[4096];
	const int number[3] = {processes, clients, quick_ms(RUN_MS)};
	const char *argv[] = {"node", process_built("bench/peers/awaited.js"), library, text[0], text[1], text[2],
	                      NULL};

	for (int i = 0; i < 3; i++)
		snprintf(text[i], sizeof(text[i]), "%d", number[i]);
	if (!realpath("lib/node", library) ||
	    process_run(argv, 8 * number[2] + START_MS, out, sizeof(out), NULL) != 0 ||
	    sscanf(out, "%lf %lf %lf %lf", &r->awaited, &r->tried, &r->flexible, &r->delay_ms) != 4) {
		fprintf(stderr, "node: awaited.js did not tell what it measured\n");
		return -1;
	}
	return 0;
}

static void put(const char *which, const char *with, double value, double base, double bound) {
	char what[128];

	snprintf(what, sizeof(what), "Node.js, %s, %s", which, with);
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "checks/s",
	                            .value = value,
	                            .against = "rate-limiter-flexible in memory",
	                            .base = base,
	                            .target = bound > 0 ? FIGURE_AT_LEAST : FIGURE_STATED,
	                            .bound = bound,
	                            .note = bound > 0 ? NULL : "seconds old: leases are small yet, many checks ask"});
}

static int measure(int processes, int clients, const char *with, bool has_target) {
	struct rates r;
	char what[128];

	if (run(processes, clients, &r) != 0)
		return -1;
	put("isAllowed awaited", with, r.awaited, r.flexible, has_target ? 2 : 0);
	put("tryCheck", with, r.tried, r.flexible, has_target ? 4 : 0);
	snprintf(what, sizeof(what), "Node.js, p99 of the event loop's delay under load, %s", with);
	figure_put(&(struct figure){.row = ROW, .what = what, .unit = "ms", .value = r.delay_ms});
	return 0;
}

static int play(const struct scene *scene) {
	struct host host;
	const char *install[] = {"tests/bench/peers/install", NULL};
	struct host_options options = {.database = "memory:", .max_clients = MAX_CLIENTS};

	if (process_run(install, 300000, NULL, 0, NULL) != 0 || host_prepare(&host, scene, 0, &options) != 0 ||
	    host_start(&host) != 0)
		return 1;
	setenv("STINT_SOCKET", host.socket, 1);
	int status = measure(1, 100, "100 clients", true) || measure(2, 100, "100 clients, 2 processes", true) ||
	             measure(1, 100000, "100,000 clients", false) ||
	             measure(2, 100000, "100,000 clients, 2 processes", false);
	host_stop(&host);
	return status != 0;
}

int main(void) {
	return scene_run(play, 600); /* most of it for npm, once */
}
