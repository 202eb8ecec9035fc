/*
 * test_grant_sql.c - grant.c and stint.take() are the same function: 10,000 random steps
 * go through both, and every field of every answer, and of the state left behind, is equal.
 */
#include "database_fixture.h"

#include <glob.h>

#include "grant_history.h"

#define STEPS     10000
#define BATCH     500
#define PER_CHAIN 50 /* steps of one history */

struct text {
	char *bytes;
	size_t length, room;
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...) {
	va_list arguments;
	if (text->room - text->length < 2048) {
		text->room = text->room * 2 + 4096;
		text->bytes = realloc(text->bytes, text->room);
		assert_non_null(text->bytes);
	}
	va_start(arguments, format);
	text->length += (size_t)vsnprintf(text->bytes + text->length, text->room - text->length, format, arguments);
	va_end(arguments);
}

static void add_counts(struct text *text, const struct grant_ring *ring) {
	add(text, "{");
	for (int i = 0; i < ring->length; i++)
		add(text, "%s%d", i ? "," : "", ring->counts[i]);
	add(text, "}");
}

/* ---- The steps ------------------------------------------------------------------------- */

#define TOKENS 8

static struct history history;
static struct grant_ring ring;
static struct lease_report tokens[TOKENS]; /* of late leases, with what they had */
static uint32_t token_count;

static void note(int64_t sub_window, int32_t credits) {
	if (credits == 0)
		return;
	uint32_t n = token_count < TOKENS ? token_count++ : roll(&history, TOKENS);
	tokens[n] = (struct lease_report){.sub_window = sub_window, .unspent = credits, .spent = credits};
}

/* Of a lease that there was, or of a token that nobody was given. */
static void report(struct lease_report *out) {
	if (token_count > 0 && roll(&history, 3) > 0) {
		*out = tokens[roll(&history, token_count)];
		out->unspent = roll(&history, 2) ? (int32_t)roll_up_to(&history, out->unspent) : 0;
		out->spent = roll(&history, 2) ? (int32_t)roll_up_to(&history, out->spent) : 0;
	} else if (roll(&history, 10) == 0) {
		int64_t back = (int64_t)roll(&history, 100) - 30;
		out->sub_window = ring.current_us - back * ring.sub_window_us + (int64_t)roll(&history, 2);
		out->unspent = (int32_t)roll(&history, 50);
		out->spent = (int32_t)roll(&history, 50);
	}
}

/* What only happens to a row once in a long time: another limit or other sub-windows, a clock that is set. */
static void disturb(struct step *step) {
	if (roll(&history, 20) == 0) {
		choose_terms(&history);
		step->terms = history.terms;
	}
	if (roll(&history, 40) == 0)
		step->terms.max_requests = 0; /* blocked */
	if (roll(&history, 25) == 0)
		history.t_us = step->t_us = history.t_us - GRANT_STALE_US - roll_up_to(&history, INT64_C(3600000000));
}

static void add_request(struct text *rows, int number, const struct step *step) {
	const struct lease_request *r = &step->request;
	add(rows, "%s(%d,", number ? "," : "", number);
	if (ring.sub_window_us)
		add(rows, "%lld::bigint,%lld::bigint,%d,%d,%lld::bigint,%lld::bigint,'", (long long)ring.current_us,
		    (long long)ring.sub_window_us, ring.ahead, ring.early, (long long)ring.servers,
		    (long long)ring.servers_before);
	else
		add(rows, "null::bigint,null::bigint,null::int,null::int,null::bigint,null::bigint,'");
	add_counts(rows, &ring);
	add(rows, "'::int[],%lld::bigint,%lld::bigint,%d,%d,%lld::bigint,%d,", (long long)step->t_us,
	    (long long)step->terms.phase_us, step->host, step->terms.max_requests,
	    (long long)step->terms.sub_window_us, step->terms.runs);
	add(rows, "%d,%d,%d,%d,%d,%d,%d", r->need, r->least > 0 ? r->least : 1, r->want, r->span, r->span_least,
	    r->next_want, r->charge);
	for (int i = 0; i < LEASE_REPORTS; i++)
		add(rows, ",%lld::bigint,%d,%d", (long long)r->report[i].sub_window, r->report[i].unspent,
		    r->report[i].spent);
	add(rows, ")");
}

/* The later lease's last sub-window, so many after the present one; of one that begins with the next, negative. */
static int64_t span_of(const struct lease_grant *g) {
	int64_t span = (g->next_sub_window - ring.current_us) / ring.sub_window_us;
	return g->next_is_open ? span : -span;
}

static void add_answer(struct text *answers, const struct lease_grant *g) {
	add(answers, "%lld %d %d %lld %lld ", (long long)ring.current_us, ring.ahead, ring.early,
	    (long long)ring.servers, (long long)ring.servers_before);
	add_counts(answers, &ring);
	add(answers, " %d %d %d %d %lld %lld %lld %lld %d", g->granted, g->granted_next, g->charged, g->remaining,
	    (long long)span_of(g), (long long)g->starts_in_us, (long long)g->retry_us, (long long)g->reset_us,
	    g->recallable);
	answers->length++; /* keep the end of each */
}

static void take_one(struct text *rows, struct text *answers, int number) {
	struct lease_grant grant;
	if (number % PER_CHAIN == 0) {
		history = history_new(history.random);
		ring = (struct grant_ring){0};
		token_count = 0;
	}
	struct step step = history_next(&history);
	disturb(&step);
	for (int i = 0; i < LEASE_REPORTS; i++)
		report(&step.request.report[i]);
	add_request(rows, number, &step);
	grant_take(&ring, &step.terms, &step.request, step.t_us, step.host, &grant);
	add_answer(answers, &grant);
	note(grant.sub_window, grant.granted);
	note(grant.next_sub_window, grant.granted_next);
}

static void compare(const struct pg_rows *got, const struct text *rows, const char *answer) {
	const char *row = rows->bytes;
	assert_int_equal(got->row_count, BATCH);
	for (int i = 0; i < BATCH; i++, answer += strlen(answer) + 1) {
		const char *end = strstr(row + 1, ",(") ? strstr(row + 1, ",(") : row + strlen(row);
		if (strcmp(got->cells[i], answer) != 0)
			fail_msg("of %.*s\n stint.take() makes %s\n grant.c         %s", (int)(end - row), row, got->cells[i],
			         answer);
		row = end;
	}
}

static void both_are_the_same_function(void **state) {
	struct pg *pg = admin_connect(*state, "stint");
	history.random = 20240229;
	for (int done = 0; done < STEPS; done += BATCH) {
		struct text rows = {0}, answers = {0};
		struct pg_rows got;
		add(&rows,
		    "select concat_ws(' ', t.current_us, t.ahead, t.early, t.servers, t.servers_before, t.counts, t.granted,"
		    " t.granted_next, t.charged, t.remaining, t.span, t.starts_in_us, t.retry_us, t.reset_us, t.recallable) from (values ");
		size_t first = rows.length;
		for (int i = 0; i < BATCH; i++)
			take_one(&rows, &answers, i);
		add(&rows,
		    ") v (n, current, sub, ahead, early, servers, before, counts, t, phase, host, most, size, runs, need, least, want,"
		    " longest, shortest, next, charge, token, back, gone, token_2, back_2, gone_2),"
		    " lateral stint.take(current, sub, ahead, early, servers, before, counts, t, phase, host, most, size, runs, need,"
		    " least, want, longest, shortest, next, charge, token, back, gone, token_2, back_2, gone_2) t order by n");
		if (pg_query(pg, rows.bytes, 0, NULL, &got) != PG_OK)
			fail_msg("%s", pg_error(pg));
		compare(&got, &(struct text){.bytes = rows.bytes + first}, answers.bytes);
		pg_rows_free(&got);
		free(rows.bytes);
		free(answers.bytes);
	}
	pg_close(pg);
}

static void both_cut_windows_alike(void **state) {
	struct pg *pg = admin_connect(*state, "stint");
	struct pg_rows got;
	const char *sql =
		"select w, r, stint.sub_window_us('sliding_window', w, r)"
		" from unnest(array[100, 101, 599, 600, 1000, 1999, 2000, 2001, 60000, 3600001, 2678400000]) w,"
		" generate_series(1, 60) r where w / r >= 10";
	if (pg_query(pg, sql, 0, NULL, &got) != PG_OK)
		fail_msg("%s", pg_error(pg));
	assert_true(got.row_count > 500);
	for (int i = 0; i < got.row_count; i++)
		assert_int_equal(grant_sub_window_us(atoll(got.cells[3 * i]), atoi(got.cells[3 * i + 1])),
		                 atoll(got.cells[3 * i + 2]));
	pg_rows_free(&got);
	pg_close(pg);
}

/* ---- The schema --------------------------------------------------------------------------- */

static int setup(void **state) {
	glob_t files;
	if (start_cluster(state) != 0 || glob("sql/002_*/*.sql", 0, NULL, &files) != 0)
		return -1;
	struct pg *pg = admin_connect(*state, "stint");
	for (size_t i = 0; i < files.gl_pathc; i++) {
		char *sql = calloc(1, 65536);
		FILE *file = fopen(files.gl_pathv[i], "r");
		assert_non_null(sql);
		assert_non_null(file);
		assert_in_range(fread(sql, 1, 65535, file), 1, 65534);
		fclose(file);
		if (pg_script(pg, sql) != PG_OK)
			fail_msg("%s: %s", files.gl_pathv[i], pg_error(pg));
		free(sql);
	}
	pg_close(pg);
	globfree(&files);
	return 0;
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_cut_windows_alike),
		cmocka_unit_test(both_are_the_same_function),
	};
	return cmocka_run_group_tests(tests, setup, remove_cluster);
}
