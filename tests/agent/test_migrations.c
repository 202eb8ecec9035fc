/*
 * test_migrations.c - the order in which migrations.c does things, against a database that is a few variables:
 * which statements it gets, and what happens when one fails or somebody else migrates meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/migrations.h"
#include "database/pg.h"

const struct embedded_migration embedded_migrations[] = {
	{1, "one", true, "1"},
	{2, "two", false, "2"},
	{3, "three", false, "3"},
};
const size_t embedded_migration_count = 3;

/* ---- The database ------------------------------------------------------------- */

static struct {
	int version;        /* the version that is committed; 0: no schema */
	int version_within; /* the version as the transaction sees it */
	bool in_transaction;
	bool locked;
	bool readable; /* this user may read the table stint.migration; else there is the function */
	int rival;     /* somebody else brings the schema to this version before the lock is free; 0: nobody */
	/* Somebody else makes the schema while migration 1 runs, which then fails with this SQLSTATE. NULL: nobody
	 * does. */
	const char *outrun;
	const char *sqlstate;
	int failing_version; /* the migration whose script fails; 0: none */
	const char *failing; /* statements that begin so fail; NULL: none */
	int scripts;
	int applied; /* how often the callback was called */
} database;

static int visible_version(void) {
	return database.in_transaction ? database.version_within : database.version;
}

static int answer(struct pg_rows *rows, int number) {
	rows->row_count = rows->column_count = 1;
	rows->cells = calloc(1, sizeof(*rows->cells));
	assert_non_null(rows->cells);
	assert_true(asprintf(&rows->cells[0], "%d", number) > 0);
	return PG_OK;
}

static int take_lock(void) {
	assert_true(database.in_transaction);
	if (database.rival > database.version)
		database.version = database.version_within = database.rival;
	database.locked = true;
	return PG_OK;
}

const char *pg_sqlstate(const struct pg *pg) {
	(void)pg;
	return database.sqlstate != NULL ? database.sqlstate : "";
}

int pg_query(struct pg *pg, const char *sql, int param_count, const char *const *params, struct pg_rows *rows) {
	(void)pg, (void)param_count, (void)params;
	if (database.failing != NULL && strncmp(sql, database.failing, strlen(database.failing)) == 0)
		return PG_UNREACHABLE;
	if (strncmp(sql, "begin ", 6) == 0) {
		assert_false(database.in_transaction);
		database.in_transaction = true;
		database.version_within = database.version;
		return PG_OK;
	}
	if (strcmp(sql, "commit") == 0) {
		assert_true(database.in_transaction);
		database.version = database.version_within;
		database.in_transaction = database.locked = false;
		return PG_OK;
	}
	if (strcmp(sql, "rollback") == 0) {
		assert_true(database.in_transaction);
		database.in_transaction = database.locked = false;
		return PG_OK;
	}
	if (strncmp(sql, "lock table stint.migration ", 27) == 0)
		return take_lock();
	if (strstr(sql, "pg_proc") != NULL)
		return answer(rows, visible_version() == 0 ? 0 : database.readable ? 2 : 1);
	assert_string_equal(sql, database.readable ? "select max(version) from stint.migration"
	                                           : "select stint.schema_version()");
	return answer(rows, visible_version());
}

int pg_script(struct pg *pg, const char *sql) {
	(void)pg;
	int version = atoi(sql);
	assert_true(database.in_transaction);
	assert_true(database.locked || database.version_within == 0); /* without a schema there is nothing to lock */
	assert_int_equal(version, database.version_within + 1);
	if (version == database.failing_version)
		return PG_FAILED;
	if (version == 1 && database.outrun != NULL) {
		database.sqlstate = database.outrun;
		database.version = database.rival;
		return PG_FAILED;
	}
	database.version_within = version;
	database.scripts++;
	return PG_OK;
}

void pg_rows_free(struct pg_rows *rows) {
	free(rows->cells[0]);
	free(rows->cells);
}

static void count_applied(const struct embedded_migration *migration) {
	assert_false(database.in_transaction);
	assert_int_equal(migration->version, database.version);
	database.applied++;
}

static int start(void **state) {
	(void)state;
	memset(&database, 0, sizeof(database));
	return 0;
}

/* ---- The tests ------------------------------------------------------------------- */

static void test_newest(void **state) {
	(void)state;
	assert_int_equal(migrations_newest(), 3);
}

static void test_version(void **state) {
	int version = -1;
	(void)state;
	assert_int_equal(migrations_read_version(NULL, &version), PG_OK);
	assert_int_equal(version, MIGRATIONS_NO_SCHEMA);
	database.version = 2;
	assert_int_equal(migrations_read_version(NULL, &version), PG_OK);
	assert_int_equal(version, 2);
	database.readable = true;
	assert_int_equal(migrations_read_version(NULL, &version), PG_OK);
	assert_int_equal(version, 2);
}

static void test_all_are_applied(void **state) {
	(void)state;
	assert_int_equal(migrations_apply(NULL, 0, count_applied), PG_OK);
	assert_int_equal(database.version, 3);
	assert_int_equal(database.applied, 3);
}

static void test_missing_ones_are_applied(void **state) {
	(void)state;
	database.version = 2;
	assert_int_equal(migrations_apply(NULL, 2, count_applied), PG_OK);
	assert_int_equal(database.version, 3);
	assert_int_equal(database.scripts, 1);
	assert_int_equal(database.applied, 1);
}

static void test_nothing_is_missing(void **state) {
	(void)state;
	database.version = 3;
	assert_int_equal(migrations_apply(NULL, 3, count_applied), PG_OK);
	assert_int_equal(database.scripts, 0);
}

static void test_a_failure_keeps_what_was_committed(void **state) {
	(void)state;
	database.failing_version = 2;
	assert_int_equal(migrations_apply(NULL, 0, count_applied), PG_FAILED);
	assert_int_equal(database.version, 1);
	assert_int_equal(database.applied, 1);
}

static void test_a_rival_is_first(void **state) {
	(void)state;
	database.version = 1;
	database.rival = 2;
	assert_int_equal(migrations_apply(NULL, 0, count_applied), PG_OK);
	assert_int_equal(database.version, 3);
	assert_int_equal(database.scripts, 1);
	assert_int_equal(database.applied, 1);
}

static void test_a_rival_makes_the_schema(void **state) {
	static const char *const sqlstates[] = {"42P06", "23505"};
	for (size_t i = 0; i < sizeof(sqlstates) / sizeof(*sqlstates); i++) {
		start(state);
		database.rival = 1;
		database.outrun = sqlstates[i];
		assert_int_equal(migrations_apply(NULL, 0, count_applied), PG_OK);
		assert_int_equal(database.version, 3);
		assert_int_equal(database.applied, 2);
	}
}

static void test_a_schema_of_that_name_that_is_another(void **state) {
	(void)state;
	database.outrun = "42P06";
	assert_int_equal(migrations_apply(NULL, 0, count_applied), PG_FAILED);
	assert_int_equal(database.applied, 0);
}

static void test_each_statement_may_fail(void **state) {
	static const char *const statements[] = {"begin", "lock table", "select coalesce",
	                                         "select stint.schema_version", "commit"};
	(void)state;
	for (size_t i = 0; i < sizeof(statements) / sizeof(*statements); i++) {
		start(NULL);
		database.version = 1;
		database.failing = statements[i];
		assert_int_equal(migrations_apply(NULL, 1, count_applied), PG_UNREACHABLE);
		assert_int_equal(database.version, 1);
		assert_int_equal(database.applied, 0);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_newest, start),
		cmocka_unit_test_setup(test_version, start),
		cmocka_unit_test_setup(test_all_are_applied, start),
		cmocka_unit_test_setup(test_missing_ones_are_applied, start),
		cmocka_unit_test_setup(test_nothing_is_missing, start),
		cmocka_unit_test_setup(test_a_failure_keeps_what_was_committed, start),
		cmocka_unit_test_setup(test_a_rival_is_first, start),
		cmocka_unit_test_setup(test_a_rival_makes_the_schema, start),
		cmocka_unit_test_setup(test_a_schema_of_that_name_that_is_another, start),
		cmocka_unit_test_setup(test_each_statement_may_fail, start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
