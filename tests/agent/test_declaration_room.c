/*
 * test_declaration_room.c - how many declarations may wait, and which policy makes room for another one.
 */
#include "declaration_fixture.h"

/* ---- Too many ----------------------------------------------------------------------------- */

static void declares_too_many(server_peer app) {
	for (int i = 0; i < DECLARATIONS_MAX; i++)
		declares_as(app, "mail", 1 + i);
}

/* The database gives no answer, or refuses them: their apps give up waiting, and the next ones come. */
static void so_many_may_wait_and_no_more(void **state) {
	int app = an_app_connects(), other = an_app_connects();
	int64_t told_ns;
	(void)state;
	meets("00000001", -1); /* else this host would be on its own soon, and decide them */
	declares_too_many(0);
	expect_no_answer(app);
	log_is_read();
	declares_as(1, "sms", 5);
	assert_int_equal(expect_answer(other, STINT_EFULL), 0);
	told_ns = agent.declarations.refused_ns;
	assert_true(told_ns > 0);
	declares_as(1, "sms", 5);
	expect_answer(other, STINT_EFULL);
	assert_int_equal(agent.declarations.refused_ns, told_ns);
	expect_logged_once("4096 declarations, 4096 of them different, wait");
	log_is_read_no_more();
	assert_int_equal(agent.declarations.count, DECLARATIONS_MAX);
	close(app);
	close(other);
}

#define APPS     100
#define POLICIES 50 /* of each of them: more pairs than there may be different declarations */

/* The agent was started anew, say, and the database is slow. */
static void each_of_many_processes_may_wait_for_each_policy(void **state) {
	int apps[APPS];
	char name[16];
	(void)state;
	meets("00000001", -1);
	for (int i = 0; i < APPS; i++)
		apps[i] = an_app_connects();
	for (int i = 0; i < APPS * POLICIES; i++) {
		snprintf(name, sizeof(name), "p%d", i % POLICIES);
		declares_as((server_peer)(i / POLICIES), name, api.max_requests);
	}
	for (int i = 0; i < APPS; i++)
		expect_no_answer(apps[i]);
	assert_int_equal(agent.declarations.count, POLICIES);
	for (int i = 0; i < POLICIES; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		says(LEASE_DONE, "created");
		answers(LEASE_DONE, name);
	}
	assert_int_equal(declarations, POLICIES);
	assert_int_equal(agent.declarations.waiting, 0);
	for (int i = 0; i < APPS; i++) {
		for (int answered = 0; answered < POLICIES; answered++)
			expect_answer(apps[i], 0);
		close(apps[i]);
	}
}

/* One that says the same all the time, and those that are gone. */
static void those_who_say_the_same_are_bounded_too(void **state) {
	int app = an_app_connects(), other = an_app_connects();
	(void)state;
	meets("00000001", -1);
	for (size_t i = 0; i < DECLARATIONS_MAX + 2 * WAITING_PER_CONNECTION; i++)
		declares_as(0, "mail", 5);
	expect_no_answer(app);
	declares_as(1, "mail", 5);
	expect_answer(other, STINT_EFULL);
	close(app);
	event_base_loop(agent.base, EVLOOP_NONBLOCK);
	declares_as(1, "mail", 5);
	expect_no_answer(other);
	assert_int_equal(agent.declarations.count, 1);
	assert_int_equal(agent.declarations.waiting, 2); /* one is kept, which the database had been asked for */
	is_judged("created");
	expect_answer(other, 0);
	assert_int_equal(declarations, 1);
	assert_int_equal(agent.declarations.waiting, 0);
	close(other);
}

/* Who joins them doesn't wait for the heartbeat. */
static void what_was_refused_is_asked_when_another_declares_it(void **state) {
	int app = an_app_connects();
	(void)state;
	meets("00000001", -1);
	declares("mail");
	says(LEASE_REJECTED, "");
	assert_null(declared);
	declares("mail");
	is_judged("created");
	expect_answer(app, 0);
	expect_answer(app, 0);
	expect_no_answer(app);
	close(app);
}

static void those_of_apps_that_are_gone_make_room(void **state) {
	int app = an_app_connects(), other = an_app_connects();
	(void)state;
	meets("00000001", -1);
	declares_too_many(0);
	close(app);
	event_base_loop(agent.base, EVLOOP_NONBLOCK);
	declares_as(1, "sms", 5);
	assert_int_equal(agent.declarations.count, 2);
	says(LEASE_DONE, "created"); /* the first, which the database had been asked for */
	answers(LEASE_DONE, "mail");
	assert_string_equal(declared_name, "sms");
	says(LEASE_DONE, "created");
	answers(LEASE_DONE, "sms");
	expect_answer(other, 0);
	assert_int_equal(agent.declarations.count, 0);
	close(other);
}

/* ---- Names ------------------------------------------------------------------------------ */

static void fills_the_directory(void) {
	struct policy_row row = api;
	for (int i = 1; i < (int)POLICY_CAPACITY; i++) {
		snprintf(row.name, sizeof(row.name), "p%d", i);
		assert_int_equal(driver_add_policy(&agent.driver, &row), i);
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
	assert_int_equal(driver_add_policy(&agent.driver, &row), POLICY_CAPACITY - 2);
	assert_int_equal(policies_number(&agent.policies, POLICY_CAPACITY - 2),
	                 policy_number_make(POLICY_CAPACITY - 2, 1));
}

static void none_with_clients_does(void **state) {
	struct policy_row row = api;
	(void)state;
	meets("00000001", -1);
	fills_the_directory();
	for (int i = 1; i < (int)POLICY_CAPACITY; i++)
		agent.policies.policy[i].undeclared = true;
	core_want(agent.driver.core, monotonic_now_ns(), 1, 1, 0, "c", 1, 1, monotonic_now_ns() + 1000 * MS);
	strcpy(row.name, "new");
	assert_int_equal(driver_add_policy(&agent.driver, &row), -1);
	agent.policies.policy[9].undeclared = false;
	assert_int_equal(driver_add_policy(&agent.driver, &row), 9);
}

/* Policies that are being read keep their places until the answer is there. */
static void who_declares_meanwhile_waits_until_policies_are_read(void **state) {
	int app;
	(void)state;
	meets("00000001", -1);
	fills_the_directory();
	reads_a_policy("p1");
	app = an_app_connects();
	declares("new");
	says(LEASE_DONE, "created");
	answers(LEASE_DONE, "new");
	expect_no_answer(app);
	ends_reading(LEASE_DONE);
	says(LEASE_DONE, "unchanged");
	answers(LEASE_DONE, "new");
	expect_answer(app, 0);
	assert_true(policies_find(&agent.policies, "new") >= 0);
	close(app);
}

static void also_while_the_database_is_away(void **state) {
	int app;
	(void)state;
	meets("00000001", -1);
	fills_the_directory();
	reads_a_policy("p1");
	loses();
	loses();
	assert_int_equal(core_state(agent.driver.core), CORE_FALLBACK);
	app = an_app_connects();
	declares("new");
	expect_no_answer(app);
	ends_reading(LEASE_UNKNOWN);
	expect_answer(app, 0);
	assert_true(policies_find(&agent.policies, "new") >= 0);
	close(app);
}

static void who_finds_no_room_for_long_is_told(void **state) {
	int app;
	(void)state;
	meets("00000001", -1);
	fills_the_directory();
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		agent.policies.policy[i].undeclared = true;
	app = an_app_connects();
	declares("new");
	says(LEASE_DONE, "created");
	answers(LEASE_DONE, "new");
	expect_answer(app, STINT_EFULL);
	close(app);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(so_many_may_wait_and_no_more),
		TEST(each_of_many_processes_may_wait_for_each_policy),
		TEST(those_who_say_the_same_are_bounded_too),
		TEST(what_was_refused_is_asked_when_another_declares_it),
		TEST(those_of_apps_that_are_gone_make_room),
		TEST(the_one_that_was_used_longest_ago_makes_room),
		TEST(none_with_clients_does),
		TEST(who_declares_meanwhile_waits_until_policies_are_read),
		TEST(also_while_the_database_is_away),
		TEST(who_finds_no_room_for_long_is_told),
	};
	return cmocka_run_group_tests_name("declaration room", tests, NULL, NULL);
}
