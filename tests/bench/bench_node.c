/*
 * bench_node.c - lib/node: isAllowed() awaited and tryCheck(), beside rate-limiter-flexible in memory, in one and
 * in two processes, of 100 clients and of 100,000. (Theirs counts in each process for itself. Where both processes
 * take the same clients in the same order, lib/node's lines of the cache are fought over, and theirs aren't.) And
 * isAllowed() awaited beside its stores in Redis and in PostgreSQL and in its cluster's primary, which each
 * process awaits one check after the other, too. There the agent counts in the same PostgreSQL.
 */
#include <stdio.h>
#include <stdlib.h>

#include "figure.h"
#include "host.h"
#include "peers.h"
#include "process.h"
#include "quick.h"
#include "sample.h"
#include "scene.h"

#define ROW         17
#define MAX_CLIENTS 200000
#define LAUNCHES    3
#define RUN_MS      1000
#define START_MS    30000
#define STORE_MS    1000

/* What awaited.js prints. */
struct rates {
	double awaited, tried, flexible, empty, delay_ms;
};
#define FIGURES 5

struct load {
	int processes, clients;
	bool own; /* each process has clients of its own; else all have the same, in the same order */
	const char *with;
	bool has_target;
};

static int launch(const struct load *load, struct rates *r) {
	char text[3][16], out[256], library[4096], empty[4096];
	const int number[3] = {load->processes, load->clients, quick_ms(RUN_MS)};
	const char *argv[] = {"node",  process_built("bench/peers/awaited.js"),
	                      library, empty,
	                      text[0], text[1],
	                      text[2], load->own ? "own" : NULL,
	                      NULL};

	for (int i = 0; i < 3; i++)
		snprintf(text[i], sizeof(text[i]), "%d", number[i]);
	if (!realpath("lib/node", library) || !realpath(process_built("bench/empty.node"), empty) ||
	    process_run(argv, 8 * number[2] + START_MS, out, sizeof(out), NULL) != 0 ||
	    sscanf(out, "%lf %lf %lf %lf %lf", &r->awaited, &r->tried, &r->flexible, &r->empty, &r->delay_ms) != 5) {
		fprintf(stderr, "node: awaited.js did not tell what it measured\n");
		return -1;
	}
	return 0;
}

static void add(struct samples to[FIGURES], const struct rates *r) {
	const double figure[FIGURES] = {r->awaited, r->tried, r->flexible, r->empty, r->delay_ms};
	for (int i = 0; i < FIGURES; i++)
		samples_add(&to[i], figure[i]);
}

/* One process is faster than the next for as long as it lives, by where its code and its memory lie: the median of
 * some. */
static int run(const struct load *load, struct rates *r) {
	struct samples of[FIGURES] = {0};
	for (int i = 0; i < LAUNCHES; i++) {
		if (launch(load, r) != 0)
			return -1;
		add(of, r);
	}
	*r = (struct rates){samples_median(&of[0]), samples_median(&of[1]), samples_median(&of[2]),
	                    samples_median(&of[3]), samples_median(&of[4])};
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

static int measure(const struct load *load) {
	struct rates r;
	char what[128];

	if (run(load, &r) != 0)
		return -1;
	put("isAllowed awaited", load->with, r.awaited, r.flexible, load->has_target ? 2 : 0);
	put("tryCheck", load->with, r.tried, r.flexible, load->has_target ? 4 : 0);
	if (load->processes == 1 && load->has_target)
		figure_put(&(struct figure){.row = ROW,
		                            .what = "Node.js, tryCheck beside an addon that only takes the id",
		                            .unit = "ns",
		                            .value = 1e9 / r.tried,
		                            .against = "an empty addon",
		                            .base = 1e9 / r.empty});
	snprintf(what, sizeof(what), "Node.js, p99 of the event loop's delay under load, %s", load->with);
	figure_put(&(struct figure){.row = ROW, .what = what, .unit = "ms", .value = r.delay_ms});
	return 0;
}

/* ---- Beside stores ----------------------------------------------------------------- */

struct store {
	const char *store, *name;
	double bound; /* 0: none */
	int processes_min;
};

static const struct store stores[] = {
	{"redis", "rate-limiter-flexible, Redis", 50, 1},
	{"postgres", "rate-limiter-flexible, PostgreSQL", 200, 1},
	/* Its memory counts for one process only: this one counts for all of them. */
	{"cluster", "rate-limiter-flexible, cluster", 0, 2},
};

static int put_store(struct peers *peers, const struct store *store, int processes, double awaited) {
	static struct histogram ns;
	char what[128];
	double rate = peers_run_node(peers, &(struct peers_node){store->store, processes, 1}, quick_ms(STORE_MS),
	                             quick_ms(STORE_MS), &ns);

	if (rate <= 0)
		return -1;
	snprintf(what, sizeof(what), "Node.js, isAllowed awaited, beside a store, %d process%s", processes,
	         processes == 1 ? "" : "es");
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "checks/s",
	                            .value = awaited,
	                            .against = store->name,
	                            .base = rate,
	                            .target = store->bound > 0 ? FIGURE_AT_LEAST : FIGURE_STATED,
	                            .bound = store->bound});
	return 0;
}

static int measure_stores(struct peers *peers) {
	struct rates r;

	setenv("STINT_SOCKET", peers->host.socket, 1);
	for (int processes = 1; processes <= 2; processes++) {
		if (run(&(struct load){.processes = processes, .clients = 100}, &r) != 0)
			return -1;
		for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++)
			if (processes >= stores[i].processes_min && put_store(peers, &stores[i], processes, r.awaited) != 0)
				return -1;
	}
	return 0;
}

/* ---- All of it ----------------------------------------------------------------------- */

static const struct load loads[] = {
	{1, 100, false, "100 clients", true},
	{2, 100, true, "2 processes, 100 clients each", true},
	{2, 100, false, "2 processes, the same 100 clients", true},
	{1, 100000, false, "100,000 clients", false},
	{2, 100000, false, "2 processes, the same 100,000 clients", false},
};

static int measure_memory(const struct scene *scene) {
	struct host host;
	int status = 0;
	struct host_options options = {.database = "memory:", .max_clients = MAX_CLIENTS};

	if (host_prepare(&host, scene, 1, &options) != 0 || host_start(&host) != 0)
		return -1;
	setenv("STINT_SOCKET", host.socket, 1);
	for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]) && status == 0; i++)
		status = measure(&loads[i]);
	host_stop(&host);
	return status;
}

static int play(const struct scene *scene) {
	static struct peers peers;
	int status = peers_open(&peers, scene) || measure_memory(scene) || measure_stores(&peers);

	peers_close(&peers);
	return status != 0;
}

int main(void) {
	return scene_run(play, 600); /* most of it for npm, once */
}
