/* proof.c - see proof.h. */
#include "proof.h"

#include <inttypes.h>
#include <stdio.h>

#include "tap.h"

void proof_print(const struct proof *proof) {
	char recovery[24] = "-";

	if (proof->recovery_ms >= 0)
		snprintf(recovery, sizeof(recovery), "%" PRId64, proof->recovery_ms);
	printf("# proof: %s | %s | runs %" PRIu64 " | checked %" PRIu64 " | violations %" PRIu64 " | recovery_ms %s\n",
	       proof->invariants, proof->fault, proof->runs, proof->checked, proof->violations, recovery);
	fflush(stdout);
}

void proof_print_checks(const char *invariants, const char *fault) {
	int made, failed;

	tap_count(&made, &failed);
	proof_print(&(struct proof){
		.invariants = invariants,
		.fault = fault,
		.runs = (uint64_t)made,
		.checked = (uint64_t)made,
		.violations = (uint64_t)failed,
		.recovery_ms = PROOF_NO_RECOVERY,
	});
}
