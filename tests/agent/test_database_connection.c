/*
 * test_database_connection.c - what agent/database does when no connection comes up, one breaks, or a deadline
 * passes.
 */
#include "database_stub.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "database/errand.h"

/* ---- Connections that don't come up ---------------------------------------------------- */

static void expect_down(struct fixture *f, const char *rest, const char *why) {
	open_database(f, rest, TIMEOUT_MS);
	expect(f, "D");
	expect_why(f, why);
	assert_string_equal(database_last_error(f->db), f->why);
	close_database(f);
}

static void says_why_it_cannot_connect(void **state) {
	struct fixture *f = *state;
	expect_down(f, "host=/tmp/stint-nowhere", "No such file or directory");
	expect_down(f, "dbname=nowhere", "database \"nowhere\" does not exist");
	expect_down(f, "dbname=stub user=nobody-here", "role \"nobody-here\" does not exist");
	expect_down(f, "nonsense", "nonsense");
	expect_down(f, "dbname=bare", "schema stint is missing: run `stint db init`");
	expect_down(f, "dbname=stub user=stranger", "no rights: grant stint_agent to this role");
	expect_down(f, "dbname=stub user=stranger", "role stranger");
	expect_down(f, "dbname=stub user=heir", "this role is a member of stint_agent, but doesn't inherit");
	expect_down(f, "dbname=stub user=reader",
	            "writes are turned off: default_transaction_read_only is on for this role");
}

static void tells_a_server_that_refuses_from_none(void **state) {
	static const struct {
		const char *rest;
		bool reached;
	} cases[] = {{"host=/tmp/stint-nowhere", false}, {"host=127.0.0.1 port=1", false},       {"nonsense", false},
	             {"dbname=nowhere", true},           {"dbname=stub user=nobody-here", true}, {"dbname=bare", true},
	             {"dbname=stub user=stranger", true}};
	struct fixture *f = *state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		open_database(f, cases[i].rest, TIMEOUT_MS);
		expect(f, "D");
		if (database_was_reached(f->db) != cases[i].reached)
			fail_msg("%s: reached is %d", cases[i].rest, !cases[i].reached);
		close_database(f);
	}
}

static void set_version(const struct fixture *f, const char *version, const char *oldest_agent) {
	char sql[512];
	snprintf(sql, sizeof(sql),
	         "create or replace function stint.schema_version() returns int language sql as 'select %s';"
	         "create or replace function stint.oldest_agent() returns int language sql as 'select %s'",
	         version, oldest_agent);
	admin_do(f, "stub", sql);
}

static void refuses_a_schema_that_it_cannot_work_with(void **state) {
	struct fixture *f = *state;
	set_version(f, "0", "0");
	expect_down(f, "dbname=stub", "version 0, this agent needs 2: run `stint db migrate`");
	set_version(f, "4", "3");
	expect_down(f, "dbname=stub",
	            "version 4, which agents made for version 3 or later can work with; this one was made for 2");
	set_version(f, "null::int", "2");
	expect_down(f, "dbname=stub", "does not understand");
	set_version(f, "2", "null::int");
	expect_down(f, "dbname=stub", "does not understand");
	set_version(f, "2", "2");
	admin_do(f, "stub", "alter function stint.stop_host rename to stop_host_not");
	expect_down(f, "dbname=stub", "schema stint is missing or incomplete");
	admin_do(f, "stub", "alter function stint.stop_host_not rename to stop_host");
}

static void works_with_a_newer_schema_that_breaks_nothing(void **state) {
	struct fixture *f = *state;
	set_version(f, "2147483647", "2");
	come_up(f, "dbname=stub", TIMEOUT_MS);
	close_database(f);
	set_version(f, "2", "2");
}

static void tries_again_with_growing_pauses(void **state) {
	struct fixture *f = *state;
	int64_t began = test_now_ms();
	open_database(f, "host=/tmp/stint-nowhere", TIMEOUT_MS);
	expect(f, "DDDD"); /* after pauses of 50, 100 and 200 ms, each longer or shorter by up to a half */
	int64_t lasted = test_now_ms() - began;
	assert_in_range(lasted, 170, 5000);
	close_database(f);
}

/* Makes a socket that takes connections and never says a word, like a server that was stopped. */
static int listen_mute(const struct fixture *f, char *path, size_t size) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(path, size, "%s/mute", f->dir);
	mkdir(path, 0755);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/mute/.s.PGSQL.5432", f->dir);
	unlink(address.sun_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static void close_mute(const struct fixture *f, int fd) {
	char path[128];
	close(fd);
	snprintf(path, sizeof(path), "%s/mute/.s.PGSQL.5432", f->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/mute", f->dir);
	rmdir(path);
}

static void gives_up_on_a_mute_server_and_tries_the_next(void **state) {
	struct fixture *f = *state;
	char path[128], rest[512];
	int fd = listen_mute(f, path, sizeof(path));
	int64_t began = test_now_ms();
	snprintf(rest, sizeof(rest), "dbname=stub host=%s,%s/pg", path, f->dir);
	open_database(f, rest, TIMEOUT_MS);
	expect(f, "D");
	assert_in_range(test_now_ms() - began, TIMEOUT_MS - 20, TIMEOUT_MS + 1500);
	expect_why(f, "no connection within 600 ms");
	/* The next attempts are refused for a second if the first one's thread has not ended yet. */
	for (int64_t end = test_now_ms() + PATIENCE_MS; !database_is_up(f->db) && test_now_ms() < end;)
		run_for(f, 10);
	assert_true(database_is_up(f->db));
	close_database(f);
	close_mute(f, fd);
}

/* Where there is no other one, nothing is won by giving up early. */
static void gives_the_only_server_two_seconds(void **state) {
	struct fixture *f = *state;
	char path[128], rest[512];
	int fd = listen_mute(f, path, sizeof(path));
	int64_t began = test_now_ms();
	snprintf(rest, sizeof(rest), "dbname=stub host=%s", path);
	open_database(f, rest, TIMEOUT_MS);
	expect(f, "D");
	assert_in_range(test_now_ms() - began, 1980, PATIENCE_MS);
	expect_why(f, "no connection within 2000 ms");
	close_database(f);
	close_mute(f, fd);
}

/* ---- Failures of the connection ------------------------------------------------------------------------ */

static int64_t end_session_and_wait(struct fixture *f, const char *told) {
	int64_t began = test_now_ms();
	admin_do(f, "stub",
	         "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'stintd/%'");
	expect(f, told);
	return test_now_ms() - began;
}

static void a_killed_backend_leaves_the_unknown(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", 30000);
	beat(f, "slow", 25000); /* longer than a busy machine takes to kill it */
	beat(f, "in step", 0);
	beat(f, "in step", 0);
	run_for(f, 100);
	end_session_and_wait(f, "U???DU");
	expect_why(f, "terminating connection due to administrator command");
	assert_int_equal(database_in_flight(f->db), 0);
	end_session_and_wait(f, "U???DUDU"); /* nothing was under way */
	expect_why(f, "terminating connection due to administrator command");
	close_database(f);
}

/* They may have lost their sessions, too: a hundred begin in half a second to one and a half. */
static void comes_back_the_later_the_more_hosts_there_are(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", 5000);
	beat(f, "many", 0);
	expect(f, "Ud");
	assert_in_range(end_session_and_wait(f, "UdDU"), 500, PATIENCE_MS);
	close_database(f);
}

static void a_paused_server_meets_the_deadline(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", TIMEOUT_MS);
	cluster_must(f, "pause");
	int64_t began = test_now_ms();
	beat(f, "in step", 0);
	run_for(f, TIMEOUT_MS / 2);
	beat(f, "in step", 0);
	expect(f, "U??D");
	assert_in_range(test_now_ms() - began, TIMEOUT_MS - 20, TIMEOUT_MS + 1500);
	expect_why(f, "stint.heartbeat has no answer within 600 ms");
	expect(f, "U??DD");
	cluster_must(f, "resume");
	for (int64_t end = test_now_ms() + PATIENCE_MS; !database_is_up(f->db) && test_now_ms() < end;)
		run_for(f, 10);
	assert_true(database_is_up(f->db));
	close_database(f);
}

/* Also one that was sent while another one was under way. */
static void each_operation_has_its_own_deadline(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	beat(f, "in step", TIMEOUT_MS / 3);
	run_for(f, TIMEOUT_MS / 6);
	int64_t began = test_now_ms();
	beat(f, "freeze", 0);
	expect(f, "Ud?D");
	assert_true(test_now_ms() - began >= TIMEOUT_MS - 20);
	expect_why(f, "stint.heartbeat has no answer within 600 ms");
	cluster_must(f, "resume");
	expect(f, "Ud?DU");
	close_database(f);
}

/* ---- An agent that is stopped, or waits for a processor, beyond a deadline ------------------------------- */

static bool interrupted;

/* The event loop calls this one. */
int epoll_wait(int fd, struct epoll_event *events, int most, int timeout_ms) {
	if (!interrupted)
		return epoll_pwait(fd, events, most, timeout_ms, NULL);
	interrupted = false;
	errno = EINTR;
	return -1;
}

/* The process is stopped as by SIGSTOP. SIGCONT interrupts the loop's wait, so the loop sees to timers before
 * any descriptor. */
static void is_stopped_for(int ms) {
	for (int64_t end = test_now_ms() + ms; test_now_ms() <= end;)
		usleep(1000);
	interrupted = true;
}

/* There are more answers than are read at once. */
static void answers_that_came_in_time_count(void **state) {
	struct fixture *f = *state;
	static struct lease_request requests[256];
	static char ids[256][8];
	for (int i = 0; i < 256; i++) {
		snprintf(ids[i], sizeof(ids[i]), "%d", i);
		requests[i] = request_of(ids[i], strlen(ids[i]), i);
	}
	come_up(f, "dbname=stub", 5 * TIMEOUT_MS);
	for (int i = 0; i < 3; i++)
		take(f, requests, 256);
	beat(f, "in step", 0);
	is_stopped_for(5 * TIMEOUT_MS);
	expect(f, "Udddd");
	run_for(f, 50);
	assert_true(database_is_up(f->db));
	close_database(f);
}

/* Until the server has this many sessions of agents with a heartbeat as their last statement, answered. */
static void wait_for_idle(const struct fixture *f, const char *sessions) {
	char count[32] = "";
	for (int64_t end = test_now_ms() + PATIENCE_MS; strcmp(count, sessions) != 0 && test_now_ms() < end;)
		admin_ask(f, "stub",
		          "select count(*) from pg_stat_activity where application_name like 'stintd/%'"
		          " and state = 'idle' and query like '%stint.heartbeat%'",
		          count, sizeof(count));
	assert_string_equal(count, sessions);
}

/* The server ended the session soon after its answer, and both are read at once. */
static void the_first_reason_to_leave_is_told(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	beat(f, "gone", 0);
	wait_for_idle(f, "1");
	admin_do(f, "stub",
	         "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'stintd/%'");
	wait_for_idle(f, "0");
	is_stopped_for(TIMEOUT_MS);
	expect(f, "UdD");
	expect_why(f, "this host's row is gone");
	close_database(f);
}

/* The answers are read together. What comes behind the one that gave the reason isn't looked at any more. */
static void what_follows_the_reason_to_leave_is_unknown(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", 5 * TIMEOUT_MS);
	beat(f, "gone", 0);
	beat(f, "in step", 0);
	is_stopped_for(TIMEOUT_MS);
	expect(f, "Ud?D");
	expect_why(f, "this host's row is gone");
	close_database(f);
}

/* Threads begin when this is false. */
static _Atomic bool held;

struct beginning {
	void *(*run)(void *);
	void *arg;
};

static void *begin_thread(void *context) {
	struct beginning beginning = *(struct beginning *)context;
	free(context);
	while (atomic_load(&held))
		usleep(1000);
	return beginning.run(beginning.arg);
}

/* Called for each errand. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg) {
	int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	*(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
	struct beginning *beginning = malloc(sizeof(*beginning));
	assert_non_null(beginning);
	*beginning = (struct beginning){run, arg};
	return create(thread, attributes, begin_thread, beginning);
}

/* Runs the loop until an errand has begun beside it, and waits for the errand's end without the loop. */
static void do_errand(struct fixture *f) {
	atomic_store(&held, true);
	while (!errand_is_any())
		event_base_loop(f->base, EVLOOP_ONCE);
	atomic_store(&held, false);
	while (errand_is_any())
		usleep(1000);
}

static void a_connection_that_came_in_time_is_used(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	do_errand(f); /* the first errand is the search for servers */
	do_errand(f);
	is_stopped_for(TIMEOUT_MS);
	expect(f, "U");
	close_database(f);
}

/* The lock file of a killed server stands in the way until its process has been reaped. */
static void cluster_start_again(const struct fixture *f) {
	char line[256];
	int e = -1;
	for (int64_t end = test_now_ms() + PATIENCE_MS; e != 0 && test_now_ms() < end;)
		e = cluster_command(f, "start", line, sizeof(line));
	assert_int_equal(e, 0);
}

static void a_killed_server_comes_back(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", 30000);
	beat(f, "slow", 25000); /* longer than a busy machine takes to kill it */
	run_for(f, 50);
	cluster_must(f, "kill");
	expect(f, "U?D");
	cluster_start_again(f);
	for (int64_t end = test_now_ms() + PATIENCE_MS; !database_is_up(f->db) && test_now_ms() < end;)
		run_for(f, 10);
	assert_true(database_is_up(f->db));
	close_database(f);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_why_it_cannot_connect),
		cmocka_unit_test(tells_a_server_that_refuses_from_none),
		cmocka_unit_test(refuses_a_schema_that_it_cannot_work_with),
		cmocka_unit_test(works_with_a_newer_schema_that_breaks_nothing),
		cmocka_unit_test(tries_again_with_growing_pauses),
		cmocka_unit_test(gives_up_on_a_mute_server_and_tries_the_next),
		cmocka_unit_test(gives_the_only_server_two_seconds),
		cmocka_unit_test(a_killed_backend_leaves_the_unknown),
		cmocka_unit_test(comes_back_the_later_the_more_hosts_there_are),
		cmocka_unit_test(a_paused_server_meets_the_deadline),
		cmocka_unit_test(each_operation_has_its_own_deadline),
		cmocka_unit_test(the_first_reason_to_leave_is_told),
		cmocka_unit_test(what_follows_the_reason_to_leave_is_unknown),
		cmocka_unit_test(answers_that_came_in_time_count),
		cmocka_unit_test(a_connection_that_came_in_time_is_used),
		cmocka_unit_test(a_killed_server_comes_back),
	};
	return cmocka_run_group_tests(tests, setup, remove_cluster);
}
