/*
 * pg.h - the only door to libpq. Two parts: an asynchronous connection for the
 * agent (database.c), and a blocking one for the command line.
 */
#ifndef STINT_PG_H
#define STINT_PG_H

#include <stdbool.h>
#include <stddef.h>

/* ---- Blocking: for the command line -------------------------------------- */

struct pg;

/* Text of every cell; NULL is SQL's null. */
struct pg_rows {
	int row_count;
	int column_count;
	char **names;  /* column_count */
	char **cells;  /* row_count x column_count, row by row */
};

enum pg_error {
	PG_OK = 0,
	PG_UNREACHABLE = -1, /* no connection, or it broke */
	PG_FAILED = -2,      /* the server refused the statement; pg_error() says why */
};

/* Connects within timeout_ms. On failure *out is still a valid object (or NULL: out of memory) that tells pg_error(). */
int pg_connect(struct pg **out, const char *conninfo, int timeout_ms);
void pg_close(struct pg *);
const char *pg_error(const struct pg *);    /* one line: message, and the server's hint in brackets; "" if none */
const char *pg_sqlstate(const struct pg *); /* of the last failure; "" if none */

/* One statement with text parameters (NULL elements are SQL nulls). rows may be NULL. Caller frees with pg_rows_free(). */
int pg_query(struct pg *, const char *sql, int param_count, const char *const *params, struct pg_rows *rows);
/* Several statements, no parameters, in one implicit transaction unless the text says otherwise. Server notices are dropped. */
int pg_script(struct pg *, const char *sql);
void pg_rows_free(struct pg_rows *);

#endif
