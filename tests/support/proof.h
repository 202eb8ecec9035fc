/*
 * proof.h - one line of the scoreboard: which invariant a fault was thrown at, how
 * often, and what came of it. Tests print it beside their TAP; tests/soak/run collects
 * the lines of all tests into its last page.
 *
 *     # proof: I1 I4 | app killed at every instruction | runs 7393 | checked 12002 | violations 0 | recovery_ms -
 *
 * The invariants:
 *
 *   I1 strict: no interval of time_window_ms holds more than max_requests admits of one client, all hosts
 *   together
 *   I2  the books: charged <= limit at every commit, and charged >= what was admitted
 *   I3  fallback: admits per host and fallback window <= fallback_max_requests
 *   I4  an app never crashes, hangs, gets a signal, or waits longer than its timeout
 *   I5  after the fault, right decisions again within a stated time, and no credit lost for longer than a window
 *   I6 the agent stays up, or is restarted with nothing lost; memory and descriptors flat; other clients
 *   unaffected
 */
#ifndef PROOF_H
#define PROOF_H

#include <stdint.h>

#define PROOF_NO_RECOVERY (-1)

struct proof {
	const char *invariants; /* "I1 I4" */
	const char *fault;      /* the catalogue's words; no '|' */
	uint64_t runs;          /* how often the fault was caused */
	uint64_t checked;       /* admissions, or states, that were held against the invariants */
	uint64_t violations;
	/* the longest time from the fault's end to right decisions; PROOF_NO_RECOVERY: nothing to recover from */
	int64_t recovery_ms;
};

void proof_print(const struct proof *);
/* For a program whose checks are all of one fault: what tap_ok() was told until now, each check a run. */
void proof_print_checks(const char *invariants, const char *fault);

#endif
