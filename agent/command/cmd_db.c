/*
 * cmd_db.c - `stint db ...`: creates, migrates and shows the schema in the
 * database. Whether the database is fit is checked before anything is changed,
 * for a clear sentence instead of an error halfway.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "migrations.h"
#include "objects.h"
#include "output.h"
#include "rows.h"
#include "database/pg.h"

#define ROLES              "'stint_owner', 'stint_agent', 'stint_operator', 'stint_auditor', 'stint_cache'"
#define SERVER_VERSION_MIN 150000 /* the oldest that the migrations are written for and tested with */

static const char init_help[] =
	"Creates the roles stint_owner, stint_agent, stint_operator, stint_auditor and stint_cache,\n"
	"where they don't exist, and the schema stint. Needs PostgreSQL 15 or later, a database with\n"
	"the encoding UTF8, and a role that may create roles and create in the database (it need not\n"
	"be a superuser). Each migration is a transaction: a failure leaves nothing half done.\n";

static const char migrate_help[] =
	"First puts right the roles, owners and rights that a restored dump may lack; then applies\n"
	"the migrations that the database doesn't have yet, each in a transaction. Refuses a schema\n"
	"that is newer than this program. Run it before newer agents start. Older agents go on,\n"
	"unless a migration is breaking: then, from their next connect until they are updated, they\n"
	"limit by their fallback. \"stint db status\" tells beforehand whether a migration is\n"
	"breaking; this command tells afterwards. One may need tables that a dump, or a transaction\n"
	"that somebody left open, still reads: after 5 s it gives up, with nothing done.\n";

static const char db_status_help[] =
	"Shows the schema's version in the database and in this program, which agents can work with\n"
	"it, who has which role, and the hosts. Also shows whether all objects are there, with their\n"
	"owner and rights: after a dump was restored where the roles didn't exist, they are not.\n"
	"Exits 0 when the versions are the same and nothing is wrong, 1 otherwise.\n"
	"\n"
	"  --json   as a JSON object\n";

static const char sql_help[] =
	"Prints what \"db init\" would run, or \"db migrate\" where the schema is that of 0.1.0, for a\n"
	"database administrator to read and to apply with psql.\n";

static const char login_hint[] =
	"Now give the agents a login of their own, for example:\n"
	"  create role stintd login password '...' in role stint_agent;\n"
	"grant stint_operator to whoever may set policies and block clients,\n"
	"stint_auditor to whoever may look, and stint_cache to apps that count by the cache\n"
	"functions alone.\n";

struct server {
	int version;
	char version_text[64];
	char encoding[32];
	char database[128];
	char user[128];
	bool read_only;
	bool may_create; /* the user may create schemas in this database */
	bool may_create_roles;
	bool has_roles;   /* all of them exist already */
	int oldest_agent; /* agents made for this version or later can work with the schema; 0: no schema */
};

static bool is_true(const char *cell) {
	return *cell == 't';
}

static void copy_cell(char *to, size_t size, const char *cell) {
	snprintf(to, size, "%s", cell);
}

/* None of this is ever null. */
static int read_server(struct pg *pg, struct server *server) {
	static const char sql[] = "select current_setting('server_version_num'), current_setting('server_version'),"
							  " pg_encoding_to_char(d.encoding), d.datname, current_user, pg_is_in_recovery(),"
							  " has_database_privilege(d.oid, 'create'),"
							  " (select rolsuper or rolcreaterole from pg_roles where rolname = current_user),"
							  " (select count(*) = 5 from pg_roles where rolname in (" ROLES "))"
							  " from pg_database d where d.datname = current_database()";
	struct pg_rows rows = {0};
	int error = pg_query(pg, sql, 0, NULL, &rows);
	if (error != PG_OK)
		return error;
	char **cells = rows.cells;
	*server = (struct server){.version = atoi(cells[0])};
	copy_cell(server->version_text, sizeof(server->version_text), cells[1]);
	copy_cell(server->encoding, sizeof(server->encoding), cells[2]);
	copy_cell(server->database, sizeof(server->database), cells[3]);
	copy_cell(server->user, sizeof(server->user), cells[4]);
	server->read_only = is_true(cells[5]);
	server->may_create = is_true(cells[6]);
	server->may_create_roles = is_true(cells[7]);
	server->has_roles = is_true(cells[8]);
	pg_rows_free(&rows);
	return PG_OK;
}

static int check_server(const struct command_call *call, const struct server *server) {
	if (server->version < SERVER_VERSION_MIN)
		command_error(call, "the server is PostgreSQL %s, must be 15 or later", server->version_text);
	else if (strcmp(server->encoding, "UTF8") != 0)
		command_error(call,
		              "the database \"%s\" has the encoding %s, must be UTF8"
		              " (create database ... encoding 'UTF8' template template0)",
		              server->database, server->encoding);
	else if (server->read_only)
		command_error(call, "the server is a standby and takes no changes; connect to the primary");
	else
		return COMMAND_DONE;
	return COMMAND_NO;
}

static int check_rights(const struct command_call *call, const struct server *server) {
	if (!server->may_create)
		command_error(call,
		              "the role \"%s\" may not create a schema in the database \"%s\" (grant create on database)",
		              server->user, server->database);
	else if (!server->has_roles && !server->may_create_roles)
		command_error(call,
		              "the role \"%s\" may not create roles, and stint_owner, stint_agent, stint_operator,"
		              " stint_auditor and stint_cache don't all exist",
		              server->user);
	else
		return COMMAND_DONE;
	return COMMAND_NO;
}

/* Connects, and reads what init, migrate and status need. After a failure, *pg is NULL and the error is
 * reported. */
static int open_database(const struct command_call *call, struct pg **pg, struct server *server, int *version) {
	int code = command_connect(call, pg);
	if (code != COMMAND_DONE)
		return code;
	code = command_trust(call, *pg, true);
	int error = code == COMMAND_DONE ? read_server(*pg, server) : PG_OK;
	if (code == COMMAND_DONE && error == PG_OK)
		error = migrations_read_version(*pg, version);
	if (error != PG_OK)
		code = command_database_error(call, *pg, error);
	if (code != COMMAND_DONE) {
		pg_close(*pg);
		*pg = NULL;
	}
	return code;
}

static void report_applied(const struct embedded_migration *migration) {
	printf("migration %d, %s: applied\n", migration->version, migration->name);
	fflush(stdout); /* the next migration may take long */
}

/* Reports which agents can work with the schema after a migration. */
static int report_agents(const struct command_call *call, struct pg *pg) {
	int oldest;
	int error = migrations_read_oldest_agent(pg, &oldest);
	if (error != PG_OK)
		return command_database_error(call, pg, error);
	printf("agents made for version %d or later can work with it; older ones must be updated now\n", oldest);
	return COMMAND_DONE;
}

static int apply_from(const struct command_call *call, struct pg *pg, int version) {
	int error = migrations_apply(pg, version, report_applied);
	return error == PG_OK ? COMMAND_DONE : command_database_error(call, pg, error);
}

/* Whether anything is wrong with the schema that this user can see. */
static bool has_problems(struct pg *pg) {
	json_t *problems = objects_find_problems(pg);
	bool found = json_array_size(problems) > 0;
	json_decref(problems);
	return found;
}

static int check_init(const struct command_call *call, struct pg *pg, const struct server *server, int version) {
	int code = check_server(call, server);
	if (code != COMMAND_DONE)
		return code;
	if (version == MIGRATIONS_NO_SCHEMA)
		return check_rights(call, server);
	if (version < migrations_newest())
		command_error(call,
		              "the schema is already there, version %d; \"stint db migrate\" brings it to version %d",
		              version, migrations_newest());
	else if (version > migrations_newest())
		command_error(call,
		              "the schema is already there, version %d, newer than this program, which knows up to %d",
		              version, migrations_newest());
	else if (has_problems(pg))
		command_error(call,
		              "the schema is already there, but its owners, rights or roles are not as they should be;"
		              " \"stint db migrate\" puts them right");
	else
		command_error(call, "the schema is already there, and at this program's version, %d", version);
	return COMMAND_NO;
}

/* Roles are the cluster's: another database's installation may have made them, or somebody else, for himself. */
static const char members_sql[] =
	"select r.rolname as role, string_agg(m.rolname, ', ' order by m.rolname) as members from (select distinct roleid,"
	" member from pg_auth_members) a join pg_roles r on r.oid = a.roleid join pg_roles m on m.oid = a.member"
	" where r.rolname in (" ROLES ") and m.rolname <> current_user and not m.rolsuper group by 1 order by 1";

static int report_members(const struct command_call *call, struct pg *pg) {
	struct pg_rows rows = {0};
	int error = pg_query(pg, members_sql, 0, NULL, &rows);
	if (error != PG_OK)
		return command_database_error(call, pg, error);
	for (int i = 0; i < rows.row_count; i++) {
		char *members = output_printable(rows.cells[i * rows.column_count + 1]);
		printf("the role %s was there before, with its members: %s\n", rows.cells[i * rows.column_count],
		       members ? members : "");
		free(members);
	}
	pg_rows_free(&rows);
	return COMMAND_DONE;
}

static int init_run(struct command_call *call) {
	const struct command_option options[] = {{0}};
	struct server server;
	struct pg *pg;
	int version;
	if (command_parse(call, options, NULL, 0, 0) != COMMAND_DONE)
		return COMMAND_USAGE;
	int code = open_database(call, &pg, &server, &version);
	if (code != COMMAND_DONE)
		return code;
	code = check_init(call, pg, &server, version);
	if (code == COMMAND_DONE)
		code = apply_from(call, pg, version);
	if (code == COMMAND_DONE)
		code = report_members(call, pg);
	if (code == COMMAND_DONE)
		fputs(login_hint, stdout);
	pg_close(pg);
	return code;
}

static int check_migrate(const struct command_call *call, const struct server *server, int version) {
	int code = COMMAND_NO;
	if (version == MIGRATIONS_NO_SCHEMA)
		command_error(call, "there is no schema stint in the database \"%s\"; \"stint db init\" makes it",
		              server->database);
	else if (version > migrations_newest())
		command_error(call, "the schema has version %d, this program knows up to %d: use a newer one", version,
		              migrations_newest());
	else
		code = check_server(call, server);
	return code == COMMAND_DONE && version < migrations_oldest() ? check_rights(call, server) : code;
}

static int print_problem(const char *object, const char *problem, const char *rest) {
	char *safe_object = output_printable(object), *safe_problem = output_printable(problem);
	int printed = printf("%s: %s%s\n", safe_object ? safe_object : "", safe_problem ? safe_problem : "", rest);
	free(safe_object);
	free(safe_problem);
	return printed < 0 ? -1 : 0;
}

static int mended_count;

static void report_mended(const char *object, const char *problem) {
	print_problem(object, problem, ": put right");
	mended_count++;
}

/* Reports what is still wrong: only the person who restores the database can put that right. */
static int report_rest(const struct command_call *call, struct pg *pg) {
	json_t *problems = objects_find_problems(pg), *row;
	size_t i;
	json_array_foreach(problems, i, row)
		command_error(call, "%s: %s", json_string_value(json_object_get(row, "object")),
	                  json_string_value(json_object_get(row, "problem")));
	bool found = json_array_size(problems) > 0;
	json_decref(problems);
	return found ? COMMAND_NO : COMMAND_DONE;
}

static int mend(const struct command_call *call, struct pg *pg) {
	int error = objects_mend(pg, report_mended);
	return error == PG_OK ? report_rest(call, pg) : command_database_error(call, pg, error);
}

static int migrate_run(struct command_call *call) {
	const struct command_option options[] = {{0}};
	struct server server;
	struct pg *pg;
	int version;
	if (command_parse(call, options, NULL, 0, 0) != COMMAND_DONE)
		return COMMAND_USAGE;
	int code = open_database(call, &pg, &server, &version);
	if (code != COMMAND_DONE)
		return code;
	code = check_migrate(call, &server, version);
	if (code == COMMAND_DONE && version >= migrations_oldest())
		code = mend(call, pg);
	if (code == COMMAND_DONE && version == migrations_newest() && mended_count == 0)
		printf("nothing to do: the schema has version %d\n", version);
	if (code == COMMAND_DONE && version != migrations_newest())
		code = apply_from(call, pg, version);
	if (code == COMMAND_DONE && version != migrations_newest())
		code = report_agents(call, pg);
	pg_close(pg);
	return code;
}

/* Selects who is a member of which role, one row each, and whether the member inherits its rights. Since
 * PostgreSQL 16, there is one membership for each role that granted it, and each says that for itself. */
static const char roles_sql[] =
	"select r.rolname as role, m.rolname as member,"
	" bool_or(coalesce((to_jsonb(a) ->> 'inherit_option')::boolean, m.rolinherit)) as inherits from pg_roles r"
	" left join pg_auth_members a on a.roleid = r.oid left join pg_roles m on m.oid = a.member"
	" where r.rolname in (" ROLES ") group by 1, 2 order by 1, 2";

/* Lists what "stint db migrate" would apply. */
static json_t *list_pending(int version) {
	json_t *list = json_array();
	for (size_t i = 0; i < embedded_migration_count; i++) {
		const struct embedded_migration *migration = &embedded_migrations[i];
		if (migration->version > version && version != MIGRATIONS_NO_SCHEMA)
			json_array_append_new(list, json_pack("{s:i, s:s, s:b}", "version", migration->version, "name",
			                                      migration->name, "breaking", migration->breaking));
	}
	return list;
}

/* Returns the rows, or null if this user may not read them, or they aren't there yet. */
static json_t *read_or_null(struct pg *pg, const char *select) {
	int error;
	json_t *objects = rows_select(pg, select, 0, NULL, &error);
	return objects ? objects : json_null();
}

static json_t *read_problems(struct pg *pg, int version) {
	json_t *problems = version < migrations_oldest() ? NULL : objects_find_problems(pg);
	return problems ? problems : json_null();
}

static json_t *make_status(struct pg *pg, const struct server *server, int version) {
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:o, s:o, s:o, s:o}", "database", server->database,
	                 "user", server->user, "server_version", server->version_text, "encoding", server->encoding,
	                 "schema_version", version, "newest_version", migrations_newest(), "oldest_agent",
	                 server->oldest_agent, "pending", list_pending(version), "problems",
	                 read_problems(pg, version), "roles", read_or_null(pg, roles_sql), "hosts",
	                 version == MIGRATIONS_NO_SCHEMA ? json_null() : read_or_null(pg, "select * from stint.host"));
}

static int print_list(const char *heading, json_t *rows) {
	printf("\n%s\n", heading);
	if (json_is_null(rows))
		return puts("(not readable for this user)") < 0 ? -1 : 0;
	return output_objects(rows, 0, NULL, NULL, stdout);
}

static void print_versions(const struct server *server, int version) {
	if (version == MIGRATIONS_NO_SCHEMA) {
		printf("schema    none; this program has version %d\n", migrations_newest());
		return;
	}
	printf("schema    version %d; this program has version %d\n", version, migrations_newest());
	printf("agents    those made for version %d or later can work with it\n", server->oldest_agent);
	for (size_t i = 0; i < embedded_migration_count; i++)
		if (embedded_migrations[i].version > version)
			printf("pending   %d, %s%s\n", embedded_migrations[i].version, embedded_migrations[i].name,
			       embedded_migrations[i].breaking ? ": breaking, older agents must be updated with it" : "");
}

static int print_problems(json_t *problems, int version) {
	if (version < migrations_oldest())
		return 0;
	if (json_is_array(problems) && json_array_size(problems) == 0)
		return puts("objects   all are there, with their owner and rights") < 0 ? -1 : 0;
	puts("\nProblems (\"stint db migrate\" puts right what it can)");
	if (json_is_null(problems))
		return puts("(not readable for this user)") < 0 ? -1 : 0;
	size_t i;
	json_t *row;
	json_array_foreach(problems, i, row) if (print_problem(json_string_value(json_object_get(row, "object")),
	                                                       json_string_value(json_object_get(row, "problem")),
	                                                       "") != 0) return -1;
	return 0;
}

static int print_status(json_t *status, const struct server *server, int version) {
	char *database = output_printable(server->database), *user = output_printable(server->user);
	printf("server    PostgreSQL %s, %s\ndatabase  %s, as %s\n", server->version_text, server->encoding,
	       database ? database : "", user ? user : "");
	free(database);
	free(user);
	print_versions(server, version);
	if (print_problems(json_object_get(status, "problems"), version) != 0 ||
	    print_list("Roles", json_object_get(status, "roles")) != 0)
		return -1;
	return version == MIGRATIONS_NO_SCHEMA ? 0 : print_list("Hosts", json_object_get(status, "hosts"));
}

static int report_status(const struct command_call *call, struct pg *pg, const struct server *server, int version,
                         bool as_json) {
	json_t *status = make_status(pg, server, version);
	int result = -1;
	bool wrong = json_array_size(json_object_get(status, "problems")) > 0;
	if (status)
		result = as_json ? output_json(json_incref(status), stdout) : print_status(status, server, version);
	json_decref(status);
	if (result != 0) {
		command_error(call, "out of memory, or the output can't be written");
		return COMMAND_FAILED;
	}
	return version == migrations_newest() && !wrong ? COMMAND_DONE : COMMAND_NO;
}

static int db_status_run(struct command_call *call) {
	bool as_json = false;
	const struct command_option options[] = {{.name = "json", .flag = &as_json}, {0}};
	struct server server;
	struct pg *pg;
	int version;
	if (command_parse(call, options, NULL, 0, 0) != COMMAND_DONE)
		return COMMAND_USAGE;
	int code = open_database(call, &pg, &server, &version);
	if (code == COMMAND_DONE && version != MIGRATIONS_NO_SCHEMA) {
		int error = migrations_read_oldest_agent(pg, &server.oldest_agent);
		code = error == PG_OK ? COMMAND_DONE : command_database_error(call, pg, error);
	}
	if (code == COMMAND_DONE)
		code = report_status(call, pg, &server, version, as_json);
	pg_close(pg);
	return code;
}

static int sql_run(struct command_call *call) {
	const struct command_option options[] = {{0}};
	if (command_parse(call, options, NULL, 0, 0) != COMMAND_DONE)
		return COMMAND_USAGE;
	for (size_t i = 0; i < embedded_migration_count; i++) {
		const struct embedded_migration *migration = &embedded_migrations[i];
		printf("-- Migration %d, %s\n\n", migration->version, migration->name);
		printf("begin isolation level read committed;\n\n%s\ncommit;\n\n", migration->sql);
	}
	return COMMAND_DONE;
}

const struct command db_commands[] = {
	{"init", "", "create roles and schema", init_help, NULL, init_run, NULL},
	{"migrate", "", "bring the schema to this program's version", migrate_help, NULL, migrate_run, NULL},
	{"status", "[--json]", "show the schema's version, roles and hosts", db_status_help, NULL, db_status_run,
     "stint_auditor"},
	{"sql", "", "print all SQL", sql_help, NULL, sql_run, NULL},
	{0},
};
