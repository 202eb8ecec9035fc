/*
 * check.h - one check as the apps of a test make it: timed, and with its entry in the journal.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>

#include "journal.h"
#include "load.h"
#include "stint.h"

/* The client's id is that of the journal's plan. False: the journal is full, no check was made. */
bool check_make(struct journal *, struct stint_limiter *, const struct load_check *check);

#endif
