/*
 * declaration_fixture.h - an agent of agent_fixture.h to which apps declare policies: what they say, what they
 * are answered, and what is logged.
 */
#ifndef DECLARATION_FIXTURE_H
#define DECLARATION_FIXTURE_H

#include "agent_fixture.h"
#include "logged.h"

#include <sys/socket.h>
#include <sys/un.h>

/* ---- Apps ---------------------------------------------------------------------------------- */

/* An app connects. Gives its socket. The agent numbers apps 0, 1, ... in the order in which they connect. */
static inline int an_app_connects(void) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t before = server_peer_count(agent.driver.server);
	int app = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	assert_int_equal(connect(app, (const struct sockaddr *)&address, sizeof(address)), 0);
	event_base_loop(agent.base, EVLOOP_NONBLOCK);
	assert_int_equal(server_peer_count(agent.driver.server), before + 1);
	return app;
}

/* An app's process ends, and the agent sees it. */
static inline void ends(int app) {
	close(app);
	event_base_loop(agent.base, EVLOOP_NONBLOCK);
}

/* The agent has answered with this status. Gives the answer's flags. */
static inline uint16_t expect_answer(int app, int status) {
	struct wire_declared answer;
	assert_int_equal(recv(app, &answer, sizeof(answer), 0), sizeof(answer));
	assert_int_equal(answer.status, status);
	return answer.head.flags;
}

static inline void expect_no_answer(int app) {
	char byte;
	assert_int_equal(recv(app, &byte, 1, 0), -1);
}

/* ---- Changes ------------------------------------------------------------------------------- */

static database_policies *reading; /* what ends the read that reads_a_policy() began */

/* The agent hears of a change, and begins to read its policy. It may read others meanwhile. */
static inline void reads_a_policy(const char *name) {
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

static inline void ends_reading(enum lease_outcome outcome) {
	struct policy_row row = agent.policies.policy[agent.changes.asked[0]].row;
	reading(&agent.changes, outcome, outcome == LEASE_DONE ? &row : NULL, 1);
}

/* ---- Declarations ------------------------------------------------------------------------- */

static inline void says_to_agent(server_peer app, const char *name, int64_t limit, uint16_t flags) {
	const struct wire_declare message = {
		.head = {.flags = flags},
		.max_requests = limit,
		.time_window_ms = api.time_window_ms,
		.resolution = 10,
		.fallback_max_requests = 2 * limit,
	};
	declarations_on_message(&agent.declarations, app, &message, name, strlen(name));
}

static inline void declares_as(server_peer app, const char *name, int64_t limit) {
	says_to_agent(app, name, limit, 0);
}

static inline void declares(const char *name) {
	declares_as(0, name, 5);
}

/* The agent, which was in step, loses the database, and doesn't get it back at once. */
static inline void falls_back(void) {
	loses();
	loses();
	assert_int_equal(core_state(agent.driver.core), CORE_FALLBACK);
}

/* The database is back as another server: the agent, which is in fallback, gets nothing of it for a while. */
static inline void is_held_in_fallback(void) {
	meets("00000001", -1);
	falls_back();
	meets("00000002", 0);
	assert_int_equal(core_state(agent.driver.core), CORE_FALLBACK);
}

/* The database says what comes of the declaration, and answers what the agent then reads: it knows "api", and this
 * policy. */
static inline void judges(const char *status, const char *policy) {
	says(LEASE_DONE, status);
	answers(LEASE_DONE, policy);
}

static inline void is_judged(const char *status) {
	judges(status, "mail");
}

#endif
