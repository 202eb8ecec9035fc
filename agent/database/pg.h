/*
 * pg.h - the only door to libpq: connecting, and then one of two ways to use the connection. The command line's
 * statements block; the agent's (session.c) don't.
 *
 * Connections have UTF-8 as the client's encoding. They have TCP keepalives and a user timeout, unless the
 * connection string sets its own.
 */
#ifndef STINT_PG_H
#define STINT_PG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pg;

enum pg_error {
	PG_OK = 0,
	PG_UNREACHABLE = -1, /* no connection, or it broke */
	PG_FAILED = -2,      /* the server refused the statement; pg_error() says why */
};

void pg_close(struct pg *);                 /* NULL is ignored */
const char *pg_error(const struct pg *);    /* one line: message, and the server's hint in brackets; "" if none */
const char *pg_sqlstate(const struct pg *); /* of the last failure; "" if none */

/* Does libpq understand this connection string? 0, or -1 with its complaint: one line, without secrets. */
int pg_check_conninfo(const char *conninfo, char *reason, size_t size);
bool pg_has_password(const char *conninfo); /* in itself, not in a file that it names */

/* The servers that a connection string names: comma-separated lists, as in the string. */
struct pg_servers {
	char *host, *hostaddr, *port;
};

/* As libpq puts them together from the string, the environment and a service file, which it reads (search.h). If
 * libpq doesn't understand the string, the lists are empty. 0, or -1: no memory. */
int pg_find_servers(const char *conninfo, struct pg_servers *out);
void pg_servers_free(struct pg_servers *);

/* ---- Connecting ---------------------------------------------------------- */

struct pg_target {
	const char *conninfo;
	const char *name; /* what the server shows as application_name unless the connection string has one */
	/* In place of the connection string's; NULL: those, and libpq looks up their names itself. */
	const struct pg_servers *servers;
	int timeout_ms;      /* of the whole attempt, for messages; and TCP's, for what is sent and not acknowledged */
	int64_t deadline_ms; /* the attempt's end, on the monotonic clock */
};

/* Connects, and blocks meanwhile. On failure *out is still a valid object (or NULL: out of memory) that tells
 * pg_error(). */
int pg_open(struct pg **out, const struct pg_target *target);
/* Makes an object that has no connection, and only tells why. PG_UNREACHABLE. */
int pg_fail(struct pg **out, const char *why);
/* Until the descriptor is ready for these events of poll(). False: the deadline has passed. */
bool pg_wait(int fd, short events, int64_t deadline_ms);

/* ---- Blocking: for the command line -------------------------------------- */

/* Text of every cell; NULL is SQL's null. */
struct pg_rows {
	int row_count;
	int column_count;
	char **names; /* column_count */
	char **cells; /* row_count x column_count, row by row */
};

/* One statement with text parameters; NULL elements are SQL nulls. rows may be NULL; else to be freed with
 * pg_rows_free(). */
int pg_query(struct pg *, const char *sql, int param_count, const char *const *params, struct pg_rows *rows);
/* Of pg_query(), on the monotonic clock; 0: none, as at first. A statement that isn't answered by then ends with
 * PG_UNREACHABLE, and the connection is of no use any more. */
void pg_set_deadline(struct pg *, int64_t deadline_ms);
/* Of pg_query() from now on: each transaction that it begins, by a statement of its own or by "begin", finds names
 * in pg_catalog alone, whatever search_path the database's owner or a user's role has. Schemas have to be named
 * then. */
void pg_trust_catalog_only(struct pg *);
/* Several statements without parameters, in one implicit transaction unless the text says otherwise. */
int pg_script(struct pg *, const char *sql);
void pg_rows_free(struct pg_rows *);

/* ---- Asynchronous: for the agent ------------------------------------------ */

/* After pg_open(): statements are sent with pg_send_...() from now on. */
int pg_pipeline(struct pg *);

int pg_socket(const struct pg *);
/* When pg_open() has failed: a server was there, and it didn't let us in, or hung up. */
bool pg_was_answered(const struct pg *);
const char *pg_user(const struct pg *);
const char *pg_database(const struct pg *);
int pg_server_version(const struct pg *); /* 150004, say; 0: unknown */
/* A setting that the server reports by itself; "": it doesn't. */
const char *pg_parameter(const struct pg *, const char *name);

/* Parameters of a statement: text (ending in NUL), or binary with a length. */
#define PG_PARAMS_MAX 18 /* more than the widest statement has */

struct pg_params {
	int count;
	const char *values[PG_PARAMS_MAX];
	int lengths[PG_PARAMS_MAX];
	int formats[PG_PARAMS_MAX]; /* 0: text, 1: binary */
};

/*
 * Each queues one command with a transaction of its own, and copies what it is given. pg_flush() sends what is
 * queued. It returns 1 while there is more to send: call it again when the socket is writable. PG_UNREACHABLE: the
 * connection is of no use any more.
 */
int pg_send_query(struct pg *, const char *sql);
int pg_send_prepare(struct pg *, const char *name, const char *sql);
int pg_send_prepared(struct pg *, const char *name, const struct pg_params *);
/* Without a name. If `before` isn't "", it is a statement that comes first, in the same transaction: when it
 * fails, sql isn't done. Each has an answer; the last one counts. */
int pg_send_unnamed(struct pg *, const char *before, const char *sql, const struct pg_params *);
int pg_flush(struct pg *);

/* Reads some of what has arrived. PG_UNREACHABLE: the connection broke; pg_next() still gives what came before
 * that. */
int pg_read(struct pg *);
/* Reads all that had arrived when it was called. */
int pg_read_all(struct pg *);

/*
 * What has arrived, in the order of the commands. An answer is final only with the
 * command's end: the transaction commits in between.
 */
enum pg_event {
	PG_NOTHING,
	PG_ANSWER,  /* *answer is the caller's, to be freed with pg_answer_free() */
	PG_REFUSED, /* pg_error() and pg_sqlstate() say why */
	PG_END,     /* the command's transaction has ended */
};

struct pg_answer;

enum pg_event pg_next(struct pg *, struct pg_answer **answer);

/* The session's process, as the server told when the connection was made. A pooler tells a number of its own. */
int pg_backend_pid(const struct pg *);

/* On the channel of changes, since the last call: of a change, or that leases are called back. */
bool pg_was_notified(struct pg *);
bool pg_was_recalled(struct pg *);
/* A notice on another channel, that of this session's own, has ever arrived. */
bool pg_hears(const struct pg *);
/* Since the last call the server has warned that a commit may not have reached its standby: somebody cancelled the
 * wait for synchronous replication. */
bool pg_was_warned(struct pg *);

/* Rows in binary. */
void pg_answer_free(struct pg_answer *); /* NULL is ignored */
int pg_answer_rows(const struct pg_answer *);
int pg_answer_columns(const struct pg_answer *);
/* False, and nothing written: the value is null, of another type, or out of range. */
bool pg_answer_int(const struct pg_answer *, int row, int column, int64_t low, int64_t high, int64_t *out);
bool pg_answer_int4(const struct pg_answer *, int row, int column, int64_t high, int32_t *out); /* from 0 */
bool pg_answer_bool(const struct pg_answer *, int row, int column, bool *out);
/* with its NUL within size */
bool pg_answer_text(const struct pg_answer *, int row, int column, size_t size, char *out);
bool pg_answer_is_null(const struct pg_answer *, int row, int column);

#endif
