/*
 * test_server_socket.c - the agent's socket itself: what may already stand in its place, who may connect to it,
 * and who is turned away at once with a reason.
 */
#include "server_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "logged.h"
#include "stint.h"

/* ---- In its place ----------------------------------------------------------------------------- */

static void group_may_connect_and_others_not(void **state) {
	struct fixture *f = *state;
	struct stat st;
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
}

static void a_second_agent_is_refused(void **state) {
	struct fixture *f = *state;
	struct server *second;
	assert_int_equal(listen_at(f, f->path, &second), -1);
	assert_non_null(strstr(f->error, "another agent listens"));
	close(greet(f));
}

static void a_dead_agents_socket_is_replaced(void **state) {
	struct fixture *f = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	server_free(f->server);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	strcpy(address.sun_path, f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(listen_at(f, f->path, &f->server), 0);
	close(greet(f));
}

static void a_file_in_the_way_is_not_removed(void **state) {
	struct fixture *f = *state;
	server_free(f->server);
	close(open(f->path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(listen_at(f, f->path, &f->server), -1);
	assert_non_null(strstr(f->error, "no socket"));
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(listen_at(f, f->path, &f->server), 0);
}

/* The socket is that of another program, which speaks another protocol. */
static void anothers_socket_in_the_way_is_not_removed(void **state) {
	struct fixture *f = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	server_free(f->server);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(address.sun_path, f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(listen_at(f, f->path, &f->server), -1);
	assert_non_null(strstr(f->error, "cannot tell whether another agent listens"));
	assert_non_null(strstr(f->error, f->path));
	assert_int_equal(stat(f->path, &st), 0);
	close(fd);
	assert_int_equal(listen_at(f, f->path, &f->server), 0);
	close(greet(f));
}

static void a_path_that_is_too_long_says_so(void **state) {
	struct fixture *f = *state;
	char too_long[200];
	struct server *ignored;
	memset(too_long, '/', sizeof(too_long) - 1);
	too_long[sizeof(too_long) - 1] = '\0';
	assert_int_equal(listen_at(f, too_long, &ignored), -1);
	assert_non_null(strstr(f->error, "107"));
}

/* ---- Turned away ------------------------------------------------------------------------------ */

static void expect_refused(struct fixture *f, struct wire_hello hello, int status, const char *why) {
	char sentence[256];
	size_t descriptors;
	int fd = connect_app(f);
	say(f, fd, &hello, sizeof(hello));
	struct wire_welcome welcome = receive_welcome(fd, sentence, sizeof(sentence), &descriptors);
	assert_int_equal(welcome.status, status);
	assert_int_equal(descriptors, 0);
	assert_int_equal(welcome.wire_version, WIRE_VERSION);
	assert_int_equal(welcome.layout_version, LAYOUT_VERSION);
	if (!strstr(sentence, why))
		fail_msg("\"%s\" does not say \"%s\"", sentence, why);
	expect_cut_off(fd);
}

static void other_versions_are_refused_with_a_reason(void **state) {
	struct fixture *f = *state;
	struct wire_hello hello = hello_at(0);
	hello.wire_version++;
	expect_refused(f, hello, STINT_EVERSION, "wire 2");
	hello = hello_at(0);
	hello.layout_version = UINT32_MAX;
	expect_refused(f, hello, STINT_EVERSION, "layout 4294967295");
}

/* It tries again some times a second. */
static void who_is_refused_is_named_once(void **state) {
	struct fixture *f = *state;
	struct wire_hello hello = hello_at(0);
	hello.layout_version--;
	log_is_read();
	for (int i = 0; i < 3; i++)
		expect_refused(f, hello, STINT_EVERSION, "layout");
	expect_logged_once("cut off an app, process");
	log_is_read_no_more();
	assert_int_equal(server_refused_count(f->server), 3);
}

static void other_clocks_are_refused(void **state) {
	struct fixture *f = *state;
	expect_refused(f, hello_at(INT64_C(3000000000)), STINT_ETIMENS, "time namespace");
	struct wire_hello hello = hello_at(0);
	hello.monotonic_ns = UINT64_MAX;
	expect_refused(f, hello, STINT_ETIMENS, "time namespace");
	if (hello_at(0).monotonic_ns > UINT64_C(200000000000)) /* the machine has been up for that long */
		expect_refused(f, hello_at(INT64_C(-100000000000)), STINT_ETIMENS, "time namespace");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clean)
	const struct CMUnitTest tests[] = {
		TEST(group_may_connect_and_others_not),
		TEST(a_second_agent_is_refused),
		TEST(a_dead_agents_socket_is_replaced),
		TEST(a_file_in_the_way_is_not_removed),
		TEST(anothers_socket_in_the_way_is_not_removed),
		TEST(a_path_that_is_too_long_says_so),
		TEST(other_versions_are_refused_with_a_reason),
		TEST(other_clocks_are_refused),
		TEST(who_is_refused_is_named_once),
	};
	return cmocka_run_group_tests_name("server_socket", tests, NULL, NULL);
}
