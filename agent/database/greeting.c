/*
 * greeting.c - what the agent says in a new session before it is up: the settings (settings.c) and a question for
 * the schema's version first; when the version fits, the statements to prepare, the channels to listen to, and the
 * host. Behind a pooler in transaction mode nothing is prepared, and there is no channel to listen to.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "parameters.h"
#include "private.h"
#include "pg.h"

/* The newest migration in sql/ that this agent was written for, and the oldest that it needs. */
#define DATABASE_SCHEMA_VERSION 2

/* ---- Second part: statements, channel, host -------------------------------------- */

/* For commands of which it is enough that they succeeded. */
static bool finish_silently(struct session *s, const struct operation *op, enum lease_outcome outcome,
                            const struct pg_answer *answer) {
	(void)s, (void)op, (void)outcome, (void)answer;
	return true;
}

static bool read_timeline(const struct pg_answer *answer, int column, char timeline[static 9]) {
	return pg_answer_text(answer, 0, column, 9, timeline) &&
	       (!timeline[0] || strspn(timeline, "0123456789ABCDEFabcdef") == 8);
}

static bool read_server(const struct pg_answer *answer, struct database_hello *hello) {
	return pg_answer_text(answer, 0, 4, sizeof(hello->server), hello->server) &&
	       read_timeline(answer, 5, hello->timeline) &&
	       pg_answer_int(answer, 0, 6, -1, INT64_MAX, &hello->server_age_us) &&
	       pg_answer_int(answer, 0, 7, 0, INT64_MAX, &hello->wal_end) &&
	       pg_answer_int(answer, 0, 8, 0, INT64_MAX, &hello->longest_lease_us);
}

/* Why the server doesn't tell all of that; "": it does. */
static bool read_fault(struct database *db, const struct pg_answer *answer) {
	char fault[401], words[760];
	if (!pg_answer_text(answer, 0, 10, sizeof(fault), fault))
		return false;
	snprintf(
		words, sizeof(words),
		"the server doesn't tell its timeline, or where its log ends (%s): a standby that was promoted, or an older"
		" state of its disks, isn't noticed and may grant again what was granted; let a superuser grant stint_owner"
		" execute on pg_walfile_name, pg_current_wal_lsn and pg_current_wal_flush_lsn, or promote synchronous standbys"
		" only",
		fault);
	settings_advise(db, fault[0], words);
	return true;
}

/* It comes back in a statement's text, so it must be what it should be. */
static bool read_server_run(const struct pg_answer *answer, size_t size, char *run) {
	return pg_answer_text(answer, 0, 9, size, run) && run[strspn(run, "0123456789./")] == '\0';
}

static bool finish_register(struct session *s, const struct operation *op, enum lease_outcome outcome,
                            const struct pg_answer *answer) {
	struct database *db = op->context;
	struct database_hello hello = {.host_id = 0};
	int64_t host_id, live_hosts;
	char server_run[80];
	int32_t server_pid;
	if (outcome != LEASE_DONE)
		return true;
	if (pg_answer_rows(answer) != 1 || !pg_answer_int(answer, 0, 0, 1, INT32_MAX, &host_id) ||
	    !pg_answer_int(answer, 0, 1, 1, INT64_MAX, &hello.now_us) ||
	    !pg_answer_int(answer, 0, 2, 1, LIVE_HOSTS_MAX, &live_hosts) ||
	    !pg_answer_int(answer, 0, 3, 0, INT64_MAX, &hello.change_id) || !read_server(answer, &hello) ||
	    !read_server_run(answer, sizeof(server_run), server_run) || !read_fault(db, answer) ||
	    !pg_answer_int4(answer, 0, 11, INT32_MAX, &server_pid))
		return false;
	if (!session_is_same(s, server_pid))
		return true;
	if (s->pooled)
		settings_begin_calls(s, db, server_run);
	hello.host_id = (int32_t)host_id;
	hello.live_hosts = (int32_t)live_hosts;
	memcpy(hello.advice, db->advice, sizeof(hello.advice));
	db->host_id = hello.host_id;
	session_came_up(s);
	db->events->up(db->context, &hello);
	return true;
}

static const struct call call_prepare = {"prepare", NULL, 0, false, finish_silently};

static bool finish_listen(struct session *s, const struct operation *op, enum lease_outcome outcome,
                          const struct pg_answer *answer) {
	(void)op, (void)answer;
	s->listens = outcome == LEASE_DONE;
	return true;
}

/* It may be refused: the pulse tells agents of changes, too. */
static const struct call call_listen = {"listen", "listen stint", 0, true, finish_listen};

/*
 * A pooler may take LISTEN and deliver nothing. So behind one the session sends a notice to itself, on a channel
 * that no other session listens to. Later pg_hears() tells whether the notice has arrived. Elsewhere it doesn't:
 * the server wakes all sessions that listen to anything for each notice, and all agents may come at once.
 */
static const struct call call_probe = {"probe", NULL, 0, true, finish_silently};

static void send_probe(struct session *s, struct database *db, const char *verb) {
	char sql[80];
	size_t length = (size_t)snprintf(sql, sizeof(sql), "%s stint_", verb);
	for (const char *c = db->instance; *c && length < sizeof(sql) - 1; c++)
		if (isalnum((unsigned char)*c))
			sql[length++] = *c;
	sql[length] = '\0';
	session_send_query(s, &(struct operation){.call = &call_probe}, sql);
}

static const struct call call_register = {
	"stint.register_host",
	"select host_id, now_us, live_hosts, change_id, server, timeline, coalesce(server_age_us, -1), wal_end, longest_lease_us,"
	" server_run, server_fault, pg_backend_pid() from stint.register_host($1::text, $2::text, $3::text, $4::boolean)",
	12,
	false,
	finish_register,
};

static void prepare_and_listen(struct session *s, struct database *db) {
	for (const struct call *const *c = database_calls; *c; c++)
		session_send_prepare(s, &(struct operation){.call = &call_prepare}, *c);
	session_send_prepare(s, &(struct operation){.call = &call_prepare}, &call_register);
	session_send_query(s, &(struct operation){.call = &call_listen}, call_listen.sql);
	if (s->direct)
		return;
	send_probe(s, db, "listen");
	send_probe(s, db, "notify");
}

static void send_rest(struct session *s, struct database *db) {
	struct parameters p = {.pg.count = 0};
	parameters_add_text(&p, db->host);
	parameters_add_text(&p, db->instance);
	parameters_add_text(&p, db->version);
	parameters_add_text(&p, s->pooled ? "true" : "false");
	if (!s->pooled)
		prepare_and_listen(s, db);
	session_send_call(s, &(struct operation){.call = &call_register, .context = db}, &p.pg);
}

/* ---- First part: the session, and the schema's version ----------------------------------------------- */

/* A newer schema will do, so that agents go on while it is migrated, unless it has changed what this agent relies
 * on. */
static bool finish_version(struct session *s, const struct operation *op, enum lease_outcome outcome,
                           const struct pg_answer *answer) {
	int64_t version, oldest_agent;
	if (outcome != LEASE_DONE)
		return true;
	if (pg_answer_rows(answer) != 1 || !pg_answer_int(answer, 0, 0, 0, INT32_MAX, &version) ||
	    !pg_answer_int(answer, 0, 1, 0, INT32_MAX, &oldest_agent))
		return false;
	if (version >= DATABASE_SCHEMA_VERSION && oldest_agent <= DATABASE_SCHEMA_VERSION) {
		send_rest(s, op->context);
		return true;
	}
	if (version < DATABASE_SCHEMA_VERSION)
		session_set_error(s, "schema stint has version %d, this agent needs %d: run `stint db migrate`",
		                  (int)version, DATABASE_SCHEMA_VERSION);
	else
		session_set_error(s,
		                  "schema stint has version %d, which agents made for version %d or later can work with;"
		                  " this one was made for %d: update stintd",
		                  (int)version, (int)oldest_agent, DATABASE_SCHEMA_VERSION);
	session_drop_soon(s);
	return true;
}

static const struct call call_version = {
	"stint.schema_version", "select stint.schema_version(), stint.oldest_agent()", 2, false, finish_version,
};

void greeting_start(struct session *s, struct database *db) {
	settings_start(s, db);
	session_send_query(s, &(struct operation){.call = &call_version, .context = db}, call_version.sql);
}
