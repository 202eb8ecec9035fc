/*
 * test_dial.c - servers are searched for in a service file, and connections made, beside the loop: search.h,
 * dial.h, and all of it below database.h. Nothing that libpq waits for stops the loop.
 */
#include "name_service_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "database/dial.h"
#include "database/pg.h"

/* ---- A service file ------------------------------------------------------------------------ */

static char service_dir[64], service_file[80], service_pipe[96];
static int pipe_end = -1;

static void write_service(const char *host) {
	char text[80];
	int file = open(service_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int length = snprintf(text, sizeof(text), "[limits]\nhost=%s\nport=99\n", host);
	assert_int_equal(write(file, text, (size_t)length), length);
	close(file);
}

static int make_service(void **state) {
	const char *tmp = getenv("TMPDIR");
	snprintf(service_dir, sizeof(service_dir), "%.40s/stint-test.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(service_dir))
		return -1;
	snprintf(service_file, sizeof(service_file), "%s/pg_service", service_dir);
	snprintf(service_pipe, sizeof(service_pipe), "%s.pipe", service_file);
	setenv("PGSERVICEFILE", service_file, 1);
	return reset(state);
}

static int open_pipe(void) {
	return open(service_pipe, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
}

/* An errand that waits for a writer of the pipe meets one, and then the end of the file. */
static int remove_service(void **state) {
	if (pipe_end >= 0)
		close(pipe_end);
	pipe_end = -1;
	for (int i = 0; errand_is_any() && i < PATIENCE_MS; i++) {
		int end = open_pipe();
		if (end >= 0)
			close(end);
		usleep(1000);
	}
	unlink(service_pipe);
	unlink(service_file);
	rmdir(service_dir);
	unsetenv("PGSERVICEFILE");
	return wait_for_all(state);
}

/* The service file is like one on a file system that doesn't answer. */
static void hang_service(void) {
	assert_int_equal(mkfifo(service_pipe, 0600), 0);
	assert_int_equal(symlink(service_pipe, service_file), 0);
}

/* Waits until the errand has opened the pipe. From then on it waits for something to read, and nothing comes. */
static void wait_until_read(void) {
	for (int i = 0; (pipe_end = open_pipe()) < 0 && i < PATIENCE_MS; i++)
		usleep(1000);
	assert_true(pipe_end >= 0);
}

static void servers_come_from_where_libpq_takes_them(void **state) {
	struct pg_servers servers;
	(void)state;
	write_service("served");
	setenv("PGHOST", "from-environment", 1);
	assert_int_equal(pg_find_servers("service=limits", &servers), 0);
	assert_string_equal(servers.host, "served");
	assert_string_equal(servers.port, "99");
	pg_servers_free(&servers);
	assert_int_equal(pg_find_servers("dbname=x password=secret sslmode=require", &servers), 0);
	assert_string_equal(servers.host, "from-environment");
	pg_servers_free(&servers);
	unsetenv("PGHOST");
}

static void servers_are_searched_for_each_time(void **state) {
	struct endpoints *e = endpoints_of("service=limits");
	(void)state;
	write_service("10.1.1.1");
	wait_until_settled(e);
	expect_list(e, 0, "10.1.1.1", "", "99");
	write_service("db");
	wait_until_settled(e);
	expect_list(e, 0, "db,db", "10.0.0.1,10.0.0.2", "99,99");
	write_service("10.1.1.2");
	wait_until_settled(e);
	expect_list(e, 0, "10.1.1.2", "", "99");
	endpoints_free(e);
}

static void a_search_that_never_ends_is_given_up(void **state) {
	struct endpoints *e = endpoints_of("service=limits");
	(void)state;
	hang_service();
	endpoints_look_up(e);
	wait_until_read();
	assert_false(endpoints_are_settled(e));
	endpoints_settle(e);
	assert_false(endpoints_are_usable(e));
	assert_non_null(strstr(endpoints_error(e), "service file"));
	unlink(service_file);
	write_service("10.1.1.1");
	later_s += ERRAND_HANGS_MS / 1000;
	wait_until_settled(e);
	assert_string_equal(endpoints_error(e), "");
	expect_list(e, 0, "10.1.1.1", "", "99");
	endpoints_free(e);
}

/* ---- Connecting that hangs -------------------------------------------------------------------- */

/* It asks for a name, and whatever libpq asks for may hang. Nobody listens at the port. */
static struct dial *dial(int fd) {
	struct pg_servers servers = {strdup("db"), strdup(""), strdup("1")};
	struct dial *dial;
	service.addresses = "127.0.0.1";
	assert_int_equal(dial_start(&dial, "user=x", "test", PATIENCE_MS, &servers, fd), 0);
	return dial;
}

/* Why one that ends has no connection. */
static void expect_dial_to_say(int fd, const char *part) {
	struct dial *one = dial(fd);
	struct pg *pg;
	while (!dial_is_over(one))
		wait_for(fd);
	assert_false(dial_receive(one, &pg));
	if (!strstr(pg_error(pg), part))
		fail_msg("\"%s\" does not say \"%s\"", pg_error(pg), part);
	pg_close(pg);
	dial_free(one);
}

/* So many are left, each long after the one before. */
static void let_dials_hang(int fd, int count) {
	for (int i = 0; i < count; i++) {
		struct dial *one = dial(fd);
		wait_until_asked(i + 1);
		dial_free(one);
		later_s += 3600;
	}
}

static void dials_that_hang_leave_room_for_others(void **state) {
	int fd = eventfd(0, EFD_CLOEXEC);
	(void)state;
	service.hang = 1000;
	for (int i = 0; i < ERRANDS_MAX + 5; i++) { /* as the loop does it, again and again */
		dial_free(dial(fd));
		usleep(1000);
		later_s += 3;
	}
	service.hang = 0; /* the network is back; what hangs still hangs */
	later_s += 3600;
	expect_dial_to_say(fd, "port 1 failed");
	close(fd);
}

static void the_more_dials_hang_the_less_often_others_begin(void **state) {
	int fd = eventfd(0, EFD_CLOEXEC);
	(void)state;
	service.hang = 2;
	let_dials_hang(fd, 2);
	later_s -= 3600 - 1;
	expect_dial_to_say(fd, "earlier attempts to connect hang");
	later_s += 1;
	expect_dial_to_say(fd, "port 1 failed");
	expect_dial_to_say(fd, "port 1 failed"); /* it didn't hang, and delays nobody */
	close(fd);
}

/* A dial may take longer than the session waits for it, and yet end. */
static void a_slow_dial_delays_nobody(void **state) {
	int fd = eventfd(0, EFD_CLOEXEC);
	(void)state;
	service.hang = 1;
	let_dials_hang(fd, 1);
	later_s -= 3600;
	expect_dial_to_say(fd, "port 1 failed");
	later_s += 2;
	expect_dial_to_say(fd, "port 1 failed");
	close(fd);
}

static void no_more_dials_hang_than_are_allowed(void **state) {
	int fd = eventfd(0, EFD_CLOEXEC);
	struct endpoints *e = endpoints_of("host=well");
	(void)state;
	service.hang = DIALS_HANGING_MAX;
	let_dials_hang(fd, DIALS_HANGING_MAX);
	later_s += 100000;
	expect_dial_to_say(fd, "earlier attempts to connect hang");
	wait_until_settled(e); /* there is room for lookups */
	endpoints_free(e);
	end_all_errands();
	expect_dial_to_say(fd, "port 1 failed"); /* what has ended delays nobody */
	close(fd);
}

/* ---- In the agent's loop, and in the command --------------------------------------------- */

/* The longest pause of a loop whose tick is 5 ms, on a busy machine. A loop that waits takes twice as long. */
#define STALL_MS (SILENCE_S * 1000 / 2)

static void expect_no_stall(const char *conninfo, const char *why) {
	struct fixture f = {.base = NULL};
	int64_t longest = 0;
	set_silent(true);
	open_database(&f, conninfo, TIMEOUT_MS);
	int64_t now = test_now_ms(), end = now + PATIENCE_MS;
	for (int64_t last = now; now < end && strlen(f.story) < 2; last = now) {
		event_base_loop(f.base, EVLOOP_ONCE);
		now = test_now_ms();
		longest = now - last > longest ? now - last : longest;
	}
	assert_in_range(longest, 0, STALL_MS);
	assert_true(strlen(f.story) >= 2);
	expect_why(&f, why);
	close_database(&f);
}

static void no_silence_stops_the_loop(void **state) {
	(void)state;
	expect_no_stall("host=silent", "silent: the name servers don't answer");
}

static void no_service_file_stops_the_loop(void **state) {
	(void)state;
	hang_service();
	expect_no_stall("service=limits", "the connection service file can't be read");
}

/* libpq looks up the user's name in the same place where it reads the password file, certificates and tickets. */
static void nothing_else_that_libpq_waits_for_stops_it(void **state) {
	(void)state;
	expect_no_stall("host=127.0.0.1 port=1", "connect"); /* "no connection within", or that earlier ones hang */
}

static void the_agent_goes_on_by_what_it_finds(void **state) {
	struct fixture f = {.base = NULL};
	(void)state;
	service.addresses = "127.0.0.1";
	open_database(&f, "host=db port=1 user=x", TIMEOUT_MS); /* nobody listens there */
	expect(&f, "D");
	expect_why(&f, "\"127.0.0.1\", port 1 failed");
	assert_string_equal(database_lookup_error(f.db), "");
	set_silent(true);
	expect(&f, "DD"); /* by the address of before, twice */
	expect_why(&f, "\"127.0.0.1\", port 1 failed");
	expect(&f, "DDD");
	expect_why(&f, "\"127.0.0.1\", port 1 failed");
	assert_string_equal(database_lookup_error(f.db), "db: the name servers don't answer");
	close_database(&f);
}

static void the_command_gives_up_in_time(void **state) {
	int64_t began = test_now_ms();
	struct pg *pg;
	(void)state;
	set_silent(true);
	assert_int_equal(pg_connect(&pg, "host=silent", TIMEOUT_MS), PG_UNREACHABLE);
	assert_in_range(test_now_ms() - began, TIMEOUT_MS - 50, TIMEOUT_MS + PATIENCE_MS / 2);
	assert_string_equal(pg_error(pg), "silent: the name servers don't answer");
	pg_close(pg);
	service.addresses = "127.0.0.1";
	assert_int_equal(pg_connect(&pg, "host=silent,well port=1 user=x", TIMEOUT_MS), PG_UNREACHABLE);
	assert_non_null(strstr(pg_error(pg), "\"127.0.0.1\", port 1 failed"));
	pg_close(pg);
}

#define SERVICE(name) cmocka_unit_test_setup_teardown(name, make_service, remove_service)

int main(void) {
	const struct CMUnitTest tests[] = {
		SERVICE(servers_come_from_where_libpq_takes_them),
		SERVICE(servers_are_searched_for_each_time),
		SERVICE(a_search_that_never_ends_is_given_up),
		TEST(dials_that_hang_leave_room_for_others),
		TEST(the_more_dials_hang_the_less_often_others_begin),
		TEST(a_slow_dial_delays_nobody),
		TEST(no_more_dials_hang_than_are_allowed),
		SERVICE(no_service_file_stops_the_loop),
		TEST(no_silence_stops_the_loop),
		TEST(nothing_else_that_libpq_waits_for_stops_it),
		TEST(the_agent_goes_on_by_what_it_finds),
		TEST(the_command_gives_up_in_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
