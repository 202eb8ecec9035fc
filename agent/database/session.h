/*
 * session.h - one connection to PostgreSQL: how it comes to be, comes back, and is lost; the queue of what is
 * under way in it, and the timers. What the statements mean is the business of those who queue them.
 *
 * Behind a pooler in transaction mode (`pooled`) the connection is to the pooler, and any server connection of its
 * may do a transaction. So no statement has a name, and all that it needs comes with it: see preface.
 *
 * Knows the server by libpq (pg.h) and its addresses (endpoints.h). Knows nothing of leases, policies or hosts.
 */
#ifndef STINT_SESSION_H
#define STINT_SESSION_H

#include "operation.h"

struct dial;
struct endpoints;
struct event;
struct event_base;
struct pg;
struct pg_params;

enum session_state {
	SESSION_OFF,        /* nobody asked for a connection yet */
	SESSION_WAITING,    /* until the next attempt */
	SESSION_LOOKING_UP, /* for the servers, and their addresses */
	SESSION_CONNECTING, /* libpq at work, beside the loop */
	SESSION_GREETING,   /* connected; what has to be said first is under way */
	SESSION_UP,
};

struct session_events {
	/* Connected: to queue what has to be said first. Its last answer calls session_came_up(). */
	void (*greet)(void *context, struct session *);
	/* As in database_events. */
	void (*down)(void *context, const char *why);
	void (*notified)(void *context);
	void (*recalled)(void *context);
};

struct session_options {
	const char *conninfo; /* libpq connection string or URI */
	const char *name;     /* what the server shows */
	int timeout_ms;       /* of one operation, of looking up names, and of connecting altogether */
	bool pooled;          /* by way of a pooler in transaction mode */
};

struct session {
	struct event_base *base;
	const struct session_events *events;
	void *context;
	char *conninfo, *name;
	int timeout_ms;
	bool pooled;
	/* When pooled: the statement that each transaction begins with, as no setting lasts for longer than one. */
	char preface[2048];

	enum session_state state;
	struct endpoints *endpoints;
	struct event *lookup_event;
	struct dial *dial; /* NULL: nobody is connecting */
	struct event *dial_event;
	int wake_fd; /* readable when a dial is over */
	struct pg *pg;
	struct event *socket_event; /* readable */
	struct event *write_event;
	struct event *timer; /* the next attempt, the end of this one's time, or the oldest operation's deadline */
	struct event *soon;  /* what may not be done in the caller's call */
	int64_t wake_ms;     /* when the timer is due */
	int64_t attempt_ms;  /* when the last attempt began */
	unsigned attempt;    /* failed ones; which address is tried first */
	int first_pause_ms;  /* see session_expect_others() */
	int pause_ms;        /* before the next attempt, without jitter */
	int64_t up_ms;       /* since when it is up, or was last */
	int64_t warned_ms;   /* when a commit wasn't waited for, last; 0: never */
	bool met_a_lock;     /* the statement that was refused last */
	bool broken;         /* the connection is to be dropped, soon */
	bool reached;        /* see database_was_reached() */
	bool not_inherited;  /* the role is a member of stint_agent without its rights */
	bool direct;         /* nobody is between us and the server */
	bool listens;        /* the server has taken our LISTEN */
	int32_t server_pid;  /* the server's process that answered first; 0: unknown */
	bool not_owned;      /* the schema has another owner or other rights than it was made with */

	struct operation_list under_way; /* sent, oldest first */
	struct operation_list refused;   /* not sent: they end soon with LEASE_REJECTED */
	struct operation *spare;         /* for reuse */
	size_t in_flight;                /* operations that session_start() began, and that haven't ended */

	char error[640]; /* pg.h's longest, and what is said before it */
};

/* False: no memory or descriptor; to be deinitialised all the same. `events` must live as long as the session. */
bool session_init(struct session *, struct event_base *base, const struct session_options *options,
                  const struct session_events *events, void *context);
void session_deinit(struct session *); /* operations under way end without a callback */

void session_connect(struct session *); /* starts connecting, and keeps at it */
void session_came_up(struct session *);
/* So many hosts may lose their sessions together, and come back together: the more, the longer is the first
 * pause. */
void session_expect_others(struct session *, int hosts);
/* Drops the connection, for the reason that was set as error, from the event loop. */
void session_drop_soon(struct session *);
void session_set_error(struct session *, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Each adds an operation like *what to the queue of a connection that is there, and sends its command. */
void session_send_query(struct session *, const struct operation *what, const char *sql);
void session_send_prepare(struct session *, const struct operation *what, const struct call *prepared);
void session_send_call(struct session *, const struct operation *what, const struct pg_params *params);
/* Sends the call, or arranges that it ends with LEASE_REJECTED. params NULL: out of memory. */
void session_start(struct session *, const struct operation *what, const struct pg_params *params);

/* In a session it is always the same process that answers: this one, it says. If it isn't, and the session isn't
 * `pooled`, drops the connection soon, and returns false. */
bool session_is_same(struct session *, int32_t server_pid);
bool session_hears(const struct session *);               /* see database_hears() */
const char *session_lookup_error(const struct session *); /* see database_lookup_error() */

#endif
