/*
 * test_nginx_faults.c - what breaks around a real nginx with four workers: it is reloaded and upgraded, and its
 * agent is killed, just while requests wait for an answer, those of HTTP/2 too; and under wrk's load, when the
 * database dies and returns as well. Nobody gets more than the limit that is in force, no answer is anything but
 * an admission or a rejection, and no worker waits.
 *
 *     STINT_ROUNDS   how often the agent is killed and nginx reloaded under load (3)
 *     STINT_SEED
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http2.h"
#include "nginx.h"
#include "oracle.h"
#include "port.h"
#include "process.h"
#include "proof.h"
#include "random.h"
#include "setting.h"
#include "stage.h"
#include "tap.h"
#include "wrk.h"

#define ROUNDS_DEFAULT  3
#define WORKERS         4
#define WAITING         20
#define WAITING_HTTP2   10
#define TIMEOUT_MS      30000
#define WINDOW_MS       1000
#define LIMIT           100
#define FALLBACK_LIMIT  150
#define CLIENTS         3u
#define HOUR_LIMIT      500
#define HOUR_FALLBACK   300
#define OUTAGE_MS       2000
#define AFTER_OUTAGE_MS 2500
#define IN_STEP_MS      15000

static const char *const configuration =
	"log_format told '$uri $status $stint_source';\n"
	"access_log access.log told;\n"
	"stint_socket %s;\n"
	"stint_log_level notice;\n"
	"server {\n"
	"	listen unix:%s/http.sock;\n"
	"	listen unix:%s/http2.sock http2;\n"
	"	listen 127.0.0.1:%d;\n"
	"	add_header X-Source $stint_source always;\n"
	"	location /free { empty_gif; }\n"
	"	location /count { stub_status; }\n"
	"	location /load { stint_limit policy=load key=$arg_k max_requests=100 time_window=1s resolution=10 \n"
	"		fallback_max_requests=150 fallback_time_window=1s local_max_requests=0; empty_gif; }\n"
	"	location /hour { stint_limit policy=hour key=$arg_k max_requests=500 time_window=1h \n"
	"		fallback_max_requests=300 fallback_time_window=1h local_max_requests=0; empty_gif; }\n"
	"	location /slow { stint_limit policy=slow key=$arg_k max_requests=1000 time_window=1m timeout=20s; empty_gif; }\n"
	"}\n";

/* The first are those of policy "load", by number. */
static const char *const paths[CLIENTS + 1] = {"/load?k=0", "/load?k=1", "/load?k=2", "/hour?k=all"};

/* ---- Requests that wait ------------------------------------------------------------------- */

/* While the agent hangs, requests wait in all workers; then something happens; then the agent goes on. */
static void check_waiting(struct nginx *nginx, struct host *host, const char *name,
                          bool happen(struct nginx *, struct host *)) {
	int fds[WAITING];
	char path[64], socket[128];

	snprintf(path, sizeof(path), "/slow?k=%s", name);
	snprintf(socket, sizeof(socket), "%s/http2.sock", nginx->dir);
	host_pause(host);
	nginx_ask_many(nginx, path, fds, WAITING);
	strcat(path, "-h2");
	int http2 = http2_ask(socket, path, WAITING_HTTP2);
	bool waiting = nginx_wait_under_way(nginx, WAITING + WAITING_HTTP2);
	int answered = nginx_count_answered(fds, WAITING);
	bool happened = happen(nginx, host);
	tap_ok(waiting && answered == 0 && happened, "%s, while %d requests wait", name, WAITING + WAITING_HTTP2);
	host_resume(host);
	int served = nginx_read_many(fds, WAITING, 200);
	int served_http2 = http2_read(http2, WAITING_HTTP2, TIMEOUT_MS);
	tap_ok(served == WAITING && served_http2 == WAITING_HTTP2, "%s: %d of them are served, and %d by HTTP/2", name,
	       served, served_http2);
}

/* How often a worker has begun to end. */
static int count_ending(const struct nginx *nginx) {
	return nginx_count(nginx, "error.log", "gracefully shutting down");
}

static bool reload(struct nginx *nginx, struct host *host) {
	int ending = count_ending(nginx);

	(void)host;
	nginx_reload(nginx);
	return nginx_wait_count(nginx, "error.log", "gracefully shutting down", ending + WORKERS);
}

static pid_t old_master;

static bool replace(struct nginx *nginx, struct host *host) {
	int ending = count_ending(nginx);

	(void)host;
	old_master = nginx_replace(nginx);
	/* The workers, and the master. */
	return old_master > 0 && nginx_wait_count(nginx, "error.log", "gracefully shutting down", ending + WORKERS);
}

static bool kill_agent(struct nginx *nginx, struct host *host) {
	(void)nginx;
	host_kill(host);
	return host_start(host) == 0;
}

static void check_aimed(struct nginx *nginx, struct host *host) {
	struct answer answer;

	nginx_get(nginx, "/slow?k=declared", "", &answer);
	check_waiting(nginx, host, "reload", reload);
	check_waiting(nginx, host, "upgrade", replace);
	tap_ok(nginx_is_replaced(old_master), "the old program has ended");
	check_waiting(nginx, host, "agent-killed", kill_agent);
}

/* The database takes connections, and doesn't answer. */
static void check_database_hangs(struct nginx *nginx, struct cluster *cluster) {
	struct answer answer;
	int fds[WAITING], served = 0;

	cluster_pause(cluster);
	nginx_ask_many(nginx, "/slow?k=hangs", fds, WAITING);
	for (int i = 0; i < 3 * WAITING; i++)
		served += nginx_get(nginx, "/free", "", &answer) == 200;
	tap_ok(served == 3 * WAITING, "%d requests were served while %d waited for a database that hangs", served,
	       WAITING);
	cluster_resume(cluster);
	served = nginx_read_many(fds, WAITING, 200);
	tap_ok(served == WAITING, "%d of those are served when it goes on", served);
}

/* ---- Under load ---------------------------------------------------------------------------- */

struct outage {
	uint64_t began_ns, over_ns;
};

static void kill_agents(struct nginx *nginx, struct host *host, int rounds) {
	uint64_t random = 17 + setting_number("STINT_SEED", 0);
	int restarts = 0;

	for (int i = 0; i < rounds; i++) {
		sleep_ms(300 + random_below(&random, 700));
		host_kill(host);
		sleep_ms(random_below(&random, 100));
		restarts += host_start(host) == 0;
		sleep_ms(300 + random_below(&random, 700));
		nginx_reload(nginx);
	}
	tap_ok(restarts == rounds, "the agent was killed %d times and came back %d times", rounds, restarts);
	tap_ok(nginx_is_replaced(nginx_replace(nginx)), "the program was replaced, and the old one ended");
	sleep_ms(1000);
}

static void kill_database(struct nginx *nginx, struct stage *stage, struct outage *outage) {
	int fds[WAITING];
	struct answer answer;

	outage->began_ns = monotonic_ns();
	tap_ok(cluster_kill(&stage->cluster) == 0, "the database is killed");
	nginx_ask_many(nginx, "/slow?k=gone", fds, WAITING);
	int served = nginx_read_many(fds, WAITING, 200);
	tap_ok(served == WAITING, "%d of %d new clients are served without it", served, WAITING);
	nginx_get(nginx, "/slow?k=another", "", &answer);
	tap_ok(strcmp(nginx_fields(&answer, "X-Source"), "fallback") == 0, "the host decides: %s", answer.fields);
	sleep_ms(OUTAGE_MS);
	tap_ok(cluster_again(&stage->cluster) == 0, "it is started again");
	outage->over_ns = monotonic_ns();
	tap_ok(host_wait_in_step(&stage->host[0], IN_STEP_MS), "and the agent is in step with it");
	sleep_ms(AFTER_OUTAGE_MS);
}

/* ---- What came of it -------------------------------------------------------------------------- */

/* Of each client, whether no second admitted more. */
static uint64_t judge(const struct oracle *oracle, const char *what, struct oracle_choice choice, int limit) {
	long long most[CLIENTS];
	uint64_t over = 0;

	for (uint32_t i = 0; i < CLIENTS; i++) {
		choice.client = i;
		most[i] = oracle_peak(oracle, &choice, WINDOW_MS * NS_PER_MS).certain;
		over += most[i] > limit;
	}
	tap_ok(over == 0, "%s: at most %lld, %lld, %lld of %d in any second", what, most[0], most[1], most[2], limit);
	return over;
}

static uint64_t judge_all(const struct oracle *oracle, const struct outage *outage) {
	struct oracle_choice choice = {.client = ORACLE_ANY, .host = ORACLE_ANY, .sources = ORACLE_FALLBACK};
	uint64_t first = 0, last = 0, over;

	bool any = oracle_span(oracle, &choice, &first, &last);
	tap_ok(any && first > outage->began_ns,
	       "the host decided by itself from %lld ms after the kill, to %lld ms after the return",
	       ((long long)first - (long long)outage->began_ns) / 1000000,
	       ((long long)last - (long long)outage->over_ns) / 1000000);
	over = judge(oracle, "without the database", choice, FALLBACK_LIMIT);
	choice = (struct oracle_choice){.host = ORACLE_ANY, .until_ns = outage->began_ns};
	over += judge(oracle, "before, whoever decided", choice, LIMIT);
	choice = (struct oracle_choice){.host = ORACLE_ANY, .from_ns = last + 1};
	over += judge(oracle, "after its return, whoever decided", choice, LIMIT);
	tap_ok(oracle_sum(oracle, &choice) > LIMIT / 2, "%lld were admitted after its return",
	       (long long)oracle_sum(oracle, &choice));
	choice = (struct oracle_choice){.host = ORACLE_ANY, .sources = ORACLE_UP};
	return over + judge(oracle, "on leases from it, all the time", choice, LIMIT);
}

/* By the access log, whose lines are of answers that nobody has read, too. */
static uint64_t judge_log(const struct nginx *nginx) {
	int all = nginx_count(nginx, "access.log", "/hour 200 "),
		alone = nginx_count(nginx, "access.log", "/hour 200 fallback");

	bool kept = tap_ok(all - alone <= HOUR_LIMIT && all - alone > HOUR_LIMIT / 2,
	                   "by the access log %d of %d were admitted in an hour", all - alone, HOUR_LIMIT);
	kept &= tap_ok(alone <= HOUR_FALLBACK, "and %d of %d without the database", alone, HOUR_FALLBACK);
	return !kept;
}

static void check_load(struct nginx *nginx, struct stage *stage, int port) {
	struct wrk_options options = {.port = port, .delay_ms = 1, .seed = setting_number("STINT_SEED", 1)};
	struct proof proof = {.invariants = "I1 I3 I4",
	                      .fault = "agent and database kill -9, nginx reload and upgrade, under load",
	                      .recovery_ms = PROOF_NO_RECOVERY};
	int rounds = (int)setting_number("STINT_ROUNDS", ROUNDS_DEFAULT);
	struct oracle oracle = {0};
	struct outage outage;
	struct wrk_sum sum;
	struct wrk wrk;

	memcpy(options.paths, paths, sizeof(paths));
	if (!tap_ok(wrk_start(&wrk, stage->scene, &options) == 0, "wrk begins"))
		return;
	kill_agents(nginx, &stage->host[0], rounds);
	kill_database(nginx, stage, &outage);
	if (!tap_ok(wrk_stop(&wrk, &oracle, &sum) == 0, "wrk tells what it was answered"))
		return;
	tap_note("%d admitted, %d rejected", sum.admitted, sum.rejected);
	tap_ok(sum.others == 0 && sum.late == 0 && sum.rejected > LIMIT,
	       "%d answers were neither an admission nor a rejection (%d), %d never came", sum.others, sum.status,
	       sum.late);
	proof.runs = (uint64_t)rounds + 1;
	proof.checked = oracle.count;
	proof.violations = judge_all(&oracle, &outage) + judge_log(nginx) + (uint64_t)sum.others;
	proof_print(&proof);
	oracle_free(&oracle);
}

/* ---- The play -------------------------------------------------------------------------------- */

static int prepare(struct nginx *nginx, const struct stage *stage, int port) {
	char http[4000];

	snprintf(nginx->dir, sizeof(nginx->dir), "%.50s/nginx", stage->scene->dir);
	snprintf(http, sizeof(http), configuration, stage->host[0].socket, nginx->dir, nginx->dir, port);
	return nginx_prepare(nginx, stage->scene, "nginx", WORKERS, http);
}

static int play(const struct scene *scene) {
	int port = port_reserve();
	struct stage stage;
	struct nginx nginx;

	if (!nginx_is_there() || !wrk_is_there()) {
		tap_skip("nginx, nginx-dev for the module, or wrk is not installed");
		return tap_finish();
	}
	if (stage_set(&stage, scene, 1, STAGE_PATIENT) != 0 || prepare(&nginx, &stage, port) != 0 ||
	    !tap_ok(nginx_start(&nginx) == 0, "nginx runs with the module"))
		return tap_finish();
	check_aimed(&nginx, &stage.host[0]);
	check_database_hangs(&nginx, &stage.cluster);
	check_load(&nginx, &stage, port);
	tap_ok(nginx_processes(&nginx) == WORKERS + 1, "%d processes of nginx", nginx_processes(&nginx));
	tap_ok(nginx_stop(&nginx), "nginx ends in order");
	tap_ok(nginx_processes(&nginx) == 0, "%d processes of it are left", nginx_processes(&nginx));
	nginx_check_log(&nginx);
	stage_strike(&stage);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 120 + 3 * (int)setting_number("STINT_ROUNDS", ROUNDS_DEFAULT));
}
