/*
 * database.h - the agent's connection to PostgreSQL: connects, checks the schema's version, registers the host,
 * sends statements in pipeline mode and hands answers to callbacks. All on the agent's event loop, which no silent
 * server blocks.
 *
 * Every operation has a deadline of the agent's own (`timeout_ms`): a server that is paused never answers, and no
 * TCP option notices. When the oldest operation runs out of time, or the connection breaks, the module drops the
 * connection, ends every operation under way with LEASE_UNKNOWN, in order, and then calls `down`. It reconnects by
 * itself, after a jittered pause that doubles up to 2 s, until database_free(). The first pause is 50 ms, or 10 ms
 * for each live host: who lost the server together shouldn't come back faster than it can take them up. For the
 * same reason an attempt to connect to the only server that there is has at least 2 s.
 *
 * The server may report an error for one statement (LEASE_REJECTED). The connection stays up, unless the error's
 * SQLSTATE says that the server can't serve now, or that this session no longer fits (sqlstate.h): then the
 * connection is dropped as above. It is also dropped when an answer can't be (an ordinal that was not asked for,
 * another type, a negative number), and after a heartbeat that found no row of this host, since connecting
 * registers the host.
 *
 * LEASE_UNKNOWN may also come alone: the commit was made, but the server warned that it may not have reached its
 * standby. When the server warns again soon after, the connection is dropped: a server whose commits don't end is
 * of no use to the agent.
 *
 * Names of servers are looked up beside the loop, anew for each attempt to connect. The attempt waits for the
 * lookup as long again as for the connection. While the name servers are out, the attempt uses the addresses that
 * a name had last. When there are several addresses, of one name or several, each failed attempt makes the next
 * one begin with another.
 *
 * libpq works beside the loop as well until it has connected: see search.h and dial.h.
 *
 * A pooler has to be in session mode, as statements are prepared, and the session listens to a channel; or
 * `pooled` says that it is in transaction mode. Then nothing outlives a transaction, no notice arrives, and the
 * server may be another one without the connection's end: each transaction asks first whether it is the one that
 * said hello. If it isn't, nothing is done, and the connection is dropped as above.
 *
 * No callback runs inside the call that starts the operation. A callback may call any function here, except
 * database_free().
 */
#ifndef STINT_DATABASE_H
#define STINT_DATABASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "answers.h"

struct event_base;
struct database;

struct database_options { /* strings are copied */
	const char *conninfo; /* libpq connection string or URI */
	const char *host;     /* this host's name */
	const char *instance; /* unique per start of an agent */
	const char *version;
	int mark;       /* by which the database tells this host's leases from others': 0 to 62 */
	int timeout_ms; /* of one operation, of looking up names, and of connecting altogether */
	/* grants are committed as the role's and the database's synchronous_commit say, even off */
	bool keep_commit;
	bool pooled; /* the connection is to a pooler in transaction mode */
};

#define DATABASE_SERVER_MAX 40

/* What the database said when the connection came up. */
struct database_hello {
	int32_t host_id;
	int64_t now_us;
	int32_t live_hosts;               /* at least 1 */
	int64_t change_id;                /* of the newest change of policies or overrides; 0: none */
	char server[DATABASE_SERVER_MAX]; /* which tables on which server; another one after a dump was restored */
	char timeline[9]; /* of its write-ahead log, another one after a promotion; "": it doesn't tell */
	/* since the first agent met this server on this timeline; -1: there has been no other */
	int64_t server_age_us;
	int64_t longest_lease_us; /* of any policy in the database */
	/* where that log ends on disk: never before an earlier end, whatever crashes; 0: it doesn't tell */
	int64_t wal_end;
	char advice[960]; /* what an operator should know of this database, one line; "": nothing */
};

struct database_events {
	void (*up)(void *context, const struct database_hello *hello);
	/* After a connection was lost, or could not be made (each attempt; the caller decides how often it logs).
	 * `why` is one line. The reasons that no retry mends by itself (no rights, no such
	 * database, unknown schema version) come here too, clearly worded. */
	void (*down)(void *context, const char *why);
	/* NOTIFY on channel stint: something changed, or leases are called back. */
	void (*notified)(void *context);
	void (*recalled)(void *context);
};

int database_new(struct database **out, struct event_base *base, const struct database_options *options,
                 const struct database_events *events, void *context); /* 0 or -1 (out of memory) */
void database_free(struct database *); /* operations under way end without a callback; NULL is ignored */

void database_connect(struct database *);     /* starts connecting, and keeps at it */
bool database_is_up(const struct database *); /* between `up` and `down` */
/* In `down`, without an `up` before: a server was there, and didn't let the agent in or can't serve it. */
bool database_was_reached(const struct database *);
bool database_hears(const struct database *);       /* notices arrive: one that it sent itself has come back */
size_t database_in_flight(const struct database *); /* operations without an answer yet */

/*
 * Each starts one operation (one implicit transaction). The callback runs exactly once, from the event loop; when
 * the connection is down at the call, with LEASE_REJECTED. Pointers in its arguments are valid during the callback
 * only. database_take() copies its requests before it returns. The callbacks' types are in answers.h.
 */

/* grants[i] answers requests[i]; count is the same. NULL unless LEASE_DONE. A client_id that is no UTF-8, or
 * has a NUL in it, is not answered. The database shares what is left of a limit among the hosts that serve the
 * client; it tells them apart by `host`, which may be any number. */
void database_take(struct database *, int host, const struct lease_request *requests, size_t count,
                   database_grants *done, void *context);
void database_declare(struct database *, const struct policy_row *policy, bool again, database_declared *done,
                      void *context);
void database_get_policies(struct database *, const char *const *names, size_t count, database_policies *done,
                           void *context);
/* The oldest ones after `since`, so many as the database gives at once; none: there are no more. */
void database_get_changes(struct database *, int64_t since, database_changes *done, void *context);
/* Other hosts are to return what they haven't spent of these clients' long leases. Copies what it is given. */
void database_recall(struct database *, const struct lease_recall *recalls, size_t count, database_ended *done,
                     void *context);
/* Which clients others need this host's leases of, of those that were called back after `since`. `host` is that of
 * database_take(). */
void database_get_recalls(struct database *, int host, int64_t since, database_recalls *done, void *context);
void database_pulse(struct database *, database_pulsed *done, void *context); /* reads only */
/* in_force: the newest change that all clients have met; -1: unknown. */
void database_heartbeat(struct database *, const char *state, int64_t clients, int64_t fallback_ms,
                        int64_t in_force, database_pulsed *done, void *context);
void database_expire_counters(struct database *, int batch, database_expired *done, void *context);
void database_report_fallback(struct database *, int64_t lasted_ms, int64_t ended_ms_ago, int64_t admitted,
                              int64_t clients, const char *reason, database_ended *done, void *context);
/* For audits; each is what there is in all, and may be reported again. No commit is waited for. run: of the same
 * minute, rows of two runs add up; 0 to 32767. Copies what it is given. */
void database_report_decisions(struct database *, int run, const struct database_decision *, size_t count,
                               database_ended *done, void *context);
/* The same, of the clients that were denied most. One whose id is no UTF-8 is left out. */
void database_report_denials(struct database *, int run, const struct database_denial *, size_t count,
                             database_ended *done, void *context);
void database_stop_host(struct database *, database_ended *done, void *context);
/* Done when nobody keeps a lock that every grant would have to wait for; refused when somebody does. */
void database_await_tables(struct database *, database_ended *done, void *context);

/* Did the statement that was refused last wait for a lock in vain? */
bool database_met_a_lock(const struct database *);

/* Whether nobody, a pooler say, was between this host and the server when it last connected; false: somebody was,
 * or it hasn't. */
bool database_is_direct(const struct database *);

/* Why servers or a name can't be looked up, though those of earlier are known; "" otherwise. One line. */
const char *database_lookup_error(const struct database *);

/* Why the last attempt or operation failed; "" when none did. One line. */
const char *database_last_error(const struct database *);

#endif
