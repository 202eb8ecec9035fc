/*
 * test_declaration_room.c - how many declarations may wait, and which policy makes room for another one.
 */
#include "declaration_fixture.h"

/* ---- Declarations that wait ---------------------------------------------------------------- */

static void declares_too_many(server_peer app) {
	for (int i = 0; i < DECLARATIONS_MAX; i++)
		declares_as(app, "mail", 1 + i);
}

/* So many come together when the database doesn't answer, or refuses them: apps give up waiting, and others
 * come. */
static void so_many_may_wait_and_no_more(void **state) {
	int app = an_app_connects(), other = an_app_connects();
	int64_t told_ns;
	(void)state;
	meets("00000001", -1); /* without a database, this host would soon decide them itself */
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
	agent.declarations.refused_ns -= 601 * NS_PER_S; /* ten minutes later it is told again */
	declares_as(1, "sms", 5);
	expect_answer(other, STINT_EFULL);
	assert_true(agent.declarations.refused_ns >= told_ns);
	assert_int_equal(agent.declarations.count, DECLARATIONS_MAX);
	close(app);
	close(other);
}

#define APPS     100
#define POLICIES 50 /* each app declares so many: more in all than there may be different declarations */

/* As when the agent is started anew and the database is slow. */
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
		judges("created", name);
	}
	assert_int_equal(declarations, POLICIES);
	assert_int_equal(agent.declarations.waiting, 0);
	for (int i = 0; i < APPS; i++) {
		for (int answered = 0; answered < POLICIES; answered++)
			expect_answer(apps[i], 0);
		close(apps[i]);
	}
}

/* One process may say the same all the time, and processes that said it may be gone. */
static void those_who_say_the_same_are_bounded_too(void **state) {
	int app = an_app_connects(), other = an_app_connects();
	(void)state;
	meets("00000001", -1);
	for (size_t i = 0; i < DECLARATIONS_MAX + 2 * WAITING_PER_CONNECTION; i++)
		declares_as(0, "mail", 5);
	expect_no_answer(app);
	declares_as(1, "mail", 5);
	expect_answer(other, STINT_EFULL);
	ends(app);
	declares_as(1, "mail", 5);
	expect_no_answer(other);
	assert_int_equal(agent.declarations.count, 1);
	assert_int_equal(agent.declarations.waiting, 2); /* one is of the app that is gone: the database was asked */
	is_judged("created");
	expect_answer(other, 0);
	assert_int_equal(declarations, 1);
	assert_int_equal(agent.declarations.waiting, 0);
	close(other);
}

/* The second app doesn't wait for the heartbeat, which would ask again. */
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

static void declarations_of_apps_that_are_gone_make_room(void **state) {
	int app = an_app_connects(), other = an_app_connects();
	(void)state;
	meets("00000001", -1);
	declares_too_many(0);
	ends(app);
	declares_as(1, "sms", 5);
	assert_int_equal(agent.declarations.count, 2);
	judges("created", "mail"); /* the first one, which the database had been asked for */
	assert_string_equal(declared_name, "sms");
	judges("created", "sms");
	expect_answer(other, 0);
	assert_int_equal(agent.declarations.count, 0);
	close(other);
}

/* ---- Places of policies -------------------------------------------------------------------- */

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

static void no_policy_with_clients_makes_room(void **state) {
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
	judges("created", "new");
	expect_no_answer(app);
	ends_reading(LEASE_DONE);
	judges("unchanged", "new");
	expect_answer(app, 0);
	assert_true(policies_find(&agent.policies, "new") >= 0);
	close(app);
}

static void who_declares_while_the_database_is_away_waits_until_policies_are_read(void **state) {
	int app;
	(void)state;
	meets("00000001", -1);
	fills_the_directory();
	reads_a_policy("p1");
	falls_back();
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
	judges("created", "new");
	expect_answer(app, STINT_EFULL);
	close(app);
}

static void the_first_of_all_takes_nobodys_place(void **state) {
	(void)state;
	policies_init(&agent.policies, table.directory, false);
	assert_int_equal(driver_add_policy(&agent.driver, &api), 0);
	assert_int_equal(agent.policies.policy[0].generation, 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(so_many_may_wait_and_no_more),
		TEST(the_first_of_all_takes_nobodys_place),
		TEST(each_of_many_processes_may_wait_for_each_policy),
		TEST(those_who_say_the_same_are_bounded_too),
		TEST(what_was_refused_is_asked_when_another_declares_it),
		TEST(declarations_of_apps_that_are_gone_make_room),
		TEST(the_one_that_was_used_longest_ago_makes_room),
		TEST(no_policy_with_clients_makes_room),
		TEST(who_declares_meanwhile_waits_until_policies_are_read),
		TEST(who_declares_while_the_database_is_away_waits_until_policies_are_read),
		TEST(who_finds_no_room_for_long_is_told),
	};
	return cmocka_run_group_tests_name("declaration room", tests, NULL, NULL);
}
