/*
 * test_server_apps.c - the agent's socket, and apps that behave: the agent hears what they say, in order and to
 * the end, and each answer goes to the app that asked.
 */
#include "server_fixture.h"

#include "few_descriptors.h"

static void messages_arrive_with_their_text(void **state) {
	struct fixture *f = *state;
	int fd = greet(f);
	struct wire_declare declare = {.head = {.type = WIRE_DECLARE, .serial = 4}, .max_requests = 77};
	struct wire_low low = {.head.type = WIRE_LOW};
	struct wire_head status = {.type = WIRE_STATUS};
	say_with_text(f, fd, &declare, sizeof(declare), "api", 3);
	say_want(f, fd, "client", 6);
	say_with_text(f, fd, &low, sizeof(low), "b", 1);
	say(f, fd, &status, sizeof(status));
	assert_string_equal(f->story, "DapiWclientLbS");
	assert_int_equal(f->last_declare.max_requests, 77);
	assert_int_equal(f->last_want.cost, 3);
	assert_int_equal(f->last_want.head.serial, 5);
	close(fd);
	turn(f);
	assert_int_equal(server_peer_count(f->server), 0);
}

static void answers_go_to_who_asked(void **state) {
	struct fixture *f = *state;
	char got[64];
	int one = greet(f), two = greet(f);
	say_want(f, one, "x", 1);
	server_peer first = f->last_peer;
	say_want(f, two, "y", 1);
	assert_true(f->last_peer != first);
	server_send(f->server, first, "one", 3);
	server_send(f->server, f->last_peer, "two", 3);
	assert_int_equal(recv(one, got, sizeof(got), 0), 3);
	assert_memory_equal(got, "one", 3);
	assert_int_equal(recv(two, got, sizeof(got), 0), 3);
	assert_memory_equal(got, "two", 3);
	close(one);
	turn(f);
	int three = greet(f); /* this app has the place of the first one, but not its number */
	server_send(f->server, first, "late", 4);
	assert_int_equal(recv(three, got, sizeof(got), 0), -1);
	close(two);
	close(three);
}

/* The server itself answers them, whatever else the agent waits for. */
static void pings_are_answered(void **state) {
	struct fixture *f = *state;
	struct wire_head ping = {.type = WIRE_PING, .serial = 9}, pong;
	int fd = greet(f);
	say(f, fd, &ping, sizeof(ping));
	assert_int_equal(recv(fd, &pong, sizeof(pong), 0), sizeof(pong));
	assert_int_equal(pong.type, WIRE_PONG);
	assert_int_equal(pong.serial, 9);
	assert_string_equal(f->story, "");
	close(fd);
}

static void many_apps_at_once(void **state) {
	struct fixture *f = *state;
	int fds[300];
	for (int i = 0; i < 300; i++)
		fds[i] = greet(f);
	assert_int_equal(server_peer_count(f->server), 300);
	for (int i = 0; i < 300; i++)
		close(fds[i]);
	turn(f);
	assert_int_equal(server_peer_count(f->server), 0);
	close(greet(f));
}

/* It is the operator's command, and nobody wants to see it in a graph of apps. */
static void who_asks_for_a_status_is_no_app(void **state) {
	struct fixture *f = *state;
	struct wire_head status = {.type = WIRE_STATUS};
	int silent = connect_app(f);
	assert_int_equal(server_peer_count(f->server), 1);
	assert_int_equal(server_app_count(f->server), 0); /* yet: it hasn't said hello */
	int app = greet(f), command = greet(f);
	assert_int_equal(server_app_count(f->server), 2);
	for (int i = 0; i < 2; i++) {
		say(f, command, &status, sizeof(status));
		assert_int_equal(server_app_count(f->server), 1);
	}
	assert_int_equal(server_peer_count(f->server), 3);
	close(command);
	close(silent);
	turn(f);
	assert_int_equal(server_app_count(f->server), 1);
	close(app);
	turn(f);
	assert_int_equal(server_app_count(f->server), 0);
	close(greet(f)); /* in the place of one that was none */
	turn(f);
	assert_int_equal(server_app_count(f->server), 0);
}

static void what_cannot_be_sent_at_once_is_kept_in_order(void **state) {
	struct fixture *f = *state;
	int fd = greet(f);
	int events = event_base_get_num_events(f->base, EVENT_BASE_COUNT_ADDED);
	uint32_t numbers[64] = {0}, expected = 0;
	say_want(f, fd, "x", 1);
	for (uint32_t i = 0; i < 4000; i++) {
		numbers[0] = i;
		server_send(f->server, f->last_peer, numbers, sizeof(numbers));
	}
	for (int patience = 0; expected < 4000 && patience < 100000; patience++) {
		if (recv(fd, numbers, sizeof(numbers), 0) == sizeof(numbers))
			assert_int_equal(numbers[0], expected++);
		else
			event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	}
	assert_int_equal(expected, 4000);
	event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	/* Else the loop would spin from then on. */
	assert_int_equal(event_base_get_num_events(f->base, EVENT_BASE_COUNT_ADDED), events);
	close(fd);
}

/* An app sends more at once than the server takes from it in one turn. */
static void a_burst_is_heard_in_order_to_its_end(void **state) {
	struct fixture *f = *state;
	char expected[sizeof(f->story)] = "";
	int fd = greet(f);
	for (int i = 0; i < 70; i++) {
		send_want(fd, (char)('a' + i % 26));
		snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected), "W%c", 'a' + i % 26);
	}
	close(fd); /* what the app said before it ended counts */
	turn(f);
	assert_string_equal(f->story, expected);
	assert_int_equal(server_peer_count(f->server), 0);
}

static void without_a_descriptor_apps_wait_until_there_is_one(void **state) {
	struct fixture *f = *state;
	struct rlimit before = leave_descriptors(1); /* the app's own */
	int fd = connect_app(f);
	assert_int_equal(server_peer_count(f->server), 0);
	give_descriptors_back(&before);
	for (int patience = 0; server_peer_count(f->server) == 0 && patience < 1000; patience++) {
		usleep(5000);
		turn(f);
	}
	assert_int_equal(server_peer_count(f->server), 1);
	close(fd);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clean)
	const struct CMUnitTest tests[] = {
		TEST(messages_arrive_with_their_text),
		TEST(answers_go_to_who_asked),
		TEST(who_asks_for_a_status_is_no_app),
		TEST(pings_are_answered),
		TEST(many_apps_at_once),
		TEST(what_cannot_be_sent_at_once_is_kept_in_order),
		TEST(a_burst_is_heard_in_order_to_its_end),
		TEST(without_a_descriptor_apps_wait_until_there_is_one),
	};
	return cmocka_run_group_tests_name("server_apps", tests, NULL, NULL);
}
