/*
 * test_word.c - limits that the database puts off are declared again by the agent itself, until they are in
 * force or nobody means them any more: word.h.
 */
#include "declaration_fixture.h"

#define PUT_OFF 50 /* a limit that was replaced too lately: 100 is in force, and stays for now */

/* The app that TEST_PUT_OFF() begins with: it has declared PUT_OFF for "api". */
static int app;

/* A heartbeat after so long. Nobody waits for it: the time that the agent waits for is put back instead. */
static void minutes_pass(int minutes) {
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		if (agent.policies.policy[i].word.ask_ns != 0)
			agent.policies.policy[i].word.ask_ns -= minutes * 60000 * MS;
	agent_tick(&agent);
}

/* The next app connects, declares PUT_OFF, and is put off. Gives its socket. */
static int an_app_is_put_off(void) {
	server_peer number = server_peer_count(agent.driver.server);
	int one = an_app_connects();
	declares_as(number, "api", PUT_OFF);
	is_judged("put off");
	expect_answer(one, 0);
	return one;
}

static void expect_asked_again(void) {
	assert_non_null(declared);
	assert_string_equal(declared_name, "api");
	assert_int_equal(declared_limit, PUT_OFF);
}

static void expect_not_asked_again(void) {
	minutes_pass(10);
	assert_null(declared);
}

/* Somebody changes the policy's limit, and the agent hears of it. */
static void changes_to(int64_t limit) {
	limit_in_force = limit;
	reads_a_policy("api");
	loading.done = reading;
	answers(LEASE_DONE, "");
}

/* Somebody drops the policy, and the agent hears of it. */
static void is_dropped(void) {
	const struct policy_row none = {.policy_id = 0};
	reads_a_policy("api");
	reading(&agent.changes, LEASE_DONE, &none, 1);
}

static int begin_put_off(void **state) {
	begin(state);
	meets("00000001", -1);
	app = an_app_is_put_off();
	return 0;
}

static int end_put_off(void **state) {
	close(app);
	return end(state);
}

#define TEST_PUT_OFF(name) cmocka_unit_test_setup_teardown(name, begin_put_off, end_put_off)

/* ---- As long as somebody means them -------------------------------------------------------- */

/* The app declares its limits once in its life: so the agent has to declare them again. */
static void limits_that_are_put_off_are_declared_again(void **state) {
	(void)state;
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
	expect_not_asked_again();
	expect_no_answer(app); /* it has said nothing since */
}

static void an_apps_later_word_takes_its_place(void **state) {
	int other = an_app_connects();
	(void)state;
	declares_as(1, "api", api.max_requests);
	is_judged("unchanged");
	expect_answer(other, 0);
	expect_not_asked_again();
	close(other);
}

/* An app of another host has changed them, or an operator: theirs is a newer word, or the same. */
static void a_change_ends_it(void **state) {
	(void)state;
	changes_to(70);
	expect_not_asked_again();
}

static void dropping_the_policy_ends_it(void **state) {
	(void)state;
	is_dropped();
	expect_not_asked_again();
}

static void pinning_the_policy_ends_it(void **state) {
	(void)state;
	minutes_pass(1);
	is_judged("pinned");
	expect_not_asked_again();
}

/* As when the processes of an app's old version have been replaced by those of the new one. */
static void it_ends_with_the_processes_that_said_it(void **state) {
	int other = an_app_is_put_off();
	(void)state;
	ends(app);
	app = -1;
	minutes_pass(1);
	expect_asked_again();
	is_judged("put off");
	ends(other);
	minutes_pass(1);
	assert_null(declared);
	other = an_app_connects(); /* takes its place, and has nothing to do with it */
	expect_not_asked_again();
	close(other);
}

/* A server may have many processes. The agent remembers more than one of them, but not all. */
static void the_last_ones_who_said_so_are_known(void **state) {
	int apps[WORD_SPEAKERS + 2];
	(void)state;
	meets("00000001", -1);
	for (int i = 0; i < WORD_SPEAKERS + 2; i++)
		apps[i] = an_app_is_put_off();
	declares_as(WORD_SPEAKERS, "api", PUT_OFF); /* the same app once more: it counts once */
	is_judged("put off");
	for (int i = 3; i < WORD_SPEAKERS + 2; i++)
		ends(apps[i]);
	minutes_pass(1);
	expect_asked_again();
	is_judged("put off");
	ends(apps[2]);
	minutes_pass(1);
	assert_null(declared);
	close(apps[0]);
	close(apps[1]);
}

/* A daemon that said it first and is still there is kept in place of the one that has ended. */
static void expect_daemon_to_be_kept(int ended) {
	int apps[WORD_SPEAKERS], daemon, last;
	meets("00000001", -1);
	daemon = an_app_is_put_off();
	for (int i = 1; i < WORD_SPEAKERS; i++)
		apps[i] = an_app_is_put_off();
	ends(apps[ended]);
	last = an_app_connects();
	declares_as(((server_peer)1 << 32) | (server_peer)ended, "api", PUT_OFF);
	is_judged("put off");
	expect_answer(last, 0);
	ends(last);
	for (int i = 1; i < WORD_SPEAKERS; i++)
		if (i != ended)
			ends(apps[i]);
	minutes_pass(1);
	expect_asked_again();
	close(daemon);
}

static void one_that_has_ended_is_forgotten_first(void **state) {
	(void)state;
	expect_daemon_to_be_kept(1);
}

static void also_when_it_was_the_last_to_say_so(void **state) {
	(void)state;
	expect_daemon_to_be_kept(WORD_SPEAKERS - 1);
}

static void all_who_said_so_at_once_are_known(void **state) {
	int first = an_app_connects(), other = an_app_connects();
	(void)state;
	meets("00000001", -1);
	declares_as(0, "api", PUT_OFF);
	declares_as(1, "api", PUT_OFF);
	is_judged("put off");
	assert_null(declared);
	ends(first);
	minutes_pass(1);
	expect_asked_again();
	close(other);
}

/* The agent asks by itself: that doesn't show that an app of this host uses the policy. */
static void asking_again_is_no_use_of_a_policy(void **state) {
	(void)state;
	assert_true(agent.policies.policy[0].used_ns > 0);
	agent.policies.policy[0].used_ns = 0;
	minutes_pass(1);
	is_judged("put off");
	assert_int_equal(agent.policies.policy[0].used_ns, 0);
}

/* A process that has lost its connection says its limits again: here the same that were put off. Other limits
 * that a process says again are no newer word. */
static void who_says_it_again_is_still_there(void **state) {
	int other = an_app_connects();
	(void)state;
	says_to_agent(1, "api", PUT_OFF, WIRE_DECLARE_AGAIN);
	is_judged("kept");
	says_to_agent(1, "api", api.max_requests, WIRE_DECLARE_AGAIN);
	is_judged("kept");
	ends(app);
	app = -1;
	minutes_pass(1);
	expect_asked_again();
	close(other);
}

/* ---- Among other declarations, and without the database ------------------------------------ */

/* Else it would be this host's limit for as long as the database is away. */
static void what_is_put_off_is_not_decided_here(void **state) {
	(void)state;
	minutes_pass(1);
	says(LEASE_UNKNOWN, "");
	falls_back();
	assert_int_equal(agent.policies.policy[0].row.max_requests, api.max_requests);
	assert_null(agent.declarations.first);
	meets("00000001", -1);
	assert_null(declared);
	minutes_pass(1);
	expect_asked_again();
}

/* What an app declares while the old word waits for its turn is newer, and stays. */
static void it_goes_before_what_apps_declare_meanwhile(void **state) {
	(void)state;
	declares_as(1, "mail", 5);
	declares_as(1, "api", 70);
	minutes_pass(1);
	is_judged("created");
	expect_asked_again();
	is_judged("put off");
	assert_int_equal(declared_limit, 70);
	limit_in_force = 70;
	is_judged("changed");
	expect_not_asked_again();
}

/* The database is asked once for both. */
static void who_says_the_same_meanwhile_has_the_same_answer(void **state) {
	int other = an_app_connects();
	(void)state;
	minutes_pass(1);
	expect_asked_again();
	unsigned asked = declarations;
	declares_as(1, "api", PUT_OFF);
	limit_in_force = PUT_OFF;
	is_judged("changed");
	assert_int_equal(expect_answer(other, 0), 0);
	assert_int_equal(declarations, asked);
	close(other);
}

static void limits_that_are_put_off_as_the_database_comes_back_are_declared_again(void **state) {
	int first = an_app_connects();
	(void)state;
	loses();
	declares_as(0, "api", PUT_OFF);
	expect_answer(first, 0);
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
	expect_not_asked_again();
	close(first);
}

/* The agent had not read the policy when it was dropped. */
static void limits_of_a_policy_that_was_dropped_before_it_was_read_are_not(void **state) {
	int first = an_app_connects();
	(void)state;
	loses();
	declares_as(0, "mail", PUT_OFF);
	expect_answer(first, 0);
	sync_on_database.up(&agent.sync, &hello);
	judges("put off", "");
	expect_not_asked_again();
	close(first);
}

/* Somebody may have locked the policy's row. Meanwhile the agent passes on at once what apps declare, and doesn't
 * undo it afterwards. */
static void what_the_database_refuses_is_asked_again_a_minute_later(void **state) {
	int other = an_app_connects();
	(void)state;
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
	expect_not_asked_again();
	close(other);
}

/* It was declared, but the agent couldn't read whether that has changed anything. */
static void what_has_an_unknown_outcome_is_asked_again_a_minute_later(void **state) {
	(void)state;
	minutes_pass(1);
	says(LEASE_DONE, "put off");
	answers(LEASE_UNKNOWN, "");
	agent_tick(&agent);
	assert_null(declared);
	minutes_pass(1);
	expect_asked_again();
}

/* An app declares "mail", then "api", and both are put off. When they are due, "mail" is asked first. Gives its
 * socket. */
static int two_policies_are_put_off(void) {
	int first = an_app_connects();
	meets("00000001", -1);
	declares_as(0, "mail", PUT_OFF);
	is_judged("put off");
	declares_as(0, "api", PUT_OFF);
	is_judged("put off");
	minutes_pass(2);
	assert_string_equal(declared_name, "mail");
	return first;
}

/* A policy that is refused for ever must not keep others from being asked. */
static void others_have_their_turn_after_a_refusal(void **state) {
	int first = two_policies_are_put_off();
	(void)state;
	says(LEASE_REJECTED, "");
	agent_tick(&agent);
	expect_asked_again();
	close(first);
}

static void what_is_forgotten_while_it_waits_is_not_asked(void **state) {
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
		if (how == 1)
			is_dropped();
		for (int i = 0; how == 2 && i < 3; i++)
			ends(apps[i]);
		is_judged("unchanged");
		assert_null(declared);
		assert_null(agent.declarations.first);
		changes_to(api.max_requests);
	}
}

/* And all of them are asked, however many there are. */
static void who_was_put_off_first_is_asked_first(void **state) {
	int first = two_policies_are_put_off();
	(void)state;
	minutes_pass(0);
	is_judged("put off");
	assert_null(declared);
	minutes_pass(0);
	expect_asked_again();
	close(first);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST_PUT_OFF(limits_that_are_put_off_are_declared_again),
		TEST_PUT_OFF(an_apps_later_word_takes_its_place),
		TEST_PUT_OFF(a_change_ends_it),
		TEST_PUT_OFF(dropping_the_policy_ends_it),
		TEST_PUT_OFF(pinning_the_policy_ends_it),
		TEST_PUT_OFF(it_ends_with_the_processes_that_said_it),
		TEST(the_last_ones_who_said_so_are_known),
		TEST(one_that_has_ended_is_forgotten_first),
		TEST(also_when_it_was_the_last_to_say_so),
		TEST(all_who_said_so_at_once_are_known),
		TEST_PUT_OFF(asking_again_is_no_use_of_a_policy),
		TEST_PUT_OFF(who_says_it_again_is_still_there),
		TEST_PUT_OFF(what_is_put_off_is_not_decided_here),
		TEST_PUT_OFF(it_goes_before_what_apps_declare_meanwhile),
		TEST_PUT_OFF(who_says_the_same_meanwhile_has_the_same_answer),
		TEST(limits_that_are_put_off_as_the_database_comes_back_are_declared_again),
		TEST(limits_of_a_policy_that_was_dropped_before_it_was_read_are_not),
		TEST_PUT_OFF(what_the_database_refuses_is_asked_again_a_minute_later),
		TEST_PUT_OFF(what_has_an_unknown_outcome_is_asked_again_a_minute_later),
		TEST(others_have_their_turn_after_a_refusal),
		TEST(what_is_forgotten_while_it_waits_is_not_asked),
		TEST(who_was_put_off_first_is_asked_first),
	};
	return cmocka_run_group_tests_name("word", tests, NULL, NULL);
}
