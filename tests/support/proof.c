/* proof.c - see proof.h. */
#include "proof.h"

#include <inttypes.h>
#include <stdio.h>

void proof_print(const struct proof *proof) {
	char recovery[24] = "-";

	if (proof->recovery_ms >= 0)
		snprintf(recovery, sizeof(recovery), "%" PRId64, proof->recovery_ms);
	printf("# proof: %s | %s | runs %" PRIu64 " | checked %" PRIu64 " | violations %" PRIu64 " | recovery_ms %s\n",
	       proof->invariants, proof->fault, proof->runs, proof->checked, proof->violations, recovery);
	fflush(stdout);
}
