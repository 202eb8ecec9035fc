/*
 * test_bad_input.c - what others may get wrong: a configuration, an option, an id, a
 * packet, a schema. Each with a clear error, none with harm to anybody else.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "layout.h"
#include "peer.h"
#include "process.h"
#include "proof.h"
#include "random.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"
#include "wire.h"

/* ---- The agent's configuration -------------------------------------------- */

struct bad_config {
	const char *text;  /* %s: a good path for the socket */
	const char *names; /* the complaint must say this */
};

static const struct bad_config bad_configs[] = {
	{"socket = %s\n[other]\nx = 1\n", ""},
	{"[stint]\nsocket = %s\ndatabase = memory:\nfrobnicate = 1\n", "frobnicate"},
	{"[stint]\nsocket = %s\ndatabase = memory:\nmax_clients = many\n", "max_clients"},
	{"[stint]\nsocket = %s\ndatabase = memory:\nmax_clients = 0\n", "max_clients"},
	{"[stint]\nsocket = %s\ndatabase = memory:\nmax_clients = -5\n", "max_clients"},
	{"[stint]\nsocket = %s\ndatabase = memory:\nmax_clients = 99999999999999999999\n", "max_clients"},
	{"[stint]\nsocket = %s\ndatabase = memory:\ndatabase_timeout_ms = 0\n", "database_timeout_ms"},
	{"[stint]\nsocket = %s\ndatabase = memory:\nidle_timeout_s = 1e9\n", "idle_timeout_s"},
	{"[stint]\nsocket = %s\ndatabase = memory:\nlog_level = loud\n", "log_level"},
	{"[stint]\nsocket = %s\ndatabase = nonsense nonsense\n", "database"},
	{"[stint]\ndatabase = memory:\nsocket = %s/"
     "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\n",
     "socket"},
	{"[stint]\ndatabase = memory:\nsocket = /nonexistent%s\n", "/nonexistent"},
	{"[stint]\nsocket = %s\ndatabase = memory:\nshm = a/b/c\n", "shm"},
};

static void write_file(const char *path, const char *format, const char *argument) {
	FILE *file = fopen(path, "we");

	if (file == NULL)
		abort();
	fprintf(file, format, argument); /* formats are the constants above */
	fclose(file);
}

static void read_file(const char *path, char *text, size_t size) {
	FILE *file = fopen(path, "re");

	text[0] = '\0';
	if (file == NULL)
		return;
	text[fread(text, 1, size - 1, file)] = '\0';
	fclose(file);
}

/* An agent that should not start: its exit status, -1 when it still ran after 5 s; what it said. */
static int run_agent(const char *config, const char *log, char *said, size_t size) {
	const char *argv[] = {process_built("stintd"), "-c", config, NULL};
	int status = -1;
	pid_t pid;

	unlink(log);
	pid = process_start(argv, log);
	if (!process_wait(pid, 5000, &status)) {
		process_kill(pid);
		status = -1;
	}
	read_file(log, said, size);
	return status;
}

static void test_config(const struct scene *scene) {
	char config[108], log[108], socket_path[108], shm[64], said[4096];
	int status;

	snprintf(shm, sizeof(shm), "%sbad", scene->shm_prefix);
	scene_path(scene, "bad.conf", config);
	scene_path(scene, "bad.log", log);
	scene_path(scene, "bad.sock", socket_path);
	status = run_agent("/nonexistent/stint.conf", log, said, sizeof(said));
	tap_ok(status > 0 && strstr(said, "/nonexistent/stint.conf") != NULL, "no file: %.*s",
	       (int)strcspn(said, "\n"), said);
	for (size_t i = 0; i < sizeof(bad_configs) / sizeof(bad_configs[0]); i++) {
		const struct bad_config *bad = &bad_configs[i];

		/* One that starts after all must not touch the table of an agent in service on this machine. */
		if (strcmp(bad->names, "shm") == 0)
			unsetenv("STINT_SHM");
		else
			setenv("STINT_SHM", shm, 1);
		write_file(config, bad->text, socket_path);
		status = run_agent(config, log, said, sizeof(said));
		tap_ok(status > 0 && said[0] != '\0' && strstr(said, bad->names) != NULL, "%s: status %#x, %.*s",
		       bad->names[0] != '\0' ? bad->names : "no section [stint]", (unsigned)status,
		       (int)strcspn(said, "\n"), said);
	}
	unsetenv("STINT_SHM");
}

/* ---- Through the library ----------------------------------------------------- */

struct bad_options {
	const char *names;
	struct stint_options options;
	int error;
};

#define GOOD .policy = "api", .max_requests = 100, .time_window_ms = 1000

static void test_options(struct stint *stint) {
	const struct bad_options all[] = {
		{"policy", {.max_requests = 1, .time_window_ms = 1000}, STINT_EPOLICY},
		{"policy", {.policy = "", .max_requests = 1, .time_window_ms = 1000}, STINT_EPOLICY},
		{"policy",
	     {.policy = "a'; drop table stint.policy", .max_requests = 1, .time_window_ms = 1000},
	     STINT_EPOLICY},
		{"max_requests", {.policy = "api", .time_window_ms = 1000}, STINT_ERANGE},
		{"max_requests", {.policy = "api", .max_requests = -1, .time_window_ms = 1000}, STINT_ERANGE},
		{"max_requests", {.policy = "api", .max_requests = INT64_MAX, .time_window_ms = 1000}, STINT_ERANGE},
		{"time_window_ms", {.policy = "api", .max_requests = 1}, STINT_ERANGE},
		{"time_window_ms", {.policy = "api", .max_requests = 1, .time_window_ms = 99}, STINT_ERANGE},
		{"time_window_ms", {.policy = "api", .max_requests = 1, .time_window_ms = INT64_MAX}, STINT_ERANGE},
		{"fallback_max_requests", {GOOD, .fallback_max_requests = -1}, STINT_ERANGE},
		{"fallback_max_requests", {GOOD, .fallback_max_requests = INT64_MAX}, STINT_ERANGE},
		{"fallback_time_window_ms", {GOOD, .fallback_time_window_ms = 1}, STINT_ERANGE},
		{"resolution", {GOOD, .resolution = 61}, STINT_ERANGE},
		{"resolution", {GOOD, .resolution = -1}, STINT_ERANGE},
		{"algorithm", {GOOD, .algorithm = (enum stint_algorithm)77}, STINT_ERANGE},
		{"mode", {GOOD, .mode = (enum stint_mode)77}, STINT_ERANGE},
		{"timeout_ms", {GOOD, .timeout_ms = -1}, STINT_ERANGE},
		{"timeout_ms", {GOOD, .timeout_ms = STINT_TIMEOUT_MS_MAX + 1}, STINT_ERANGE},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct stint_limiter *limiter = (struct stint_limiter *)&limiter;
		int error = stint_limiter_new(&limiter, stint, &all[i].options);

		tap_ok(error == all[i].error && limiter == NULL && strstr(stint_error_detail(), all[i].names) != NULL,
		       "%s", stint_error_detail());
	}
}

struct id_case {
	const char *what;
	const char *id;
	bool good;
};

static void test_ids(struct stint_limiter *limiter, struct cluster *cluster) {
	static char long_id[257], longest_id[256];
	static const struct id_case all[] = {
		{"empty", "", false},
		{"256 bytes", long_id, false},
		{"invalid UTF-8: a lone byte", "client-\xff", false},
		{"invalid UTF-8: overlong", "\xc0\xaf", false},
		{"invalid UTF-8: a surrogate", "\xed\xa0\x80", false},
		{"invalid UTF-8: cut off", "caf\xc3", false},
		{"255 bytes", longest_id, true},
		{"quotes", "it's \"quoted\" $$ {a,b} \\x41 NULL", true},
		{"newlines and control bytes", "line one\nline two\r\n\t\x01\x7f", true},
		{"SQL", "x'); drop table stint.counter; --", true},
		{"other scripts", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x98", true},
	};
	int64_t rows = cluster_number(cluster, "select count(*) from stint.counter", -1), good = 0;

	memset(long_id, 'x', sizeof(long_id) - 1);
	memset(longest_id, 'y', sizeof(longest_id) - 1);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct stint_result result = {0};
		int error = stint_check(limiter, all[i].id, 1, &result);

		good += all[i].good;
		if (all[i].good)
			tap_ok(error == 0 && result.allowed && result.source == STINT_SOURCE_DATABASE,
			       "id with %s: %s, allowed %d, source %d", all[i].what,
			       error == 0 ? "fine" : stint_strerror(error), result.allowed, result.source);
		else
			tap_ok(error == STINT_ECLIENT && !stint_is_allowed(limiter, all[i].id), "id %s: %s", all[i].what,
			       stint_strerror(error));
	}
	rows = cluster_number(cluster, "select count(*) from stint.counter", -1) - rows;
	tap_ok(rows == good, "the good ones, and only those, are in the database: %lld of %lld", (long long)rows,
	       (long long)good);
	tap_ok(
		cluster_number(cluster,
	                   "select count(*) from stint.counter where client_id = 'x''); drop table stint.counter; --'",
	                   0) == 1,
		"as they were given");
}

static void test_costs(struct stint_limiter *limiter) {
	struct stint_result result = {0};
	int error;

	error = stint_check(limiter, "cost", 0, &result);
	tap_ok(error == STINT_ERANGE, "cost 0: %s", stint_error_detail());
	error = stint_check(limiter, "cost", UINT32_MAX, &result);
	tap_ok(error == STINT_ERANGE, "a huge cost: %s", stint_error_detail());
	error = stint_check(limiter, "cost", 101, &result);
	tap_ok(error == 0 && !result.allowed && result.retry_after_ms == -1,
	       "a cost above the limit is denied for ever: allowed %d, retry after %lld", result.allowed,
	       (long long)result.retry_after_ms);
	error = stint_check(limiter, "cost", 100, &result);
	tap_ok(error == 0 && result.allowed, "the limit itself can be had at once: allowed %d", result.allowed);
}

static void test_library(struct stage *stage) {
	const struct stint_options options = {GOOD}, unknown = {.policy = "nobody-declared-it", .must_exist = true};
	struct stint_limiter *limiter = NULL, *missing = NULL;
	struct stint_result result;
	struct stint *stint = NULL;

	if (!tap_ok(stint_open(&stint, stage->host[0].socket) == 0 &&
	                stint_limiter_new(&limiter, stint, &options) == 0 &&
	                stint_limiter_new(&missing, stint, &unknown) == 0,
	            "a limiter"))
		return;
	test_options(stint);
	test_ids(limiter, &stage->cluster);
	test_costs(limiter);
	tap_ok(stint_check(missing, "somebody", 1, &result) == STINT_ENOPOLICY,
	       "a policy that must exist and doesn't");
	stint_limiter_free(missing);
	stint_limiter_free(limiter);
	stint_close(stint);
}

/* ---- On the socket ---------------------------------------------------------- */

/* Whether the agent still serves somebody who does nothing wrong. */
static bool still_serves(const struct host *host) {
	const struct stint_options options = {GOOD, .timeout_ms = 3000};
	struct stint_limiter *limiter = NULL;
	struct stint_result result = {0};
	struct stint *stint = NULL;
	static int number;
	char id[32];
	bool served;

	snprintf(id, sizeof(id), "good-%d", number++);
	served = stint_open(&stint, host->socket) == 0 && stint_limiter_new(&limiter, stint, &options) == 0 &&
	         stint_check(limiter, id, 1, &result) == 0 && result.allowed && result.source == STINT_SOURCE_DATABASE;
	stint_limiter_free(limiter);
	stint_close(stint);
	return served;
}

/* Reads until the agent hangs up; false when it didn't within 3 s. */
static bool is_hung_up(int fd) {
	uint64_t began = monotonic_ns();
	char packet[WIRE_MESSAGE_MAX];

	while (stage_ms_since(began) < 3000)
		if (peer_receive(fd, packet, sizeof(packet), 500) == 0)
			return true;
	return false;
}

static void say(int fd, const void *packet, size_t size) {
	(void)!send(fd, packet, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

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
	struct wire_hello hello = {
		.head = {.type = WIRE_HELLO}, .wire_version = WIRE_VERSION, .layout_version = LAYOUT_VERSION};

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

/* Well-formed questions with absurd contents: answered with an error, or hung up on; never obeyed. */
static int ask_absurdly(const struct host *host, uint32_t policy, uint32_t cost, const char *id, size_t id_len) {
	char packet[sizeof(struct wire_want) + 600];
	struct wire_want want = {
		.head = {.type = WIRE_WANT, .serial = 5}, .policy = policy, .cost = cost, .timeout_ms = 1000};
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

static void test_socket(struct host *host) {
	int before, after;

	still_serves(host);
	before = process_descriptors(host->agent);
	test_rude_peers(host);
	test_strangers(host);
	test_absurd_questions(host);
	test_never_reads(host);
	test_many_silent(host);
	sleep_ms(200);
	after = process_descriptors(host->agent);
	tap_ok(host_is_running(host) && after <= before, "the agent runs on; %d descriptors before, %d after", before,
	       after);
}

/* ---- The database -------------------------------------------------------------- */

struct bad_database {
	const char *what;
	const char *prepare; /* SQL beforehand */
	const char *suffix;  /* of the agent's connection string */
	const char *says;    /* its status must */
};

static const struct bad_database bad_databases[] = {
	{"no schema", "create database empty", " dbname=empty", "schema"},
	{"no rights", "create role stranger login", " user=stranger", "permission"},
	{"no such database", "select 1", " dbname=nowhere", "nowhere"},
	{"a name in another encoding", "select 1", " dbname=caf\xe9", "caf"},
	{"no such role", "select 1", " user=nobody_at_all", "nobody_at_all"},
	{"a schema of the future",
     "insert into stint.migration (version, name, breaking) values (4711, 'future', true)", "", "4711"},
	{"nobody there", "select 1", " host=/nonexistent", "nonexistent"},
};

static bool decides_alone(const struct host *host) {
	const struct stint_options options = {GOOD};
	struct stint_limiter *limiter = NULL;
	struct stint_result result = {0};
	struct stint *stint = NULL;
	bool alone;

	alone = stint_open(&stint, host->socket) == 0 && stint_limiter_new(&limiter, stint, &options) == 0 &&
	        stint_check(limiter, "joe", 1, &result) == 0 && result.allowed &&
	        result.source == STINT_SOURCE_FALLBACK;
	stint_limiter_free(limiter);
	stint_close(stint);
	return alone;
}

static void try_database(const struct scene *scene, struct cluster *cluster, uint32_t number,
                         const struct bad_database *bad) {
	struct host_options options = {.name = "lost"};
	char conninfo[512], status[16384] = "";
	struct host host;
	bool alone;

	if (cluster_do(cluster, bad->prepare) != 0)
		tap_note("%s: could not be prepared", bad->what);
	snprintf(conninfo, sizeof(conninfo), "%s%s", cluster->agent, bad->suffix);
	options.database = conninfo;
	if (!tap_ok(host_prepare(&host, scene, number, &options) == 0 && host_start(&host) == 0,
	            "%s: the agent starts", bad->what))
		return;
	sleep_ms(300);
	alone = decides_alone(&host);
	peer_status(host.socket, status, sizeof(status), 1000);
	tap_ok(alone, "%s: it decides by the lenient limit", bad->what);
	tap_ok(strstr(status, bad->says) != NULL, "%s: its status says why (%s)", bad->what, bad->says);
	tap_ok(host_log_count(&host, bad->says) > 0, "%s: its log too", bad->what);
	if (strstr(status, bad->says) == NULL)
		tap_note("%s", status);
	tap_ok(host_stop(&host) == 0, "%s: it ends with status 0", bad->what);
}

/* What was checked since the last line of proof. */
static void print_proof(const char *fault) {
	static int made_before, failed_before;
	int made, failed;

	tap_count(&made, &failed);
	proof_print(&(struct proof){
		.invariants = "I6",
		.fault = fault,
		.runs = (uint64_t)(made - made_before),
		.checked = (uint64_t)(made - made_before),
		.violations = (uint64_t)(failed - failed_before),
		.recovery_ms = PROOF_NO_RECOVERY,
	});
	made_before = made;
	failed_before = failed;
}

static int play(const struct scene *scene) {
	struct stage stage;

	test_config(scene);
	print_proof("wrong configuration");
	if (stage_set(&stage, scene, 1, NULL) != 0)
		return tap_finish();
	test_library(&stage);
	print_proof("hostile ids, options and costs");
	test_socket(&stage.host[0]);
	print_proof("socket peer sends a byte at a time, garbage, never reads");
	for (uint32_t i = 0; i < sizeof(bad_databases) / sizeof(bad_databases[0]); i++)
		try_database(scene, &stage.cluster, 10 + i, &bad_databases[i]);
	print_proof("no schema, no rights, no such database, a schema of the future");
	stage_strike(&stage);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 150);
}
