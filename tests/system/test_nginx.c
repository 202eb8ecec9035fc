/*
 * test_nginx.c - a real nginx with four workers and the module: what is counted and what is told; requests that
 * wait for the agent hold up nobody. A part of it once more under valgrind. Configurations are
 * test_nginx_config.c's; what breaks around it, and load, are test_nginx_faults.c's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nginx.h"
#include "process.h"
#include "stage.h"
#include "tap.h"

#define WAITING    20
#define TIMEOUT_MS 30000

static const char *const configuration =
	"log_format told '$uri $status $stint_status $stint_policy $stint_remaining $stint_retry_after $stint_source "
	"$stint_client';\n"
	"access_log access.log told;\n"
	"set_real_ip_from unix:; real_ip_header X-Real-IP;\n"
	"stint_socket %s;\n"
	"stint_log_level notice;\n"
	"server {\n"
	"	listen unix:%s/http.sock;\n"
	"	listen unix:%s/http2.sock http2;\n"
	"	location /free { empty_gif; }\n"
	"	location /count { stub_status; }\n"
	"	location /one { stint_limit policy=one key=$arg_k max_requests=3 time_window=1h;\n"
	"		stint_headers on x_ratelimit; empty_gif; }\n"
	"	location /quiet { stint_limit policy=one key=$arg_k; stint_headers off; stint_status 503 bad_key=418;\n"
	"		empty_gif; }\n"
	"	location /cost { stint_limit policy=cost key=$arg_k cost=$arg_c max_requests=1000 time_window=1h; empty_gif; }\n"
	"	location /two { stint_limit policy=user key=$arg_k max_requests=100 time_window=1h;\n"
	"		stint_limit policy=all key=all max_requests=5 time_window=1h; empty_gif; }\n"
	"	location /user { stint_limit policy=user key=$arg_k; empty_gif; }\n"
	"	location /twice { stint_limit policy=twice key=$arg_k max_requests=40 time_window=1h;\n"
	"		stint_limit policy=twice key=$arg_j; empty_gif; }\n"
	"	location /redirect { stint_limit policy=redirect key=$arg_k max_requests=3 time_window=1h;\n"
	"		try_files /none @target; }\n"
	"	location @target { stint_limit policy=redirect key=$arg_k; empty_gif; }\n"
	"	location /late { try_files /none @target; }\n"
	"	location /sub { stint_limit policy=sub key=$arg_k max_requests=3 time_window=1h; auth_request /auth; empty_gif; }\n"
	"	location /outer { auth_request /inner; empty_gif; }\n"
	"	location /inner { stint_limit policy=inner key=all max_requests=3 time_window=1h; empty_gif; }\n"
	"	location /auth { stint_limit policy=sub key=$arg_k; empty_gif; }\n"
	"	location /page { stint_limit policy=page key=$arg_k max_requests=1 time_window=1h; error_page 429 /busy;\n"
	"		empty_gif; }\n"
	"	location /busy { internal; stint_limit policy=page key=$arg_k; empty_gif; }\n"
	"	location /dry { stint_limit policy=dry key=$arg_k max_requests=1 time_window=1h dry_run; empty_gif; }\n"
	"	location /drybad { stint_limit policy=user key=$arg_k;\n"
	"		stint_limit policy=dry key=$arg_j cost=$arg_c dry_run; empty_gif; }\n"
	"	location /dryfirst { stint_limit policy=first key=$arg_k max_requests=1 time_window=1h dry_run;\n"
	"		stint_limit policy=second key=$arg_k max_requests=2 time_window=1h;\n"
	"		stint_limit policy=third key=$arg_k max_requests=9 time_window=1h; empty_gif; }\n"
	"	location /pair { stint_limit policy=pair key=$arg_k-${arg_j} cost=$arg_c$arg_d max_requests=30 time_window=1h;\n"
	"		empty_gif; }\n"
	"	location /braces { stint_limit policy=braces key=${arg_k} max_requests=2 time_window=1h; empty_gif; }\n"
	"	location ~ ^/captured/(.*)$ { stint_limit policy=captured key=$1 max_requests=2 time_window=1h; empty_gif; }\n"
	"	location /ip { stint_limit policy=ip key=$stint_client max_requests=2 time_window=1h; empty_gif; }\n"
	"	location /behind { real_ip_header X-Behind; stint_limit policy=behind key=$stint_client max_requests=2 \n"
	"		time_window=1h; empty_gif; }\n"
	"	location /ip56 { stint_limit policy=ip56 key=$stint_client max_requests=2 time_window=1h;\n"
	"		stint_client_prefix ipv4=24 ipv6=56; empty_gif; }\n"
	"	location /unknown { stint_limit policy=unknown key=$arg_k on_error=deny; empty_gif; }\n"
	"	location /known { stint_limit policy=known key=$arg_k on_error=allow; empty_gif; }\n"
	"	location /shadow { stint_limit policy=shadow key=$arg_k; empty_gif; }\n"
	"	location /excused { stint_limit policy=user key=$arg_k; stint_limit policy=shadow key=$arg_k; empty_gif; }\n"
	"	location /apart { stint_limit policy=apart key=$arg_k local_max_requests=50 fallback_time_window=1h;\n"
	"		stint_limit policy=apart-all key=all local_max_requests=2 fallback_time_window=1h; empty_gif; }\n"
	"	location /apart-one { stint_limit policy=apart key=$arg_k; empty_gif; }\n"
	"	location /slow { stint_limit policy=slow key=$arg_k max_requests=1000 time_window=1m timeout=20s; empty_gif; }\n"
	"}\n";

/* ---- What is counted, and told ---------------------------------------------------------- */

static void expect(const struct nginx *nginx, const char *path, const char *headers, int status, int times) {
	struct answer answer;
	int right = 0;

	for (int i = 0; i < times; i++)
		right += nginx_get(nginx, path, headers, &answer) == status;
	tap_ok(right == times, "%s %.*s: %d of %d answers are %d", path, (int)strcspn(headers, "\r"), headers, right,
	       times, status);
}

static void expect_field(struct answer *answer, const char *name, const char *value) {
	const char *found = nginx_fields(answer, name);

	tap_ok(strcmp(found, value) == 0, "%s: %s", name, found);
}

/* How the field RateLimit of the answer begins. */
static void expect_left(const struct nginx *nginx, const char *path, const char *start) {
	struct answer answer;

	nginx_get(nginx, path, "", &answer);
	const char *found = nginx_fields(&answer, "RateLimit");
	tap_ok(strncmp(found, start, strlen(start)) == 0, "%s: RateLimit: %s", path, found);
}

static void check_headers(const struct nginx *nginx) {
	struct answer answer;

	nginx_get(nginx, "/one?k=a", "", &answer);
	tap_ok(answer.status == 200, "the first of three is admitted: %d", answer.status);
	expect_field(&answer, "RateLimit-Policy", "\"one\";q=3;w=3600");
	tap_ok(strncmp(nginx_fields(&answer, "RateLimit"), "\"one\";r=2;t=", 12) == 0, "RateLimit: %s", answer.fields);
	expect_field(&answer, "X-RateLimit-Limit", "3");
	expect_field(&answer, "X-RateLimit-Remaining", "2");
	expect_field(&answer, "Retry-After", "");
	expect(nginx, "/one?k=a", "", 200, 2);
	nginx_get(nginx, "/one?k=a", "", &answer);
	tap_ok(answer.status == 429, "the fourth is rejected: %d", answer.status);
	long again = strtol(nginx_fields(&answer, "Retry-After"), NULL, 10);
	tap_ok(again >= 1 && again <= 2 * 3600 + 180, "Retry-After: %ld", again);
	nginx_get(nginx, "/quiet?k=a", "", &answer);
	tap_ok(answer.status == 503, "a status of one's own: %d", answer.status);
	expect_field(&answer, "Retry-After", "");
	expect_field(&answer, "RateLimit", "");
	nginx_get(nginx, "/free", "", &answer);
	expect_field(&answer, "RateLimit", "");
	nginx_get(nginx, "/two?k=headers", "", &answer);
	expect_field(&answer, "RateLimit-Policy", "\"all\";q=5;w=3600");
}

static void check_keys(const struct nginx *nginx) {
	char path[400];

	expect(nginx, "/one?k=", "", 200, 10);
	expect(nginx, "/one", "", 200, 10);
	snprintf(path, sizeof(path), "/one?k=%0255d", 1);
	expect(nginx, path, "", 200, 3);
	expect(nginx, path, "", 429, 1);
	snprintf(path, sizeof(path), "/one?k=%0256d", 1);
	expect(nginx, path, "", 400, 1);
	snprintf(path, sizeof(path), "/quiet?k=%0256d", 1);
	expect(nginx, path, "", 418, 1);
	expect(nginx, "/one?k=\xff", "", 400, 1);
	expect(nginx, "/one?k=\xc3\xa9", "", 200, 3);
	tap_ok(nginx_count(nginx, "error.log", "the key for policy \"one\" has 256 bytes, must be 1 to 255 bytes") ==
	           2,
	       "a key that is too long is logged");
	expect_left(nginx, "/cost?k=a&c=400", "\"cost\";r=600;");
	expect(nginx, "/cost?k=a&c=601", "", 429, 1);
	expect_left(nginx, "/cost?k=a", "\"cost\";r=599;");
	expect(nginx, "/cost?k=a&c=0", "", 200, 3);
	expect_left(nginx, "/cost?k=a&c=", "\"cost\";r=598;");
	expect(nginx, "/cost?k=a&c=x", "", 400, 1);
	expect(nginx, "/cost?k=a&c=-1", "", 400, 1);
	expect(nginx, "/cost?k=a&c=1000000001", "", 400, 1);
	expect(nginx, "/cost?k=b&c=1001", "", 429, 1);
}

/* Texts that are more than one variable, or another kind of one. */
static void check_texts(const struct nginx *nginx) {
	expect_left(nginx, "/pair?k=a&j=b&c=1&d=2", "\"pair\";r=18;");
	expect_left(nginx, "/pair?k=a&j=b&d=3", "\"pair\";r=15;");
	expect_left(nginx, "/pair?k=a-b", "\"pair\";r=29;");
	expect(nginx, "/braces?k=a", "", 200, 2);
	expect(nginx, "/braces?k=a", "", 429, 1);
	expect(nginx, "/braces?k=b", "", 200, 1);
	expect(nginx, "/captured/a", "", 200, 2);
	expect(nginx, "/captured/a", "", 429, 1);
	expect(nginx, "/captured/b", "", 200, 1);
	expect(nginx, "/captured/", "", 200, 5);
}

static void check_addresses(const struct nginx *nginx) {
	expect(nginx, "/ip", "X-Real-IP: 192.0.2.1\r\n", 200, 2);
	expect(nginx, "/ip", "X-Real-IP: ::ffff:192.0.2.1\r\n", 429, 1);
	expect(nginx, "/ip", "X-Real-IP: 192.0.2.2\r\n", 200, 2);
	expect(nginx, "/ip", "X-Real-IP: 2001:db8::1\r\n", 200, 2);
	expect(nginx, "/ip", "X-Real-IP: 2001:db8::ffff:1\r\n", 429, 1);
	expect(nginx, "/ip", "X-Real-IP: 2001:db8:0:1::1\r\n", 200, 2);
	expect(nginx, "/ip56", "X-Real-IP: 2001:db8:0:1::1\r\n", 200, 2);
	expect(nginx, "/ip56", "X-Real-IP: 2001:db8:0:ff::1\r\n", 429, 1);
	expect(nginx, "/ip56", "X-Real-IP: 192.0.2.1\r\n", 200, 2);
	expect(nginx, "/ip56", "X-Real-IP: 192.0.2.255\r\n", 429, 1);
	expect(nginx, "/behind", "X-Behind: 192.0.2.7\r\n", 200, 2);
	expect(nginx, "/behind", "X-Behind: 192.0.2.7\r\n", 429, 1); /* a location's own proxies */
	expect(nginx, "/ip", "", 200, 4);                            /* a Unix socket has no address */
	tap_ok(nginx_wait_count(nginx, "access.log", "/ip 429 REJECTED ip 0 ", 2) &&
	           nginx_wait_count(nginx, "access.log", "2001:db8::/64", 3),
	       "the log has the ids");
}

static void check_counted_once(const struct nginx *nginx) {
	expect(nginx, "/redirect?k=a", "", 200, 3);
	expect(nginx, "/redirect?k=a", "", 429, 1);
	expect(nginx, "/late?k=b", "", 200, 3);
	expect(nginx, "/late?k=b", "", 429, 1);
	expect(nginx, "/sub?k=a", "", 200, 3);
	expect(nginx, "/sub?k=a", "", 429, 1);
	expect(nginx, "/outer", "", 200, 5); /* its subrequest has a limit of 3 */
	expect(nginx, "/page?k=a", "", 200, 1);
	expect(nginx, "/page?k=a", "", 429, 2);
	tap_ok(nginx_wait_count(nginx, "access.log", "/busy 429 REJECTED page 0 ", 2),
	       "the page of a rejection knows of it");
	expect(nginx, "/two?k=b", "", 200, 4); /* the fifth was that of the headers */
	expect(nginx, "/two?k=c", "", 429, 1);
	tap_ok(nginx_wait_count(nginx, "access.log", "/two 429 REJECTED all 0 ", 1),
	       "the log tells which limit denied");
}

/* A denial takes nothing of the other limits. */
static void check_all_or_nothing(const struct nginx *nginx) {
	expect(nginx, "/two?k=d", "", 429, 10);
	expect_left(nginx, "/user?k=d", "\"user\";r=99;");
	expect_left(nginx, "/twice?k=a&j=a", "\"twice\";r=38;");
	expect_left(nginx, "/twice?k=b&j=", "\"twice\";r=39;");
	expect(nginx, "/twice?k=c&j=\xff", "", 400, 1);
	tap_ok(nginx_wait_count(nginx, "error.log", "the key for policy \"twice\" has 1 bytes", 1),
	       "of two keys the bad one is told");
}

static void check_dry_run(const struct nginx *nginx) {
	struct answer answer;

	expect(nginx, "/dry?k=a", "", 200, 3);
	nginx_get(nginx, "/dry?k=a", "", &answer);
	expect_field(&answer, "RateLimit", "");
	expect_field(&answer, "Retry-After", "");
	tap_ok(nginx_wait_count(nginx, "access.log", "/dry 200 REJECTED_DRY_RUN dry 0 ", 3),
	       "a dry run is told in the log");
	tap_ok(nginx_wait_count(nginx, "access.log", "/dry 200 PASSED dry 0 - ", 1),
	       "and what it would have let pass");
	tap_ok(nginx_count(nginx, "access.log", "/dry 200 REJECTED_DRY_RUN dry 0 - ") == 0, "and when to come again");
}

/* Wherever it stands, it comes after the limits that are in force. */
static void check_dry_run_first(const struct nginx *nginx) {
	expect(nginx, "/dryfirst?k=a", "", 200, 2);
	expect(nginx, "/dryfirst?k=a", "", 429, 1);
	tap_ok(nginx_wait_count(nginx, "access.log", "/dryfirst 200 REJECTED_DRY_RUN first 0 ", 1) &&
	           nginx_wait_count(nginx, "access.log", "/dryfirst 429 REJECTED second 0 ", 1),
	       "a dry run that is written first is told, and the limit that denies");
}

/* Nor does it reject for what is wrong with its own key or cost. */
static void check_bad_dry_run(const struct nginx *nginx) {
	expect(nginx, "/drybad?k=bad&j=\xff", "", 200, 1);
	expect(nginx, "/drybad?k=bad&j=a&c=x", "", 200, 1);
	tap_ok(nginx_wait_count(nginx, "access.log", "/drybad 200 REJECTED_DRY_RUN dry - - - ", 2),
	       "the log tells that they would be rejected");
	tap_ok(nginx_count(nginx, "error.log", "dry run, the key for policy \"dry\" has 1 bytes") == 1 &&
	           nginx_count(nginx, "error.log", "dry run, the cost for policy \"dry\" is no number") == 1,
	       "and why");
	expect(nginx, "/drybad?k=\xff&j=a", "", 400, 1);
	tap_ok(nginx_wait_count(nginx, "access.log", "/drybad 400 BAD_KEY user - - - ", 1),
	       "of a bad key the policy is told");
	expect_left(nginx, "/user?k=bad", "\"user\";r=97;");
}

/* Errors of the library are no verdicts: on_error decides. */
static void check_policies(const struct nginx *nginx, struct cluster *cluster) {
	expect(nginx, "/unknown?k=a", "", 429, 1);
	expect(nginx, "/known?k=a", "", 200, 3);
	int told = nginx_count(nginx, "error.log", "policy \"known\" is decided without the agent: no such policy");
	tap_ok(told >= 1 && told <= 3, "an error is logged, by each worker once: %d", told);
	cluster_do(cluster, "select stint.set_policy('known', 2, 3600000)");
	uint64_t deadline = monotonic_ns() + 20 * NS_PER_S;
	struct answer answer;
	while (nginx_get(nginx, "/known?k=b", "", &answer) == 200 && monotonic_ns() < deadline)
		sleep_ms(20);
	tap_ok(answer.status == 429, "a policy that an operator has set is in force: %d", answer.status);
}

/* An operator's shadow is a dry run. */
static void check_shadow(const struct nginx *nginx, struct cluster *cluster) {
	struct answer answer;

	cluster_do(cluster, "select stint.set_policy('shadow', 1, 3600000)");
	cluster_do(cluster, "select stint.set_shadow('shadow', true)");
	expect(nginx, "/shadow?k=a", "", 200, 3);
	nginx_get(nginx, "/shadow?k=a", "", &answer);
	expect_field(&answer, "Retry-After", "");
	tap_ok(nginx_wait_count(nginx, "access.log", "/shadow 200 REJECTED_DRY_RUN shadow 0 ", 3),
	       "what a shadow would deny is told in the log");
	tap_ok(nginx_count(nginx, "access.log", "/shadow 200 REJECTED_DRY_RUN shadow 0 - ") == 0,
	       "with when to come again, as of a dry run");
	expect(nginx, "/excused?k=a", "", 200, 1);
	tap_ok(nginx_wait_count(nginx, "access.log", "/excused 200 REJECTED_DRY_RUN shadow 0 ", 1),
	       "beside a limit that admits, too");
}

/* Where the agent can't decide, for want of a policy, this process does: a denial takes nothing of the others
 * then, either. Of one worker, which has one count. */
static void check_all_or_nothing_alone(const struct nginx *nginx) {
	expect(nginx, "/apart?k=a", "", 200, 2);
	expect(nginx, "/apart?k=a", "", 429, 10);
	expect_left(nginx, "/apart-one?k=a", "\"apart\";r=47;");
}

/* So many decisions of workers' own the metrics tell of; -1: of none. */
static int count_local(const struct host *host, const char *policy, const char *outcome) {
	static char text[1 << 18];
	const char *const argv[] = {process_built("stint"), "--socket", host->socket, "metrics", NULL};
	char start[200];

	snprintf(start, sizeof(start), "stint_decisions_total{policy=\"%s\",outcome=\"%s\",source=\"local\"} ", policy,
	         outcome);
	process_run(argv, TIMEOUT_MS, text, sizeof(text), NULL);
	const char *found = strstr(text, start);
	return found ? atoi(found + strlen(start)) : -1;
}

/* What was looked at and not taken was no decision. What was one is counted when there are such policies. */
static void check_counted_alone(const struct nginx *nginx, struct stage *stage) {
	uint64_t deadline = monotonic_ns() + 20 * NS_PER_S;
	struct answer answer;
	int denied = 10;

	cluster_do(&stage->cluster,
	           "select stint.set_policy(name, 50, 3600000) from unnest(array['apart', 'apart-all']) name");
	while (nginx_get(nginx, "/apart?k=a", "", &answer) == 429 && monotonic_ns() < deadline) {
		denied++;
		sleep_ms(20);
	}
	tap_ok(answer.status == 200, "policies that an operator has set are in force: %d", answer.status);
	int of_one = count_local(&stage->host[0], "apart", "allowed");
	tap_ok(of_one == 2 + 1, "3 admissions by the worker itself are counted: %d", of_one);
	int of_all = count_local(&stage->host[0], "apart-all", "denied");
	tap_ok(of_all == denied, "and %d denials, each of one limit: %d", denied, of_all);
}

/* ---- Waiting ------------------------------------------------------------------------------ */

/* While the agent hangs, requests of clients that the table doesn't know wait; others don't. Half of those that
 * wait go away meanwhile. */
static void check_waiting(const struct nginx *nginx, struct host *host, const char *name) {
	struct answer answer;
	int fds[WAITING], served = 0;
	char path[64];

	nginx_get(nginx, "/slow?k=declared", "", &answer);
	host_pause(host);
	snprintf(path, sizeof(path), "/slow?k=%s", name);
	nginx_ask_many(nginx, path, fds, WAITING);
	for (int i = 0; i < 3 * WAITING; i++)
		served += nginx_get(nginx, "/free", "", &answer) == 200;
	tap_ok(served == 3 * WAITING && nginx_count_answered(fds, WAITING) == 0,
	       "%d requests were served while %d waited for an agent that hangs", served, WAITING);
	for (int i = 0; i < WAITING; i += 2)
		close(fds[i]);
	tap_ok(nginx_wait_count(nginx, "access.log", "/slow 499 ", WAITING / 2), "half of them went away");
	host_resume(host);
	served = 0;
	for (int i = 1; i < WAITING; i += 2) {
		nginx_read(fds[i], &answer, TIMEOUT_MS);
		served += answer.status == 200;
		close(fds[i]);
	}
	tap_ok(served == WAITING / 2, "%d of the others were served when it came back", served);
}

/* ---- HTTP/2 ---------------------------------------------------------------------------------- */

/* One request, for so many seconds at most. Gives its status; 0: none. */
static int get_http2(const struct nginx *nginx, const char *path, const char *seconds) {
	char socket[128], url[64], status[16] = "";
	const char *argv[] = {"curl",       "-s",        "--http2-prior-knowledge",
	                      "--max-time", seconds,     "--unix-socket",
	                      socket,       "-w",        "%{http_code}",
	                      "-o",         "/dev/null", url,
	                      NULL};

	snprintf(socket, sizeof(socket), "%s/http2.sock", nginx->dir);
	snprintf(url, sizeof(url), "http://test%s", path);
	process_run(argv, TIMEOUT_MS, status, sizeof(status), NULL);
	return (int)strtol(status, NULL, 10);
}

static void check_http2(const struct nginx *nginx, struct host *host, const char *name) {
	char page[64], slow[64];
	int admitted = 0, gone = nginx_count(nginx, "access.log", "/slow 499 ");

	snprintf(page, sizeof(page), "/page?k=%s-h2", name);
	snprintf(slow, sizeof(slow), "/slow?k=%s-h2", name);
	for (int i = 0; i < 3; i++)
		admitted += get_http2(nginx, page, "20") == 200;
	tap_ok(admitted == 1, "of three requests by HTTP/2 %d was admitted", admitted);
	host_pause(host);
	int status = get_http2(nginx, slow, "1");
	tap_ok(status == 0 && nginx_wait_count(nginx, "access.log", "/slow 499 ", gone + 1),
	       "one that waited went away");
	host_resume(host);
	status = get_http2(nginx, slow, "20");
	tap_ok(status == 200, "it comes again, and is served: %d", status);
}

/* ---- The play -------------------------------------------------------------------------------- */

static int prepare(struct nginx *nginx, const struct stage *stage, const char *name, int workers) {
	char http[8000];

	snprintf(nginx->dir, sizeof(nginx->dir), "%.50s/%.20s", stage->scene->dir, name);
	snprintf(http, sizeof(http), configuration, stage->host[0].socket, nginx->dir, nginx->dir);
	return nginx_prepare(nginx, stage->scene, name, workers, http);
}

/* Its worker ends while requests wait in it. */
static void check_reload(const struct nginx *nginx, struct host *host) {
	int fds[WAITING];

	host_pause(host);
	nginx_ask_many(nginx, "/slow?k=reload", fds, WAITING);
	bool waited = nginx_wait_under_way(nginx, WAITING);
	nginx_reload(nginx);
	waited &= nginx_wait_count(nginx, "error.log", "gracefully shutting down", 1);
	host_resume(host);
	int served = nginx_read_many(fds, WAITING, 200);
	tap_ok(waited && served == WAITING, "%d of %d that waited at a reload were served", served, WAITING);
}

/* What touches memory that isn't its own is seen. */
static void check_in_valgrind(struct stage *stage, struct host *host) {
	struct nginx nginx;

	if (prepare(&nginx, stage, "valgrind", 1) != 0 ||
	    !tap_ok(nginx_start_in_valgrind(&nginx) == 0, "nginx runs under valgrind"))
		return;
	check_waiting(&nginx, host, "second");
	check_http2(&nginx, host, "second");
	expect(&nginx, "/redirect?k=v", "", 200, 3);
	expect(&nginx, "/two?k=v", "", 429, 2);
	expect(&nginx, "/page?k=v", "", 200, 1);
	expect(&nginx, "/page?k=v", "", 429, 1);
	check_all_or_nothing_alone(&nginx);
	check_counted_alone(&nginx, stage);
	check_reload(&nginx, host);
	expect(&nginx, "/dry?k=v", "", 200, 3);
	tap_ok(nginx_stop(&nginx), "it ends in order");
	int reports, faulty = nginx_count_faulty(&nginx, &reports);
	tap_ok(reports >= 2 && faulty == 0, "valgrind has %d reports, %d of them with errors", reports, faulty);
}

static int play(const struct scene *scene) {
	struct stage stage;
	struct nginx nginx;

	if (!nginx_is_there()) {
		tap_skip("nginx, or nginx-dev for the module, is not installed");
		return tap_finish();
	}
	if (stage_set(&stage, scene, 1, STAGE_PATIENT) != 0 || prepare(&nginx, &stage, "nginx", 4) != 0 ||
	    !tap_ok(nginx_start(&nginx) == 0, "nginx runs with the module"))
		return tap_finish();
	check_headers(&nginx);
	check_keys(&nginx);
	check_texts(&nginx);
	check_addresses(&nginx);
	check_counted_once(&nginx);
	check_all_or_nothing(&nginx);
	check_dry_run(&nginx);
	check_dry_run_first(&nginx);
	check_bad_dry_run(&nginx);
	check_policies(&nginx, &stage.cluster);
	check_shadow(&nginx, &stage.cluster);
	check_waiting(&nginx, &stage.host[0], "first");
	check_http2(&nginx, &stage.host[0], "first");
	tap_ok(nginx_processes(&nginx) >= 5, "%d processes of nginx", nginx_processes(&nginx));
	tap_ok(nginx_stop(&nginx), "nginx ends in order");
	tap_ok(nginx_processes(&nginx) == 0, "%d processes of it are left", nginx_processes(&nginx));
	nginx_check_log(&nginx);
	check_in_valgrind(&stage, &stage.host[0]);
	stage_strike(&stage);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 120);
}
