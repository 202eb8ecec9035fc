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

enum column { REASON, REMEDY, TABLES_ALONE, COLUMNS }; /* of sql/trust.sql */

int trust_look(struct pg *pg, bool tables, struct trust *trust) {
	struct pg_rows rows = {0};
	*trust = (struct trust){.why_not = ""};
	int error = pg_query(pg, embedded_trust, 0, NULL, &rows);
	for (int i = rows.row_count - 1; i >= 0; i--) {
		char **row = &rows.cells[i * COLUMNS];
		if (!tables && *row[TABLES_ALONE] == 't')
			continue;
		snprintf(trust->why_not, sizeof(trust->why_not), "%s", row[REASON]);
		snprintf(trust->remedy, sizeof(trust->remedy), "%s", row[REMEDY]);
	}
	pg_rows_free(&rows);
	return error;
}
