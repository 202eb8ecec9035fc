/*
 * pg.c - libpq behind pg.h: connections, statements, and errors in the words of this project. It has no policy of
 * its own: its callers decide about deadlines, retries and what an error means. Beside it stand pg_conninfo.c and
 * pg_answer.c, which need no connection.
 */
#include "pg.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "monotonic.h"
#include "one_line.h"

#define CHANNEL "stint"
#define RECALL  "recall" /* what a notice says if it isn't of a change */

/* No record of TLS is smaller: its head, and a cipher's tag. */
#define RECORD_BYTES_MIN 16

struct pg {
	PGconn *conn;
	char error[512];
	char sqlstate[6];
	bool answered;
	bool ending; /* error is what the server said before it hung up, and no later error replaces it */
	bool notified, recalled;
	bool hears;
	bool warned;
	int64_t deadline_ms; /* of blocking statements; 0: none */
	bool catalog_only;   /* they find names in the catalogue alone */
};

/* ---- Errors ---------------------------------------------------------------- */

static void set_error(struct pg *pg, const char *sqlstate, const char *message, const char *hint) {
	snprintf(pg->sqlstate, sizeof(pg->sqlstate), "%s", sqlstate ? sqlstate : "");
	if (hint)
		snprintf(pg->error, sizeof(pg->error), "%s [%s]", message, hint);
	else
		snprintf(pg->error, sizeof(pg->error), "%s", message);
	one_line(pg->error);
}

/* libpq doesn't always say what is wrong: without memory it may have no words. */
static const char *said_by_libpq(const struct pg *pg, const char *otherwise) {
	const char *message = PQerrorMessage(pg->conn);
	return message && message[0] ? message : otherwise;
}

static int connection_failed(struct pg *pg) {
	if (!pg->ending)
		set_error(pg, NULL, pg->conn ? said_by_libpq(pg, "the connection broke") : "out of memory", NULL);
	return PG_UNREACHABLE;
}

static void result_failed(struct pg *pg, const PGresult *result) {
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
	pg->ending |= severity && (!strcmp(severity, "FATAL") || !strcmp(severity, "PANIC"));
	if (!message)
		message = PQresultErrorMessage(result);
	set_error(pg, PQresultErrorField(result, PG_DIAG_SQLSTATE), message,
	          PQresultErrorField(result, PG_DIAG_MESSAGE_HINT));
}

int pg_fail(struct pg **out, const char *why) {
	struct pg *pg = *out = calloc(1, sizeof(*pg));
	if (pg)
		set_error(pg, NULL, why, NULL);
	return PG_UNREACHABLE;
}

const char *pg_error(const struct pg *pg) {
	return pg ? pg->error : "out of memory";
}

const char *pg_sqlstate(const struct pg *pg) {
	return pg ? pg->sqlstate : "";
}

/*
 * Notices are not printed. Two kinds matter: the last words of a server that ends the session while no command is
 * under way, and the warning that a wait for synchronous replication was cancelled after the local commit. (It has
 * no code of its own, only that of its class, 01000.)
 */
static void on_notice(void *context, const PGresult *notice) {
	struct pg *pg = context;
	const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *sqlstate = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
	if (!severity || !sqlstate)
		return;
	bool warning = !strcmp(severity, "WARNING") && (!strcmp(sqlstate, "01000") || !strncmp(sqlstate, "57P", 3));
	pg->warned |= warning;
	if (warning || !strcmp(severity, "FATAL") || !strcmp(severity, "PANIC"))
		result_failed(pg, notice);
}

/* ---- Connection parameters --------------------------------------------------- */

#define PARAMETERS_MAX 16

struct parameters { /* what PQconnectStartParams() takes; the later of two wins */
	const char *keywords[PARAMETERS_MAX];
	const char *values[PARAMETERS_MAX];
	int count;
};

static void add_parameter(struct parameters *p, const char *keyword, const char *value) {
	p->keywords[p->count] = keyword;
	p->values[p->count] = value;
	p->count++;
}

static void add_servers(struct parameters *p, const struct pg_servers *servers) {
	add_parameter(p, "host", servers->host);
	add_parameter(p, "hostaddr", servers->hostaddr);
	add_parameter(p, "port", servers->port);
}

static int start(struct pg **out, const struct pg_target *target) {
	char user_timeout[16];
	struct parameters p = {.count = 0};
	struct pg *pg = *out = calloc(1, sizeof(*pg));
	if (!pg)
		return PG_UNREACHABLE;
	snprintf(user_timeout, sizeof(user_timeout), "%d", target->timeout_ms);
	add_parameter(&p, "fallback_application_name", target->name);
	/* An idle connection through a network that went away is noticed within about 5 s. */
	add_parameter(&p, "keepalives_idle", "2");
	add_parameter(&p, "keepalives_interval", "1");
	add_parameter(&p, "keepalives_count", "3");
	add_parameter(&p, "tcp_user_timeout", user_timeout);
	add_parameter(&p, "dbname", target->conninfo);
	add_parameter(&p, "client_encoding", "UTF8");
	if (target->servers)
		add_servers(&p, target->servers);
	add_parameter(&p, NULL, NULL);

	pg->conn = PQconnectStartParams(p.keywords, p.values, 1);
	if (pg->conn)
		PQsetNoticeReceiver(pg->conn, on_notice, pg);
	if (pg->conn && PQstatus(pg->conn) != CONNECTION_BAD)
		return PG_OK;
	return connection_failed(pg);
}

void pg_close(struct pg *pg) {
	if (!pg)
		return;
	PQfinish(pg->conn);
	free(pg);
}

enum progress {
	CONNECTED,
	WANTS_READ,
	WANTS_WRITE,
	BROKEN,
};

static enum progress poll_connection(struct pg *pg) {
	ConnStatusType stage = PQstatus(pg->conn);
	switch (PQconnectPoll(pg->conn)) {
	case PGRES_POLLING_OK: return CONNECTED;
	case PGRES_POLLING_READING: return WANTS_READ;
	case PGRES_POLLING_WRITING: return WANTS_WRITE;
	default:
		pg->answered = stage != CONNECTION_BAD && stage != CONNECTION_NEEDED && stage != CONNECTION_STARTED;
		connection_failed(pg);
		return BROKEN;
	}
}

bool pg_was_answered(const struct pg *pg) {
	return pg && pg->answered;
}

int pg_socket(const struct pg *pg) {
	return PQsocket(pg->conn);
}

/* ---- Connecting ------------------------------------------------------------------ */

bool pg_wait(int fd, short events, int64_t deadline_ms) {
	struct pollfd poll_fd = {.fd = fd, .events = events};
	for (;;) {
		int64_t left = deadline_ms - monotonic_now_ms();
		if (left <= 0)
			return false;
		int n = poll(&poll_fd, 1, (int)left);
		if (n > 0 || (n < 0 && errno != EINTR))
			return true; /* who reads meets the error, if there is one */
	}
}

static int connect_until(struct pg *pg, int timeout_ms, int64_t deadline_ms) {
	enum progress progress = WANTS_WRITE; /* as libpq wants it assumed before the first poll */
	while (progress == WANTS_READ || progress == WANTS_WRITE) {
		if (!pg_wait(pg_socket(pg), progress == WANTS_READ ? POLLIN : POLLOUT, deadline_ms)) {
			char message[64];
			snprintf(message, sizeof(message), "no connection within %d ms", timeout_ms);
			set_error(pg, NULL, message, NULL);
			return PG_UNREACHABLE;
		}
		progress = poll_connection(pg);
	}
	return progress == CONNECTED ? PG_OK : PG_UNREACHABLE;
}

int pg_open(struct pg **out, const struct pg_target *target) {
	int result = start(out, target);
	return result == PG_OK ? connect_until(*out, target->timeout_ms, target->deadline_ms) : result;
}

int pg_pipeline(struct pg *pg) {
	bool is_ready = PQsetnonblocking(pg->conn, 1) == 0 && PQenterPipelineMode(pg->conn) == 1;
	return is_ready ? PG_OK : connection_failed(pg);
}

/* ---- Blocking ------------------------------------------------------------------ */

static int check_result(struct pg *pg, const PGresult *result) {
	ExecStatusType status = PQresultStatus(result);
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY)
		return PG_OK;
	if (result && PQresultErrorField(result, PG_DIAG_SQLSTATE))
		result_failed(pg, result);
	else if (result && status != PGRES_FATAL_ERROR)
		set_error(pg, "0A000", "COPY has no place here", NULL);
	else /* libpq's own failure */
		set_error(pg, NULL, said_by_libpq(pg, "out of memory"), NULL);
	return PQstatus(pg->conn) == CONNECTION_OK ? PG_FAILED : connection_failed(pg);
}

static int copy_rows(const PGresult *result, struct pg_rows *rows) {
	int columns = PQnfields(result), row_count = PQntuples(result);
	rows->names = calloc((size_t)columns + 1, sizeof(char *));
	rows->cells = calloc((size_t)columns * (size_t)row_count + 1, sizeof(char *));
	if (!rows->names || !rows->cells)
		return -1;
	rows->column_count = columns;
	rows->row_count = row_count;
	for (int c = 0; c < columns; c++)
		if (!(rows->names[c] = strdup(PQfname(result, c))))
			return -1;
	for (int i = 0; i < columns * row_count; i++) {
		int row = i / columns, column = i % columns;
		if (!PQgetisnull(result, row, column) && !(rows->cells[i] = strdup(PQgetvalue(result, row, column))))
			return -1;
	}
	return 0;
}

static void forget_error(struct pg *pg) {
	pg->error[0] = pg->sqlstate[0] = '\0';
}

void pg_set_deadline(struct pg *pg, int64_t deadline_ms) {
	pg->deadline_ms = deadline_ms;
}

void pg_trust_catalog_only(struct pg *pg) {
	pg->catalog_only = true;
}

/* Reads until the statement has ended; its result is the last one. NULL: it hasn't, so that whatever was answered
 * may not have been committed. *late: the deadline has passed meanwhile. */
static PGresult *await_result(struct pg *pg, bool *late) {
	PGresult *last = NULL;
	for (;;) {
		while (PQisBusy(pg->conn)) {
			*late = !pg_wait(pg_socket(pg), POLLIN, pg->deadline_ms);
			if (*late || PQconsumeInput(pg->conn) != 1) {
				PQclear(last);
				return NULL;
			}
		}
		PGresult *result = PQgetResult(pg->conn);
		if (!result)
			return last;
		PQclear(last);
		last = result;
	}
}

/* Waits for ever, unless there is a deadline. */
static PGresult *execute(struct pg *pg, const char *sql, int param_count, const char *const *params, bool *late) {
	if (pg->deadline_ms == 0)
		return PQexecParams(pg->conn, sql, param_count, NULL, params, NULL, NULL, 0);
	bool sent = PQsendQueryParams(pg->conn, sql, param_count, NULL, params, NULL, NULL, 0) == 1;
	return sent ? await_result(pg, late) : NULL;
}

/* Two statements without parameters, in one transaction; the second one's result. */
static PGresult *execute_both(struct pg *pg, const char *first, const char *second, bool *late) {
	char *sql;
	if (asprintf(&sql, "%s;\n%s", first, second) < 0)
		return NULL;
	PGresult *result = NULL;
	if (pg->deadline_ms == 0)
		result = PQexec(pg->conn, sql);
	else if (PQsendQuery(pg->conn, sql) == 1)
		result = await_result(pg, late);
	free(sql);
	return result;
}

static bool is_done(const PGresult *result) {
	return PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK;
}

/* For one transaction: behind a pooler the session may be somebody else's next. */
#define PIN "select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)"

static PGresult *execute_with_params(struct pg *pg, const char *sql, int param_count, const char *const *params,
                                     bool *late) {
	PGresult *result = execute_both(pg, "begin", PIN, late);
	if (!is_done(result))
		return result;
	PQclear(result);
	result = execute(pg, sql, param_count, params, late);
	if (*late || PQtransactionStatus(pg->conn) == PQTRANS_UNKNOWN)
		return result;
	PGresult *end = execute(pg, is_done(result) ? "commit" : "rollback", 0, NULL, late);
	bool failed = is_done(result) && !is_done(end);
	PQclear(failed ? result : end);
	return failed ? end : result;
}

/* What begins a transaction. BEGIN goes first: it takes an isolation level only as long as nothing was asked. */
static PGresult *execute_pinned(struct pg *pg, const char *sql, int param_count, const char *const *params,
                                bool *late) {
	if (param_count > 0)
		return execute_with_params(pg, sql, param_count, params, late);
	return strncmp(sql, "begin", strlen("begin")) == 0 ? execute_both(pg, sql, PIN, late)
	                                                   : execute_both(pg, PIN, sql, late);
}

static int end_late(struct pg *pg) {
	set_error(pg, NULL, "no answer in time", NULL);
	return PG_UNREACHABLE;
}

int pg_query(struct pg *pg, const char *sql, int param_count, const char *const *params, struct pg_rows *rows) {
	if (rows)
		*rows = (struct pg_rows){.row_count = 0};
	forget_error(pg);
	bool late = false;
	bool pinned = pg->catalog_only && PQtransactionStatus(pg->conn) == PQTRANS_IDLE;
	PGresult *result = pinned ? execute_pinned(pg, sql, param_count, params, &late)
	                          : execute(pg, sql, param_count, params, &late);
	int e = late ? end_late(pg) : check_result(pg, result);
	if (e == PG_OK && rows && copy_rows(result, rows) != 0) {
		pg_rows_free(rows);
		set_error(pg, NULL, "out of memory", NULL);
		e = PG_FAILED;
	}
	PQclear(result);
	return e;
}

int pg_script(struct pg *pg, const char *sql) {
	forget_error(pg);
	PGresult *result = PQexec(pg->conn, sql);
	int e = check_result(pg, result);
	PQclear(result);
	return e;
}

void pg_rows_free(struct pg_rows *rows) {
	for (int c = 0; rows->names && c < rows->column_count; c++)
		free(rows->names[c]);
	for (int i = 0; rows->cells && i < rows->column_count * rows->row_count; i++)
		free(rows->cells[i]);
	free(rows->names);
	free(rows->cells);
	*rows = (struct pg_rows){.row_count = 0};
}

/* ---- Asynchronous ---------------------------------------------------------------- */

const char *pg_user(const struct pg *pg) {
	return PQuser(pg->conn);
}

const char *pg_database(const struct pg *pg) {
	return PQdb(pg->conn);
}

int pg_server_version(const struct pg *pg) {
	return PQserverVersion(pg->conn);
}

int pg_backend_pid(const struct pg *pg) {
	return PQbackendPID(pg->conn);
}

const char *pg_parameter(const struct pg *pg, const char *name) {
	const char *value = PQparameterStatus(pg->conn, name);
	return value ? value : "";
}

/* Ends the command's transaction. There is a sync after each command, so that one that fails takes no other with
 * it. */
static int end_command(struct pg *pg, int queued) {
	return queued == 1 && PQpipelineSync(pg->conn) == 1 ? PG_OK : connection_failed(pg);
}

int pg_send_query(struct pg *pg, const char *sql) {
	return end_command(pg, PQsendQueryParams(pg->conn, sql, 0, NULL, NULL, NULL, NULL, 1));
}

int pg_send_prepare(struct pg *pg, const char *name, const char *sql) {
	return end_command(pg, PQsendPrepare(pg->conn, name, sql, 0, NULL));
}

int pg_send_prepared(struct pg *pg, const char *name, const struct pg_params *p) {
	return end_command(pg, PQsendQueryPrepared(pg->conn, name, p->count, p->values, p->lengths, p->formats, 1));
}

int pg_send_unnamed(struct pg *pg, const char *before, const char *sql, const struct pg_params *p) {
	if (before[0] && PQsendQueryParams(pg->conn, before, 0, NULL, NULL, NULL, NULL, 1) != 1)
		return connection_failed(pg);
	return end_command(pg, PQsendQueryParams(pg->conn, sql, p->count, NULL, p->values, p->lengths, p->formats, 1));
}

int pg_flush(struct pg *pg) {
	int left = PQflush(pg->conn);
	return left < 0 ? connection_failed(pg) : left;
}

int pg_read(struct pg *pg) {
	int read = PQconsumeInput(pg->conn);
	return read == 1 && PQstatus(pg->conn) == CONNECTION_OK ? PG_OK : connection_failed(pg);
}

static int bytes_there(const struct pg *pg) {
	int bytes = 0;
	return ioctl(PQsocket(pg->conn), FIONREAD, &bytes) == 0 ? bytes : 0;
}

/* pg_read() reads one record of TLS, or what libpq's buffer has room for. */
int pg_read_all(struct pg *pg) {
	int result, times = bytes_there(pg) / RECORD_BYTES_MIN;
	while ((result = pg_read(pg)) == PG_OK && times-- > 0 && bytes_there(pg) > 0)
		;
	return result;
}

enum pg_event pg_next(struct pg *pg, struct pg_answer **answer) {
	/* A null stands between the results of one command and the next; two in a row say that there is nothing. */
	for (int nulls = 0; nulls < 2 && !PQisBusy(pg->conn);) {
		PGresult *result = PQgetResult(pg->conn);
		ExecStatusType status = result ? PQresultStatus(result) : PGRES_EMPTY_QUERY;
		nulls = result ? 0 : nulls + 1;
		if (status ==
		    PGRES_PIPELINE_ABORTED) { /* what came before it in its transaction was refused, and said why */
			PQclear(result);
			continue;
		}
		if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
			*answer = (struct pg_answer *)result;
			return PG_ANSWER;
		}
		if (result && status != PGRES_PIPELINE_SYNC)
			result_failed(pg, result);
		PQclear(result);
		if (result)
			return status == PGRES_PIPELINE_SYNC ? PG_END : PG_REFUSED;
	}
	return PG_NOTHING;
}

/* libpq finds a notice that came behind an answer only when the answer has been taken from it. */
static void receive_notices(struct pg *pg) {
	for (PGnotify *n; (n = PQnotifies(pg->conn)); PQfreemem(n)) {
		bool is_ours = !strcmp(n->relname, CHANNEL), is_recall = !strcmp(n->extra, RECALL);
		pg->notified |= is_ours && !is_recall;
		pg->recalled |= is_ours && is_recall;
		pg->hears |= !is_ours;
	}
}

bool pg_was_notified(struct pg *pg) {
	receive_notices(pg);
	bool was = pg->notified;
	pg->notified = false;
	return was;
}

bool pg_was_recalled(struct pg *pg) {
	receive_notices(pg);
	bool was = pg->recalled;
	pg->recalled = false;
	return was;
}

bool pg_hears(const struct pg *pg) {
	return pg->hears;
}

bool pg_was_warned(struct pg *pg) {
	bool was = pg->warned;
	pg->warned = false;
	return was;
}
