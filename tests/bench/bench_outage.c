/*
 * bench_outage.c - the database is away for a minute, in which each of eight agents admits 30,000 clients on its
 * own; then it is back. How long until all agents ask it again, how long until all is charged, beside as many rows
 * that eight connections charge by the same statement and do nothing else; and how long checks wait meanwhile that
 * ask an agent, beside before.
 *
 * A client is one of two hosts'. Agents, apps and server share this machine, so a check also waits for a
 * processor.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "direct.h"
#include "figure.h"
#include "fleet_stand.h"
#include "histogram.h"
#include "quick.h"
#include "random.h"
#include "server_cost.h"
#include "team.h"

#define ROW          14
#define HOSTS        STAND_HOSTS
#define CLIENTS      30000 /* of a host */
#define AWAY_MS      60000
#define USUAL_MS     10000
#define LOOK_EACH_MS 10
#define CHECK_EACH   (5 * NS_PER_MS) /* of who are new to their agent, on any host */
#define RATE_MS      5000
#define CHARGED_MS   120000
#define BATCH        256 /* as agents have them */
#define IN_REACH     5000
#define WAIT         2

static const char charge_sql[] =
	"with b as (select (select policy_id from stint.policy) as id, array_fill(0, '{256}') as n, array_fill(0::bigint,"
	" '{256}') as z) select r.request from b cross join lateral stint.take_leases(9, array_fill(b.id, '{256}'),"
	" array(select 'c-' || (($1::int + i) % 120000) from generate_series(0, 255) i), n, n, n, n, n, n,"
	" array_fill(1, '{256}'), z, n, n, z, n, n) r";

struct play {
	struct stand stand;
	uint32_t clients; /* of a host */
	struct histogram usual_ns, charging_ns;
	struct histogram *_Atomic waits; /* NULL: they don't count */
	atomic_bool is_over;
};

struct returned {
	double in_reach_ms, charged_ms, rows, cpu_ms;
};

static void name_client(char id[static 24], uint32_t host, uint32_t number) {
	snprintf(id, 24, "c-%u", (host * (CLIENTS / 2) + number) % (HOSTS * CLIENTS / 2));
}

/* ---- Checks ------------------------------------------------------------------------------------------------ */

struct crowd {
	struct play *play;
	uint32_t host, admitted;
};

/* Each of the host's clients once. */
static void *check_all(void *context) {
	struct crowd *crowd = context;

	for (uint32_t i = 0; i < crowd->play->clients; i++) {
		struct stint_result result;
		char id[24];

		name_client(id, crowd->host, i);
		if (stint_check(crowd->play->stand.limiters[crowd->host], id, 1, &result) == 0 && result.allowed &&
		    result.source == STINT_SOURCE_FALLBACK)
			crowd->admitted++;
	}
	return NULL;
}

static uint32_t admit_alone(struct play *p) {
	struct crowd crowds[HOSTS];
	pthread_t threads[HOSTS];
	uint32_t admitted = 0;

	for (uint32_t h = 0; h < HOSTS; h++) {
		crowds[h] = (struct crowd){.play = p, .host = h};
		if (pthread_create(&threads[h], NULL, check_all, &crowds[h]) != 0)
			abort();
	}
	for (uint32_t h = 0; h < HOSTS; h++) {
		pthread_join(threads[h], NULL);
		admitted += crowds[h].admitted;
	}
	return admitted;
}

/* New clients, each on some host: the database decides. */
static void *probe(void *context) {
	struct play *p = context;
	uint64_t random = 5, next_ns = monotonic_ns();

	for (uint32_t i = 0; !atomic_load(&p->is_over); i++) {
		struct histogram *waits;
		struct stint_result result;
		char id[24];

		sleep_until_ns(next_ns += CHECK_EACH);
		snprintf(id, sizeof(id), "new-%u", i);
		waits = atomic_load(&p->waits);
		uint64_t began = monotonic_ns();

		if (stint_check(p->stand.limiters[random_below(&random, HOSTS)], id, 1, &result) == 0 && waits &&
		    result.source == STINT_SOURCE_DATABASE)
			histogram_add(waits, monotonic_ns() - began);
		if (next_ns + NS_PER_S < monotonic_ns())
			next_ns = monotonic_ns();
	}
	return NULL;
}

/* ---- The return --------------------------------------------------------------------------------------------- */

static uint32_t count_states(struct play *p, const char *one, const char *other) {
	uint32_t count = 0;

	for (uint32_t h = 0; h < HOSTS; h++) {
		char state[24];

		host_state(&p->stand.hosts[h], state);
		count += strcmp(state, one) == 0 || strcmp(state, other) == 0;
	}
	return count;
}

static bool wait_for_states(struct play *p, const char *one, const char *other) {
	uint64_t deadline = monotonic_ns() + CHARGED_MS * NS_PER_MS;

	while (count_states(p, one, other) < HOSTS) {
		if (monotonic_ns() > deadline) {
			fprintf(stderr, "bench_outage: not all agents are %s\n", one);
			return false;
		}
		sleep_ms(LOOK_EACH_MS);
	}
	return true;
}

static double ms_since(uint64_t ns) {
	return (double)(monotonic_ns() - ns) / 1e6;
}

static int come_back(struct play *p, struct returned *out) {
	double rows = stand_look(&p->stand).rows, cpu_ms;
	uint64_t began;

	if (cluster_again(&p->stand.cluster) != 0)
		return -1;
	began = monotonic_ns();
	atomic_store(&p->waits, &p->charging_ns);
	cpu_ms = server_cost_look(&p->stand.cluster).cpu_ms;
	if (!wait_for_states(p, "resync", "in step"))
		return -1;
	out->in_reach_ms = ms_since(began);
	if (!wait_for_states(p, "in step", ""))
		return -1;
	out->charged_ms = ms_since(began);
	atomic_store(&p->waits, NULL);
	out->cpu_ms = server_cost_look(&p->stand.cluster).cpu_ms - cpu_ms;
	out->rows = stand_look(&p->stand).rows - rows;
	return 0;
}

/* ---- What rows cost otherwise -------------------------------------------------------------------------- */

static uint64_t charge(void *arg, int index) {
	static struct pg *pg; /* of each process */
	static unsigned start;
	const struct cluster *cluster = arg;
	char text[16];

	if (!pg && direct_open(&pg, cluster->conninfo, charge_sql) != 0)
		exit(1);
	start += BATCH;
	snprintf(text, sizeof(text), "%u", (unsigned)index * (CLIENTS / 2) + start);
	if (direct_call(pg, &(struct pg_params){.count = 1, .values = {text}}) != BATCH)
		exit(1);
	return BATCH;
}

/* ---- The play -------------------------------------------------------------------------------------------- */

static double ms_at(const struct histogram *waits, unsigned per_mille) {
	return (double)histogram_quantile(waits, per_mille) / 1e6;
}

static void put_wait(struct play *p, const char *what, unsigned per_mille) {
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "ms",
	                            .value = ms_at(&p->charging_ns, per_mille),
	                            .against = "before",
	                            .base = ms_at(&p->usual_ns, per_mille),
	                            .target = FIGURE_AT_MOST,
	                            .bound = WAIT});
}

static void put(struct play *p, const struct returned *r, double rate) {
	char note[120], what[120];

	snprintf(what, sizeof(what), "database back, 8 agents with %u clients to charge: all ask it again",
	         p->clients);
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "ms",
	                            .value = r->in_reach_ms,
	                            .target = FIGURE_AT_MOST,
	                            .bound = IN_REACH});
	snprintf(note, sizeof(note), "%.0f rows, %.1f us of the server's CPU for each", r->rows,
	         r->cpu_ms * 1e3 / r->rows);
	figure_put(&(struct figure){.row = ROW,
	                            .what = "… all is charged",
	                            .unit = "ms",
	                            .value = r->charged_ms,
	                            .against = "as many rows, 8 connections that charge nothing else",
	                            .base = r->rows / rate * 1e3,
	                            .note = note});
	put_wait(p, "… meanwhile a check that asks the agent, p50", 500);
	put_wait(p, "… p99", 990);
}

static int measure(struct play *p) {
	struct returned returned;
	uint64_t away;
	double rate;

	atomic_store(&p->waits, &p->usual_ns);
	sleep_ms(quick_ms(USUAL_MS));
	atomic_store(&p->waits, NULL);
	if (cluster_stop(&p->stand.cluster) != 0)
		return -1;
	away = monotonic_ns();
	if (!wait_for_states(p, "fallback", "fallback"))
		return -1;
	if (admit_alone(p) < HOSTS * p->clients * 99 / 100)
		fprintf(stderr, "bench_outage: not all were admitted\n");
	sleep_until_ns(away + (uint64_t)quick_ms(AWAY_MS) * NS_PER_MS);
	if (come_back(p, &returned) != 0)
		return -1;
	atomic_store(&p->is_over, true);
	rate = team_rate(&(struct team_job){charge, &p->stand.cluster}, (int)HOSTS, quick_ms(RATE_MS));
	if (rate <= 0)
		return -1;
	put(p, &returned, rate);
	return 0;
}

static int play(const struct scene *scene) {
	static struct play p;
	const struct stand_options how = {.name = "outage",
	                                  .hosts = HOSTS,
	                                  .max_clients = 2 * CLIENTS,
	                                  .limit = 100,
	                                  .window_ms = 60000};
	pthread_t prober;
	int status = stand_set(&p.stand, scene, &how);

	p.clients = (uint32_t)quick_ms(CLIENTS);
	if (status == 0 && pthread_create(&prober, NULL, probe, &p) == 0) {
		status = measure(&p);
		atomic_store(&p.is_over, true);
		pthread_join(prober, NULL);
	}
	stand_strike(&p.stand);
	return status != 0;
}

int main(void) {
	return scene_run(play, 400);
}
