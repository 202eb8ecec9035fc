/*
 * test_locked_rows.c - somebody keeps the rows of some clients locked. These alone wait, and are denied with
 * the reason; all others are served meanwhile, on the same hosts.
 *
 * How long others wait depends on the machine. How many statements wait for a lock doesn't: one on each host,
 * which finds out that somebody has locked something.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "database/pg_connect.h"
#include "probe.h"
#include "proof.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define HOSTS      2u
#define THREADS    4u  /* that ask for locked clients, each for clients of its own */
#define EACH       10u /* so many of them */
#define LOCKED     200
#define TIMEOUT_MS 10000 /* of a check: a busy machine is no reason to decide without the database */
#define FREE_MS    20000 /* until all are served when the lock is gone, at most */

static const struct stint_options options = {.policy = "api",
                                             .max_requests = 100,
                                             .time_window_ms = 60000,
                                             .timeout_ms = TIMEOUT_MS};

struct play {
	struct stage stage;
	struct probe probe[HOSTS];
	_Atomic uint32_t denied, wrong;
	_Atomic uint32_t running;
};

struct asking {
	struct play *play;
	pthread_t thread;
	uint32_t number;
};

/* Lines of the server's log that say so. */
static int count_lock_timeouts(const struct stage *stage) {
	char path[160], line[1024];
	int count = 0;

	snprintf(path, sizeof(path), "%s/pg/log", stage->cluster.dir);
	FILE *log = fopen(path, "re");
	while (log != NULL && fgets(line, sizeof(line), log) != NULL)
		count += strstr(line, "due to lock timeout") != NULL;
	if (log != NULL)
		fclose(log);
	return count;
}

static int64_t count_all(const struct stage *stage, const char *counter) {
	int64_t sum = 0;

	for (uint32_t h = 0; h < stage->host_count; h++)
		sum += host_number(&stage->host[h], "counters", counter);
	return sum;
}

static bool check(struct play *play, uint32_t host, const char *client, struct stint_result *result) {
	return stint_check(play->probe[host].limiter, client, 1, result) == 0;
}

/* ---- Clients whose rows are locked --------------------------------------------------------------- */

static void name_locked(char client[static 32], uint32_t thread, uint32_t i) {
	snprintf(client, 32, "locked-%u", thread * EACH + i);
}

static void *ask_for_locked(void *arg) {
	struct asking *a = arg;
	struct play *play = a->play;

	for (uint32_t i = 0; i < EACH; i++) {
		struct stint_result r;
		char client[32];

		name_locked(client, a->number, i);
		if (check(play, a->number % HOSTS, client, &r) && !r.allowed && r.reason == STINT_UNAVAILABLE &&
		    r.source == STINT_SOURCE_DATABASE)
			atomic_fetch_add(&play->denied, 1);
		else
			atomic_fetch_add(&play->wrong, 1);
	}
	atomic_fetch_sub(&play->running, 1);
	return NULL;
}

/* Others come all the time until those are done. Gives how many there were, and how many of them weren't admitted
 * by the database's credits. */
static uint32_t ask_for_others(struct play *play, uint32_t *wrong) {
	uint32_t count = 0;

	for (*wrong = 0; count < THREADS * EACH || atomic_load(&play->running) > 0; count++) {
		struct stint_result r;
		char client[32];

		snprintf(client, sizeof(client), "other-%u", count);
		if (!check(play, count % HOSTS, client, &r) || !r.allowed ||
		    (r.source != STINT_SOURCE_DATABASE && r.source != STINT_SOURCE_LEASE))
			(*wrong)++;
	}
	return count;
}

static void ask_for_all(struct play *play) {
	struct asking asking[THREADS];
	uint32_t wrong = 0, others, started = 0;

	atomic_store(&play->running, THREADS);
	for (; started < THREADS; started++) {
		asking[started] = (struct asking){.play = play, .number = started};
		if (pthread_create(&asking[started].thread, NULL, ask_for_locked, &asking[started]) != 0)
			break;
	}
	atomic_fetch_sub(&play->running, THREADS - started);
	others = ask_for_others(play, &wrong);
	for (uint32_t i = 0; i < started; i++)
		pthread_join(asking[i].thread, NULL);
	tap_ok(atomic_load(&play->denied) == THREADS * EACH,
	       "%u of %u checks of locked clients are denied as unavailable", atomic_load(&play->denied),
	       THREADS * EACH);
	tap_ok(wrong == 0, "I6 %u of %u checks of other clients were not admitted by the database", wrong, others);
}

/* ---- The play ------------------------------------------------------------------------------------- */

/* Another host has made their rows: none of these has a lease of theirs. */
static bool make_rows(struct play *play) {
	char sql[640];

	snprintf(sql, sizeof(sql),
	         "do $$ begin perform l.request from stint.policy p, (select array_fill(1, array[%d]) as one) o,"
	         " lateral stint.take_first_leases(60, array_fill(p.policy_id, array[%d]),"
	         "  array(select 'locked-' || g from generate_series(0, %d) g), one, one, one, one, one) l"
	         " where p.name = 'api'; end $$",
	         LOCKED, LOCKED, LOCKED - 1);
	return cluster_do(&play->stage.cluster, sql) == 0 &&
	       cluster_number(&play->stage.cluster,
	                      "select count(*) from stint.counter where client_id like 'locked-%'", 0) == LOCKED;
}

static struct pg *lock_rows(struct play *play) {
	struct pg *pg = NULL;

	if (pg_connect(&pg, play->stage.cluster.conninfo, 5000) == PG_OK && pg_script(pg, "begin") == PG_OK &&
	    pg_script(pg, "select from stint.counter where client_id like 'locked-%' for update") == PG_OK)
		return pg;
	pg_close(pg);
	return NULL;
}

static bool is_served(struct play *play, uint32_t host, const char *client, uint64_t since_ns) {
	struct stint_result r;

	while (!check(play, host, client, &r) || !r.allowed) {
		if (stage_ms_since(since_ns) > FREE_MS)
			return false;
		sleep_ms(20);
	}
	return r.source == STINT_SOURCE_DATABASE || r.source == STINT_SOURCE_LEASE;
}

static uint32_t serve_all(struct play *play) {
	uint64_t since_ns = monotonic_ns();
	uint32_t served = 0;
	char client[32];

	for (uint32_t t = 0; t < THREADS; t++)
		for (uint32_t i = 0; i < EACH; i++) {
			name_locked(client, t, i);
			served += is_served(play, t % HOSTS, client, since_ns);
		}
	return served;
}

static void play_locks(struct play *play) {
	struct stage *stage = &play->stage;
	struct stint_result r;
	struct pg *holder;
	int before, waited;
	uint32_t served;

	for (uint32_t h = 0; h < HOSTS; h++)
		check(play, h, "first", &r);
	if (!tap_ok(make_rows(play) && (holder = lock_rows(play)) != NULL, "%d rows are locked", LOCKED))
		return;
	before = count_lock_timeouts(stage);
	ask_for_all(play);
	waited = count_lock_timeouts(stage) - before;
	tap_ok(waited <= (int)HOSTS, "I6 %d statements waited for a lock in vain, of %lld", waited,
	       (long long)count_all(stage, "batches"));
	tap_ok(count_all(stage, "unserved") == (int64_t)(THREADS * EACH), "agents count %lld unserved checks",
	       (long long)count_all(stage, "unserved"));
	tap_ok(count_all(stage, "busy") > (int64_t)(THREADS * EACH), "and %lld tries for busy rows",
	       (long long)count_all(stage, "busy"));
	tap_ok(pg_script(holder, "commit") == PG_OK, "the lock is gone");
	pg_close(holder);
	served = serve_all(play);
	tap_ok(served == THREADS * EACH, "I5 %u of %u are served again", served, THREADS * EACH);
	proof_print_checks("I5 I6", "rows locked by somebody else, beside clients that are new");
}

static int run(const struct scene *scene) {
	static struct play play;

	if (stage_set(&play.stage, scene, HOSTS, STAGE_PATIENT) != 0)
		return tap_finish();
	for (uint32_t h = 0; h < HOSTS; h++)
		if (probe_open(&play.probe[h], &play.stage.host[h], &options) != 0)
			return tap_finish();
	play_locks(&play);
	for (uint32_t h = 0; h < HOSTS; h++)
		probe_close(&play.probe[h]);
	stage_strike(&play.stage);
	return tap_finish();
}

int main(void) {
	return scene_run(run, 120);
}
