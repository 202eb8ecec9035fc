/*
 * test_nginx_config.c - what the nginx module says of a configuration that it refuses: the directive, the value as
 * it was written, and what it must be. And which socket it names that it was told by its environment.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nginx.h"
#include "tap.h"

/* 255 bytes, as many as an id may have. */
#define LONG_17 "a-key-of-17-bytes"
#define LONG    LONG_51 LONG_51 LONG_51 LONG_51 LONG_51
#define LONG_51 LONG_17 LONG_17 LONG_17

static const struct {
	const char *directives;
	const char *said; /* of the first line that tells of stint */
} refused[] = {
	/* Numbers and times. */
	{"stint_limit policy=a key=k max_requests=x time_window=1s;",
     "stint_limit: max_requests is \"x\", must be a number from 1 to 1000000000 in "},
	{"stint_limit policy=a key=k max_requests= time_window=1s;",
     "max_requests is \"\", must be a number from 1 to "},
	{"stint_limit policy=a key=k max_requests=0 time_window=1s;",
     "max_requests is \"0\", must be a number from 1 "},
	{"stint_limit policy=a key=k max_requests=1000000001 time_window=1s;",
     "max_requests is \"1000000001\", must be a number from 1 to 1000000000 in "},
	{"stint_limit policy=a key=k max_requests=99999999999999999999 time_window=1s;",
     "max_requests is \"99999999999999999999\", must be a number from 1 to 1000000000 in "},
	{"stint_limit policy=a key=k max_requests=1;",
     "stint_limit: time_window is missing, must be a time from 100ms to 31d in "},
	{"stint_limit policy=a key=k time_window=1s;",
     "stint_limit: max_requests is missing, must be a number from 1 to 1000000000 in "},
	{"stint_limit policy=a key=k max_requests=1 time_window=soon;",
     "time_window is \"soon\", must be a time from 100ms to 31d in "},
	{"stint_limit policy=a key=k max_requests=1 time_window=32d;",
     "time_window is \"32d\", must be a time from 100ms to 31d in "},
	{"stint_limit policy=a key=k max_requests=1 time_window=99ms;",
     "time_window is \"99ms\", must be a time from 100ms to 31d in "},
	{"stint_limit policy=a key=k max_requests=1 time_window=1s fallback_max_requests=2000000001;",
     "fallback_max_requests is \"2000000001\", must be a number from 1 to 2000000000 in "},
	{"stint_limit policy=a key=k max_requests=1 time_window=1s fallback_time_window=0;",
     "fallback_time_window is \"0\", must be a time from 100ms to 31d in "},
	{"stint_limit policy=a key=k local_max_requests=-1;",
     "local_max_requests is \"-1\", must be a number from 0 to 2000000000 in "},
	{"stint_limit policy=a key=k local_max_requests=2000000001;", "must be a number from 0 to 2000000000 in "},
	{"stint_limit policy=a key=k timeout=2m;", "timeout is \"2m\", must be a time from 1ms to 60s in "},
	{"stint_limit policy=a key=k max_requests=1 time_window=1s resolution=61;",
     "resolution is \"61\", must be a number from 1 to 60 in "},
	{"stint_limit policy=a key=k max_requests=1 time_window=500ms resolution=60;",
     "time_window / resolution is 9ms, must be 10ms or more in "},
	/* Words and texts. */
	{"stint_limit policy=a key=k mode=lax;", "mode is \"lax\", must be strict or relaxed in "},
	{"stint_limit policy=a key=k algorithm=;", "algorithm is \"\", must be sliding or fixed in "},
	{"stint_limit policy=a key=k on_error=no;", "on_error is \"no\", must be local, deny or allow in "},
	{"stint_limit policy=a? key=k;", "stint_limit: policy has a byte 0x3f, allowed are [A-Za-z0-9_.:/-] in "},
	{"stint_limit policy=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa key=k;",
     "stint_limit: policy is too long, must be 1 to 63 bytes in "},
	{"stint_limit policy=a burst=3;",
     "stint_limit: no such parameter \"burst=3\", must be one of policy, key, cost, max_requests, time_window, "},
	{"stint_limit policy=a dry_run;", "stint_limit: key is missing or empty in "},
	{"stint_limit key=a dry_run;", "stint_limit: policy is missing or empty in "},
	{"stint_limit policy=a key=$binary_remote_addr;", "take $stint_client in "},
	{"stint_limit policy=a key=\xff;",
     "stint_limit: key has 1 bytes, must be 1 to 255 bytes of UTF-8, without a NUL in "},
	{"stint_limit policy=a key=" LONG "x;",
     "stint_limit: key has 256 bytes, must be 1 to 255 bytes of UTF-8, without a NUL in "},
	{"stint_limit policy=a key=\"$arg_k\";",
     "stint_limit: key is \"$arg_k\" with its quotes, must be \"key=...\" for a text in quotes in "},
	{"stint_limit policy='a' key=k;", "stint_limit: policy is 'a' with its quotes, must be \"policy=...\" for "},
	{"stint_limit policy=a key=k cost=\"\";", "stint_limit: cost is \"\" with its quotes, must be \"cost=...\" "},
	{"stint_limit policy=a key=k cost=many;", "cost is \"many\", must be 0 to 1000000000 in "},
	/* What is said twice. */
	{"stint_limit policy=a key=k max_requests=1 time_window=1s max_requests=2;",
     "stint_limit: \"max_requests=2\" is duplicate in "},
	{"stint_limit policy=a key=k key=j;", "stint_limit: \"key=j\" is duplicate in "},
	{"stint_limit policy=a key=k dry_run dry_run;", "stint_limit: \"dry_run\" is duplicate in "},
	{"stint_limit policy=a key=k max_requests=1 time_window=1s; location / { stint_limit policy=a key=k "
     "max_requests=2 time_window=1s; }",
     "policy \"a\" has other options in "},
	{"stint_headers off; stint_headers on;", "\"stint_headers\" directive is duplicate in "},
	{"stint_status 429; stint_status 429;", "\"stint_status\" directive is duplicate in "},
	{"stint_client_prefix ipv4=1 ipv4=2;", "\"stint_client_prefix\" directive is duplicate in "},
	{"stint_log_level info; stint_log_level warn;", "\"stint_log_level\" directive is duplicate in "},
	/* The other directives. */
	{"stint_status 200;", "stint_status: \"200\" must have a number from 400 to 599 in "},
	{"stint_status 429 bad_key=600;", "stint_status: \"bad_key=600\" must have a number from 400 to 599 in "},
	{"stint_status 429 good_key=400;",
     "stint_status: no such parameter \"good_key=400\", must be bad_key=CODE in "},
	{"stint_client_prefix ip=24;",
     "stint_client_prefix: no such parameter \"ip=24\", must be ipv4=BITS or ipv6=BITS in "},
	{"stint_client_prefix ipv4=0;", "stint_client_prefix: \"ipv4=0\" must have a number from 1 to 32 in "},
	{"stint_client_prefix ipv6=129;", "stint_client_prefix: \"ipv6=129\" must have a number from 1 to 128 in "},
	{"stint_headers off on;", "\"stint_headers\" directive has \"off\" beside others in "},
	{"stint_headers draft_12;",
     "stint_headers: \"draft_12\" must be on, off, draft_11, x_ratelimit or retry_after in "},
	{"stint_log_level loud;", "stint_log_level: \"loud\" must be info, notice, warn or error in "},
};

static void refuse(const struct scene *scene, const char *http, const char *words) {
	struct nginx nginx;
	char said[2000] = "";

	nginx_prepare(&nginx, scene, "bad", 1, http);
	int status = nginx_test(&nginx, said, sizeof(said));
	const char *start = strstr(said, "stint");
	tap_ok(status != 0 && strstr(said, words), "%s: %.*s", http, start ? (int)strcspn(start, "\n") : 0,
	       start ? start : "");
}

static void accept(const struct scene *scene, const char *http) {
	struct nginx nginx;
	char said[2000] = "";

	nginx_prepare(&nginx, scene, "good", 1, http);
	int status = nginx_test(&nginx, said, sizeof(said));
	tap_ok(status == 0, "%s: %s", http, status == 0 ? "is accepted" : said);
}

static void refuse_in_server(const struct scene *scene, const char *directives, const char *words) {
	char http[1000];

	snprintf(http, sizeof(http), "server { listen unix:x.sock; %s }", directives);
	refuse(scene, http, words);
}

/* The smallest and the largest of all. */
static void check_ends(const struct scene *scene) {
	accept(scene, "stint_limit policy=a key=k max_requests=1 time_window=100ms fallback_max_requests=1 "
	              "fallback_time_window=100ms local_max_requests=0 timeout=1ms resolution=1;");
	accept(scene,
	       "stint_limit policy=a key=k max_requests=1000000000 time_window=31d "
	       "fallback_max_requests=2000000000 fallback_time_window=31d local_max_requests=2000000000 "
	       "timeout=60s resolution=60 algorithm=fixed mode=relaxed on_error=allow cost=1000000000 dry_run;");
	accept(scene, "stint_limit policy=a key=k max_requests=1 time_window=1s resolution=60 algorithm=fixed;");
	accept(scene, "stint_limit policy=a key=" LONG "; stint_limit policy=b key=" LONG "x$uri;");
	accept(scene, "stint_limit policy=a key=k max_requests=1 time_window=551ms resolution=60;");
	accept(scene, "stint_headers x_ratelimit retry_after; stint_log_level info; stint_status 599 bad_key=400; "
	              "stint_client_prefix ipv4=1 ipv6=128;");
}

/* Workers that are told where the agent is by their environment say so in the log. */
static void check_environment(const struct scene *scene) {
	struct nginx nginx;
	struct answer answer;
	char http[400], socket[108], said[200];

	scene_path(scene, "nobody.sock", socket);
	setenv("STINT_SOCKET", socket, 1);
	snprintf(http, sizeof(http),
	         "server { listen unix:%.60s/env/http.sock; location /free { empty_gif; } location /one {"
	         " stint_limit policy=a key=k max_requests=1 time_window=1h; empty_gif; } }",
	         scene->dir);
	snprintf(said, sizeof(said), "the agent on \"%s\" doesn't answer", socket);
	if (nginx_prepare(&nginx, scene, "env", 1, http) == 0 && nginx_start(&nginx) == 0)
		nginx_get(&nginx, "/one", "", &answer);
	tap_ok(nginx_wait_count(&nginx, "error.log", said, 1), "the socket that $STINT_SOCKET names is named");
	tap_ok(nginx_stop(&nginx), "it ends in order");
	unsetenv("STINT_SOCKET");
}

static int play(const struct scene *scene) {
	if (!nginx_is_there()) {
		tap_skip("nginx, or nginx-dev for the module, is not installed");
		return tap_finish();
	}
	for (unsigned i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		refuse_in_server(scene, refused[i].directives, refused[i].said);
	refuse(scene, "stint_socket unix:/run/stint/agent.sock;",
	       "stint_socket: \"unix:/run/stint/agent.sock\" must be a path that begins with \"/\" in ");
	refuse(scene, "stint_socket \"\";", "stint_socket: \"\" must be a path that begins with \"/\" in ");
	refuse(scene, "stint_socket /a; stint_socket /b;", "\"stint_socket\" directive is duplicate in ");
	check_ends(scene);
	check_environment(scene);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 120);
}
