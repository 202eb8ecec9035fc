/*
 * test_database_failures.c - what agent/database does when a statement fails, an answer can't be true, or much is
 * under way at once.
 */
#include "database_stub.h"

#include "database/private.h"

/* ---- Failures of one statement ------------------------------------------------------------------ */

static void a_rejected_statement_leaves_the_connection_up(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", 4 * TIMEOUT_MS);
	beat(f, "error 22023", 0);
	beat(f, "in step", 0);
	beat(f, "error 40001", 0);
	beat(f, "error ST001", 0);
	expect(f, "Urdrr");
	assert_string_equal(database_last_error(f->db), "as asked [none]");
	beat(f, "slow", 4 * TIMEOUT_MS * 9 / 10); /* the server gives up before the agent does */
	expect(f, "Urdrrr");
	assert_non_null(strstr(database_last_error(f->db), "statement timeout"));
	beat(f, "in step", 0);
	expect(f, "Urdrrrd");
	assert_non_null(strstr(database_last_error(f->db), "statement timeout")); /* it is the last one that failed */
	run_for(f, 50);
	assert_true(database_is_up(f->db));
	close_database(f);
}

/* Who holds it. */
static struct pg *meet_a_lock(struct fixture *f) {
	struct pg *other = admin_connect(f, "stub");
	come_up(f, "dbname=stub", TIMEOUT_MS);
	assert_int_equal(pg_script(other, "begin; lock table stint.seen in share mode"), PG_OK);
	database_await_tables(f->db, on_ended, f);
	expect(f, "Ur");
	assert_true(database_met_a_lock(f->db));
	return other;
}

static void a_lock_that_cannot_be_had_is_told(void **state) {
	struct fixture *f = *state;
	struct pg *other = meet_a_lock(f);
	beat(f, "error 22023", 0);
	expect(f, "Urr");
	assert_false(database_met_a_lock(f->db));
	assert_int_equal(pg_script(other, "rollback"), PG_OK);
	database_await_tables(f->db, on_ended, f);
	expect(f, "Urrd");
	pg_close(other);
	close_database(f);
}

static void what_is_not_sent_meets_no_lock(void **state) {
	struct fixture *f = *state;
	struct pg *other = meet_a_lock(f);
	assert_int_equal(
		pg_script(other,
	              "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'stintd/%'"),
		PG_OK);
	expect(f, "UrD");
	database_await_tables(f->db, on_ended, f);
	expect(f, "UrDr");
	assert_false(database_met_a_lock(f->db));
	pg_close(other);
	close_database(f);
}

static void a_commit_that_fails_is_a_rejection(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", 4 * TIMEOUT_MS);
	beat(f, "late", 0);
	beat(f, "in step", 0);
	expect(f, "Urd");
	assert_string_equal(database_last_error(f->db), "too late");
	close_database(f);
}

static void a_commit_with_a_warning_is_unknown(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", 4 * TIMEOUT_MS);
	beat(f, "warn", 0);
	beat(f, "in step", 0);
	expect(f, "U?d");
	close_database(f);
}

/* A synchronous standby is gone. Nothing that is written is certain to last, so the agent takes the database
 * for away. */
static void a_server_whose_commits_dont_end_is_left(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", 4 * TIMEOUT_MS);
	beat(f, "warn", 0);
	beat(f, "in step", 0);
	beat(f, "warn", 0);
	expect(f, "U?d?DU");
	expect_why(f, "not replicated");
	close_database(f);
}

static void commits_that_end_without_the_standby_now_and_then_are_borne(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	beat(f, "warn", 0);
	expect(f, "U?");
	run_for(f, 4 * TIMEOUT_MS);
	beat(f, "warn", 0);
	beat(f, "in step", 0);
	expect(f, "U??d");
	close_database(f);
}

static void a_server_that_cannot_serve_is_left(void **state) {
	static const char *const errors[] = {"error 53100", "error 57P03", "error 58030",
	                                     "error XX000", "error 25006", "error 40003"};
	struct fixture *f = *state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		come_up(f, "dbname=stub", 4 * TIMEOUT_MS);
		beat(f, errors[i], 0);
		beat(f, "in step", 0);
		expect(f, "U??DU");
		expect_why(f, "as asked");
		close_database(f);
	}
}

static void lost_prepared_statements_are_noticed(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", 4 * TIMEOUT_MS);
	beat(f, "forget", 0);
	expect(f, "Ud");
	beat(f, "in step", 0);
	expect(f, "Ud?DU");
	expect_why(f, "pooler in transaction mode");
	close_database(f);
}

/* As behind a pooler in transaction mode, newer ones of which know prepared statements. */
static void another_session_that_answers_is_noticed(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", 4 * TIMEOUT_MS);
	f->db->session.server_pid++;
	beat(f, "in step", 0);
	expect(f, "UdDU");
	expect_why(f, "pooler in transaction mode");
	f->db->session.server_pid++;
	database_pulse(f->db, on_pulsed, f);
	expect(f, "UdDUdDU");
	f->db->session.server_pid = 0; /* the server didn't tell */
	beat(f, "in step", 0);
	expect(f, "UdDUdDUd");
	close_database(f);
}

static void a_host_without_a_row_registers_again(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", 4 * TIMEOUT_MS);
	beat(f, "gone", 0);
	expect(f, "UdDU");
	expect_why(f, "host's row is gone");
	close_database(f);
}

/* ---- Answers that can't be -------------------------------------------------------------------------- */

static void impossible_answers_break_the_connection(void **state) {
	static const char *const rows[] = {
		/* ordinal 0 */
		"select 0, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true, 0, false",
		/* beyond */
		"select 3, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true, 0, false",
		"select -1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true, 0, false",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true, 0, false from generate_series(1, 2)",
		"select null::int, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true, 0, false",
		"select 1, -1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true, 0, false",
		"select 1, 2147483647, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true, 0, false",
		"select 1, 1, 1::bigint, -1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true, 0, false",
		"select 1, 1, 1::bigint, 9223372036854775807, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true, 0, false",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, -2::bigint, 1::bigint, 1, 1, true, 0, false",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, null::int, 1, true, 0, false",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 0::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true, 0, false",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, null::boolean, 0, false",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true, -1, false",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true, 0, null::boolean",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true, 0, i = 1 from generate_series(1, 2) i",
	};
	struct fixture *f = *state;
	const struct lease_request requests[] = {request_of("a", 1, 0), request_of("b", 1, 1)};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		make_take(f, GOOD_COLUMNS, rows[i]);
		come_up(f, "dbname=stub", 4 * TIMEOUT_MS);
		take(f, requests, 2);
		beat(f, "in step", 0);
		expect(f, "U??D");
		expect_why(f, "stint.take_leases answered what this agent does not understand");
		close_database(f);
	}
	make_take(f, GOOD_COLUMNS, GOOD_ROWS);
}

static void count_recalls(void *context, enum lease_outcome outcome, const struct recall_row *rows, size_t count,
                          int64_t newest) {
	(void)rows, (void)newest;
	assert_true(outcome == LEASE_DONE || count == 0);
	tell_outcome(context, outcome);
}

static void impossible_recalls_break_the_connection(void **state) {
	struct fixture *f = *state;
	static const char *const answers[] = {
		/* without the last row, which names no client */
		"select 1::bigint, 2, 'a' where false",
		"values (1::bigint, 2, 'a')",
		"values (1::bigint, null::int, null::text), (2, null, null)",
		"values (1::bigint, 2, null::text), (2, null, null)",
		"values (1::bigint, null::int, 'a'), (2, null, null)",
		"values (1::bigint, 2, 'a'), (null, null, null)",
		"values (1::bigint, -2, 'a'), (2, null, null)",
		"values (-1::bigint, 2, 'a'), (2, null, null)",
	};
	char sql[512];
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		snprintf(sql, sizeof(sql),
		         "create or replace function stint.get_recalls(host int, since bigint)"
		         " returns table (recall_id bigint, policy_id int, client_id text) language sql as $$ %s $$",
		         answers[i]);
		admin_do(f, "stub", sql);
		come_up(f, "dbname=stub", 4 * TIMEOUT_MS);
		database_get_recalls(f->db, 3, 41, count_recalls, f);
		expect(f, "U?D");
		expect_why(f, "stint.get_recalls answered what this agent does not understand");
		close_database(f);
	}
}

static void other_types_break_the_connection(void **state) {
	struct fixture *f = *state;
	const struct lease_request request = request_of("a", 1, 0);
	make_take(
		f,
		"request text, granted text, sub_window text, valid_us float8, granted_next bool, starts_in_us text,"
		" next_sub_window text, next_valid_us text, remaining text, retry_us text, reset_us text, max_requests text,"
		" charged text, next_is_open text, recallable text, busy text",
		"select '1', '1', '1', 1.0::float8, true, '1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1'");
	open_database(f, "dbname=stub", 4 * TIMEOUT_MS);
	expect(f, "U");
	take(f, &request, 1);
	expect(f, "U?D");
	close_database(f);
	make_take(f, GOOD_COLUMNS, GOOD_ROWS);
}

/* ---- The queue -------------------------------------------------------------------------------------------- */

static void operations_without_a_connection_are_rejected(void **state) {
	struct fixture *f = *state;
	const struct lease_request request = request_of("a", 1, 0);
	open_database(f, "host=/tmp/stint-nowhere", TIMEOUT_MS);
	take(f, &request, 1);
	beat(f, "in step", 0);
	assert_int_equal(database_in_flight(f->db), 2);
	for (int64_t end = test_now_ms() + 40; test_now_ms() < end && database_in_flight(f->db) > 0;)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_int_equal(database_in_flight(f->db), 0);
	assert_non_null(strstr(f->story, "rr"));
	close_database(f);
}

static int beats_left;

static void on_pulsed_beat_again(void *context, enum lease_outcome outcome, const struct database_pulse *pulse) {
	struct fixture *f = context;
	(void)pulse;
	tell_outcome(f, outcome);
	if (--beats_left > 0)
		database_heartbeat(f->db, "in step", 0, 0, -1, on_pulsed_beat_again, f);
}

static void a_callback_may_start_operations(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	beats_left = 5;
	/* not up yet: some of them are rejected */
	database_heartbeat(f->db, "in step", 0, 0, -1, on_pulsed_beat_again, f);
	expect(f, "r");
	for (int64_t end = test_now_ms() + PATIENCE_MS; beats_left > 0 && test_now_ms() < end;)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_int_equal(beats_left, 0);
	close_database(f);
}

/* They are more than the socket's buffers hold, and the server reads nothing meanwhile. */
static void many_operations_keep_their_order(void **state) {
	struct fixture *f = *state;
	static struct lease_request requests[256];
	static char ids[256][256];
	for (int i = 0; i < 256; i++) {
		memset(ids[i], 'x', 255);
		snprintf(ids[i], sizeof(ids[i]), "%d", i);
		ids[i][strlen(ids[i])] = 'x';
		requests[i] = request_of(ids[i], 255, i);
	}
	come_up(f, "dbname=stub", 20000);
	beat(f, "slow", 300);
	for (int i = 0; i < 60; i++) {
		take(f, requests, 256);
		beat(f, i % 2 ? "in step" : "error 22023", 0);
	}
	assert_int_equal(database_in_flight(f->db), 121);
	char story[128] = "Ud";
	for (int i = 0; i < 60; i++)
		strcat(story, i % 2 ? "dd" : "dr");
	expect(f, story);
	for (int i = 0; i < 256; i++)
		check_grant(&grants[i], i);
	close_database(f);
}

/* The address sanitizer and valgrind see what isn't freed. */
static void frees_what_is_under_way(void **state) {
	struct fixture *f = *state;
	const struct lease_request request = request_of("a", 1, 0);
	open_database(f, "dbname=stub", TIMEOUT_MS);
	take(f, &request, 1);
	close_database(f); /* while it connects */
	come_up(f, "dbname=stub", 5000);
	beat(f, "slow", 200);
	for (int i = 0; i < 100; i++)
		take(f, &request, 1);
	run_for(f, 20);
	close_database(f);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rejected_statement_leaves_the_connection_up),
		cmocka_unit_test(a_lock_that_cannot_be_had_is_told),
		cmocka_unit_test(what_is_not_sent_meets_no_lock),
		cmocka_unit_test(a_commit_that_fails_is_a_rejection),
		cmocka_unit_test(a_commit_with_a_warning_is_unknown),
		cmocka_unit_test(a_server_whose_commits_dont_end_is_left),
		cmocka_unit_test(commits_that_end_without_the_standby_now_and_then_are_borne),
		cmocka_unit_test(a_server_that_cannot_serve_is_left),
		cmocka_unit_test(lost_prepared_statements_are_noticed),
		cmocka_unit_test(another_session_that_answers_is_noticed),
		cmocka_unit_test(a_host_without_a_row_registers_again),
		cmocka_unit_test(impossible_answers_break_the_connection),
		cmocka_unit_test(impossible_recalls_break_the_connection),
		cmocka_unit_test(other_types_break_the_connection),
		cmocka_unit_test(operations_without_a_connection_are_rejected),
		cmocka_unit_test(a_callback_may_start_operations),
		cmocka_unit_test(many_operations_keep_their_order),
		cmocka_unit_test(frees_what_is_under_way),
	};
	return cmocka_run_group_tests(tests, setup, remove_cluster);
}
