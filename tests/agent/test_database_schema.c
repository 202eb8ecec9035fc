/*
 * test_database_schema.c - the connection to PostgreSQL against the schema in sql/, as a
 * role that has an agent's rights and no others: that both sides mean the same by
 * each call. What is granted, and why, is for tests/sql.
 */
#include "database_fixture.h"

#include <glob.h>

#define STINT_DATABASE "dbname=stint user=agent"

/* ---- Installing --------------------------------------------------------------------- */

static char *read_file(const char *path) {
	FILE *file = fopen(path, "r");
	char *text = calloc(1, 65536);
	assert_non_null(file);
	assert_non_null(text);
	assert_in_range(fread(text, 1, 65535, file), 1, 65534);
	fclose(file);
	return text;
}

static int setup(void **state) {
	glob_t files;
	if (start_cluster(state) != 0 || glob("sql/002_*/*.sql", 0, NULL, &files) != 0)
		return -1;
	struct fixture *f = *state;
	struct pg *pg = admin_connect(f, "stint");
	assert_int_equal(pg_script(pg, "begin"), PG_OK);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		char *sql = read_file(files.gl_pathv[i]);
		if (pg_script(pg, sql) != PG_OK)
			fail_msg("%s: %s", files.gl_pathv[i], pg_error(pg));
		free(sql);
	}
	assert_int_equal(pg_script(pg, "commit; create role agent login in role stint_agent"), PG_OK);
	pg_close(pg);
	globfree(&files);
	return 0;
}

/* ---- Policies ------------------------------------------------------------------------- */

static char status[16];
static int32_t policy_id;
static struct policy_row policies[8];
static size_t policy_count;
static struct change_row changes[16];
static size_t change_count;

static void on_declared(void *context, enum lease_outcome outcome, const char *got, int32_t id) {
	snprintf(status, sizeof(status), "%s", got);
	policy_id = id;
	tell_outcome(context, outcome);
}

static void on_policies(void *context, enum lease_outcome outcome, const struct policy_row *rows, size_t count) {
	policy_count = count;
	memcpy(policies, rows, (count < 8 ? count : 8) * sizeof(*rows));
	tell_outcome(context, outcome);
}

static void on_changes(void *context, enum lease_outcome outcome, const struct change_row *rows, size_t count) {
	change_count = count;
	memcpy(changes, rows, (count < 16 ? count : 16) * sizeof(*rows));
	tell_outcome(context, outcome);
}

static int count_of(const struct fixture *f, char letter) {
	int found = 0;
	for (const char *c = f->story; *c != '\0'; c++)
		found += *c == letter;
	return found;
}

/* Runs until the letter has come so often; notifications may come in between. */
static void expect_count(struct fixture *f, char letter, int count) {
	for (int64_t end = test_now_ms() + PATIENCE_MS; test_now_ms() < end; event_base_loop(f->base, EVLOOP_ONCE))
		if (count_of(f, letter) >= count)
			return;
	fail_msg("not %d times %c in %s; %s", count, letter, f->story, database_last_error(f->db));
}

/* What has just been asked for is done. */
static void expect_done(struct fixture *f, int done_before) {
	expect_count(f, 'd', done_before + 1);
}

static const struct policy_row api = {.name = "api",
                                      .max_requests = 100,
                                      .time_window_ms = 60000,
                                      .fallback_max_requests = 200,
                                      .fallback_time_window_ms = 60000,
                                      .algorithm = 0,
                                      .resolution = 10,
                                      .mode = 0};

static void declare(struct fixture *f, const struct policy_row *policy, bool again, const char *expected) {
	int done = count_of(f, 'd');
	database_declare(f->db, policy, again, on_declared, f);
	expect_done(f, done);
	assert_string_equal(status, expected);
}

static void get_policy(struct fixture *f, const char *name) {
	int done = count_of(f, 'd');
	database_get_policies(f->db, (const char *const[]){name}, 1, on_policies, f);
	expect_done(f, done);
	assert_int_equal(policy_count, 1);
	assert_string_equal(policies[0].name, name);
}

static void get_changes(struct fixture *f, int64_t since) {
	int done = count_of(f, 'd');
	database_get_changes(f->db, since, on_changes, f);
	expect_done(f, done);
}

static void declares_policies(struct fixture *f) {
	struct policy_row other = api;
	declare(f, &api, false, "created");
	expect_count(f, 'N', 1);
	declare(f, &api, false, "unchanged");
	other.max_requests = 50;
	declare(f, &other, true, "kept");
	other.max_requests = 0;
	database_declare(f->db, &other, false, on_declared, f);
	expect_count(f, 'r', 1);
	assert_non_null(strstr(database_last_error(f->db), "max_requests is 0"));
	assert_true(database_is_up(f->db));
}

static void hears_of_changes(struct fixture *f) {
	admin_do(f, "stint", "select stint.set_policy('api', 70, 1000, mode => 'relaxed')");
	expect_count(f, 'N', 2);
	admin_do(f, "stint", "select stint.block_client('api', 'it''s')");
	expect_count(f, 'N', 3);
	declare(f, &api, false, "pinned");
	get_policy(f, "api");
	assert_int_equal(policies[0].policy_id, policy_id);
	assert_int_equal(policies[0].max_requests, 70);
	assert_int_equal(policies[0].fallback_max_requests, 140);
	assert_int_equal(policies[0].mode, 1);
	assert_true(policies[0].pinned);
	assert_false(policies[0].shadow);
	get_changes(f, 0);
	assert_int_equal(change_count, 3);
	assert_string_equal(changes[0].client_id, "");
	assert_string_equal(changes[2].client_id, "it's");
	assert_int_equal(changes[2].policy_id, policy_id);
	get_changes(f, changes[2].change_id);
	assert_int_equal(change_count, 0);
}

static void declares_policies_and_hears_of_changes(void **state) {
	struct fixture *f = *state;
	come_up(f, STINT_DATABASE, 5000);
	assert_in_range(f->hello.host_id, 1, 1000);
	assert_int_equal(f->hello.live_hosts, 1);
	assert_int_equal(f->hello.change_id, 0);
	declares_policies(f);
	hears_of_changes(f);
	close_database(f);
}

static void declares_a_shadow(void **state) {
	struct fixture *f = *state;
	struct policy_row dark = api;
	dark.shadow = true;
	strcpy(dark.name, "dark");
	come_up(f, STINT_DATABASE, 5000);
	declare(f, &dark, false, "created");
	get_policy(f, "dark");
	assert_true(policies[0].shadow);
	close_database(f);
}

/* ---- Leases ------------------------------------------------------------------------------ */

static struct lease_grant grants[256];

static void on_grants(void *context, enum lease_outcome outcome, const struct lease_grant *got, size_t count) {
	if (got)
		memcpy(grants, got, count * sizeof(*got));
	tell_outcome(context, outcome);
}

/* Comes up, with a policy like api of this name. */
static void come_up_with(struct fixture *f, const char *name, int32_t resolution) {
	struct policy_row policy = api;
	snprintf(policy.name, sizeof(policy.name), "%s", name);
	policy.resolution = resolution;
	come_up(f, STINT_DATABASE, 5000);
	declare(f, &policy, false, "created");
}

static void take(struct fixture *f, int hosts, const struct lease_request *requests, size_t count) {
	int done = count_of(f, 'd');
	database_take(f->db, hosts, requests, count, on_grants, f);
	expect_done(f, done);
}

static struct lease_request request_for(int32_t policy, const char *client_id, int32_t need) {
	return (struct lease_request){.policy_id = policy,
	                              .client_id = client_id,
	                              .client_id_len = (uint8_t)strlen(client_id),
	                              .need = need,
	                              .least = 1,
	                              .want = need};
}

static void takes_and_returns_credits(void **state) {
	struct fixture *f = *state;
	come_up_with(f, "taken", 10);

	struct lease_request requests[] = {request_for(policy_id, "a", 30), request_for(policy_id + 1000, "a", 1),
	                                   request_for(policy_id, "", 1), request_for(policy_id, "b\xff", 1)};
	requests[0].next_want = 5;
	requests[0].charge = 10;
	take(f, 1, requests, 4);
	assert_true(grants[0].answered);
	assert_int_equal(grants[0].granted, 30);
	assert_int_equal(grants[0].granted_next, 5);
	assert_int_equal(grants[0].charged, 10);
	assert_int_equal(grants[0].remaining, 55);
	assert_int_equal(grants[0].max_requests, 100);
	assert_in_range(grants[0].valid_us, 1, 6030000);
	assert_int_equal(grants[0].next_valid_us, grants[0].valid_us + 6030000);
	assert_int_equal(grants[0].starts_in_us, grants[0].valid_us);
	assert_int_equal(grants[0].next_sub_window, grants[0].sub_window + 6030000);
	assert_false(grants[0].next_is_open);
	assert_int_equal(grants[0].retry_us, 0);
	for (int i = 1; i < 4; i++)
		assert_false(grants[i].answered);

	requests[0] = request_for(policy_id, "a", 0);
	requests[0].report[0] = (struct lease_report){.sub_window = grants[0].sub_window, .unspent = 30};
	take(f, 1, requests, 1);
	assert_int_equal(grants[0].remaining, 85);

	requests[0] = request_for(policy_id, "a", 1000);
	take(f, 1, requests, 1);
	assert_int_equal(grants[0].granted, 85);
	requests[0] = request_for(policy_id, "a", 1);
	take(f, 1, requests, 1);
	assert_int_equal(grants[0].granted, 0);
	assert_true(grants[0].retry_us > 0);
	close_database(f);
}

static size_t recall_count;
static int64_t newest_recall;

static void on_recalls(void *context, enum lease_outcome outcome, const struct recall_row *rows, size_t count,
                       int64_t newest) {
	recall_count = count;
	newest_recall = newest;
	if (count > 0)
		assert_string_equal(rows[0].client_id, "a");
	tell_outcome(context, outcome);
}

/* The first recall after a while is noticed; those that follow are not. */
static void calls_leases_back(void **state) {
	struct fixture *f = *state;
	come_up_with(f, "called", 10);
	struct lease_request requests[] = {request_for(policy_id, "a", 1), request_for(policy_id, "b", 1)};
	take(f, 1, requests, 2);
	admin_do(f, "stint",
	         "update stint.counter set ahead = 5, counts = '{1}', turn = turn + 1 where client_id in ('a', 'b')");
	const struct lease_recall recalls[] = {{policy_id, "a", 1}, {policy_id, "b", 1}};
	database_recall(f->db, &recalls[0], 1, on_ended, f);
	expect_count(f, 'd', 3);
	expect_count(f, 'R', 1);
	database_recall(f->db, &recalls[1], 1, on_ended, f);
	database_get_recalls(f->db, 1, 0, on_recalls, f);
	expect_count(f, 'd', 5);
	assert_int_equal(recall_count, 2);
	expect_count(f, 'R', 1);
	database_get_recalls(f->db, 1, newest_recall, on_recalls, f);
	expect_count(f, 'd', 6);
	assert_int_equal(recall_count, 0);
	close_database(f);
}

/* The minute of the server's clock, as it says itself: so it doesn't matter when the test runs. */
static void what_was_decided_is_recorded_once(void **state) {
	struct fixture *f = *state;
	char answer[256];
	admin_ask(f, "stint", "select (extract(epoch from clock_timestamp()) / 60)::bigint - 3", answer,
	          sizeof(answer));
	int64_t minute = strtoll(answer, NULL, 10);
	const struct database_decision decisions[] = {
		{.minute = minute, .policy = "decided", .source = 1, .allowed = 100, .denied = 7},
		{.minute = minute + 1, .policy = "decided", .source = 3, .denied = 5, .shadow_denied = 2},
	};
	open_database(f, STINT_DATABASE, 5000);
	expect(f, "U");
	for (int i = 0; i < 2; i++)
		database_report_decisions(f->db, 1, decisions, 2, on_ended, f);
	expect(f, "Udd");
	admin_ask(
		f, "stint",
		"select string_agg(concat_ws(' ', host, source, allowed, denied, shadow_denied), ', ' order by minute)"
		" from stint.decision where policy = 'decided'",
		answer, sizeof(answer));
	assert_string_equal(answer, "t\xc3\xa4st lease 100 7 0, t\xc3\xa4st fallback 0 5 2");
	close_database(f);
}

/* Whatever is set for the role, what is asked for is counted for good before it is granted. The server here
 * doesn't write its log by itself. */
static void what_is_granted_outlives_a_crash(void **state) {
	struct fixture *f = *state;
	char answer[64];
	admin_do(f, "stint",
	         "alter role agent set synchronous_commit = off; alter role agent set client_min_messages = error");
	admin_do(f, "stint", "alter system set wal_writer_delay = '10s'");
	admin_do(f, "stint", "select pg_reload_conf()");
	come_up_with(f, "crash", 10);
	struct lease_request requests[] = {request_for(policy_id, "first", 30), request_for(policy_id, "known", 40)};
	requests[0].first = true;
	take(f, 1, &requests[0], 1);
	assert_int_equal(grants[0].granted, 30);
	take(f, 1, &requests[1], 1);
	cluster_must(f, "kill");
	close_database(f);
	cluster_must(f, "start");
	admin_ask(
		f, "stint",
		"select string_agg(granted::text, ' ' order by client_id) from stint.counter where client_id in ('first', 'known')",
		answer, sizeof(answer));
	assert_string_equal(answer, "30 40");
	admin_do(f, "stint", "alter role agent reset all");
}

/* The clients are new to this agent, whether or not the database knows them. */
static void takes_first_leases(void **state) {
	struct fixture *f = *state;
	/* With 40 a new client's lease, which is a brief one, is good for three sub-windows more. */
	come_up_with(f, "first", 40);

	struct lease_request requests[] = {request_for(policy_id, "new", 30), request_for(policy_id + 1000, "new", 1),
	                                   request_for(policy_id, "newer", 101)};
	for (int i = 0; i < 3; i++) {
		requests[i].first = true;
		requests[i].span = 4;
		requests[i].span_least = 1;
	}
	requests[0].want = 35;
	requests[2].least = 101;
	take(f, 1, requests, 3);
	assert_true(grants[0].answered);
	assert_int_equal(grants[0].granted, 30);
	assert_int_equal(grants[0].granted_next, 5);
	assert_int_equal(grants[0].remaining, 65);
	assert_int_equal(grants[0].max_requests, 100);
	assert_int_equal(grants[0].retry_us, 0);
	assert_true(grants[0].next_is_open);
	assert_in_range(grants[0].valid_us, 1 + 1507500, 2 * 1507500);
	assert_int_equal(grants[0].next_valid_us, grants[0].valid_us + 2 * 1507500);
	assert_int_equal(grants[0].next_sub_window, grants[0].sub_window + 2 * 1507500);
	assert_false(grants[1].answered);
	assert_true(grants[2].answered);
	assert_int_equal(grants[2].granted, 0);
	assert_int_equal(grants[2].retry_us, -1);

	requests[0].need = requests[0].want = 80;
	take(f, 1, requests, 1);
	assert_int_equal(grants[0].granted, 65);
	assert_int_equal(grants[0].remaining, 0);
	assert_true(grants[0].retry_us > 0);
	close_database(f);
}

static void takes_a_whole_batch(void **state) {
	struct fixture *f = *state;
	struct lease_request requests[256];
	static char ids[256][40];
	come_up_with(f, "batch", 10);
	for (int i = 0; i < 256; i++) {
		snprintf(ids[i], sizeof(ids[i]), "'\"\\\n%d {\xe2\x82\xac}", i * 7919 % 256);
		requests[i] = request_for(policy_id, ids[i], 1 + i % 50);
	}
	take(f, 2, requests, 256);
	for (int i = 0; i < 256; i++) {
		assert_true(grants[i].answered);
		assert_int_equal(grants[i].granted, 1 + i % 50);
		assert_int_equal(grants[i].remaining, 99 - i % 50);
	}
	close_database(f);
}

/* ---- The host ------------------------------------------------------------------------------ */

static bool row_found, has_rival;

static void on_pulsed(void *context, enum lease_outcome outcome, const struct database_pulse *pulse) {
	row_found = pulse != NULL;
	has_rival = pulse && pulse->rival;
	if (pulse)
		assert_int_equal(pulse->live_hosts, 1);
	tell_outcome(context, outcome);
}

static void on_expired(void *context, enum lease_outcome outcome, int64_t examined, int64_t deleted) {
	assert_true(examined >= deleted);
	tell_outcome(context, outcome);
}

static void keeps_the_host_s_row(void **state) {
	struct fixture *f = *state;
	char answer[128];
	come_up(f, STINT_DATABASE, 5000);
	database_heartbeat(f->db, "in step", 12, 0, 7, on_pulsed, f);
	database_heartbeat(f->db, "fallback", 12, 1500, -1, on_pulsed, f);
	database_expire_counters(f->db, 100, on_expired, f);
	database_report_fallback(f->db, 2000, 500, 33, 4, "it's\nover", on_ended, f);
	expect(f, "Udddd");
	admin_ask(f, "stint", "select concat_ws(' ', host, admitted, clients, reason) from stint.fallback_period",
	          answer, sizeof(answer));
	assert_string_equal(answer, "t\xc3\xa4st 33 4 it's\nover");
	admin_do(f, "stint", "delete from stint.agent_host");
	database_heartbeat(f->db, "in step", 12, 0, 7, on_pulsed, f);
	expect(f, "UdddddDU");
	assert_false(row_found);
	database_stop_host(f->db, on_ended, f);
	expect(f, "UdddddDUd");
	admin_ask(f, "stint", "select concat_ws(' ', name, state) from stint.host", answer, sizeof(answer));
	assert_string_equal(answer, "t\xc3\xa4st stopped");
	close_database(f);
}

static void pulse(struct fixture *f, int count) {
	database_heartbeat(f->db, "in step", 12, 0, 7, on_pulsed, f);
	expect_count(f, 'd', count);
}

static void hears_of_another_agent_of_its_name(void **state) {
	struct fixture *f = *state;
	char answer[128];
	come_up(f, STINT_DATABASE, 5000);
	pulse(f, 1);
	assert_false(has_rival);
	admin_do(f, "stint", "select stint.register_host('t\xc3\xa4st', 'two', '0.1')");
	pulse(f, 2);
	assert_true(has_rival);
	database_stop_host(f->db, on_ended, f);
	expect_count(f, 'd', 3);
	admin_ask(f, "stint", "select concat_ws(' ', name, state, rival) from stint.host", answer, sizeof(answer));
	assert_string_equal(answer, "t\xc3\xa4st resync");
	close_database(f);
}

/* As after a dump has been restored without the roles. */
static void says_that_the_schema_is_not_as_it_was_made(void **state) {
	struct fixture *f = *state;
	admin_do(f, "stint", "update pg_proc set proacl = null where proname = 'take_leases'");
	come_up(f, STINT_DATABASE, 5000);
	assert_non_null(strstr(f->hello.advice, "doesn't belong to stint_owner, or everybody may call its functions"));
	close_database(f);
	admin_do(f, "stint",
	         "revoke execute on function stint.take_leases from public;"
	         "grant execute on function stint.take_leases to stint_agent; alter schema stint owner to postgres");
	open_database(f, STINT_DATABASE, 5000);
	expect(f, "D");
	expect_why(f, "schema stint doesn't have its owner and rights any more: see `stint db status`");
	close_database(f);
	admin_do(f, "stint", "alter schema stint owner to stint_owner");
	come_up(f, STINT_DATABASE, 5000);
	assert_null(strstr(f->hello.advice, "stint_owner"));
	close_database(f);
}

static void lives_with_a_migration_that_breaks_nothing(void **state) {
	struct fixture *f = *state;
	admin_do(f, "stint", "insert into stint.migration (version, name, breaking) values (1001, 'additive', false)");
	come_up(f, STINT_DATABASE, 5000);
	close_database(f);
	admin_do(f, "stint", "insert into stint.migration (version, name, breaking) values (1002, 'breaking', true)");
	open_database(f, STINT_DATABASE, 5000);
	expect(f, "D");
	expect_why(f, "version 1002, which agents made for version 1002 or later can work with");
	close_database(f);
	admin_do(f, "stint", "delete from stint.migration where version > 1000");
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(declares_policies_and_hears_of_changes),
		cmocka_unit_test(declares_a_shadow),
		cmocka_unit_test(takes_and_returns_credits),
		cmocka_unit_test(calls_leases_back),
		cmocka_unit_test(what_was_decided_is_recorded_once),
		cmocka_unit_test(takes_first_leases),
		cmocka_unit_test(what_is_granted_outlives_a_crash),
		cmocka_unit_test(takes_a_whole_batch),
		cmocka_unit_test(keeps_the_host_s_row),
		cmocka_unit_test(hears_of_another_agent_of_its_name),
		cmocka_unit_test(says_that_the_schema_is_not_as_it_was_made),
		cmocka_unit_test(lives_with_a_migration_that_breaks_nothing),
	};
	return cmocka_run_group_tests(tests, setup, remove_cluster);
}
