/*
 * parameters.h - the parameters of one statement, in order, and room for the texts of its numbers.
 */
#ifndef STINT_PARAMETERS_H
#define STINT_PARAMETERS_H

#include "pg.h"
#include "pgarray.h"

struct parameters {
	struct pg_params pg;
	char numbers[PG_PARAMS_MAX][24]; /* -9223372036854775808 and a NUL */
};

void parameters_add_text(struct parameters *, const char *text); /* must stay until the statement is sent */
void parameters_add_number(struct parameters *, int64_t number);
/* The array that begins at `offset`, and ends where the buffer ends now. */
void parameters_add_array(struct parameters *, const struct pgarray *array, size_t offset);

#endif
