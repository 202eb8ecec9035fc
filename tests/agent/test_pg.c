/*
 * test_pg.c - a statement that blocks until a deadline, from a server that answers, doesn't, or hangs up in
 * between.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "database/pg.h"
#include "monotonic.h"

#define PATIENCE_MS 20000

/* What PostgreSQL's protocol has: a message's kind, its length from there on, and its content. */
#define WELCOME "R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I"
#define ANSWER                                                                                                    \
	"1\0\0\0\x04"                                                                                                 \
	"2\0\0\0\x04"                                                                                                 \
	"n\0\0\0\x04"                                                                                                 \
	"C\0\0\0\x0bSELECT\0"
#define END "Z\0\0\0\x05I"

struct server {
	char dir[64];
	struct sockaddr_un address;
	int listener;
	pthread_t thread;
	const char *answer; /* to the first statement */
	size_t size;
	bool hangs_up; /* then; else it waits until it is hung up on */
};

static void say(int fd, const char *bytes, size_t size) {
	if (send(fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size)
		abort();
}

static void *serve(void *context) {
	const struct server *server = context;
	char bytes[1024];
	int fd = accept(server->listener, NULL, NULL);
	if (recv(fd, bytes, sizeof(bytes), 0) > 0)
		say(fd, WELCOME, sizeof(WELCOME) - 1);
	if (recv(fd, bytes, sizeof(bytes), 0) > 0)
		say(fd, server->answer, server->size);
	while (!server->hangs_up && recv(fd, bytes, sizeof(bytes), 0) > 0)
		;
	close(fd);
	return NULL;
}

static int make_folder(void **state) {
	static struct server server;
	const char *tmp = getenv("TMPDIR");
	server = (struct server){.address.sun_family = AF_UNIX};
	snprintf(server.dir, sizeof(server.dir), "%.40s/stint-test.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(server.dir))
		return -1;
	snprintf(server.address.sun_path, sizeof(server.address.sun_path), "%s/.s.PGSQL.5432", server.dir);
	*state = &server;
	return 0;
}

static int remove_folder(void **state) {
	const struct server *server = *state;
	unlink(server->address.sun_path);
	return rmdir(server->dir);
}

static struct pg *connect_to(struct server *server, const char *answer, size_t size, bool hangs_up) {
	char conninfo[256];
	struct pg *pg;
	server->answer = answer;
	server->size = size;
	server->hangs_up = hangs_up;
	server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server->listener, (struct sockaddr *)&server->address, sizeof(server->address)), 0);
	assert_int_equal(listen(server->listener, 1), 0);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
	snprintf(conninfo, sizeof(conninfo), "host=%s port=5432 user=u dbname=d password=p gssencmode=disable",
	         server->dir);
	const struct pg_target target = {.conninfo = conninfo,
	                                 .name = "test",
	                                 .timeout_ms = PATIENCE_MS,
	                                 .deadline_ms = monotonic_now_ms() + PATIENCE_MS};
	assert_int_equal(pg_open(&pg, &target), PG_OK);
	return pg;
}

static void disconnect(struct server *server, struct pg *pg) {
	pg_close(pg);
	assert_int_equal(pthread_join(server->thread, NULL), 0);
	close(server->listener);
}

static void an_answer_in_time(void **state) {
	struct pg *pg = connect_to(*state, ANSWER END, sizeof(ANSWER END) - 1, false);
	pg_set_deadline(pg, monotonic_now_ms() + PATIENCE_MS);
	assert_int_equal(pg_query(pg, "select", 0, NULL, NULL), PG_OK);
	disconnect(*state, pg);
}

static void no_answer_in_time(void **state) {
	struct pg *pg = connect_to(*state, ANSWER, sizeof(ANSWER) - 1, false);
	pg_set_deadline(pg, monotonic_now_ms() + 100);
	assert_int_equal(pg_query(pg, "select", 0, NULL, NULL), PG_UNREACHABLE);
	assert_string_equal(pg_error(pg), "no answer in time");
	disconnect(*state, pg);
}

/* Its transaction ends only behind the answer: it may not have been committed. */
static void a_server_that_hangs_up_before_the_end(void **state) {
	struct pg *pg = connect_to(*state, ANSWER, sizeof(ANSWER) - 1, true);
	pg_set_deadline(pg, monotonic_now_ms() + PATIENCE_MS);
	assert_int_equal(pg_query(pg, "select", 0, NULL, NULL), PG_UNREACHABLE);
	disconnect(*state, pg);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(an_answer_in_time),
		TEST(no_answer_in_time),
		TEST(a_server_that_hangs_up_before_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
