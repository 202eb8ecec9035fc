/*
 * test_agent.c - the Nth allocation, the Nth system call fails in an agent without a database, from its first
 * to its last: it ends at its start with an error that says why, or it stays, serves, and ends well; its
 * customers stay within their limits and soon get right decisions again.
 *
 *     $NTH_STEP   every how manieth N is tried; 1: all. Default: some 40 of each kind
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

#include "clock.h"
#include "peer.h"
#include "random.h"
#include "setting.h"
#include "tap.h"
#include "victim.h"

#define RUNS 40
/* The library's pause between two attempts to connect is a second at most, and the first may meet the agent's
 * failure. */
#define RECOVERY_MS 4000

/* Lets the agent do in short what it has to do in a day, while things fail. */
static void serve(struct victim *victim, struct customer *c) {
	char text[8192];

	customer_check(c, 6);
	peer_status(victim->host.socket, text, sizeof(text), 200);
	kill(victim->host.agent, SIGHUP);
	sleep_ms(2);
	customer_check(c, 8);
}

static void expect_status(struct victim *victim) {
	char text[65536] = "";

	if (peer_status(victim->host.socket, text, sizeof(text), 3000) != 0 || text[0] != '{')
		victim_complain(victim, "it doesn't tell its status", 0);
}

/* Whether N was reached. */
static bool run_one(struct victim *victim, const struct nth_plan *plan, const char *name) {
	struct customer c;

	if (!customer_meet(&c, victim, plan, name))
		return true;
	serve(victim, &c);
	victim_spare(victim);
	customer_recover(&c, RECOVERY_MS);
	expect_status(victim);
	victim_count_descriptors(victim);
	customer_close(&c);
	victim_stop(victim);
	return atomic_load(&victim->control->failures) > 0;
}

static void remove_table(const struct host *host) {
	char name[96];

	snprintf(name, sizeof(name), "%s.table", host->shm);
	shm_unlink(name);
	snprintf(name, sizeof(name), "%s.directory", host->shm);
	shm_unlink(name);
}

static void sweep(struct victim *victim, uint32_t class, bool fresh, uint64_t seed) {
	uint64_t random = seed * 1000003 + class * 2 + fresh, wrong = victim->proof.violations, tried = 0, step, n;
	bool reached = true;
	char name[40];

	run_one(victim, &(struct nth_plan){.classes = class}, "warm");
	step = victim_step(atomic_load(&victim->control->calls), RUNS);
	for (n = 1 + random_below(&random, (uint32_t)step); reached; n += step) {
		struct nth_plan plan = nth_plan_for(class, n, &random);

		if (fresh)
			remove_table(&victim->host);
		snprintf(name, sizeof(name), "%u-%d-%" PRIu64, class, fresh, n);
		reached = run_one(victim, &plan, name);
		tried++;
	}
	wrong = victim->proof.violations - wrong;
	tap_ok(wrong == 0,
	       "each %s of an agent with %s table fails: %" PRIu64 " of %" PRIu64 " tried, %" PRIu64 " wrong",
	       nth_class_name(class), fresh ? "a new" : "an old", tried, n - step, wrong);
}

static void sweep_class(const struct scene *scene, uint32_t class, const char *fault, uint64_t seed) {
	struct victim victim;

	if (!tap_ok(victim_prepare(&victim, scene, class, "memory:", NULL) == 0, "an agent to be"))
		return;
	victim.proof.invariants = "I4 I6";
	victim.proof.fault = fault;
	sweep(&victim, class, true, seed);
	sweep(&victim, class, false, seed);
	tap_ok(victim.refused > 0 && victim.refused < victim.proof.runs,
	       "%" PRIu64 " of %" PRIu64 " starts were refused", victim.refused, victim.proof.runs);
	proof_print(&victim.proof);
	munmap(victim.control, sizeof(*victim.control));
}

static void start_rival(struct victim *rival, const struct host *first, const struct nth_plan *plan) {
	remove_table(&rival->host);
	if (victim_start_in_vain(rival, plan) != 0)
		victim_complain(rival, "a second agent on one socket goes on running", 0);
	if (host_number(first, "table", "capacity") < 0)
		victim_complain(rival, "the first agent can't be reached any more", 0);
}

/* Somebody starts a second agent on a socket that is in use. Whatever fails in it, the first one keeps the
 * socket. */
static void sweep_rival(struct victim *rival, const struct host *first, uint32_t class) {
	static const uint64_t spans[] = {1, 2, NTH_FOR_EVER};
	uint64_t wrong = rival->proof.violations, runs = rival->proof.runs;

	for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++)
		for (uint64_t n = 1; n == 1 || atomic_load(&rival->control->failures) > 0; n++)
			start_rival(rival, first, &(struct nth_plan){class, (uint32_t)(n + i) % NTH_VARIANTS, n, spans[i]});
	tap_ok(rival->proof.violations == wrong,
	       "a second agent that fails doesn't hurt the first: %" PRIu64 " starts, each %s",
	       rival->proof.runs - runs, nth_class_name(class));
}

static void sweep_rivals(const struct scene *scene) {
	const struct host_options options = {.database = "memory:", .max_clients = 64};
	struct victim rival;
	struct host first;

	if (!tap_ok(host_prepare(&first, scene, 7, &options) == 0 && host_start(&first) == 0,
	            "an agent that runs already") ||
	    !tap_ok(victim_prepare(&rival, scene, 6, "memory:", first.socket) == 0, "and another with its socket"))
		return;
	rival.proof = (struct proof){.invariants = "I6",
	                             .fault = "Nth call fails, second agent on a socket",
	                             .recovery_ms = PROOF_NO_RECOVERY};
	sweep_rival(&rival, &first, NTH_SYSTEM);
	sweep_rival(&rival, &first, NTH_MEMORY);
	tap_ok(host_is_running(&first) && host_stop(&first) == 0, "the first ends well");
	rival.proof.checked = rival.proof.runs;
	proof_print(&rival.proof);
	munmap(rival.control, sizeof(*rival.control));
}

static int play(const struct scene *scene) {

	uint64_t seed = setting_number("NTH_SEED", 1);

	sweep_class(scene, NTH_MEMORY, "Nth allocation fails, agent", seed);
	sweep_class(scene, NTH_SYSTEM, "Nth system call fails, agent", seed);
	sweep_rivals(scene);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 3600);
}
