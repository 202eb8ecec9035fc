/*
 * test_declaration.c - apps declare policies: what the database is asked and asked again, what is decided
 * without it, how many may wait, and which policy makes room for another one.
 */
#include "agent_fixture.h"

#include <sys/socket.h>
#include <sys/un.h>

/* ---- Apps ---------------------------------------------------------------------------------- */

/* Gives its socket. They come one after the other, and their numbers are 0, 1, ... */
static int an_app_connects(void) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t before = server_peer_count(agent.driver.server);
	int app = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	assert_int_equal(connect(app, (const struct sockaddr *)&address, sizeof(address)), 0);
	event_base_loop(agent.base, EVLOOP_NONBLOCK);
	assert_int_equal(server_peer_count(agent.driver.server), before + 1);
	return app;
}

/* Gives its flags. */
static uint16_t expect_answer(int app, int status) {
	struct wire_declared answer;
	assert_int_equal(recv(app, &answer, sizeof(answer), 0), sizeof(answer));
	assert_int_equal(answer.status, status);
	return answer.head.flags;
}

static void expect_no_answer(int app) {
	char byte;
	assert_int_equal(recv(app, &byte, 1, 0), -1);
}

/* ---- What is logged -------------------------------------------------------------------------- */

static FILE *log_file;
static int standard_error;

static void log_is_read(void) {
	log_file = tmpfile();
	assert_non_null(log_file);
	standard_error = dup(STDERR_FILENO);
	dup2(fileno(log_file), STDERR_FILENO);
}

static void expect_logged_once(const char *text) {
	char line[1024];
	int count = 0;
	rewind(log_file);
	while (fgets(line, sizeof(line), log_file))
		count += strstr(line, text) != NULL;
	assert_int_equal(count, 1);
}

static void log_is_read_no_more(void) {
	dup2(standard_error, STDERR_FILENO);
	close(standard_error);
	fclose(log_file);
}

/* ---- Changes ------------------------------------------------------------------------------- */

/* A change is heard of; what is asked of other policies meanwhile doesn't get in its way. */
static database_policies *reading;
static void reads_a_policy(const char *name) {
	struct change_row row = {.change_id = 1, .policy_id = 1000};
	database_changes *done;
	snprintf(row.policy_name, sizeof(row.policy_name), "%s", name);
	sync_on_database.notified(&agent.sync);
	done = changed;
	changed = NULL;
	done(&agent.changes, LEASE_DONE, &row, 1);
	assert_true(agent.policies.loading);
	reading = loading.done;
	loading.done = NULL;
}

static void ends_reading(enum lease_outcome outcome) {
	struct policy_row row = agent.policies.policy[agent.changes.asked[0]].row;
	reading(&agent.changes, outcome, outcome == LEASE_DONE ? &row : NULL, 1);
}

/* ---- Declarations ------------------------------------------------------------------------- */

static void says_to_agent(server_peer app, const char *name, int64_t limit, uint16_t flags) {
	const struct wire_declare message = {
		.head = {.flags = flags},
		.max_requests = limit,
		.time_window_ms = api.time_window_ms,
		.fallback_max_requests = 2 * limit,
	};
	declarations_on_message(&agent.declarations, app, &message, name, strlen(name));
}

static void declares_as(server_peer app, const char *name, int64_t limit) {
	says_to_agent(app, name, limit, 0);
}

static void declares(const char *name) {
	declares_as(0, name, 5);
}

static void is_held_in_fallback(void) {
	meets("00000001", -1);
	loses();
	loses(); /* and is not back at once */
	meets("00000002", 0);
	assert_int_equal(core_state(agent.driver.core), CORE_FALLBACK);
}

/* Nothing would tell the database of it afterwards, and checks of a policy that it doesn't know fail. */
static void what_is_declared_during_a_hold_is_declared_to_the_database(void **state) {
	(void)state;
	is_held_in_fallback();
	declares("mail");
	assert_non_null(declared);
}

/* However many there are: what an app waits for doesn't grow with them. */
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
	declares("mail"); /* asked once for both */
	assert_int_equal(declarations, 1);
	says(LEASE_DONE, "created");
	answers(LEASE_DONE, "mail");
	assert_string_equal(declared_name, "sms");
	says(LEASE_DONE, "created");
	answers(LEASE_DONE, "sms");
	assert_null(declared);
	assert_int_equal(declarations, 2);
}

/* What the old connection was asked has no answer any more. */
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

static void or_decided_here_when_it_is_lost_again(void **state) {
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

static void but_is_decided_here_when_they_can_not_be_loaded(void **state) {
	(void)state;
	loses();
	sync_on_database.up(&agent.sync, &hello);
	declares("mail");
	answers(LEASE_REJECTED, "");
	assert_true(policies_find(&agent.policies, "mail") >= 0);
}

/* Somebody had the row locked, say: until then checks of the policy fail. */
static void what_was_refused_at_the_return_is_declared_with_the_next_heartbeat(void **state) {
	(void)state;
	loses();
	declares("mail");
	sync_on_database.up(&agent.sync, &hello);
	assert_null(loading.done); /* what is declared now is loaded as well */
	says(LEASE_REJECTED, "");
	answers(LEASE_DONE, "");
	assert_int_equal(core_state(agent.driver.core), CORE_IN_STEP);
	agent_tick(&agent);
	says(LEASE_DONE, "created");
	assert_string_equal(loading.names[0], "mail"); /* its id is asked for, and nothing else */
	assert_int_equal(loading.count, 1);
	answers(LEASE_DONE, "mail");
	assert_int_equal(agent.policies.policy[policies_find(&agent.policies, "mail")].row.policy_id, api.policy_id);
	agent_tick(&agent);
	assert_null(declared);
	assert_null(loading.done);
}

/* Each has a deadline, that of all together would be too short. */
static void what_was_declared_meanwhile_is_passed_on_one_by_one(void **state) {
	(void)state;
	loses();
	declares("mail");
	declares("sms");
	declares("push");
	sync_on_database.up(&agent.sync, &hello);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(declarations, i + 1);
		says(LEASE_DONE, "created");
	}
	assert_int_equal(loading.count, 4);
	answers(LEASE_DONE, "mail");
	assert_null(declared);
}

/* One that is refused for ever would keep the others from ever being declared. */
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

static void also_of_the_first_policy_that_there_is(void **state) {
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
	says(LEASE_DONE, "pinned");
	answers(LEASE_DONE, "");
	assert_int_equal(expect_answer(app, 0), WIRE_DECLARED_PINNED);
	declares_as(0, "api", limit_in_force);
	says(LEASE_DONE, "pinned");
	answers(LEASE_DONE, "");
	assert_int_equal(expect_answer(app, 0), 0);
	says_to_agent(0, "api", 0, WIRE_DECLARE_MUST_EXIST);
	answers(LEASE_DONE, "");
	assert_int_equal(expect_answer(app, 0), 0);
	close(app);
}

/* Of each policy, of each of its limits. */
static void what_comes_of_declarations_is_logged_once(void **state) {
	(void)state;
	meets("00000001", -1);
	log_is_read();
	is_pinned = true;
	for (int i = 0; i < 3; i++) {
		declares_as(0, "api", 70);
		says(LEASE_DONE, "pinned");
		answers(LEASE_DONE, "");
	}
	is_pinned = false;
	for (int i = 0; i < 6; i++) {
		declares_as(0, i % 2 ? "api" : "mail", 80);
		says(LEASE_DONE, "put off");
		answers(LEASE_DONE, "mail");
	}
	declares_as(0, "api", 90);
	says(LEASE_REJECTED, "");
	expect_logged_once("policy api is pinned");
	expect_logged_once("policy mail stays at 100 requests");
	expect_logged_once("policy api stays at 100 requests");
	expect_logged_once("policy api was not declared");
	log_is_read_no_more();
}

/* ---- Put off -------------------------------------------------------------------------------- */

#define PUT_OFF 50 /* a limit that was replaced too lately: 100 is in force, and stays for now */

/* A heartbeat after so long, without waiting: what is due comes nearer instead. */
static void minutes_pass(int minutes) {
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		if (agent.policies.policy[i].word.ask_ns != 0)
			agent.policies.policy[i].word.ask_ns -= minutes * 60000 * MS;
	agent_tick(&agent);
}

static void is_judged(const char *status) {
	says(LEASE_DONE, status);
	answers(LEASE_DONE, "mail");
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
		TEST(what_is_declared_during_a_hold_is_declared_to_the_database),
		TEST(of_a_declaration_one_policy_is_read),
		TEST(who_waits_for_another_declaration_has_its_turn_at_once),
		TEST(what_is_under_way_when_the_connection_is_opened_anew_is_declared_again),
		TEST(or_decided_here_when_it_is_lost_again),
		TEST(what_is_declared_while_policies_are_loaded_waits_for_them),
		TEST(but_is_decided_here_when_they_can_not_be_loaded),
		TEST(what_was_refused_at_the_return_is_declared_with_the_next_heartbeat),
		TEST(what_was_declared_meanwhile_is_passed_on_one_by_one),
		TEST(one_that_is_refused_is_the_last_to_be_tried_again),
		TEST(what_is_decided_here_holds_here),
		TEST(also_of_the_first_policy_that_there_is),
		TEST(who_declares_other_limits_than_an_operators_is_told),
		TEST(what_comes_of_declarations_is_logged_once),
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
	return cmocka_run_group_tests_name("declaration", tests, NULL, NULL);
}
