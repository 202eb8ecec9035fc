/*
 * test_database.c - the connection to PostgreSQL against a real server, with functions of
 * the test's own in place of the schema's: so the server can be made to answer slowly,
 * wrongly, or with any error.
 */
#include "database_fixture.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- The stand-in for the schema ---------------------------------------------------- */

static const char stub_schema[] =
	"create schema stint;"
	"create table stint.seen (client_id text, note text);"
	"create function stint.schema_version() returns int language sql as 'select 1';"
	"create function stint.oldest_agent() returns int language sql as 'select 1';"
	"create function stint.register_host(name text, instance text, version text)"
	" returns table (host_id int, now_us bigint, live_hosts int, change_id bigint, timeline text, timeline_age_us bigint)"
	" language plpgsql as $$ begin"
	" insert into stint.seen values (name, concat_ws(' ', instance, version, current_setting('statement_timeout'),"
	"   current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'),"
	"   current_setting('client_encoding'), current_setting('jit')));"
	" return query select 7, 1700000000000000, 3, 12::bigint, '00000001', 5000::bigint; end $$;"
	"create function stint.declare_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean)"
	" returns table (status text, policy_id int) language sql as"
	" $$ insert into stint.seen values ($1, concat_ws(' ', $2, $3, $4, $5, $6, $7, $8, $9)); select 'created', 5 $$;"
	"create function stint.get_policies() returns table (policy_id int, name text, max_requests int, time_window_ms bigint,"
	"  fallback_max_requests bigint, fallback_time_window_ms bigint, algorithm text, resolution int, mode text, pinned boolean)"
	" language sql as $$ values"
	"  (1, 'a', 100, 1000::bigint, 200::bigint, 2000::bigint, 'sliding_window', 10, 'strict', false),"
	"  (2, 'b', 1000000000, 2678400000, 2000000000, 100, 'fixed_window', 1, 'relaxed', true) $$;"
	"create function stint.get_changes(since bigint) returns table (change_id bigint, policy_id int, client_id text)"
	" language sql as $$ values (since + 1, 1, null), (since + 2, 2, 'it''s') $$;"
	"create function stint.heartbeat(host_id int, instance text, state text, clients bigint, fallback_ms bigint)"
	" returns table (now_us bigint, live_hosts int, change_id bigint, rival boolean) language plpgsql as $$ begin"
	" if state = 'gone' then return; end if;"
	" if state like 'error %' then raise exception 'as asked' using errcode = substr(state, 7), hint = 'none'; end if;"
	" if state = 'forget' then execute 'deallocate all'; end if;"
	" if state = 'warn' then raise warning 'not replicated'; end if;"
	" if state = 'late' then insert into stint.late values (1); end if;"
	" perform pg_sleep(fallback_ms / 1000.0);"
	" return query select 1700000000000000 + clients, 2, 13::bigint, state = 'not alone'; end $$;"
	"create function stint.expire_counters(batch int) returns table (examined bigint, deleted bigint) language sql as"
	" $$ select batch::bigint, 3::bigint $$;"
	"create function stint.report_fallback(int, bigint, bigint, bigint, bigint, text) returns void language sql as"
	" $$ insert into stint.seen values ($6, concat_ws(' ', $1, $2, $3, $4, $5)) $$;"
	"create function stint.stop_host(int, text) returns void language sql as $$ select $$;"
	"create function stint.take_first_leases(hosts int, policy_ids int[], client_ids text[], needs int[], leasts int[], wants int[])"
	" returns table (request int, granted int, sub_window bigint, valid_us bigint, granted_next int, starts_in_us bigint,"
	"  next_valid_us bigint, remaining int, retry_us bigint, reset_us bigint, max_requests int, charged int)"
	" language sql as $$ insert into stint.seen select unnest(client_ids), 'first';"
	" select i, wants[i], 1000::bigint + needs[i], 5000::bigint, 0, 5000::bigint, 10000::bigint, leasts[i], hosts::bigint,"
	"  0::bigint, policy_ids[i], 0 from generate_subscripts(wants, 1) i $$;"
	/* Its commit fails after its rows were sent. */
	"create table stint.late (x int);"
	"create function stint.refuse() returns trigger language plpgsql as $$ begin raise exception 'too late'; end $$;"
	"create constraint trigger late after insert on stint.late deferrable initially deferred"
	" for each row execute function stint.refuse();";

#define GOOD_COLUMNS \
	"request int, granted int, sub_window bigint, valid_us bigint, granted_next int, starts_in_us bigint, next_valid_us bigint," \
	" remaining int, retry_us bigint, reset_us bigint, max_requests int, charged int"

/* What a grant says here is what was asked, so that the test can see that each element arrived in its place. */
#define GOOD_ROWS \
	"select i, wants[i], 1000::bigint + needs[i], 5000::bigint, next_wants[i], 5000::bigint, 10000::bigint, leasts[i]," \
	" coalesce(return_subs[i], 0), return_firsts[i]::bigint, return_seconds[i], charges[i]" \
	" from generate_subscripts(wants, 1) i where client_ids[i] is not null and policy_ids[i] > 0 order by i desc"

static void make_take(const struct fixture *f, const char *columns, const char *rows) {
	char sql[2048];
	snprintf(sql, sizeof(sql),
	         "set client_min_messages = error; drop function if exists stint.take_leases;"
	         " create function stint.take_leases(hosts int, policy_ids int[], client_ids text[], needs int[], leasts int[],"
	         " wants int[], next_wants int[], charges int[], return_subs bigint[], return_firsts int[], return_seconds int[])"
	         " returns table (%s) language plpgsql as $$ #variable_conflict use_column\n begin"
	         " insert into stint.seen select unnest(client_ids), 'take';"
	         " return query %s; end $$",
	         columns, rows);
	admin_do(f, "stub", sql);
}

static int setup(void **state) {
	if (start_cluster(state) != 0)
		return -1;
	struct fixture *f = *state;
	admin_do(f, "postgres", "create database stub");
	admin_do(f, "postgres", "create database bare");
	admin_do(f, "postgres", "create role stranger login");
	admin_do(f, "postgres", "create role reader login; alter role reader set default_transaction_read_only = on;");
	admin_do(f, "stub", stub_schema);
	admin_do(f, "stub", "grant usage on schema stint to reader; grant insert on stint.seen to reader");
	make_take(f, GOOD_COLUMNS, GOOD_ROWS);
	return 0;
}

/* ---- Connections that don't come up ---------------------------------------------------- */

static void expect_down(struct fixture *f, const char *rest, const char *why) {
	open_database(f, rest, TIMEOUT_MS);
	expect(f, "D");
	expect_why(f, why);
	assert_string_equal(database_last_error(f->db), f->why);
	close_database(f);
}

static void says_why_it_cannot_connect(void **state) {
	struct fixture *f = *state;
	expect_down(f, "host=/tmp/stint-nowhere", "No such file or directory");
	expect_down(f, "dbname=nowhere", "database \"nowhere\" does not exist");
	expect_down(f, "dbname=stub user=nobody-here", "role \"nobody-here\" does not exist");
	expect_down(f, "nonsense", "nonsense");
	expect_down(f, "dbname=bare", "schema stint is missing: run `stint db init`");
	expect_down(f, "dbname=stub user=stranger", "no rights: grant stint_agent to this role");
	expect_down(f, "dbname=stub user=stranger", "role stranger");
	expect_down(f, "dbname=stub user=reader", "the server is a read-only standby");
}

static void set_version(const struct fixture *f, const char *version, const char *oldest_agent) {
	char sql[512];
	snprintf(sql, sizeof(sql),
	         "create or replace function stint.schema_version() returns int language sql as 'select %s';"
	         "create or replace function stint.oldest_agent() returns int language sql as 'select %s'",
	         version, oldest_agent);
	admin_do(f, "stub", sql);
}

static void refuses_a_schema_that_it_cannot_work_with(void **state) {
	struct fixture *f = *state;
	set_version(f, "0", "0");
	expect_down(f, "dbname=stub", "version 0, this agent needs 1: run `stint db migrate`");
	set_version(f, "3", "2");
	expect_down(f, "dbname=stub", "version 3, which agents made for version 2 or later can work with; this one was made for 1");
	set_version(f, "null::int", "1");
	expect_down(f, "dbname=stub", "does not understand");
	set_version(f, "2", "null::int");
	expect_down(f, "dbname=stub", "does not understand");
	set_version(f, "1", "1");
	admin_do(f, "stub", "alter function stint.stop_host rename to stop_host_not");
	expect_down(f, "dbname=stub", "schema stint is missing or incomplete");
	admin_do(f, "stub", "alter function stint.stop_host_not rename to stop_host");
}

static void works_with_a_newer_schema_that_breaks_nothing(void **state) {
	struct fixture *f = *state;
	set_version(f, "2147483647", "1");
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	close_database(f);
	set_version(f, "1", "1");
}

static void tries_again_with_growing_pauses(void **state) {
	struct fixture *f = *state;
	int64_t began = test_now_ms();
	open_database(f, "host=/tmp/stint-nowhere", TIMEOUT_MS);
	expect(f, "DDDD"); /* pauses of 50, 100 and 200 ms, each give or take a half */
	int64_t lasted = test_now_ms() - began;
	assert_in_range(lasted, 170, 5000);
	close_database(f);
}

/* A socket that takes connections and never says a word, as a server that was stopped does. */
static int listen_mute(const struct fixture *f, char *path, size_t size) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(path, size, "%s/mute", f->dir);
	mkdir(path, 0755);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/mute/.s.PGSQL.5432", f->dir);
	unlink(address.sun_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static void close_mute(const struct fixture *f, int fd) {
	char path[128];
	close(fd);
	snprintf(path, sizeof(path), "%s/mute/.s.PGSQL.5432", f->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/mute", f->dir);
	rmdir(path);
}

static void gives_up_on_a_mute_server_and_tries_the_next(void **state) {
	struct fixture *f = *state;
	char path[128], rest[512];
	int fd = listen_mute(f, path, sizeof(path));
	int64_t began = test_now_ms();
	snprintf(rest, sizeof(rest), "dbname=stub host=%s,%s/pg", path, f->dir);
	open_database(f, rest, TIMEOUT_MS);
	expect(f, "D");
	assert_in_range(test_now_ms() - began, TIMEOUT_MS - 20, TIMEOUT_MS + 1500);
	expect_why(f, "no connection within 600 ms");
	expect(f, "DU");
	close_database(f);
	close_mute(f, fd);
}

/* ---- Up ----------------------------------------------------------------------------------- */

static void comes_up_and_says_hello(void **state) {
	struct fixture *f = *state;
	char answer[256];
	open_database(f, "dbname=stub", 1000);
	expect(f, "U");
	assert_int_equal(f->hello.host_id, 7);
	assert_int_equal(f->hello.now_us, INT64_C(1700000000000000));
	assert_int_equal(f->hello.live_hosts, 3);
	assert_int_equal(f->hello.change_id, 12);
	assert_string_equal(f->hello.timeline, "00000001");
	assert_string_equal(database_last_error(f->db), "");
	assert_int_equal(database_in_flight(f->db), 0);
	admin_ask(f, "stub", "select note from stint.seen where client_id = 't\xc3\xa4st' order by ctid desc limit 1", answer,
	          sizeof(answer));
	assert_string_equal(answer, "one 0.1 750ms 250ms 1s UTF8 off");
	admin_ask(f, "stub", "select count(*) from pg_stat_activity where application_name like 'stintd/t%'", answer, sizeof(answer));
	assert_string_equal(answer, "1");
	close_database(f);
}

/* ---- Operations --------------------------------------------------------------------------- */

static struct lease_grant grants[1024];
static size_t grant_count;

static void on_grants(void *context, enum lease_outcome outcome, const struct lease_grant *got, size_t count) {
	grant_count = count;
	assert_int_equal(got != NULL, outcome == LEASE_DONE);
	if (got)
		memcpy(grants, got, count * sizeof(*got));
	tell_outcome(context, outcome);
}

static bool has_rival;

static void on_pulsed(void *context, enum lease_outcome outcome, const struct database_pulse *pulse) {
	has_rival = pulse && pulse->rival;
	tell_outcome(context, outcome);
}

static void take(struct fixture *f, const struct lease_request *requests, size_t count) {
	f->inside = true;
	database_take(f->db, 3, requests, count, on_grants, f);
	f->inside = false;
}

/* state and fallback_ms tell the stand-in what to do */
static void beat(struct fixture *f, const char *state, int64_t fallback_ms) {
	f->inside = true;
	database_heartbeat(f->db, state, 0, fallback_ms, on_pulsed, f);
	f->inside = false;
}

static struct lease_request request_of(const char *client_id, size_t length, int32_t i) {
	return (struct lease_request){
		.policy_id = 1, .client_id = client_id, .client_id_len = (uint8_t)length, .need = i, .least = i % 10, .want = i + 1,
		.next_want = i + 2, .charge = i + 3, .return_sub_window = i + 4, .return_first = i + 5, .return_second = i + 6};
}

static void check_grant(const struct lease_grant *g, int32_t i) {
	assert_true(g->answered);
	assert_int_equal(g->sub_window, 1000 + i);
	assert_int_equal(g->remaining, i % 10);
	assert_int_equal(g->granted, i + 1);
	assert_int_equal(g->granted_next, i + 2);
	assert_int_equal(g->charged, i + 3);
	assert_int_equal(g->retry_us, i + 4);
	assert_int_equal(g->reset_us, i + 5);
	assert_int_equal(g->max_requests, i + 6);
	assert_int_equal(g->valid_us, 5000);
	assert_int_equal(g->starts_in_us, 5000);
	assert_int_equal(g->next_valid_us, 10000);
}

static void takes_leases(void **state) {
	struct fixture *f = *state;
	static struct lease_request requests[1000];
	static char ids[1000][16];
	open_database(f, "dbname=stub", 5000);
	expect(f, "U");
	for (int i = 0; i < 1000; i++) {
		int length = snprintf(ids[i], sizeof(ids[i]), "client %d", i);
		requests[i] = request_of(ids[i], (size_t)length, i);
	}
	take(f, requests, 1);
	expect(f, "Ud");
	assert_int_equal(grant_count, 1);
	check_grant(&grants[0], 0);
	requests[3].policy_id = 0; /* unknown to the stand-in */
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

/* A batch of clients that are new to this agent has a call of its own; one that is not makes it a batch like others. */
static void takes_first_leases(void **state) {
	struct fixture *f = *state;
	struct lease_request requests[20];
	static char ids[20][16];
	open_database(f, "dbname=stub", 5000);
	expect(f, "U");
	for (int i = 0; i < 20; i++) {
		int length = snprintf(ids[i], sizeof(ids[i]), "new %d", i);
		requests[i] = (struct lease_request){.policy_id = 40 + i, .client_id = ids[i], .client_id_len = (uint8_t)length, .need = 2 + i,
		                                     .least = 1 + i, .want = 3 + i, .first = true};
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
		assert_int_equal(grants[i].retry_us, 3); /* hosts */
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

static void carries_any_client_id(void **state) {
	struct fixture *f = *state;
	static const struct {
		const char *id;
		size_t length;
		bool good;
	} ids[] = {
		{"it's", 4, true}, {"\"quoted\"", 8, true}, {"new\nline\ttab", 12, true}, {"back\\slash\\000", 14, true},
		{"{a,b}", 5, true}, {"NULL", 4, true}, {"null", 4, true}, {"$1; drop table x --", 19, true}, {" ", 1, true},
		{"\xe2\x82\xac \xf0\x9f\x98\x80", 8, true}, {"\x01\x7f", 2, true}, {"a\0b", 3, false}, {"\xff", 1, false},
		{"\xc0\x80", 2, false}, {"\xed\xa0\x80", 3, false}, {"\xf4\x90\x80\x80", 4, false}, {"\xe2\x82", 2, false},
		{"\xe0\x80\x80", 3, false}, {"\xf0\x80\x80\x80", 4, false}, {"a\x80", 2, false},
	};
	enum { COUNT = sizeof(ids) / sizeof(ids[0]) };
	struct lease_request requests[COUNT];
	for (int i = 0; i < COUNT; i++)
		requests[i] = request_of(ids[i].id, ids[i].length, i);
	open_database(f, "dbname=stub", 5000);
	expect(f, "U");
	admin_do(f, "stub", "truncate stint.seen");
	take(f, requests, COUNT);
	expect(f, "Ud");
	struct pg *pg = admin_connect(f, "stub");
	for (int i = 0; i < COUNT; i++) {
		struct pg_rows rows;
		const char *const parameters[] = {ids[i].id};
		assert_int_equal(grants[i].answered, ids[i].good);
		if (!ids[i].good)
			continue;
		check_grant(&grants[i], i);
		assert_int_equal(pg_query(pg, "select from stint.seen where client_id = $1", 1, parameters, &rows), PG_OK);
		assert_int_equal(rows.row_count, 1);
		pg_rows_free(&rows);
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
	assert_int_equal(count, 2);
	assert_string_equal(rows[0].name, "a");
	assert_int_equal(rows[0].max_requests, 100);
	assert_int_equal(rows[0].algorithm, 0);
	assert_int_equal(rows[0].mode, 0);
	assert_false(rows[0].pinned);
	assert_int_equal(rows[1].policy_id, 2);
	assert_int_equal(rows[1].max_requests, 1000000000);
	assert_int_equal(rows[1].time_window_ms, INT64_C(2678400000));
	assert_int_equal(rows[1].fallback_max_requests, 2000000000);
	assert_int_equal(rows[1].fallback_time_window_ms, 100);
	assert_int_equal(rows[1].algorithm, 1);
	assert_int_equal(rows[1].resolution, 1);
	assert_int_equal(rows[1].mode, 1);
	assert_true(rows[1].pinned);
	tell_outcome(context, outcome);
}

static void on_changes(void *context, enum lease_outcome outcome, const struct change_row *rows, size_t count) {
	assert_int_equal(count, 2);
	assert_int_equal(rows[0].change_id, 42);
	assert_string_equal(rows[0].client_id, "");
	assert_int_equal(rows[1].policy_id, 2);
	assert_string_equal(rows[1].client_id, "it's");
	tell_outcome(context, outcome);
}

static void on_expired(void *context, enum lease_outcome outcome, int64_t examined, int64_t deleted) {
	assert_int_equal(examined, 500);
	assert_int_equal(deleted, 3);
	tell_outcome(context, outcome);
}

static void on_ended(void *context, enum lease_outcome outcome) {
	tell_outcome(context, outcome);
}

static void makes_every_call(void **state) {
	struct fixture *f = *state;
	static const struct policy_row policy = {.name = "p", .max_requests = 10, .time_window_ms = 1000, .fallback_max_requests = 20,
	                                         .fallback_time_window_ms = 2000, .algorithm = 1, .resolution = 5, .mode = 1};
	char answer[256];
	open_database(f, "dbname=stub", 5000);
	expect(f, "U");
	database_declare(f->db, &policy, true, on_declared, f);
	database_get_policies(f->db, on_policies, f);
	database_get_changes(f->db, 41, on_changes, f);
	database_expire_counters(f->db, 500, on_expired, f);
	database_report_fallback(f->db, 1, 2, 3, 4, "it's\nover", on_ended, f);
	beat(f, "in step", 0);
	database_stop_host(f->db, on_ended, f);
	assert_int_equal(database_in_flight(f->db), 7);
	expect(f, "Uddddddd");
	admin_ask(f, "stub", "select note from stint.seen where client_id = 'p'", answer, sizeof(answer));
	assert_string_equal(answer, "10 1000 20 2000 fixed_window 5 relaxed t");
	admin_ask(f, "stub", "select note from stint.seen where client_id = E'it''s\\nover'", answer, sizeof(answer));
	assert_string_equal(answer, "7 1 2 3 4");
	assert_false(has_rival);
	beat(f, "not alone", 0);
	expect(f, "Udddddddd");
	assert_true(has_rival);
	close_database(f);
}

static void hears_notifications(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	admin_do(f, "stub", "notify another; notify stint, '5'");
	expect(f, "UN");
	close_database(f);
}

/* ---- Failures of one statement ------------------------------------------------------------------ */

static void a_rejected_statement_leaves_the_connection_up(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	beat(f, "error 22023", 0);
	beat(f, "in step", 0);
	beat(f, "error 40001", 0);
	beat(f, "error ST001", 0);
	expect(f, "Urdrr");
	assert_string_equal(database_last_error(f->db), "as asked [none]");
	beat(f, "slow", TIMEOUT_MS * 9 / 10); /* the server gives up before the agent does */
	expect(f, "Urdrrr");
	assert_non_null(strstr(database_last_error(f->db), "statement timeout"));
	run_for(f, 50);
	assert_true(database_is_up(f->db));
	close_database(f);
}

static void a_commit_that_fails_is_a_rejection(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	beat(f, "late", 0);
	beat(f, "in step", 0);
	expect(f, "Urd");
	assert_string_equal(database_last_error(f->db), "too late");
	close_database(f);
}

static void a_commit_with_a_warning_is_unknown(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	beat(f, "warn", 0);
	beat(f, "in step", 0);
	expect(f, "U?d");
	close_database(f);
}

static void a_server_that_cannot_serve_is_left(void **state) {
	static const char *const errors[] = {"error 53100", "error 57P03", "error 58030", "error XX000", "error 25006", "error 40003"};
	struct fixture *f = *state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		open_database(f, "dbname=stub", TIMEOUT_MS);
		expect(f, "U");
		beat(f, errors[i], 0);
		beat(f, "in step", 0);
		expect(f, "U??DU");
		expect_why(f, "as asked");
		close_database(f);
	}
}

static void lost_prepared_statements_are_noticed(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	beat(f, "forget", 0);
	expect(f, "Ud");
	beat(f, "in step", 0);
	expect(f, "Ud?DU");
	expect_why(f, "pooler in transaction mode");
	close_database(f);
}

static void a_host_without_a_row_registers_again(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	beat(f, "gone", 0);
	expect(f, "UdDU");
	expect_why(f, "host's row is gone");
	close_database(f);
}

/* ---- Answers that can't be -------------------------------------------------------------------------- */

static void impossible_answers_break_the_connection(void **state) {
	static const char *const rows[] = {
		"select 0, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1",    /* ordinal 0 */
		"select 3, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1",    /* beyond */
		"select -1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1 from generate_series(1, 2)",
		"select null::int, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1",
		"select 1, -1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1",
		"select 1, 2147483647, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1",
		"select 1, 1, 1::bigint, -1::bigint, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1",
		"select 1, 1, 1::bigint, 9223372036854775807, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, -2::bigint, 1::bigint, 1, 1",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, null::int, 1",
	};
	struct fixture *f = *state;
	const struct lease_request requests[] = {request_of("a", 1, 0), request_of("b", 1, 1)};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		make_take(f, GOOD_COLUMNS, rows[i]);
		open_database(f, "dbname=stub", TIMEOUT_MS);
		expect(f, "U");
		take(f, requests, 2);
		beat(f, "in step", 0);
		expect(f, "U??D");
		expect_why(f, "stint.take_leases answered what this agent does not understand");
		close_database(f);
	}
	make_take(f, GOOD_COLUMNS, GOOD_ROWS);
}

static void other_types_break_the_connection(void **state) {
	struct fixture *f = *state;
	const struct lease_request request = request_of("a", 1, 0);
	make_take(f, "request text, granted text, sub_window text, valid_us float8, granted_next bool, starts_in_us text,"
	             " next_valid_us text, remaining text, retry_us text, reset_us text, max_requests text, charged text",
	          "select '1', '1', '1', 1.0::float8, true, '1', '1', '1', '1', '1', '1', '1'");
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	take(f, &request, 1);
	expect(f, "U?D");
	close_database(f);
	make_take(f, GOOD_COLUMNS, GOOD_ROWS);
}

/* ---- Failures of the connection ------------------------------------------------------------------------ */

static void a_killed_backend_leaves_the_unknown(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", 5000);
	expect(f, "U");
	beat(f, "slow", 3000);
	beat(f, "in step", 0);
	beat(f, "in step", 0);
	run_for(f, 100);
	admin_do(f, "stub", "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'stintd/%'");
	expect(f, "U???DU");
	expect_why(f, "terminating connection due to administrator command");
	assert_int_equal(database_in_flight(f->db), 0);
	admin_do(f, "stub", "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'stintd/%'");
	expect(f, "U???DUDU"); /* nothing was under way */
	expect_why(f, "terminating connection due to administrator command");
	close_database(f);
}

static void a_paused_server_meets_the_deadline(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	cluster_must(f, "pause");
	int64_t began = test_now_ms();
	beat(f, "in step", 0);
	run_for(f, TIMEOUT_MS / 2);
	beat(f, "in step", 0);
	expect(f, "U??D");
	assert_in_range(test_now_ms() - began, TIMEOUT_MS - 20, TIMEOUT_MS + 1500);
	expect_why(f, "stint.heartbeat has no answer within 600 ms");
	expect(f, "U??DD");
	cluster_must(f, "resume");
	for (int64_t end = test_now_ms() + PATIENCE_MS; !database_is_up(f->db) && test_now_ms() < end;)
		run_for(f, 10);
	assert_true(database_is_up(f->db));
	close_database(f);
}

/* The lock file of a killed server stands in the way until its process has been reaped. */
static void cluster_start_again(const struct fixture *f) {
	char line[256];
	int e = -1;
	for (int64_t end = test_now_ms() + PATIENCE_MS; e != 0 && test_now_ms() < end;)
		e = cluster_command(f, "start", line, sizeof(line));
	assert_int_equal(e, 0);
}

static void a_killed_server_comes_back(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	beat(f, "slow", 400);
	run_for(f, 50);
	cluster_must(f, "kill");
	expect(f, "U?D");
	cluster_start_again(f);
	for (int64_t end = test_now_ms() + PATIENCE_MS; !database_is_up(f->db) && test_now_ms() < end;)
		run_for(f, 10);
	assert_true(database_is_up(f->db));
	close_database(f);
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
		database_heartbeat(f->db, "in step", 0, 0, on_pulsed_beat_again, f);
}

static void a_callback_may_start_operations(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	beats_left = 5;
	database_heartbeat(f->db, "in step", 0, 0, on_pulsed_beat_again, f); /* not up yet: some of them are rejected */
	expect(f, "r");
	for (int64_t end = test_now_ms() + PATIENCE_MS; beats_left > 0 && test_now_ms() < end;)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_int_equal(beats_left, 0);
	close_database(f);
}

/* More than socket buffers hold, while the server reads nothing. */
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
	open_database(f, "dbname=stub", 20000);
	expect(f, "U");
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

/* Address sanitizer and valgrind see what is left. */
static void frees_what_is_under_way(void **state) {
	struct fixture *f = *state;
	const struct lease_request request = request_of("a", 1, 0);
	open_database(f, "dbname=stub", TIMEOUT_MS);
	take(f, &request, 1);
	close_database(f); /* connecting */
	open_database(f, "dbname=stub", 5000);
	expect(f, "U");
	beat(f, "slow", 200);
	for (int i = 0; i < 100; i++)
		take(f, &request, 1);
	run_for(f, 20);
	close_database(f);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_why_it_cannot_connect),
		cmocka_unit_test(refuses_a_schema_that_it_cannot_work_with),
		cmocka_unit_test(works_with_a_newer_schema_that_breaks_nothing),
		cmocka_unit_test(tries_again_with_growing_pauses),
		cmocka_unit_test(gives_up_on_a_mute_server_and_tries_the_next),
		cmocka_unit_test(comes_up_and_says_hello),
		cmocka_unit_test(takes_leases),
		cmocka_unit_test(takes_first_leases),
		cmocka_unit_test(carries_any_client_id),
		cmocka_unit_test(makes_every_call),
		cmocka_unit_test(hears_notifications),
		cmocka_unit_test(a_rejected_statement_leaves_the_connection_up),
		cmocka_unit_test(a_commit_that_fails_is_a_rejection),
		cmocka_unit_test(a_commit_with_a_warning_is_unknown),
		cmocka_unit_test(a_server_that_cannot_serve_is_left),
		cmocka_unit_test(lost_prepared_statements_are_noticed),
		cmocka_unit_test(a_host_without_a_row_registers_again),
		cmocka_unit_test(impossible_answers_break_the_connection),
		cmocka_unit_test(other_types_break_the_connection),
		cmocka_unit_test(a_killed_backend_leaves_the_unknown),
		cmocka_unit_test(a_paused_server_meets_the_deadline),
		cmocka_unit_test(a_killed_server_comes_back),
		cmocka_unit_test(operations_without_a_connection_are_rejected),
		cmocka_unit_test(a_callback_may_start_operations),
		cmocka_unit_test(many_operations_keep_their_order),
		cmocka_unit_test(frees_what_is_under_way),
	};
	return cmocka_run_group_tests(tests, setup, remove_cluster);
}
