/*
 * report_table.h - the figures as a table: all of them as text, those with a target as Markdown for
 * tests/README.md.
 */
#ifndef BENCH_REPORT_TABLE_H
#define BENCH_REPORT_TABLE_H

#include <stdio.h>

#include "report.h"

void table_print(FILE *, const struct report *);

/* `about`: where and when it was measured, one line. */
void table_print_markdown(FILE *, const struct report *, const char *about);

#endif
