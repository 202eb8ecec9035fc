/*
 * test_locked.c - what the agent makes of tables that somebody has locked.
 */
#include "agent_fixture.h"

#define DATABASE_TIMEOUT_MS 500

/* A batch is sent for one client, and refused after lasted_ms. */
static bool refuses_a_batch(bool for_a_lock, int64_t lasted_ms) {
	int64_t now_ns = monotonic_now_ns() - lasted_ms * MS;
	agent.config.database_timeout_ms = DATABASE_TIMEOUT_MS;
	core_want(agent.driver.core, now_ns, 1, 1, 0, "anna", 4, 1, now_ns + 5000 * MS);
	core_advance(agent.driver.core, now_ns);
	assert_int_equal(takes, 1);
	agent.driver.taken_ns = now_ns;
	met_a_lock = for_a_lock;
	return locked_keeps_batch(&agent.locked);
}

static void tables_are(enum lease_outcome outcome) {
	database_ended *done = awaited;
	assert_non_null(done);
	awaited = NULL;
	met_a_lock = outcome == LEASE_REJECTED;
	done(&agent.locked, outcome);
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
	assert_int_equal(core_state(agent.driver.core), CORE_IN_STEP);
	core_advance(agent.driver.core, monotonic_now_ns());
	assert_int_equal(takes, 2); /* it tries again, as with any other refusal */
	assert_null(awaited);
}

static void locked_tables_are_waited_for(void **state) {
	(void)state;
	meets("00000001", -1);
	assert_true(refuses_a_batch(true, 0));
	tables_are(LEASE_REJECTED);
	tables_are(LEASE_REJECTED);
	assert_int_equal(core_state(agent.driver.core), CORE_IN_STEP);
	assert_non_null(awaited);
	assert_int_equal(takes, 1);
}

static void locked_tables_are_not_waited_for_longer_than_a_database(void **state) {
	(void)state;
	meets("00000001", -1);
	assert_true(refuses_a_batch(true, DATABASE_TIMEOUT_MS));
	tables_are(LEASE_REJECTED);
	assert_int_equal(core_state(agent.driver.core), CORE_CONNECTING);
	/* The core of an agent that has just been started has a grace, which ends here. */
	core_advance(agent.driver.core, monotonic_now_ns() + DATABASE_TIMEOUT_MS * MS);
	assert_int_equal(core_state(agent.driver.core), CORE_FALLBACK);
	assert_int_equal(verdicts, 1);
	assert_true(verdict.allowed);
	assert_int_equal(verdict.source, STINT_SOURCE_FALLBACK);
	assert_non_null(strstr(agent.sync.why, "locked"));
	assert_int_equal(takes, 1);
}

static void they_are_looked_at_again_until_they_are_free(void **state) {
	locked_tables_are_not_waited_for_longer_than_a_database(state);
	agent_tick(&agent);
	agent_tick(&agent); /* the first question has no answer yet, so there is no second one */
	tables_are(LEASE_REJECTED);
	assert_int_equal(core_state(agent.driver.core), CORE_FALLBACK);
	assert_null(loading.done);
	agent_tick(&agent);
	tables_are(LEASE_DONE);
	answers(LEASE_DONE, "");
	assert_int_not_equal(core_state(agent.driver.core), CORE_FALLBACK);
	assert_true(agent.sync.state == SYNC_DONE);
	agent_tick(&agent);
	assert_null(awaited);
}

/* The server's log has grown and policies have changed since the connection came up. It is still the same
 * server. */
static void whoever_was_locked_is_no_other_server(void **state) {
	struct database_pulse pulse = {.now_us = 1, .wal_end = 2000};
	(void)state;
	meets_server("home", "00000001", 1000, -1);
	ticks(1);
	pulsed(&agent.heartbeat, LEASE_DONE, &pulse);
	assert_true(refuses_a_batch(true, DATABASE_TIMEOUT_MS));
	tables_are(LEASE_REJECTED);
	agent_tick(&agent);
	tables_are(LEASE_DONE);
	answers(LEASE_DONE, "");
	assert_true(agent.sync.state == SYNC_DONE);
	assert_true(core_held_until_ns(agent.driver.core) <= monotonic_now_ns());
}

static void a_connection_lost_meanwhile_is_lost(void **state) {
	(void)state;
	meets("00000001", -1);
	assert_true(refuses_a_batch(true, 0));
	tables_are(LEASE_UNKNOWN);
	loses();
	assert_int_equal(core_state(agent.driver.core), CORE_CONNECTING);
	meets("00000001", -1);
	assert_int_equal(core_state(agent.driver.core), CORE_IN_STEP);
}

static void a_database_that_was_locked_is_lost_when_its_connection_is(void **state) {
	locked_tables_are_not_waited_for_longer_than_a_database(state);
	agent_tick(&agent);
	tables_are(LEASE_UNKNOWN);
	loses();
	assert_int_equal(core_state(agent.driver.core), CORE_FALLBACK);
	meets("00000001", -1);
	assert_int_not_equal(core_state(agent.driver.core), CORE_FALLBACK);
	agent_tick(&agent);
	assert_null(awaited);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(only_a_lock_keeps_a_batch),
		TEST(a_locked_row_is_for_the_core),
		TEST(locked_tables_are_waited_for),
		TEST(locked_tables_are_not_waited_for_longer_than_a_database),
		TEST(they_are_looked_at_again_until_they_are_free),
		TEST(whoever_was_locked_is_no_other_server),
		TEST(a_connection_lost_meanwhile_is_lost),
		TEST(a_database_that_was_locked_is_lost_when_its_connection_is),
	};
	return cmocka_run_group_tests_name("locked", tests, NULL, NULL);
}
