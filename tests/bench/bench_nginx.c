/*
 * bench_nginx.c - requests to nginx without a module that limits, with nginx's own limit_req, and with lib/nginx,
 * all admitted: as short as a request can be, and one that is passed on to an app (another nginx). One worker on
 * one processor; wrk, with 32 connections and 1,000 clients in turn, on another. Each contender has an nginx of
 * its own, and they take turns.
 *
 * What is judged is the worker's own time: where wrk is the slower one, requests per second say nothing. Beside it
 * stands what no other load on the machine changes: the worker's instructions for the shortest request, of clients
 * whom the table knows, by callgrind. They are those of the program alone, and the kernel takes most of the time.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "figure.h"
#include "host.h"
#include "nginx.h"
#include "port.h"
#include "process.h"
#include "quick.h"
#include "sample.h"
#include "scene.h"
#include "wrk.h"

#define ROW      18
#define ROUNDS   9
#define START_MS 20000
#define CLIENTS  "1000"
#define AT_LEAST 0.97 /* of the requests without a module */

/* Under callgrind. */
#define FEW     20 /* clients */
#define WARM    1000
#define COUNTED 2000

enum request { SHORT, PROXIED, REQUESTS };

static const char *const request_paths[REQUESTS] = {"/short", "/proxied"};
static const char *const request_names[REQUESTS] = {"the shortest request", "a request passed on to an app"};

struct contender {
	const char *name, *directives;
	bool has_module;
	struct nginx nginx;
	int port;
	pid_t worker;
	struct samples rate[REQUESTS], cpu_ns[REQUESTS]; /* a second; of a request */
	double instructions;                             /* of the shortest request */
};

enum { PLAIN, LIMIT_REQ, STINT, STINT_HEADERS, CONTENDERS };

#define STINT_LIMIT "stint_limit policy=bench key=$arg_k max_requests=1000000000 time_window=1m;"

static struct contender contenders[CONTENDERS] = {
	[PLAIN] = {.name = "no module", .directives = ""},
	[LIMIT_REQ] = {.name = "limit_req", .directives = "limit_req zone=bench burst=100000 nodelay;"},
	[STINT] = {.name = "lib/nginx, stint_headers off",
               .directives = STINT_LIMIT " stint_headers off;",
               .has_module = true},
	[STINT_HEADERS] = {.name = "lib/nginx", .directives = STINT_LIMIT, .has_module = true},
};

/* ---- nginx ---------------------------------------------------------------------- */

/* On a processor of its own, if there are two. */
static void pin(pid_t pid) {
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(pid, sizeof(set), &set);
}

/* The app. */
static int start_app(struct nginx *app, const struct scene *scene) {
	char http[400];

	snprintf(http, sizeof(http),
	         "access_log off; server { listen unix:%s/app/http.sock; location / { empty_gif; } }", scene->dir);
	return nginx_prepare_plain(app, scene, "app", 1, http) || nginx_start(app);
}

static int start(struct contender *c, const struct scene *scene, const struct host *host, int number) {
	char http[2000], name[16], socket[200] = "";

	c->port = port_reserve();
	snprintf(name, sizeof(name), "nginx-%d", number);
	if (c->has_module)
		snprintf(socket, sizeof(socket), "stint_socket %s;", host->socket);
	snprintf(
		http, sizeof(http),
		"access_log off;\n%s\nlimit_req_zone $arg_k zone=bench:10m rate=1000000r/s;\n"
		"upstream app { server unix:%s/app/http.sock; keepalive 64; keepalive_requests 100000000; }\n"
		"server { listen 127.0.0.1:%d; listen unix:%s/%s/http.sock;\n"
		"	location /free { empty_gif; }\n"
		"	location /short { %s empty_gif; }\n"
		"	location /proxied { %s proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ''; } }\n",
		socket, scene->dir, c->port, scene->dir, name, c->directives, c->directives);
	if ((c->has_module ? nginx_prepare : nginx_prepare_plain)(&c->nginx, scene, name, 1, http) != 0 ||
	    nginx_start(&c->nginx) != 0)
		return -1;
	c->worker = nginx_find_worker(&c->nginx);
	pin(c->worker);
	return c->worker > 0 ? 0 : -1;
}

/* What its worker has run until now. */
static double read_cpu_ns(const struct contender *c) {
	char path[64];
	double ns = 0;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)c->worker);
	FILE *file = fopen(path, "re");
	if (!file || fscanf(file, "%lf", &ns) != 1)
		ns = 0;
	if (file)
		fclose(file);
	return ns;
}

/* ---- Measuring ------------------------------------------------------------------------ */

/* For a second, the shortest that it can. */
static int run_wrk(const struct contender *c, enum request request, char *out, size_t size) {
	char url[64];
	const char *argv[] = {"taskset", "-c",  "1",
	                      "wrk",     "-t1", "-c32",
	                      "-d1s",    "-s",  "tests/bench/nginx.lua",
	                      url,       "--",  request_paths[request],
	                      CLIENTS,   NULL};
	bool has_two = sysconf(_SC_NPROCESSORS_ONLN) > 1;

	snprintf(url, sizeof(url), "http://127.0.0.1:%d", c->port);
	return process_run(has_two ? argv : argv + 3, START_MS, out, size, NULL);
}

/* The last line is what nginx.lua says. */
static int read_sum(char *out, long *requests, double *seconds) {
	long us = 0, rejected = -1, broken = -1;

	out[out[0] ? strlen(out) - 1 : 0] = '\0';
	const char *last = strrchr(out, '\n');
	if (!last || sscanf(last, "%ld %ld %ld %ld", requests, &us, &rejected, &broken) != 4 || us <= 0 ||
	    rejected != 0 || broken != 0) {
		fprintf(stderr, "bench_nginx: %ld rejected, %ld broken\n", rejected, broken);
		return -1;
	}
	*seconds = (double)us / 1e6;
	return 0;
}

static int measure(struct contender *c, enum request request, bool counts) {
	long requests;
	double seconds, cpu_ns = read_cpu_ns(c);
	char out[4096];

	if (run_wrk(c, request, out, sizeof(out)) != 0)
		return -1;
	cpu_ns = read_cpu_ns(c) - cpu_ns;
	if (read_sum(out, &requests, &seconds) != 0)
		return -1;
	if (counts) {
		samples_add(&c->rate[request], (double)requests / seconds);
		samples_add(&c->cpu_ns[request], cpu_ns / (double)requests);
	}
	return 0;
}

static int measure_all(bool counts) {
	for (enum request request = 0; request < REQUESTS; request++)
		for (int i = 0; i < CONTENDERS; i++)
			if (measure(&contenders[i], request, counts) != 0)
				return -1;
	return 0;
}

/* ---- Counting ------------------------------------------------------------------------- */

/* One after the other, over one connection. */
static int ask_for(const struct contender *c, int requests) {
	int fd = nginx_connect(&c->nginx), answered = 0;
	struct answer answer = {.status = fd < 0 ? 0 : 200};
	char path[64];

	for (; answered < requests && answer.status == 200; answered++) {
		snprintf(path, sizeof(path), "%s?k=client-%d", request_paths[SHORT], answered % FEW);
		if (!nginx_ask(fd, path, ""))
			break;
		nginx_read(fd, &answer, START_MS);
	}
	if (fd >= 0)
		close(fd);
	return answered == requests && answer.status == 200 ? 0 : -1;
}

/* What its worker runs from its beginning to its end. */
static int count_all(struct contender *c, int requests, double *instructions) {
	if (nginx_start_in_callgrind(&c->nginx) != 0)
		return -1;
	pid_t worker = nginx_find_worker(&c->nginx);
	int status = ask_for(c, requests);
	nginx_stop(&c->nginx);
	*instructions = nginx_read_instructions(&c->nginx, worker);
	return status != 0 || *instructions <= 0 ? -1 : 0;
}

/* Beginning, end and warming up are in both. */
static int count(struct contender *c) {
	double less, more;

	if (count_all(c, WARM, &less) != 0 || count_all(c, WARM + COUNTED, &more) != 0) {
		fprintf(stderr, "bench_nginx: the instructions of %s could not be counted\n", c->name);
		return -1;
	}
	c->instructions = (more - less) / COUNTED;
	return 0;
}

/* ---- Telling ------------------------------------------------------------------------------ */

static void put(const struct contender *c, enum request request) {
	const struct contender *plain = &contenders[PLAIN];
	bool is_judged = c != &contenders[LIMIT_REQ];
	char what[128];

	snprintf(what, sizeof(what), "nginx, %s, %s: requests in a second of its worker's time", c->name,
	         request_names[request]);
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "requests/s",
	                            .value = 1e9 / samples_median(&c->cpu_ns[request]),
	                            .against = plain->name,
	                            .base = 1e9 / samples_median(&plain->cpu_ns[request]),
	                            .target = is_judged ? FIGURE_AT_LEAST : FIGURE_STATED,
	                            .bound = is_judged ? AT_LEAST : 0});
	snprintf(what, sizeof(what), "nginx, %s, %s: as wrk sees it", c->name, request_names[request]);
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "requests/s",
	                            .value = samples_median(&c->rate[request]),
	                            .against = plain->name,
	                            .base = samples_median(&plain->rate[request]),
	                            .note = "wrk has a processor of its own, and may be the slower one"});
}

static void put_instructions(const struct contender *c) {
	char what[128];

	snprintf(what, sizeof(what), "nginx, %s, %s: instructions of its worker", c->name, request_names[SHORT]);
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "",
	                            .value = c->instructions,
	                            .against = contenders[PLAIN].name,
	                            .base = contenders[PLAIN].instructions,
	                            .note = "the program's own, without the kernel's"});
}

static int play(const struct scene *scene) {
	struct host host;
	struct nginx app;
	struct host_options options = {.database = "memory:"};
	int rounds = quick_ms(1000) < 1000 ? 1 : ROUNDS;

	if (!nginx_is_there() || !wrk_is_there()) {
		fprintf(stderr, "bench_nginx: nginx, nginx-dev for the module, or wrk is not installed\n");
		return 0;
	}
	if (host_prepare(&host, scene, 0, &options) != 0 || host_start(&host) != 0)
		return 1;
	int status = start_app(&app, scene);
	for (int i = 0; i < CONTENDERS && status == 0; i++)
		status = start(&contenders[i], scene, &host, i);
	if (status == 0)
		status = measure_all(false);
	for (int round = 0; round < rounds && status == 0; round++)
		status = measure_all(true);
	for (int i = LIMIT_REQ; i < CONTENDERS && status == 0; i++)
		for (enum request request = 0; request < REQUESTS; request++)
			put(&contenders[i], request);
	for (int i = 0; i < CONTENDERS; i++)
		nginx_stop(&contenders[i].nginx);
	for (int i = 0; i < CONTENDERS && status == 0; i++)
		status = count(&contenders[i]);
	for (int i = LIMIT_REQ; i < CONTENDERS && status == 0; i++)
		put_instructions(&contenders[i]);
	nginx_stop(&app);
	host_stop(&host);
	return status != 0;
}

int main(void) {
	return scene_run(play, 400);
}
