/*
 * test_database.c - the Nth allocation, system call or call of libpq fails in an agent with PostgreSQL: while
 * it starts, connects, leases, loses its connection, comes back and drains. Never more is admitted than the
 * limit, nor more than the database has counted; and soon the database decides again.
 *
 *     $NTH_STEP   every how manieth N is tried; 1: all. Default: some 20 of each kind
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

#include "clock.h"
#include "cluster.h"
#include "random.h"
#include "setting.h"
#include "tap.h"
#include "victim.h"

#define RUNS 20
/* Attempts to connect are up to 3 s apart when several have failed, and the library's own pause comes on top. */
#define RECOVERY_MS 9000

struct database_play {
	struct cluster cluster;
	char named[400]; /* its connection string for agents, with a name in it */
	struct victim victim;
};

/* Lets the agent do in short what its life consists of, while things fail. */
static void serve(struct database_play *play, struct customer *c) {
	customer_check(c, 3);
	sleep_ms(20);
	customer_check(c, 3);
	cluster_end_backends(&play->cluster);
	customer_check(c, 2);
	sleep_ms(80); /* the first attempt to come back is after 25 to 75 ms */
	customer_check(c, 4);
	kill(play->victim.host.agent, SIGHUP);
	customer_check(c, 2);
}

/* I1, I2: what the database has counted for the client is all that was admitted, and within the limit. */
static void audit(struct database_play *play, const char *client, int64_t admitted) {
	char sql[256];
	int64_t used;

	snprintf(sql, sizeof(sql),
	         "select coalesce(sum(used), 0) from stint.usage where policy = 'nth' and client_id = '%s'", client);
	used = cluster_number(&play->cluster, sql, -1);
	if (used < admitted)
		victim_complain(&play->victim, "admitted, but not counted:", admitted - used);
	if (used > VICTIM_LIMIT)
		victim_complain(&play->victim, "counted above the limit:", used - VICTIM_LIMIT);
}

/* Whether N was reached. */
static bool run_one(struct database_play *play, const struct nth_plan *plan, const char *name) {
	struct victim *victim = &play->victim;
	struct customer c;

	if (!customer_meet(&c, victim, plan, name))
		return true;
	serve(play, &c);
	victim_spare(victim);
	customer_recover(&c, RECOVERY_MS);
	victim_count_descriptors(victim);
	victim_stop(victim);
	audit(play, name, customer_close(&c));
	return atomic_load(&victim->control->failures) > 0;
}

static void sweep(struct database_play *play, uint32_t class, const char *fault, uint64_t seed) {
	uint64_t random = seed * 1000003 + class, tried = 0, step, n;
	struct victim *victim = &play->victim;
	bool reached = true;
	char name[40];

	if (!tap_ok(victim_prepare(victim, play->victim.scene, class, play->named, NULL) == 0, "an agent to be"))
		return;
	victim->proof = (struct proof){.invariants = "I1 I2 I4 I6", .fault = fault};
	for (int i = 0; i < 3; i++) { /* these runs have no failures, to compare with */
		snprintf(name, sizeof(name), "%u-warm-%d", class, i);
		run_one(play, &(struct nth_plan){.classes = class}, name);
	}
	step = victim_step(atomic_load(&victim->control->calls), RUNS);
	for (n = 1 + random_below(&random, (uint32_t)step); reached; n += step) {
		struct nth_plan plan = nth_plan_for(class, n, &random);

		snprintf(name, sizeof(name), "%u-%" PRIu64, class, n);
		reached = run_one(play, &plan, name);
		tried++;
	}
	tap_ok(victim->proof.violations == 0,
	       "each %s of an agent with a database fails: %" PRIu64 " of %" PRIu64 " tried, %" PRIu64 " wrong",
	       nth_class_name(class), tried, n - step, victim->proof.violations);
	proof_print(&victim->proof);
	munmap(victim->control, sizeof(*victim->control));
}

static int play(const struct scene *scene) {
	static struct database_play play;
	uint64_t seed = setting_number("NTH_SEED", 1);

	play.victim.scene = scene;
	if (!tap_ok(cluster_start(&play.cluster, scene) == 0 && cluster_install(&play.cluster) == 0, "a database"))
		return tap_finish();
	nth_add_name(play.cluster.agent, play.named);
	sweep(&play, NTH_LIBPQ, "Nth libpq call fails, agent with database", seed);
	sweep(&play, NTH_MEMORY, "Nth allocation fails, agent with database", seed);
	sweep(&play, NTH_SYSTEM, "Nth system call fails, agent with database", seed);
	tap_ok(cluster_number(&play.cluster, "select count(*) from stint.usage where used > max_requests", -1) == 0,
	       "no client is above its limit in the books");
	cluster_close(&play.cluster);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 7200);
}
