/*
 * test_database_failures.c - what agent/database does when a statement fails, an answer can't be true, the
 * connection breaks, or much is under way at once.
 */
#include "database_stub.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "database/errand.h"
#include "database/private.h"

/* ---- The kernel's room ------------------------------------------------------------------------------ */

static int adds_to_fail;

/* Takes the place of the C library's, which libevent calls: the kernel may have no room to watch another
 * descriptor. */
int epoll_ctl(int fd, int operation, int other, struct epoll_event *event) {
	if (operation == EPOLL_CTL_ADD && adds_to_fail > 0) {
		adds_to_fail--;
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_epoll_ctl, fd, operation, other, event);
}

/* If it were kept, each answer would be read only when a deadline has passed. */
static void a_connection_that_cannot_be_watched_is_dropped(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	adds_to_fail = 1;
	expect(f, "DU");
	expect_why(f, "no memory to watch the connection with");
	beat(f, "in step", 0);
	expect(f, "DUd");
	assert_int_equal(adds_to_fail, 0);
	close_database(f);
}

/* ---- Memory and descriptors ------------------------------------------------------------------------ */

static int count_descriptors(void) {
	DIR *open_ones = opendir("/proc/self/fd");
	int count = 0;
	while (readdir(open_ones))
		count++;
	closedir(open_ones);
	return count;
}

static void closes_what_it_opened(void **state) {
	struct fixture *f = *state;
	int before = count_descriptors();
	for (int i = 0; i < 3; i++) {
		open_database(f, "dbname=stub", TIMEOUT_MS);
		expect(f, "U");
		close_database(f);
	}
	assert_int_equal(count_descriptors(), before);
}

static int allocations_left; /* of libevent; then one fails */

static void *allocate(size_t size) {
	return allocations_left-- == 0 ? NULL : malloc(size);
}

/* Whether there is one. */
static bool try_database(struct event_base *base) {
	static const struct database_events events = {on_up, on_down, on_notified};
	const struct database_options options = {.conninfo = "dbname=stub",
	                                         .host = "a",
	                                         .instance = "one",
	                                         .version = "0.1",
	                                         .timeout_ms = TIMEOUT_MS};
	struct database *db;
	bool made = database_new(&db, base, &options, &events, NULL) == 0;
	assert_int_equal(db != NULL, made);
	database_free(db);
	return made;
}

static void without_memory_for_an_event_there_is_none(void **state) {
	struct event_base *base = event_base_new();
	int tried = 0;
	(void)state;
	assert_true(try_database(base)); /* what the base keeps, it has now */
	event_set_mem_functions(allocate, realloc, free);
	do
		allocations_left = tried++;
	while (!try_database(base));
	event_set_mem_functions(malloc, realloc, free);
	assert_int_equal(tried, 7); /* it has six events */
	event_base_free(base);
}

static void without_a_descriptor_there_is_none(void **state) {
	struct event_base *base = event_base_new();
	struct rlimit before, none;
	int tried = 0, next = dup(0);
	(void)state;
	assert_true(try_database(base));
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	close(next);
	do {
		none = (struct rlimit){(rlim_t)(next + tried++), before.rlim_max};
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	} while (!try_database(base) && tried < 20);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(tried, 3); /* two of its own */
	event_base_free(base);
}

/* ---- Failures of one statement ------------------------------------------------------------------ */

static void a_rejected_statement_leaves_the_connection_up(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", 4 * TIMEOUT_MS);
	beat(f, "error 22023", 0);
	beat(f, "in step", 0);
	beat(f, "error 40001", 0);
	beat(f, "error ST001", 0);
	expect(f, "Urdrr");
	assert_string_equal(database_last_error(f->db), "as asked [none]");
	beat(f, "slow", 4 * TIMEOUT_MS * 9 / 10); /* the server gives up before the agent does */
	expect(f, "Urdrrr");
	assert_non_null(strstr(database_last_error(f->db), "statement timeout"));
	run_for(f, 50);
	assert_true(database_is_up(f->db));
	close_database(f);
}

static void a_lock_that_cannot_be_had_is_told(void **state) {
	struct fixture *f = *state;
	struct pg *other = admin_connect(f, "stub");
	come_up(f, "dbname=stub", TIMEOUT_MS);
	assert_int_equal(pg_script(other, "begin; lock table stint.seen in share mode"), PG_OK);
	database_await_tables(f->db, on_ended, f);
	expect(f, "Ur");
	assert_true(database_met_a_lock(f->db));
	beat(f, "error 22023", 0);
	expect(f, "Urr");
	assert_false(database_met_a_lock(f->db));
	assert_int_equal(pg_script(other, "rollback"), PG_OK);
	database_await_tables(f->db, on_ended, f);
	expect(f, "Urrd");
	pg_close(other);
	close_database(f);
}

static void what_is_not_sent_meets_no_lock(void **state) {
	struct fixture *f = *state;
	struct pg *other = admin_connect(f, "stub");
	come_up(f, "dbname=stub", TIMEOUT_MS);
	assert_int_equal(pg_script(other, "begin; lock table stint.seen in share mode"), PG_OK);
	database_await_tables(f->db, on_ended, f);
	expect(f, "Ur");
	assert_true(database_met_a_lock(f->db));
	assert_int_equal(
		pg_script(other,
	              "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'stintd/%'"),
		PG_OK);
	expect(f, "UrD");
	database_await_tables(f->db, on_ended, f);
	expect(f, "UrDr");
	assert_false(database_met_a_lock(f->db));
	pg_close(other);
	close_database(f);
}

static void a_commit_that_fails_is_a_rejection(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", TIMEOUT_MS);
	beat(f, "late", 0);
	beat(f, "in step", 0);
	expect(f, "Urd");
	assert_string_equal(database_last_error(f->db), "too late");
	close_database(f);
}

static void a_commit_with_a_warning_is_unknown(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", TIMEOUT_MS);
	beat(f, "warn", 0);
	beat(f, "in step", 0);
	expect(f, "U?d");
	close_database(f);
}

/* A synchronous standby is gone. Nothing that is written is certain to last, so the agent takes the database
 * for away. */
static void a_server_whose_commits_dont_end_is_left(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", TIMEOUT_MS);
	beat(f, "warn", 0);
	beat(f, "in step", 0);
	beat(f, "warn", 0);
	expect(f, "U?d?DU");
	expect_why(f, "not replicated");
	close_database(f);
}

static void commits_that_end_without_the_standby_now_and_then_are_borne(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	beat(f, "warn", 0);
	expect(f, "U?");
	run_for(f, 4 * TIMEOUT_MS);
	beat(f, "warn", 0);
	beat(f, "in step", 0);
	expect(f, "U??d");
	close_database(f);
}

static void a_server_that_cannot_serve_is_left(void **state) {
	static const char *const errors[] = {"error 53100", "error 57P03", "error 58030",
	                                     "error XX000", "error 25006", "error 40003"};
	struct fixture *f = *state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		come_up(f, "dbname=stub", TIMEOUT_MS);
		beat(f, errors[i], 0);
		beat(f, "in step", 0);
		expect(f, "U??DU");
		expect_why(f, "as asked");
		close_database(f);
	}
}

static void lost_prepared_statements_are_noticed(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", TIMEOUT_MS);
	beat(f, "forget", 0);
	expect(f, "Ud");
	beat(f, "in step", 0);
	expect(f, "Ud?DU");
	expect_why(f, "pooler in transaction mode");
	close_database(f);
}

/* As behind a pooler in transaction mode, newer ones of which know prepared statements. */
static void another_session_that_answers_is_noticed(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", TIMEOUT_MS);
	f->db->session.server_pid++;
	beat(f, "in step", 0);
	expect(f, "UdDU");
	expect_why(f, "pooler in transaction mode");
	f->db->session.server_pid++;
	database_pulse(f->db, on_pulsed, f);
	expect(f, "UdDUdDU");
	f->db->session.server_pid = 0; /* the server didn't tell */
	beat(f, "in step", 0);
	expect(f, "UdDUdDUd");
	close_database(f);
}

static void a_host_without_a_row_registers_again(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", TIMEOUT_MS);
	beat(f, "gone", 0);
	expect(f, "UdDU");
	expect_why(f, "host's row is gone");
	close_database(f);
}

/* ---- Answers that can't be -------------------------------------------------------------------------- */

static void impossible_answers_break_the_connection(void **state) {
	static const char *const rows[] = {
		/* ordinal 0 */
		"select 0, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true",
		/* beyond */
		"select 3, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true",
		"select -1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true from generate_series(1, 2)",
		"select null::int, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true",
		"select 1, -1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true",
		"select 1, 2147483647, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true",
		"select 1, 1, 1::bigint, -1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true",
		"select 1, 1, 1::bigint, 9223372036854775807, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, -2::bigint, 1::bigint, 1, 1, true",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, null::int, 1, true",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 0::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, true",
		"select 1, 1, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1::bigint, 1, 1::bigint, 1::bigint, 1, 1, null::boolean",
	};
	struct fixture *f = *state;
	const struct lease_request requests[] = {request_of("a", 1, 0), request_of("b", 1, 1)};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		make_take(f, GOOD_COLUMNS, rows[i]);
		come_up(f, "dbname=stub", TIMEOUT_MS);
		take(f, requests, 2);
		beat(f, "in step", 0);
		expect(f, "U??D");
		expect_why(f, "stint.take_leases answered what this agent does not understand");
		close_database(f);
	}
	make_take(f, GOOD_COLUMNS, GOOD_ROWS);
}

static void other_types_break_the_connection(void **state) {
	struct fixture *f = *state;
	const struct lease_request request = request_of("a", 1, 0);
	make_take(
		f,
		"request text, granted text, sub_window text, valid_us float8, granted_next bool, starts_in_us text,"
		" next_sub_window text, next_valid_us text, remaining text, retry_us text, reset_us text, max_requests text,"
		" charged text, next_is_open text",
		"select '1', '1', '1', 1.0::float8, true, '1', '1', '1', '1', '1', '1', '1', '1', '1'");
	open_database(f, "dbname=stub", TIMEOUT_MS);
	expect(f, "U");
	take(f, &request, 1);
	expect(f, "U?D");
	close_database(f);
	make_take(f, GOOD_COLUMNS, GOOD_ROWS);
}

/* ---- Failures of the connection ------------------------------------------------------------------------ */

static void a_killed_backend_leaves_the_unknown(void **state) {
	struct fixture *f = *state;
	come_up(f, "dbname=stub", 5000);
	beat(f, "slow", 3000);
	beat(f, "in step", 0);
	beat(f, "in step", 0);
	run_for(f, 100);
	admin_do(f, "stub",
	         "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'stintd/%'");
	expect(f, "U???DU");
	expect_why(f, "terminating connection due to administrator command");
	assert_int_equal(database_in_flight(f->db), 0);
	admin_do(f, "stub",
	         "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'stintd/%'");
	expect(f, "U???DUDU"); /* nothing was under way */
	expect_why(f, "terminating connection due to administrator command");
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
	come_up(f, "dbname=stub", 5000);
	beat(f, "slow", 3000); /* longer than a busy machine takes to kill it */
	run_for(f, 50);
	cluster_must(f, "kill");
	expect(f, "U?D");
	cluster_start_again(f);
	for (int64_t end = test_now_ms() + PATIENCE_MS; !database_is_up(f->db) && test_now_ms() < end;)
		run_for(f, 10);
	assert_true(database_is_up(f->db));
	close_database(f);
}

/* ---- The queue -------------------------------------------------------------------------------------------- */

static void operations_without_a_connection_are_rejected(void **state) {
	struct fixture *f = *state;
	const struct lease_request request = request_of("a", 1, 0);
	open_database(f, "host=/tmp/stint-nowhere", TIMEOUT_MS);
	take(f, &request, 1);
	beat(f, "in step", 0);
	assert_int_equal(database_in_flight(f->db), 2);
	for (int64_t end = test_now_ms() + 40; test_now_ms() < end && database_in_flight(f->db) > 0;)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_int_equal(database_in_flight(f->db), 0);
	assert_non_null(strstr(f->story, "rr"));
	close_database(f);
}

static int beats_left;

static void on_pulsed_beat_again(void *context, enum lease_outcome outcome, const struct database_pulse *pulse) {
	struct fixture *f = context;
	(void)pulse;
	tell_outcome(f, outcome);
	if (--beats_left > 0)
		database_heartbeat(f->db, "in step", 0, 0, on_pulsed_beat_again, f);
}

static void a_callback_may_start_operations(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	beats_left = 5;
	/* not up yet: some of them are rejected */
	database_heartbeat(f->db, "in step", 0, 0, on_pulsed_beat_again, f);
	expect(f, "r");
	for (int64_t end = test_now_ms() + PATIENCE_MS; beats_left > 0 && test_now_ms() < end;)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_int_equal(beats_left, 0);
	close_database(f);
}

/* They are more than the socket's buffers hold, and the server reads nothing meanwhile. */
static void many_operations_keep_their_order(void **state) {
	struct fixture *f = *state;
	static struct lease_request requests[256];
	static char ids[256][256];
	for (int i = 0; i < 256; i++) {
		memset(ids[i], 'x', 255);
		snprintf(ids[i], sizeof(ids[i]), "%d", i);
		ids[i][strlen(ids[i])] = 'x';
		requests[i] = request_of(ids[i], 255, i);
	}
	come_up(f, "dbname=stub", 20000);
	beat(f, "slow", 300);
	for (int i = 0; i < 60; i++) {
		take(f, requests, 256);
		beat(f, i % 2 ? "in step" : "error 22023", 0);
	}
	assert_int_equal(database_in_flight(f->db), 121);
	char story[128] = "Ud";
	for (int i = 0; i < 60; i++)
		strcat(story, i % 2 ? "dd" : "dr");
	expect(f, story);
	for (int i = 0; i < 256; i++)
		check_grant(&grants[i], i);
	close_database(f);
}

/* The address sanitizer and valgrind see what isn't freed. */
static void frees_what_is_under_way(void **state) {
	struct fixture *f = *state;
	const struct lease_request request = request_of("a", 1, 0);
	open_database(f, "dbname=stub", TIMEOUT_MS);
	take(f, &request, 1);
	close_database(f); /* while it connects */
	come_up(f, "dbname=stub", 5000);
	beat(f, "slow", 200);
	for (int i = 0; i < 100; i++)
		take(f, &request, 1);
	run_for(f, 20);
	close_database(f);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connection_that_cannot_be_watched_is_dropped),
		cmocka_unit_test(closes_what_it_opened),
		cmocka_unit_test(without_memory_for_an_event_there_is_none),
		cmocka_unit_test(without_a_descriptor_there_is_none),
		cmocka_unit_test(a_rejected_statement_leaves_the_connection_up),
		cmocka_unit_test(a_lock_that_cannot_be_had_is_told),
		cmocka_unit_test(what_is_not_sent_meets_no_lock),
		cmocka_unit_test(a_commit_that_fails_is_a_rejection),
		cmocka_unit_test(a_commit_with_a_warning_is_unknown),
		cmocka_unit_test(a_server_whose_commits_dont_end_is_left),
		cmocka_unit_test(commits_that_end_without_the_standby_now_and_then_are_borne),
		cmocka_unit_test(a_server_that_cannot_serve_is_left),
		cmocka_unit_test(lost_prepared_statements_are_noticed),
		cmocka_unit_test(another_session_that_answers_is_noticed),
		cmocka_unit_test(a_host_without_a_row_registers_again),
		cmocka_unit_test(impossible_answers_break_the_connection),
		cmocka_unit_test(other_types_break_the_connection),
		cmocka_unit_test(a_killed_backend_leaves_the_unknown),
		cmocka_unit_test(a_paused_server_meets_the_deadline),
		cmocka_unit_test(each_operation_has_its_own_deadline),
		cmocka_unit_test(the_first_reason_to_leave_is_told),
		cmocka_unit_test(answers_that_came_in_time_count),
		cmocka_unit_test(a_connection_that_came_in_time_is_used),
		cmocka_unit_test(a_killed_server_comes_back),
		cmocka_unit_test(operations_without_a_connection_are_rejected),
		cmocka_unit_test(a_callback_may_start_operations),
		cmocka_unit_test(many_operations_keep_their_order),
		cmocka_unit_test(frees_what_is_under_way),
	};
	return cmocka_run_group_tests(tests, setup, remove_cluster);
}
