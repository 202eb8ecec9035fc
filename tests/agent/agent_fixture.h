/*
 * agent_fixture.h - an agent whose database is the test: the test sees what it is asked, and answers. Only apps
 * that the test makes come to its socket.
 */
#ifndef AGENT_FIXTURE_H
#define AGENT_FIXTURE_H

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
#include "monotonic.h"
#include "stint.h"

#define MS       INT64_C(1000000)
#define SUB_MS   400           /* a sub-window of the test's policy */
#define LEASE_MS (11 * SUB_MS) /* leases last so long at most, and the slack */
#define SLACK_MS 150
#define OLD_US   (INT64_C(86400) * 1000000)

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
static int64_t declared_limit;
static bool declared_again;
static int64_t limit_in_force; /* the limit that the database has; that of the fallback is twice as much */
static bool is_pinned;
static unsigned declarations;
static database_changes *changed; /* NULL: no read is under way */
static int64_t since;
static unsigned reads;
static database_recalls *recalls_read_by; /* NULL: no read is under way */
static int64_t recalls_since;
static unsigned recall_reads;
static char recalled[268]; /* "POLICY_ID CLIENT" */
static bool hears;
static database_pulsed *pulsed;
static unsigned pulses, heartbeats, expiries;
static database_expired *expired;
static database_ended *reported; /* by the last of them: whether it was recorded */
static unsigned reports;         /* how many fallbacks were reported */
static int64_t reported_admitted, reported_lasted_ms;
static database_ended *awaited; /* NULL: nobody asks whether tables are locked */
static bool met_a_lock;
static database_grants *taken; /* by the driver: how the statement ends */
static void *taken_context;
static unsigned takes, verdicts;
static int32_t charged;             /* with the last batch */
static struct core_verdict verdict; /* the last */

/* ---- The database ------------------------------------------------------------------- */

static struct database { int unused; } the_database;

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

bool database_is_direct(const struct database *db) {
	(void)db;
	return true;
}

const char *database_last_error(const struct database *db) {
	(void)db;
	return "";
}

const char *database_lookup_error(const struct database *db) {
	(void)db;
	return "";
}

void database_take(struct database *db, int hosts, const struct lease_request *requests, size_t count,
                   database_grants *done, void *context) {
	(void)db, (void)hosts, (void)requests, (void)count;
	taken = done;
	taken_context = context;
}

void database_declare(struct database *db, const struct policy_row *policy, bool again, database_declared *done,
                      void *context) {
	(void)db;
	assert_null(declared); /* only one declaration may be under way */
	declared = done;
	declaration = context;
	snprintf(declared_name, sizeof(declared_name), "%s", policy->name);
	declared_limit = policy->max_requests;
	declared_again = again;
	declarations++;
}

void database_get_policies(struct database *db, const char *const *names, size_t count, database_policies *done,
                           void *context) {
	(void)db;
	loading.done = done;
	loading.context = context;
	loading.count = count;
	assert_in_range(count, 0, 8);
	for (size_t i = 0; i < count; i++)
		snprintf(loading.names[i], sizeof(loading.names[i]), "%s", names[i]);
}

void database_get_changes(struct database *db, int64_t after, database_changes *done, void *context) {
	(void)db;
	assert_ptr_equal(context, &agent.changes);
	assert_null(changed); /* only one read may be under way */
	changed = done;
	since = after;
	reads++;
}

void database_recall(struct database *db, const struct lease_recall *called, size_t count, database_ended *done,
                     void *context) {
	(void)db, (void)done, (void)context;
	snprintf(recalled, sizeof(recalled), "%d %.*s", called[0].policy_id, called[0].client_id_len,
	         called[0].client_id);
	assert_int_equal(count, 1);
}

void database_get_recalls(struct database *db, int host, int64_t after, database_recalls *done, void *context) {
	(void)db, (void)host;
	assert_ptr_equal(context, &agent.recalls);
	assert_null(recalls_read_by); /* only one read may be under way */
	recalls_read_by = done;
	recalls_since = after;
	recall_reads++;
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

static int64_t said_in_force = -1; /* with the last heartbeat */

void database_heartbeat(struct database *db, const char *state, int64_t clients, int64_t fallback_ms,
                        int64_t in_force, database_pulsed *done, void *context) {
	(void)db, (void)state, (void)clients, (void)fallback_ms, (void)context;
	said_in_force = in_force;
	heartbeats++;
	pulsed = done;
}

void database_expire_counters(struct database *db, int batch, database_expired *done, void *context) {
	(void)db, (void)batch;
	assert_ptr_equal(context, &agent.expiry);
	expired = done;
	expiries++;
}

void database_report_fallback(struct database *db, int64_t lasted_ms, int64_t ended_ms_ago, int64_t admitted,
                              int64_t clients, const char *reason, database_ended *done, void *context) {
	(void)db, (void)ended_ms_ago, (void)clients, (void)reason, (void)context;
	reported = done;
	reported_admitted = admitted;
	reported_lasted_ms = lasted_ms;
	reports++;
}

#define REPORTED_MAX 128

static database_ended *decisions_reported; /* NULL: no report is under way */
static unsigned decision_reports;
static struct { /* with the last of them */
	struct database_decision row[REPORTED_MAX];
	size_t count;
	int run;
} said;

void database_report_decisions(struct database *db, int run, const struct database_decision *decisions,
                               size_t count, database_ended *done, void *context) {
	(void)db;
	assert_ptr_equal(context, &agent.audit);
	assert_null(decisions_reported); /* one at a time */
	assert_in_range(count, 1, REPORTED_MAX);
	decisions_reported = done;
	decision_reports++;
	memcpy(said.row, decisions, count * sizeof(*decisions));
	said.count = count;
	said.run = run;
}

static database_ended *denials_reported; /* NULL: no report is under way */
static unsigned denial_reports;
static struct { /* with the last of them */
	struct database_denial row[REPORTED_MAX];
	char client[REPORTED_MAX][256];
	size_t count;
} accused;

void database_report_denials(struct database *db, int run, const struct database_denial *denials, size_t count,
                             database_ended *done, void *context) {
	(void)db, (void)run;
	assert_ptr_equal(context, &agent.audit);
	assert_in_range(count, 1, REPORTED_MAX);
	denials_reported = done;
	denial_reports++;
	memcpy(accused.row, denials, count * sizeof(*denials));
	for (size_t i = 0; i < count; i++)
		snprintf(accused.client[i], sizeof(accused.client[i]), "%s", denials[i].client_id);
	accused.count = count;
}

void database_stop_host(struct database *db, database_ended *done, void *context) {
	(void)db, (void)done, (void)context;
}

void database_await_tables(struct database *db, database_ended *done, void *context) {
	(void)db;
	assert_null(awaited);
	assert_ptr_equal(context, &agent.locked);
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

static inline void on_wakeup(evutil_socket_t fd, short what, void *context) {
	(void)fd, (void)what, (void)context;
}

static inline void on_take(void *context, int hosts, const struct lease_request *requests, size_t count) {
	(void)context, (void)hosts;
	takes++;
	charged = 0;
	for (size_t i = 0; i < count; i++)
		charged += requests[i].charge;
}

static inline void on_verdict(void *context, uint64_t peer, uint32_t serial, const struct core_verdict *told) {
	(void)context, (void)peer, (void)serial;
	verdict = *told;
	verdicts++;
}

static int64_t newest_change; /* what the server tells */
static int64_t longest_lease_us;

static char socket_path[64];

/* How many slots a step takes of what concerns all clients; 0: as many as in an agent. */
static uint32_t walk_slots;

static inline void forget_what_was_asked(void) {
	declared = NULL;
	changed = NULL;
	recalls_read_by = NULL;
	recall_reads = 0;
	declarations = reads = pulses = heartbeats = expiries = takes = verdicts = reports = 0;
	hears = true;
	awaited = NULL;
	decisions_reported = denials_reported = NULL;
	decision_reports = denial_reports = 0;
	taken = NULL;
	met_a_lock = false;
	memset(&loading, 0, sizeof(loading));
	limit_in_force = api.max_requests;
	is_pinned = false;
	newest_change = longest_lease_us = 0;
}

static inline int begin(void **state) {
	static const struct core_io io = {.take = on_take, .verdict = on_verdict};
	const struct core_options options = {.grace_ns = 500 * MS,
	                                     .idle_timeout_ns = 60000 * MS,
	                                     .walk_slots = walk_slots};
	static const struct server_events nobody_comes = {.want = NULL};
	char error[SERVER_ERROR_MAX];
	snprintf(socket_path, sizeof(socket_path), "/tmp/stint-test-agent.%d", (int)getpid());
	const struct server_options served = {.socket_path = socket_path,
	                                      .directory_fd = -1,
	                                      .table_fd = -1,
	                                      .generation = 1};
	(void)state;
	forget_what_was_asked();
	agent = (struct agent){.base = event_base_new()};
	agent_wire(&agent);
	agent.driver.database = &the_database;
	fake_table_make(&table, 64, 7);
	agent.driver.wakeup = event_new(agent.base, -1, 0, on_wakeup, NULL);
	agent.expiry.timer = event_new(agent.base, -1, 0, on_wakeup, NULL);
	assert_true(agent.driver.wakeup && agent.expiry.timer);
	assert_int_equal(recalls_start(&agent.recalls, agent.base), 0);
	assert_int_equal(server_new(&agent.driver.server, agent.base, &served, &nobody_comes, NULL, error), 0);
	assert_int_equal(core_new(&agent.driver.core, &table.table, monotonic_now_ns(), &options, &io, NULL), 0);
	policies_init(&agent.policies, table.directory, false);
	driver_apply_policy(&agent.driver, policies_add(&agent.policies, &api), true);
	return 0;
}

static inline int end(void **state) {
	(void)state;
	declarations_free(&agent.declarations);
	core_free(agent.driver.core);
	server_free(agent.driver.server);
	event_free(agent.driver.wakeup);
	event_free(agent.expiry.timer);
	recalls_free(&agent.recalls);
	audit_free(&agent.audit);
	event_base_free(agent.base);
	fake_table_free(&table);
	return 0;
}

/* The database answers what is being read: it knows "api", and this other policy. All have the same limits. */
static inline void answers(enum lease_outcome outcome, const char *also) {
	struct policy_row rows[8] = {{.policy_id = 0}};
	database_policies *done = loading.done;
	assert_non_null(done);
	for (size_t i = 0; i < loading.count; i++)
		if (strcmp(loading.names[i], "api") == 0 || strcmp(loading.names[i], also) == 0) {
			rows[i] = api;
			rows[i].policy_id += (int32_t)i;
			rows[i].max_requests = limit_in_force;
			rows[i].fallback_max_requests = 2 * limit_in_force;
			rows[i].pinned = is_pinned;
			memcpy(rows[i].name, loading.names[i], sizeof(rows[i].name));
		}
	loading.done = NULL;
	done(loading.context, outcome, outcome == LEASE_DONE ? rows : NULL, loading.count);
}

static inline void says(enum lease_outcome outcome, const char *status) {
	database_declared *done = declared;
	assert_non_null(done);
	declared = NULL;
	done(declaration, outcome, status, 7);
}

static inline void meets_server(const char *server, const char *timeline, int64_t wal_end, int64_t age_us) {
	struct database_hello hello = {.host_id = 1,
	                               .now_us = 1,
	                               .live_hosts = 2,
	                               .change_id = newest_change,
	                               .server_age_us = age_us,
	                               .wal_end = wal_end,
	                               .longest_lease_us = longest_lease_us};
	snprintf(hello.server, sizeof(hello.server), "%s", server);
	snprintf(hello.timeline, sizeof(hello.timeline), "%s", timeline);
	sync_on_database.up(&agent.sync, &hello);
	answers(LEASE_DONE, "");
}

static inline void meets(const char *timeline, int64_t age_us) {
	meets_server("home", timeline, 0, age_us);
}

static inline void meets_after(const char *timeline, int64_t age_us, int64_t change_id) {
	newest_change = change_id;
	meets(timeline, age_us);
}

static inline void loses(void) {
	sync_on_database.down(&agent.sync, "it is gone");
}

static inline void expect_held_for(int64_t least_ms, int64_t most_ms) {
	int64_t held_ms = (core_held_until_ns(agent.driver.core) - monotonic_now_ns()) / MS;
	assert_in_range(held_ms < 0 ? 0 : held_ms, least_ms, most_ms);
}

/* So many ticks, half a second apart. Nobody waits: the times that the agent waits for are put back instead. */
static inline void ticks(int count) {
	for (int i = 0; i < count; i++) {
		agent.heartbeat.beat_ns -= 500 * MS;
		agent.heartbeat.pulse_ns -= 500 * MS;
		agent_tick(&agent);
	}
}

/* The earlier agent leaves a lease. */
static inline uint32_t leaves(const char *id) {
	struct place place = table_place(&table.table, 0, id, strlen(id));
	uint32_t slot = table_claim(&table.table, &place, 0, TABLE_ORPHAN);
	table_publish(&table.table, slot, 0,
	              &(struct table_lease){.credits = 9, .deadline_ns = monotonic_now_ns() + SUB_MS * MS});
	return slot;
}

static inline bool is_good(uint32_t slot) {
	return table_credits(&table.table, slot, 0) > 0;
}

/* A client checks while this host is on its own. Gives the limit that decided. */
static inline int64_t limit_of_fallback(void) {
	int64_t now_ns = monotonic_now_ns();
	assert_int_equal(core_state(agent.driver.core), CORE_FALLBACK);
	core_want(agent.driver.core, now_ns, 1, 1, 0, "anna", 4, 1, now_ns + 1000 * MS);
	core_advance(agent.driver.core, now_ns);
	assert_int_equal(verdicts, 1);
	return verdict.limit;
}

static const struct database_hello hello =
	{.host_id = 1, .now_us = 1, .live_hosts = 2, .server = "home", .timeline = "00000001", .server_age_us = -1};

static inline int begin_in_steps(void **state) {
	walk_slots = 8;
	return begin(state);
}

static inline int end_in_steps(void **state) {
	walk_slots = 0;
	return end(state);
}

#define TEST(name)          cmocka_unit_test_setup_teardown(name, begin, end)
#define TEST_IN_STEPS(name) cmocka_unit_test_setup_teardown(name, begin_in_steps, end_in_steps)

#endif
