/*
 * bench_peers.c - the same endpoint limited by what its owner would pick instead: a script in Redis, called
 * from C, and rate-limiter-flexible in Node with its stores. One policy, 100 clients in turn, all admitted,
 * each process one check at a time.
 *
 * stint and rate-limiter-flexible share one PostgreSQL. It does not wait for its disk at a commit, which
 * favours the one that commits for every check. Rates are taken without looking at the clock for each check;
 * durations in runs of their own, with two readings of the clock around each check, of which about one is in
 * the duration: in C some 25 ns, about what a check of stint's takes.
 */
#include <stdio.h>

#include "clock.h"
#include "figure.h"
#include "peers.h"
#include "quick.h"
#include "sample.h"

#define ROUNDS     3
#define RATE_MS    1000
#define LATENCY_MS 1000
#define ROW        9

enum by { STINT, REDIS, NODE };

struct contender {
	const char *name;
	enum by by;
	const char *store; /* of rate-limiter-flexible */
	int processes, in_flight;
	double bound; /* stint's rate over this one's is to be at least that; 0: no target */
	struct samples rate;
	struct histogram ns;
};

static struct contender contenders[] = {
	{.name = "stint", .by = STINT, .processes = 1, .in_flight = 1},
	{.name = "stint", .by = STINT, .processes = 4, .in_flight = 1},
	{.name = "Redis, Lua script", .by = REDIS, .processes = 1, .in_flight = 1, .bound = 500},
	{.name = "Redis, Lua script", .by = REDIS, .processes = 4, .in_flight = 1, .bound = 500},
	{.name = "rate-limiter-flexible, PostgreSQL",
     .by = NODE,
     .store = "postgres",
     .processes = 1,
     .in_flight = 1,
     .bound = 5000},
	{.name = "rate-limiter-flexible, PostgreSQL",
     .by = NODE,
     .store = "postgres",
     .processes = 4,
     .in_flight = 1,
     .bound = 5000},
	{.name = "rate-limiter-flexible, PostgreSQL",
     .by = NODE,
     .store = "postgres",
     .processes = 1,
     .in_flight = 10},
	{.name = "rate-limiter-flexible, Redis", .by = NODE, .store = "redis", .processes = 1, .in_flight = 1},
	{.name = "rate-limiter-flexible, Redis", .by = NODE, .store = "redis", .processes = 4, .in_flight = 1},
	{.name = "rate-limiter-flexible, Redis", .by = NODE, .store = "redis", .processes = 1, .in_flight = 10},
	{.name = "rate-limiter-flexible, memory", .by = NODE, .store = "memory", .processes = 1, .in_flight = 1},
	{.name = "rate-limiter-flexible, memory", .by = NODE, .store = "memory", .processes = 4, .in_flight = 1},
};

#define CONTENDERS (sizeof(contenders) / sizeof(contenders[0]))

/* ---- Measuring ------------------------------------------------------------- */

static double run_one(struct peers *peers, struct contender *c) {
	int rate_ms = quick_ms(RATE_MS), latency_ms = quick_ms(LATENCY_MS);

	switch (c->by) {
	case STINT: return peers_run_stint(peers, c->processes, rate_ms, latency_ms, &c->ns);
	case REDIS: return peers_run_redis(peers, c->processes, rate_ms, latency_ms, &c->ns);
	case NODE:
		return peers_run_node(peers, &(struct peers_node){c->store, c->processes, c->in_flight}, rate_ms,
		                      latency_ms, &c->ns);
	}
	return -1;
}

static int measure(struct peers *peers) {
	for (int round = 0; round < ROUNDS; round++)
		for (size_t i = 0; i < CONTENDERS; i++) {
			struct contender *c = &contenders[i];
			double rate = run_one(peers, c);

			if (rate <= 0) {
				fprintf(stderr, "bench_peers: %s, processes: %d: no rate\n", c->name, c->processes);
				return -1;
			}
			samples_add(&c->rate, rate);
		}
	return 0;
}

/* ---- Telling ------------------------------------------------------------------ */

static const struct contender *stint_of(int processes) {
	return &contenders[processes == 1 ? 0 : 1];
}

static void put_rate(const struct contender *c, const char *with) {
	const struct contender *stint = stint_of(c->processes);
	char what[96];

	snprintf(what, sizeof(what), "checks per second, %s", with);
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "checks/s",
	                            .value = samples_median(&stint->rate),
	                            .against = c->name,
	                            .base = samples_median(&c->rate),
	                            .target = c->bound > 0 ? FIGURE_AT_LEAST : FIGURE_STATED,
	                            .bound = c->bound});
}

static void put_latency(const struct contender *c, const char *with, unsigned per_mille, const char *name) {
	const struct contender *stint = stint_of(c->processes);
	char what[96];

	snprintf(what, sizeof(what), "time per check, %s: %s", with, name);
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "ns",
	                            .value = (double)histogram_quantile(&stint->ns, per_mille),
	                            .against = c->name,
	                            .base = (double)histogram_quantile(&c->ns, per_mille),
	                            .base_over_value = true,
	                            .note = "one reading of the clock is in the time"});
}

static void put_against(const struct contender *c) {
	char with[64];

	if (c->in_flight > 1)
		snprintf(with, sizeof(with), "1 process, %d under way there", c->in_flight);
	else
		snprintf(with, sizeof(with), "%d process%s", c->processes, c->processes == 1 ? "" : "es");
	put_rate(c, with);
	put_latency(c, with, 500, "p50");
	put_latency(c, with, 990, "p99");
}

/* What share of a process' checks was not decided in the table, and by whom. */
static void put_left(const struct peers *peers) {
	const struct peers_sources *s = &peers->sources;
	uint64_t all = 0, left;
	char note[160];

	for (unsigned i = 0; i < PEERS_SOURCES; i++)
		all += s->by[i];
	left = all - s->by[STINT_SOURCE_LEASE];
	snprintf(note, sizeof(note),
	         "%llu of %llu: database %llu, fallback %llu, local %llu, advance %llu; credits granted: %lld",
	         (unsigned long long)left, (unsigned long long)all, (unsigned long long)s->by[STINT_SOURCE_DATABASE],
	         (unsigned long long)s->by[STINT_SOURCE_FALLBACK], (unsigned long long)s->by[STINT_SOURCE_LOCAL],
	         (unsigned long long)s->by[STINT_SOURCE_ADVANCE],
	         (long long)host_number(&peers->host, "counters", "granted"));
	figure_put(&(struct figure){.row = ROW,
	                            .what = "stint's checks that left the table",
	                            .unit = "%",
	                            .value = all == 0 ? 0 : (double)left * 100 / (double)all,
	                            .note = note});
}

/* The least of many batches: what is in each duration of stint's and of Redis' that isn't the check. */
static void put_clock(void) {
	uint64_t least_ns = UINT64_MAX;

	for (int batch = 0; batch < 100; batch++) {
		uint64_t began = monotonic_ns(), now = began;

		for (int i = 0; i < 1000; i++)
			now = monotonic_ns();
		least_ns = now - began < least_ns ? now - began : least_ns;
	}
	figure_put(&(struct figure){.row = ROW,
	                            .what = "a reading of the clock, which each time per check contains, in C",
	                            .unit = "ns",
	                            .value = (double)least_ns / 1000});
}

/* A point stands on at least ten durations beyond it: where there are fewer it is left out. */
#define BEYOND 10

static void put_points(const struct contender *c) {
	static const double fractions[] = {0.5, 0.75, 0.9, 0.99, 0.999, 0.9999};
	double total = (double)histogram_total(&c->ns), seen = 0;
	size_t next = 0;

	for (unsigned i = 0; i < HISTOGRAM_CLASSES; i++) {
		seen += (double)c->ns.count[i];
		for (; next < sizeof(fractions) / sizeof(fractions[0]) && seen >= fractions[next] * total; next++)
			if ((1 - fractions[next]) * total >= BEYOND)
				figure_point("latency", c->name, fractions[next], (double)histogram_class_end(i));
	}
}

static int play(const struct scene *scene) {
	static struct peers peers;
	int status = peers_open(&peers, scene) == 0 && measure(&peers) == 0 ? 0 : 1;

	for (size_t i = 0; status == 0 && i < CONTENDERS; i++) {
		if (contenders[i].by != STINT)
			put_against(&contenders[i]);
		if (contenders[i].processes == 1 && contenders[i].in_flight == 1)
			put_points(&contenders[i]);
	}
	if (status == 0) {
		put_left(&peers);
		put_clock();
	}
	peers_close(&peers);
	return status;
}

int main(void) {
	return scene_run(play, 420); /* most of it for npm, once */
}
