/*
 * trust.c - see trust.h.
 */
#include "trust.h"

#include <stdio.h>

#include "migrations.h"
#include "database/pg.h"
#include "database/pg_connect.h"

int trust_connect(struct pg **out, const char *conninfo, int timeout_ms) {
	int error = pg_connect(out, conninfo, timeout_ms);
	if (error == PG_OK)
		pg_trust_catalog_only(*out);
	return error;
}

int trust_look(struct pg *pg, bool tables, struct trust *trust) {
	const char *params[] = {tables ? "true" : "false"};
	struct pg_rows rows = {0};
	*trust = (struct trust){.why_not = ""};
	int error = pg_query(pg, embedded_trust, 1, params, &rows);
	if (error == PG_OK && rows.row_count > 0) {
		snprintf(trust->why_not, sizeof(trust->why_not), "%s", rows.cells[0]);
		snprintf(trust->remedy, sizeof(trust->remedy), "%s", rows.cells[1]);
	}
	pg_rows_free(&rows);
	return error;
}
