/*
 * bench_nginx.c - requests to nginx without a module that limits, with nginx's own limit_req, and with lib/nginx,
 * all admitted: as short as a request can be, and one that is passed on to an app (another nginx). One worker on
 * one processor; the client, with 32 connections and 1,000 clients in turn, on another. Each contender has an
 * nginx of its own.
 *
 * What is judged is the worker's own time for a request, in volleys (volley.h). The contenders take turns of some
 * milliseconds, forwards and backwards, each is the first by turns, and each turn is compared with that of the one
 * without a module in the same round: what else runs on the machine makes caches cold, and a request half as dear
 * again. A second nginx without a module says how far the ratios can be believed.
 *
 * Beside it stand requests per second as wrk sees them, which say little where wrk is the slower one; and what no
 * other load changes: the worker's instructions for the shortest request, of clients whom the table knows, by
 * callgrind. They are those of the program alone, and the kernel takes most of the time.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "figure.h"
#include "host.h"
#include "nginx.h"
#include "port.h"
#include "process.h"
#include "quick.h"
#include "sample.h"
#include "scene.h"
#include "volley.h"
#include "wrk.h"

#define ROW      18
#define ROUNDS   60
#define VOLLEYS  40 /* a turn */
#define WRK      5  /* rounds of it */
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
	struct volley volley[REQUESTS];
	double turn_ns[REQUESTS];        /* of the worker's time for a request, in its last turn */
	struct samples cpu_ns[REQUESTS]; /* in all turns */
	struct samples ratio[REQUESTS];  /* of the plain one's to its own, in each round */
	struct samples rate[REQUESTS];   /* requests/s, by wrk */
	double instructions;             /* of the shortest request */
};

enum { PLAIN, PLAIN_AGAIN, LIMIT_REQ, STINT, STINT_HEADERS, CONTENDERS };

#define STINT_LIMIT "stint_limit policy=bench key=$arg_k max_requests=1000000000 time_window=1m;"

static struct contender contenders[CONTENDERS] = {
	[PLAIN] = {.name = "no module", .directives = ""},
	[PLAIN_AGAIN] = {.name = "no module once more", .directives = ""},
	[LIMIT_REQ] = {.name = "limit_req", .directives = "limit_req zone=bench burst=100000 nodelay;"},
	[STINT] = {.name = "lib/nginx, stint_headers off",
               .directives = STINT_LIMIT " stint_headers off;",
               .has_module = true},
	[STINT_HEADERS] = {.name = "lib/nginx", .directives = STINT_LIMIT, .has_module = true},
};

/* ---- nginx ---------------------------------------------------------------------- */

/* To one processor, if there is such a one. The workers have the first, the client the second. */
static void pin(pid_t pid, size_t processor) {
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
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
	pin(c->worker, 0);
	for (enum request request = 0; request < REQUESTS; request++)
		if (volley_open(&c->volley[request], c->port, request_paths[request]) != 0)
			return -1;
	return c->worker > 0 ? 0 : -1;
}

static void stop(struct contender *c) {
	for (enum request request = 0; request < REQUESTS; request++)
		volley_close(&c->volley[request]);
	nginx_stop(&c->nginx);
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

/* The kernel has counted a worker's time when it sleeps. */
static double read_cpu_ns_asleep(const struct contender *c) {
	sleep_ms(1);
	return read_cpu_ns(c);
}

static int take_turn(struct contender *c, enum request request) {
	double before_ns = read_cpu_ns_asleep(c);

	if (volley_fire(&c->volley[request], VOLLEYS) != 0) {
		fprintf(stderr, "bench_nginx: %s did not answer by 200\n", c->name);
		return -1;
	}
	c->turn_ns[request] = (read_cpu_ns_asleep(c) - before_ns) / (VOLLEYS * VOLLEY_REQUESTS);
	return 0;
}

/* Whoever begins has what the other kind of requests has left in the caches: each does in turn. */
static int play_round(enum request request, int round) {
	for (int i = 0; i < CONTENDERS; i++) {
		int place = round % 2 ? CONTENDERS - 1 - i : i;
		if (take_turn(&contenders[(round + place) % CONTENDERS], request) != 0)
			return -1;
	}
	return 0;
}

static void note_round(enum request request) {
	for (struct contender *c = contenders; c < contenders + CONTENDERS; c++) {
		samples_add(&c->cpu_ns[request], c->turn_ns[request]);
		samples_add(&c->ratio[request], contenders[PLAIN].turn_ns[request] / c->turn_ns[request]);
	}
}

/* The first round warms up. */
static int measure(int rounds) {
	for (int round = 0; round <= rounds; round++)
		for (enum request request = 0; request < REQUESTS; request++) {
			if (play_round(request, round) != 0)
				return -1;
			if (round > 0)
				note_round(request);
		}
	return 0;
}

/* ---- By wrk --------------------------------------------------------------------------- */

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

static int measure_by_wrk(struct contender *c, enum request request, bool counts) {
	long requests;
	double seconds;
	char out[4096];

	if (run_wrk(c, request, out, sizeof(out)) != 0 || read_sum(out, &requests, &seconds) != 0)
		return -1;
	if (counts)
		samples_add(&c->rate[request], (double)requests / seconds);
	return 0;
}

/* The first round warms up. */
static int measure_all_by_wrk(int rounds) {
	for (int round = 0; round <= rounds; round++)
		for (enum request request = 0; request < REQUESTS; request++)
			for (int i = 0; i < CONTENDERS; i++)
				if (i != PLAIN_AGAIN && measure_by_wrk(&contenders[i], request, round > 0) != 0)
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

/* The ratio is the median of those in each round. */
static void put_cpu(const struct contender *c, enum request request) {
	bool is_judged = c->has_module;
	double base = 1e9 / samples_median(&contenders[PLAIN].cpu_ns[request]);
	char what[128];

	snprintf(what, sizeof(what), "nginx, %s, %s: requests in a second of its worker's time", c->name,
	         request_names[request]);
	figure_put(
		&(struct figure){.row = ROW,
	                     .what = what,
	                     .unit = "requests/s",
	                     .value = base * samples_median(&c->ratio[request]),
	                     .against = contenders[PLAIN].name,
	                     .base = base,
	                     .target = is_judged ? FIGURE_AT_LEAST : FIGURE_STATED,
	                     .bound = is_judged ? AT_LEAST : 0,
	                     .note = c == &contenders[PLAIN_AGAIN] ? "so far the ratios can be believed" : NULL});
}

static void put_rate(const struct contender *c, enum request request) {
	char what[128];

	snprintf(what, sizeof(what), "nginx, %s, %s: as wrk sees it", c->name, request_names[request]);
	figure_put(&(struct figure){.row = ROW,
	                            .what = what,
	                            .unit = "requests/s",
	                            .value = samples_median(&c->rate[request]),
	                            .against = contenders[PLAIN].name,
	                            .base = samples_median(&contenders[PLAIN].rate[request]),
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

static void put_all(void) {
	for (int i = PLAIN_AGAIN; i < CONTENDERS; i++)
		for (enum request request = 0; request < REQUESTS; request++) {
			put_cpu(&contenders[i], request);
			if (i != PLAIN_AGAIN)
				put_rate(&contenders[i], request);
		}
}

static int count_and_put(void) {
	for (int i = 0; i < CONTENDERS; i++)
		if (i != PLAIN_AGAIN && count(&contenders[i]) != 0)
			return -1;
	for (int i = LIMIT_REQ; i < CONTENDERS; i++)
		put_instructions(&contenders[i]);
	return 0;
}

/* The C library gives the top of the heap back to the kernel where nothing lies on it: after each volley that is
 * passed on, and gets it again page by page. Whether something lies there is chance, and three times as dear as
 * what is measured. */
static void keep_heaps(void) {
	setenv("MALLOC_TRIM_THRESHOLD_", "1000000000", 1);
}

static int play(const struct scene *scene) {
	struct host host;
	struct nginx app;
	struct host_options options = {.database = "memory:"};
	bool quick = quick_ms(1000) < 1000;

	if (!nginx_is_there() || !wrk_is_there()) {
		fprintf(stderr, "bench_nginx: nginx, nginx-dev for the module, or wrk is not installed\n");
		return 0;
	}
	if (host_prepare(&host, scene, 0, &options) != 0 || host_start(&host) != 0)
		return 1;
	keep_heaps();
	int status = start_app(&app, scene);
	for (int i = 0; i < CONTENDERS && status == 0; i++)
		status = start(&contenders[i], scene, &host, i);
	pin(getpid(), 1);
	if (status == 0)
		status = measure(quick ? ROUNDS / 10 : ROUNDS);
	if (status == 0)
		status = measure_all_by_wrk(quick ? 1 : WRK);
	if (status == 0)
		put_all();
	for (int i = 0; i < CONTENDERS; i++)
		stop(&contenders[i]);
	if (status == 0)
		status = count_and_put();
	nginx_stop(&app);
	host_stop(&host);
	return status != 0;
}

int main(void) {
	return scene_run(play, 600);
}
