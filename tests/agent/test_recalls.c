/*
 * test_recalls.c - how the agent learns which leases others need, and says which it needs itself.
 */
#include "agent_fixture.h"

static unsigned returned(void) {
	return (unsigned)core_counters(agent.driver.core)->returned;
}

/* Those who read find so many recalls of this client. */
static void reads_back(const char *id, size_t count, int64_t newest) {
	struct recall_row rows[2] = {{.recall_id = newest, .policy_id = 12345}, {.policy_id = api.policy_id}};
	database_recalls *done = recalls_read_by;
	assert_non_null(done);
	snprintf(rows[0].client_id, sizeof(rows[0].client_id), "%s", id);
	snprintf(rows[1].client_id, sizeof(rows[1].client_id), "%s", id);
	recalls_read_by = NULL;
	done(&agent.recalls, LEASE_DONE, rows, count, newest);
}

static void fails_to_read(void) {
	database_recalls *done = recalls_read_by;
	recalls_read_by = NULL;
	done(&agent.recalls, LEASE_REJECTED, NULL, 0, 0);
}

/* What the timer does when it is due. */
static void time_comes(void) {
	event_active(agent.recalls.timer, EV_TIMEOUT, 0);
	event_base_loop(agent.base, EVLOOP_NONBLOCK);
}

static bool reads_again(void) {
	return event_pending(agent.recalls.timer, EV_TIMEOUT, NULL);
}

static void a_notice_is_read_until_nothing_is_new(void **state) {
	(void)state;
	meets("00000001", -1);
	sync_on_database.recalled(&agent.sync);
	assert_int_equal(recall_reads, 1);
	assert_int_equal(recalls_since, 0);
	reads_back("a", 0, 7);
	assert_true(reads_again());
	time_comes();
	assert_int_equal(recall_reads, 2);
	assert_int_equal(recalls_since, 7);
	reads_back("a", 0, 7);
	assert_false(reads_again());
}

static int pause_ms(void) {
	return agent.recalls.pause_ms;
}

static void others_recalls_are_read_more_and_more_rarely(void **state) {
	static const int pauses[] = {120, 240, 480, 960, 960};
	(void)state;
	meets("00000001", -1);
	sync_on_database.recalled(&agent.sync);
	for (int i = 0; i < 5; i++) {
		reads_back("a", 0, i + 1);
		assert_int_equal(pause_ms(), pauses[i]);
		time_comes();
	}
	reads_back("a", 1, 6); /* one that may concern this host */
	assert_int_equal(pause_ms(), 120);
	time_comes();
	reads_back("a", 0, 7);
	assert_int_equal(pause_ms(), 240);
	time_comes();
	reads_back("a", 0, 7);
	assert_false(reads_again());
	sync_on_database.recalled(&agent.sync);
	reads_back("a", 0, 8);
	assert_int_equal(pause_ms(), 120);
}

static void a_notice_during_a_read_is_not_forgotten(void **state) {
	(void)state;
	meets("00000001", -1);
	sync_on_database.recalled(&agent.sync);
	for (int i = 0; i < 100; i++)
		sync_on_database.recalled(&agent.sync);
	assert_int_equal(recall_reads, 1);
	reads_back("a", 0, 7);
	assert_int_equal(recall_reads, 2);
	reads_back("a", 0, 7);
	assert_null(recalls_read_by);
}

static void a_read_that_fails_doesnt_end_them(void **state) {
	(void)state;
	meets("00000001", -1);
	sync_on_database.recalled(&agent.sync);
	fails_to_read();
	assert_false(reads_again());
	sync_on_database.recalled(&agent.sync);
	assert_int_equal(recall_reads, 2);
	fails_to_read();
}

/* The recalls of a database that has crashed are lost, and it counts anew. */
static void an_older_number_is_news_as_well(void **state) {
	(void)state;
	meets("00000001", -1);
	sync_on_database.recalled(&agent.sync);
	reads_back("a", 0, 7);
	time_comes();
	reads_back("a", 0, 2);
	assert_true(reads_again());
	time_comes();
	assert_int_equal(recalls_since, 2);
	reads_back("a", 0, 2);
}

static void out_of_step_nothing_is_read(void **state) {
	(void)state;
	sync_on_database.recalled(&agent.sync);
	assert_int_equal(recall_reads, 0);
	meets("00000001", -1);
	loses();
	sync_on_database.recalled(&agent.sync);
	time_comes();
	assert_int_equal(recall_reads, 0);
}

static void another_database_counts_anew(void **state) {
	(void)state;
	meets("00000001", -1);
	sync_on_database.recalled(&agent.sync);
	reads_back("a", 0, 7);
	sync_on_database.recalled(&agent.sync); /* the read that is under way then gets no answer */
	agent_reopen(&agent);
	recalls_read_by = NULL;
	meets("00000001", -1);
	sync_on_database.recalled(&agent.sync);
	assert_int_equal(recalls_since, 0);
	reads_back("a", 0, 7);
}

static void where_no_notice_arrives_it_reads_with_each_tick(void **state) {
	(void)state;
	meets("00000001", -1);
	hears = false;
	agent_tick(&agent);
	assert_int_equal(recall_reads, 0); /* there is no client here who could have a lease */
	core_want(agent.driver.core, monotonic_now_ns(), 1, 1, 0, "a", 1, 1, monotonic_now_ns() + 1000 * MS);
	agent_tick(&agent);
	assert_int_equal(recall_reads, 1);
	reads_back("a", 0, 0);
	agent_tick(&agent);
	assert_int_equal(recall_reads, 2);
	reads_back("a", 0, 0);
	hears = true;
	agent_tick(&agent);
	assert_int_equal(recall_reads, 2);
}

/* ---- What is called back ------------------------------------------------------------------------- */

static void takes_leases(void *context, int host, const struct lease_request *requests, size_t count) {
	(void)context, (void)host, (void)requests, (void)count;
}

/* The agent's own core, as the fixture's has no lease. */
static void has_a_lease(const char *id) {
	static const struct core_io io = {.take = takes_leases, .verdict = on_verdict};
	const struct core_options options = {.grace_ns = 500 * MS, .idle_timeout_ns = 60000 * MS};
	struct core **core = &agent.driver.core;
	core_free(*core);
	assert_int_equal(core_new(core, &table.table, monotonic_now_ns(), &options, &io, NULL), 0);
	driver_apply_policy(&agent.driver, 0, true);
	core_database_up(*core, monotonic_now_ns(), 2);
	core_want(*core, monotonic_now_ns(), 1, 1, 0, id, 1, 1, monotonic_now_ns() + 1000 * MS);
	core_advance(*core, monotonic_now_ns());
	struct lease_grant grant = {.answered = true,
	                            .granted = 1,
	                            .granted_next = 10,
	                            .remaining = 50,
	                            .max_requests = 100,
	                            .sub_window = 1000000,
	                            .valid_us = 400000,
	                            .starts_in_us = 400000,
	                            .next_sub_window = 1000000 + 8 * 400000,
	                            .next_valid_us = 9 * 400000,
	                            .next_is_open = true};
	core_on_grants(*core, monotonic_now_ns(), LEASE_DONE, &grant, 1);
}

static void the_client_of_the_policy_with_that_id_returns_its_credits(void **state) {
	(void)state;
	meets("00000001", -1);
	has_a_lease("a");
	recalls_read(&agent.recalls);
	reads_back("b", 2, 1);
	assert_int_equal(returned(), 0);
	recalls_read(&agent.recalls);
	reads_back("a", 1, 2); /* another policy's */
	assert_int_equal(returned(), 0);
	recalls_read(&agent.recalls);
	reads_back("a", 2, 3);
	assert_int_equal(returned(), 10);
}

static void what_the_core_needs_is_told_to_the_database(void **state) {
	static const struct lease_recall needed = {.policy_id = 9, .client_id = "needed!", .client_id_len = 6};
	(void)state;
	driver_io.recall(&agent.driver, &needed, 1);
	assert_string_equal(recalled, "9 needed");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(a_notice_is_read_until_nothing_is_new),
		TEST(others_recalls_are_read_more_and_more_rarely),
		TEST(a_notice_during_a_read_is_not_forgotten),
		TEST(a_read_that_fails_doesnt_end_them),
		TEST(an_older_number_is_news_as_well),
		TEST(out_of_step_nothing_is_read),
		TEST(another_database_counts_anew),
		TEST(where_no_notice_arrives_it_reads_with_each_tick),
		TEST(the_client_of_the_policy_with_that_id_returns_its_credits),
		TEST(what_the_core_needs_is_told_to_the_database),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
