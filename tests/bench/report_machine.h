/*
 * report_machine.h - where, when and with what it was measured. What can't be found out is not in it.
 */
#ifndef BENCH_REPORT_MACHINE_H
#define BENCH_REPORT_MACHINE_H

#include <jansson.h>
#include <stddef.h>

json_t *machine_describe(void);
json_t *machine_list_versions(void);

/* The current time, "2026-01-31T12:00:00Z". */
void machine_date(char *out, size_t size);

/* The commit that was measured; NULL outside of a git tree. Marked "-dirty" when files differ from it. */
json_t *machine_commit(void);

#endif
