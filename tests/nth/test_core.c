/*
 * test_core.c - the Nth allocation fails inside the lease protocol, agent/core: in the simulated runs of
 * tests/agent/test_simulation.c, with its oracle, which says whether the promise was kept, whether all who asked were answered, and
 * whether the agent comes to rest. All in one process, so that thousands of N can be tried.
 *
 * The simulation is linked as it is, with its main() and its calls of the core renamed: allocations fail only while the core
 * works, and not in what the simulation does in its callbacks.
 *
 *     $NTH_STEP   every how manieth N is tried; 1: all. Default: some 40 of each profile and seed
 *     $NTH_ROUNDS seeds of each profile, default 2
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/core.h"
#include "core/heap.h"
#include "nth.h"
#include "proof.h"
#include "random.h"
#include "tap.h"

#define RUNS 40

int simulate(int argc, char **argv); /* test_simulation's main() */

/* ---- Memory, as the core gets it ------------------------------------------------------ */

static struct nth_plan plan;
static uint64_t calls;
static unsigned inside; /* the core, and not one of its callbacks */

static bool fails(void) {
	if (inside != 1)
		return false;
	calls++;
	return plan.n > 0 && calls >= plan.n && calls - plan.n < plan.span;
}

void *core_malloc(size_t size);
void *core_calloc(size_t count, size_t size);
void *core_realloc(void *block, size_t size);

void *core_malloc(size_t size) {
	return fails() ? NULL : malloc(size);
}

void *core_calloc(size_t count, size_t size) {
	return fails() ? NULL : calloc(count, size);
}

void *core_realloc(void *block, size_t size) {
	return fails() ? NULL : realloc(block, size);
}

/* ---- What the simulation calls ----------------------------------------------------------- */

#define ENTRY(name, parameters, arguments) \
	void nth_##name parameters; \
	void nth_##name parameters { \
		inside++; \
		name arguments; \
		inside--; \
	}

ENTRY(core_want,
      (struct core *core, int64_t now_ns, uint64_t peer, uint32_t serial, uint16_t policy, const char *id, uint8_t id_len, uint32_t cost,
       int64_t expires_ns),
      (core, now_ns, peer, serial, policy, id, id_len, cost, expires_ns))
ENTRY(core_low, (struct core *core, int64_t now_ns, uint16_t policy, const char *id, uint8_t id_len), (core, now_ns, policy, id, id_len))
ENTRY(core_on_grants, (struct core *core, int64_t now_ns, enum lease_outcome outcome, const struct lease_grant *grants, size_t count),
      (core, now_ns, outcome, grants, count))
ENTRY(core_database_up, (struct core *core, int64_t now_ns, int live_hosts), (core, now_ns, live_hosts))
ENTRY(core_database_lost, (struct core *core, int64_t now_ns), (core, now_ns))
ENTRY(core_database_down, (struct core *core, int64_t now_ns), (core, now_ns))
ENTRY(core_advance, (struct core *core, int64_t now_ns), (core, now_ns))

/* The simulation's agenda is a heap of the core's kind, but no part of it. */
int agenda_push(struct heap *heap, int64_t at_ns, uint32_t value);

int agenda_push(struct heap *heap, int64_t at_ns, uint32_t value) {
	unsigned before = inside;
	int result;

	inside = 0;
	result = heap_push(heap, at_ns, value);
	inside = before;
	return result;
}

/* ---- Runs --------------------------------------------------------------------------------- */

/* Crashes are left out: an agent that has no memory at its start is what test_agent is about. */
static const char *const profiles[] = {
	"calm", "fixed_window", "slow_database", "lost_replies", "database_away", "crowded", "policy_changes", "relaxed",
	"relaxed_lost_replies",
};

/* What the simulation prints of a run is for its own readers. */
static bool run_quietly(const char *profile, uint64_t seed) {
	char seed_text[32];
	char *argv[] = {(char *)(uintptr_t)"test_simulation", (char *)(uintptr_t)profile, seed_text, NULL};
	int out = dup(STDOUT_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC), status;

	snprintf(seed_text, sizeof(seed_text), "%" PRIu64, seed);
	fflush(stdout);
	dup2(null, STDOUT_FILENO);
	calls = 0;
	status = simulate(3, argv);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	close(null);
	close(out);
	return status == 0;
}

static void sweep(const char *profile, uint64_t seed, struct proof *proof) {
	uint64_t random = nth_setting("NTH_SEED", 1) * 1000003 + seed, setting = nth_setting("NTH_STEP", 0), wrong = 0, tried = 0, step, n;
	struct nth_plan first_wrong = {0};
	bool good;

	plan = (struct nth_plan){0};
	good = run_quietly(profile, seed);
	step = setting > 0 ? setting : calls / RUNS + 1;
	for (n = 1 + random_below(&random, (uint32_t)step); good && (n <= calls || plan.span > 1); n += step) {
		plan = nth_plan_for(NTH_MEMORY, n, &random);
		if (!run_quietly(profile, seed) && wrong++ == 0)
			first_wrong = plan;
		tried++;
		if (calls < n)
			break;
	}
	tap_ok(good && wrong == 0 && tried > 0, "%s %" PRIu64 ": %" PRIu64 " of %" PRIu64 " tried, %" PRIu64 " wrong; the first: %" PRIu64
	       " and %" PRIu64 " in all", profile, seed, tried, n - 1, wrong, first_wrong.n, first_wrong.span);
	proof->runs += tried;
	proof->checked += tried;
	proof->violations += wrong;
}

int main(int argc, char **argv) {
	struct proof proof = {
		.invariants = "I1 I3 I4", .fault = "Nth allocation fails, lease protocol", .recovery_ms = PROOF_NO_RECOVERY};
	uint64_t rounds = nth_setting("NTH_ROUNDS", 2);

	if (argc == 5) { /* PROFILE SEED N SPAN: once, with what the simulation says */
		plan = (struct nth_plan){NTH_MEMORY, 0, strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10)};
		argv[3] = NULL;
		return simulate(3, argv);
	}
	for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++)
		for (uint64_t seed = 1; seed <= rounds; seed++)
			sweep(profiles[i], seed, &proof);
	proof_print(&proof);
	return tap_finish();
}
