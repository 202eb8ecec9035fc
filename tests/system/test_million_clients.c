/*
 * test_million_clients.c - 1,000,000 clients, each seen once: what they cost in the
 * agent; that it goes on serving while something concerns them all: a change of their policy, a
 * fallback and its end; and that nothing of them stays: idle ones leave the table, their rows the
 * database.
 *
 * One process makes the checks through the asynchronous calls, many under way at a
 * time, as a server with an event loop does.
 */
#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"
#include "protocol/layout.h"
#include "protocol/tally.h"

#define CLIENTS          1000000u
#define UNDER_WAY        2000u
#define BYTES_PER_CLIENT 192.0
#define FALLBACK_BYTES   150.0
/* This is longer than the flood takes, so all are in the table at its end. Rows stay for two windows, a
 * sub-window and 10 s, which is about as long. */
#define IDLE_S    60
#define WINDOW_MS 25000
/* It may take longer, but a test can't wait for that. */
#define FLOOD_MS 120000
#define LEAVE_MS 100000

/* How long the agent may take to answer something else, asked by another process: usually some milliseconds. An
 * agent that looks at each client in one go takes half a second to a second. */
#define ANSWER_MS 200
/* The limit of a fallback, which some of the clients meet. */
#define LENIENT 200000u
#define AWAY_MS 1500
/* On two slow cores, 200,000 charges took 30 s. */
#define BACK_MS 90000

struct flood {
	struct stint *stint;
	struct stint_limiter *limiter;
	uint32_t most, started, decided, under_way;
	uint32_t allowed, failed;
	uint32_t by_source[JOURNAL_SOURCES];
};

static void count(struct flood *flood, int status, const struct stint_result *result) {
	flood->decided++;
	if (status != 0) {
		flood->failed++;
		return;
	}
	flood->allowed += result->allowed;
	flood->by_source[result->source % JOURNAL_SOURCES]++;
}

static void on_verdict(int status, const struct stint_result *result, void *arg) {
	struct flood *flood = arg;

	flood->under_way--;
	count(flood, status, result);
}

static void start_some(struct flood *flood) {
	static const struct journal_plan nameless;

	while (flood->under_way < UNDER_WAY && flood->started < flood->most) {
		struct stint_result result;
		char id[64];
		int status;

		journal_client_id(&nameless, flood->started++, id);
		status = stint_check_async(flood->limiter, id, 1, &result, on_verdict, flood);
		if (status == 0)
			flood->under_way++;
		else
			count(flood, status == 1 ? 0 : status, &result);
	}
}

static int64_t run_flood(struct flood *flood) {
	uint64_t began = monotonic_ns();

	while (flood->decided < flood->most && stage_ms_since(began) < FLOOD_MS) {
		struct pollfd ready = {.fd = stint_fd(flood->stint), .events = POLLIN};

		start_some(flood);
		poll(&ready, 1, 100);
		stint_dispatch(flood->stint);
	}
	return stage_ms_since(began);
}

static int open_flood(struct flood *flood, const struct host *host, int timeout_ms) {
	struct stint_options options = {.policy = "once",
	                                .max_requests = 10,
	                                .time_window_ms = WINDOW_MS,
	                                .timeout_ms = timeout_ms};

	*flood = (struct flood){.most = CLIENTS};
	if (stint_open(&flood->stint, host->socket) != 0)
		return -1;
	return stint_limiter_new(&flood->limiter, flood->stint, &options);
}

static void close_flood(struct flood *flood) {
	stint_limiter_free(flood->limiter);
	stint_close(flood->stint);
}

/* The bytes of the agent's own memory and of its shared objects, which apps map as well. */
static double memory_of(const struct host *host) {
	char pattern[128];
	long shared = 0, total = process_memory_kib(host->agent, &shared);
	double bytes = (double)(total - shared) * 1024;
	glob_t found;

	snprintf(pattern, sizeof(pattern), "/dev/shm%s*", host->shm);
	if (glob(pattern, 0, NULL, &found) != 0)
		return bytes;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct stat info;

		if (stat(found.gl_pathv[i], &info) == 0)
			bytes += (double)info.st_size;
	}
	globfree(&found);
	return bytes;
}

/* What the counts of decisions take, whatever the number of clients: a row for each policy, and one for errors. */
static double memory_of_tallies(void) {
	double stripes = (double)sysconf(_SC_NPROCESSORS_CONF) + TALLY_SHARED;

	return (POLICY_CAPACITY + 1) * stripes * (double)sizeof(struct tally);
}

/* The longest time that the agent let somebody wait for its status, in so many ms. */
static int64_t longest_answer_ms(const struct host *host, int64_t for_ms) {
	uint64_t began = monotonic_ns();
	int64_t longest = 0;

	while (stage_ms_since(began) < for_ms) {
		uint64_t asked = monotonic_ns();
		bool answered = host_number(host, "table", "clients") >= 0;
		int64_t took = answered ? stage_ms_since(asked) : for_ms;

		longest = took > longest ? took : longest;
	}
	return longest;
}

static void change_policy(struct stage *stage) {
	const struct host *host = &stage->host[0];
	int64_t longest;

	tap_ok(cluster_do(&stage->cluster, "select stint.set_policy('once', 20, 25000)") == 0,
	       "their policy is changed");
	longest = longest_answer_ms(host, 1500);
	tap_ok(longest <= ANSWER_MS, "meanwhile the agent answers within %lld ms, at most %d", (long long)longest,
	       ANSWER_MS);
}

/* A fifth of the clients asks while the database is away. */
static void fall_back(struct stage *stage) {
	const struct host *host = &stage->host[0];
	int64_t longest;
	uint64_t began;
	struct flood flood;

	cluster_kill(&stage->cluster);
	longest = longest_answer_ms(host, AWAY_MS);
	if (!tap_ok(open_flood(&flood, host, 10000) == 0, "the database is away"))
		return;
	flood.most = LENIENT;
	run_flood(&flood);
	tap_ok(flood.by_source[STINT_SOURCE_FALLBACK] >= LENIENT / 2,
	       "%u clients are decided by the fallback, %u by leases", flood.by_source[STINT_SOURCE_FALLBACK],
	       flood.by_source[STINT_SOURCE_LEASE]);
	close_flood(&flood);
	tap_ok(longest <= ANSWER_MS, "at its begin the agent answers within %lld ms, at most %d", (long long)longest,
	       ANSWER_MS);
	if (!tap_ok(cluster_again(&stage->cluster) == 0, "the database is back"))
		return;
	longest = longest_answer_ms(host, AWAY_MS);
	began = monotonic_ns();
	tap_ok(host_wait_in_step(host, BACK_MS), "and all that was admitted charged");
	tap_note("it took %lld ms more", (long long)stage_ms_since(began));
	tap_ok(longest <= ANSWER_MS, "at its end the agent answers within %lld ms, at most %d", (long long)longest,
	       ANSWER_MS);
}

static void wait_for_leave(const struct host *host) {
	uint64_t began = monotonic_ns();
	int64_t clients;

	do {
		sleep_ms(200);
		clients = host_number(host, "table", "clients");
	} while (clients != 0 && stage_ms_since(began) < LEAVE_MS);
	tap_ok(clients == 0, "idle for %d s they leave the table: %lld are left %lld ms after the last check", IDLE_S,
	       (long long)clients, (long long)stage_ms_since(began));
}

/* Returns the agent's memory after it, without what it counts by itself if the database was away meanwhile. */
static double check_once(struct host *host, const char *what) {
	double before, after;
	struct flood flood;
	int64_t clients, took_ms;

	before = memory_of(host);
	if (!tap_ok(open_flood(&flood, host, 10000) == 0, "%s: a million clients come, each once", what))
		return 0;
	took_ms = run_flood(&flood);
	tap_note("%s: decided %u in %.1f s (%.0f a second); %u by lease, %u by the store, %u fallback, %u local", what,
	         flood.decided, (double)took_ms / 1000, flood.decided * 1000.0 / (double)took_ms, flood.by_source[1],
	         flood.by_source[2], flood.by_source[3], flood.by_source[4]);
	tap_ok(flood.decided == CLIENTS && flood.failed == 0 && flood.allowed == CLIENTS,
	       "%s: all were decided, %u failed, %u allowed", what, flood.failed, flood.allowed);
	clients = host_number(host, "table", "clients");
	after = memory_of(host);
	tap_note("%s: %lld of them are in the table; agent and table: %.1f MB before, %.1f MB now", what,
	         (long long)clients, before / 1e6, after / 1e6);
	close_flood(&flood);
	return after - memory_of_tallies() - flood.by_source[STINT_SOURCE_FALLBACK] * FALLBACK_BYTES;
}

/* Without a database, the agent is the store as well, and keeps the counts itself. */
static void play_memory(const struct scene *scene) {
	const struct host_options options = {.database = "memory:", .max_clients = CLIENTS};
	struct host host;
	double bytes;

	if (!tap_ok(host_prepare(&host, scene, 0, &options) == 0 && host_start(&host) == 0,
	            "an agent without a database"))
		return;
	bytes = check_once(&host, "memory:");
	tap_note("memory: %.0f bytes per client, counts and all", bytes / CLIENTS);
	tap_ok(host_stop(&host) == 0, "the agent ends with status 0");
}

static const char size_sql[] = "select pg_total_relation_size('stint.counter')";

static void play_database(const struct scene *scene) {
	const struct host_options options = {.max_clients = CLIENTS, .idle_timeout_s = IDLE_S};
	int64_t rows, clients, size_full, size_after;
	struct stage stage;
	uint64_t began;
	double bytes;

	if (stage_set(&stage, scene, 1, &options) != 0)
		return;
	bytes = check_once(&stage.host[0], "PostgreSQL");
	clients = host_number(&stage.host[0], "table", "clients");
	tap_ok(clients >= CLIENTS / 100 * 95, "nearly all of them are in the table: %lld of %u", (long long)clients,
	       CLIENTS);
	tap_ok(bytes / (double)clients <= BYTES_PER_CLIENT,
	       "%.0f bytes per client with an id of 32, all of the agent counted; at most %.0f",
	       bytes / (double)clients, BYTES_PER_CLIENT);
	size_full = cluster_number(&stage.cluster, size_sql, -1);
	rows = cluster_number(&stage.cluster, "select count(*) from stint.counter", -1);
	tap_note("the database has %lld rows, %.1f MB with its index, %.0f bytes a client", (long long)rows,
	         (double)size_full / 1e6, (double)size_full / (double)(rows > 0 ? rows : 1));
	change_policy(&stage);
	fall_back(&stage);
	bytes = memory_of(&stage.host[0]) - memory_of_tallies() - LENIENT * FALLBACK_BYTES;
	tap_ok(bytes / (double)clients <= BYTES_PER_CLIENT,
	       "after all this, and %.0f for each counter of the fallback: %.0f bytes per client", FALLBACK_BYTES,
	       bytes / (double)clients);
	wait_for_leave(&stage.host[0]);
	began = monotonic_ns();
	do {
		sleep_ms(500);
		rows = cluster_number(&stage.cluster, "select count(*) from stint.counter", -1);
	} while (rows > 0 && stage_ms_since(began) < LEAVE_MS);
	tap_ok(rows == 0, "their rows leave the database: %lld are left", (long long)rows);
	/* Autovacuum would do this in its own time. */
	cluster_do(&stage.cluster, "vacuum stint.counter");
	size_after = cluster_number(&stage.cluster, size_sql, -1);
	tap_ok(size_after < size_full / 2, "the table shrinks from %.1f MB to %.1f MB", (double)size_full / 1e6,
	       (double)size_after / 1e6);
	stage_strike(&stage);
}

static int play(const struct scene *scene) {
	play_memory(scene);
	play_database(scene);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 300);
}
