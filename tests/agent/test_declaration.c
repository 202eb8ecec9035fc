/*
 * test_declaration.c - apps declare policies: what the database is asked and asked again, and what is decided
 * without it.
 */
#include "declaration_fixture.h"

/* If it were decided here, nothing would tell the database of it afterwards, and it would reject the checks of a
 * policy that it doesn't know. */
static void what_is_declared_during_a_hold_is_declared_to_the_database(void **state) {
	(void)state;
	is_held_in_fallback();
	declares("mail");
	assert_non_null(declared);
}

/* An app waits as long with a thousand policies as with one. */
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
	declares("mail"); /* the database is asked once for both */
	assert_int_equal(declarations, 1);
	judges("created", "mail");
	assert_string_equal(declared_name, "sms");
	judges("created", "sms");
	assert_null(declared);
	assert_int_equal(declarations, 2);
}

static void what_it_changes_holds_at_once(void **state) {
	(void)state;
	uint32_t slot = leaves("a");
	meets("00000001", -1);
	declares_as(0, "api", 70);
	limit_in_force = 70;
	assert_true(is_good(slot));
	judges("changed", "");
	assert_false(is_good(slot));
}

/* The old connection won't answer any more. */
static void what_is_under_way_when_the_connection_is_opened_anew_is_declared_again(void **state) {
	(void)state;
	meets("00000001", -1);
	declares("mail");
	assert_non_null(declared);
	declared = NULL;
	agent_reopen(&agent);
	meets("00000001", -1);
	assert_non_null(declared);
	assert_string_equal(declared_name, "mail");
}

static void what_is_under_way_is_decided_here_when_the_database_is_lost_again(void **state) {
	(void)state;
	is_held_in_fallback();
	declares("mail");
	says(LEASE_UNKNOWN, "");
	loses();
	assert_true(policies_find(&agent.policies, "mail") >= 0);
}

static void what_is_declared_while_policies_are_loaded_waits_for_them(void **state) {
	(void)state;
	loses();
	assert_int_equal(core_state(agent.driver.core), CORE_FALLBACK);
	sync_on_database.up(&agent.sync, &hello);
	declares("mail");
	assert_null(declared);
	answers(LEASE_DONE, "");
	assert_non_null(declared);
}

static void what_is_declared_is_decided_here_when_policies_can_not_be_loaded(void **state) {
	(void)state;
	loses();
	sync_on_database.up(&agent.sync, &hello);
	declares("mail");
	answers(LEASE_REJECTED, "");
	assert_true(policies_find(&agent.policies, "mail") >= 0);
}

/* Somebody may have locked the row. Until the policy is declared, its checks fail. */
static void what_was_refused_at_the_return_is_declared_with_the_next_heartbeat(void **state) {
	(void)state;
	loses();
	declares("mail");
	sync_on_database.up(&agent.sync, &hello);
	assert_null(loading.done); /* policies are loaded when it has been declared */
	says(LEASE_REJECTED, "");
	answers(LEASE_DONE, "");
	assert_int_equal(core_state(agent.driver.core), CORE_IN_STEP);
	agent_tick(&agent);
	says(LEASE_DONE, "created");
	assert_string_equal(loading.names[0], "mail"); /* the agent asks for its id, and for nothing else */
	assert_int_equal(loading.count, 1);
	answers(LEASE_DONE, "mail");
	assert_int_equal(agent.policies.policy[policies_find(&agent.policies, "mail")].row.policy_id, api.policy_id);
	agent_tick(&agent);
	assert_null(declared);
	assert_null(loading.done);
}

/* Each declaration has a deadline of its own: one for all of them together would be too short. */
static void what_was_declared_meanwhile_is_passed_on_one_by_one(void **state) {
	(void)state;
	loses();
	declares("mail");
	declares("sms");
	declares("push");
	sync_on_database.up(&agent.sync, &hello);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(declarations, i + 1);
		assert_false(declared_again); /* the database hears of it for the first time */
		says(LEASE_DONE, "created");
	}
	assert_int_equal(loading.count, 4);
	answers(LEASE_DONE, "mail");
	assert_null(declared);
}

/* By which apps and agent mean the same policy, also if others had its place before. */
static void the_number_that_is_answered_is_that_of_the_place(void **state) {
	struct wire_declared answer;
	int app = an_app_connects();
	(void)state;
	meets("00000001", -1);
	agent.policies.policy[0].generation = 3;
	declares_as(0, "api", 70);
	judges("unchanged", "api");
	assert_int_equal(recv(app, &answer, sizeof(answer), 0), sizeof(answer));
	assert_int_equal(answer.policy, policy_number_make(0, 3));
	close(app);
}

/* Else a policy that is refused for ever would keep the others from being declared. */
static void one_that_is_refused_is_the_last_to_be_tried_again(void **state) {
	(void)state;
	loses();
	declares("mail");
	declares("sms");
	sync_on_database.up(&agent.sync, &hello);
	assert_string_equal(declared_name, "mail");
	says(LEASE_REJECTED, "");
	assert_null(declared);
	answers(LEASE_DONE, "");
	agent_tick(&agent);
	assert_string_equal(declared_name, "sms");
	says(LEASE_DONE, "created");
	assert_string_equal(declared_name, "mail");
	says(LEASE_REJECTED, "");
	assert_string_equal(loading.names[0], "sms");
}

static void what_is_decided_here_holds_here(void **state) {
	int app = an_app_connects();
	(void)state;
	loses();
	declares_as(0, "api", 70);
	expect_answer(app, 0);
	assert_int_equal(limit_of_fallback(), 140);
	says_to_agent(0, "api", 0, WIRE_DECLARE_MUST_EXIST);
	expect_answer(app, 0);
	says_to_agent(0, "sms", 0, WIRE_DECLARE_MUST_EXIST);
	expect_answer(app, STINT_ENOPOLICY);
	close(app);
}

static void the_first_policy_that_there_is_can_be_decided_here(void **state) {
	int app = an_app_connects();
	(void)state;
	agent.policies.policy[0].used = false;
	loses();
	declares_as(0, "mail", 70);
	expect_answer(app, 0);
	assert_int_equal(policies_find(&agent.policies, "mail"), 0);
	assert_true(agent.policies.policy[0].undeclared);
	close(app);
}

static void who_declares_other_limits_than_an_operators_is_told(void **state) {
	int app = an_app_connects();
	(void)state;
	meets("00000001", -1);
	is_pinned = true;
	declares_as(0, "api", 70);
	judges("pinned", "");
	assert_int_equal(expect_answer(app, 0), WIRE_DECLARED_PINNED);
	declares_as(0, "api", limit_in_force);
	judges("pinned", "");
	assert_int_equal(expect_answer(app, 0), 0);
	says_to_agent(0, "api", 0, WIRE_DECLARE_MUST_EXIST);
	answers(LEASE_DONE, "");
	assert_int_equal(expect_answer(app, 0), 0);
	close(app);
}

/* Once for each policy and each of its limits. */
static void what_comes_of_declarations_is_logged_once(void **state) {
	(void)state;
	meets("00000001", -1);
	log_is_read();
	declares_as(0, "back", 60);
	judges("brought back", "back");
	is_pinned = true;
	for (int i = 0; i < 3; i++) {
		declares_as(0, "api", 70);
		judges("pinned", "");
	}
	is_pinned = false;
	for (int i = 0; i < 6; i++) {
		declares_as(0, i % 2 ? "api" : "mail", 80);
		judges("put off", "mail");
	}
	declares_as(0, "api", 90);
	says(LEASE_REJECTED, "");
	expect_logged_once("warning: policy back was dropped, and an app declares it again: 60 requests in ");
	expect_logged_once("policy api is pinned");
	expect_logged_once("policy mail stays at 100 requests");
	expect_logged_once("policy api stays at 100 requests");
	expect_logged_once("policy api was not declared");
	log_is_read_no_more();
}

/* It was dropped before the agent read it. */
static void what_comes_of_a_policy_that_is_gone_is_not_logged(void **state) {
	const struct policy_row none = {.policy_id = 0};
	(void)state;
	meets("00000001", -1);
	log_is_read();
	declares_as(0, "mail", 80);
	says(LEASE_DONE, "pinned");
	assert_non_null(loading.done);
	loading.done(loading.context, LEASE_DONE, &none, 1);
	expect_logged("is pinned", 0);
	log_is_read_no_more();
}

/* Advice once, not each time that the database returns. */
static void how_the_database_goes_is_logged(void **state) {
	struct database_hello advised = hello;
	(void)state;
	snprintf(advised.advice, sizeof(advised.advice), "set it to on");
	log_is_read();
	for (int i = 0; i < 3; i++)
		sync_on_database.down(&agent.sync, "nobody listens");
	expect_logged_once("warning: cannot reach the database: nobody listens");
	agent.sync.failed_logged_ns -= 31 * 1000 * MS;
	sync_on_database.down(&agent.sync, "nobody listens");
	expect_logged("warning: cannot reach the database: nobody listens", 2);
	for (int i = 0; i < 3; i++) {
		sync_on_database.up(&agent.sync, i < 2 ? &advised : &hello);
		answers(LEASE_DONE, "");
		loses();
	}
	expect_logged("warning: lost the database: it is gone", 3);
	expect_logged_once("warning: set it to on");
	expect_logged("warning: \n", 0);
	log_is_read_no_more();
}

static void pulses_at(int64_t now_us) {
	const struct database_pulse pulse = {.now_us = now_us};
	ticks(6);
	pulsed(&agent.heartbeat, LEASE_DONE, &pulse);
}

static void a_step_of_the_databases_clock_is_logged(void **state) {
	int64_t began_us = 5000 * NS_PER_S / 1000 + monotonic_now_ns() / 1000;
	(void)state;
	meets("00000001", -1);
	log_is_read();
	pulses_at(began_us);
	pulses_at(began_us);
	expect_logged("clock stepped", 0);
	pulses_at(began_us + 60 * NS_PER_S / 1000); /* a slow machine makes it less */
	expect_logged_once("the database's clock stepped by +");
	pulses_at(began_us);
	expect_logged_once("the database's clock stepped by -");
	log_is_read_no_more();
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(what_comes_of_a_policy_that_is_gone_is_not_logged),
		TEST(how_the_database_goes_is_logged),
		TEST(a_step_of_the_databases_clock_is_logged),
		TEST(what_is_declared_during_a_hold_is_declared_to_the_database),
		TEST(of_a_declaration_one_policy_is_read),
		TEST(who_waits_for_another_declaration_has_its_turn_at_once),
		TEST(what_it_changes_holds_at_once),
		TEST(what_is_under_way_when_the_connection_is_opened_anew_is_declared_again),
		TEST(what_is_under_way_is_decided_here_when_the_database_is_lost_again),
		TEST(what_is_declared_while_policies_are_loaded_waits_for_them),
		TEST(what_is_declared_is_decided_here_when_policies_can_not_be_loaded),
		TEST(what_was_refused_at_the_return_is_declared_with_the_next_heartbeat),
		TEST(what_was_declared_meanwhile_is_passed_on_one_by_one),
		TEST(the_number_that_is_answered_is_that_of_the_place),
		TEST(one_that_is_refused_is_the_last_to_be_tried_again),
		TEST(what_is_decided_here_holds_here),
		TEST(the_first_policy_that_there_is_can_be_decided_here),
		TEST(who_declares_other_limits_than_an_operators_is_told),
		TEST(what_comes_of_declarations_is_logged_once),
	};
	return cmocka_run_group_tests_name("declaration", tests, NULL, NULL);
}
