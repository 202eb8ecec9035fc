/*
 * test_sync.c - what the agent makes of a server's timeline: when it holds grants back, and for how long; how
 * often it says that it lives, when it expires counters, and what it reports of a fallback.
 */
#include "agent_fixture.h"

#include <sys/time.h>

/* ---- Servers --------------------------------------------------------------------------------- */

static void the_first_server_is_trusted(void **state) {
	(void)state;
	meets("00000001", -1);
	expect_held_for(0, 0);
	assert_int_equal(core_state(agent.driver.core), CORE_IN_STEP);
}

static void a_new_timeline_is_held(void **state) {
	(void)state;
	meets("00000001", -1);
	loses();
	meets("00000002", 100000);
	expect_held_for(LEASE_MS - 1000, LEASE_MS + SLACK_MS);
}

/* The server's record says that this timeline has been known for long. But until a moment ago another server
 * granted leases. */
static void an_old_primary_that_comes_back_is_held(void **state) {
	(void)state;
	meets("00000002", OLD_US);
	expect_held_for(0, 0);
	loses();
	meets("00000001", 2 * OLD_US);
	expect_held_for(LEASE_MS - 1000, LEASE_MS + SLACK_MS);
}

static void no_age_holds_it_for_ever(void **state) {
	(void)state;
	meets("00000001", -1);
	loses();
	meets("00000002", INT64_MAX);
	expect_held_for(0, LEASE_MS + SLACK_MS);
}

static void a_server_that_the_configuration_names_now_is_held(void **state) {
	(void)state;
	meets("00000001", -1);
	agent_reopen(&agent);
	meets("00000002", OLD_US);
	expect_held_for(LEASE_MS - 1000, LEASE_MS + SLACK_MS);
}

static void another_way_to_the_same_server_is_not_held(void **state) {
	(void)state;
	meets("00000002", OLD_US);
	agent_reopen(&agent);
	meets("00000002", OLD_US);
	expect_held_for(0, 0);
	assert_int_equal(core_state(agent.driver.core), CORE_IN_STEP);
}

static void a_new_agent_is_held_while_old_leases_last(void **state) {
	(void)state;
	meets("00000002", LEASE_MS * 500);
	expect_held_for(LEASE_MS / 2 - 1000, LEASE_MS / 2 + SLACK_MS);
}

/* A dump was restored, here or elsewhere, or the address leads to another cluster. All of these may have the
 * same timeline. */
static void another_server_is_held(void **state) {
	(void)state;
	meets("00000001", -1);
	loses();
	meets_server("away", "00000001", 0, -1);
	expect_held_for(LEASE_MS - 1000, LEASE_MS + SLACK_MS);
	loses();
	meets_server("home", "00000001", 0, OLD_US);
	expect_held_for(LEASE_MS - 1000, LEASE_MS + SLACK_MS);
}

static void its_changes_are_counted_anew(void **state) {
	(void)state;
	newest_change = 40;
	meets("00000001", -1);
	assert_null(changed);
	loses();
	newest_change = 50;
	meets_server("away", "00000001", 0, -1);
	assert_null(changed); /* changes up to 40 may be others than this agent saw */
	assert_int_equal(agent.changes.change_id, 50);
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
	assert_int_equal(agent.changes.change_id, 30);
}

/* A snapshot of the server's disks was put back: it is the same server with the same timeline, known for long. */
static void a_server_that_went_back_in_time_is_held(void **state) {
	(void)state;
	meets_server("home", "00000001", 1000, OLD_US);
	loses();
	meets_server("home", "00000001", 1000, OLD_US);
	expect_held_for(0, 0);
	loses();
	meets_server("home", "00000001", 999, OLD_US);
	expect_held_for(LEASE_MS - 1000, LEASE_MS + SLACK_MS);
}

/* What the server said last counts, not what it said when the connection came up. */
static void a_server_that_went_back_since_its_last_pulse_is_held(void **state) {
	struct database_pulse pulse = {.now_us = 1, .wal_end = 2000};
	(void)state;
	meets_server("home", "00000001", 1000, OLD_US);
	ticks(1);
	pulsed(&agent.heartbeat, LEASE_DONE, &pulse);
	/* this heartbeat says nothing about it */
	pulse = (struct database_pulse){.now_us = 1, .is_heartbeat = true, .live_hosts = 2};
	pulsed(&agent.heartbeat, LEASE_DONE, &pulse);
	loses();
	meets_server("home", "00000001", 1500, OLD_US);
	expect_held_for(LEASE_MS - 1000, LEASE_MS + SLACK_MS);
}

/* Other hosts may have leases of a policy that an app of this host declares in a moment. */
static void a_hold_is_as_long_as_leases_of_policies_that_are_unknown_here(void **state) {
	(void)state;
	driver_apply_policy(&agent.driver, 0, false);
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

static void the_hold_of_a_new_agent_is_as_long(void **state) {
	(void)state;
	driver_apply_policy(&agent.driver, 0, false);
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

/* An agent that died before the promotion has left the lease in the table. The lease lasts longer than the
 * hold. */
static void a_new_agent_burns_leases_that_outlast_the_hold(void **state) {
	struct policy_row slow = api;
	int64_t now_ns = monotonic_now_ns();
	struct place place = table_place(&table.table, 0, "a", 1);
	uint32_t slot = table_claim(&table.table, &place, 0, TABLE_ORPHAN);
	(void)state;
	slow.time_window_ms = slow.fallback_time_window_ms = 36000000;
	policies_set(&agent.policies, 0, &slow);
	driver_apply_policy(&agent.driver, 0, true);
	table_publish(&table.table, slot, 0,
	              &(struct table_lease){.credits = 9, .deadline_ns = now_ns + 3600000 * MS});
	struct database_hello promoted = {.host_id = 1,
	                                  .now_us = 1,
	                                  .live_hosts = 2,
	                                  .server = "home",
	                                  .timeline = "00000002",
	                                  .server_age_us = 60000000};
	sync_on_database.up(&agent.sync, &promoted);
	loading.done(loading.context, LEASE_DONE, &slow, 1);
	assert_int_equal(core_state(agent.driver.core), CORE_IN_STEP);
	assert_int_equal(table_credits(&table.table, slot, 0), 0);
}

/* ---- Heartbeats ------------------------------------------------------------------------------- */

static void it_writes_rarely_and_reads_now_and_then(void **state) {
	(void)state;
	meets("00000001", -1);
	ticks(1);
	assert_int_equal(heartbeats, 1); /* its state has changed */
	ticks(120);
	assert_in_range(heartbeats, 1 + 9, 1 + 12);           /* one every 6 s, for a minute */
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
	expiry_on_timer(&agent.expiry);
	assert_int_equal(expiries, 0);
	ticks(1);
	pulse.expires = true;
	pulsed(&agent.heartbeat, LEASE_DONE, &pulse);
	assert_int_equal(agent.sync.hello.live_hosts, 5);
	expiry_on_timer(&agent.expiry);
	assert_int_equal(expiries, 1);
	agent.expiry.under_way = false;
	pulse = (struct database_pulse){.now_us = 1}; /* a pulse, not a heartbeat, doesn't know it */
	pulsed(&agent.heartbeat, LEASE_DONE, &pulse);
	assert_int_equal(agent.sync.hello.live_hosts, 5);
	expiry_on_timer(&agent.expiry);
	assert_int_equal(expiries, 2);
	agent.expiry.under_way = false;
	pulse = (struct database_pulse){.now_us = 1, .is_heartbeat = true, .live_hosts = 5};
	pulsed(&agent.heartbeat, LEASE_DONE, &pulse);
	expiry_on_timer(&agent.expiry);
	assert_int_equal(expiries, 2);
}

/* Checks that the call sets the timer of expiry to run in so many ms. */
#define EXPIRY_IN(ms, call)                                                                                       \
	do {                                                                                                          \
		int64_t before_ms = wall_ms(), at_ms;                                                                     \
		call;                                                                                                     \
		at_ms = expiry_at_ms();                                                                                   \
		assert_in_range(at_ms, before_ms + (ms)-10, wall_ms() + (ms) + 10);                                       \
	} while (0)

static int64_t wall_ms(void) {
	struct timeval now;
	gettimeofday(&now, NULL);
	return (int64_t)now.tv_sec * 1000 + now.tv_usec / 1000;
}

static int64_t expiry_at_ms(void) {
	struct timeval at;
	assert_true(event_pending(agent.expiry.timer, EV_TIMEOUT, &at));
	return (int64_t)at.tv_sec * 1000 + at.tv_usec / 1000;
}

static void is_to_expire(void) {
	struct database_pulse pulse = {.now_us = 1, .is_heartbeat = true, .live_hosts = 5, .expires = true};
	meets("00000001", -1);
	ticks(1);
	pulsed(&agent.heartbeat, LEASE_DONE, &pulse);
}

/* It goes on at once when there is much to delete, soon when there is more to look at, and later when it has
 * looked at everything. */
static void it_goes_on_as_long_as_there_is_something_to_expire(void **state) {
	static const struct {
		enum lease_outcome outcome;
		int64_t examined, deleted;
		int next_ms;
	} rounds[] = {
		{LEASE_DONE, 500, 450, 10},       {LEASE_DONE, 500, 126, 10},      {LEASE_DONE, 500, 125, 100},
		{LEASE_DONE, 500, 0, 100},        {LEASE_DONE, 499, 0, 2000},      {LEASE_DONE, 0, 0, 2000},
		{LEASE_REJECTED, 500, 450, 2000}, {LEASE_UNKNOWN, 500, 450, 2000},
	};
	(void)state;
	is_to_expire();
	for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++)
		EXPIRY_IN(rounds[i].next_ms, {
			expiry_on_timer(&agent.expiry);
			assert_int_equal(expiries, i + 1);
			expired(&agent.expiry, rounds[i].outcome, rounds[i].examined, rounds[i].deleted);
		});
}

/* What was asked of the database by an earlier connection gets no answer. */
static void it_expires_in_another_database_too(void **state) {
	(void)state;
	is_to_expire();
	expiry_on_timer(&agent.expiry);
	agent_reopen(&agent);
	is_to_expire();
	expiry_on_timer(&agent.expiry);
	assert_int_equal(expiries, 2);
}

static void it_expires_once_at_a_time_and_not_at_the_end(void **state) {
	(void)state;
	is_to_expire();
	expiry_on_timer(&agent.expiry);
	EXPIRY_IN(2000, expiry_on_timer(&agent.expiry));
	assert_int_equal(expiries, 1);
	expired(&agent.expiry, LEASE_DONE, 0, 0);
	expiry_on_timer(&agent.expiry);
	assert_int_equal(expiries, 2);
	expired(&agent.expiry, LEASE_DONE, 0, 0);
	expiry_stop(&agent.expiry);
	expiry_on_timer(&agent.expiry);
	assert_int_equal(expiries, 2);
}

/* ---- Its state -------------------------------------------------------------------------------- */

static void since_when_it_is_as_it_is_can_be_told(void **state) {
	(void)state;
	meets("00000001", -1);
	ticks(1);
	int64_t before_ns = monotonic_now_ns();
	agent.driver.state_since_ns = 1;
	driver_pump(&agent.driver);
	assert_int_equal(agent.driver.state_since_ns, 1); /* the state is as it was */
	sync_on_database.down(&agent.sync, "it is gone");
	core_database_down(agent.driver.core, monotonic_now_ns());
	driver_pump(&agent.driver);
	assert_int_equal(agent.driver.state, CORE_FALLBACK);
	assert_in_range(agent.driver.state_since_ns, before_ns, monotonic_now_ns());
	assert_int_equal(agent.outage.count, 1);
	assert_int_equal(agent.heartbeat.beat_ns, 0);
	meets("00000001", -1);
	driver_pump(&agent.driver);
	assert_int_not_equal(agent.driver.state, CORE_FALLBACK);
	assert_int_equal(agent.outage.count, 1);
}

/* The database is away for long, and this host admits a check by its own limit. */
static void falls_back_and_admits(void) {
	meets("00000001", -1);
	loses();
	core_database_down(agent.driver.core, monotonic_now_ns());
	driver_pump(&agent.driver);
	limit_of_fallback();
}

/* What the fallback admitted is known when all of its leases are out of the table. */
static void a_fallback_is_reported_once(void **state) {
	int64_t began_ns = monotonic_now_ns();
	(void)state;
	falls_back_and_admits();
	assert_int_equal(reports, 0);
	meets("00000001", -1);
	while (core_is_walking(agent.driver.core))
		driver_pump(&agent.driver);
	driver_pump(&agent.driver);
	driver_pump(&agent.driver);
	assert_int_equal(reports, 1);
	assert_int_equal(reported_admitted, core_counters(agent.driver.core)->fallback_granted);
	assert_in_range(reported_admitted, 1, 200);
	assert_in_range(reported_lasted_ms, 0, (monotonic_now_ns() - began_ns) / MS);
}

/* Before each step, something else happens that concerns all clients. */
static void a_fallback_is_reported_however_much_happens(void **state) {
	(void)state;
	falls_back_and_admits();
	meets("00000001", -1);
	for (int i = 0; i < 2000 && reports == 0; i++) {
		usleep(1000); /* the core does other things between two steps */
		core_void_policy(agent.driver.core, monotonic_now_ns(), 0);
		driver_pump(&agent.driver);
		assert_true(core_is_walking(agent.driver.core));
	}
	assert_int_equal(reports, 1);
}

/* ---- What systemd is told ---------------------------------------------------------------------- */

static void expect_sentence(const char *wanted) {
	char sentence[512];
	status_sentence(&agent.status, sentence, sizeof(sentence));
	assert_string_equal(sentence, wanted);
}

static void each_state_has_a_sentence(void **state) {
	static const struct core_options alone = {.memory_only = true};
	static const struct core_io nothing = {.take = on_take, .verdict = on_verdict};
	struct core *core = agent.driver.core;
	char sentence[512];
	(void)state;
	expect_sentence("Connecting to the database; 0 clients, 0 apps");
	meets("00000001", -1);
	expect_sentence("In step with the database, 2 hosts; 0 clients, 0 apps");
	loses();
	core_advance(core, monotonic_now_ns() + 600 * MS);
	status_sentence(&agent.status, sentence, sizeof(sentence));
	assert_memory_equal(sentence, "FALLBACK for ", 13);
	assert_non_null(strstr(sentence, " s, local limits in force (it is gone); 0 clients, 0 apps"));
	assert_int_equal(core_new(&agent.driver.core, &table.table, monotonic_now_ns(), &alone, &nothing, NULL), 0);
	expect_sentence("Counting in memory, for this host alone; 0 clients, 0 apps");
	core_free(agent.driver.core);
	agent.driver.core = core;
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(each_state_has_a_sentence),
		TEST(the_first_server_is_trusted),
		TEST(a_new_timeline_is_held),
		TEST(an_old_primary_that_comes_back_is_held),
		TEST(no_age_holds_it_for_ever),
		TEST(a_server_that_the_configuration_names_now_is_held),
		TEST(another_way_to_the_same_server_is_not_held),
		TEST(a_new_agent_is_held_while_old_leases_last),
		TEST(another_server_is_held),
		TEST(its_changes_are_counted_anew),
		TEST(changes_that_were_lost_are_not_waited_for),
		TEST(a_server_that_went_back_in_time_is_held),
		TEST(a_server_that_went_back_since_its_last_pulse_is_held),
		TEST(a_hold_is_as_long_as_leases_of_policies_that_are_unknown_here),
		TEST(the_hold_of_a_new_agent_is_as_long),
		TEST(one_that_does_not_tell_where_its_log_ends_is_trusted),
		TEST(a_new_agent_burns_leases_that_outlast_the_hold),
		TEST(it_writes_rarely_and_reads_now_and_then),
		TEST(where_notices_dont_arrive_it_reads_with_each_tick),
		TEST(who_is_asked_to_expires),
		TEST(it_goes_on_as_long_as_there_is_something_to_expire),
		TEST(it_expires_in_another_database_too),
		TEST(it_expires_once_at_a_time_and_not_at_the_end),
		TEST(since_when_it_is_as_it_is_can_be_told),
		TEST(a_fallback_is_reported_once),
		TEST_IN_STEPS(a_fallback_is_reported_however_much_happens),
	};
	return cmocka_run_group_tests_name("sync", tests, NULL, NULL);
}
