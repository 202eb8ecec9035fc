/*
 * session.c - one connection, its queue of operations and its timers: see session.h. What they promise is in
 * database.h.
 *
 * Life of a connection: OFF -> LOOKING_UP -> CONNECTING -> GREETING -> UP. From each of the last four drop() leads
 * to WAITING, which ends in LOOKING_UP again.
 *
 * Each operation is one command with a transaction of its own. It is sent at once, behind those that are still
 * under way, so the server answers in the order of the queue. An operation ends when its transaction has ended:
 * rows come before the commit, and a commit can fail. All operations have the same time, so the oldest one's
 * deadline is the first.
 *
 * Callbacks run from the event loop only. When something fails inside a caller's call, the session notes it, and
 * `soon`, a timer of no time, deals with it. (An event that is activated directly would be dealt with before any
 * socket is looked at again. A callback that always starts another operation could then starve the rest of the
 * agent.)
 */
#include "session.h"

#include <event2/event.h>
#include <event2/util.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dial.h"
#include "endpoints.h"
#include "monotonic.h"
#include "pg.h"
#include "sqlstate.h"

/* A server that restarts is back within a second or so; a dead one isn't worth more than one try in 2 s. */
#define PAUSE_MIN_MS 50
#define PAUSE_MAX_MS 2000

/* For each host: a small server begins about a hundred sessions a second. */
#define PAUSE_EACH_MS 10

/* An attempt to connect has at least so long, where there is no other address to try. A busy server takes it up
 * even if it was given up meanwhile: if hundreds of agents did that and came again, those that nobody waits for
 * any more would keep the server busy. */
#define CONNECT_MIN_MS 2000

/* Two commits that were not waited for came one after the other if they are less apart than so many timeouts: an
 * agent may have given up on its connection and made another in between. */
#define WARNINGS_APART 4

void session_set_error(struct session *s, const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(s->error, sizeof(s->error), format, arguments);
	va_end(arguments);
}

/* ---- Timers ------------------------------------------------------------------ */

static void wake_at(struct session *s, int64_t at_ms) {
	int64_t left = at_ms - monotonic_now_ms();
	struct timeval wait = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};
	if (left <= 0)
		wait = (struct timeval){.tv_sec = 0};
	s->wake_ms = at_ms;
	event_add(s->timer, &wait);
}

static void act_soon(struct session *s) {
	event_add(s->soon, &(struct timeval){.tv_sec = 0});
}

void session_drop_soon(struct session *s) {
	s->broken = true;
	act_soon(s);
}

/* ---- Operations ---------------------------------------------------------------- */

/* False: the answer was not what was asked for; the operation is still to be ended. */
static bool finish(struct session *s, struct operation *op, enum lease_outcome outcome) {
	s->in_flight -= op->counted;
	if (op->call->finish(s, op, outcome, outcome == LEASE_DONE ? op->answer : NULL)) {
		operation_put_away(&s->spare, op);
		return true;
	}
	s->in_flight += op->counted;
	session_set_error(s, "%s answered what this agent does not understand", op->call->name);
	return false;
}

static void finish_all(struct session *s, struct operation_list *list, enum lease_outcome outcome) {
	struct operation_list detached = *list; /* callbacks may add others */
	*list = (struct operation_list){.first = NULL};
	while (detached.first)
		finish(s, operation_remove_first(&detached), outcome);
}

static void drop_broken(struct session *s) {
	session_set_error(s, "%s", pg_error(s->pg));
	session_drop_soon(s);
}

static void drop_unwatched(struct session *s) {
	session_set_error(s, "no memory to watch the connection with");
	session_drop_soon(s);
}

static void flush(struct session *s) {
	int left = pg_flush(s->pg);
	if (left < 0)
		drop_broken(s);
	if (left > 0 && event_add(s->write_event, NULL) != 0)
		drop_unwatched(s);
}

/* The command of *what was sent with this result of pg_send_...(). */
static void queue(struct session *s, const struct operation *what, int sent) {
	struct operation *op = operation_new(&s->spare, what);
	op->deadline_ms = monotonic_now_ms() + s->timeout_ms;
	operation_append(&s->under_way, op);
	if (sent != PG_OK)
		drop_broken(s);
	else
		flush(s);
	if (s->under_way.first == op)
		wake_at(s, op->deadline_ms);
}

static int send_unnamed(struct session *s, const char *sql, const struct pg_params *params) {
	return pg_send_unnamed(s->pg, s->preface, sql, params);
}

void session_send_query(struct session *s, const struct operation *what, const char *sql) {
	static const struct pg_params none = {.count = 0};
	queue(s, what, s->pooled ? send_unnamed(s, sql, &none) : pg_send_query(s->pg, sql));
}

void session_send_prepare(struct session *s, const struct operation *what, const struct call *prepared) {
	queue(s, what, pg_send_prepare(s->pg, prepared->name, prepared->sql));
}

void session_send_call(struct session *s, const struct operation *what, const struct pg_params *params) {
	const struct call *call = what->call;
	queue(s, what, s->pooled ? send_unnamed(s, call->sql, params) : pg_send_prepared(s->pg, call->name, params));
}

void session_start(struct session *s, const struct operation *what, const struct pg_params *params) {
	struct operation counted = *what;
	counted.counted = true;
	s->in_flight++;
	if (s->state == SESSION_UP && !s->broken && params) {
		session_send_call(s, &counted, params);
		return;
	}
	operation_append(&s->refused, operation_new(&s->spare, &counted));
	act_soon(s);
}

/* ---- Losing the connection --------------------------------------------------------- */

static int clamp_pause(int64_t pause_ms) {
	return pause_ms < PAUSE_MIN_MS ? PAUSE_MIN_MS : pause_ms > PAUSE_MAX_MS ? PAUSE_MAX_MS : (int)pause_ms;
}

/* Half to one and a half times the pause, so that hosts which lost the database together don't return together. */
static int jittered(int pause_ms) {
	uint32_t random;
	evutil_secure_rng_get_bytes(&random, sizeof(random));
	return pause_ms / 2 + (int)(random % (uint32_t)(pause_ms + 1));
}

void session_expect_others(struct session *s, int hosts) {
	s->first_pause_ms = clamp_pause((int64_t)hosts * PAUSE_EACH_MS);
	if (s->pause_ms < s->first_pause_ms)
		s->pause_ms = s->first_pause_ms;
}

static void drop(struct session *s) {
	char why[sizeof(s->error)];
	event_del(s->socket_event);
	event_del(s->write_event);
	s->reached = s->state == SESSION_GREETING || pg_was_answered(s->pg);
	dial_free(s->dial);
	s->dial = NULL;
	pg_close(s->pg);
	s->pg = NULL;
	s->attempt += s->state != SESSION_UP;
	s->state = SESSION_WAITING;
	s->broken = false;
	wake_at(s, monotonic_now_ms() + jittered(s->pause_ms));
	s->pause_ms = clamp_pause(2 * (int64_t)s->pause_ms);
	memcpy(why, s->error, sizeof(why)); /* callbacks may fail at something else */
	finish_all(s, &s->under_way, LEASE_UNKNOWN);
	s->events->down(s->context, why);
}

/* ---- What arrives ------------------------------------------------------------------- */

/* Puts the words for a statement's error into the session's error. */
static void explain(struct session *s, const char *sqlstate, const char *message) {
	const struct sqlstate_facts facts = {
		.in_hot_standby = pg_parameter(s->pg, "in_hot_standby"),
		.server_version = pg_server_version(s->pg),
		.not_inherited = s->not_inherited,
		.not_owned = s->not_owned,
	};
	const char *words = sqlstate_words(sqlstate, &facts);
	if (words)
		session_set_error(s, "%s (database %s, role %s: %s)", words, pg_database(s->pg), pg_user(s->pg), message);
	else
		session_set_error(s, "%s", message);
}

static bool receive_refusal(struct session *s, struct operation *op) {
	const char *sqlstate = pg_sqlstate(s->pg);
	bool may_fail = s->state == SESSION_UP || op->call->optional;
	explain(s, sqlstate, pg_error(s->pg));
	op->refused = true;
	s->met_a_lock = sqlstate_is_lock(sqlstate);
	return may_fail && !sqlstate_ends_session(sqlstate);
}

/* An administrator may have cancelled the wait of one commit. When the next commit soon after it isn't waited for
 * either, no commit ends any more. */
static bool do_commits_fail(struct session *s) {
	int64_t at_ms = monotonic_now_ms(), before_ms = s->warned_ms;
	s->warned_ms = at_ms;
	return before_ms != 0 && at_ms - before_ms < WARNINGS_APART * s->timeout_ms;
}

static bool receive_end(struct session *s) {
	struct operation *op = s->under_way.first;
	enum lease_outcome outcome = op->refused ? LEASE_REJECTED : LEASE_DONE;
	bool warned = pg_was_warned(s->pg);
	if (warned && s->state == SESSION_UP) { /* committed, perhaps not on the standby: a failover may forget it */
		session_set_error(s, "%s", pg_error(s->pg));
		outcome = LEASE_UNKNOWN;
		if (do_commits_fail(s))
			return false;
	}
	bool as_asked = op->answer && pg_answer_columns(op->answer) == op->call->columns;
	if (outcome == LEASE_DONE && !as_asked) {
		session_set_error(s, "%s answered with other columns than asked for", op->call->name);
		return false;
	}
	if (outcome == LEASE_DONE && s->state == SESSION_UP && monotonic_now_ms() - s->up_ms >= s->timeout_ms)
		s->pause_ms = s->first_pause_ms; /* it works, not only connects, nor for a moment */
	operation_remove_first(&s->under_way);
	if (finish(s, op, outcome))
		return true;
	operation_prepend(&s->under_way, op); /* it ends with the others */
	return false;
}

/* False: the connection is to be dropped. */
static bool receive_event(struct session *s, enum pg_event event, struct pg_answer *answer) {
	struct operation *op = s->under_way.first;
	switch (event) {
	case PG_ANSWER:
		pg_answer_free(op->answer);
		op->answer = answer;
		return true;
	case PG_REFUSED: return receive_refusal(s, op);
	case PG_END: return receive_end(s);
	default: return true;
	}
}

static void await_oldest(struct session *s) {
	if (s->under_way.first)
		wake_at(s, s->under_way.first->deadline_ms);
	else
		event_del(s->timer);
}

/* Receives what pg_read() or pg_read_all() has read, with this result of it. The connection may be gone
 * afterwards. */
static void receive_arrived(struct session *s, int read) {
	bool alive = read == PG_OK;
	struct pg_answer *answer = NULL;
	while (s->under_way.first && !s->broken) {
		enum pg_event event = pg_next(s->pg, &answer);
		if (event == PG_NOTHING)
			break;
		if (!receive_event(s, event, answer)) {
			drop(s);
			return;
		}
	}
	if (!alive && !s->broken)
		session_set_error(s, "%s", pg_error(s->pg));
	if (!alive || s->broken) {
		drop(s);
		return;
	}
	await_oldest(s);
	if (s->state == SESSION_UP && pg_was_notified(s->pg))
		s->events->notified(s->context);
	if (s->state == SESSION_UP && pg_was_recalled(s->pg))
		s->events->recalled(s->context);
}

static void on_readable(evutil_socket_t fd, short what, void *context) {
	struct session *s = context;
	(void)fd, (void)what;
	receive_arrived(s, pg_read(s->pg));
}

static void on_writable(evutil_socket_t fd, short what, void *context) {
	(void)fd, (void)what;
	flush(context);
}

static void on_soon(evutil_socket_t fd, short what, void *context) {
	struct session *s = context;
	(void)fd, (void)what;
	if (s->refused.first)
		s->met_a_lock = false; /* these were not sent, so they met no lock */
	finish_all(s, &s->refused, LEASE_REJECTED);
	if (s->broken)
		drop(s);
}

/* ---- Connecting ---------------------------------------------------------------------- */

static void greet(struct session *s) {
	int fd = pg_socket(s->pg);
	s->state = SESSION_GREETING;
	event_assign(s->socket_event, s->base, fd, EV_READ | EV_PERSIST, on_readable, s);
	event_assign(s->write_event, s->base, fd, EV_WRITE, on_writable, s);
	if (event_add(s->socket_event, NULL) == 0)
		s->events->greet(s->context, s);
	else
		drop_unwatched(s);
}

static void end_dial(struct session *s) {
	bool connected = dial_receive(s->dial, &s->pg);
	dial_free(s->dial);
	s->dial = NULL;
	if (connected) {
		greet(s);
	} else {
		session_set_error(s, "%s", pg_error(s->pg));
		drop(s);
	}
}

static void on_dialled(evutil_socket_t fd, short what, void *context) {
	struct session *s = context;
	eventfd_t ended;
	(void)what;
	eventfd_read(fd, &ended); /* perhaps it was an attempt that was given up */
	if (s->dial && dial_is_over(s->dial))
		end_dial(s);
}

/* ---- Addresses ----------------------------------------------------------------------- */

static int connect_ms(const struct session *s) {
	bool patient = s->timeout_ms < CONNECT_MIN_MS && !endpoints_are_several(s->endpoints);
	return patient ? CONNECT_MIN_MS : s->timeout_ms;
}

static int start_connection(struct session *s) {
	struct pg_servers servers;
	if (endpoints_list(s->endpoints, s->attempt, &servers) != 0)
		return -1;
	return dial_start(&s->dial, s->conninfo, s->name, connect_ms(s), &servers, s->wake_fd);
}

static void connect_now(struct session *s) {
	endpoints_settle(s->endpoints);
	if (!endpoints_are_usable(s->endpoints)) {
		session_set_error(s, "no address of the server: %s", endpoints_error(s->endpoints));
		drop(s);
		return;
	}
	s->state = SESSION_CONNECTING;
	wake_at(s, monotonic_now_ms() + connect_ms(s));
	if (start_connection(s) != 0) {
		session_set_error(s, "no thread, descriptor or memory to connect with");
		drop(s);
	}
}

static void connect_or_wait(struct session *s) {
	if (endpoints_are_settled(s->endpoints))
		connect_now(s);
	else
		wake_at(s, s->attempt_ms + endpoints_patience_ms(s->endpoints, s->timeout_ms));
}

/* What was learned too late for one attempt is there for the next. */
static void on_looked_up(evutil_socket_t fd, short what, void *context) {
	struct session *s = context;
	(void)fd, (void)what;
	endpoints_read(s->endpoints);
	if (s->state == SESSION_LOOKING_UP)
		connect_or_wait(s);
}

static void start_attempt(struct session *s) {
	s->state = SESSION_LOOKING_UP;
	s->attempt_ms = monotonic_now_ms();
	endpoints_look_up(s->endpoints);
	connect_or_wait(s);
}

void session_came_up(struct session *s) {
	s->state = SESSION_UP;
	s->up_ms = monotonic_now_ms();
	s->error[0] = '\0';
}

/* A deadline has passed. If the agent itself slept, the answers are there, and count. */
static void check_answers(struct session *s) {
	receive_arrived(s, pg_read_all(s->pg));
	const struct operation *oldest = s->under_way.first;
	if (!oldest || oldest->deadline_ms > monotonic_now_ms())
		return;
	if (s->state == SESSION_UP)
		session_set_error(s, "%s has no answer within %d ms", oldest->call->name, s->timeout_ms);
	else
		session_set_error(s, "the server took the connection, but does not answer within %d ms", s->timeout_ms);
	drop(s);
}

static void check_dial(struct session *s) {
	if (dial_is_over(s->dial)) {
		end_dial(s);
	} else {
		session_set_error(s, "no connection within %d ms", connect_ms(s));
		drop(s);
	}
}

static void on_timer(evutil_socket_t fd, short what, void *context) {
	struct session *s = context;
	(void)fd, (void)what;
	if (monotonic_now_ms() < s->wake_ms) { /* the loop's clock is a coarse one */
		wake_at(s, s->wake_ms);
	} else if (s->state == SESSION_WAITING) {
		start_attempt(s);
	} else if (s->state == SESSION_LOOKING_UP) {
		connect_now(s);
	} else if (s->state == SESSION_CONNECTING) {
		check_dial(s);
	} else {
		check_answers(s);
	}
}

void session_connect(struct session *s) {
	if (s->state != SESSION_OFF)
		return;
	s->state = SESSION_WAITING;
	wake_at(s, monotonic_now_ms());
}

bool session_is_same(struct session *s, int32_t server_pid) {
	if (s->pooled || s->server_pid == 0 || s->server_pid == server_pid)
		return true;
	session_set_error(s,
	                  "another session answers: is there a pooler in transaction mode? set pooler = transaction");
	session_drop_soon(s);
	return false;
}

bool session_hears(const struct session *s) {
	return s->pg && ((s->direct && s->listens) || pg_hears(s->pg));
}

const char *session_lookup_error(const struct session *s) {
	return endpoints_are_remembered(s->endpoints) ? endpoints_error(s->endpoints) : "";
}

/* ---- Making and freeing ------------------------------------------------------------------ */

static bool make_events(struct session *s) {
	s->socket_event = event_new(s->base, -1, 0, on_readable, s);
	s->write_event = event_new(s->base, -1, 0, on_writable, s);
	s->timer = event_new(s->base, -1, 0, on_timer, s);
	s->soon = event_new(s->base, -1, 0, on_soon, s);
	s->lookup_event = event_new(s->base, endpoints_fd(s->endpoints), EV_READ | EV_PERSIST, on_looked_up, s);
	s->dial_event = event_new(s->base, s->wake_fd, EV_READ | EV_PERSIST, on_dialled, s);
	return s->socket_event && s->write_event && s->timer && s->soon && s->lookup_event && s->dial_event &&
	       event_add(s->lookup_event, NULL) == 0 && event_add(s->dial_event, NULL) == 0;
}

bool session_init(struct session *s, struct event_base *base, const struct session_options *options,
                  const struct session_events *events, void *context) {
	*s = (struct session){.base = base,
	                      .events = events,
	                      .context = context,
	                      .timeout_ms = options->timeout_ms,
	                      .pooled = options->pooled};
	s->pause_ms = s->first_pause_ms = PAUSE_MIN_MS;
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->conninfo = strdup(options->conninfo);
	s->name = strdup(options->name);
	return s->wake_fd >= 0 && s->conninfo && s->name && endpoints_new(&s->endpoints, s->conninfo) == 0 &&
	       make_events(s) && operation_make_spares(&s->spare);
}

static void free_event(struct event *event) {
	if (event)
		event_free(event);
}

void session_deinit(struct session *s) {
	if (!s->base)
		return; /* it was never initialised */
	free_event(s->socket_event);
	free_event(s->write_event);
	free_event(s->timer);
	free_event(s->soon);
	free_event(s->lookup_event);
	free_event(s->dial_event);
	endpoints_free(s->endpoints);
	dial_free(s->dial);
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	pg_close(s->pg);
	operation_free_all(s->under_way.first);
	operation_free_all(s->refused.first);
	operation_free_all(s->spare);
	free(s->conninfo);
	free(s->name);
}
