/* top_database.c - see top_database.h. */
#include "top_database.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "monotonic.h"
#include "rows.h"
#include "trust.h"
#include "database/pg.h"

#define PATIENCE_MS  3000 /* for a connection, and for an answer; a key is heeded no later */
#define PEACE_FACTOR 9    /* it works for this view at most a tenth of the time */

#define NO_RIGHT "42501" /* PostgreSQL's code */

/* The server gives up before that, so that it isn't left with what nobody waits for. In a transaction, since a
 * session behind a pooler may be somebody else's next. */
#define LIMIT_TIME "set local statement_timeout = 2500"

/* The views read every client's row; what isn't shown isn't sent. */
static const char top_sql[] =
	"select coalesce((select json_agg(h) from (select state, count(*) as hosts, array_agg(name order by name) as names"
	" from stint.host where state <> 'stopped' group by state order by state) h), '[]') as hosts,"
	" coalesce((select json_agg(u) from (select policy, client_id, used, max_requests, remaining, percent, blocked,"
	" greatest(0, extract(epoch from resets_at - clock_timestamp()) * 1000)::bigint as resets_in_ms from stint.usage"
	" order by used desc, percent desc nulls first, policy, client_id limit $1::bigint) u), '[]') as clients";

static json_t *take_row(struct pg *pg, const char *row_count, int *error) {
	*error = pg_query(pg, "begin read only", 0, NULL, NULL);
	if (*error == PG_OK)
		*error = pg_query(pg, LIMIT_TIME, 0, NULL, NULL);
	json_t *rows = *error == PG_OK ? rows_select(pg, top_sql, 1, &row_count, error) : NULL;
	json_t *row = json_incref(json_array_get(rows, 0));
	json_decref(rows);
	return row;
}

static void note_failure(struct top_database *database, const char *what, const char *hint) {
	snprintf(database->error, sizeof(database->error), "%s: %s%s", what, pg_error(database->pg), hint);
}

static void leave(struct top_database *database) {
	pg_close(database->pg);
	database->pg = NULL;
}

static void ask(struct top_database *database, const char *row_count, int64_t now_ms) {
	int error;
	pg_set_deadline(database->pg, now_ms + PATIENCE_MS);
	json_t *said = take_row(database->pg, row_count, &error);
	bool may = strcmp(pg_sqlstate(database->pg), NO_RIGHT) != 0;
	if (!said)
		note_failure(database, "can't be read", may ? "" : "; this needs the role stint_auditor");
	if (error == PG_OK)
		error = pg_query(database->pg, "commit", 0, NULL, NULL);
	else if (error == PG_FAILED)
		error = pg_query(database->pg, "rollback", 0, NULL, NULL);
	if (error != PG_OK)
		leave(database);
	database->said = said;
	database->said_ms = now_ms;
}

static void check_trust(struct top_database *database) {
	struct trust trust;
	if (trust_look(database->pg, false, &trust) != PG_OK)
		note_failure(database, "can't be read", "");
	else if (trust.why_not[0] != '\0')
		snprintf(database->error, sizeof(database->error), "%s [%s]", trust.why_not, trust.remedy);
	if (database->error[0] != '\0')
		leave(database);
}

static void connect_first(struct top_database *database) {
	if (database->pg)
		return;
	const char *conninfo = database->conninfo ? database->conninfo : "";
	if (trust_connect(&database->pg, conninfo, PATIENCE_MS) == PG_OK) {
		pg_set_deadline(database->pg, monotonic_now_ms() + PATIENCE_MS);
		check_trust(database);
		return;
	}
	note_failure(database, "can't connect", database->conninfo ? "" : "; name it: --database, or $STINT_DATABASE");
	leave(database);
}

void top_database_ask(struct top_database *database, int64_t row_count) {
	char digits[24];
	int64_t began_ms = monotonic_now_ms();
	if (began_ms < database->next_ms)
		return;
	snprintf(digits, sizeof(digits), "%" PRId64, row_count);
	json_decref(database->said);
	database->said = NULL;
	database->error[0] = '\0';
	connect_first(database);
	if (database->pg)
		ask(database, digits, monotonic_now_ms());
	/* One that doesn't answer has no work with it, and is to be noticed when it is back. */
	int64_t ended_ms = monotonic_now_ms(), took_ms = ended_ms - began_ms;
	database->next_ms = ended_ms + (database->pg ? took_ms * PEACE_FACTOR : took_ms);
}

void top_database_close(struct top_database *database) {
	json_decref(database->said);
	pg_close(database->pg);
}
