/*
 * test_fault_proxy.c - the network that other tests break does what it is told: each of its faults happens
 * once, and a plain client of PostgreSQL looks at it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stage.h"
#include "database/pg_connect.h"
#include "fault_proxy.h"
#include "tap.h"

#define TIMEOUT_MS 2000

struct play {
	struct cluster cluster;
	struct fault_proxy proxy;
	struct pg *pg;
};

static int connect_through(struct play *play, int timeout_ms) {
	char conninfo[256];

	pg_close(play->pg);
	fault_proxy_conninfo(&play->proxy, "postgres", conninfo);
	return pg_connect(&play->pg, conninfo, timeout_ms);
}

/* Gives how long a statement took; -1: it failed. */
static int64_t timed(struct play *play, const char *sql) {
	uint64_t began = monotonic_ns();

	return pg_query(play->pg, sql, 0, NULL, NULL) == PG_OK ? (int64_t)((monotonic_ns() - began) / NS_PER_MS) : -1;
}

static int64_t rows(struct play *play) {
	return cluster_number(&play->cluster, "select count(*) from kept", -1);
}

static void test_good(struct play *play) {
	int64_t took;

	tap_ok(connect_through(play, TIMEOUT_MS) == PG_OK, "a connection through it");
	took = timed(play, "select length(repeat('x', 1000000))");
	tap_ok(took >= 0, "a statement: %lld ms", (long long)took);
	took = timed(play, "select repeat('x', 1000000)");
	tap_ok(took >= 0, "a megabyte of answer: %lld ms", (long long)took);
	tap_ok(fault_proxy_live(&play->proxy) == 1 && fault_proxy_accepted(&play->proxy) == 1,
	       "one connection is known");
}

static void test_slow(struct play *play) {
	int64_t took;

	fault_proxy_set(&play->proxy, &(struct fault_line){.delay_us = {40000, 60000}});
	took = timed(play, "select 1");
	tap_ok(took >= 100, "40 ms there and 60 back: %lld ms", (long long)took);
	fault_proxy_set(&play->proxy, &(struct fault_line){.jitter_us = {50000, 50000}});
	took = 0;
	for (int i = 0; i < 10; i++)
		took += timed(play, "select 1");
	tap_ok(took >= 200, "up to 50 ms each way: %lld ms for ten", (long long)took);
	fault_proxy_set(&play->proxy, &(struct fault_line){.bytes_per_s = {0, 100000}});
	took = timed(play, "select repeat('x', 50000)");
	tap_ok(took >= 400 && took < 5000, "50 kB at 100 kB/s: %lld ms", (long long)took);
	fault_proxy_clear(&play->proxy);
	took = timed(play, "select 1");
	tap_ok(took >= 0 && took < 100, "and as before when it is cleared: %lld ms", (long long)took);
}

/* What a plain socket reads at the end of its connection: 0 for a FIN, else errno. */
static int read_end(struct play *play, void (*end)(struct fault_proxy *)) {
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(play->proxy.port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint32_t before = fault_proxy_accepted(&play->proxy);
	char byte;
	ssize_t got;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return close(fd), -1;
	for (int i = 0; i < 200 && fault_proxy_accepted(&play->proxy) == before; i++)
		sleep_ms(10);
	end(&play->proxy);
	got = read(fd, &byte, 1);
	return close(fd), got == 0 ? 0 : got < 0 ? errno : -1;
}

static void test_ends(struct play *play) {
	int end = read_end(play, fault_proxy_cut);

	tap_ok(end == 0, "a cut is an orderly end: %d", end);
	tap_ok(timed(play, "select 1") == -1, "of all connections");
	end = read_end(play, fault_proxy_reset);
	tap_ok(end == ECONNRESET, "a reset is a reset: %s", strerror(end));
	end = connect_through(play, TIMEOUT_MS);
	tap_ok(end == PG_OK, "the next connection is a good one");
}

/* The relay sees what is set when it wakes up. */
static bool connects_at_last(struct play *play) {
	for (int i = 0; i < 200; i++, sleep_ms(10))
		if (connect_through(play, TIMEOUT_MS) == PG_OK)
			return true;
	return false;
}

/* Whoever it finds waiting at its port then is cut off instead. */
static bool refused_at_last(struct play *play) {
	for (int i = 0; i < 200; i++, sleep_ms(10))
		if (connect_through(play, TIMEOUT_MS) != PG_OK && strstr(pg_error(play->pg), "refused"))
			return true;
	return false;
}

static void test_away(struct play *play) {
	uint64_t began;
	bool refused;
	int status;

	fault_proxy_set(&play->proxy, &(struct fault_line){.refuse = true});
	refused = refused_at_last(play);
	tap_ok(refused, "refused: %s", pg_error(play->pg));
	fault_proxy_clear(&play->proxy);
	tap_ok(connects_at_last(play), "taken again, at the same port");
	fault_proxy_set(&play->proxy, &(struct fault_line){.dark = true});
	began = monotonic_ns();
	status = connect_through(play, 300);
	tap_ok(status != PG_OK && monotonic_ns() - began >= 298 * NS_PER_MS /* poll() counts in milliseconds */,
	       "dark: %s", pg_error(play->pg));
	fault_proxy_clear(&play->proxy);
	status = connect_through(play, TIMEOUT_MS);
	tap_ok(status == PG_OK, "light again");
}

/* What was sent into the dark arrives, though its sender has gone. */
static void test_late(struct play *play) {
	int64_t before = rows(play);
	struct pg *pg = NULL;
	char conninfo[256];

	fault_proxy_conninfo(&play->proxy, "postgres", conninfo);
	tap_ok(pg_connect(&pg, conninfo, TIMEOUT_MS) == PG_OK, "a second connection");
	fault_proxy_set(&play->proxy, &(struct fault_line){.dark = true});
	sleep_ms(50);
	pg_send_query(pg, "insert into kept default values");
	pg_flush(pg);
	pg_close(pg);
	sleep_ms(100);
	tap_ok(rows(play) == before, "an insert that was sent into the dark has not arrived");
	fault_proxy_clear(&play->proxy);
	for (int i = 0; i < 100 && rows(play) == before; i++)
		sleep_ms(10);
	tap_ok(rows(play) == before + 1, "it arrives when the dark ends");
	for (int i = 0; i < 100 && fault_proxy_live(&play->proxy) > 1; i++)
		sleep_ms(10);
	tap_ok(fault_proxy_live(&play->proxy) == 1, "and its connection ends: %u left",
	       fault_proxy_live(&play->proxy));
}

struct aimed {
	enum fault_aim aim;
	const char *what;
	bool committed;
};

static bool wait_row(struct play *play, int64_t count) {
	for (int i = 0; i < 100 && rows(play) < count; i++)
		sleep_ms(10);
	return rows(play) == count;
}

/* Each insert is a statement of its own with a reply of its own; the second one is aimed at. */
static void test_aimed(struct play *play, const struct aimed *aimed) {
	static const char sql[] = "insert into kept default values returning id";
	int64_t before = rows(play);
	bool silence = aimed->aim == FAULT_LOSE_REPLY_SILENCE;

	tap_ok(connect_through(play, TIMEOUT_MS) == PG_OK, "%s: connected", aimed->what);
	fault_proxy_aim(&play->proxy, aimed->aim, sql, 1);
	tap_ok(timed(play, sql) >= 0, "%s: the first is answered", aimed->what);
	if (silence)
		pg_send_query(play->pg, sql); /* nobody would end a longer wait */
	else
		tap_ok(timed(play, sql) == -1, "%s: the second has no answer", aimed->what);
	tap_ok(fault_proxy_wait_hit(&play->proxy, 1000), "%s: it was hit", aimed->what);
	tap_ok(wait_row(play, before + 1 + aimed->committed), "%s: and was %s", aimed->what,
	       aimed->committed ? "committed" : "not done");
}

static int play_all(const struct scene *scene) {
	static const struct aimed aims[] = {
		{FAULT_LOSE_REPLY_CUT, "reply lost, cut", true},
		{FAULT_LOSE_REPLY_RESET, "reply lost, reset", true},
		{FAULT_LOSE_REPLY_SILENCE, "reply lost, silence", true},
		{FAULT_TRUNCATE_REPLY, "reply truncated", true},
		{FAULT_TRUNCATE_REQUEST, "request truncated", false},
	};
	struct play play = {.pg = NULL};
	char socket_path[108];

	if (!tap_ok(cluster_start(&play.cluster, scene) == 0, "a database"))
		return tap_finish();
	cluster_do(&play.cluster, "create table kept (id serial)");
	cluster_socket(&play.cluster, socket_path);
	if (!tap_ok(fault_proxy_start(&play.proxy, socket_path, 1) == 0, "a proxy before it"))
		return tap_finish();
	test_good(&play);
	test_slow(&play);
	test_ends(&play);
	test_away(&play);
	test_late(&play);
	for (size_t i = 0; i < sizeof(aims) / sizeof(aims[0]); i++)
		test_aimed(&play, &aims[i]);
	pg_close(play.pg);
	fault_proxy_stop(&play.proxy);
	cluster_close(&play.cluster);
	return tap_finish();
}

int main(void) {
	return scene_run(play_all, 60);
}
