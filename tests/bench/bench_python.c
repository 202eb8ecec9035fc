/*
 * bench_python.c - lib/python: is_allowed() and acheck() awaited, beside the package limits in memory and on
 * Redis, one check after the other, of 100 clients and of 100,000.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "figure.h"
#include "host.h"
#include "process.h"
#include "quick.h"
#include "redis.h"
#include "scene.h"

#define ROW         19
#define MAX_CLIENTS 200000
#define CONTENDERS  6
#define RUN_MS      2000
#define START_MS    60000
#define WINDOW_MS   3600000
#define DEBIANS     "/usr/bin/python3" /* it has the packages */

/* What beside_limits.py prints. */
struct rates {
	double is_allowed, acheck, memory, memory_awaited, moving, redis;
};

static int run(int clients, const struct redis *redis, struct rates *r) {
	char text[2][16], out[512], library[4096];
	const char *python = access(DEBIANS, X_OK) == 0 ? DEBIANS : "python3";
	const char *argv[] = {python, "tests/bench/peers/beside_limits.py", text[0], text[1], redis->socket, NULL};
	int ms = quick_ms(RUN_MS);

	snprintf(text[0], sizeof(text[0]), "%d", clients);
	snprintf(text[1], sizeof(text[1]), "%d", ms);
	if (!realpath("lib/python", library) || setenv("PYTHONPATH", library, 1) != 0 ||
	    process_run(argv, CONTENDERS * ms + START_MS, out, sizeof(out), NULL) != 0 ||
	    sscanf(out, "%lf %lf %lf %lf %lf %lf", &r->is_allowed, &r->acheck, &r->memory, &r->memory_awaited,
	           &r->moving, &r->redis) != CONTENDERS) {
		fprintf(stderr, "python: beside_limits.py did not tell what it measured\n");
		return -1;
	}
	return 0;
}

static void put(const char *which, const char *with, double value, const char *against, double base,
                double bound) {
	char what[128];

	snprintf(what, sizeof(what), "Python, %s, %s", which, with);
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "checks/s",
	                            .value = value,
	                            .against = against,
	                            .base = base,
	                            .target = bound > 0 ? FIGURE_AT_LEAST : FIGURE_STATED,
	                            .bound = bound,
	                            .note = bound > 0 ? NULL : "seconds old: leases are small yet, many checks ask"});
}

static int measure(int clients, const char *with, const struct redis *redis, bool has_target) {
	struct rates r;
	double memory = has_target ? 10 : 0, store = has_target ? 100 : 0;

	if (run(clients, redis, &r) != 0)
		return -1;
	put("is_allowed", with, r.is_allowed, "limits in memory, fixed window", r.memory, memory);
	put("is_allowed", with, r.is_allowed, "limits in memory, moving window", r.moving, memory);
	put("is_allowed", with, r.is_allowed, "limits on Redis, fixed window", r.redis, store);
	put("acheck awaited", with, r.acheck, "limits in memory, fixed window, awaited", r.memory_awaited, memory);
	put("acheck awaited", with, r.acheck, "limits on Redis, fixed window, not awaited", r.redis, store);
	return 0;
}

static int play(const struct scene *scene) {
	struct host host;
	struct redis redis;
	struct host_options options = {.database = "memory:", .max_clients = MAX_CLIENTS};

	if (redis_start(&redis, scene, WINDOW_MS) != 0)
		return 1;
	int status = host_prepare(&host, scene, 0, &options) != 0 || host_start(&host) != 0;
	if (!status) {
		setenv("STINT_SOCKET", host.socket, 1);
		status = measure(100, "100 clients", &redis, true) || measure(100000, "100,000 clients", &redis, false);
		host_stop(&host);
	}
	redis_stop(&redis);
	return status;
}

int main(void) {
	return scene_run(play, 300);
}
