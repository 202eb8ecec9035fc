/*
 * web.c - one limit, kept together by nginx, Node.js and Python on two hosts, seen live in a browser; then the
 * database dies, and returns.
 *
 * Each host is an agent, an nginx with the module, and behind it a Node.js cluster and a gunicorn. wrk asks for
 * more than the clients may have. What it was allowed is judged at the end, over every interval.
 *
 *     STINT_DEMO_PORT      of the page, on 127.0.0.1; default: any that is free
 *     STINT_DEMO_SECONDS   how long it goes on (75)
 *     STINT_DEMO_STEP      if set: a line on stdin ends each part, however long it takes
 *
 * Exits 0 when the promise was kept, 1 when it was broken or the demo could not run.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "nginx.h"
#include "port.h"
#include "process.h"
#include "setting.h"
#include "stage.h"
#include "verdict.h"
#include "view.h"
#include "wrk.h"

#define LIMIT           100
#define FALLBACK_LIMIT  150
#define WINDOW_MS       2000
#define SECONDS_DEFAULT 75
#define SECONDS_MIN     10
#define SECONDS_MAX     3600
#define FRAME_MS        200
#define STEP_MS         300000 /* the longest that a part waits for its line */
#define START_MS        20000
/* Longer than a busy machine makes them wait: else a host would be on its own though the database is up. */
#define DATABASE_TIMEOUT_MS 3000
#define LINGER_MS           2000 /* until the page has shown the verdict */
#define TOLD_MAX            8
#define RUNTIMES            3u

static const char *const host_names[VIEW_HOSTS] = {"berlin", "tokyo"};
static const int host_delays_ms[VIEW_HOSTS] = {6, 15}; /* of wrk's connections, before each request */
static const int weights[VIEW_CLIENTS] = {16, 8, 4, 2, 1};
static const char *const runtimes[RUNTIMES] = {"nginx", "node", "python"};

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{.name = "api",
                JOURNAL_LIMITS(LIMIT, FALLBACK_LIMIT, WINDOW_MS),
                .resolution = 10,
                .clients = VIEW_CLIENTS}},
	.names = {"alice", "bob", "carol", "dave", "eve"},
};

static const char *const configuration =
	"log_format demo '$msec $uri $arg_k $status';\n"
	"access_log access.log demo;\n"
	"stint_socket %s;\n"
	"upstream node { server unix:%s/node.sock; keepalive 32; }\n"
	"upstream python { server unix:%s/python.sock; }\n"
	"proxy_http_version 1.1;\n"
	"proxy_set_header Connection '';\n"
	"server {\n"
	"	listen unix:%s/http.sock;\n"
	"	listen 127.0.0.1:%d;\n"
	"	location /free { empty_gif; }\n"
	"	location /nginx { stint_limit policy=api key=$arg_k max_requests=100 time_window=2s resolution=10\n"
	"		fallback_max_requests=150; add_header X-Source $stint_source always; empty_gif; }\n"
	"	location /node { proxy_pass http://node; }\n"
	"	location /python { proxy_pass http://python; }\n"
	"}\n";

struct web {
	struct stage stage;
	struct view view;
	struct nginx nginx[VIEW_HOSTS];
	struct wrk wrk[VIEW_HOSTS];
	pid_t node[VIEW_HOSTS], python[VIEW_HOSTS], page;
	int ports[VIEW_HOSTS], page_port, seconds;
	uint32_t runtime_count;
	bool is_stepped, database_up;
	int64_t began_at_ms, killed_at_ms, returned_at_ms; /* by the clock on the wall, as nginx logs; 0: not yet */
	const char *story;
	struct {
		int64_t at_ms;
		const char *text;
	} told[TOLD_MAX];
	int told_count;
	struct verdict verdict;
	bool has_ended, kept;
};

static int64_t now_ms(void) {
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- What the page is told ----------------------------------------------------- */

static void write_hosts(FILE *file, const struct web *web) {
	for (uint32_t h = 0; h < VIEW_HOSTS; h++) {
		char state[24];

		host_state(&web->stage.host[h], state);
		fprintf(file, "%s{\"name\":\"%s\",\"state\":\"%s\",\"log\":\"%s/access.log\"}", h ? "," : "",
		        host_names[h], state, web->nginx[h].dir);
	}
}

static void write_end(FILE *file, const struct web *web) {
	fprintf(file, ",\"end\":{\"kept\":%s,\"lines\":[", web->kept ? "true" : "false");
	for (int i = 0; i < web->verdict.line_count; i++) {
		const struct verdict_line *line = &web->verdict.lines[i];

		fprintf(file, "%s{\"what\":\"%s\",\"kept\":%s,\"limit\":%lld,\"most\":[", i ? "," : "", line->what,
		        line->kept ? "true" : "false", (long long)line->limit);
		for (uint32_t c = 0; c < VIEW_CLIENTS; c++)
			fprintf(file, "%s%lld", c ? "," : "", (long long)line->most[c]);
		fputs("]}", file);
	}
	fputs("]}", file);
}

static void write_state(FILE *file, const struct web *web) {
	fprintf(
		file,
		"{\"beganAt\":%lld,\"database\":\"%s\",\"story\":\"%s\",\"limit\":%d,\"fallbackLimit\":%d,\"windowMs\":%d",
		(long long)web->began_at_ms, web->database_up ? "up" : "away", web->story, LIMIT, FALLBACK_LIMIT,
		WINDOW_MS);
	fputs(",\"clients\":[", file);
	for (uint32_t c = 0; c < VIEW_CLIENTS; c++)
		fprintf(file, "%s\"%s\"", c ? "," : "", plan.names[c]);
	fputs("],\"runtimes\":[", file);
	for (uint32_t r = 0; r < web->runtime_count; r++)
		fprintf(file, "%s\"%s\"", r ? "," : "", runtimes[r]);
	fputs("],\"hosts\":[", file);
	write_hosts(file, web);
	fputs("],\"outages\":[", file);
	if (web->killed_at_ms)
		fprintf(file, "[%lld,%lld]", (long long)web->killed_at_ms, (long long)web->returned_at_ms);
	fputs("],\"told\":[", file);
	for (int i = 0; i < web->told_count; i++)
		fprintf(file, "%s{\"at\":%lld,\"text\":\"%s\"}", i ? "," : "", (long long)web->told[i].at_ms,
		        web->told[i].text);
	fputs("]", file);
	if (web->has_ended)
		write_end(file, web);
	fputs("}\n", file);
}

/* The page's server never sees half of it. */
static void publish(const struct web *web) {
	char path[108], fresh[108];

	scene_path(web->stage.scene, "state.json", path);
	scene_path(web->stage.scene, "state.new", fresh);
	FILE *file = fopen(fresh, "we");
	if (!file)
		return;
	write_state(file, web);
	if (fclose(file) == 0)
		rename(fresh, path);
}

static void tell(struct web *web, const char *text) {
	view_tell(&web->view, "%s", text);
	if (web->told_count < TOLD_MAX) {
		web->told[web->told_count].at_ms = now_ms();
		web->told[web->told_count++].text = text;
	}
}

/* ---- Setting up ------------------------------------------------------------------ */

static int start_page(struct web *web) {
	char state[108], log[108], port[16];
	const char *argv[] = {"node", "tests/demo/web/page.js", state, port, NULL};
	uint64_t deadline = monotonic_ns() + START_MS * NS_PER_MS;

	scene_path(web->stage.scene, "state.json", state);
	scene_path(web->stage.scene, "page.log", log);
	web->page_port = (int)setting_number("STINT_DEMO_PORT", 0);
	if (web->page_port == 0)
		web->page_port = port_reserve();
	if (web->page_port > 0 && port_is_open(web->page_port)) {
		fprintf(stderr, "Port %d of 127.0.0.1 is taken.\n", web->page_port);
		return -1;
	}
	snprintf(port, sizeof(port), "%d", web->page_port);
	web->page = process_start(argv, log);
	while (!port_is_open(web->page_port)) {
		if (monotonic_ns() > deadline || process_wait(web->page, 20, NULL)) {
			fprintf(stderr, "The page's server does not start; its log is %s.\n", log);
			return -1;
		}
	}
	return 0;
}

static void start_node(struct web *web, uint32_t h) {
	char listen[128], log[128];
	const char *argv[] = {"node", "tests/demo/web/app.js", web->stage.host[h].socket, listen, NULL};

	snprintf(listen, sizeof(listen), "%s/node.sock", web->nginx[h].dir);
	snprintf(log, sizeof(log), "%s/node.log", web->nginx[h].dir);
	web->node[h] = process_start(argv, log);
}

static bool has_command(const char *name) {
	const char *argv[] = {"sh", "-c", "command -v \"$0\"", name, NULL};

	return process_run(argv, START_MS, NULL, 0, NULL) == 0;
}

static bool has_built(const char *name) {
	return access(process_built(name), R_OK) == 0;
}

static bool has_python(void) {
	return has_built("python/_stint.abi3.so") && has_command("gunicorn");
}

static void start_python(struct web *web, uint32_t h) {
	char path[32 + 4096] = "PYTHONPATH=", socket[128], listen[128], log[128];
	size_t length = strlen(path);
	const char *argv[] = {"env",         path,        socket,    "PYTHONDONTWRITEBYTECODE=1",
	                      "gunicorn",    "--workers", "2",       "--preload",
	                      "--log-level", "warning",   "--chdir", "tests/demo/web",
	                      "--bind",      listen,      "app:app", NULL};

	if (!realpath("lib/python", path + length))
		return;
	snprintf(socket, sizeof(socket), "STINT_SOCKET=%s", web->stage.host[h].socket);
	snprintf(listen, sizeof(listen), "unix:%s/python.sock", web->nginx[h].dir);
	snprintf(log, sizeof(log), "%s/python.log", web->nginx[h].dir);
	web->python[h] = process_start(argv, log);
}

/* Until all of its apps answer. */
static int wait_for_apps(struct web *web, uint32_t h) {
	uint64_t deadline = monotonic_ns() + START_MS * NS_PER_MS;
	char path[64];

	for (uint32_t r = 0; r < web->runtime_count; r++) {
		struct answer answer;

		snprintf(path, sizeof(path), "/%s?k=hello", runtimes[r]);
		while (nginx_get(&web->nginx[h], path, "", &answer) != 200) {
			if (monotonic_ns() > deadline) {
				fprintf(stderr, "%s of %s does not answer: %d\n", runtimes[r], host_names[h], answer.status);
				return -1;
			}
			sleep_ms(50);
		}
	}
	return 0;
}

static int start_nginx(struct web *web, uint32_t h) {
	struct nginx *nginx = &web->nginx[h];
	char http[4000];

	web->ports[h] = port_reserve();
	snprintf(nginx->dir, sizeof(nginx->dir), "%.50s/%s", web->stage.scene->dir, host_names[h]);
	snprintf(http, sizeof(http), configuration, web->stage.host[h].socket, nginx->dir, nginx->dir, nginx->dir,
	         web->ports[h]);
	if (nginx_prepare(nginx, web->stage.scene, host_names[h], 2, http) != 0)
		return -1;
	start_node(web, h);
	if (web->runtime_count == RUNTIMES)
		start_python(web, h);
	return nginx_start(nginx);
}

static int start_host(struct web *web, uint32_t h) {
	struct stage *stage = &web->stage;
	const struct host_options options = {.name = host_names[h],
	                                     .database = stage->cluster.agent,
	                                     .database_timeout_ms = DATABASE_TIMEOUT_MS};

	if (host_prepare(&stage->host[h], stage->scene, h, &options) != 0 || host_start(&stage->host[h]) != 0 ||
	    !host_wait_in_step(&stage->host[h], START_MS))
		return -1;
	return start_nginx(web, h);
}

/* The paths of a runtime stand together, a client's at the same place of each. */
static int start_wrk(struct web *web, uint32_t h) {
	struct wrk_options options = {.name = h ? "wrk-1" : "wrk-0",
	                              .port = web->ports[h],
	                              .delay_ms = host_delays_ms[h],
	                              .clients = VIEW_CLIENTS,
	                              .host = (uint8_t)h,
	                              .seed = h + 1};
	char paths[RUNTIMES * VIEW_CLIENTS][40];

	for (uint32_t i = 0; i < web->runtime_count * VIEW_CLIENTS; i++) {
		snprintf(paths[i], sizeof(paths[i]), "/%s?k=%s", runtimes[i / VIEW_CLIENTS], plan.names[i % VIEW_CLIENTS]);
		options.paths[i] = paths[i];
		options.weights[i] = weights[i % VIEW_CLIENTS];
	}
	return wrk_start(&web->wrk[h], web->stage.scene, &options);
}

static int set_up(struct web *web, const struct scene *scene) {
	struct stage *stage = &web->stage;

	stage->scene = stage->crowd.scene = scene;
	stage->host_count = VIEW_HOSTS;
	if (cluster_start(&stage->cluster, scene) != 0 || cluster_install(&stage->cluster) != 0)
		return -1;
	for (uint32_t h = 0; h < VIEW_HOSTS; h++)
		if (start_host(web, h) != 0)
			return -1;
	for (uint32_t h = 0; h < VIEW_HOSTS; h++)
		if (wait_for_apps(web, h) != 0)
			return -1;
	web->began_at_ms = now_ms();
	web->story = "The hosts lease from PostgreSQL; together they stop at the limit.";
	publish(web);
	if (start_page(web) != 0)
		return -1;
	for (uint32_t h = 0; h < VIEW_HOSTS; h++)
		if (start_wrk(web, h) != 0)
			return -1;
	return 0;
}

/* ---- The story ------------------------------------------------------------------- */

/* Whether a line, or the end of stdin, has come. */
static bool is_told_to_go_on(void) {
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	char line[256];

	return poll(&in, 1, 0) > 0 && read(STDIN_FILENO, line, sizeof(line)) >= 0;
}

/* A part ends at a percentage of the whole, or by a line on stdin. */
static void show_until(struct web *web, int percent) {
	int64_t until_ms =
		web->is_stepped ? STEP_MS + stage_ms_since(web->view.began_ns) : web->seconds * 10LL * percent;

	while (stage_ms_since(web->view.began_ns) < until_ms && !(web->is_stepped && is_told_to_go_on())) {
		publish(web);
		sleep_ms(FRAME_MS);
	}
}

static int run_story(struct web *web) {
	struct cluster *cluster = &web->stage.cluster;

	tell(web, "wrk begins: alice asks for far more than her limit, eve for less");
	show_until(web, 35);

	web->killed_at_ms = now_ms();
	web->verdict.killed_ns = monotonic_ns();
	if (cluster_kill(cluster) != 0)
		return -1;
	web->database_up = false;
	web->story = "PostgreSQL is away. Each host is on its own, and holds each client to its lenient limit.";
	tell(web, "PostgreSQL is killed (SIGKILL)");
	show_until(web, 58);

	if (cluster_again(cluster) != 0)
		return -1;
	web->returned_at_ms = now_ms();
	web->verdict.returned_ns = monotonic_ns();
	web->database_up = true;
	web->story = "PostgreSQL knows what was admitted meanwhile; the limit holds again.";
	tell(web, "PostgreSQL is started again");
	show_until(web, 100);
	return 0;
}

/* ---- The end ---------------------------------------------------------------------- */

static int read_answers(struct web *web, struct oracle *oracle, struct wrk_sum *total) {
	*total = (struct wrk_sum){0};
	for (uint32_t h = 0; h < VIEW_HOSTS; h++) {
		struct wrk_sum sum;

		if (wrk_stop(&web->wrk[h], oracle, &sum) != 0)
			return -1;
		total->admitted += sum.admitted;
		total->rejected += sum.rejected;
		total->others += sum.others + sum.late + sum.refused;
		total->status = sum.status ? sum.status : total->status;
	}
	return 0;
}

static int conclude(struct web *web) {
	struct oracle oracle = {0};
	struct wrk_sum total;
	bool in_step = true;

	for (uint32_t h = 0; h < VIEW_HOSTS; h++)
		in_step &= host_wait_in_step(&web->stage.host[h], START_MS);
	if (read_answers(web, &oracle, &total) != 0)
		return 1;
	verdict_judge(&web->verdict, &web->view, &oracle);
	printf("    Requests: %d admitted, %d denied, %d neither", total.admitted, total.rejected, total.others);
	if (total.others > 0)
		printf(" (%d)", total.status);
	printf(".\n\n");
	web->kept = web->verdict.broken == 0 && total.others == 0 && in_step;
	verdict_print_end(&web->view, web->kept);
	fflush(stdout);
	oracle_free(&oracle);
	web->has_ended = true;
	web->story = "The demo has ended.";
	publish(web);
	if (web->is_stepped)
		show_until(web, 100);
	else
		sleep_ms(LINGER_MS);
	return web->kept ? 0 : 1;
}

static void strike(struct web *web) {
	process_stop(web->page, START_MS);
	for (uint32_t h = 0; h < VIEW_HOSTS; h++) {
		nginx_stop(&web->nginx[h]);
		process_stop(web->node[h], START_MS);
		process_stop(web->python[h], START_MS);
		host_stop(&web->stage.host[h]);
	}
	cluster_close(&web->stage.cluster);
}

static void print_header(const struct web *web) {
	const struct view *view = &web->view;

	bool has_all = web->runtime_count == RUNTIMES;

	printf("\n  %sstint: one limit per client, kept together by %s on two hosts%s\n\n"
	       "  PostgreSQL   one, private to this demo\n"
	       "  hosts        berlin and tokyo: on each an agent, an nginx with the module, and behind it %s\n"
	       "  load         wrk asks each host for all clients' pages, by way of nginx\n"
	       "  the limit    a client gets at most %d requests in any %d s, all of them together\n"
	       "  no database  each host alone then admits at most %d per client and %d s\n\n",
	       view_bold(view), has_all ? "nginx, Node.js and Python" : "nginx and Node.js", view_plain(view),
	       has_all ? "a Node.js cluster and a gunicorn" : "a Node.js cluster", LIMIT, WINDOW_MS / 1000,
	       FALLBACK_LIMIT, WINDOW_MS / 1000);
	if (!has_all)
		printf("  left out     Python: there is no gunicorn, or lib/python was not built; make deps all\n\n");
	fflush(stdout);
}

static int play(const struct scene *scene) {
	static struct web web = {.database_up = true};

	view_init(&web.view, &web.stage, &plan);
	web.view.is_terminal = false; /* the picture is in the browser */
	web.seconds = (int)setting_number("STINT_DEMO_SECONDS", SECONDS_DEFAULT);
	web.is_stepped = getenv("STINT_DEMO_STEP") != NULL;
	web.verdict.by = "what wrk was answered";
	if (web.seconds < SECONDS_MIN || web.seconds > SECONDS_MAX) {
		fprintf(stderr, "STINT_DEMO_SECONDS is %d, must be %d to %d.\n", web.seconds, SECONDS_MIN, SECONDS_MAX);
		return 1;
	}
	web.runtime_count = has_python() ? RUNTIMES : RUNTIMES - 1;
	print_header(&web);
	if (set_up(&web, scene) != 0) {
		fprintf(stderr, "The demo could not be set up; STINT_KEEP=1 keeps its folder with the logs.\n");
		return 1;
	}
	web.view.began_ns = monotonic_ns();
	printf("  Open         %shttp://127.0.0.1:%d/%s\n\n", view_bold(&web.view), web.page_port,
	       view_plain(&web.view));
	fflush(stdout);
	int status = run_story(&web) == 0 ? conclude(&web) : 1;
	strike(&web);
	return status;
}

/* Says what the demo can't do without, and isn't there. */
static bool has_all_it_needs(void) {
	const struct {
		bool is_there;
		const char *name;
	} needs[] = {
		{nginx_is_there(), "nginx, and nginx-dev for the module"},
		{wrk_is_there(), "wrk"},
		{has_command("node"), "Node.js"},
		{has_built("stint.node"), "lib/node, for want of Node.js's headers perhaps"},
	};
	bool has_all = true;

	for (unsigned i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
		if (!needs[i].is_there)
			fprintf(stderr, "The demo needs %s: make deps all\n", needs[i].name);
		has_all &= needs[i].is_there;
	}
	return has_all;
}

int main(void) {
	bool is_stepped = getenv("STINT_DEMO_STEP") != NULL;

	if (!has_all_it_needs())
		return 1;
	return scene_run(play, is_stepped ? 1500 : (int)setting_number("STINT_DEMO_SECONDS", SECONDS_DEFAULT) + 90);
}
