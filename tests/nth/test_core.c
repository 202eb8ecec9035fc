/*
 * test_core.c - the Nth allocation fails inside the lease protocol, agent/core: in the simulated worlds of
 * tests/simulation, whose invariants say whether the promise was kept, whether all who asked were answered, and
 * whether the agent comes to rest. All in one process, so that thousands of N can be tried.
 *
 * The simulation is linked as it is, with its calls of the core renamed: allocations fail only while the core
 * works, and not in what the simulation does in its callbacks.
 *
 *     test_core [SEED N SPAN]   one world, in which SPAN allocations fail from the Nth on
 *
 *     $NTH_STEP   every how manieth N is tried; 1: all. Default: some 40 of each world
 *     $NTH_ROUNDS how many seeds, default 36
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/core.h"
#include "core/heap.h"
#include "core/slab.h"
#include "nth.h"
#include "proof.h"
#include "random.h"
#include "setting.h"
#include "tap.h"
#include "world.h"

#define RUNS 40

/* ---- Memory, as the core gets it ------------------------------------------------------ */

static struct nth_plan failing;
static uint64_t calls;
static unsigned inside; /* the core is at work, and not one of its callbacks */

static bool fails(void) {
	if (inside != 1)
		return false;
	calls++;
	return failing.n > 0 && calls >= failing.n && calls - failing.n < failing.span;
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

/* Called in place of slab_new(): each cell counts as an allocation, although few of them need memory from the
 * system. */
void *__wrap_slab_new(struct slab *slab, size_t bytes);

void *__wrap_slab_new(struct slab *slab, size_t bytes) {
	return fails() ? NULL : slab_new(slab, bytes);
}

/* ---- What the simulation calls ----------------------------------------------------------- */

#define ENTRY(name, parameters, arguments)                                                                        \
	void nth_##name parameters;                                                                                   \
	void nth_##name parameters {                                                                                  \
		inside++;                                                                                                 \
		name arguments;                                                                                           \
		inside--;                                                                                                 \
	}

ENTRY(core_want,
      (struct core * core, int64_t now_ns, uint64_t peer, uint32_t serial, uint16_t policy, const char *id,
       uint8_t id_len, uint32_t cost, int64_t expires_ns),
      (core, now_ns, peer, serial, policy, id, id_len, cost, expires_ns))
ENTRY(core_low, (struct core * core, int64_t now_ns, uint16_t policy, const char *id, uint8_t id_len),
      (core, now_ns, policy, id, id_len))
ENTRY(core_on_grants,
      (struct core * core, int64_t now_ns, enum lease_outcome outcome, const struct lease_grant *grants,
       size_t count),
      (core, now_ns, outcome, grants, count))
ENTRY(core_database_up, (struct core * core, int64_t now_ns, int live_hosts), (core, now_ns, live_hosts))
ENTRY(core_database_lost, (struct core * core, int64_t now_ns), (core, now_ns))
ENTRY(core_database_down, (struct core * core, int64_t now_ns), (core, now_ns))
ENTRY(core_advance, (struct core * core, int64_t now_ns), (core, now_ns))

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

/* Runs the world of this seed with its failing allocations. Tells what broke; "" when nothing did. */
static void run(uint64_t seed, char trouble[static 256]) {
	struct world *w = world_new(seed, false);

	w->short_of_memory = failing.n > 0;
	calls = 0;
	world_run(w);
	snprintf(trouble, 256, "%s", w->trouble);
	world_free(w);
}

static void sweep(uint64_t seed, struct proof *proof) {
	uint64_t random = setting_number("NTH_SEED", 1) * 1000003 + seed, setting = setting_number("NTH_STEP", 0);
	uint64_t wrong = 0, tried = 0, step, n;
	char trouble[256], first[256] = "";

	failing = (struct nth_plan){0};
	run(seed, first);
	step = setting > 0 ? setting : calls / RUNS + 1;
	for (n = 1 + random_below(&random, (uint32_t)step); !first[0] && (n <= calls || failing.span > 1); n += step) {
		failing = nth_plan_for(NTH_MEMORY, n, &random);
		run(seed, trouble);
		if (trouble[0] && wrong++ == 0)
			snprintf(first, sizeof(first), "%" PRIu64 " %" PRIu64 " %" PRIu64 ": %.200s", seed, failing.n,
			         failing.span, trouble);
		tried++;
		if (calls < n)
			break;
	}
	tap_ok(!first[0] && tried > 0,
	       "world %" PRIu64 ", %s: %" PRIu64 " of %" PRIu64 " tried, %" PRIu64 " wrong; %s", seed,
	       faults_of(seed).name, tried, n - 1, wrong, first);
	proof->runs += tried;
	proof->checked += tried;
	proof->violations += wrong;
}

static int run_once(char **argv) {
	char trouble[256];

	failing = (struct nth_plan){NTH_MEMORY, 0, strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10)};
	run(strtoull(argv[1], NULL, 10), trouble);
	printf("%s\n", trouble[0] ? trouble : "ok");
	return trouble[0] != 0;
}

/* Crashes are left out: test_agent tests agents that have no memory at their start. */
int main(int argc, char **argv) {
	struct proof proof = {.invariants = "I1 I3 I4",
	                      .fault = "Nth allocation fails, lease protocol",
	                      .recovery_ms = PROOF_NO_RECOVERY};
	uint64_t rounds = setting_number("NTH_ROUNDS", 36);

	if (argc == 4)
		return run_once(argv);
	for (uint64_t seed = 1; seed <= rounds; seed++)
		if (faults_of(seed).agent_crashes == 0)
			sweep(seed, &proof);
	proof_print(&proof);
	return tap_finish();
}
