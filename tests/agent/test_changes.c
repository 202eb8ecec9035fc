/*
 * test_changes.c - how the agent reads what others have changed, and what was changed while no agent ran here.
 */
#include "agent_fixture.h"

/* ---- Changes -------------------------------------------------------------------------------- */

static void reads_so_many(size_t count) {
	static struct change_row rows[500];
	database_changes *done = changed;
	assert_non_null(done);
	for (size_t i = 0; i < count; i++) {
		rows[i] = (struct change_row){.change_id = since + 1 + (int64_t)i,
		                              .policy_id = api.policy_id,
		                              .policy_name = "api"};
		snprintf(rows[i].client_id, sizeof(rows[i].client_id), "c%zu", i);
	}
	changed = NULL;
	done(&agent.changes, LEASE_DONE, rows, count);
}

static void ten_thousand_notices_are_one_chain_of_reads(void **state) {
	(void)state;
	meets("00000001", -1);
	for (int i = 0; i < 10000; i++)
		sync_on_database.notified(&agent.sync);
	assert_int_equal(reads, 1);
	reads_so_many(500);
	assert_int_equal(reads, 2);
	assert_int_equal(since, 500);
	reads_so_many(1);
	reads_so_many(0);
	assert_null(changed);
	assert_int_equal(agent.changes.change_id, 501);
}

/* The notice may tell of a change that the read could not see yet. */
static void a_notice_during_a_read_is_not_forgotten(void **state) {
	(void)state;
	meets("00000001", -1);
	sync_on_database.notified(&agent.sync);
	sync_on_database.notified(&agent.sync);
	reads_so_many(0);
	assert_int_equal(reads, 2);
	reads_so_many(0);
	assert_null(changed);
}

static void a_read_that_fails_doesnt_end_them(void **state) {
	database_changes *done;
	(void)state;
	meets("00000001", -1);
	sync_on_database.notified(&agent.sync);
	sync_on_database.notified(&agent.sync);
	done = changed;
	changed = NULL;
	done(&agent.changes, LEASE_REJECTED, NULL, 0);
	assert_null(changed); /* it may fail for long: the next pulse will do */
	sync_on_database.notified(&agent.sync);
	assert_non_null(changed);
}

static void a_policy_changes(const char *name) {
	struct change_row row = {.change_id = since + 1, .policy_id = 1000};
	database_changes *done = changed;
	snprintf(row.policy_name, sizeof(row.policy_name), "%s", name);
	changed = NULL;
	done(&agent.changes, LEASE_DONE, &row, 1);
}

static void what_has_changed_holds(void **state) {
	(void)state;
	meets("00000001", -1);
	sync_on_database.notified(&agent.sync);
	limit_in_force = 70;
	a_policy_changes("api");
	answers(LEASE_DONE, "");
	loses();
	loses();
	assert_int_equal(limit_of_fallback(), 140);
}

static void a_policy_that_changes_is_loaded_alone(void **state) {
	struct policy_row other = api;
	(void)state;
	strcpy(other.name, "other");
	other.policy_id++;
	driver_apply_policy(&agent.driver, policies_add(&agent.policies, &other), true);
	sync_on_database.up(&agent.sync, &hello);
	assert_int_equal(loading.count, 2);
	answers(LEASE_DONE, "other");
	sync_on_database.notified(&agent.sync);
	a_policy_changes("other");
	assert_int_equal(loading.count, 1);
	assert_string_equal(loading.names[0], "other");
	a_policy_changes("api"); /* this one changes meanwhile, and is read afterwards */
	assert_int_equal(loading.count, 1);
	answers(LEASE_DONE, "other");
	assert_string_equal(loading.names[0], "api");
	answers(LEASE_REJECTED, "");
	assert_null(loading.done);
	agent_tick(&agent);
	assert_string_equal(loading.names[0], "api");
	answers(LEASE_DONE, "");
	a_policy_changes("nobody's");
	assert_null(loading.done);
}

/* The answer to a charge of 10 of c0 is lost. Gives what is charged with the next batch, after the read that has
 * begun has brought this news of the client. */
static int32_t charged_after(bool is_reset, int64_t age_us) {
	struct core *core = agent.driver.core;
	struct change_row row = {.change_id = since + 1, .policy_id = api.policy_id, .client_id = "c0"};
	database_changes *done = changed;
	row.is_reset = is_reset;
	row.reset_age_us = age_us;
	changed = NULL;
	assert_int_equal(charged, 10);
	charged = 0;
	done(&agent.changes, LEASE_DONE, &row, 1);
	core_on_grants(core, monotonic_now_ns(), LEASE_UNKNOWN, NULL, 0);
	core_advance(core, monotonic_now_ns());
	core_advance(core, monotonic_now_ns() + 100 * MS);
	return charged;
}

static void is_charged(void) {
	core_charge(agent.driver.core, monotonic_now_ns(), 0, "c0", 2, 10);
	core_advance(agent.driver.core, monotonic_now_ns());
}

static void what_was_owed_before_a_reset_is_forgotten(void **state) {
	(void)state;
	meets("00000001", -1);
	is_charged();
	usleep(20000);
	sync_on_database.notified(&agent.sync);
	assert_int_equal(charged_after(true, 0), 0);
}

static void it_is_not_by_another_change(void **state) {
	(void)state;
	meets("00000001", -1);
	is_charged();
	usleep(20000);
	sync_on_database.notified(&agent.sync);
	assert_int_equal(charged_after(false, 0), 10);
}

/* The database says how long ago a reset was at some moment after the read began. */
static void what_is_owed_since_the_read_began_stays_owed(void **state) {
	(void)state;
	meets("00000001", -1);
	sync_on_database.notified(&agent.sync);
	is_charged();
	assert_int_equal(charged_after(true, 0), 10);
}

static void so_does_what_is_owed_since_a_reset_that_is_read_late(void **state) {
	(void)state;
	meets("00000001", -1);
	is_charged();
	sync_on_database.notified(&agent.sync);
	assert_int_equal(charged_after(true, INT64_MAX), 10);
}

/* ---- Changes while no agent lived here ------------------------------------------------------ */

#define TIMELINE "00000001"

static void takes_over(int64_t change_id) {
	atomic_store(&table.directory->change_id, change_id);
	snprintf(table.directory->timeline, sizeof(table.directory->timeline), TIMELINE);
	snprintf(table.directory->server, sizeof(table.directory->server), "home");
	changes_inherit(&agent.changes, true);
}

static void who_was_blocked_meanwhile_keeps_no_lease(void **state) {
	(void)state;
	uint32_t c0 = leaves("c0"), c1 = leaves("c1"), other = leaves("other");
	takes_over(7);
	meets_after(TIMELINE, -1, 9);
	assert_int_equal(since, 7);
	reads_so_many(2); /* changes of c0 and c1 */
	assert_false(is_good(c0) || is_good(c1));
	assert_true(is_good(other));
	reads_so_many(0);
	assert_int_equal(atomic_load(&table.directory->change_id), 9);
}

/* The earlier agent may have been killed between writing the new limits and ending the old leases. */
static void nobody_keeps_a_lease_of_a_policy_that_changed(void **state) {
	(void)state;
	uint32_t slot = leaves("a");
	takes_over(7);
	meets_after(TIMELINE, -1, 8);
	a_policy_changes("api");
	assert_false(is_good(slot));
	answers(LEASE_DONE, "");
	reads_so_many(0);
	slot = leaves("a");
	sync_on_database.notified(&agent.sync); /* from then on the policy's terms tell */
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
	assert_int_equal(agent.changes.change_id, newest);
	agent_tick(&agent); /* the number is noted when no lease is void any more */
	assert_int_equal(atomic_load(&table.directory->change_id), newest);
}

static void all_leases_end_where_nobody_knows_what_changed(void **state) {
	(void)state;
	expect_all_void(-1, 3);
}

static void all_leases_end_after_more_changes_than_can_be_read(void **state) {
	(void)state;
	expect_all_void(7, 10008);
}

/* A backup was restored: what was changed after it was made has been undone. */
static void all_leases_end_when_changes_have_been_undone(void **state) {
	(void)state;
	expect_all_void(7, 6);
}

static void all_leases_end_when_changes_are_undone_while_the_agent_lives(void **state) {
	(void)state;
	meets_after(TIMELINE, -1, 7);
	uint32_t slot = leaves("a");
	loses();
	meets_after(TIMELINE, -1, 6);
	assert_false(is_good(slot));
	assert_int_equal(agent.changes.change_id, 6);
}

/* The first change that there is would have been 1. */
static void all_leases_end_where_an_agent_knew_of_no_change(void **state) {
	(void)state;
	meets_after(TIMELINE, -1, 0);
	uint32_t slot = leaves("a");
	loses();
	meets_after(TIMELINE, -1, 10001); /* more than can be read */
	assert_false(is_good(slot));
}

static void what_changed_while_the_database_was_away_is_read(void **state) {
	(void)state;
	meets_after(TIMELINE, -1, 0);
	uint32_t slot = leaves("c0");
	loses();
	meets_after(TIMELINE, -1, 1); /* the first change that there is */
	assert_int_equal(since, 0);
	reads_so_many(1);
	assert_false(is_good(slot));
}

static void what_changed_while_the_database_is_reached_anew_is_read(void **state) {
	(void)state;
	meets_after(TIMELINE, -1, 7);
	agent_reopen(&agent);
	meets_after(TIMELINE, -1, 9);
	assert_int_equal(since, 7);
}

/* By this the database knows that no lease from before a change is out any more. */
static void a_host_says_what_is_in_force_when_all_have_met_it(void **state) {
	(void)state;
	takes_over(7);
	meets_after(TIMELINE, -1, 9);
	ticks(1);
	assert_true(said_in_force < 8);
	reads_so_many(2);
	reads_so_many(0);
	heartbeat_hasten(&agent.heartbeat);
	ticks(1);
	assert_int_equal(said_in_force, 9);
	loses();
	meets_after("00000002", -1, 5); /* which numbers its changes anew */
	heartbeat_hasten(&agent.heartbeat);
	ticks(1);
	assert_true(said_in_force < 5);
}

static void where_its_log_ends_is_known_to_the_next_agent(void **state) {
	struct database_pulse pulse = {.now_us = 1, .wal_end = 2000};
	(void)state;
	meets_server("home", TIMELINE, 1000, -1);
	assert_int_equal(table.directory->wal_end, 1000);
	ticks(1);
	pulsed(&agent.heartbeat, LEASE_DONE, &pulse);
	ticks(1);
	assert_int_equal(table.directory->wal_end, 2000);
}

/* A standby was promoted meanwhile: its numbers may be those of other changes. The leases end with the hold. */
static void changes_of_another_server_are_not_read(void **state) {
	(void)state;
	uint32_t slot = leaves("a");
	takes_over(7);
	meets_after("00000002", 1000, 9);
	expect_held_for(LEASE_MS - 1000, LEASE_MS + SLACK_MS);
	assert_null(changed);
	assert_true(is_good(slot));
	assert_int_equal(agent.changes.change_id, 9);
	assert_int_equal(atomic_load(&table.directory->change_id), 7); /* still theirs; the next agent reads it */
	assert_string_equal(table.directory->timeline, TIMELINE);
}

static void once_in_step_they_count(void **state) {
	(void)state;
	uint32_t slot = leaves("a");
	takes_over(7);
	meets_after("00000002", OLD_US, 9);
	assert_false(is_good(slot));
	agent_tick(&agent);
	assert_int_equal(atomic_load(&table.directory->change_id), 9);
	assert_string_equal(table.directory->timeline, "00000002");
}

/* Before each step, something else happens that concerns all clients. */
static void what_is_in_force_is_noted_however_much_happens(void **state) {
	(void)state;
	meets_server("home", TIMELINE, 1000, -1);
	core_void_policy(agent.driver.core, monotonic_now_ns(), 0);
	agent.changes.change_id = 12; /* a change that was read, and concerns all clients */
	changes_note(&agent.changes);
	assert_int_not_equal(atomic_load(&table.directory->change_id), 12);
	for (int i = 0; i < 2000 && atomic_load(&table.directory->change_id) != 12; i++) {
		usleep(1000); /* the core does other things between two steps */
		core_void_policy(agent.driver.core, monotonic_now_ns(), 0);
		driver_pump(&agent.driver);
		agent_tick(&agent);
		assert_true(core_is_walking(agent.driver.core));
	}
	assert_int_equal(atomic_load(&table.directory->change_id), 12);
}

/* Another server has numbers of its own: one of the old server's, not noted yet, means nothing there. */
static void what_was_to_be_noted_ends_with_its_server(void **state) {
	(void)state;
	meets_server("home", TIMELINE, 1000, -1);
	core_void_policy(agent.driver.core, monotonic_now_ns(), 0);
	agent.changes.change_id = 12;
	changes_note(&agent.changes);
	agent.changes.newest = 9;
	changes_settle(&agent.changes, true);
	for (int i = 0; i < 2000 && core_is_walking(agent.driver.core); i++) {
		usleep(1000);
		driver_pump(&agent.driver);
	}
	assert_false(core_is_walking(agent.driver.core));
	changes_note(&agent.changes);
	assert_int_equal(atomic_load(&table.directory->change_id), 9);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(ten_thousand_notices_are_one_chain_of_reads),
		TEST(a_notice_during_a_read_is_not_forgotten),
		TEST(a_read_that_fails_doesnt_end_them),
		TEST(what_has_changed_holds),
		TEST(what_was_owed_before_a_reset_is_forgotten),
		TEST(it_is_not_by_another_change),
		TEST(what_is_owed_since_the_read_began_stays_owed),
		TEST(so_does_what_is_owed_since_a_reset_that_is_read_late),
		TEST(a_policy_that_changes_is_loaded_alone),
		TEST(who_was_blocked_meanwhile_keeps_no_lease),
		TEST(nobody_keeps_a_lease_of_a_policy_that_changed),
		TEST(without_a_change_all_leases_go_on),
		TEST(all_leases_end_where_nobody_knows_what_changed),
		TEST(all_leases_end_after_more_changes_than_can_be_read),
		TEST(all_leases_end_when_changes_have_been_undone),
		TEST(all_leases_end_when_changes_are_undone_while_the_agent_lives),
		TEST(all_leases_end_where_an_agent_knew_of_no_change),
		TEST(what_changed_while_the_database_was_away_is_read),
		TEST(what_changed_while_the_database_is_reached_anew_is_read),
		TEST(a_host_says_what_is_in_force_when_all_have_met_it),
		TEST(where_its_log_ends_is_known_to_the_next_agent),
		TEST(changes_of_another_server_are_not_read),
		TEST(once_in_step_they_count),
		TEST_IN_STEPS(what_is_in_force_is_noted_however_much_happens),
		TEST_IN_STEPS(what_was_to_be_noted_ends_with_its_server),
	};
	return cmocka_run_group_tests_name("changes", tests, NULL, NULL);
}
