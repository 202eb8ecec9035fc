/*
 * doctor_database.c - what `stint doctor` looks at in the database.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "command.h"
#include "doctor.h"
#include "fields.h"
#include "migrations.h"
#include "objects.h"
#include "rows.h"
#include "trust.h"
#include "database/pg.h"

#define CONNECT_TIMEOUT_MS 5000
#define CLOCKS_APART_MS    1000 /* stint doesn't go by it; people who compare logs do */
#define SNAPSHOT_OLD_S     60   /* as in sql/README.md: from then on statements get slower */

/* Returns the first row, which the caller owns; NULL: it can't be read, and that is written down. */
static json_t *read_row(struct doctor *doctor, struct pg *pg, const char *what, const char *select) {
	int error;
	json_t *rows = rows_select(pg, select, 0, NULL, &error);
	json_t *row = json_incref(json_array_get(rows, 0));
	json_decref(rows);
	if (!row)
		doctor_find(doctor, DOCTOR_WARNING, what,
		            "ask as a superuser, or as a member of pg_monitor and stint_auditor", "can't be looked at: %s",
		            error == PG_OK ? "no answer" : pg_error(pg));
	return row;
}

/* ---- The server --------------------------------------------------------------------------- */

static const char server_sql[] =
	"select current_setting('server_version') as version, current_setting('server_version_num')::int as number,"
	" current_database() as database, current_user as user, current_setting('server_encoding') as encoding,"
	" pg_is_in_recovery() as standby, current_setting('transaction_read_only') = 'on' as read_only";

static void judge_server(struct doctor *doctor, const json_t *row) {
	const char *wrong = fields_number(row, "number") < 150000               ? "it must be 15 or later"
	                    : strcmp(fields_text(row, "encoding"), "UTF8") != 0 ? "its encoding must be UTF8"
	                    : fields_is_set(row, "standby")   ? "it is a standby, which takes no changes"
	                    : fields_is_set(row, "read_only") ? "it takes no changes: read only"
	                                                      : NULL;
	doctor_find(doctor, wrong ? DOCTOR_ERROR : DOCTOR_OK, "server",
	            "connect to a primary that will do, see systemd/README.md: Failover",
	            "PostgreSQL %s, database %s, as %s%s%s", fields_text(row, "version"), fields_text(row, "database"),
	            fields_text(row, "user"), wrong ? ": " : "", wrong ? wrong : "");
}

static int64_t wall_clock_ms(void) {
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void look_at_clocks(struct doctor *doctor, struct pg *pg) {
	int64_t before_ms = wall_clock_ms();
	json_t *row =
		read_row(doctor, pg, "clocks", "select (extract(epoch from clock_timestamp()) * 1000)::bigint as now_ms");
	int64_t after_ms = wall_clock_ms();
	if (!row)
		return;
	int64_t apart_ms = fields_number(row, "now_ms") - (before_ms + after_ms) / 2;
	bool far = llabs((long long)apart_ms) > CLOCKS_APART_MS + (after_ms - before_ms);
	doctor_find(doctor, far ? DOCTOR_WARNING : DOCTOR_OK, "clocks",
	            "set both by NTP. Limits don't suffer from it, but times in logs and in the history don't match",
	            "the database's is %" PRId64 " ms %s this host's, asked in %" PRId64 " ms",
	            (int64_t)llabs((long long)apart_ms), apart_ms < 0 ? "behind" : "ahead of", after_ms - before_ms);
	json_decref(row);
}

static const char settings_sql[] =
	"select current_setting('fsync') = 'on' as fsync, current_setting('full_page_writes') = 'on'"
	" as full_page_writes, current_setting('synchronous_commit') as synchronous_commit,"
	" current_setting('default_transaction_isolation') as isolation";

static void judge_settings(struct doctor *doctor, const json_t *row) {
	const char *commit = fields_text(row, "synchronous_commit"), *isolation = fields_text(row, "isolation");
	bool safe = fields_is_set(row, "fsync") && fields_is_set(row, "full_page_writes");
	doctor_find(
		doctor, safe ? DOCTOR_OK : DOCTOR_WARNING, "durability",
		"set fsync and full_page_writes on, or accept that what was granted before a crash may be granted again",
		"fsync %s, full_page_writes %s, synchronous_commit %s%s", fields_is_set(row, "fsync") ? "on" : "off",
		fields_is_set(row, "full_page_writes") ? "on" : "off", commit,
		strcmp(commit, "off") == 0 ? " (grants are committed as with on, unless an agent is told to keep it)"
								   : "");
	bool read_committed = strcmp(isolation, "read committed") == 0;
	doctor_find(doctor, read_committed ? DOCTOR_OK : DOCTOR_WARNING, "isolation",
	            "alter role AGENT set default_transaction_isolation = 'read committed'",
	            "default_transaction_isolation is %s", isolation);
}

/* A pooler tells a process of its own when a connection is made. */
static void look_for_pooler(struct doctor *doctor, struct pg *pg, const char *conninfo) {
	json_t *row = read_row(doctor, pg, "pooler", "select pg_backend_pid() as pid");
	if (row)
		doctor_look_at_pooler(doctor, fields_number(row, "pid") != pg_backend_pid(pg), conninfo);
	json_decref(row);
}

static void look_at_notices(struct doctor *doctor, struct pg *pg) {
	bool may_listen = pg_query(pg, "listen stint", 0, NULL, NULL) == PG_OK;
	doctor_find(doctor, may_listen ? DOCTOR_OK : DOCTOR_WARNING, "notices",
	            "agents without notices ask twice a second: see why LISTEN is refused", "LISTEN is %s%s",
	            may_listen ? "possible" : "refused: ", may_listen ? "" : pg_error(pg));
	pg_query(pg, "unlisten *", 0, NULL, NULL);
}

static const char snapshots_sql[] =
	"select max(s.age)::bigint as seconds, (array_agg(s.who order by s.age desc))[1] as who,"
	" pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_all from ("
	" select extract(epoch from clock_timestamp() - xact_start) as age, format('process %s of %s (%s)', pid, usename,"
	" state) as who from pg_stat_activity where backend_xmin is not null and pid <> pg_backend_pid() and xact_start is"
	" not null union all"
	" select extract(epoch from clock_timestamp() - prepared), format('the prepared transaction %s', gid) from"
	" pg_prepared_xacts) s";

static void judge_snapshots(struct doctor *doctor, const json_t *row) {
	int64_t seconds = fields_number(row, "seconds");
	const char *part = fields_is_set(row, "sees_all") ? "" : "; of other users' sessions little can be seen";
	if (seconds >= SNAPSHOT_OLD_S)
		doctor_find(
			doctor, DOCTOR_WARNING, "old snapshots",
			"end that transaction: hot clients' grants get slower meanwhile; idle_in_transaction_session_timeout"
			" does it by itself",
			"%s has had one for %" PRId64 " s%s", fields_text(row, "who"), seconds, part);
	else
		doctor_find(doctor, DOCTOR_OK, "old snapshots", NULL, "none%s", part);
}

/* ---- The schema ---------------------------------------------------------------------------- */

/* Whether anything of the schema may be used. */
static bool look_at_owner(struct doctor *doctor, struct pg *pg) {
	struct trust trust;
	if (trust_look(pg, true, &trust) != PG_OK)
		doctor_find(doctor, DOCTOR_ERROR, "schema", NULL, "%s", pg_error(pg));
	else if (trust.why_not[0] != '\0')
		doctor_find(doctor, DOCTOR_ERROR, "schema", trust.remedy, "%s", trust.why_not);
	else
		return true;
	return false;
}

static bool look_at_version(struct doctor *doctor, struct pg *pg) {
	int version;
	if (migrations_read_version(pg, &version) != PG_OK)
		doctor_find(doctor, DOCTOR_ERROR, "schema", "grant stint_auditor to this user", "%s", pg_error(pg));
	else if (version == MIGRATIONS_NO_SCHEMA)
		doctor_find(doctor, DOCTOR_ERROR, "schema", "stint db init", "there is none in this database");
	else if (version < migrations_newest())
		doctor_find(doctor, DOCTOR_ERROR, "schema", "stint db migrate", "version %d, this program has %d", version,
		            migrations_newest());
	else if (version > migrations_newest())
		doctor_find(doctor, DOCTOR_WARNING, "schema", "install a newer stint on this host",
		            "version %d, this program has %d", version, migrations_newest());
	else {
		doctor_find(doctor, DOCTOR_OK, "schema", NULL, "version %d, as this program", version);
		return true;
	}
	return false;
}

static void look_at_objects(struct doctor *doctor, struct pg *pg) {
	json_t *problems = objects_find_problems(pg), *first = json_array_get(problems, 0);
	if (!problems)
		doctor_find(doctor, DOCTOR_WARNING, "owners and rights", "ask as a superuser or a member of stint_owner",
		            "can't be looked at: %s", pg_error(pg));
	else if (first)
		doctor_find(doctor, DOCTOR_ERROR, "owners and rights", "stint db migrate puts them right",
		            "%zu are not as they were made, such as %s: %s", json_array_size(problems),
		            fields_text(first, "object"), fields_text(first, "problem"));
	else
		doctor_find(doctor, DOCTOR_OK, "owners and rights", NULL, "all as they were made");
	json_decref(problems);
}

static const char roles_sql[] =
	"select count(*) filter (where r.rolname = 'stint_agent') as agents, coalesce(string_agg(m.rolname, ', ' order by"
	" m.rolname) filter (where r.rolname = 'stint_agent'), 'nobody') as who, coalesce(string_agg(m.rolname, ', ')"
	" filter (where r.rolname = 'stint_agent' and m.rolsuper), '') as super from pg_auth_members a join pg_roles r on"
	" r.oid = a.roleid join pg_roles m on m.oid = a.member where r.rolname like 'stint\\_%'";

static void judge_roles(struct doctor *doctor, const json_t *row) {
	if (fields_number(row, "agents") == 0)
		doctor_find(doctor, DOCTOR_WARNING, "agents' logins",
		            "create role stintd login password '...' in role stint_agent, and let agents use it",
		            "no login has the role stint_agent");
	else if (*fields_text(row, "super") != '\0')
		doctor_find(doctor, DOCTOR_WARNING, "agents' logins",
		            "give agents a login that may do no more than they need",
		            "%s may do anything, being a superuser", fields_text(row, "super"));
	else
		doctor_find(doctor, DOCTOR_OK, "agents' logins", NULL, "%s", fields_text(row, "who"));
}

static const char hosts_sql[] =
	"select count(*) filter (where state <> 'stopped') as live, coalesce(string_agg(format('%s (%s)', name, case when"
	" rival is not null then 'another agent has its name' else state end), ', ' order by name) filter (where state in"
	" ('lost', 'fallback') or rival is not null), '') as bad, count(distinct version) filter (where state <> 'stopped')"
	" as versions, string_agg(distinct version, ', ') filter (where state <> 'stopped') as all_versions from stint.host";

static void judge_hosts(struct doctor *doctor, const json_t *row) {
	const char *bad = fields_text(row, "bad");
	doctor_find(doctor, *bad != '\0' ? DOCTOR_WARNING : DOCTOR_OK, "hosts",
	            "look at these hosts' agents; each needs a host of its own in its configuration",
	            "%" PRId64 " known%s%s", fields_number(row, "live"),
	            *bad != '\0' ? "; not as they should be: " : "", bad);
	if (fields_number(row, "versions") > 1)
		doctor_find(doctor, DOCTOR_WARNING, "agents' versions", "update those that are older", "%s",
		            fields_text(row, "all_versions"));
}

static const char dropped_sql[] =
	"select coalesce(string_agg(format('%s (by %s)', policy, dropped_by), ', ' order by policy), '')"
	" as back from stint.policy_limit where dropped_at is not null";

static void judge_dropped(struct doctor *doctor, const json_t *row) {
	const char *back = fields_text(row, "back");
	doctor_find(doctor, *back != '\0' ? DOCTOR_WARNING : DOCTOR_OK, "dropped policies",
	            "set them as they should be (stint policy set), or take them out of the apps", "%s%s",
	            *back != '\0' ? "brought back by apps that declare them: " : "none that apps have brought back",
	            back);
}

/* ---- All of it ---------------------------------------------------------------------------- */

/* What a row tells, which somebody who may see less than all may not be able to read. */
struct look {
	const char *what, *select;
	void (*judge)(struct doctor *, const json_t *row);
};

static const struct look server_looks[] = {
	{"server", server_sql, judge_server},
	{"settings", settings_sql, judge_settings},
	{"old snapshots", snapshots_sql, judge_snapshots},
};

static const struct look schema_looks[] = {
	{"roles", roles_sql, judge_roles},
	{"hosts", hosts_sql, judge_hosts},
	{"dropped policies", dropped_sql, judge_dropped},
};

static void look_at_each(struct doctor *doctor, struct pg *pg, const struct look *looks, size_t count) {
	for (size_t i = 0; i < count; i++) {
		json_t *row = read_row(doctor, pg, looks[i].what, looks[i].select);
		if (row)
			looks[i].judge(doctor, row);
		json_decref(row);
	}
}

static void look_into(struct doctor *doctor, struct pg *pg, const char *conninfo) {
	look_at_each(doctor, pg, server_looks, sizeof(server_looks) / sizeof(*server_looks));
	look_at_clocks(doctor, pg);
	look_for_pooler(doctor, pg, conninfo);
	look_at_notices(doctor, pg);
	if (!look_at_owner(doctor, pg) || !look_at_version(doctor, pg))
		return;
	look_at_objects(doctor, pg);
	look_at_each(doctor, pg, schema_looks, sizeof(schema_looks) / sizeof(*schema_looks));
}

/* Where nobody has named the database, an agent that is there has told already how it is with its own. */
static void cannot_connect(struct doctor *doctor, bool named, const struct pg *pg) {
	doctor_find(doctor, named || !doctor->status ? DOCTOR_ERROR : DOCTOR_WARNING, "database",
	            named ? "is it up, and does it let this user in?" : "name it: --database, or $STINT_DATABASE",
	            "can't connect: %s", pg ? pg_error(pg) : "out of memory");
}

void doctor_look_at_database(struct doctor *doctor) {
	const char *conninfo = command_conninfo(doctor->call);
	bool in_memory = strcmp(fields_text(json_object_get(doctor->status, "database"), "kind"), "memory") == 0;
	if ((!conninfo && in_memory) || (conninfo && strcmp(conninfo, "memory:") == 0))
		return;
	struct pg *pg;
	const char *known = conninfo ? conninfo : "";
	if (trust_connect(&pg, known, CONNECT_TIMEOUT_MS) == PG_OK)
		look_into(doctor, pg, known);
	else
		cannot_connect(doctor, conninfo, pg);
	pg_close(pg);
}
