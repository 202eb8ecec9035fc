/*
 * test_database.c - the connection to PostgreSQL, against a real server. The test's own functions take the
 * place of the schema's, so that the server answers slowly, wrongly, or with any error.
 */
#include "database_stub.h"

#include <dlfcn.h>

/* ---- Up ----------------------------------------------------------------------------------- */

static void comes_up_and_says_hello(void **state) {
	struct fixture *f = *state;
	char answer[256];
	come_up(f, "dbname=stub", 1000);
	assert_int_equal(f->hello.host_id, 7);
	assert_int_equal(f->hello.now_us, INT64_C(1700000000000000));
	assert_int_equal(f->hello.live_hosts, 3);
	assert_int_equal(f->hello.change_id, 12);
	assert_string_equal(f->hello.server, "home");
	assert_string_equal(f->hello.timeline, "00000001");
	assert_int_equal(f->hello.server_age_us, 5000);
	assert_int_equal(f->hello.wal_end, 77);
	assert_int_equal(f->hello.longest_lease_us, 9000);
	assert_string_equal(database_last_error(f->db), "");
	assert_int_equal(database_in_flight(f->db), 0);
	admin_ask(f, "stub", "select note from stint.seen where client_id = 't\xc3\xa4st' order by ctid desc limit 1",
	          answer, sizeof(answer));
	assert_string_equal(answer, "one 0.1 750ms 250ms 1s 0 read committed UTF8 off auto on pg_catalog <>");
	assert_null(strstr(f->hello.advice, "synchronous_commit"));
	admin_ask(f, "stub", "select count(*) from pg_stat_activity where application_name like 'stintd/t%'", answer,
	          sizeof(answer));
	assert_string_equal(answer, "1");
	close_database(f);
}

/* Whatever is set for the role, the database or the server. */
static void has_a_session_of_its_own_whatever_is_set(void **state) {
	struct fixture *f = *state;
	char answer[256];
	f->keep_commit = true;
	come_up(f, "dbname=stub user=odd", 1000);
	assert_string_equal(f->hello.timeline, "");
	assert_non_null(strstr(f->hello.advice, "synchronous_commit is off, and kept so"));
	assert_non_null(strstr(f->hello.advice, "fsync = off"));
	assert_non_null(strstr(f->hello.advice,
	                       "doesn't tell its timeline, or where its log ends (permission denied for"
	                       " function x): "));
	assert_non_null(strstr(f->hello.advice, "; let a superuser grant stint_owner execute"));
	admin_ask(f, "stub", "select note from stint.seen order by ctid desc limit 1", answer, sizeof(answer));
	assert_string_equal(answer, "one 0.1 750ms 250ms 1s 0 read committed UTF8 off auto on pg_catalog <keep>");
	run_for(f, 600);
	expect(f, "U");
	close_database(f);
	f->keep_commit = false;
	come_up(f, "dbname=stub user=odd", 1000);
	assert_non_null(strstr(f->hello.advice, "grants are committed as with on"));
	close_database(f);
}

static void expect_note(const struct fixture *f, const char *note) {
	char answer[256];
	admin_ask(f, "stub", "select note from stint.seen order by ctid desc limit 1", answer, sizeof(answer));
	assert_string_equal(answer, note);
}

/* Each transaction may run in another session of the server: it brings along all that it needs, and leaves
 * nothing there. */
static void behind_a_pooler_no_session_has_a_state(void **state) {
	const struct lease_request request = request_of("a", 1, 0);
	struct fixture *f = *state;
	f->pooled = true;
	admin_do(f, "stub", "truncate stint.seen");
	come_up(f, "dbname=stub user=odd", 1000);
	assert_non_null(strstr(f->hello.advice, "default_transaction_isolation is not read committed"));
	expect_note(f, "one 0.1 750ms 250ms 1s 0 serializable UTF8 off auto on pg_catalog <>");
	f->keep_commit = true;
	close_database(f);
	come_up(f, "dbname=stub", 1000);
	assert_null(strstr(f->hello.advice, "default_transaction_isolation"));
	expect_note(f, "one 0.1 750ms 250ms 1s 0 read committed UTF8 off auto on pg_catalog <keep>");
	beat(f, "note", 0);
	expect(f, "Ud");
	expect_note(f, "t 750ms 250ms <keep> 0 0 stintd");
	assert_false(database_hears(f->db));
	beat(f, "error 22023", 0);
	take(f, &request, 1);
	beat(f, "slow", 5000); /* the server gives it up before the agent does */
	beat(f, "in step", 0);
	expect(f, "Udrdrd");
	assert_int_equal(grant_count, 1);
	check_grant(&grants[0], 0);
	f->pooled = f->keep_commit = false;
	close_database(f);
}

static void behind_a_pooler_each_transaction_asks_for_the_server(void **state) {
	struct fixture *f = *state;
	char sessions[16];
	f->pooled = true;
	come_up(f, "dbname=stub", 1000);
	admin_do(f, "stub", "update stint.run set server_run = '1796.5/1/2'");
	beat(f, "note", 0);
	beat(f, "note", 0);
	expect(f, "U??DU");
	expect_why(f, "there is another server behind the pooler");
	beat(f, "in step", 0);
	expect(f, "U??DUd");
	admin_ask(f, "stub", "select count(*) from stint.seen where note like 't 750ms%'", sessions, sizeof(sessions));
	assert_string_equal(sessions, "1"); /* that of the test before: these two connections did nothing */
	close_database(f);
	admin_do(f, "stub",
	         "update stint.run set server_run = '1'', 1, 1, '''')--'"); /* this must not get into a statement */
	open_database(f, "dbname=stub", 1000);
	expect(f, "D");
	expect_why(f, "stint.register_host answered what this agent does not understand");
	close_database(f);
	admin_do(f, "stub", "update stint.run set server_run = '1795.5/1/2'");
	f->pooled = false;
}

/* Counts the lines of the server's log that have a text. */
static int server_log_count(const struct fixture *f, const char *text) {
	char path[96], line[4096];
	int count = 0;
	snprintf(path, sizeof(path), "%s/pg/log", f->dir);
	FILE *log = fopen(path, "re");
	assert_non_null(log);
	while (fgets(line, sizeof(line), log))
		count += strstr(line, text) != NULL;
	fclose(log);
	return count;
}

/* A server that logs statements logs their parameters as well, and so it does with statements that fail. */
static void keeps_clients_out_of_the_server_s_log(void **state) {
	const struct lease_request request =
		{.policy_id = 1, .client_id = "j.doe", .client_id_len = 5, .need = 1, .least = 1, .want = 1};
	struct fixture *f = *state;
	admin_do(f, "stub",
	         "create role chatty login; alter role chatty set log_statement = 'all';"
	         " alter role chatty set log_parameter_max_length_on_error = -1;"
	         " grant usage on schema stint to chatty; grant insert on stint.seen to chatty");
	come_up(f, "dbname=stub user=chatty", TIMEOUT_MS);
	assert_non_null(strstr(f->hello.advice, "log_parameter_max_length = 0"));
	close_database(f);
	admin_do(f, "stub", "grant set on parameter log_parameter_max_length to chatty");
	come_up(f, "dbname=stub user=chatty", TIMEOUT_MS);
	assert_null(strstr(f->hello.advice, "log_parameter_max_length"));
	take(f, &request, 1);
	beat(f, "error 22023", 0);
	expect(f, "Udr");
	close_database(f);
	assert_in_range(server_log_count(f, "stint.take_leases"), 1, 1000);
	assert_int_equal(server_log_count(f, "j.doe"), 0);
	assert_int_equal(server_log_count(f, "error 22023"), 0);
}

static void takes_leases(void **state) {
	struct fixture *f = *state;
	static struct lease_request requests[1000];
	static char ids[1000][16];
	come_up(f, "dbname=stub", 5000);
	for (int i = 0; i < 1000; i++) {
		int length = snprintf(ids[i], sizeof(ids[i]), "client %d", i);
		requests[i] = request_of(ids[i], (size_t)length, i);
	}
	take(f, requests, 1);
	expect(f, "Ud");
	assert_int_equal(grant_count, 1);
	check_grant(&grants[0], 0);
	requests[3].policy_id = 0; /* a policy that the stand-in doesn't know */
	take(f, requests, 1000);
	assert_int_equal(database_in_flight(f->db), 1);
	expect(f, "Udd");
	assert_int_equal(grant_count, 1000);
	for (int i = 0; i < 1000; i++) {
		if (i == 3)
			assert_false(grants[i].answered);
		else
			check_grant(&grants[i], i);
	}
	take(f, requests, 0);
	expect(f, "Uddd");
	assert_int_equal(grant_count, 0);
	assert_int_equal(database_in_flight(f->db), 0);
	close_database(f);
}

static int count_seen(const struct fixture *f, const char *note) {
	char sql[128], answer[32];
	snprintf(sql, sizeof(sql), "select count(*)::text from stint.seen where note = '%s'", note);
	admin_ask(f, "stub", sql, answer, sizeof(answer));
	return atoi(answer);
}

/* A batch in which all clients are new to this agent goes to a function of its own. One known client makes it a
 * batch like others. */
static void takes_first_leases(void **state) {
	struct fixture *f = *state;
	struct lease_request requests[20];
	static char ids[20][16];
	open_database(f, "dbname=stub", 5000);
	expect(f, "U");
	for (int i = 0; i < 20; i++) {
		int length = snprintf(ids[i], sizeof(ids[i]), "new %d", i);
		requests[i] = (struct lease_request){.policy_id = 40 + i,
		                                     .client_id = ids[i],
		                                     .client_id_len = (uint8_t)length,
		                                     .need = 2 + i,
		                                     .least = 1 + i,
		                                     .want = 3 + i,
		                                     .span = 4 + i,
		                                     .span_least = 5 + i,
		                                     .first = true};
	}
	admin_do(f, "stub", "truncate stint.seen");
	take(f, requests, 20);
	expect(f, "Ud");
	assert_int_equal(grant_count, 20);
	for (int i = 0; i < 20; i++) {
		assert_true(grants[i].answered);
		assert_int_equal(grants[i].granted, 3 + i);
		assert_int_equal(grants[i].sub_window, 1002 + i);
		assert_int_equal(grants[i].remaining, 1 + i);
		assert_int_equal(grants[i].next_is_open, i % 2);
		assert_int_equal(grants[i].reset_us, 5 + i);
		assert_int_equal(grants[i].retry_us, 3); /* the host */
		assert_int_equal(grants[i].max_requests, 40 + i);
	}
	assert_int_equal(count_seen(f, "first"), 20);
	requests[7].first = false;
	take(f, requests, 20);
	expect(f, "Udd");
	assert_int_equal(count_seen(f, "first"), 20);
	assert_int_equal(count_seen(f, "take"), 20);
	close_database(f);
}

/* One request that is not to wait for a locked row, and none of the batch does. Those whose rows somebody has
 * locked have no grant. */
static void takes_unlocked_leases(void **state) {
	struct fixture *f = *state;
	struct lease_request requests[3] = {request_of("one", 3, 0), request_of("busy", 4, 1),
	                                    request_of("two", 3, 2)};
	open_database(f, "dbname=stub", 5000);
	expect(f, "U");
	admin_do(f, "stub", "truncate stint.seen");
	take(f, requests, 3);
	expect(f, "Ud");
	assert_int_equal(count_seen(f, "take"), 3);
	assert_int_equal(count_seen(f, "unlocked"), 0);
	requests[2].skip = true;
	take(f, requests, 3);
	expect(f, "Udd");
	assert_int_equal(count_seen(f, "unlocked"), 3);
	assert_int_equal(grant_count, 3);
	check_grant(&grants[0], 0);
	check_grant(&grants[2], 2);
	assert_true(grants[1].busy);
	assert_false(grants[1].answered);
	assert_int_equal(grants[1].granted, 0);
	assert_false(grants[0].busy);
	close_database(f);
}

static const struct {
	const char *id;
	size_t length;
	bool good;
} any_ids[] = {
	{"it's", 4, true},
	{"\"quoted\"", 8, true},
	{"new\nline\ttab", 12, true},
	{"back\\slash\\000", 14, true},
	{"{a,b}", 5, true},
	{"NULL", 4, true},
	{"null", 4, true},
	{"$1; drop table x --", 19, true},
	{" ", 1, true},
	{"\xe2\x82\xac \xf0\x9f\x98\x80", 8, true},
	{"\x01\x7f", 2, true},
	{"a\0b", 3, false},
	{"\xff", 1, false},
	{"\xc0\x80", 2, false},
	{"\xed\xa0\x80", 3, false},
	{"\xf4\x90\x80\x80", 4, false},
	{"\xe2\x82", 2, false},
	{"\xe0\x80\x80", 3, false},
	{"\xf0\x80\x80\x80", 4, false},
	{"a\x80", 2, false},
};

static void expect_seen_once(struct pg *pg, const char *id) {
	struct pg_rows rows;
	assert_int_equal(pg_query(pg, "select from stint.seen where client_id = $1", 1, &id, &rows), PG_OK);
	assert_int_equal(rows.row_count, 1);
	pg_rows_free(&rows);
}

static void carries_any_client_id(void **state) {
	struct fixture *f = *state;
	enum { COUNT = sizeof(any_ids) / sizeof(any_ids[0]) };
	struct lease_request requests[COUNT];
	for (int i = 0; i < COUNT; i++)
		requests[i] = request_of(any_ids[i].id, any_ids[i].length, i);
	come_up(f, "dbname=stub", 5000);
	admin_do(f, "stub", "truncate stint.seen");
	take(f, requests, COUNT);
	expect(f, "Ud");
	struct pg *pg = admin_connect(f, "stub");
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(grants[i].answered, any_ids[i].good);
		if (!any_ids[i].good)
			continue;
		check_grant(&grants[i], i);
		expect_seen_once(pg, any_ids[i].id);
	}
	pg_close(pg);
	close_database(f);
}

/* ---- The other calls ------------------------------------------------------------------------ */

static void on_declared(void *context, enum lease_outcome outcome, const char *status, int32_t policy_id) {
	assert_string_equal(status, "created");
	assert_int_equal(policy_id, 5);
	tell_outcome(context, outcome);
}

static void on_policies(void *context, enum lease_outcome outcome, const struct policy_row *rows, size_t count) {
	assert_int_equal(count, 3);
	assert_string_equal(rows[2].name, "a");
	assert_int_equal(rows[2].max_requests, 100);
	assert_int_equal(rows[2].algorithm, 0);
	assert_int_equal(rows[2].mode, 0);
	assert_false(rows[2].pinned);
	assert_int_equal(rows[0].policy_id, 2);
	assert_int_equal(rows[0].max_requests, 1000000000);
	assert_int_equal(rows[0].time_window_ms, INT64_C(2678400000));
	assert_int_equal(rows[0].fallback_max_requests, 2000000000);
	assert_int_equal(rows[0].fallback_time_window_ms, 100);
	assert_int_equal(rows[0].algorithm, 1);
	assert_int_equal(rows[0].resolution, 1);
	assert_int_equal(rows[0].mode, 1);
	assert_true(rows[0].pinned);
	assert_int_equal(rows[1].policy_id, 0);
	tell_outcome(context, outcome);
}

static void on_changes(void *context, enum lease_outcome outcome, const struct change_row *rows, size_t count) {
	assert_int_equal(count, 3);
	assert_int_equal(rows[0].change_id, 42);
	assert_string_equal(rows[0].policy_name, "a");
	assert_string_equal(rows[0].client_id, "");
	assert_int_equal(rows[1].policy_id, 2);
	assert_string_equal(rows[1].client_id, "it's");
	assert_true(rows[1].is_reset && !rows[0].is_reset && !rows[2].is_reset);
	assert_int_equal(rows[1].reset_age_us, 250000);
	assert_string_equal(rows[2].policy_name, "");
	tell_outcome(context, outcome);
}

static void on_expired(void *context, enum lease_outcome outcome, int64_t examined, int64_t deleted) {
	assert_int_equal(examined, 500);
	assert_int_equal(deleted, 3);
	tell_outcome(context, outcome);
}

static void on_recalls(void *context, enum lease_outcome outcome, const struct recall_row *rows, size_t count,
                       int64_t newest) {
	assert_int_equal(outcome, LEASE_DONE);
	assert_int_equal(count, 2);
	assert_int_equal(rows[0].recall_id, 42);
	assert_int_equal(rows[0].policy_id, 3);
	assert_string_equal(rows[0].client_id, "it's");
	assert_string_equal(rows[1].client_id, "b");
	assert_int_equal(newest, 46);
	tell_outcome(context, outcome);
}

/* What the calls of this test's have noted, by their notes. */
static void nothing_is_seen_yet(struct fixture *f) {
	admin_do(f, "stub", "truncate stint.seen");
}

static void expect_seen(struct fixture *f, const char *seen) {
	char answer[256];
	admin_ask(f, "stub", "select string_agg(concat_ws(' ', client_id, note), ', ' order by note) from stint.seen",
	          answer, sizeof(answer));
	assert_string_equal(answer, seen);
}

static void calls_leases_back(void **state) {
	struct fixture *f = *state;
	static const struct lease_recall recalls[] = {{5, "it's", 4}, {6, "\xff", 1}, {7, "called", 6}};
	come_up(f, "dbname=stub", 5000);
	nothing_is_seen_yet(f);
	database_recall(f->db, recalls, 3, on_ended, f);
	database_get_recalls(f->db, 3, 41, on_recalls, f);
	expect(f, "Udd");
	expect_seen(f, "it's recall 5, recall 6, called recall 7"); /* the server drops what is no text */
	close_database(f);
}

static void reports_decisions(void **state) {
	struct fixture *f = *state;
	static const struct database_decision decisions[] = {
		{.minute = 29000000, .policy = "p", .source = 1, .allowed = INT64_MAX, .denied = 2, .shadow_denied = 3},
		{.minute = 29000001, .policy = "it's", .source = 5},
	};
	come_up(f, "dbname=stub", 5000);
	nothing_is_seen_yet(f);
	database_report_decisions(f->db, 32767, decisions, 2, on_ended, f);
	expect(f, "Ud");
	expect_seen(f, "p decided 7 32767 29000000 1 9223372036854775807 2 3, it's decided 7 32767 29000001 5 0 0 0");
	close_database(f);
}

static void reports_denials(void **state) {
	struct fixture *f = *state;
	static const struct database_denial denials[] = {
		{.hour = 490000, .policy = "p", .client_id = "it's", .reason = 1, .denied = INT64_MAX, .error = 3},
		{.hour = 490001, .policy = "q", .client_id = "\xff", .reason = 4},
	};
	come_up(f, "dbname=stub", 5000);
	nothing_is_seen_yet(f);
	database_report_denials(f->db, 1, denials, 2, on_ended, f);
	expect(f, "Ud");
	expect_seen(f, "it's denied 7 1 490000 p 1 9223372036854775807 3, denied 7 1 490001 q 4 0 0");
	close_database(f);
}

static void makes_every_call(void **state) {
	struct fixture *f = *state;
	static const struct policy_row policy = {.name = "p",
	                                         .max_requests = 10,
	                                         .time_window_ms = 1000,
	                                         .fallback_max_requests = 20,
	                                         .fallback_time_window_ms = 2000,
	                                         .algorithm = 1,
	                                         .resolution = 5,
	                                         .mode = 1};
	char answer[256];
	come_up(f, "dbname=stub", 5000);
	database_declare(f->db, &policy, true, on_declared, f);
	database_get_policies(f->db, (const char *const[]){"b", "none", "a"}, 3, on_policies, f);
	database_get_changes(f->db, 41, on_changes, f);
	database_expire_counters(f->db, 500, on_expired, f);
	database_report_fallback(f->db, 1, 2, 3, 4, "it's\nover", on_ended, f);
	beat(f, "in step", 0);
	database_stop_host(f->db, on_ended, f);
	database_pulse(f->db, on_pulsed, f);
	assert_int_equal(database_in_flight(f->db), 8);
	expect(f, "Udddddddd");
	assert_int_equal(last_pulse.change_id, 14);
	assert_int_equal(last_pulse.wal_end, 78);
	assert_false(last_pulse.is_heartbeat);
	admin_ask(f, "stub", "select note from stint.seen where client_id = 'p'", answer, sizeof(answer));
	assert_string_equal(answer, "10 1000 20 2000 fixed_window 5 relaxed f t");
	admin_ask(f, "stub", "select note from stint.seen where client_id = E'it''s\\nover'", answer, sizeof(answer));
	assert_string_equal(answer, "7 1 2 3 4");
	beat(f, "in step", 0);
	expect(f, "Uddddddddd");
	assert_true(last_pulse.is_heartbeat);
	assert_int_equal(last_pulse.change_id, 13);
	assert_int_equal(last_pulse.live_hosts, 2);
	assert_false(last_pulse.rival || last_pulse.expires || last_pulse.old_snapshot);
	beat(f, "not alone", 0);
	expect(f, "Udddddddddd");
	assert_true(last_pulse.rival && last_pulse.expires && last_pulse.old_snapshot);
	close_database(f);
}

/* Added to what the server says its process is, as a pooler tells a number of its own. */
static int pid_is_off_by;

/* In place of libpq's. */
int PQbackendPID(const void *conn);
int PQbackendPID(const void *conn) {
	int (*libpq)(const void *) = (int (*)(const void *))dlsym(RTLD_NEXT, "PQbackendPID");
	return libpq(conn) + pid_is_off_by;
}

/* Each notice wakes all sessions that listen to anything. So who comes sends none, unless there is a pooler. */
static void hears_notifications(void **state) {
	struct fixture *f = *state;
	for (pid_is_off_by = 0; pid_is_off_by <= 1; pid_is_off_by++) {
		come_up(f, "dbname=stub", TIMEOUT_MS);
		assert_true(database_hears(f->db)); /* from the start; the agent isn't told */
		admin_do(f, "stub", "notify another; notify stint, '5'");
		expect(f, "UN");
		admin_do(f, "stub", "notify another, 'recall'; notify stint, 'recall'");
		expect(f, "UNR");
		beat(f, "note", 0);
		expect(f, "UNRd");
		expect_note(f, pid_is_off_by == 0 ? "f 450ms 150ms <> 17 1 stintd/t" : "f 450ms 150ms <> 17 2 stintd/t");
		close_database(f);
	}
	pid_is_off_by = 0;
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_up_and_says_hello),
		cmocka_unit_test(has_a_session_of_its_own_whatever_is_set),
		cmocka_unit_test(behind_a_pooler_no_session_has_a_state),
		cmocka_unit_test(behind_a_pooler_each_transaction_asks_for_the_server),
		cmocka_unit_test(keeps_clients_out_of_the_server_s_log),
		cmocka_unit_test(takes_leases),
		cmocka_unit_test(takes_first_leases),
		cmocka_unit_test(takes_unlocked_leases),
		cmocka_unit_test(carries_any_client_id),
		cmocka_unit_test(makes_every_call),
		cmocka_unit_test(calls_leases_back),
		cmocka_unit_test(reports_decisions),
		cmocka_unit_test(reports_denials),
		cmocka_unit_test(hears_notifications),
	};
	return cmocka_run_group_tests(tests, setup, remove_cluster);
}
