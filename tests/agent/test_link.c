/*
 * test_link.c - what the agent makes of a server's timeline, with a database in the test's place: when are its grants
 * held back, and for how long; and what is declared meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "fake_table.h"

#define MS INT64_C(1000000)
#define SUB_MS 2000 /* a sub-window of the test's policy: leases last 4 s, and the slack */
#define OLD_US (INT64_C(86400) * 1000000)

static struct agent agent;
static struct fake_table table;
static database_policies *synced;
static database_declared *declared; /* NULL: no declaration is under way */
static void *declaration;

/* ---- The database ------------------------------------------------------------------- */

static struct database {
	int unused;
} the_database;

int database_new(struct database **out, struct event_base *base, const struct database_options *options,
                 const struct database_events *events, void *context) {
	(void)base, (void)options, (void)events, (void)context;
	*out = &the_database;
	return 0;
}

void database_free(struct database *db) {
	(void)db;
}

void database_connect(struct database *db) {
	(void)db;
}

bool database_is_up(const struct database *db) {
	return db != NULL;
}

size_t database_in_flight(const struct database *db) {
	(void)db;
	return 0;
}

const char *database_last_error(const struct database *db) {
	(void)db;
	return "";
}

void database_take(struct database *db, int hosts, const struct lease_request *requests, size_t count, database_grants *done,
                   void *context) {
	(void)db, (void)hosts, (void)requests, (void)count, (void)done, (void)context;
}

void database_declare(struct database *db, const struct policy_row *policy, bool again, database_declared *done, void *context) {
	(void)db, (void)policy, (void)again;
	declared = done;
	declaration = context;
}

void database_get_policies(struct database *db, database_policies *done, void *context) {
	(void)db, (void)context;
	synced = done;
}

void database_get_changes(struct database *db, int64_t since, database_changes *done, void *context) {
	(void)db, (void)since, (void)done, (void)context;
}

void database_heartbeat(struct database *db, const char *state, int64_t clients, int64_t fallback_ms, database_pulsed *done,
                        void *context) {
	(void)db, (void)state, (void)clients, (void)fallback_ms, (void)done, (void)context;
}

void database_expire_counters(struct database *db, int batch, database_expired *done, void *context) {
	(void)db, (void)batch, (void)done, (void)context;
}

void database_report_fallback(struct database *db, int64_t lasted_ms, int64_t ended_ms_ago, int64_t admitted, int64_t clients,
                              const char *reason, database_ended *done, void *context) {
	(void)db, (void)lasted_ms, (void)ended_ms_ago, (void)admitted, (void)clients, (void)reason, (void)done, (void)context;
}

void database_stop_host(struct database *db, database_ended *done, void *context) {
	(void)db, (void)done, (void)context;
}

/* ---- The agent --------------------------------------------------------------------------- */

static const struct policy_row api = {
	.policy_id = 9,
	.name = "api",
	.max_requests = 100,
	.time_window_ms = 10 * SUB_MS,
	.fallback_max_requests = 200,
	.fallback_time_window_ms = 10 * SUB_MS,
	.resolution = 10,
};

static void on_wakeup(evutil_socket_t fd, short what, void *context) {
	(void)fd, (void)what, (void)context;
}

static void on_take(void *context, int hosts, const struct lease_request *requests, size_t count) {
	(void)context, (void)hosts, (void)requests, (void)count;
}

static int begin(void **state) {
	static const struct core_io io = {.take = on_take};
	const struct core_options options = {.grace_ns = 500 * MS, .idle_timeout_ns = 60000 * MS};
	static const struct server_events nobody_comes = {.want = NULL};
	char path[64], error[SERVER_ERROR_MAX];
	snprintf(path, sizeof path, "/tmp/stint-test-link.%d", (int)getpid());
	const struct server_options served = {.socket_path = path, .directory_fd = -1, .table_fd = -1, .generation = 1};
	(void)state;
	declared = NULL;
	agent = (struct agent){.database = &the_database, .link.state = CORE_CONNECTING};
	fake_table_make(&table, 64, 7);
	agent.base = event_base_new();
	agent.wakeup = event_new(agent.base, -1, 0, on_wakeup, NULL);
	assert_non_null(agent.wakeup);
	assert_int_equal(server_new(&agent.server, agent.base, &served, &nobody_comes, NULL, error), 0);
	assert_int_equal(core_new(&agent.core, &table.table, agent_now_ns(), &options, &io, NULL), 0);
	policies_init(&agent.policies, table.directory, false);
	agent_apply_policy(&agent, policies_add(&agent.policies, &api), true);
	return 0;
}

static int end(void **state) {
	(void)state;
	declarations_free(&agent);
	core_free(agent.core);
	server_free(agent.server);
	event_free(agent.wakeup);
	event_base_free(agent.base);
	fake_table_free(&table);
	return 0;
}

static void meets(const char *timeline, int64_t age_us) {
	struct database_hello hello = {.host_id = 1, .now_us = 1, .live_hosts = 2, .timeline_age_us = age_us};
	snprintf(hello.timeline, sizeof hello.timeline, "%s", timeline);
	link_events.up(&agent, &hello);
	synced(&agent, LEASE_DONE, &api, 1);
}

static void loses(void) {
	link_events.down(&agent, "it is gone");
}

static void expect_held_for(int64_t least_ms, int64_t most_ms) {
	int64_t held_ms = (core_held_until_ns(agent.core) - agent_now_ns()) / MS;
	assert_in_range(held_ms < 0 ? 0 : held_ms, least_ms, most_ms);
}

/* ---- The tests ------------------------------------------------------------------------------- */

static void the_first_server_is_trusted(void **state) {
	(void)state;
	meets("00000001", -1);
	expect_held_for(0, 0);
	assert_int_equal(core_state(agent.core), CORE_IN_STEP);
}

static void a_new_timeline_is_held(void **state) {
	(void)state;
	meets("00000001", -1);
	loses();
	meets("00000002", 100000);
	expect_held_for(2 * SUB_MS - 1000, 2 * SUB_MS + 20);
}

/* Its record says that this timeline has been known for long; but until a moment ago another server granted leases. */
static void so_is_an_old_primary_that_comes_back(void **state) {
	(void)state;
	meets("00000002", OLD_US);
	expect_held_for(0, 0);
	loses();
	meets("00000001", 2 * OLD_US);
	expect_held_for(2 * SUB_MS - 1000, 2 * SUB_MS + 20);
}

static void no_age_holds_it_for_ever(void **state) {
	(void)state;
	meets("00000001", -1);
	loses();
	meets("00000002", INT64_MAX);
	expect_held_for(0, 2 * SUB_MS + 20);
}

static void so_is_a_server_that_the_configuration_names_now(void **state) {
	(void)state;
	meets("00000001", -1);
	link_reopen(&agent);
	meets("00000002", OLD_US);
	expect_held_for(2 * SUB_MS - 1000, 2 * SUB_MS + 20);
}

static void another_way_to_the_same_server_is_not(void **state) {
	(void)state;
	meets("00000002", OLD_US);
	link_reopen(&agent);
	meets("00000002", OLD_US);
	expect_held_for(0, 0);
	assert_int_equal(core_state(agent.core), CORE_IN_STEP);
}

static void a_new_agent_is_held_while_old_leases_last(void **state) {
	(void)state;
	meets("00000002", SUB_MS * 1000);
	expect_held_for(SUB_MS - 1000, SUB_MS + 20);
}

/* Left in the table by an agent that had died before the promotion; the hold is over, the lease is not. */
static void a_new_agent_burns_leases_that_outlast_the_hold(void **state) {
	struct policy_row slow = api;
	int64_t now_ns = agent_now_ns();
	struct place place = table_place(&table.table, 0, "a", 1);
	uint32_t slot = table_claim(&table.table, &place, 0, TABLE_ORPHAN);
	(void)state;
	slow.time_window_ms = slow.fallback_time_window_ms = 36000000;
	policies_set(&agent.policies, 0, &slow);
	agent_apply_policy(&agent, 0, true);
	table_publish(&table.table, slot, 0, &(struct table_lease){.credits = 9, .deadline_ns = now_ns + 3600000 * MS});
	struct database_hello hello = {.host_id = 1, .now_us = 1, .live_hosts = 2, .timeline = "00000002", .timeline_age_us = 60000000};
	link_events.up(&agent, &hello);
	synced(&agent, LEASE_DONE, &slow, 1);
	assert_int_equal(core_state(agent.core), CORE_IN_STEP);
	assert_int_equal(table_credits(&table.table, slot, 0), 0);
}

/* ---- Declarations ------------------------------------------------------------------------- */

static void declares(const char *name) {
	const struct wire_declare message = {.max_requests = 5, .time_window_ms = 10000};
	declaration_on_message(&agent, 0, &message, name, strlen(name));
}

static void is_held_in_fallback(void) {
	meets("00000001", -1);
	loses();
	loses(); /* and is not back at once */
	meets("00000002", 0);
	assert_int_equal(core_state(agent.core), CORE_FALLBACK);
}

/* Nothing would tell the database of it afterwards, and checks of a policy that it doesn't know fail. */
static void what_is_declared_during_a_hold_is_declared_to_the_database(void **state) {
	(void)state;
	is_held_in_fallback();
	declares("mail");
	assert_non_null(declared);
}

static void or_decided_here_when_it_is_lost_again(void **state) {
	(void)state;
	is_held_in_fallback();
	declares("mail");
	declared(declaration, LEASE_UNKNOWN, "", 0);
	loses();
	assert_true(policies_find(&agent.policies, "mail") >= 0);
}

static void what_is_declared_while_policies_are_loaded_waits_for_them(void **state) {
	const struct database_hello hello = {.host_id = 1, .now_us = 1, .live_hosts = 2, .timeline = "00000001", .timeline_age_us = -1};
	(void)state;
	loses();
	assert_int_equal(core_state(agent.core), CORE_FALLBACK);
	link_events.up(&agent, &hello);
	declares("mail");
	assert_null(declared);
	synced(&agent, LEASE_DONE, &api, 1);
	assert_non_null(declared);
}

static void but_is_decided_here_when_they_can_not_be_loaded(void **state) {
	const struct database_hello hello = {.host_id = 1, .now_us = 1, .live_hosts = 2, .timeline = "00000001", .timeline_age_us = -1};
	(void)state;
	loses();
	link_events.up(&agent, &hello);
	declares("mail");
	synced(&agent, LEASE_REJECTED, NULL, 0);
	assert_true(policies_find(&agent.policies, "mail") >= 0);
}

/* Somebody had the row locked, say: until then checks of the policy fail. */
static void what_was_refused_at_the_return_is_declared_with_the_next_heartbeat(void **state) {
	(void)state;
	loses();
	declares("mail");
	meets("00000001", -1);
	assert_non_null(declared);
	declared(declaration, LEASE_REJECTED, "", 0);
	declared = NULL;
	synced = NULL;
	link_on_heartbeat(&agent);
	assert_non_null(declared);
	assert_non_null(synced); /* and its id is asked for */
	declared(declaration, LEASE_DONE, "created", 7);
	declared = NULL;
	link_on_heartbeat(&agent);
	assert_null(declared);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(the_first_server_is_trusted),
		TEST(a_new_timeline_is_held),
		TEST(so_is_an_old_primary_that_comes_back),
		TEST(no_age_holds_it_for_ever),
		TEST(so_is_a_server_that_the_configuration_names_now),
		TEST(another_way_to_the_same_server_is_not),
		TEST(a_new_agent_is_held_while_old_leases_last),
		TEST(a_new_agent_burns_leases_that_outlast_the_hold),
		TEST(what_is_declared_during_a_hold_is_declared_to_the_database),
		TEST(or_decided_here_when_it_is_lost_again),
		TEST(what_is_declared_while_policies_are_loaded_waits_for_them),
		TEST(but_is_decided_here_when_they_can_not_be_loaded),
		TEST(what_was_refused_at_the_return_is_declared_with_the_next_heartbeat),
	};
	return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
