/*
 * settings.c - the settings of the agent's session, whatever the role, the database and the server have set; and
 * what the session looks at so that an operator can be told.
 *
 * These settings are about time: when the server gives up, and how it plans. What the promise rests on is set
 * elsewhere, by the functions that grant, inside their transactions (stint.secure_commit(), and the functions' SET
 * clauses). So it holds for whoever calls them, and behind a pooler.
 *
 * Behind a pooler in transaction mode they are made for each transaction anew, before its statement: by the same
 * statement as elsewhere while greeting, then by stint.begin_call(), which takes a tenth of its time.
 *
 * Nothing overrides default_transaction_read_only: operators, and those who host servers, stop writes with it.
 * What was granted in spite of it might be lost.
 */
#include <stdio.h>
#include <string.h>

#include "private.h"
#include "pg.h"

/* ---- Settings ------------------------------------------------------------------------- */

static bool finish_settings(struct session *s, const struct operation *op, enum lease_outcome outcome,
                            const struct pg_answer *answer) {
	(void)s, (void)op, (void)outcome, (void)answer;
	return true;
}

static int statement_ms(const struct session *s) {
	return s->timeout_ms * 3 / 4 > 0 ? s->timeout_ms * 3 / 4 : 1; /* 0 would mean no limit */
}

static int lock_ms(const struct session *s) {
	return s->timeout_ms / 4 > 0 ? s->timeout_ms / 4 : 1;
}

static const char *commit_word(const struct database *db) {
	return db->keep_commit ? "keep" : "";
}

/* Another engine may refuse them: the agent's own deadlines hold without them. */
static const struct call call_settings = {"settings", NULL, 1, true, finish_settings};

/*
 * The settings aren't in the start packet: poolers refuse one that has settings which they don't know. Only those
 * are set that this server knows.
 *
 * The server gives up after three quarters of the agent's deadline. So a statement that takes too long ends with
 * an error that says so, not with a lost connection and an unknown outcome. For a row's lock the server waits a
 * quarter: agents keep a lock for some milliseconds, and a row that somebody else keeps locked must not hold up
 * the other clients of its batch for long.
 *
 * The search path is for the types' names in the statements; the functions have one of their own. Compiling (jit)
 * would take longer than any statement here. Parameters are clients' ids, and have no place in the server's log;
 * only a role that was granted the right may set log_parameter_max_length.
 */
static void write_settings(const struct session *s, const struct database *db, size_t size, char *sql) {
	snprintf(
		sql, size,
		"select count(pg_catalog.set_config(s.name, s.value, %s)) from (values"
		" ('search_path', 'pg_catalog'), ('statement_timeout', '%d'), ('lock_timeout', '%d'),"
		" ('idle_in_transaction_session_timeout', '%d'), ('idle_session_timeout', '0'), ('transaction_timeout', '0'),"
		" ('default_transaction_isolation', 'read committed'), ('standard_conforming_strings', 'on'),"
		" ('plan_cache_mode', 'auto'), ('enable_indexscan', 'on'), ('enable_hashjoin', 'on'), ('jit', 'off'),"
		" ('log_parameter_max_length', '0'), ('log_parameter_max_length_on_error', '0'),"
		" ('stint.synchronous_commit', '%s')) s (name, value)"
		" where s.name like 'stint.%%' or pg_catalog.current_setting(s.name, true) is not null"
		"  and (s.name <> 'log_parameter_max_length' or pg_catalog.has_parameter_privilege(s.name, 'set'))",
		s->pooled ? "true" : "false", statement_ms(s), lock_ms(s), s->timeout_ms, commit_word(db));
}

static void send_settings(struct session *s, const struct database *db) {
	char sql[sizeof(s->preface)];
	write_settings(s, db, sizeof(sql), sql);
	session_send_query(s, &(struct operation){.call = &call_settings}, sql);
}

void settings_begin_calls(struct session *s, const struct database *db, const char *server_run) {
	snprintf(s->preface, sizeof(s->preface), "select stint.begin_call('%s', %d, %d, '%s')", server_run,
	         statement_ms(s), lock_ms(s), commit_word(db));
}

/* ---- What an operator should know --------------------------------------------------------- */

enum fact { COMMIT_OFF, FSYNC_OFF, IS_REPLICA, NOT_OWNED, NOT_INHERITED, LOGS_IDS, IS_STRICT, FACTS };

#define BACKEND_PID FACTS /* the column behind them */

/* It asks by functions that look at one object each: to plan and read views of the catalogue takes a new session
 * twice as long. */
static const char inspect_sql[] =
	"select current_setting('synchronous_commit') = 'off', current_setting('fsync') = 'off',"
	" current_setting('session_replication_role') = 'replica',"
	" coalesce(not has_schema_privilege(to_regrole('stint_owner'), schema, 'create'), schema is not null)"
	"  or coalesce(has_function_privilege('public', case when has_schema_privilege(schema, 'usage')"
	"  then to_regproc('stint.take_leases') end, 'execute'), false),"
	" coalesce(pg_has_role(to_regrole('stint_agent'), 'member') and not pg_has_role(to_regrole('stint_agent'), 'usage'), false),"
	" current_setting('log_parameter_max_length') <> '0' and (current_setting('log_statement') = 'all'"
	"  or current_setting('log_min_duration_statement') <> '-1' or current_setting('log_min_duration_sample') <> '-1'"
	"  or current_setting('log_transaction_sample_rate') <> '0'),"
	" current_setting('transaction_isolation') <> 'read committed', pg_backend_pid() from to_regnamespace('stint') schema";

void settings_advise(struct database *db, bool holds, const char *words) {
	size_t length = strlen(db->advice);
	if (holds)
		snprintf(db->advice + length, sizeof(db->advice) - length, "%s%s", length > 0 ? "; " : "", words);
}

static bool finish_inspect(struct session *s, const struct operation *op, enum lease_outcome outcome,
                           const struct pg_answer *answer) {
	struct database *db = op->context;
	bool fact[FACTS];
	int32_t pid;
	if (outcome != LEASE_DONE)
		return true;
	for (int i = 0; i < FACTS; i++)
		if (!pg_answer_bool(answer, 0, i, &fact[i]))
			return false;
	if (!pg_answer_int4(answer, 0, BACKEND_PID, INT32_MAX, &pid))
		return false;
	s->direct = pid == pg_backend_pid(s->pg);
	s->server_pid = pid;
	s->not_inherited = fact[NOT_INHERITED];
	s->not_owned = fact[NOT_OWNED];
	settings_advise(
		db, fact[COMMIT_OFF] && !db->keep_commit,
		"synchronous_commit is off for this role, the database or the server: grants are committed as with on");
	settings_advise(
		db, fact[COMMIT_OFF] && db->keep_commit,
		"synchronous_commit is off, and kept so: what was granted just before the server crashes may be granted again");
	settings_advise(
		db, fact[FSYNC_OFF],
		"the server runs with fsync = off: what was granted before its machine crashes may be granted again");
	settings_advise(db, fact[IS_REPLICA],
	                "session_replication_role is replica: changes of policies are neither recorded nor announced");
	settings_advise(
		db, fact[NOT_OWNED],
		"schema stint doesn't belong to stint_owner, or everybody may call its functions: see `stint db status`");
	settings_advise(
		db, fact[LOGS_IDS],
		"the server logs statements with their parameters, so with clients' ids: let a superuser set log_parameter_max_length"
		" = 0 for this role");
	settings_advise(
		db, fact[IS_STRICT] && s->pooled,
		"default_transaction_isolation is not read committed, and no session behind a pooler changes that: statements of"
		" different hosts fail over one another until it is set for this role");
	return true;
}

static const struct call call_inspect = {"inspect", NULL, FACTS + 1, true, finish_inspect};

void settings_start(struct session *s, struct database *db) {
	db->advice[0] = '\0';
	s->not_inherited = s->not_owned = s->direct = s->listens = false;
	s->server_pid = 0;
	if (s->pooled)
		write_settings(s, db, sizeof(s->preface), s->preface);
	else
		send_settings(s, db);
	session_send_query(s, &(struct operation){.call = &call_inspect, .context = db}, inspect_sql);
}
