/*
 * test_word.c - limits that the database puts off are declared again by the agent itself, until they are in
 * force or nobody means them any more: word.h.
 */
#include "declaration_fixture.h"

#define PUT_OFF 50 /* a limit that was replaced too lately: 100 is in force, and stays for now */

/* A heartbeat after so long, without waiting: what is due comes nearer instead. */
static void minutes_pass(int minutes) {
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		if (agent.policies.policy[i].word.ask_ns != 0)
			agent.policies.policy[i].word.ask_ns -= minutes * 60000 * MS;
	agent_tick(&agent);
}

/* The next app that connects. */
static int an_app_is_put_off(void) {
	server_peer number = server_peer_count(agent.driver.server);
	int app = an_app_connects();
	declares_as(number, "api", PUT_OFF);
	is_judged("put off");
	expect_answer(app, 0);
	return app;
}

static void expect_asked_again(void) {
	assert_non_null(declared);
	assert_string_equal(declared_name, "api");
	assert_int_equal(declared_limit, PUT_OFF);
}

/* It has declared them, and won't do so again as long as it lives. */
static void limits_that_are_put_off_are_declared_again(void **state) {
	int app;
	(void)state;
	meets("00000001", -1);
	app = an_app_is_put_off();
	agent_tick(&agent);
	assert_null(declared);
	for (int minute = 1; minute < 10; minute++) {
		minutes_pass(1);
		expect_asked_again();
		is_judged("put off");
	}
	minutes_pass(1);
	expect_asked_again();
	limit_in_force = PUT_OFF;
	is_judged("changed");
	assert_int_equal(agent.policies.policy[0].row.max_requests, PUT_OFF);
	minutes_pass(10);
	assert_null(declared);
	expect_no_answer(app); /* to what it hasn't said */
	close(app);
}

static void not_when_an_app_has_declared_others_since(void **state) {
	int app, other;
	(void)state;
	meets("00000001", -1);
	app = an_app_is_put_off();
	other = an_app_connects();
	declares_as(1, "api", api.max_requests);
	is_judged("unchanged");
	expect_answer(other, 0);
	minutes_pass(10);
	assert_null(declared);
	close(app);
	close(other);
}

static void changes_to(int64_t limit) {
	limit_in_force = limit;
	reads_a_policy("api");
	loading.done = reading;
	answers(LEASE_DONE, "");
}

/* An app of another host, or an operator: that is a newer word, or the same. */
static void nor_when_they_have_changed_since(void **state) {
	int app;
	(void)state;
	meets("00000001", -1);
	app = an_app_is_put_off();
	changes_to(70);
	minutes_pass(10);
	assert_null(declared);
	close(app);
}

static void nor_when_the_policy_is_dropped(void **state) {
	const struct policy_row none = {.policy_id = 0};
	int app;
	(void)state;
	meets("00000001", -1);
	app = an_app_is_put_off();
	reads_a_policy("api");
	reading(&agent.changes, LEASE_DONE, &none, 1);
	minutes_pass(10);
	assert_null(declared);
	close(app);
}

static void nor_when_an_operator_has_pinned_it(void **state) {
	int app;
	(void)state;
	meets("00000001", -1);
	app = an_app_is_put_off();
	minutes_pass(1);
	is_judged("pinned");
	minutes_pass(10);
	assert_null(declared);
	close(app);
}

/* Of the old version of an app, say, which has been replaced since. */
static void nor_when_nobody_is_left_who_said_so(void **state) {
	int app, other;
	(void)state;
	meets("00000001", -1);
	app = an_app_is_put_off();
	other = an_app_is_put_off();
	close(app);
	event_base_loop(agent.base, EVLOOP_NONBLOCK);
	minutes_pass(1);
	expect_asked_again();
	is_judged("put off");
	close(other);
	event_base_loop(agent.base, EVLOOP_NONBLOCK);
	minutes_pass(1);
	assert_null(declared);
	an_app_connects(); /* another one in its place, that has nothing to do with it */
	minutes_pass(10);
	assert_null(declared);
}

/* As many as a server has processes: not all of them are remembered, but more than one. */
static void the_last_ones_who_said_so_are_known(void **state) {
	int apps[WORD_SPEAKERS + 2];
	(void)state;
	meets("00000001", -1);
	for (int i = 0; i < WORD_SPEAKERS + 2; i++)
		apps[i] = an_app_is_put_off();
	declares_as(WORD_SPEAKERS, "api", PUT_OFF); /* once more, which makes it no other */
	is_judged("put off");
	for (int i = 3; i < WORD_SPEAKERS + 2; i++)
		close(apps[i]);
	event_base_loop(agent.base, EVLOOP_NONBLOCK);
	minutes_pass(1);
	expect_asked_again();
	is_judged("put off");
	close(apps[2]);
	event_base_loop(agent.base, EVLOOP_NONBLOCK);
	minutes_pass(1);
	assert_null(declared);
	close(apps[0]);
	close(apps[1]);
}

/* Not that of a daemon which said it first, and is still there. */
static void one_that_has_ended_is_forgotten_first(void **state) {
	int apps[WORD_SPEAKERS], daemon, last;
	(void)state;
	meets("00000001", -1);
	daemon = an_app_is_put_off();
	for (int i = 1; i < WORD_SPEAKERS; i++)
		apps[i] = an_app_is_put_off();
	close(apps[1]);
	event_base_loop(agent.base, EVLOOP_NONBLOCK);
	last = an_app_connects();
	declares_as(((server_peer)1 << 32) | 1, "api", PUT_OFF);
	is_judged("put off");
	expect_answer(last, 0);
	close(last);
	for (int i = 2; i < WORD_SPEAKERS; i++)
		close(apps[i]);
	event_base_loop(agent.base, EVLOOP_NONBLOCK);
	minutes_pass(1);
	expect_asked_again();
	close(daemon);
}

static void so_are_those_who_said_so_at_once(void **state) {
	int app = an_app_connects(), other = an_app_connects();
	(void)state;
	meets("00000001", -1);
	declares_as(0, "api", PUT_OFF);
	declares_as(1, "api", PUT_OFF);
	is_judged("put off");
	assert_null(declared);
	close(app);
	event_base_loop(agent.base, EVLOOP_NONBLOCK);
	minutes_pass(1);
	expect_asked_again();
	close(other);
}

/* It is no sign that an app of this host uses it. */
static void asking_again_is_no_use_of_a_policy(void **state) {
	int app;
	(void)state;
	meets("00000001", -1);
	app = an_app_is_put_off();
	assert_true(agent.policies.policy[0].used_ns > 0);
	agent.policies.policy[0].used_ns = 0;
	minutes_pass(1);
	is_judged("put off");
	assert_int_equal(agent.policies.policy[0].used_ns, 0);
	close(app);
}

/* It has lost its connection, and has the same to say; what else processes say again is no news. */
static void who_says_it_again_is_still_there(void **state) {
	int app, other;
	(void)state;
	meets("00000001", -1);
	app = an_app_is_put_off();
	other = an_app_connects();
	says_to_agent(1, "api", PUT_OFF, WIRE_DECLARE_AGAIN);
	is_judged("kept");
	says_to_agent(1, "api", api.max_requests, WIRE_DECLARE_AGAIN);
	is_judged("kept");
	close(app);
	event_base_loop(agent.base, EVLOOP_NONBLOCK);
	minutes_pass(1);
	expect_asked_again();
	close(other);
}

/* It would be the limit of this host then, for as long as the database is away. */
static void what_is_put_off_is_not_decided_here(void **state) {
	int app;
	(void)state;
	meets("00000001", -1);
	app = an_app_is_put_off();
	minutes_pass(1);
	says(LEASE_UNKNOWN, "");
	loses();
	loses();
	assert_int_equal(core_state(agent.driver.core), CORE_FALLBACK);
	assert_int_equal(agent.policies.policy[0].row.max_requests, api.max_requests);
	assert_null(agent.declarations.first);
	meets("00000001", -1);
	assert_null(declared);
	minutes_pass(1);
	expect_asked_again();
	close(app);
}

/* What an app declares while it waits for its turn is newer. */
static void it_goes_before_what_apps_declare_meanwhile(void **state) {
	int app;
	(void)state;
	meets("00000001", -1);
	app = an_app_is_put_off();
	declares_as(1, "mail", 5);
	declares_as(1, "api", 70);
	minutes_pass(1);
	is_judged("created");
	expect_asked_again();
	is_judged("put off");
	assert_int_equal(declared_limit, 70);
	limit_in_force = 70;
	is_judged("changed");
	minutes_pass(10);
	assert_null(declared);
	close(app);
}

static void so_is_what_was_put_off_when_the_database_came_back(void **state) {
	int app = an_app_connects();
	(void)state;
	loses();
	declares_as(0, "api", PUT_OFF);
	expect_answer(app, 0);
	assert_int_equal(agent.policies.policy[0].row.max_requests, PUT_OFF);
	sync_on_database.up(&agent.sync, &hello);
	expect_asked_again();
	is_judged("put off");
	assert_int_equal(agent.policies.policy[0].row.max_requests, api.max_requests);
	assert_null(declared);
	minutes_pass(1);
	expect_asked_again();
	is_judged("put off");
	changes_to(70);
	minutes_pass(10);
	assert_null(declared);
	close(app);
}

/* Nothing was known of it here when it was dropped. */
static void but_not_when_the_policy_was_dropped_before_it_was_read(void **state) {
	int app = an_app_connects();
	(void)state;
	loses();
	declares_as(0, "mail", PUT_OFF);
	expect_answer(app, 0);
	sync_on_database.up(&agent.sync, &hello);
	says(LEASE_DONE, "put off");
	answers(LEASE_DONE, "");
	minutes_pass(10);
	assert_null(declared);
	close(app);
}

/* It locks the policy's row, say. What apps have declared since goes on at once, and is not undone afterwards. */
static void what_the_database_refuses_is_asked_again_a_minute_later(void **state) {
	int app, other;
	(void)state;
	meets("00000001", -1);
	app = an_app_is_put_off();
	other = an_app_connects();
	minutes_pass(1);
	expect_asked_again();
	declares_as(1, "mail", 5);
	says(LEASE_REJECTED, "");
	assert_string_equal(declared_name, "mail");
	is_judged("created");
	expect_answer(other, 0);
	agent_tick(&agent);
	assert_null(declared);
	minutes_pass(1);
	expect_asked_again();
	declares_as(1, "api", 70);
	says(LEASE_REJECTED, "");
	assert_int_equal(declared_limit, 70);
	limit_in_force = 70;
	is_judged("changed");
	minutes_pass(10);
	assert_null(declared);
	close(app);
	close(other);
}

/* It has been declared, and whether it has changed anything can't be read. */
static void also_when_its_outcome_is_not_known(void **state) {
	int app;
	(void)state;
	meets("00000001", -1);
	app = an_app_is_put_off();
	minutes_pass(1);
	says(LEASE_DONE, "put off");
	answers(LEASE_UNKNOWN, "");
	agent_tick(&agent);
	assert_null(declared);
	minutes_pass(1);
	expect_asked_again();
	close(app);
}

/* One that is refused for ever must not keep others from being asked. */
static void others_have_their_turn_then(void **state) {
	int app = an_app_connects();
	(void)state;
	meets("00000001", -1);
	declares_as(0, "mail", PUT_OFF);
	is_judged("put off");
	declares_as(0, "api", PUT_OFF);
	is_judged("put off");
	minutes_pass(2);
	assert_string_equal(declared_name, "mail");
	says(LEASE_REJECTED, "");
	agent_tick(&agent);
	expect_asked_again();
	close(app);
}

static void what_is_forgotten_while_it_waits_is_not_asked(void **state) {
	const struct policy_row none = {.policy_id = 0};
	int apps[3];
	(void)state;
	meets("00000001", -1);
	for (int how = 0; how < 3; how++) {
		apps[how] = an_app_is_put_off();
		declares_as(0, "mail", 5); /* the database is busy with this one */
		minutes_pass(1);
		assert_int_equal(agent.declarations.count, 2);
		if (how == 0)
			changes_to(70);
		if (how == 1) {
			reads_a_policy("api");
			reading(&agent.changes, LEASE_DONE, &none, 1);
		}
		for (int i = 0; how == 2 && i < 3; i++)
			close(apps[i]);
		event_base_loop(agent.base, EVLOOP_NONBLOCK);
		is_judged("unchanged");
		assert_null(declared);
		assert_null(agent.declarations.first);
		changes_to(api.max_requests);
	}
}

/* All of them, however many there are. */
static void who_was_put_off_first_is_asked_first(void **state) {
	int app = an_app_connects();
	(void)state;
	meets("00000001", -1);
	declares_as(0, "mail", PUT_OFF);
	is_judged("put off");
	declares_as(0, "api", PUT_OFF);
	is_judged("put off");
	minutes_pass(2);
	assert_string_equal(declared_name, "mail");
	minutes_pass(0);
	is_judged("put off");
	assert_null(declared);
	minutes_pass(0);
	expect_asked_again();
	close(app);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(limits_that_are_put_off_are_declared_again),
		TEST(not_when_an_app_has_declared_others_since),
		TEST(nor_when_they_have_changed_since),
		TEST(nor_when_the_policy_is_dropped),
		TEST(nor_when_an_operator_has_pinned_it),
		TEST(nor_when_nobody_is_left_who_said_so),
		TEST(the_last_ones_who_said_so_are_known),
		TEST(one_that_has_ended_is_forgotten_first),
		TEST(so_are_those_who_said_so_at_once),
		TEST(asking_again_is_no_use_of_a_policy),
		TEST(who_says_it_again_is_still_there),
		TEST(what_is_put_off_is_not_decided_here),
		TEST(it_goes_before_what_apps_declare_meanwhile),
		TEST(so_is_what_was_put_off_when_the_database_came_back),
		TEST(but_not_when_the_policy_was_dropped_before_it_was_read),
		TEST(what_the_database_refuses_is_asked_again_a_minute_later),
		TEST(also_when_its_outcome_is_not_known),
		TEST(others_have_their_turn_then),
		TEST(what_is_forgotten_while_it_waits_is_not_asked),
		TEST(who_was_put_off_first_is_asked_first),
	};
	return cmocka_run_group_tests_name("word", tests, NULL, NULL);
}
