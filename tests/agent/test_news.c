/*
 * test_news.c - what the database tells of itself between two statements, what the agent makes of it, and what an
 * operator reads of that in the log.
 */
#include "declaration_fixture.h"

/* ---- Pulses ---------------------------------------------------------------------------------- */

static void pulse_tells(int64_t change_id) {
	const struct database_pulse pulse = {.now_us = 1, .change_id = change_id};
	ticks(6);
	pulsed(&agent.heartbeat, LEASE_DONE, &pulse);
}

/* A notice may be lost. */
static void a_pulse_tells_of_changes(void **state) {
	(void)state;
	meets_after("00000001", -1, 7);
	pulse_tells(7);
	assert_int_equal(reads, 0);
	pulse_tells(8);
	assert_int_equal(reads, 1);
	assert_int_equal(since, 7);
}

static void a_pulse_without_an_answer_tells_nothing(void **state) {
	const struct database_pulse pulse = {.now_us = 1, .change_id = 8, .is_heartbeat = true, .live_hosts = 5};
	(void)state;
	meets_after("00000001", -1, 7);
	ticks(6);
	pulsed(&agent.heartbeat, LEASE_REJECTED, NULL);
	pulsed(&agent.heartbeat, LEASE_UNKNOWN, NULL);
	pulsed(&agent.heartbeat, LEASE_DONE, NULL);
	pulsed(&agent.heartbeat, LEASE_REJECTED, &pulse);
	assert_int_equal(reads, 0);
	assert_int_equal(agent.sync.hello.live_hosts, 2);
}

/* ---- What was read --------------------------------------------------------------------------- */

/* The policies are those of a database that is lost by now. */
static void what_is_read_after_a_loss_brings_nobody_in_step(void **state) {
	(void)state;
	meets("00000001", -1);
	reads_a_policy("api");
	loses();
	ends_reading(LEASE_DONE);
	assert_int_equal(agent.sync.state, SYNC_AWAY);
	assert_int_equal(core_state(agent.driver.core), CORE_CONNECTING);
}

static void inherits(int64_t change_id, int64_t wal_end) {
	atomic_store(&table.directory->change_id, change_id);
	snprintf(table.directory->server, sizeof(table.directory->server), "home");
	snprintf(table.directory->timeline, sizeof(table.directory->timeline), "00000001");
	table.directory->wal_end = wal_end;
	changes_inherit(&agent.changes, true);
}

/* Which server granted the leases isn't known if the earlier agent was killed while it noted it. */
static void half_a_note_is_none(void **state) {
	(void)state;
	inherits(-1, 0);
	assert_string_equal(agent.changes.origin.server, "");
	assert_string_equal(agent.changes.origin.timeline, "");
}

/* The earlier agent knew how far its log went. */
static void a_server_that_went_back_while_no_agent_ran_is_held(void **state) {
	(void)state;
	inherits(7, 2000);
	meets_server("home", "00000001", 1000, -1);
	expect_held_for(LEASE_MS - 1000, LEASE_MS + SLACK_MS);
}

/* It has granted all the leases that there are. */
static void a_server_of_an_hour_is_trusted_by_a_new_agent(void **state) {
	(void)state;
	meets("00000001", INT64_C(3600) * 1000000);
	expect_held_for(0, 0);
}

/* Once it is in step, the new agent knows what its leases were granted for. */
static void a_policy_that_is_as_it_was_voids_nothing_once_in_step(void **state) {
	struct change_row row = {.change_id = 8, .policy_id = 9, .policy_name = "api"};
	(void)state;
	uint32_t slot = leaves("a");
	inherits(7, 0);
	meets_after("00000001", -1, 7);
	sync_on_database.notified(&agent.sync);
	database_changes *done = changed;
	changed = NULL;
	done(&agent.changes, LEASE_DONE, &row, 1);
	answers(LEASE_DONE, "");
	assert_true(is_good(slot));
}

/* ---- The log ----------------------------------------------------------------------------------- */

static void is_advised(const char *advice) {
	struct database_hello advised = hello;
	snprintf(advised.advice, sizeof(advised.advice), "%s", advice);
	sync_on_database.up(&agent.sync, &advised);
	answers(LEASE_DONE, "");
}

static void advice_is_logged_when_it_is_new(void **state) {
	(void)state;
	log_is_read();
	is_advised("set it to on");
	expect_logged_once("warning: set it to on");
	is_advised("set it to on");
	expect_logged_once("warning: set it to on");
	is_advised("set it to off");
	expect_logged_once("warning: set it to off");
	log_is_read_no_more();
}

/* Whatever was logged of an attempt before. */
static void that_it_stays_away_is_logged_after_each_loss(void **state) {
	(void)state;
	log_is_read();
	for (int i = 1; i <= 2; i++) {
		meets("00000001", -1);
		loses();
		loses();
		expect_logged("warning: lost the database: it is gone", i);
		expect_logged("warning: cannot reach the database: it is gone", i);
	}
	log_is_read_no_more();
}

static void another_server_is_logged_with_the_one_before(void **state) {
	(void)state;
	meets("00000001", -1);
	loses();
	log_is_read();
	meets("00000002", 0);
	expect_logged_once("a standby was promoted: timeline 00000002, was 00000001;");
	loses();
	meets_server("abroad", "00000002", 0, 0);
	expect_logged_once("server abroad, was home;");
	log_is_read_no_more();
}

/* It may be another one, which tells less, or more. */
static void a_timeline_that_is_told_no_longer_is_logged_as_unknown(void **state) {
	(void)state;
	meets("00000001", -1);
	loses();
	log_is_read();
	meets("", 0);
	expect_logged_once("a standby may have been promoted: timeline unknown, was 00000001;");
	loses();
	meets("00000001", 0);
	expect_logged_once("a standby may have been promoted: timeline 00000001, was unknown;");
	log_is_read_no_more();
}

static void beats(bool rival, bool old_snapshot) {
	const struct database_pulse pulse = {.now_us = 1,
	                                     .is_heartbeat = true,
	                                     .live_hosts = 2,
	                                     .rival = rival,
	                                     .old_snapshot = old_snapshot};
	ticks(13);
	pulsed(&agent.heartbeat, LEASE_DONE, &pulse);
}

static void a_rival_is_logged_when_it_comes(void **state) {
	(void)state;
	meets("00000001", -1);
	log_is_read();
	beats(false, false);
	expect_logged("another agent calls itself", 0);
	beats(true, false);
	beats(true, false);
	expect_logged_once("another agent calls itself");
	beats(false, false);
	beats(true, false);
	expect_logged("another agent calls itself", 2);
	log_is_read_no_more();
}

static void an_old_snapshot_is_logged(void **state) {
	(void)state;
	meets("00000001", -1);
	log_is_read();
	beats(false, false);
	expect_logged("an old snapshot", 0);
	beats(false, true);
	expect_logged_once("an old snapshot");
	log_is_read_no_more();
}

static void a_fallback_that_is_not_recorded_is_logged(void **state) {
	(void)state;
	log_is_read();
	meets("00000001", -1);
	falls_back();
	meets("00000001", -1);
	while (core_is_walking(agent.driver.core) || reports == 0)
		driver_pump(&agent.driver);
	expect_logged_once("fallback ended after");
	reported(NULL, LEASE_DONE);
	expect_logged("was not recorded", 0);
	reported(NULL, LEASE_REJECTED);
	expect_logged_once("was not recorded");
	log_is_read_no_more();
}

static void a_policy_that_was_dropped_is_logged(void **state) {
	struct policy_row smaller = api;
	(void)state;
	meets("00000001", -1);
	smaller.max_requests = 70;
	log_is_read();
	changes_apply_row(&agent.changes, 0, &smaller);
	changes_apply_row(&agent.changes, 0, &smaller);
	expect_logged_once("policy api is now 70 requests in 4000 ms");
	changes_apply_row(&agent.changes, 0, &(struct policy_row){.policy_id = 0});
	expect_logged_once("policy api was dropped");
	changes_apply_row(&agent.changes, 0, &(struct policy_row){.policy_id = 0});
	expect_logged_once("policy api was dropped"); /* it is no news */
	log_is_read_no_more();
}

/* Apps go by the directory: the leases are as good as before. */
static void a_shadow_ends_no_lease(void **state) {
	struct policy_row row = api;
	(void)state;
	uint32_t slot = leaves("a");
	meets("00000001", -1);
	log_is_read();
	for (int shadow = 1; shadow >= 0; shadow--) {
		row.shadow = shadow == 1;
		changes_apply_row(&agent.changes, 0, &row);
		assert_int_equal(atomic_load(&directory_entries(table.directory)[0].shadow), shadow);
		assert_true(is_good(slot));
		assert_false(core_is_walking(agent.driver.core));
	}
	expect_logged_once("policy api is now 100 requests in 4000 ms, a shadow: nobody is denied\n");
	expect_logged_once("policy api is now 100 requests in 4000 ms\n");
	log_is_read_no_more();
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(a_pulse_tells_of_changes),
		TEST(a_pulse_without_an_answer_tells_nothing),
		TEST(what_is_read_after_a_loss_brings_nobody_in_step),
		TEST(half_a_note_is_none),
		TEST(a_server_that_went_back_while_no_agent_ran_is_held),
		TEST(a_server_of_an_hour_is_trusted_by_a_new_agent),
		TEST(a_policy_that_is_as_it_was_voids_nothing_once_in_step),
		TEST(advice_is_logged_when_it_is_new),
		TEST(that_it_stays_away_is_logged_after_each_loss),
		TEST(another_server_is_logged_with_the_one_before),
		TEST(a_timeline_that_is_told_no_longer_is_logged_as_unknown),
		TEST(a_rival_is_logged_when_it_comes),
		TEST(an_old_snapshot_is_logged),
		TEST(a_fallback_that_is_not_recorded_is_logged),
		TEST(a_policy_that_was_dropped_is_logged),
		TEST(a_shadow_ends_no_lease),
	};
	return cmocka_run_group_tests_name("news", tests, NULL, NULL);
}
