/*
 * bench_snapshot.c - a transaction that stays open keeps each version of each row that is written meanwhile, and
 * statements pass over all of them. How much slower do the agents' statements get, beside 200 hosts: a pulse, a
 * heartbeat, and a grant of a client that all hosts ask for?
 *
 * What matters is how many versions there are, and on how many pages, not how long it takes to make them. So 200
 * sessions, as agents have them, make an hour's heartbeats as fast as it goes; and of a hot client so many grants
 * as it gets in some minutes, each by some session, with those of others between them that fill the same pages.
 * The slope of the grant is measured, and what an hour would do is worked out of it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "cluster.h"
#include "direct.h"
#include "figure.h"
#include "quick.h"
#include "random.h"
#include "scene.h"

#define ROW         14
#define HOSTS       200u
#define BEATS       600 /* of each host in an hour */
#define GRANTS      6000
#define GRANTS_EACH 300 /* a point of the slope; its last CALLS are timed */
#define CALLS       200 /* of which the lower quartile is taken */
#define HOUR_S      3600
#define HOT         60.0 /* grants of a hot client a second, on 200 hosts: `make fleet F=hot-200` */
#define OTHERS      10   /* statements for each of them, of five clients each: 3,000 rows a second */
#define AT_MOST     2.0

/* One statement for each session. $1 > 0: a heartbeat of that host; $2: a grant of the hot client; else one of
 * five others, of which there are 30,000. */
#define GRANT(clients, of_each)                                                                                   \
	"(select count(*) from stint.take_leases($3, array_fill(p.id, " of_each "), " clients                         \
	", array_fill(1, " of_each "), array_fill(1, " of_each "), array_fill(10, " of_each                           \
	"), array_fill(10, " of_each "), array_fill(0, " of_each "), array_fill(0, " of_each                          \
	"), array_fill(0, " of_each "), array_fill(0::bigint, " of_each "), array_fill(0, " of_each                   \
	"), array_fill(0, " of_each "), array_fill(0::bigint, " of_each "), array_fill(0, " of_each                   \
	"), array_fill(0, " of_each ")))"

static const char session_sql[] =
	"select case when $1::int > 0 then (select count(*) from stint.heartbeat($1, 'i' || $1, 'in step', 1000, 0, true))"
	" when $2::boolean then " GRANT("'{hot}'", "'{1}'") " else " GRANT(
		"array(select 'c' || (random() * 30000)::int from generate_series(1, 5))",
		"'{5}'") " end"
				 " from (select $3::int, (select policy_id from stint.policy) as id) p";

static const char pulse_sql[] = "select now_us, change_id, wal_end from stint.pulse()";
static const char count_sql[] = "select live_hosts, stint.find_old_snapshot() from stint.count_hosts(1, true)";

struct play {
	struct cluster cluster, holder; /* the second: another session of the same server */
	struct pg *sessions[HOSTS], *pulse, *count;
	uint64_t random;
};

struct times { /* ms */
	double pulse, heartbeat, count, grant;
};

struct line {
	double at_0, slope;
};

static int open_all(struct play *p) {
	const char *superuser = p->cluster.conninfo;

	if (direct_open(&p->pulse, superuser, pulse_sql) != 0 || direct_open(&p->count, superuser, count_sql) != 0)
		return -1;
	for (uint32_t i = 0; i < HOSTS; i++)
		if (direct_open(&p->sessions[i], superuser, session_sql) != 0)
			return -1;
	return 0;
}

static void close_all(struct play *p) {
	for (uint32_t i = 0; i < HOSTS; i++)
		pg_close(p->sessions[i]);
	pg_close(p->pulse);
	pg_close(p->count);
	cluster_close(&p->holder);
	cluster_close(&p->cluster);
}

static int set_up(struct play *p, const struct scene *scene) {
	const struct cluster_options settings = {.settings = {"max_connections=260"}};
	char hosts[160];

	snprintf(hosts, sizeof(hosts),
	         "select stint.register_host('h' || i, 'i' || i, 'v', true) from generate_series(1, %u) i", HOSTS);
	if (cluster_start_with(&p->cluster, scene, &settings) != 0 || cluster_install(&p->cluster) != 0 ||
	    cluster_do(&p->cluster, hosts) != 0 ||
	    cluster_do(&p->cluster, "select stint.set_policy('api', 1000000000, 60000)") != 0)
		return -1;
	p->holder = p->cluster;
	p->holder.pg = NULL;
	return open_all(p);
}

/* ---- Calls ---------------------------------------------------------------------------------------------- */

static int call(struct pg *pg) {
	return direct_call(pg, &(struct pg_params){.count = 0}) == 1 ? 0 : -1;
}

static int call_session(struct play *p, uint32_t session, bool beats, bool is_hot) {
	char host[16], beating[16];
	const struct pg_params params = {.count = 3, .values = {beating, is_hot ? "true" : "false", host}};

	snprintf(host, sizeof(host), "%u", session + 1);
	snprintf(beating, sizeof(beating), "%u", beats ? session + 1 : 0);
	return direct_call(p->sessions[session], &params) == 1 ? 0 : -1;
}

static uint32_t any(struct play *p) {
	return random_below(&p->random, HOSTS);
}

static int beat(struct play *p, int times) {
	for (int i = 0; i < times; i++)
		for (uint32_t host = 0; host < HOSTS; host++)
			if (call_session(p, host, true, false) != 0)
				return -1;
	return 0;
}

/* Some grants of others, then one of the hot client: how long that one took, in ms; NAN: one failed. */
static double grant(struct play *p) {
	for (int i = 0; i < OTHERS; i++)
		if (call_session(p, any(p), false, false) != 0)
			return NAN;
	uint64_t began = monotonic_ns();

	return call_session(p, any(p), false, true) == 0 ? (double)(monotonic_ns() - began) / 1e6 : NAN;
}

/* ---- How long they take ----------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The lower quartile: what else the machine does only makes it longer. */
static double quartile(double ms[static CALLS]) {
	qsort(ms, CALLS, sizeof(ms[0]), compare);
	return ms[CALLS / 4];
}

static double time_of_pulse(struct pg *pg) {
	double ms[CALLS];

	for (int i = 0; i < CALLS; i++) {
		uint64_t began = monotonic_ns();

		ms[i] = call(pg) == 0 ? (double)(monotonic_ns() - began) / 1e6 : NAN;
	}
	return quartile(ms);
}

static double time_of_heartbeat(struct play *p) {
	double ms[CALLS];

	for (uint32_t i = 0; i < CALLS; i++) {
		uint64_t began = monotonic_ns();

		ms[i] = call_session(p, i % HOSTS, true, false) == 0 ? (double)(monotonic_ns() - began) / 1e6 : NAN;
	}
	return quartile(ms);
}

static double time_of_grant(struct play *p) {
	double ms[CALLS];

	for (int i = 0; i < CALLS; i++)
		ms[i] = grant(p);
	return quartile(ms);
}

static struct times look(struct play *p) {
	return (struct times){time_of_pulse(p->pulse), time_of_heartbeat(p), time_of_pulse(p->count),
	                      time_of_grant(p)};
}

/* By least squares; ms, and ms for each grant. */
static int measure_slope(struct play *p, int grants, struct line *out) {
	double n = 0, x_sum = 0, y_sum = 0, xx_sum = 0, xy_sum = 0;

	for (int done = 0; done < grants; done += GRANTS_EACH) {
		for (int i = CALLS; i < GRANTS_EACH; i++)
			if (isnan(grant(p)))
				return -1;
		double x = done + GRANTS_EACH - CALLS / 2, y = time_of_grant(p);

		figure_point("old_snapshot", "grant", x, y);
		n++, x_sum += x, y_sum += y, xx_sum += x * x, xy_sum += x * y;
	}
	out->slope = (n * xy_sum - x_sum * y_sum) / (n * xx_sum - x_sum * x_sum);
	out->at_0 = (y_sum - out->slope * x_sum) / n;
	return 0;
}

/* ---- What is told of it ------------------------------------------------------------------------------------ */

static void put(const char *what, double value, double base, bool is_judged, const char *note) {
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "ms",
	                            .value = value,
	                            .against = "nobody holds a snapshot",
	                            .base = base,
	                            .target = is_judged ? FIGURE_AT_MOST : FIGURE_STATED,
	                            .bound = AT_MOST,
	                            .note = note});
}

static void put_all(const struct times *unheld, const struct times *held, const struct line *hot, int grants) {
	char what[120], note[120];

	put("old snapshot for an hour beside 200 hosts: a pulse", held->pulse, unheld->pulse, true, NULL);
	put("old snapshot for an hour beside 200 hosts: a heartbeat", held->heartbeat, unheld->heartbeat, true, NULL);
	put("old snapshot for an hour beside 200 hosts: one of them counts all", held->count, unheld->count, false,
	    "each 5 s");
	snprintf(what, sizeof(what), "old snapshot: a grant of a hot client, after %d of them (%.0f s)", grants,
	         grants / HOT);
	snprintf(note, sizeof(note), "each makes the next ones %.0f ns slower", hot->slope * 1e6);
	put(what, held->grant, unheld->grant, false, note);
	if (hot->slope <= 0) /* the machine was too busy to tell */
		return;
	put("… after an hour, worked out", hot->at_0 + HOT * HOUR_S * hot->slope, unheld->grant, true, note);
	figure_put(&(struct figure){.row = ROW,
	                            .what = "… takes twice as long after",
	                            .unit = "s",
	                            .value = unheld->grant / hot->slope / HOT});
}

static int play(const struct scene *scene) {
	static struct play p = {.random = 1};
	struct times unheld, held;
	struct line hot;
	int status = set_up(&p, scene), grants = quick_ms(GRANTS);

	/* Each session has its plans afterwards. */
	if (status == 0)
		status = beat(&p, 1);
	for (uint32_t i = 0; i < 20 * HOSTS && status == 0; i++)
		status = call_session(&p, i % HOSTS, false, i % 20 < 3);
	if (status == 0) {
		unheld = look(&p);
		status =
			cluster_do(&p.holder, "begin isolation level repeatable read; select count(*) from stint.counter");
	}
	if (status == 0)
		status = measure_slope(&p, grants, &hot) | beat(&p, quick_ms(BEATS));
	if (status == 0) {
		held = look(&p);
		put_all(&unheld, &held, &hot, grants);
	}
	close_all(&p);
	return status != 0;
}

int main(void) {
	return scene_run(play, 400);
}
