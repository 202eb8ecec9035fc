/*
 * database_fixture.h - what the tests of agent/database/ share: a private cluster,
 * an event loop with an end, and a database whose callbacks write a story.
 *
 * The story has one letter an event, so that a test can tell what happened in which
 * order: U up, D down, N notified of a change, R of a recall; d an operation that is done, r rejected, ? unknown.
 */
#ifndef DATABASE_FIXTURE_H
#define DATABASE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "database/database.h"
#include "database/errand.h"
#include "database/pg_connect.h"

#define TIMEOUT_MS  600   /* of the database under test: several times what a busy machine needs for an answer */
#define PATIENCE_MS 15000 /* how long a test waits for what must come */

struct fixture {
	char dir[64];
	char server[256]; /* its connection string, without the database's name */
	struct event_base *base;
	struct event *tick;
	struct database *db;
	struct database_hello hello;
	char story[4096];
	char why[1024]; /* the reason of the last `down` */
	bool keep_commit;
	bool pooled;
	bool inside; /* a call that starts an operation: no callback may run */
};

static inline int64_t test_now_ms(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- The cluster ---------------------------------------------------------------- */

/* Runs pg-cluster; its first line goes to `line`. */
static inline int cluster_command(const struct fixture *f, const char *command, char *line, size_t size) {
	char shell[256], ignored[512];
	snprintf(shell, sizeof(shell), "tests/support/pg-cluster %s '%s' 2>/dev/null", command, f->dir);
	FILE *pipe = popen(shell, "r");
	if (!pipe)
		return -1;
	line[0] = '\0';
	if (fgets(line, (int)size, pipe))
		line[strcspn(line, "\n")] = '\0';
	while (fgets(ignored, sizeof(ignored), pipe))
		;
	return pclose(pipe);
}

static inline void cluster_must(const struct fixture *f, const char *command) {
	char line[256];
	assert_int_equal(cluster_command(f, command, line, sizeof(line)), 0);
}

static inline int start_cluster(void **state) {
	struct fixture *f = *state = calloc(1, sizeof(*f));
	const char *tmp = getenv("TMPDIR");
	snprintf(f->dir, sizeof(f->dir), "%.40s/stint-test.XXXXXX", tmp ? tmp : "/tmp");
	return mkdtemp(f->dir) ? cluster_command(f, "start", f->server, sizeof(f->server)) : -1;
}

static inline int remove_cluster(void **state) {
	struct fixture *f = *state;
	char line[256];
	int e = cluster_command(f, "remove", line, sizeof(line));
	free(f);
	return e;
}

/* Connects as superuser, beside the database under test. */
static inline struct pg *admin_connect(const struct fixture *f, const char *database) {
	char conninfo[512];
	struct pg *pg;
	snprintf(conninfo, sizeof(conninfo), "%s dbname=%s", f->server, database);
	if (pg_connect(&pg, conninfo, PATIENCE_MS) != PG_OK)
		fail_msg("%s", pg_error(pg));
	return pg;
}

static inline void admin_do(const struct fixture *f, const char *database, const char *sql) {
	struct pg *pg = admin_connect(f, database);
	if (pg_script(pg, sql) != PG_OK)
		fail_msg("%s: %s", sql, pg_error(pg));
	pg_close(pg);
}

/* Gives the first cell, as text. */
static inline void admin_ask(const struct fixture *f, const char *database, const char *sql, char *out,
                             size_t size) {
	struct pg *pg = admin_connect(f, database);
	struct pg_rows rows;
	if (pg_query(pg, sql, 0, NULL, &rows) != PG_OK)
		fail_msg("%s: %s", sql, pg_error(pg));
	snprintf(out, size, "%s", rows.row_count > 0 && rows.cells[0] ? rows.cells[0] : "");
	pg_rows_free(&rows);
	pg_close(pg);
}

/* ---- The database under test --------------------------------------------------------- */

static inline void tell(struct fixture *f, char letter) {
	size_t length = strlen(f->story);
	assert_false(f->inside);
	if (length + 1 < sizeof(f->story)) {
		f->story[length] = letter;
		f->story[length + 1] = '\0';
	}
}

static inline void tell_outcome(struct fixture *f, enum lease_outcome outcome) {
	tell(f, outcome == LEASE_DONE ? 'd' : outcome == LEASE_REJECTED ? 'r' : '?');
}

static inline void on_ended(void *context, enum lease_outcome outcome) {
	tell_outcome(context, outcome);
}

static inline void on_up(void *context, const struct database_hello *hello) {
	struct fixture *f = context;
	f->hello = *hello;
	tell(f, 'U');
	assert_true(database_is_up(f->db));
}

static inline void on_down(void *context, const char *why) {
	struct fixture *f = context;
	snprintf(f->why, sizeof(f->why), "%s", why);
	assert_null(strchr(why, '\n'));
	assert_true(why[0] != '\0');
	tell(f, 'D');
	assert_false(database_is_up(f->db));
}

static inline void on_notified(void *context) {
	tell(context, 'N');
}

static inline void on_recalled(void *context) {
	tell(context, 'R');
}

static inline void on_tick(evutil_socket_t fd, short what, void *context) {
	(void)fd, (void)what, (void)context;
}

/* An attempt to connect that an earlier database has left goes on for a moment. Until it ends, it counts as one
 * that hangs, and the next one would have to wait. */
static inline void wait_for_earlier_attempts(void) {
	for (int64_t end = test_now_ms() + PATIENCE_MS; errand_is_any() && test_now_ms() < end;)
		usleep(1000);
}

/* `rest` is added to the server's conninfo. */
static inline void open_database(struct fixture *f, const char *rest, int timeout_ms) {
	static const struct database_events events = {on_up, on_down, on_notified, on_recalled};
	char conninfo[1024];
	wait_for_earlier_attempts();
	snprintf(conninfo, sizeof(conninfo), "%s %s", f->server, rest);
	f->story[0] = f->why[0] = '\0';
	f->base = event_base_new();
	f->tick = event_new(f->base, -1, EV_PERSIST, on_tick, NULL);
	event_add(f->tick, &(struct timeval){.tv_usec = 5000});
	struct database_options options = {.conninfo = conninfo,
	                                   .host = "t\xc3\xa4st",
	                                   .instance = "one",
	                                   .version = "0.1",
	                                   .timeout_ms = timeout_ms,
	                                   .keep_commit = f->keep_commit,
	                                   .pooled = f->pooled};
	assert_int_equal(database_new(&f->db, f->base, &options, &events, f), 0);
	f->inside = true;
	database_connect(f->db);
	f->inside = false;
}

static inline void close_database(struct fixture *f) {
	database_free(f->db);
	event_free(f->tick);
	event_base_free(f->base);
	f->db = NULL;
}

static inline void run_for(struct fixture *f, int ms) {
	for (int64_t end = test_now_ms() + ms; test_now_ms() < end;)
		event_base_loop(f->base, EVLOOP_ONCE);
}

/* Runs until the story is as long as this one, and compares. */
static inline void expect(struct fixture *f, const char *story) {
	for (int64_t end = test_now_ms() + PATIENCE_MS; strlen(f->story) < strlen(story) && test_now_ms() < end;)
		event_base_loop(f->base, EVLOOP_ONCE);
	if (strcmp(f->story, story) != 0)
		fail_msg("story is %s, not %s; error: %s; down: %s", f->story, story, database_last_error(f->db), f->why);
}

/* Opens it, and waits until it is up. */
static inline void come_up(struct fixture *f, const char *rest, int timeout_ms) {
	open_database(f, rest, timeout_ms);
	expect(f, "U");
}

static inline void expect_why(const struct fixture *f, const char *part) {
	if (!strstr(f->why, part))
		fail_msg("\"%s\" does not say \"%s\"", f->why, part);
}

#endif
