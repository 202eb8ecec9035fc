/*
 * session.c - the connection and its queue of operations; see database.h.
 *
 * Life of a connection: OFF -> LOOKING_UP -> CONNECTING -> GREETING -> UP, and from each of the
 * last four by drop() to WAITING, which ends in LOOKING_UP again.
 *
 * Each operation is one command with a transaction of its own, sent at once behind
 * those that are still under way, so the server answers in the order of the queue. An
 * operation ends when its transaction has: rows come before the commit, and a commit can
 * fail. As all have the same time, the oldest one's deadline is the first.
 *
 * What calls back runs from the event loop only: a failure inside a caller's call
 * is noted, and `soon`, a timer of no time, deals with it. (An event activated directly
 * would be dealt with before any socket is looked at again, so that a callback which
 * always starts another operation could starve the rest of the agent.)
 */
#include "database.h"

#include <event2/event.h>
#include <event2/util.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "dial.h"
#include "endpoints.h"
#include "private.h"
#include "pg.h"
#include "sqlstate.h"

/* A server that restarts is back within a second or so; a dead one isn't worth more than one try in 2 s. */
#define PAUSE_MIN_MS 50
#define PAUSE_MAX_MS 2000

/* The server gives up waiting for its standby after three quarters of a timeout. With that of connecting anew, two such commits are less
 * apart than so many timeouts. */
#define WARNINGS_APART 4

static int64_t now_ms(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void database_set_error(struct database *db, const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(db->error, sizeof(db->error), format, arguments);
	va_end(arguments);
}

/* ---- Timers ------------------------------------------------------------------ */

static void wake_at(struct database *db, int64_t at_ms) {
	int64_t left = at_ms - now_ms();
	struct timeval wait = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};
	if (left <= 0)
		wait = (struct timeval){.tv_sec = 0};
	db->wake_ms = at_ms;
	event_add(db->timer, &wait);
}

static void act_soon(struct database *db) {
	event_add(db->soon, &(struct timeval){.tv_sec = 0});
}

void database_drop_soon(struct database *db) {
	db->broken = true;
	act_soon(db);
}

/* ---- Operations ---------------------------------------------------------------- */

/* False: the answer was not what was asked for; the operation is still to be ended. */
static bool finish(struct database *db, struct operation *op, enum lease_outcome outcome) {
	db->in_flight -= op->counted;
	if (op->call->finish(db, op, outcome, outcome == LEASE_DONE ? op->answer : NULL)) {
		operation_put_away(db, op);
		return true;
	}
	db->in_flight += op->counted;
	database_set_error(db, "%s answered what this agent does not understand", op->call->name);
	return false;
}

static void finish_all(struct database *db, struct operation_list *list, enum lease_outcome outcome) {
	struct operation_list detached = *list; /* callbacks may add others */
	*list = (struct operation_list){.first = NULL};
	while (detached.first)
		finish(db, operation_remove_first(&detached), outcome);
}

static void drop_broken(struct database *db) {
	database_set_error(db, "%s", pg_error(db->pg));
	database_drop_soon(db);
}

static void drop_unwatched(struct database *db) {
	database_set_error(db, "no memory to watch the connection with");
	database_drop_soon(db);
}

static void flush(struct database *db) {
	int left = pg_flush(db->pg);
	if (left < 0)
		drop_broken(db);
	if (left > 0 && event_add(db->write_event, NULL) != 0)
		drop_unwatched(db);
}

void database_queue(struct database *db, const struct operation *what, int sent) {
	struct operation *op = operation_new(db, what);
	op->deadline_ms = now_ms() + db->timeout_ms;
	operation_append(&db->under_way, op);
	if (sent != PG_OK)
		drop_broken(db);
	else
		flush(db);
	if (db->under_way.first == op)
		wake_at(db, op->deadline_ms);
}

void database_start(struct database *db, const struct operation *what, const struct pg_params *params) {
	struct operation counted = *what;
	counted.counted = true;
	db->in_flight++;
	if (db->state == DATABASE_UP && !db->broken && params) {
		database_queue(db, &counted, pg_send_prepared(db->pg, what->call->name, params));
		return;
	}
	operation_append(&db->refused, operation_new(db, &counted));
	act_soon(db);
}

/* ---- Losing the connection --------------------------------------------------------- */

/* Half to one and a half times the pause, so that hosts which lost the database together don't return together. */
static int jittered(int pause_ms) {
	uint32_t random;
	evutil_secure_rng_get_bytes(&random, sizeof(random));
	return pause_ms / 2 + (int)(random % (uint32_t)(pause_ms + 1));
}

static void drop(struct database *db) {
	char why[sizeof(db->error)];
	event_del(db->socket_event);
	event_del(db->write_event);
	db->reached = db->state == DATABASE_GREETING || pg_was_answered(db->pg);
	dial_free(db->dial);
	db->dial = NULL;
	pg_close(db->pg);
	db->pg = NULL;
	db->attempt += db->state != DATABASE_UP;
	db->state = DATABASE_WAITING;
	db->broken = false;
	wake_at(db, now_ms() + jittered(db->pause_ms));
	db->pause_ms = db->pause_ms * 2 < PAUSE_MAX_MS ? db->pause_ms * 2 : PAUSE_MAX_MS;
	memcpy(why, db->error, sizeof(why)); /* callbacks may fail at something else */
	finish_all(db, &db->under_way, LEASE_UNKNOWN);
	db->events->down(db->context, why);
}

/* ---- What arrives ------------------------------------------------------------------- */

/* Puts the words for a statement's error into the database's error. */
static void explain(struct database *db, const char *sqlstate, const char *message) {
	const struct sqlstate_facts facts = {
		.in_hot_standby = pg_parameter(db->pg, "in_hot_standby"),
		.server_version = pg_server_version(db->pg),
		.not_inherited = db->not_inherited,
		.not_owned = db->not_owned,
	};
	const char *words = sqlstate_words(sqlstate, &facts);
	if (words)
		database_set_error(db, "%s (database %s, role %s: %s)", words, pg_database(db->pg), pg_user(db->pg), message);
	else
		database_set_error(db, "%s", message);
}

static bool receive_refusal(struct database *db, struct operation *op) {
	const char *sqlstate = pg_sqlstate(db->pg);
	bool may_fail = db->state == DATABASE_UP || op->call->optional;
	explain(db, sqlstate, pg_error(db->pg));
	op->refused = true;
	db->met_a_lock = sqlstate_is_lock(sqlstate);
	return may_fail && !sqlstate_ends_session(sqlstate);
}

/* One commit that wasn't waited for may be an administrator's doing. The next one soon after it says that no commit ends any more. */
static bool do_commits_fail(struct database *db) {
	int64_t at_ms = now_ms(), before_ms = db->warned_ms;
	db->warned_ms = at_ms;
	return before_ms != 0 && at_ms - before_ms < WARNINGS_APART * db->timeout_ms;
}

static bool receive_end(struct database *db) {
	struct operation *op = db->under_way.first;
	enum lease_outcome outcome = op->refused ? LEASE_REJECTED : LEASE_DONE;
	bool warned = pg_was_warned(db->pg);
	if (warned && db->state == DATABASE_UP) { /* committed here, perhaps not on the standby: a failover may forget it */
		database_set_error(db, "%s", pg_error(db->pg));
		outcome = LEASE_UNKNOWN;
		if (do_commits_fail(db))
			return false;
	}
	bool as_asked = op->answer && pg_answer_columns(op->answer) == op->call->columns;
	if (outcome == LEASE_DONE && !as_asked) {
		database_set_error(db, "%s answered with other columns than asked for", op->call->name);
		return false;
	}
	if (outcome == LEASE_DONE && db->state == DATABASE_UP && now_ms() - db->up_ms >= db->timeout_ms)
		db->pause_ms = PAUSE_MIN_MS; /* it works, not only connects, nor for a moment */
	operation_remove_first(&db->under_way);
	if (finish(db, op, outcome))
		return true;
	operation_prepend(&db->under_way, op); /* it ends with the others */
	return false;
}

/* False: the connection is to be dropped. */
static bool receive_event(struct database *db, enum pg_event event, struct pg_answer *answer) {
	struct operation *op = db->under_way.first;
	switch (event) {
	case PG_ANSWER:
		pg_answer_free(op->answer);
		op->answer = answer;
		return true;
	case PG_REFUSED:
		return receive_refusal(db, op);
	case PG_END:
		return receive_end(db);
	default:
		return true;
	}
}

static void await_oldest(struct database *db) {
	if (db->under_way.first)
		wake_at(db, db->under_way.first->deadline_ms);
	else
		event_del(db->timer);
}

/* Takes what has been read, with this result. The connection may be gone afterwards. */
static void receive_arrived(struct database *db, int read) {
	bool alive = read == PG_OK;
	struct pg_answer *answer = NULL;
	while (db->under_way.first && !db->broken) {
		enum pg_event event = pg_next(db->pg, &answer);
		if (event == PG_NOTHING)
			break;
		if (!receive_event(db, event, answer)) {
			drop(db);
			return;
		}
	}
	if (!alive && !db->broken)
		database_set_error(db, "%s", pg_error(db->pg));
	if (!alive || db->broken) {
		drop(db);
		return;
	}
	await_oldest(db);
	if (db->state == DATABASE_UP && pg_was_notified(db->pg))
		db->events->notified(db->context);
}

static void on_readable(evutil_socket_t fd, short what, void *context) {
	struct database *db = context;
	(void)fd, (void)what;
	receive_arrived(db, pg_read(db->pg));
}

static void on_writable(evutil_socket_t fd, short what, void *context) {
	(void)fd, (void)what;
	flush(context);
}

static void on_soon(evutil_socket_t fd, short what, void *context) {
	struct database *db = context;
	(void)fd, (void)what;
	if (db->refused.first)
		db->met_a_lock = false; /* these have met nothing at all: there is no connection */
	finish_all(db, &db->refused, LEASE_REJECTED);
	if (db->broken)
		drop(db);
}

/* ---- Connecting ---------------------------------------------------------------------- */

static void greet(struct database *db) {
	int fd = pg_socket(db->pg);
	db->state = DATABASE_GREETING;
	event_assign(db->socket_event, db->base, fd, EV_READ | EV_PERSIST, on_readable, db);
	event_assign(db->write_event, db->base, fd, EV_WRITE, on_writable, db);
	if (event_add(db->socket_event, NULL) == 0)
		greeting_start(db);
	else
		drop_unwatched(db);
}

static void end_dial(struct database *db) {
	bool connected = dial_receive(db->dial, &db->pg);
	dial_free(db->dial);
	db->dial = NULL;
	if (connected) {
		greet(db);
	} else {
		database_set_error(db, "%s", pg_error(db->pg));
		drop(db);
	}
}

static void on_dialled(evutil_socket_t fd, short what, void *context) {
	struct database *db = context;
	eventfd_t ended;
	(void)what;
	eventfd_read(fd, &ended); /* of an attempt that was given up, perhaps */
	if (db->dial && dial_is_over(db->dial))
		end_dial(db);
}

/* ---- Addresses ----------------------------------------------------------------------- */

static int start_connection(struct database *db) {
	struct pg_servers servers;
	if (endpoints_list(db->endpoints, db->attempt, &servers) != 0)
		return -1;
	return dial_start(&db->dial, db->conninfo, db->name, db->timeout_ms, &servers, db->wake_fd);
}

static void connect_now(struct database *db) {
	endpoints_settle(db->endpoints);
	if (!endpoints_are_usable(db->endpoints)) {
		database_set_error(db, "no address of the server: %s", endpoints_error(db->endpoints));
		drop(db);
		return;
	}
	db->state = DATABASE_CONNECTING;
	wake_at(db, now_ms() + db->timeout_ms);
	if (start_connection(db) != 0) {
		database_set_error(db, "no thread, descriptor or memory to connect with");
		drop(db);
	}
}

static void connect_or_wait(struct database *db) {
	if (endpoints_are_settled(db->endpoints))
		connect_now(db);
	else
		wake_at(db, db->attempt_ms + endpoints_patience_ms(db->endpoints, db->timeout_ms));
}

/* What was learned too late for one attempt is there for the next. */
static void on_looked_up(evutil_socket_t fd, short what, void *context) {
	struct database *db = context;
	(void)fd, (void)what;
	endpoints_read(db->endpoints);
	if (db->state == DATABASE_LOOKING_UP)
		connect_or_wait(db);
}

static void start_attempt(struct database *db) {
	db->state = DATABASE_LOOKING_UP;
	db->attempt_ms = now_ms();
	endpoints_look_up(db->endpoints);
	connect_or_wait(db);
}

void database_came_up(struct database *db, const struct database_hello *hello) {
	db->state = DATABASE_UP;
	db->up_ms = now_ms();
	db->host_id = hello->host_id;
	db->error[0] = '\0';
	db->events->up(db->context, hello);
}

/* A deadline has passed. If it was the agent that slept, the answers are here. */
static void check_answers(struct database *db) {
	const struct operation *oldest;
	receive_arrived(db, pg_read_all(db->pg));
	oldest = db->under_way.first;
	if (!oldest || oldest->deadline_ms > now_ms())
		return;
	if (db->state == DATABASE_UP)
		database_set_error(db, "%s has no answer within %d ms", oldest->call->name, db->timeout_ms);
	else
		database_set_error(db, "the server took the connection, but does not answer within %d ms", db->timeout_ms);
	drop(db);
}

static void check_dial(struct database *db) {
	if (dial_is_over(db->dial)) {
		end_dial(db);
	} else {
		database_set_error(db, "no connection within %d ms", db->timeout_ms);
		drop(db);
	}
}

static void on_timer(evutil_socket_t fd, short what, void *context) {
	struct database *db = context;
	(void)fd, (void)what;
	if (now_ms() < db->wake_ms) { /* the loop's clock is a coarse one */
		wake_at(db, db->wake_ms);
	} else if (db->state == DATABASE_WAITING) {
		start_attempt(db);
	} else if (db->state == DATABASE_LOOKING_UP) {
		connect_now(db);
	} else if (db->state == DATABASE_CONNECTING) {
		check_dial(db);
	} else {
		check_answers(db);
	}
}

void database_connect(struct database *db) {
	if (db->state != DATABASE_OFF)
		return;
	db->state = DATABASE_WAITING;
	wake_at(db, now_ms());
}

bool database_is_up(const struct database *db) {
	return db->state == DATABASE_UP;
}

bool database_was_reached(const struct database *db) {
	return db->reached;
}

bool database_hears(const struct database *db) {
	return db->pg && pg_hears(db->pg);
}

size_t database_in_flight(const struct database *db) {
	return db->in_flight;
}

bool database_met_a_lock(const struct database *db) {
	return db->met_a_lock;
}

const char *database_lookup_error(const struct database *db) {
	return endpoints_are_remembered(db->endpoints) ? endpoints_error(db->endpoints) : "";
}

const char *database_last_error(const struct database *db) {
	return db->error;
}

/* ---- Making and freeing ------------------------------------------------------------------ */

static bool copy_options(struct database *db, const struct database_options *options) {
	static const char prefix[] = "stintd/"; /* what pg_stat_activity shows */
	size_t size = sizeof(prefix) + strlen(options->host);
	db->conninfo = strdup(options->conninfo);
	db->host = strdup(options->host);
	db->instance = strdup(options->instance);
	db->version = strdup(options->version);
	db->name = malloc(size);
	if (db->name)
		snprintf(db->name, size, "%s%s", prefix, options->host);
	db->timeout_ms = options->timeout_ms;
	db->keep_commit = options->keep_commit;
	return db->conninfo && db->host && db->instance && db->version && db->name;
}

static bool make_events(struct database *db) {
	db->socket_event = event_new(db->base, -1, 0, on_readable, db);
	db->write_event = event_new(db->base, -1, 0, on_writable, db);
	db->timer = event_new(db->base, -1, 0, on_timer, db);
	db->soon = event_new(db->base, -1, 0, on_soon, db);
	db->lookup_event = event_new(db->base, endpoints_fd(db->endpoints), EV_READ | EV_PERSIST, on_looked_up, db);
	db->dial_event = event_new(db->base, db->wake_fd, EV_READ | EV_PERSIST, on_dialled, db);
	return db->socket_event && db->write_event && db->timer && db->soon && db->lookup_event && db->dial_event &&
	       event_add(db->lookup_event, NULL) == 0 && event_add(db->dial_event, NULL) == 0;
}

int database_new(struct database **out, struct event_base *base, const struct database_options *options,
                 const struct database_events *events, void *context) {
	struct database *db = *out = calloc(1, sizeof(*db));
	if (!db)
		return -1;
	db->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	db->base = base;
	db->events = events;
	db->context = context;
	db->pause_ms = PAUSE_MIN_MS;
	if (db->wake_fd >= 0 && copy_options(db, options) && endpoints_new(&db->endpoints, db->conninfo) == 0 &&
	    make_events(db) && operation_make_spares(db))
		return 0;
	database_free(db);
	*out = NULL;
	return -1;
}

static void free_event(struct event *event) {
	if (event)
		event_free(event);
}

void database_free(struct database *db) {
	if (!db)
		return;
	free_event(db->socket_event);
	free_event(db->write_event);
	free_event(db->timer);
	free_event(db->soon);
	free_event(db->lookup_event);
	free_event(db->dial_event);
	endpoints_free(db->endpoints);
	dial_free(db->dial);
	if (db->wake_fd >= 0)
		close(db->wake_fd);
	pg_close(db->pg);
	operation_free_all(db->under_way.first);
	operation_free_all(db->refused.first);
	operation_free_all(db->spare);
	free(db->conninfo);
	free(db->host);
	free(db->instance);
	free(db->version);
	free(db->name);
	free(db);
}
