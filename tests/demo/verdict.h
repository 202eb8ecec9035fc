/*
 * verdict.h - how a demo ends: the most that any interval admitted, before the database died, without it, and
 * after its return, by what the apps, or those who asked them, have noted.
 */
#ifndef VERDICT_H
#define VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "oracle.h"
#include "view.h"

#define VERDICT_LINES (4 + VIEW_HOSTS)

struct verdict {
	/* To be filled in before: when the database died and returned, and what tells of admissions. */
	uint64_t killed_ns, returned_ns;
	const char *by;
	struct verdict_line {
		char what[48];
		int64_t most[VIEW_CLIENTS], limit;
		bool kept;
	} lines[VERDICT_LINES];
	int line_count, broken;
};

/* Judges, and prints a line for each. */
void verdict_judge(struct verdict *, const struct view *view, const struct oracle *oracle);
void verdict_print_end(const struct view *view, bool kept);

#endif
