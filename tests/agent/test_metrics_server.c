/*
 * test_metrics_server.c - where metrics may be served, and what a scraper is answered; also a rude one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "few_descriptors.h"
#include "metrics_address.h"
#include "metrics_server.h"

struct fixture {
	struct event_base *base;
	struct metrics_server *server;
	char directory[64], path[96];
	char error[METRICS_SERVER_ERROR_MAX];
	size_t size; /* of the text */
	bool fails;
	int asked;
	int jobs; /* under way */
};

/* The text comes in two pieces, in turns of the loop. */
struct job {
	struct fixture *fixture;
	struct event *turn;
	metrics_sink *sink;
	void *context;
	size_t told;
};

static void end_job(void *context) {
	struct job *job = context;
	job->fixture->jobs--;
	event_free(job->turn);
	free(job);
}

static void on_turn(evutil_socket_t fd, short what, void *context) {
	static char text[1 << 20];
	struct job *job = context, copy = *job;
	size_t size = (job->fixture->size + 1) / 2;
	bool more = job->told == 0;
	(void)fd;
	(void)what;
	memset(text, 'm', sizeof(text));
	job->told += size;
	if (job->fixture->fails || !more)
		end_job(job);
	else
		event_add(job->turn, &(struct timeval){0});
	if (copy.fixture->fails)
		copy.sink(copy.context, NULL, 0, false);
	else
		copy.sink(copy.context, text, more ? size : copy.fixture->size - size, more);
}

static void *begin(void *context, metrics_sink *sink, void *sink_context) {
	struct job *job = calloc(1, sizeof(*job));
	*job = (struct job){.fixture = context, .sink = sink, .context = sink_context};
	job->fixture->asked++;
	job->fixture->jobs++;
	job->turn = event_new(job->fixture->base, -1, 0, on_turn, job);
	event_add(job->turn, &(struct timeval){0});
	return job;
}

static int start(struct fixture *f, struct metrics_server **server) {
	const struct metrics_source source = {.begin = begin, .cancel = end_job, .context = f};
	return metrics_server_new(server, f->base, f->path, &source, f->error);
}

static int setup(void **state) {
	struct fixture *f = *state = calloc(1, sizeof(*f));
	f->base = event_base_new();
	f->size = 10;
	strcpy(f->directory, "/tmp/stint-test-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->path, sizeof(f->path), "%s/metrics.sock", f->directory);
	assert_int_equal(start(f, &f->server), 0);
	return 0;
}

static int teardown(void **state) {
	struct fixture *f = *state;
	metrics_server_free(f->server);
	assert_int_equal(f->jobs, 0);
	event_base_free(f->base);
	unlink(f->path);
	rmdir(f->directory);
	free(f);
	return 0;
}

static int connect_to(const struct fixture *f) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	strcpy(address.sun_path, f->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void turn(const struct fixture *f) {
	for (int i = 0; i < 5; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
}

/* Reads until the server hangs up. The answer is the caller's to free. */
static char *answer_on(const struct fixture *f, int fd) {
	static char answer[1 << 20];
	size_t length = 0;
	for (int i = 0; i < 100000; i++) {
		event_base_loop(f->base, EVLOOP_NONBLOCK);
		ssize_t got = recv(fd, answer + length, sizeof(answer) - 1 - length, 0);
		if (got == 0)
			break;
		length += got > 0 ? (size_t)got : 0;
	}
	answer[length] = 0;
	close(fd);
	return answer;
}

static void say(int fd, const char *words) {
	assert_int_equal(send(fd, words, strlen(words), MSG_NOSIGNAL), strlen(words));
}

static char *ask(const struct fixture *f, const char *request) {
	int fd = connect_to(f);
	say(fd, request);
	return answer_on(f, fd);
}

static void expect_status(const char *answer, const char *status) {
	char wanted[64];
	snprintf(wanted, sizeof(wanted), "HTTP/1.1 %s\r\n", status);
	if (strncmp(answer, wanted, strlen(wanted)) != 0)
		fail_msg("wanted \"%s\", got \"%s\"", status, answer);
}

static void a_scrape_is_answered(void **state) {
	struct fixture *f = *state;
	const char *answer = ask(f, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
	expect_status(answer, "200 OK");
	assert_non_null(strstr(answer, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
	assert_non_null(strstr(answer, "\r\nContent-Length: 10\r\n"));
	assert_non_null(strstr(answer, "\r\n\r\nmmmmmmmmmm"));
	expect_status(ask(f, "GET /metrics?x=y HTTP/1.0\n\n"), "200 OK");
	assert_int_equal(f->asked, 2);
}

static void a_request_in_pieces_is_answered_when_it_is_whole(void **state) {
	struct fixture *f = *state;
	int fd = connect_to(f);
	const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
	for (const char *at = request; *at; at++) {
		assert_int_equal(f->asked, 0);
		assert_int_equal(send(fd, at, 1, MSG_NOSIGNAL), 1);
		turn(f);
	}
	expect_status(answer_on(f, fd), "200 OK");
	assert_int_equal(f->asked, 1);
}

static void a_head_has_no_body(void **state) {
	struct fixture *f = *state;
	const char *answer = ask(f, "HEAD /metrics HTTP/1.1\r\n\r\n");
	expect_status(answer, "200 OK");
	assert_non_null(strstr(answer, "\r\nContent-Length: 10\r\n"));
	assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
}

static void a_large_answer_arrives_whole(void **state) {
	struct fixture *f = *state;
	f->size = 900000;
	const char *body = strstr(ask(f, "GET /metrics HTTP/1.1\r\n\r\n"), "\r\n\r\n") + 4;
	assert_int_equal(strlen(body), f->size);
}

static void what_is_no_scrape_is_refused(void **state) {
	struct fixture *f = *state;
	char long_one[9001];
	expect_status(ask(f, "GET / HTTP/1.1\r\n\r\n"), "404 Not Found");
	expect_status(ask(f, "GET /metricsx HTTP/1.1\r\n\r\n"), "404 Not Found");
	expect_status(ask(f, "POST /metrics HTTP/1.1\r\n\r\n"), "405 Method Not Allowed");
	expect_status(ask(f, "\r\n\r\n"), "405 Method Not Allowed");
	memset(long_one, 'x', sizeof(long_one) - 1);
	long_one[sizeof(long_one) - 1] = 0;
	expect_status(ask(f, long_one), "400 Bad Request");
	assert_int_equal(f->asked, 0);
	f->fails = true;
	expect_status(ask(f, "GET /metrics HTTP/1.1\r\n\r\n"), "503 Service Unavailable");
}

#define CROWD 12 /* more than there are places, fewer than wait in the backlog besides */

/* Whoever comes when all places are taken waits, and is served when one has gone. */
static void a_crowd_holds_no_more_than_a_few_connections(void **state) {
	struct fixture *f = *state;
	int fds[CROWD], before = event_base_get_num_events(f->base, EVENT_BASE_COUNT_ADDED);
	for (int i = 0; i < CROWD; i++)
		fds[i] = connect_to(f);
	turn(f);
	assert_in_range(event_base_get_num_events(f->base, EVENT_BASE_COUNT_ADDED), before,
	                before + 2 * (CROWD - 1)); /* each has two */
	for (int i = 0; i < CROWD - 1; i++)
		close(fds[i]);
	say(fds[CROWD - 1], "GET /metrics HTTP/1.1\r\n\r\n");
	expect_status(answer_on(f, fds[CROWD - 1]), "200 OK");
}

static void who_leaves_early_or_stays_for_ever_harms_nobody(void **state) {
	struct fixture *f = *state;
	int fd = connect_to(f);
	f->size = 900000;
	say(fd, "GET /metrics HTTP/1.1\r\n\r\n");
	for (int i = 0; f->jobs == 0 && i < 1000; i++)
		event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	assert_int_equal(f->jobs, 1); /* the text is not yet whole */
	close(fd);
	turn(f);
	int silent = connect_to(f);
	turn(f);
	expect_status(ask(f, "GET /metrics HTTP/1.1\r\n\r\n"), "200 OK");
	int waiting = connect_to(f);
	say(waiting, "GET /metrics HTTP/1.1\r\n\r\n");
	for (int i = 0; f->jobs == 0 && i < 1000; i++)
		event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	assert_int_equal(f->jobs, 1);
	metrics_server_free(f->server);
	f->server = NULL;
	assert_int_equal(access(f->path, F_OK), -1);
	assert_int_equal(f->jobs, 0);
	close(waiting);
	close(silent);
}

/* Who sends a byte now and then is as slow as who sends none: it holds a place for no longer than a request may
 * take, which is 5 s. */
static void who_never_comes_to_an_end_is_cut_off(void **state) {
	struct fixture *f = *state;
	int fd = connect_to(f), sent = 0;
	char byte;
	for (; recv(fd, &byte, 1, 0) < 0 && sent < 600; sent++) {
		assert_true(send(fd, "x", 1, MSG_NOSIGNAL) == 1 || errno == EPIPE);
		usleep(100000);
		turn(f);
	}
	assert_in_range(sent, 10, 599);
	assert_int_equal(f->asked, 0);
	close(fd);
}

static void on_time(evutil_socket_t fd, short what, void *context) {
	(void)fd;
	(void)what;
	*(bool *)context = true;
}

/* Returns how many events the loop has woken for in 50 ms. */
static int rounds_of_a_while(const struct fixture *f) {
	const struct timeval a_while = {.tv_usec = 50000};
	bool over = false;
	int rounds = 0;
	struct event *timer = evtimer_new(f->base, on_time, &over);
	assert_non_null(timer);
	assert_int_equal(evtimer_add(timer, &a_while), 0);
	for (; !over; rounds++)
		event_base_loop(f->base, EVLOOP_ONCE);
	event_free(timer);
	return rounds;
}

/* It wakes once for who has come, once for the timer, and then ten times a second. */
static void without_a_descriptor_scrapers_wait_and_the_loop_sleeps(void **state) {
	struct fixture *f = *state;
	int fd = connect_to(f);
	say(fd, "GET /metrics HTTP/1.1\r\n\r\n");
	struct rlimit before = leave_descriptors(0);
	int rounds = rounds_of_a_while(f);
	give_descriptors_back(&before);
	assert_in_range(rounds, 1, 20);
	assert_int_equal(f->asked, 0);
	for (int patience = 0; f->asked == 0 && patience < 1000; patience++) {
		usleep(5000);
		turn(f);
	}
	expect_status(answer_on(f, fd), "200 OK");
}

/* ---- Where ------------------------------------------------------------------------------------ */

static void only_the_host_itself_can_ask(void **state) {
	static const char *const good[] = {"/run/x.sock", "127.0.0.1:9393", "127.8.9.1:1", "[::1]:65535"};
	static const char *const bad[] = {"",
	                                  "x",
	                                  "9393",
	                                  ":9393",
	                                  "0.0.0.0:9393",
	                                  "127.0.0.1",
	                                  "[::]:9393",
	                                  "10.0.0.1:80",
	                                  "localhost:80",
	                                  "127.0.0.1:0",
	                                  "[::1]",
	                                  "127.0.0.1:65536",
	                                  "128.0.0.1:9",
	                                  "[fe80::1]:80",
	                                  "[::ffff:127.0.0.1]:80"};
	struct metrics_address address;
	char path[200] = "/";
	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (!metrics_address_parse(&address, good[i]))
			fail_msg("%s is refused", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (metrics_address_parse(&address, bad[i]))
			fail_msg("%s is taken", bad[i]);
	memset(path + 1, 'p', 106);
	assert_true(metrics_address_parse(&address, path));
	path[107] = 'p';
	assert_true(!metrics_address_parse(&address, path));
}

static void the_group_may_ask(void **state) {
	struct fixture *f = *state;
	struct stat st;
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
}

/* A socket of this type, bound to the path; for the caller to close. */
static int bind_socket(const struct fixture *f, int type) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	strcpy(address.sun_path, f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void expect_taken(struct fixture *f, const char *why) {
	struct metrics_server *second;
	assert_int_equal(start(f, &second), -1);
	assert_null(second);
	assert_non_null(strstr(f->error, why));
	assert_non_null(strstr(f->error, f->path));
	assert_int_equal(access(f->path, F_OK), 0);
}

static void a_socket_that_was_left_is_replaced_and_a_file_is_not(void **state) {
	struct fixture *f = *state;
	metrics_server_free(f->server);
	close(bind_socket(f, SOCK_STREAM));
	assert_int_equal(start(f, &f->server), 0);
	expect_status(ask(f, "GET /metrics HTTP/1.1\r\n\r\n"), "200 OK");
	metrics_server_free(f->server);
	f->server = NULL;
	int file = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(file >= 0);
	close(file);
	expect_taken(f, "File exists");
}

/* Another agent's metrics, or whatever else listens there by mistake: this agent's own socket, say. */
static void a_socket_on_which_somebody_listens_stays(void **state) {
	struct fixture *f = *state;
	expect_taken(f, "Address already in use");
	expect_status(ask(f, "GET /metrics HTTP/1.1\r\n\r\n"), "200 OK");
	metrics_server_free(f->server);
	f->server = NULL;
	int fd = bind_socket(f, SOCK_SEQPACKET);
	assert_int_equal(listen(fd, 1), 0);
	expect_taken(f, "Protocol wrong type");
	close(fd);
}

static void a_port_that_is_taken_is_named(void **state) {
	struct fixture *f = *state;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	struct metrics_server *second;
	char where[64];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	snprintf(where, sizeof(where), "127.0.0.1:%d", ntohs(address.sin_port));
	snprintf(f->path, sizeof(f->path), "%s", where);
	assert_int_equal(start(f, &second), -1);
	assert_non_null(strstr(f->error, where));
	assert_non_null(strstr(f->error, "Address already in use"));
	close(fd);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_scrape_is_answered),
		TEST(a_request_in_pieces_is_answered_when_it_is_whole),
		TEST(a_head_has_no_body),
		TEST(a_large_answer_arrives_whole),
		TEST(what_is_no_scrape_is_refused),
		TEST(a_crowd_holds_no_more_than_a_few_connections),
		TEST(who_leaves_early_or_stays_for_ever_harms_nobody),
		TEST(who_never_comes_to_an_end_is_cut_off),
		TEST(without_a_descriptor_scrapers_wait_and_the_loop_sleeps),
		TEST(only_the_host_itself_can_ask),
		TEST(the_group_may_ask),
		TEST(a_socket_that_was_left_is_replaced_and_a_file_is_not),
		TEST(a_socket_on_which_somebody_listens_stays),
		TEST(a_port_that_is_taken_is_named),
	};
	signal(SIGPIPE, SIG_IGN); /* as in agent/main.c */
	return cmocka_run_group_tests_name("metrics_server", tests, NULL, NULL);
}
