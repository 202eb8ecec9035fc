/*
 * test_agent_start.c - an agent that is started and stopped, as main() does it: what it sets up, what it finds of
 * an earlier one, and what it makes of signals.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "log.h"
#include "monotonic.h"
#include "own_dir.h"
#include "policy.h"

static struct agent agent;
static char error[AGENT_ERROR_MAX];
static char dir[OWN_DIR_MAX], shm_name[OWN_SHM_MAX], path[80], socket_path[80];

/* A configuration file as it would be in /etc. Where no server listens, the agent falls back. */
static void writes(const char *more) {
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file, "[stint]\nsocket = %s\nshm = %s\nhost = test\nmax_clients = 100\n%s", socket_path, shm_name,
	        more);
	fclose(file);
}

#define NOBODY "database = host=/nonexistent dbname=stint\n"
#define MEMORY "database = memory:\n"

static void starts(const char *more) {
	struct config config;
	char why[CONFIG_ERROR_MAX];
	writes(more);
	if (config_load(&config, path, why) != 0)
		fail_msg("%s", why);
	if (agent_start(&agent, &config, path, error) != 0)
		fail_msg("%s", error);
	driver_pump(&agent.driver);
}

static int make(void **state) {
	(void)state;
	if (own_dir_make(dir, shm_name) != 0)
		return -1;
	snprintf(path, sizeof(path), "%s/conf", dir);
	snprintf(socket_path, sizeof(socket_path), "%s/socket", dir);
	return 0;
}

static int clean(void **state) {
	(void)state;
	agent_stop(&agent);
	own_dir_unlink_objects(shm_name);
	own_dir_remove(dir);
	return 0;
}

static const struct policy_row api = {.name = "api",
                                      .max_requests = 100,
                                      .time_window_ms = 1000,
                                      .fallback_max_requests = 200,
                                      .fallback_time_window_ms = 1000,
                                      .resolution = 10};

/* What comes at once. */
static void turns(void) {
	for (int i = 0; i < 3; i++)
		event_base_loop(agent.base, EVLOOP_NONBLOCK);
}

static void is_signalled(int number) {
	assert_int_equal(raise(number), 0);
	turns();
}

/* ---- What it finds --------------------------------------------------------------------------- */

static void what_an_earlier_agent_left_is_taken_over(void **state) {
	(void)state;
	starts(NOBODY);
	assert_false(agent.shm.taken_over);
	assert_int_equal(agent.changes.change_id, -1);
	policies_add(&agent.policies, &api);
	atomic_store(&agent.shm.directory->change_id, 7);
	snprintf(agent.shm.directory->server, sizeof(agent.shm.directory->server), "home");
	agent_stop(&agent);
	starts(NOBODY);
	assert_true(agent.shm.taken_over);
	assert_int_equal(agent.changes.change_id, 7);
	assert_string_equal(agent.changes.origin.server, "home");
	assert_int_equal(policies_find(&agent.policies, "api"), 0);
	int64_t now_ns = monotonic_now_ns();
	core_want(agent.driver.core, now_ns, 1, 1, 0, "anna", 4, 1, now_ns + NS_PER_S);
	assert_int_equal(core_client_count(agent.driver.core), 1); /* the core knows the policy, too */
}

/* There is no database that could number them. */
static void in_memory_policies_have_numbers(void **state) {
	(void)state;
	starts(MEMORY);
	assert_null(agent.driver.database);
	assert_int_equal(core_state(agent.driver.core), CORE_MEMORY);
	policies_add(&agent.policies, &api);
	agent_stop(&agent);
	starts(MEMORY);
	assert_int_equal(agent.policies.policy[0].row.policy_id, 1);
}

static void each_has_a_name_of_its_own(void **state) {
	char first[sizeof(agent.instance)];
	(void)state;
	starts(MEMORY);
	assert_int_equal(strlen(agent.instance), 32);
	memcpy(first, agent.instance, sizeof(first));
	agent_stop(&agent);
	starts(MEMORY);
	assert_string_not_equal(agent.instance, first);
}

static void another_one_is_refused(void **state) {
	static struct agent second;
	struct config config;
	(void)state;
	starts(MEMORY);
	assert_int_equal(config_load(&config, path, error), 0);
	assert_int_equal(agent_start(&second, &config, path, error), -1);
	assert_non_null(strstr(error, shm_name));
	agent_stop(&second);
}

/* ---- Signals ------------------------------------------------------------------------------------ */

static void a_reload_changes_what_it_can(void **state) {
	(void)state;
	starts(NOBODY "idle_timeout_s = 600\n");
	struct database *before = agent.driver.database;
	writes(NOBODY "idle_timeout_s = 601\nlog_level = warning\n");
	is_signalled(SIGHUP);
	assert_int_equal(agent.config.idle_timeout_s, 601);
	assert_string_equal(agent.config.log_level, "warning");
	assert_ptr_equal(agent.driver.database, before); /* that is as it was */
}

static void and_nothing_else(void **state) {
	(void)state;
	starts(NOBODY);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file, "[stint]\nsocket = %s.other\nshm = %s-other\nhost = test\nmax_clients = 200\n" MEMORY,
	        socket_path, shm_name);
	fclose(file);
	is_signalled(SIGHUP);
	assert_string_equal(agent.config.socket, socket_path);
	assert_string_equal(agent.config.shm, shm_name);
	assert_int_equal(agent.config.max_clients, 100);
	assert_false(config_is_memory(&agent.config));
}

static void a_reload_of_nonsense_changes_nothing(void **state) {
	(void)state;
	starts(NOBODY "idle_timeout_s = 600\n");
	writes(NOBODY "idle_timeout_s = 601\nnonsense\n");
	is_signalled(SIGHUP);
	assert_int_equal(agent.config.idle_timeout_s, 600);
}

/* What was in the way is gone by then. */
static void metrics_are_tried_again_with_each_reload(void **state) {
	char where[100], more[200];
	(void)state;
	snprintf(where, sizeof(where), "%s/metrics", dir);
	snprintf(more, sizeof(more), MEMORY "metrics_listen = %s\n", where);
	starts(MEMORY);
	assert_int_equal(mkdir(where, 0700), 0);
	writes(more);
	is_signalled(SIGHUP);
	assert_null(agent.metrics);
	assert_int_equal(rmdir(where), 0);
	is_signalled(SIGHUP);
	assert_non_null(agent.metrics);
	const struct metrics_server *before = agent.metrics;
	is_signalled(SIGHUP);
	assert_ptr_equal(agent.metrics, before);
	writes(MEMORY);
	is_signalled(SIGHUP);
	assert_null(agent.metrics);
	assert_int_equal(access(where, F_OK), -1);
}

/* Without a database there is nothing to return. */
static void a_stop_without_a_database_is_one_at_once(void **state) {
	(void)state;
	starts(MEMORY);
	assert_int_equal(raise(SIGTERM), 0);
	assert_int_equal(agent_run(&agent), 0);
	assert_true(agent.stopping);
}

static void so_is_one_of_an_agent_that_is_on_its_own(void **state) {
	(void)state;
	starts(NOBODY);
	assert_int_equal(raise(SIGINT), 0);
	assert_int_equal(agent_run(&agent), 0);
	assert_true(agent.stopping);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clean)
	const struct CMUnitTest tests[] = {
		TEST(what_an_earlier_agent_left_is_taken_over),
		TEST(in_memory_policies_have_numbers),
		TEST(each_has_a_name_of_its_own),
		TEST(another_one_is_refused),
		TEST(a_reload_changes_what_it_can),
		TEST(and_nothing_else),
		TEST(a_reload_of_nonsense_changes_nothing),
		TEST(metrics_are_tried_again_with_each_reload),
		TEST(a_stop_without_a_database_is_one_at_once),
		TEST(so_is_one_of_an_agent_that_is_on_its_own),
	};
	return cmocka_run_group_tests_name("agent start", tests, NULL, NULL);
}
