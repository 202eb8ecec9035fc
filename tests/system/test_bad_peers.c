/*
 * test_bad_peers.c - processes that connect to the agent's socket and don't speak as the library does: they
 * send noise, packets that are too long or too short, absurd questions, or nothing. The agent hangs up or
 * answers with an error, and serves the others.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/layout.h"
#include "peer.h"
#include "probe.h"
#include "process.h"
#include "proof.h"
#include "random.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"
#include "protocol/wire.h"

/* Whether the agent still serves somebody who does nothing wrong. */
static bool still_serves(const struct host *host) {
	const struct stint_options options = {.policy = "api",
	                                      .max_requests = 100,
	                                      .time_window_ms = 1000,
	                                      .timeout_ms = 3000};
	static int number;
	char id[32];

	snprintf(id, sizeof(id), "good-%d", number++);
	return probe_once(host, &options, id) == STINT_SOURCE_DATABASE;
}

static void say(int fd, const void *packet, size_t size) {
	(void)!send(fd, packet, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* ---- No message of the library's -------------------------------------------- */

static void bytes_one_by_one(int fd, uint64_t *random) {
	struct wire_hello hello = {.head = {.type = WIRE_HELLO}, .wire_version = WIRE_VERSION};

	(void)random;
	for (size_t i = 0; i < sizeof(hello); i++)
		say(fd, (const char *)&hello + i, 1);
}

static void noise(int fd, uint64_t *random) {
	uint64_t packet[64];

	for (int i = 0; i < 20; i++) {
		for (size_t k = 0; k < 64; k++)
			packet[k] = random_next(random);
		say(fd, packet, random_below(random, sizeof(packet)));
	}
}

static void huge_packet(int fd, uint64_t *random) {
	char *packet = calloc(1, 100000);
	int room = 200000;

	(void)random;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	packet[0] = WIRE_HELLO;
	say(fd, packet, 100000);
	free(packet);
}

static void empty_packet(int fd, uint64_t *random) {
	(void)random;
	say(fd, "", 0);
}

static void want_before_hello(int fd, uint64_t *random) {
	struct {
		struct wire_want want;
		char id[4];
	} packet = {.want = {.head = {.type = WIRE_WANT, .serial = 9}, .cost = 1, .timeout_ms = 100}, .id = "joe"};

	(void)random;
	say(fd, &packet, sizeof(packet));
}

static void unknown_type(int fd, uint64_t *random) {
	struct wire_head head = {.type = 4242, .serial = 1};

	(void)random;
	peer_hello(fd, 1000);
	say(fd, &head, sizeof(head));
}

static void hello_twice(int fd, uint64_t *random) {
	struct wire_hello hello = {.head = {.type = WIRE_HELLO},
	                           .wire_version = WIRE_VERSION,
	                           .layout_version = LAYOUT_VERSION};

	(void)random;
	peer_hello(fd, 1000);
	hello.monotonic_ns = monotonic_ns();
	say(fd, &hello, sizeof(hello));
}

static void short_want(int fd, uint64_t *random) {
	struct wire_want want = {.head = {.type = WIRE_WANT, .serial = 1}, .cost = 1};

	(void)random;
	peer_hello(fd, 1000);
	say(fd, &want, sizeof(want) - 3);
}

static void answer_instead(int fd, uint64_t *random) {
	struct wire_verdict verdict = {.head = {.type = WIRE_VERDICT, .serial = 1}, .allowed = 1};

	(void)random;
	peer_hello(fd, 1000);
	say(fd, &verdict, sizeof(verdict));
}

struct rude {
	const char *what;
	void (*act)(int fd, uint64_t *random);
};

/* Reads until the agent hangs up; false when it didn't within 3 s. */
static bool is_hung_up(int fd) {
	uint64_t began = monotonic_ns();
	char packet[WIRE_MESSAGE_MAX];

	while (stage_ms_since(began) < 3000)
		if (peer_receive(fd, packet, sizeof(packet), 500) == 0)
			return true;
	return false;
}

static void test_rude_peers(const struct host *host) {
	static const struct rude all[] = {
		{"a byte at a time", bytes_one_by_one},
		{"noise", noise},
		{"a packet of 100,000 bytes", huge_packet},
		{"an empty packet", empty_packet},
		{"no HELLO", want_before_hello},
		{"an unknown message", unknown_type},
		{"HELLO twice", hello_twice},
		{"half a message", short_want},
		{"an answer instead of a question", answer_instead},
	};
	uint64_t random = 99;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int fd = peer_connect(host->socket);
		bool gone;

		all[i].act(fd, &random);
		gone = is_hung_up(fd);
		close(fd);
		tap_ok(gone && still_serves(host), "%s: the agent hangs up (%d) and serves the others", all[i].what, gone);
	}
}

/* ---- Of another version, or time -------------------------------------------- */

static int hello_as(const char *socket_path, uint32_t wire_version, uint32_t layout_version,
                    int64_t clock_off_ns) {
	struct wire_hello hello = {.head = {.type = WIRE_HELLO},
	                           .wire_version = wire_version,
	                           .layout_version = layout_version,
	                           .monotonic_ns = monotonic_ns() + (uint64_t)clock_off_ns};
	union {
		struct wire_welcome welcome;
		char room[WIRE_MESSAGE_MAX];
	} answer = {0};
	int fd = peer_connect(socket_path);

	say(fd, &hello, sizeof(hello));
	peer_receive(fd, &answer, sizeof(answer), 1000);
	close(fd);
	return answer.welcome.head.type == WIRE_WELCOME ? answer.welcome.status : -1000;
}

static void test_strangers(const struct host *host) {
	tap_ok(hello_as(host->socket, WIRE_VERSION + 1, LAYOUT_VERSION, 0) == STINT_EVERSION,
	       "another wire version is refused as such");
	tap_ok(hello_as(host->socket, WIRE_VERSION, LAYOUT_VERSION + 1, 0) == STINT_EVERSION, "another layout too");
	tap_ok(hello_as(host->socket, WIRE_VERSION, LAYOUT_VERSION, INT64_C(-3600000000000)) == STINT_ETIMENS,
	       "a clock that is an hour off is of another time namespace");
	tap_ok(still_serves(host), "and the others are served");
}

/* ---- Absurd questions ------------------------------------------------------- */

/* Asks well-formed questions with absurd contents. The agent answers with an error or hangs up, and never
 * obeys. */
static int ask_absurdly(const struct host *host, uint32_t policy, uint32_t cost, const char *id, size_t id_len) {
	char packet[sizeof(struct wire_want) + 600];
	struct wire_want want = {.head = {.type = WIRE_WANT, .serial = 5},
	                         .policy = policy,
	                         .cost = cost,
	                         .timeout_ms = 1000};
	union {
		struct wire_verdict verdict;
		char room[WIRE_MESSAGE_MAX];
	} answer;
	int fd = peer_connect(host->socket);
	long got;

	memcpy(packet, &want, sizeof(want));
	memcpy(packet + sizeof(want), id, id_len);
	peer_hello(fd, 1000);
	say(fd, packet, sizeof(want) + id_len);
	got = peer_receive(fd, &answer, sizeof(answer), 2000);
	close(fd);
	if (got <= 0)
		return (int)got; /* 0: hung up */
	return answer.verdict.status != 0 || !answer.verdict.allowed ? 0 : 1;
}

static void test_absurd_questions(const struct host *host) {
	static const char long_id[600] = {'a'};

	tap_ok(ask_absurdly(host, UINT32_MAX, 1, "joe", 3) == 0, "a policy beyond the directory");
	tap_ok(ask_absurdly(host, 900, 1, "joe", 3) == 0, "a policy that is not there");
	tap_ok(ask_absurdly(host, 0, 0, "joe", 3) == 0, "cost 0");
	tap_ok(ask_absurdly(host, 0, UINT32_MAX, "joe", 3) == 0, "a cost beyond 2^31");
	tap_ok(ask_absurdly(host, 0, 1, "", 0) == 0, "no id");
	tap_ok(ask_absurdly(host, 0, 1, long_id, 256) == 0, "an id of 256 bytes");
	tap_ok(ask_absurdly(host, 0, 1, "a\0b", 3) == 0, "an id with a NUL");
	tap_ok(ask_absurdly(host, 0, 1, "\xff\xfe", 2) == 0, "an id that is not UTF-8");
	tap_ok(still_serves(host), "and the others are served");
}

/* ---- Silence ---------------------------------------------------------------- */

/* Asks until the agent hangs up; false when it didn't within 10 s. */
static bool ask_without_end(int fd, int *asked) {
	struct wire_head ask = {.type = WIRE_STATUS, .serial = 1};
	uint64_t began = monotonic_ns();

	for (*asked = 0; stage_ms_since(began) < 10000;) {
		if (send(fd, &ask, sizeof(ask), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
			++*asked;
		else if (errno != EAGAIN)
			return true;
		else
			sleep_ms(5);
	}
	return false;
}

static void test_never_reads(const struct host *host) {
	long before = process_memory_kib(host->agent, NULL), after;
	int fd = peer_connect(host->socket), asked;
	bool cut;

	peer_hello(fd, 1000);
	cut = ask_without_end(fd, &asked);
	after = process_memory_kib(host->agent, NULL);
	close(fd);
	tap_ok(cut, "who never reads is cut off after %d questions", asked);
	tap_ok(after - before < 4096, "and cost the agent %ld KiB", after - before);
	tap_ok(still_serves(host), "and the others are served");
}

static void test_many_silent(const struct host *host) {
	int fds[300], connected = 0;

	for (int i = 0; i < 300; i++) {
		fds[i] = peer_connect(host->socket);
		connected += fds[i] >= 0;
	}
	tap_ok(still_serves(host), "%d peers that connect and say nothing don't keep the others out", connected);
	for (int i = 0; i < 300; i++)
		close(fds[i]);
}

/* ---- All of them ------------------------------------------------------------ */

static void test_socket(struct host *host) {
	int before, after;

	still_serves(host);
	before = process_descriptors(host->agent);
	test_rude_peers(host);
	test_strangers(host);
	test_absurd_questions(host);
	test_never_reads(host);
	test_many_silent(host);
	after = process_wait_descriptors(host->agent, before, 5000);
	tap_ok(host_is_running(host) && after <= before, "the agent runs on; %d descriptors before, %d after", before,
	       after);
}

static int play(const struct scene *scene) {
	struct stage stage;

	if (stage_set(&stage, scene, 1, NULL) != 0)
		return tap_finish();
	test_socket(&stage.host[0]);
	proof_print_checks("I6", "socket peer sends a byte at a time, garbage, never reads");
	stage_strike(&stage);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 120);
}
