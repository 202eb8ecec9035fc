/*
 * rows.h - what a statement selects, as JSON.
 */
#ifndef STINT_ROWS_H
#define STINT_ROWS_H

#include <jansson.h>

struct pg;

/*
 * Returns the rows of `select` as an array of objects, which the caller owns. Returns NULL after a failure, which
 * it doesn't report: *pg_error is an enum pg_error (PG_OK: out of memory).
 */
json_t *rows_select(struct pg *, const char *select, int param_count, const char *const *params, int *pg_error);

#endif
