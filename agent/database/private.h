/*
 * private.h - what the parts of the database module share: session.c (the
 * connection and its queue), operation.c (the operations in it),
 * settings.c (the session's settings, and what is looked at), greeting.c (what is said after connecting), take.c (the statements that ask
 * for leases) and calls.c (the other ones). Nobody else includes it.
 */
#ifndef STINT_DATABASE_PRIVATE_H
#define STINT_DATABASE_PRIVATE_H

#include "database.h"

struct dial;
struct endpoints;
struct event;
struct pg;
struct pg_answer;
struct pg_params;
struct operation;

/* A statement and how its answer is read. */
struct call {
	const char *name; /* of the prepared statement, and in messages */
	const char *sql;
	int columns;      /* that the answer must have */
	bool optional;    /* refused while connecting: go on without */
	/*
	 * Ends an operation. With LEASE_DONE the answer is there; false then says that it
	 * is not what was asked for, and that nobody was called back: the same operation
	 * ends once more, with LEASE_UNKNOWN. Otherwise the answer is NULL, and true is returned.
	 */
	bool (*finish)(struct database *, const struct operation *, enum lease_outcome, const struct pg_answer *);
};

/* One command under way. */
struct operation {
	struct operation *next;
	const struct call *call;
	int64_t deadline_ms;
	size_t count; /* requests of a batch */
	union {
		database_grants *grants;
		database_declared *declared;
		database_policies *policies;
		database_changes *changes;
		database_pulsed *pulsed;
		database_expired *expired;
		database_ended *ended;
	} done;
	void *context;
	struct pg_answer *answer; /* kept until the transaction has ended */
	bool refused;
	bool counted; /* in database_in_flight() */
};

struct operation_list {
	struct operation *first;
	struct operation *last;
};

enum database_state {
	DATABASE_OFF,        /* nobody asked for a connection yet */
	DATABASE_WAITING,    /* until the next attempt */
	DATABASE_LOOKING_UP, /* for the servers, and their addresses */
	DATABASE_CONNECTING, /* libpq at work, beside the loop */
	DATABASE_GREETING,   /* connected; greeting.c at work */
	DATABASE_UP,
};

struct database {
	struct event_base *base;
	const struct database_events *events;
	void *context;
	char *conninfo, *host, *instance, *version, *name;
	int timeout_ms;
	bool keep_commit;

	enum database_state state;
	struct endpoints *endpoints;
	struct event *lookup_event;
	struct dial *dial; /* NULL: nobody is connecting */
	struct event *dial_event;
	int wake_fd; /* readable when a dial is over */
	struct pg *pg;
	struct event *socket_event; /* connecting: one direction at a time; later: readable */
	struct event *write_event;
	struct event *timer; /* the next attempt, the end of this one's patience or time, or the oldest operation's deadline */
	struct event *soon;  /* what may not be done in the caller's call */
	int64_t wake_ms;     /* when the timer is due */
	int64_t attempt_ms;  /* when the last attempt began */
	unsigned attempt;    /* failed ones; which address is tried first */
	int pause_ms;        /* before the next attempt, without jitter */
	int64_t up_ms;       /* since when it is up, or was last */
	int64_t warned_ms;   /* when a commit wasn't waited for, last; 0: never */
	bool met_a_lock;     /* the statement that was refused last */
	bool broken;         /* the connection is to be dropped, soon */
	bool reached;        /* see database_was_reached() */
	bool not_inherited;  /* the role is a member of stint_agent without its rights */
	bool not_owned;      /* the schema has another owner or other rights than it was made with */

	struct operation_list under_way; /* sent, oldest first */
	struct operation_list refused;   /* not sent: they end soon with LEASE_REJECTED */
	struct operation *spare;         /* for reuse */
	size_t in_flight;

	int32_t host_id;
	char error[640]; /* pg.h's longest, and what is said before it */
	char advice[640];
};

/* ---- session.c ------------------------------------------------------------ */

void database_set_error(struct database *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds an operation like *what to the queue; its command was sent with this result of pg_send_...(). */
void database_queue(struct database *, const struct operation *what, int sent);
/* Sends the call, or arranges that it ends with LEASE_REJECTED. params NULL: out of memory. */
void database_start(struct database *, const struct operation *what, const struct pg_params *params);
void database_came_up(struct database *, const struct database_hello *);
/* Drops the connection, for the reason that was set as error, from the event loop. */
void database_drop_soon(struct database *);

/* ---- operation.c ---------------------------------------------------- */

void operation_append(struct operation_list *, struct operation *);
void operation_prepend(struct operation_list *, struct operation *);
struct operation *operation_remove_first(struct operation_list *); /* of one that isn't empty */
struct operation *operation_new(struct database *, const struct operation *what);
void operation_put_away(struct database *, struct operation *);
bool operation_make_spares(struct database *); /* false: out of memory */
void operation_free_all(struct operation *first);

/* ---- settings.c ------------------------------------------------------ */

void settings_start(struct database *);
/* Where it holds, an operator is told so when the database is up. */
void settings_advise(struct database *, bool holds, const char *words);

/* ---- greeting.c -------------------------------------------------------- */

void greeting_start(struct database *);

/* ---- take.c --------------------------------------------------------- */

extern const struct call call_take, call_take_first;

/* ---- calls.c -------------------------------------------------------- */

extern const struct call *const database_calls[]; /* all that are prepared; ends in NULL */

#endif
