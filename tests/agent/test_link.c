/*
 * test_link.c - the agent with a database in the test's place. What it makes of a server's timeline: when are its grants
 * held back, and for how long; what is declared meanwhile; how it reads what others have changed.
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
#include "stint.h"

#define MS INT64_C(1000000)
#define SUB_MS 2000 /* a sub-window of the test's policy: leases last 4 s, and the slack */
#define SLACK_MS 150
#define OLD_US (INT64_C(86400) * 1000000)

static struct agent agent;
static struct fake_table table;
static struct {
	database_policies *done; /* NULL: no read is under way */
	void *context;
	char names[8][64];
	size_t count;
} loading;
static database_declared *declared; /* NULL: no declaration is under way */
static void *declaration;
static char declared_name[64];
static unsigned declarations;
static database_changes *changed; /* NULL: no read is under way */
static int64_t since;
static unsigned reads;
static bool hears;
static database_pulsed *pulsed;
static unsigned pulses, heartbeats, expiries;
static database_ended *awaited; /* NULL: nobody asks whether tables are locked */
static bool met_a_lock;
static unsigned takes, verdicts;
static struct core_verdict verdict; /* the last */

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

bool database_was_reached(const struct database *db) {
	(void)db;
	return false;
}

size_t database_in_flight(const struct database *db) {
	(void)db;
	return 0;
}

const char *database_last_error(const struct database *db) {
	(void)db;
	return "";
}

const char *database_lookup_error(const struct database *db) {
	(void)db;
	return "";
}

void database_take(struct database *db, int hosts, const struct lease_request *requests, size_t count, database_grants *done,
                   void *context) {
	(void)db, (void)hosts, (void)requests, (void)count, (void)done, (void)context;
}

void database_declare(struct database *db, const struct policy_row *policy, bool again, database_declared *done, void *context) {
	(void)db, (void)again;
	assert_null(declared); /* one after the other */
	declared = done;
	declaration = context;
	snprintf(declared_name, sizeof declared_name, "%s", policy->name);
	declarations++;
}

void database_get_policies(struct database *db, const char *const *names, size_t count, database_policies *done, void *context) {
	(void)db;
	loading.done = done;
	loading.context = context;
	loading.count = count;
	assert_in_range(count, 0, 8);
	for (size_t i = 0; i < count; i++)
		snprintf(loading.names[i], sizeof loading.names[i], "%s", names[i]);
}

void database_get_changes(struct database *db, int64_t after, database_changes *done, void *context) {
	(void)db;
	assert_ptr_equal(context, &agent);
	assert_null(changed); /* one chain */
	changed = done;
	since = after;
	reads++;
}

bool database_hears(const struct database *db) {
	(void)db;
	return hears;
}

void database_pulse(struct database *db, database_pulsed *done, void *context) {
	(void)db, (void)context;
	pulses++;
	pulsed = done;
}

void database_heartbeat(struct database *db, const char *state, int64_t clients, int64_t fallback_ms, database_pulsed *done,
                        void *context) {
	(void)db, (void)state, (void)clients, (void)fallback_ms, (void)context;
	heartbeats++;
	pulsed = done;
}

void database_expire_counters(struct database *db, int batch, database_expired *done, void *context) {
	(void)db, (void)batch, (void)done, (void)context;
	expiries++;
}

void database_report_fallback(struct database *db, int64_t lasted_ms, int64_t ended_ms_ago, int64_t admitted, int64_t clients,
                              const char *reason, database_ended *done, void *context) {
	(void)db, (void)lasted_ms, (void)ended_ms_ago, (void)admitted, (void)clients, (void)reason, (void)done, (void)context;
}

void database_stop_host(struct database *db, database_ended *done, void *context) {
	(void)db, (void)done, (void)context;
}

void database_await_tables(struct database *db, database_ended *done, void *context) {
	(void)db;
	assert_null(awaited);
	assert_ptr_equal(context, &agent);
	awaited = done;
}

bool database_met_a_lock(const struct database *db) {
	(void)db;
	return met_a_lock;
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
	takes++;
}

static void on_verdict(void *context, uint64_t peer, uint32_t serial, const struct core_verdict *told) {
	(void)context, (void)peer, (void)serial;
	verdict = *told;
	verdicts++;
}

static int64_t newest_change; /* that the server tells of */
static int64_t longest_lease_us;

static int begin(void **state) {
	static const struct core_io io = {.take = on_take, .verdict = on_verdict};
	const struct core_options options = {.grace_ns = 500 * MS, .idle_timeout_ns = 60000 * MS};
	static const struct server_events nobody_comes = {.want = NULL};
	char path[64], error[SERVER_ERROR_MAX];
	snprintf(path, sizeof path, "/tmp/stint-test-link.%d", (int)getpid());
	const struct server_options served = {.socket_path = path, .directory_fd = -1, .table_fd = -1, .generation = 1};
	(void)state;
	declared = NULL;
	changed = NULL;
	declarations = reads = pulses = heartbeats = expiries = takes = verdicts = 0;
	hears = true;
	awaited = NULL;
	met_a_lock = false;
	memset(&loading, 0, sizeof loading);
	newest_change = longest_lease_us = 0;
	agent = (struct agent){.database = &the_database, .link = {.state = CORE_CONNECTING, .change_id = -1}};
	fake_table_make(&table, 64, 7);
	agent.base = event_base_new();
	agent.wakeup = event_new(agent.base, -1, 0, on_wakeup, NULL);
	agent.expiry = event_new(agent.base, -1, 0, on_wakeup, NULL);
	assert_true(agent.wakeup && agent.expiry);
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
	event_free(agent.expiry);
	event_base_free(agent.base);
	fake_table_free(&table);
	return 0;
}

/* The database's word on what is being read: api, and of the others those that it knows; all have its limits. */
static void answers(enum lease_outcome outcome, const char *also) {
	struct policy_row rows[8] = {{.policy_id = 0}};
	database_policies *done = loading.done;
	assert_non_null(done);
	for (size_t i = 0; i < loading.count; i++)
		if (strcmp(loading.names[i], "api") == 0 || strcmp(loading.names[i], also) == 0) {
			rows[i] = api;
			rows[i].policy_id += (int32_t)i;
			memcpy(rows[i].name, loading.names[i], sizeof rows[i].name);
		}
	loading.done = NULL;
	done(loading.context, outcome, outcome == LEASE_DONE ? rows : NULL, loading.count);
}

static void says(enum lease_outcome outcome, const char *status) {
	database_declared *done = declared;
	assert_non_null(done);
	declared = NULL;
	done(declaration, outcome, status, 7);
}

static void meets_server(const char *server, const char *timeline, int64_t wal_end, int64_t age_us) {
	struct database_hello hello = {.host_id = 1, .now_us = 1, .live_hosts = 2, .change_id = newest_change,
	                               .server_age_us = age_us, .wal_end = wal_end, .longest_lease_us = longest_lease_us};
	snprintf(hello.server, sizeof hello.server, "%s", server);
	snprintf(hello.timeline, sizeof hello.timeline, "%s", timeline);
	link_events.up(&agent, &hello);
	answers(LEASE_DONE, "");
}

static void meets(const char *timeline, int64_t age_us) {
	meets_server("home", timeline, 0, age_us);
}

static void meets_after(const char *timeline, int64_t age_us, int64_t change_id) {
	newest_change = change_id;
	meets(timeline, age_us);
}

static void loses(void) {
	link_events.down(&agent, "it is gone");
}

static void expect_held_for(int64_t least_ms, int64_t most_ms) {
	int64_t held_ms = (core_held_until_ns(agent.core) - agent_now_ns()) / MS;
	assert_in_range(held_ms < 0 ? 0 : held_ms, least_ms, most_ms);
}

/* Half a second each, without waiting: what is due comes nearer instead. */
static void ticks(int count) {
	for (int i = 0; i < count; i++) {
		agent.link.heartbeat_ns -= 500 * MS;
		agent.link.pulse_ns -= 500 * MS;
		link_on_heartbeat(&agent);
	}
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
	expect_held_for(2 * SUB_MS - 1000, 2 * SUB_MS + SLACK_MS);
}

/* Its record says that this timeline has been known for long; but until a moment ago another server granted leases. */
static void so_is_an_old_primary_that_comes_back(void **state) {
	(void)state;
	meets("00000002", OLD_US);
	expect_held_for(0, 0);
	loses();
	meets("00000001", 2 * OLD_US);
	expect_held_for(2 * SUB_MS - 1000, 2 * SUB_MS + SLACK_MS);
}

static void no_age_holds_it_for_ever(void **state) {
	(void)state;
	meets("00000001", -1);
	loses();
	meets("00000002", INT64_MAX);
	expect_held_for(0, 2 * SUB_MS + SLACK_MS);
}

static void so_is_a_server_that_the_configuration_names_now(void **state) {
	(void)state;
	meets("00000001", -1);
	link_reopen(&agent);
	meets("00000002", OLD_US);
	expect_held_for(2 * SUB_MS - 1000, 2 * SUB_MS + SLACK_MS);
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
	expect_held_for(SUB_MS - 1000, SUB_MS + SLACK_MS);
}

/* A dump was restored, here or elsewhere, or the address leads to another cluster: all of them may have the same timeline. */
static void another_server_is_held(void **state) {
	(void)state;
	meets("00000001", -1);
	loses();
	meets_server("away", "00000001", 0, -1);
	expect_held_for(2 * SUB_MS - 1000, 2 * SUB_MS + SLACK_MS);
	loses();
	meets_server("home", "00000001", 0, OLD_US);
	expect_held_for(2 * SUB_MS - 1000, 2 * SUB_MS + SLACK_MS);
}

static void its_changes_are_counted_anew(void **state) {
	(void)state;
	newest_change = 40;
	meets("00000001", -1);
	assert_null(changed);
	loses();
	newest_change = 50;
	meets_server("away", "00000001", 0, -1);
	assert_null(changed); /* those up to 40 may be others than were seen */
	assert_int_equal(agent.link.change_id, 50);
	loses();
	newest_change = 60;
	meets_server("away", "00000001", 0, -1);
	assert_non_null(changed);
	assert_int_equal(since, 50);
}

static void changes_that_were_lost_are_not_waited_for(void **state) {
	(void)state;
	newest_change = 40;
	meets("00000001", -1);
	loses();
	newest_change = 30;
	meets("00000002", 0);
	assert_int_equal(agent.link.change_id, 30);
}

/* A snapshot of its disks was put back: the same server, the same timeline, and known for long. */
static void a_server_that_went_back_in_time_is_held(void **state) {
	(void)state;
	meets_server("home", "00000001", 1000, OLD_US);
	loses();
	meets_server("home", "00000001", 1000, OLD_US);
	expect_held_for(0, 0);
	loses();
	meets_server("home", "00000001", 999, OLD_US);
	expect_held_for(2 * SUB_MS - 1000, 2 * SUB_MS + SLACK_MS);
}

/* What it said last counts, not what it said at the beginning. */
static void so_is_one_that_went_back_since_its_last_pulse(void **state) {
	struct database_pulse pulse = {.now_us = 1, .wal_end = 2000};
	(void)state;
	meets_server("home", "00000001", 1000, OLD_US);
	ticks(1);
	pulsed(&agent, LEASE_DONE, &pulse);
	pulse = (struct database_pulse){.now_us = 1, .is_heartbeat = true, .live_hosts = 2}; /* says nothing about it */
	pulsed(&agent, LEASE_DONE, &pulse);
	loses();
	meets_server("home", "00000001", 1500, OLD_US);
	expect_held_for(2 * SUB_MS - 1000, 2 * SUB_MS + SLACK_MS);
}

/* Leases of other hosts, of a policy that an app of this one may declare in a moment. */
static void a_hold_is_as_long_as_leases_of_policies_that_are_unknown_here(void **state) {
	(void)state;
	agent_apply_policy(&agent, 0, false);
	longest_lease_us = 6000000;
	meets("00000001", -1);
	expect_held_for(0, 0);
	loses();
	meets("00000002", 1000000);
	expect_held_for(5000, 6000 + SLACK_MS);
	loses();
	longest_lease_us = OLD_US;
	meets("00000003", 0);
	expect_held_for(CORE_HOLD_MAX_NS / MS - 1000, CORE_HOLD_MAX_NS / MS);
}

static void so_is_that_of_a_new_agent(void **state) {
	(void)state;
	agent_apply_policy(&agent, 0, false);
	longest_lease_us = OLD_US;
	meets("00000002", 3000000);
	expect_held_for(6000, 7000 + SLACK_MS);
}

static void one_that_does_not_tell_where_its_log_ends_is_trusted(void **state) {
	(void)state;
	meets_server("home", "", 1000, OLD_US);
	loses();
	meets_server("home", "", 0, OLD_US);
	expect_held_for(0, 0);
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
	struct database_hello hello = {.host_id = 1, .now_us = 1, .live_hosts = 2,
	                                     .server = "home", .timeline = "00000002", .server_age_us = 60000000};
	link_events.up(&agent, &hello);
	loading.done(loading.context, LEASE_DONE, &slow, 1);
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

/* However many there are: what an app waits for doesn't grow with them. */
static void of_a_declaration_one_policy_is_read(void **state) {
	(void)state;
	meets("00000001", -1);
	declares("mail");
	says(LEASE_DONE, "created");
	assert_int_equal(loading.count, 1);
	answers(LEASE_DONE, "mail");
	assert_true(policies_find(&agent.policies, "mail") >= 0);
}

static void who_waits_for_another_declaration_has_its_turn_at_once(void **state) {
	(void)state;
	meets("00000001", -1);
	declares("mail");
	declares("sms");
	declares("mail"); /* asked once for both */
	assert_int_equal(declarations, 1);
	says(LEASE_DONE, "created");
	answers(LEASE_DONE, "mail");
	assert_string_equal(declared_name, "sms");
	says(LEASE_DONE, "created");
	answers(LEASE_DONE, "sms");
	assert_null(declared);
	assert_int_equal(declarations, 2);
}

/* What the old connection was asked has no answer any more. */
static void what_is_under_way_when_the_connection_is_opened_anew_is_declared_again(void **state) {
	(void)state;
	meets("00000001", -1);
	declares("mail");
	assert_non_null(declared);
	declared = NULL;
	link_reopen(&agent);
	meets("00000001", -1);
	assert_non_null(declared);
	assert_string_equal(declared_name, "mail");
}

static void or_decided_here_when_it_is_lost_again(void **state) {
	(void)state;
	is_held_in_fallback();
	declares("mail");
	says(LEASE_UNKNOWN, "");
	loses();
	assert_true(policies_find(&agent.policies, "mail") >= 0);
}

static void what_is_declared_while_policies_are_loaded_waits_for_them(void **state) {
	const struct database_hello hello = {.host_id = 1, .now_us = 1, .live_hosts = 2,
                                             .server = "home", .timeline = "00000001", .server_age_us = -1};
	(void)state;
	loses();
	assert_int_equal(core_state(agent.core), CORE_FALLBACK);
	link_events.up(&agent, &hello);
	declares("mail");
	assert_null(declared);
	answers(LEASE_DONE, "");
	assert_non_null(declared);
}

static void but_is_decided_here_when_they_can_not_be_loaded(void **state) {
	const struct database_hello hello = {.host_id = 1, .now_us = 1, .live_hosts = 2,
                                             .server = "home", .timeline = "00000001", .server_age_us = -1};
	(void)state;
	loses();
	link_events.up(&agent, &hello);
	declares("mail");
	answers(LEASE_REJECTED, "");
	assert_true(policies_find(&agent.policies, "mail") >= 0);
}

static const struct database_hello hello = {.host_id = 1, .now_us = 1, .live_hosts = 2,
                                             .server = "home", .timeline = "00000001", .server_age_us = -1};

/* Somebody had the row locked, say: until then checks of the policy fail. */
static void what_was_refused_at_the_return_is_declared_with_the_next_heartbeat(void **state) {
	(void)state;
	loses();
	declares("mail");
	link_events.up(&agent, &hello);
	assert_null(loading.done); /* what is declared now is loaded as well */
	says(LEASE_REJECTED, "");
	answers(LEASE_DONE, "");
	assert_int_equal(core_state(agent.core), CORE_IN_STEP);
	link_on_heartbeat(&agent);
	says(LEASE_DONE, "created");
	assert_string_equal(loading.names[0], "mail"); /* its id is asked for, and nothing else */
	assert_int_equal(loading.count, 1);
	answers(LEASE_DONE, "mail");
	assert_int_equal(agent.policies.policy[policies_find(&agent.policies, "mail")].row.policy_id, api.policy_id);
	link_on_heartbeat(&agent);
	assert_null(declared);
	assert_null(loading.done);
}

/* Each has a deadline, that of all together would be too short. */
static void what_was_declared_meanwhile_is_passed_on_one_by_one(void **state) {
	(void)state;
	loses();
	declares("mail");
	declares("sms");
	declares("push");
	link_events.up(&agent, &hello);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(declarations, i + 1);
		says(LEASE_DONE, "created");
	}
	assert_int_equal(loading.count, 4);
	answers(LEASE_DONE, "mail");
	assert_null(declared);
}

/* One that is refused for ever would keep the others from ever being declared. */
static void one_that_is_refused_is_the_last_to_be_tried_again(void **state) {
	(void)state;
	loses();
	declares("mail");
	declares("sms");
	link_events.up(&agent, &hello);
	assert_string_equal(declared_name, "mail");
	says(LEASE_REJECTED, "");
	assert_null(declared);
	answers(LEASE_DONE, "");
	link_on_heartbeat(&agent);
	assert_string_equal(declared_name, "sms");
	says(LEASE_DONE, "created");
	assert_string_equal(declared_name, "mail");
	says(LEASE_REJECTED, "");
	assert_string_equal(loading.names[0], "sms");
}

/* ---- Changes -------------------------------------------------------------------------------- */

static void reads_so_many(size_t count) {
	static struct change_row rows[500];
	database_changes *done = changed;
	assert_non_null(done);
	for (size_t i = 0; i < count; i++) {
		rows[i] = (struct change_row){.change_id = since + 1 + (int64_t)i, .policy_id = api.policy_id, .policy_name = "api"};
		snprintf(rows[i].client_id, sizeof rows[i].client_id, "c%zu", i);
	}
	changed = NULL;
	done(&agent, LEASE_DONE, rows, count);
}

static void ten_thousand_notices_are_one_chain_of_reads(void **state) {
	(void)state;
	meets("00000001", -1);
	for (int i = 0; i < 10000; i++)
		link_events.notified(&agent);
	assert_int_equal(reads, 1);
	reads_so_many(500);
	assert_int_equal(reads, 2);
	assert_int_equal(since, 500);
	reads_so_many(1);
	reads_so_many(0);
	assert_null(changed);
	assert_int_equal(agent.link.change_id, 501);
}

/* It may tell of one that the read could not see yet. */
static void a_notice_during_a_read_is_not_forgotten(void **state) {
	(void)state;
	meets("00000001", -1);
	link_events.notified(&agent);
	link_events.notified(&agent);
	reads_so_many(0);
	assert_int_equal(reads, 2);
	reads_so_many(0);
	assert_null(changed);
}

static void a_read_that_fails_doesnt_end_them(void **state) {
	database_changes *done;
	(void)state;
	meets("00000001", -1);
	link_events.notified(&agent);
	done = changed;
	changed = NULL;
	done(&agent, LEASE_REJECTED, NULL, 0);
	assert_null(changed);
	link_events.notified(&agent);
	assert_non_null(changed);
}

static void a_policy_changes(const char *name) {
	struct change_row row = {.change_id = since + 1, .policy_id = 1000};
	database_changes *done = changed;
	snprintf(row.policy_name, sizeof row.policy_name, "%s", name);
	changed = NULL;
	done(&agent, LEASE_DONE, &row, 1);
}

static void a_policy_that_changes_is_loaded_alone(void **state) {
	struct policy_row other = api;
	(void)state;
	strcpy(other.name, "other");
	other.policy_id++;
	agent_apply_policy(&agent, policies_add(&agent.policies, &other), true);
	link_events.up(&agent, &hello);
	assert_int_equal(loading.count, 2);
	answers(LEASE_DONE, "other");
	link_events.notified(&agent);
	a_policy_changes("other");
	assert_int_equal(loading.count, 1);
	assert_string_equal(loading.names[0], "other");
	a_policy_changes("api"); /* meanwhile: afterwards */
	assert_int_equal(loading.count, 1);
	answers(LEASE_DONE, "other");
	assert_string_equal(loading.names[0], "api");
	answers(LEASE_REJECTED, "");
	assert_null(loading.done);
	link_on_heartbeat(&agent);
	assert_string_equal(loading.names[0], "api");
	answers(LEASE_DONE, "");
	a_policy_changes("nobody's");
	assert_null(loading.done);
}

/* ---- Names ------------------------------------------------------------------------------ */

static void fills_the_directory(void) {
	struct policy_row row = api;
	for (int i = 1; i < (int)POLICY_CAPACITY; i++) {
		snprintf(row.name, sizeof row.name, "p%d", i);
		assert_int_equal(agent_add_policy(&agent, &row), i);
		agent.policies.policy[i].used_ns = 1000 - i;
	}
	agent.policies.policy[0].used_ns = 1000;
}

static void the_one_that_was_used_longest_ago_makes_room(void **state) {
	struct policy_row row = api;
	(void)state;
	fills_the_directory();
	agent.policies.policy[POLICY_CAPACITY - 1].undeclared = true;
	strcpy(row.name, "new");
	assert_int_equal(agent_add_policy(&agent, &row), POLICY_CAPACITY - 2);
	assert_int_equal(policies_number(&agent.policies, POLICY_CAPACITY - 2), policy_number_make(POLICY_CAPACITY - 2, 1));
}

static void none_with_clients_does(void **state) {
	struct policy_row row = api;
	(void)state;
	meets("00000001", -1);
	fills_the_directory();
	for (int i = 1; i < (int)POLICY_CAPACITY; i++)
		agent.policies.policy[i].undeclared = true;
	core_want(agent.core, agent_now_ns(), 1, 1, 0, "c", 1, 1, agent_now_ns() + 1000 * MS);
	strcpy(row.name, "new");
	assert_int_equal(agent_add_policy(&agent, &row), -1);
	agent.policies.policy[9].undeclared = false;
	assert_int_equal(agent_add_policy(&agent, &row), 9);
}

/* ---- Heartbeats ------------------------------------------------------------------------------- */

static void it_writes_rarely_and_reads_now_and_then(void **state) {
	(void)state;
	meets("00000001", -1);
	ticks(1);
	assert_int_equal(heartbeats, 1); /* its state has changed */
	ticks(120);
	assert_in_range(heartbeats, 1 + 9, 1 + 12); /* a minute: every 6 s */
	assert_in_range(heartbeats + pulses, 1 + 17, 1 + 23); /* every 3 s */
}

static void where_notices_dont_arrive_it_reads_with_each_tick(void **state) {
	(void)state;
	hears = false;
	meets("00000001", -1);
	ticks(121);
	assert_int_equal(heartbeats + pulses, 121);
	assert_in_range(heartbeats, 1 + 9, 1 + 12);
}

static void who_is_asked_to_expires(void **state) {
	struct database_pulse pulse = {.now_us = 1, .is_heartbeat = true, .live_hosts = 5};
	(void)state;
	meets("00000001", -1);
	link_on_expiry(&agent);
	assert_int_equal(expiries, 0);
	ticks(1);
	pulse.expires = true;
	pulsed(&agent, LEASE_DONE, &pulse);
	assert_int_equal(agent.link.hello.live_hosts, 5);
	link_on_expiry(&agent);
	assert_int_equal(expiries, 1);
	agent.link.expiring = false;
	pulse = (struct database_pulse){.now_us = 1}; /* no heartbeat: it doesn't know */
	pulsed(&agent, LEASE_DONE, &pulse);
	assert_int_equal(agent.link.hello.live_hosts, 5);
	link_on_expiry(&agent);
	assert_int_equal(expiries, 2);
	agent.link.expiring = false;
	pulse = (struct database_pulse){.now_us = 1, .is_heartbeat = true, .live_hosts = 5};
	pulsed(&agent, LEASE_DONE, &pulse);
	link_on_expiry(&agent);
	assert_int_equal(expiries, 2);
}

/* ---- Locks ------------------------------------------------------------------------------- */

#define DATABASE_TIMEOUT_MS 500

/* A batch is sent for one client, and refused after lasted_ms. */
static bool refuses_a_batch(bool for_a_lock, int64_t lasted_ms) {
	int64_t now_ns = agent_now_ns() - lasted_ms * MS;
	agent.config.database_timeout_ms = DATABASE_TIMEOUT_MS;
	core_want(agent.core, now_ns, 1, 1, 0, "anna", 4, 1, now_ns + 5000 * MS);
	core_advance(agent.core, now_ns);
	assert_int_equal(takes, 1);
	agent.link.taken_ns = now_ns;
	met_a_lock = for_a_lock;
	return locked_keeps_batch(&agent);
}

static void tables_are(enum lease_outcome outcome) {
	database_ended *done = awaited;
	assert_non_null(done);
	awaited = NULL;
	met_a_lock = outcome == LEASE_REJECTED;
	done(&agent, outcome);
}

static void only_a_lock_keeps_a_batch(void **state) {
	(void)state;
	meets("00000001", -1);
	assert_false(refuses_a_batch(false, 0));
	assert_null(awaited);
}

static void a_locked_row_is_for_the_core(void **state) {
	(void)state;
	meets("00000001", -1);
	assert_true(refuses_a_batch(true, 2 * DATABASE_TIMEOUT_MS));
	assert_int_equal(takes, 1);
	tables_are(LEASE_DONE);
	assert_int_equal(core_state(agent.core), CORE_IN_STEP);
	core_advance(agent.core, agent_now_ns());
	assert_int_equal(takes, 2); /* it tries again, as with any other refusal */
	assert_null(awaited);
}

static void locked_tables_are_waited_for(void **state) {
	(void)state;
	meets("00000001", -1);
	assert_true(refuses_a_batch(true, 0));
	tables_are(LEASE_REJECTED);
	tables_are(LEASE_REJECTED);
	assert_int_equal(core_state(agent.core), CORE_IN_STEP);
	assert_non_null(awaited);
	assert_int_equal(takes, 1);
}

static void but_not_for_longer_than_a_database(void **state) {
	(void)state;
	meets("00000001", -1);
	assert_true(refuses_a_batch(true, DATABASE_TIMEOUT_MS));
	tables_are(LEASE_REJECTED);
	assert_int_equal(core_state(agent.core), CORE_CONNECTING);
	core_advance(agent.core, agent_now_ns() + DATABASE_TIMEOUT_MS * MS); /* an agent that has just been started has a grace of its own */
	assert_int_equal(core_state(agent.core), CORE_FALLBACK);
	assert_int_equal(verdicts, 1);
	assert_true(verdict.allowed);
	assert_int_equal(verdict.source, STINT_SOURCE_FALLBACK);
	assert_non_null(strstr(agent.link.why, "locked"));
	assert_int_equal(takes, 1);
}

static void they_are_looked_at_again_until_they_are_free(void **state) {
	but_not_for_longer_than_a_database(state);
	link_on_heartbeat(&agent);
	link_on_heartbeat(&agent); /* the first has no answer yet: it is not asked a second time */
	tables_are(LEASE_REJECTED);
	assert_int_equal(core_state(agent.core), CORE_FALLBACK);
	assert_null(loading.done);
	link_on_heartbeat(&agent);
	tables_are(LEASE_DONE);
	answers(LEASE_DONE, "");
	assert_int_not_equal(core_state(agent.core), CORE_FALLBACK);
	assert_true(agent.link.synced);
	link_on_heartbeat(&agent);
	assert_null(awaited);
}

/* Its log has grown, and policies have changed, since the connection came up: it is the same as before all the same. */
static void whoever_was_locked_is_no_other_server(void **state) {
	struct database_pulse pulse = {.now_us = 1, .wal_end = 2000};
	(void)state;
	meets_server("home", "00000001", 1000, -1);
	ticks(1);
	pulsed(&agent, LEASE_DONE, &pulse);
	assert_true(refuses_a_batch(true, DATABASE_TIMEOUT_MS));
	tables_are(LEASE_REJECTED);
	link_on_heartbeat(&agent);
	tables_are(LEASE_DONE);
	answers(LEASE_DONE, "");
	assert_true(agent.link.synced);
	assert_true(core_held_until_ns(agent.core) <= agent_now_ns());
}

static void a_connection_lost_meanwhile_is_lost(void **state) {
	(void)state;
	meets("00000001", -1);
	assert_true(refuses_a_batch(true, 0));
	tables_are(LEASE_UNKNOWN);
	loses();
	assert_int_equal(core_state(agent.core), CORE_CONNECTING);
	meets("00000001", -1);
	assert_int_equal(core_state(agent.core), CORE_IN_STEP);
}

static void so_is_one_that_was_locked_out(void **state) {
	but_not_for_longer_than_a_database(state);
	link_on_heartbeat(&agent);
	tables_are(LEASE_UNKNOWN);
	loses();
	assert_int_equal(core_state(agent.core), CORE_FALLBACK);
	meets("00000001", -1);
	assert_int_not_equal(core_state(agent.core), CORE_FALLBACK);
	link_on_heartbeat(&agent);
	assert_null(awaited);
}

/* ---- Changes while no agent lived here ------------------------------------------------------ */

#define TIMELINE "00000001"

/* A lease of the earlier agent's. */
static uint32_t leaves(const char *id) {
	struct place place = table_place(&table.table, 0, id, strlen(id));
	uint32_t slot = table_claim(&table.table, &place, 0, TABLE_ORPHAN);
	table_publish(&table.table, slot, 0, &(struct table_lease){.credits = 9, .deadline_ns = agent_now_ns() + SUB_MS * MS});
	return slot;
}

static bool is_good(uint32_t slot) {
	return table_credits(&table.table, slot, 0) > 0;
}

static void takes_over(int64_t change_id) {
	atomic_store(&table.directory->change_id, change_id);
	snprintf(table.directory->timeline, sizeof table.directory->timeline, TIMELINE);
	snprintf(table.directory->server, sizeof table.directory->server, "home");
	agent.shm.taken_over = true;
	changes_inherit(&agent);
}

static void who_was_blocked_meanwhile_keeps_no_lease(void **state) {
	(void)state;
	uint32_t c0 = leaves("c0"), c1 = leaves("c1"), other = leaves("other");
	takes_over(7);
	meets_after(TIMELINE, -1, 9);
	assert_int_equal(since, 7);
	reads_so_many(2); /* of c0 and c1 */
	assert_false(is_good(c0) || is_good(c1));
	assert_true(is_good(other));
	reads_so_many(0);
	assert_int_equal(atomic_load(&table.directory->change_id), 9);
}

/* The earlier agent may have been killed between writing the new limits and ending the old leases. */
static void nor_does_anybody_of_a_policy_that_changed(void **state) {
	(void)state;
	uint32_t slot = leaves("a");
	takes_over(7);
	meets_after(TIMELINE, -1, 8);
	a_policy_changes("api");
	assert_false(is_good(slot));
	answers(LEASE_DONE, "");
	reads_so_many(0);
	slot = leaves("a");
	link_events.notified(&agent); /* from then on its terms tell */
	a_policy_changes("api");
	answers(LEASE_DONE, "");
	assert_true(is_good(slot));
}

static void without_a_change_all_leases_go_on(void **state) {
	(void)state;
	uint32_t slot = leaves("a");
	takes_over(7);
	meets_after(TIMELINE, -1, 7);
	assert_null(changed);
	assert_true(is_good(slot));
}

static void expect_all_void(int64_t known, int64_t newest) {
	uint32_t slot = leaves("a");
	takes_over(known);
	meets_after(TIMELINE, -1, newest);
	assert_null(changed);
	assert_false(is_good(slot));
	assert_int_equal(agent.link.change_id, newest);
	link_on_heartbeat(&agent); /* when nobody has what is void any more */
	assert_int_equal(atomic_load(&table.directory->change_id), newest);
}

static void where_nobody_knows_what_changed_nobody_does(void **state) {
	(void)state;
	expect_all_void(-1, 3);
}

static void nor_after_more_changes_than_can_be_read(void **state) {
	(void)state;
	expect_all_void(7, 10008);
}

/* A backup was restored: what was changed after it has been undone. */
static void nor_when_changes_have_been_undone(void **state) {
	(void)state;
	expect_all_void(7, 6);
}

static void also_while_the_agent_lives(void **state) {
	(void)state;
	meets_after(TIMELINE, -1, 7);
	uint32_t slot = leaves("a");
	loses();
	meets_after(TIMELINE, -1, 6);
	assert_false(is_good(slot));
	assert_int_equal(agent.link.change_id, 6);
}

static void what_changed_while_the_database_was_away_is_read(void **state) {
	(void)state;
	meets_after(TIMELINE, -1, 0);
	uint32_t slot = leaves("c0");
	loses();
	meets_after(TIMELINE, -1, 1); /* the first that there is */
	assert_int_equal(since, 0);
	reads_so_many(1);
	assert_false(is_good(slot));
}

static void or_reached_by_another_way(void **state) {
	(void)state;
	meets_after(TIMELINE, -1, 7);
	link_reopen(&agent);
	meets_after(TIMELINE, -1, 9);
	assert_int_equal(since, 7);
}

/* A standby was promoted meanwhile: its numbers may tell of other changes. The leases end with the hold. */
static void changes_of_another_server_are_not_read(void **state) {
	(void)state;
	uint32_t slot = leaves("a");
	takes_over(7);
	meets_after("00000002", 1000, 9);
	expect_held_for(2 * SUB_MS - 1000, 2 * SUB_MS + SLACK_MS);
	assert_null(changed);
	assert_true(is_good(slot));
	assert_int_equal(agent.link.change_id, 9);
	assert_int_equal(atomic_load(&table.directory->change_id), 7); /* still theirs, for the next agent */
	assert_string_equal(table.directory->timeline, TIMELINE);
}

static void once_in_step_they_count(void **state) {
	(void)state;
	uint32_t slot = leaves("a");
	takes_over(7);
	meets_after("00000002", OLD_US, 9);
	assert_false(is_good(slot));
	link_on_heartbeat(&agent);
	assert_int_equal(atomic_load(&table.directory->change_id), 9);
	assert_string_equal(table.directory->timeline, "00000002");
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
		TEST(another_server_is_held),
		TEST(its_changes_are_counted_anew),
		TEST(changes_that_were_lost_are_not_waited_for),
		TEST(a_server_that_went_back_in_time_is_held),
		TEST(so_is_one_that_went_back_since_its_last_pulse),
		TEST(a_hold_is_as_long_as_leases_of_policies_that_are_unknown_here),
		TEST(so_is_that_of_a_new_agent),
		TEST(one_that_does_not_tell_where_its_log_ends_is_trusted),
		TEST(a_new_agent_burns_leases_that_outlast_the_hold),
		TEST(what_is_declared_during_a_hold_is_declared_to_the_database),
		TEST(of_a_declaration_one_policy_is_read),
		TEST(who_waits_for_another_declaration_has_its_turn_at_once),
		TEST(what_is_under_way_when_the_connection_is_opened_anew_is_declared_again),
		TEST(or_decided_here_when_it_is_lost_again),
		TEST(what_is_declared_while_policies_are_loaded_waits_for_them),
		TEST(but_is_decided_here_when_they_can_not_be_loaded),
		TEST(what_was_refused_at_the_return_is_declared_with_the_next_heartbeat),
		TEST(what_was_declared_meanwhile_is_passed_on_one_by_one),
		TEST(one_that_is_refused_is_the_last_to_be_tried_again),
		TEST(ten_thousand_notices_are_one_chain_of_reads),
		TEST(a_notice_during_a_read_is_not_forgotten),
		TEST(a_read_that_fails_doesnt_end_them),
		TEST(a_policy_that_changes_is_loaded_alone),
		TEST(the_one_that_was_used_longest_ago_makes_room),
		TEST(none_with_clients_does),
		TEST(it_writes_rarely_and_reads_now_and_then),
		TEST(where_notices_dont_arrive_it_reads_with_each_tick),
		TEST(who_is_asked_to_expires),
		TEST(only_a_lock_keeps_a_batch),
		TEST(a_locked_row_is_for_the_core),
		TEST(locked_tables_are_waited_for),
		TEST(but_not_for_longer_than_a_database),
		TEST(they_are_looked_at_again_until_they_are_free),
		TEST(whoever_was_locked_is_no_other_server),
		TEST(a_connection_lost_meanwhile_is_lost),
		TEST(so_is_one_that_was_locked_out),
		TEST(who_was_blocked_meanwhile_keeps_no_lease),
		TEST(nor_does_anybody_of_a_policy_that_changed),
		TEST(without_a_change_all_leases_go_on),
		TEST(where_nobody_knows_what_changed_nobody_does),
		TEST(nor_after_more_changes_than_can_be_read),
		TEST(nor_when_changes_have_been_undone),
		TEST(also_while_the_agent_lives),
		TEST(what_changed_while_the_database_was_away_is_read),
		TEST(or_reached_by_another_way),
		TEST(changes_of_another_server_are_not_read),
		TEST(once_in_step_they_count),
	};
	return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
