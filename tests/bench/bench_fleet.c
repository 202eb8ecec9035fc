/*
 * bench_fleet.c - what fleets see: clients that send by a Poisson process each, at rates that people have, every
 * request to a random host. For each fleet: the rows that statements touched, the checks that had to wait, and
 * what was admitted of what an exact sliding log of the same arrivals admits. And statements, write-ahead log and
 * time of the server, beside those of one upsert per check, and of rate-limiter-flexible on PostgreSQL.
 *
 * Figures are medians of three intervals, after the first minute. Fleets whose database has little to do run at
 * the same time, each with agents and a PostgreSQL of its own, the others one after the other. Windows of a minute
 * take their time: with shorter ones, and clients that much faster, agents would do other things, since some of
 * their times are absolute. Of windows of an hour the first minutes are measured.
 *
 * The plot has what tests/simulation/fleet says for as many hosts as no machine has, and what was measured.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "clock.h"
#include "direct.h"
#include "figure.h"
#include "fleet_stand.h"
#include "poisson.h"
#include "process.h"
#include "quick.h"
#include "random.h"
#include "server_cost.h"

#define ROW          13
#define INTERVALS    3
#define BURST        150
#define BURST_MS     250
#define BURST_EACH   100 /* ms between the bursts of two clients */
#define LOCKED_MS    20000
#define LOCKED_BELOW 42949673u /* of 2^32: a part of 100 */
#define PEER_MS      10000
#define PEER_RATE    250 /* a second: no closed loop, in which the server would never sleep */
#define PEER_CLIENTS 200
#define SIMULATE_MS  60000

/* At most, at most, at least; 0: nothing is to be reached. */
struct goal {
	double rows, wait, exact;
};

struct fleet {
	const char *name, *about;
	uint32_t hosts, clients;
	double rate;
	int64_t limit, window_ms;
	int warm_ms, interval_ms;
	uint32_t threads, rtt_ms;
	bool by_zipf, is_sticky, is_uneven, is_burst, is_alone;
	struct goal goal;
};

/* For 1,000 checks; waiting and admitted in percent, the most in a window of the limit. */
struct result {
	double rows, wait, exact, statements, wal_bytes, cpu_ms, most, alone, errors;
};

/* Intervals are as long as a window, where that is no more than a minute: a client over its limit is admitted in
 * bursts. */
static const struct fleet fleets[] = {
	{"slow_1", "100 in 60 s, 200 clients at 0.2/s, 1 host", 1, 200, 0.2, 100, 60000, 70000, 60000, 32,
     .goal = {130, 1, 100}},
	{"slow_4", "100 in 60 s, 200 clients at 0.2/s, 4 hosts", 4, 200, 0.2, 100, 60000, 70000, 60000, 32,
     .goal = {450, 3, 100}},
	{"near_4", "100 in 60 s, 200 clients at 1.33/s, 4 hosts", 4, 200, 1.333, 100, 60000, 70000, 60000, 32,
     .goal = {750, 20, 98.5}},
	{"hour_1", "1,000 in 1 h, 200 clients at 0.19/s, 1 host", 1, 200, 0.19, 1000, 3600000, 70000, 60000, 32,
     .goal = {50, 1, 99.5}},
	{"one_of_4", "1,000 in 60 s, 1 client at 13/s on one of 4 hosts", 4, 1, 13, 1000, 60000, 70000, 60000, 8,
     .is_sticky = true, .goal = {60, 1, 100}},
	{"pressure_8", "100 in 60 s, 20 clients at 3.33/s, 8 hosts, uneven", 8, 20, 3.333, 100, 60000, 70000, 60000,
     32, .is_uneven = true},
	{"burst_4", "100 in 60 s, 30 clients at 0.2/s on 4 hosts, then 150 at once to one", 4, 30, 0.2, 100, 60000,
     120000, 0, 16, .is_burst = true, .goal = {.exact = 98}},
	{"zipf_4", "100 in 60 s, 100,000 clients by Zipf's law, 20,000/s, 4 hosts", 4, 100000, 0.2, 100, 60000, 70000,
     60000, 96, .by_zipf = true, .is_alone = true, .goal = {250, 20, 99}},
	{"far_1", "100 in 1 s, 10 clients at 80/s, 3 hosts, database 1 ms away", 3, 10, 80, 100, 1000, 5000, 8000, 64,
     .rtt_ms = 1, .is_alone = true, .goal = {0, 15, 98}},
	{"far_20", "100 in 1 s, 10 clients at 80/s, 3 hosts, database 20 ms away", 3, 10, 80, 100, 1000, 5000, 8000,
     128, .rtt_ms = 20, .is_alone = true, .goal = {0, 20, 95}},
	{"far_100", "100 in 1 s, 10 clients at 80/s, 3 hosts, database 100 ms away", 3, 10, 80, 100, 1000, 5000, 8000,
     384, .rtt_ms = 100, .is_alone = true, .goal = {0, 30, 80}},
};

#define FLEETS (sizeof(fleets) / sizeof(fleets[0]))

/* Written by the process of each fleet. */
struct shared {
	struct result result[FLEETS];
	bool done[FLEETS];
};

/* ---- A fleet is measured ----------------------------------------------------------------------------- */

static struct result difference(const struct stand_counts *s, const struct stand_counts *t,
                                const struct poisson_counts *p, const struct poisson_counts *q) {
	double checks = (double)(q->checks - p->checks);

	return (struct result){
		.rows = (t->rows - s->rows) * 1000 / checks,
		.wait = (t->wants - s->wants) * 100 / checks,
		.exact = (double)(q->admitted - p->admitted) * 100 / (double)(q->exact - p->exact),
		.statements = (t->statements - s->statements) * 1000 / checks,
		.wal_bytes = (t->wal_bytes - s->wal_bytes) * 1000 / checks,
		.cpu_ms = (t->cpu_ms - s->cpu_ms) * 1000 / checks,
		.alone = (double)(q->alone - p->alone),
		.errors = (double)(q->errors - p->errors),
	};
}

static double median(double a, double b, double c) {
	return fmax(fmin(a, b), fmin(fmax(a, b), c));
}

static struct result middle(const struct result r[static INTERVALS]) {
	struct result out = {0};
	double *to = (double *)&out;

	for (size_t i = 0; i < sizeof(out) / sizeof(*to); i++)
		to[i] = median(((const double *)&r[0])[i], ((const double *)&r[1])[i], ((const double *)&r[2])[i]);
	return out;
}

/* Bursts one after the other, each of a client that has stopped. */
static void send_bursts(struct poisson *p, const struct fleet *fleet) {
	poisson_stop(p);
	for (uint32_t client = 0; client < fleet->clients; client++) {
		poisson_burst(p, client, BURST, BURST_MS);
		sleep_ms(BURST_EACH);
	}
}

static struct result measure(struct stand *stand, struct poisson *p, const struct fleet *fleet) {
	struct result result[INTERVALS];
	struct poisson_counts before;
	struct stand_counts counts;

	sleep_ms(quick_ms(fleet->warm_ms));
	for (int i = 0; i < INTERVALS; i++) {
		before = poisson_look(p);
		counts = stand_look(stand);
		if (fleet->is_burst)
			send_bursts(p, fleet);
		else
			sleep_ms(quick_ms(fleet->interval_ms));
		struct poisson_counts after = poisson_look(p);
		struct stand_counts later = stand_look(stand);

		result[i] = difference(&counts, &later, &before, &after);
		if (fleet->is_burst)
			return result[i];
	}
	return middle(result);
}

static int run(const struct fleet *fleet, const struct scene *scene, uint32_t number, struct result *out) {
	static struct stand stand;
	struct poisson_load load = {.limiters = stand.limiters,
	                            .hosts = fleet->hosts,
	                            .clients = fleet->clients,
	                            .rate = fleet->rate,
	                            .by_zipf = fleet->by_zipf,
	                            .is_uneven = fleet->is_uneven,
	                            .is_sticky = fleet->is_sticky,
	                            .limit = fleet->limit,
	                            .window_ms = fleet->window_ms,
	                            .threads = fleet->threads,
	                            .ramp_ms = (uint32_t)quick_ms(fleet->warm_ms < 60000 ? 1000 : 60000),
	                            .seed = number + 1};
	const struct stand_options how = {.name = fleet->name,
	                                  .number = number,
	                                  .hosts = fleet->hosts,
	                                  .rtt_ms = fleet->rtt_ms,
	                                  .max_clients = fleet->clients < 5000 ? 10000 : (int)fleet->clients * 2,
	                                  .limit = fleet->limit,
	                                  .window_ms = fleet->window_ms};
	struct poisson *p = stand_set(&stand, scene, &how) == 0 ? poisson_start(&load) : NULL;

	if (p) {
		*out = measure(&stand, p, fleet);
		poisson_stop(p);
		out->most = (double)poisson_look(p).most / (double)fleet->limit;
		poisson_free(p);
	}
	stand_strike(&stand);
	return p ? 0 : -1;
}

/* In a process of its own, which dies with this one. */
static pid_t start(const struct scene *scene, struct shared *shared, size_t i) {
	pid_t parent = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == parent)
		shared->done[i] = run(&fleets[i], scene, (uint32_t)i * STAND_HOSTS, &shared->result[i]) == 0;
	_exit(0);
}

/* Those that share the machine at once, then each of the others. */
static void run_all(const struct scene *scene, struct shared *shared) {
	for (size_t i = 0; i < FLEETS; i++)
		if (!fleets[i].is_alone)
			start(scene, shared, i);
	while (wait(NULL) > 0)
		;
	for (size_t i = 0; i < FLEETS; i++) {
		if (!fleets[i].is_alone)
			continue;
		start(scene, shared, i);
		while (wait(NULL) > 0)
			;
	}
}

/* ---- Rows that somebody else has locked ---------------------------------------------------------- */

/* Clients that are mostly new, 1,000/s. Then somebody locks the rows of one in a hundred of those that were seen:
 * how long do the others' checks take, beside before? */
static int measure_locked(const struct scene *scene, struct poisson_times times[static 2]) {
	static struct stand stand;
	const struct stand_options how = {.name = "locked",
	                                  .number = FLEETS * STAND_HOSTS,
	                                  .hosts = 4,
	                                  .max_clients = 200000,
	                                  .limit = 100,
	                                  .window_ms = 60000};
	const struct poisson_load load = {.limiters = stand.limiters,
	                                  .hosts = how.hosts,
	                                  .clients = 100000,
	                                  .rate = 0.01,
	                                  .limit = how.limit,
	                                  .window_ms = how.window_ms,
	                                  .threads = 256,
	                                  .seed = 99};
	struct poisson *p = stand_set(&stand, scene, &how) == 0 ? poisson_start(&load) : NULL;
	char sql[128];
	int status = p ? 0 : -1;

	snprintf(sql, sizeof(sql), "begin; select from stint.counter where client_id < '" POISSON_ID "' for update",
	         LOCKED_BELOW);
	sleep_ms(quick_ms(LOCKED_MS));
	for (int locked = 0; locked < 2 && status == 0; locked++) {
		times[locked].least = LOCKED_BELOW;
		status = locked ? cluster_do(&stand.cluster, sql) : 0;
		poisson_time(p, &times[locked]);
		sleep_ms(quick_ms(LOCKED_MS));
		poisson_time(p, NULL);
	}
	if (p) {
		cluster_do(&stand.cluster, "rollback");
		poisson_stop(p);
		poisson_free(p);
	}
	stand_strike(&stand);
	return status;
}

static void put_locked(const struct poisson_times times[static 2]) {
	char note[96];

	snprintf(note, sizeof(note), "%llu of %llu were denied, with no row locked %llu",
	         (unsigned long long)times[1].denied, (unsigned long long)histogram_total(&times[1].ns),
	         (unsigned long long)times[0].denied);
	figure_put(&(struct figure){.row = ROW,
	                            .what = "new clients 1,000/s, somebody has locked 1 row of 100: p99 of the others",
	                            .unit = "ms",
	                            .value = (double)histogram_quantile(&times[1].ns, 990) / 1e6,
	                            .against = "no row locked",
	                            .base = (double)histogram_quantile(&times[0].ns, 990) / 1e6,
	                            .target = FIGURE_AT_MOST,
	                            .bound = 2,
	                            .note = note});
}

/* ---- Peers ----------------------------------------------------------------------------------------------- */

static double rows_of(struct cluster *cluster, const char *name) {
	char sql[160];

	snprintf(sql, sizeof(sql), "select n_tup_ins + n_tup_upd from pg_stat_user_tables where relname = '%s'", name);
	sleep_ms(2000); /* what a session did is counted by then */
	return (double)cluster_number(cluster, sql, 0);
}

static int call_upserts(struct cluster *cluster) {
	uint64_t next_ns = monotonic_ns(), end_ns = next_ns + (uint64_t)quick_ms(PEER_MS) * NS_PER_MS, random = 7;
	struct pg *pg;
	int status = direct_open(&pg, cluster->conninfo, DIRECT_UPSERT);

	while (status == 0 && next_ns < end_ns) {
		struct pg_params params = {.count = 1};
		char id[32];

		sleep_until_ns(next_ns);
		next_ns += NS_PER_S / PEER_RATE;
		snprintf(id, sizeof(id), POISSON_ID, random_below(&random, PEER_CLIENTS));
		params.values[0] = id;
		status = direct_call(pg, &params) == 1 ? 0 : -1;
	}
	pg_close(pg);
	return status;
}

static int call_limiter_js(struct cluster *cluster) {
	char rate_ms[16];
	const char *install[] = {"tests/bench/peers/install", NULL};
	const char *argv[] = {"node",     process_built("bench/peers/limiter.js"),
	                      "postgres", cluster->conninfo,
	                      "1",        "1",
	                      rate_ms,    "100",
	                      NULL};

	snprintf(rate_ms, sizeof(rate_ms), "%d", quick_ms(PEER_MS));
	if (process_run(install, 120000, NULL, 0, NULL) != 0)
		return -1;
	return process_run(argv, PEER_MS + 20000, NULL, 0, NULL);
}

/* Each check is a row, and a statement; for 1,000 of them. */
static int measure_peer(struct cluster *cluster, const char *name, int call(struct cluster *),
                        struct result *out) {
	double rows_before = rows_of(cluster, name), rows;
	struct server_cost before = server_cost_look(cluster), after;

	if (call(cluster) != 0)
		return -1;
	after = server_cost_look(cluster);
	rows = rows_of(cluster, name) - rows_before;
	*out = (struct result){.rows = 1000,
	                       .statements = 1000,
	                       .wait = 100,
	                       .wal_bytes = (after.wal_bytes - before.wal_bytes) * 1000 / rows,
	                       .cpu_ms = (after.cpu_ms - before.cpu_ms) * 1000 / rows};
	return rows > 0 ? 0 : -1;
}

static int run_peers(const struct scene *scene, struct result *naive, struct result *flexible) {
	static struct cluster cluster;
	int status = cluster_start_with(&cluster, scene, &(struct cluster_options){.name = "peers"});

	if (status == 0)
		status = cluster_do(&cluster, DIRECT_TABLE);
	if (status == 0)
		status = measure_peer(&cluster, "naive", call_upserts, naive);
	if (status == 0)
		status = measure_peer(&cluster, "peers", call_limiter_js, flexible);
	cluster_close(&cluster);
	cluster_stop(&cluster);
	return status;
}

/* ---- What is told of it ------------------------------------------------------------------------------------ */

static void put_one(const struct fleet *fleet, const char *quantity, const char *unit, double value, double goal,
                    bool at_least, const char *note) {
	char what[160];

	snprintf(what, sizeof(what), "%s: %s", fleet->about, quantity);
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = unit,
	                            .value = value,
	                            .target = goal <= 0  ? FIGURE_STATED
	                                      : at_least ? FIGURE_AT_LEAST
	                                                 : FIGURE_AT_MOST,
	                            .bound = goal,
	                            .note = note});
}

static void put_beside(const struct fleet *fleet, const char *quantity, const char *unit, double value,
                       const char *peer, double base) {
	char what[160];

	snprintf(what, sizeof(what), "%s: %s for 1,000 checks", fleet->about, quantity);
	figure_put(
		&(struct figure){.row = ROW, .what = what, .unit = unit, .value = value, .against = peer, .base = base});
}

static void put_costs(const struct fleet *fleet, const struct result *r, const char *peer,
                      const struct result *base) {
	put_beside(fleet, "statements", "", r->statements, peer, base->statements);
	put_beside(fleet, "write-ahead log", "bytes", r->wal_bytes, peer, base->wal_bytes);
	put_beside(fleet, "server CPU", "ms", r->cpu_ms, peer, base->cpu_ms);
}

static void put_fleet(const struct fleet *fleet, const struct result *r) {
	char note[96] = "";

	if (r->alone > 0 || r->errors > 0)
		snprintf(note, sizeof(note), "%.0f were admitted by a fallback, %.0f failed", r->alone, r->errors);
	if (!fleet->is_burst) {
		put_one(fleet, "rows for 1,000 checks", "", r->rows, fleet->goal.rows, false, NULL);
		put_one(fleet, "checks that wait", "%", r->wait, fleet->goal.wait, false, NULL);
	}
	put_one(fleet,
	        fleet->is_burst ? "admitted within 250 ms, of what an exact log admits"
	                        : "admitted, of what an exact log admits",
	        "%", r->exact, fleet->goal.exact, true, note[0] ? note : NULL);
	put_one(fleet, "the most in any window, of the limit", "", r->most, 1, false, NULL);
}

static void put_all(const struct shared *shared, const struct result *naive, const struct result *flexible) {
	static const struct fleet peer = {.about = "rate-limiter-flexible on PostgreSQL, in a closed loop"};

	for (size_t i = 0; i < FLEETS; i++) {
		if (!shared->done[i])
			continue;
		put_fleet(&fleets[i], &shared->result[i]);
		if (!fleets[i].is_burst)
			put_costs(&fleets[i], &shared->result[i], "one upsert per check", naive);
	}
	if (flexible->rows > 0)
		put_costs(&peer, flexible, "one upsert per check", naive);
}

/* ---- The plot ------------------------------------------------------------------------------------ */

/* Rows for 1,000 checks of as many clients of 100 in 60 s, simulated; negative: it failed. */
static double simulate(uint32_t hosts, double percent) {
	char rate[24], count[16], out[64] = "";
	const char *argv[] = {process_built("tests/simulation/fleet/fleet"),
	                      "--plain",
	                      "--hosts",
	                      count,
	                      "--rate",
	                      rate,
	                      "--counted-s",
	                      "300",
	                      "slow-4",
	                      NULL};

	snprintf(rate, sizeof(rate), "%.4f", percent / 60);
	snprintf(count, sizeof(count), "%u", hosts);
	if (process_run(argv, SIMULATE_MS, out, sizeof(out), NULL) != 0)
		return -1;
	return strtod(out, NULL);
}

static int plot_simulated(uint32_t hosts) {
	static const double percents[] = {1, 2, 4, 8, 12, 20, 35, 50, 65, 80, 95, 120, 200};
	char label[48];

	snprintf(label, sizeof(label), "stint, %u host%s", hosts, hosts == 1 ? "" : "s");
	for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
		double rows = simulate(hosts, percents[i]);

		if (rows < 0)
			return -1;
		figure_point("fleet", label, percents[i], rows);
	}
	return 0;
}

static int plot(const struct shared *shared) {
	static const uint32_t hosts[] = {1, 4, 20, 200};

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		if (plot_simulated(hosts[i]) != 0)
			return -1;
	for (size_t i = 0; i < 3; i++)
		if (shared->done[i])
			figure_point("fleet", fleets[i].hosts == 1 ? "measured, 1 host" : "measured, 4 hosts",
			             fleets[i].rate * 60, shared->result[i].rows);
	figure_point("fleet", "without leases", 1, 1000);
	figure_point("fleet", "without leases", 200, 1000);
	return 0;
}

static int play(const struct scene *scene) {
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	static struct poisson_times times[2]; /* without, and with locked rows */
	struct result naive = {0}, flexible = {0};
	int status;

	if (shared == MAP_FAILED)
		return 1;
	status = run_peers(scene, &naive, &flexible);
	run_all(scene, shared);
	put_all(shared, &naive, &flexible);
	status |= measure_locked(scene, times);
	put_locked(times);
	status |= plot(shared);
	for (size_t i = 0; i < FLEETS; i++)
		status |= !shared->done[i];
	return status != 0;
}

int main(void) {
	return scene_run(play, 900);
}
