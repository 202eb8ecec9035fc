/* direct.c - asynchronous libpq under a poll(): each call waits for its one answer. */
#include "direct.h"

#include <poll.h>
#include <stdio.h>

#include "database/pg_connect.h"

#define CONNECT_MS 10000
#define STATEMENT  "direct"

static int fail(const struct pg *pg) {
	fprintf(stderr, "direct: %s\n", pg ? pg_error(pg) : "out of memory");
	return -1;
}

static void wait_for(const struct pg *pg, short events) {
	struct pollfd ready = {.fd = pg_socket(pg), .events = events};

	poll(&ready, 1, -1);
}

static int send_all(struct pg *pg) {
	int left;

	while ((left = pg_flush(pg)) == 1)
		wait_for(pg, POLLOUT);
	return left == 0 ? 0 : -1;
}

/* Until the command has ended: how many rows it gave; -1: it was refused, or the connection broke. */
static int finish(struct pg *pg) {
	int rows = 0;

	for (;;) {
		struct pg_answer *answer = NULL;

		switch (pg_next(pg, &answer)) {
		case PG_ANSWER:
			rows = rows < 0 ? rows : rows + pg_answer_rows(answer);
			pg_answer_free(answer);
			break;
		case PG_REFUSED: rows = fail(pg); break;
		case PG_END: return rows;
		case PG_NOTHING:
			wait_for(pg, POLLIN);
			if (pg_read(pg) != PG_OK)
				return fail(pg);
		}
	}
}

int direct_open(struct pg **out, const char *conninfo, const char *sql) {
	if (pg_connect(out, conninfo, CONNECT_MS) != PG_OK || pg_pipeline(*out) != PG_OK)
		return fail(*out);
	if (pg_send_prepare(*out, STATEMENT, sql) != PG_OK || send_all(*out) != 0)
		return fail(*out);
	return finish(*out) < 0 ? -1 : 0;
}

int direct_call(struct pg *pg, const struct pg_params *params) {
	if (pg_send_prepared(pg, STATEMENT, params) != PG_OK || send_all(pg) != 0)
		return fail(pg);
	return finish(pg);
}
