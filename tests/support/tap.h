/*
 * tap.h - the Test Anything Protocol for tests that are one long play: each
 * check is a line with what was seen, and the rest goes on after a failure.
 */
#ifndef TAP_H
#define TAP_H

#include <stdbool.h>

/* One "ok" or "not ok" line; returns `passed`. */
bool tap_ok(bool passed, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line for the reader. */
void tap_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A check that could not be made here, and why: not a failure. */
void tap_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* From now on only checks that fail are printed: for a program that prints something else. */
void tap_quiet(void);
/* How many checks were made until now, and failed. */
void tap_count(int *checks_made, int *checks_failed);
/* Prints the plan; returns the exit status: 0 if at least one check was made and all passed. */
int tap_finish(void);

#endif
