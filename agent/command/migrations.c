/*
 * migrations.c - reads a database's version and applies migrations, see migrations.h.
 */
#include "migrations.h"

#include <stdlib.h>
#include <string.h>

#include "database/pg.h"

/* Only the schema's owner can take this lock. Others can read the version meanwhile. */
#define TAKE_LOCK "lock table stint.migration in share row exclusive mode"

int migrations_oldest(void) {
	return embedded_migration_count > 0 ? embedded_migrations[0].version : MIGRATIONS_NO_SCHEMA;
}

int migrations_newest(void) {
	size_t count = embedded_migration_count;
	return count > 0 ? embedded_migrations[count - 1].version : MIGRATIONS_NO_SCHEMA;
}

/* Runs a query that gives one number, in one row with one cell; null counts as 0. */
static int query_number(struct pg *pg, const char *sql, int *number) {
	struct pg_rows rows = {0};
	int error = pg_query(pg, sql, 0, NULL, &rows);
	if (error != PG_OK)
		return error;
	const char *cell = rows.row_count == 1 && rows.column_count == 1 ? rows.cells[0] : NULL;
	*number = cell ? atoi(cell) : 0;
	pg_rows_free(&rows);
	return PG_OK;
}

enum access { NO_ACCESS, BY_FUNCTION, BY_TABLE };

/*
 * Finds how the version can be asked for; NO_ACCESS: there is no schema. The table is preferred where this user
 * may read it, since that also works after a dump was restored, when the functions' owner may have no rights any
 * more. The query looks in the catalogue; a cast to regprocedure would fail where the user may not use the
 * schema.
 */
static int find_access(struct pg *pg, int *access) {
	static const char sql[] =
		"select coalesce(max(case when pg_catalog.has_schema_privilege(n.oid, 'usage') and exists ("
		"  select from pg_catalog.pg_class c where c.relnamespace = n.oid and c.relname = 'migration'"
		"   and pg_catalog.has_table_privilege(c.oid, 'select')) then 2 else 1 end), 0)"
		" from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace"
		" where n.nspname = 'stint' and p.proname = 'schema_version' and p.pronargs = 0";
	return query_number(pg, sql, access);
}

int migrations_read_version(struct pg *pg, int *version) {
	int access = NO_ACCESS;
	int error = find_access(pg, &access);
	*version = MIGRATIONS_NO_SCHEMA;
	if (error != PG_OK || access == NO_ACCESS)
		return error;
	return query_number(pg,
	                    access == BY_TABLE ? "select max(version) from stint.migration"
	                                       : "select stint.schema_version()",
	                    version);
}

int migrations_read_oldest_agent(struct pg *pg, int *version) {
	static const char by_table[] = "select max(version) from stint.migration where breaking";
	int access = NO_ACCESS;
	int error = find_access(pg, &access);
	return error == PG_OK
	           ? query_number(pg, access == BY_TABLE ? by_table : "select stint.oldest_agent()", version)
	           : error;
}

/* Begins a transaction, and takes the lock where there is a schema. The migration that makes the schema needs
 * none: only one can take its name. Whether there is one is looked for before: who waits for the lock must hold
 * none that the migration may need. */
static int begin_locked(struct pg *pg) {
	int version;
	int error = migrations_read_version(pg, &version);
	if (error == PG_OK)
		error = pg_query(pg, "begin isolation level read committed", 0, NULL, NULL);
	return error == PG_OK && version != MIGRATIONS_NO_SCHEMA ? pg_query(pg, TAKE_LOCK, 0, NULL, NULL) : error;
}

/* Applies a migration inside a transaction that holds the lock, unless the database has it by now. */
static int apply_locked(struct pg *pg, const struct embedded_migration *migration, bool *applied) {
	int version;
	int error = migrations_read_version(pg, &version);
	if (error != PG_OK || version >= migration->version)
		return error;
	*applied = true;
	return pg_script(pg, migration->sql);
}

static int apply(struct pg *pg, const struct embedded_migration *migration, bool *applied) {
	*applied = false;
	int error = begin_locked(pg);
	if (error == PG_OK)
		error = apply_locked(pg, migration, applied);
	/* After a failure the caller still wants to read why; closing the connection ends the transaction. */
	return error == PG_OK ? pg_query(pg, "commit", 0, NULL, NULL) : error;
}

/* Whether the script found the schema's name taken: by a commit since we looked, or while the script waited for
 * that commit. */
static bool was_outrun(const struct pg *pg, int error) {
	return error == PG_FAILED && (!strcmp(pg_sqlstate(pg), "42P06") || !strcmp(pg_sqlstate(pg), "23505"));
}

/* Applies a migration. When two make the schema at once, the second looks again, and either finds the work done or
 * fails for good. */
static int apply_or_look_again(struct pg *pg, const struct embedded_migration *migration, bool *applied) {
	int error = apply(pg, migration, applied);
	if (!was_outrun(pg, error))
		return error;
	error = pg_query(pg, "rollback", 0, NULL, NULL);
	return error == PG_OK ? apply(pg, migration, applied) : error;
}

int migrations_apply(struct pg *pg, int from, void (*applied)(const struct embedded_migration *)) {
	for (size_t i = 0; i < embedded_migration_count; i++) {
		bool was_applied;
		if (embedded_migrations[i].version <= from)
			continue;
		int error = apply_or_look_again(pg, &embedded_migrations[i], &was_applied);
		if (error != PG_OK)
			return error;
		if (was_applied)
			applied(&embedded_migrations[i]);
	}
	return PG_OK;
}
