/* nth.c - see nth.h. */
#include "nth.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "process.h"
#include "random.h"

pid_t nth_start(const char *const *argv, const char *log_path, const char *control_path) {
	pid_t pid;

	setenv("LD_PRELOAD", process_built("tests/nth/nth_failure.so"), 1);
	setenv("NTH_CONTROL", control_path, 1);
	pid = process_start(argv, log_path);
	unsetenv("LD_PRELOAD");
	unsetenv("NTH_CONTROL");
	return pid;
}

void nth_add_name(const char *conninfo, char named[static 400]) {
	char host[108];
	int port;

	if (sscanf(conninfo, "host=%107s port=%d", host, &port) == 2)
		snprintf(named, 400, "%.255s host=%s,localhost port=%d,1", conninfo, host, port);
	else
		snprintf(named, 400, "%.399s", conninfo);
}

struct nth_plan nth_plan_for(uint32_t class, uint64_t n, uint64_t *random) {
	static const uint64_t spans[] = {1, 1, 3, NTH_FOR_EVER};

	return (struct nth_plan){
		.classes = class,
		.n = n,
		.variant = random_below(random, NTH_VARIANTS),
		.span = spans[random_below(random, sizeof(spans) / sizeof(spans[0]))],
	};
}

const char *nth_class_name(uint32_t class) {
	return class == NTH_MEMORY ? "allocation" : class == NTH_SYSTEM ? "system call" : "libpq call";
}

const char *nth_describe(const struct nth_control *control) {
	static char text[128];
	const struct nth_plan *plan = &control->plan;

	snprintf(text, sizeof(text), "%s %" PRIu64 "%s (%s, variant %u)", nth_class_name(plan->classes), plan->n,
	         plan->span == 1              ? ""
	         : plan->span == NTH_FOR_EVER ? " and all after it"
	                                      : " and some after it",
	         control->failed[0] != '\0' ? control->failed : "not reached", plan->variant);
	return text;
}
