/* nginx.c - see nginx.h. */
#include "nginx.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "process.h"
#include "tap.h"

#define PROGRAM   "/usr/sbin/nginx"
#define START_MS  20000
#define STOP_MS   20000
#define ANSWER_MS 30000

bool nginx_is_there(void) {
	return access(PROGRAM, X_OK) == 0 && access(process_built("ngx_http_stint_module.so"), R_OK) == 0;
}

/* `module`: NULL or its path. */
static int write_config(const struct nginx *nginx, const char *module, int workers, const char *http) {
	char path[128];
	snprintf(path, sizeof(path), "%s/nginx.conf", nginx->dir);
	FILE *file = fopen(path, "we");
	if (!file)
		return -1;
	if (module)
		fprintf(file, "load_module %s;\n", module);
	fprintf(file, "pid nginx.pid;\nerror_log error.log notice;\nworker_processes %d;\n", workers);
	/* The socket of the agent belongs to whoever runs the test. */
	if (getuid() == 0)
		fprintf(file, "user root;\n");
	fprintf(file, "env STINT_SOCKET;\n"); /* nginx hands on no other */
	fprintf(file, "events { worker_connections 512; }\nhttp {\n");
	fprintf(file, "keepalive_requests 1000000;\n");
	fprintf(file, "client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\n");
	fprintf(file, "uwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n%s\n}\n", http);
	return fclose(file);
}

static void find_place(struct nginx *nginx, const struct scene *scene, const char *name) {
	*nginx = (struct nginx){.master = 0};
	snprintf(nginx->dir, sizeof(nginx->dir), "%.50s/%.20s", scene->dir, name);
	snprintf(nginx->socket, sizeof(nginx->socket), "%s/http.sock", nginx->dir);
	mkdir(nginx->dir, 0755);
}

int nginx_prepare(struct nginx *nginx, const struct scene *scene, const char *name, int workers,
                  const char *http) {
	char module[4096];
	find_place(nginx, scene, name);
	if (!realpath(process_built("ngx_http_stint_module.so"), module))
		return -1;
	return write_config(nginx, module, workers, http);
}

int nginx_prepare_plain(struct nginx *nginx, const struct scene *scene, const char *name, int workers,
                        const char *http) {
	find_place(nginx, scene, name);
	return write_config(nginx, NULL, workers, http);
}

/* As nginx.pid says; 0: it says nothing. */
static pid_t read_master(const struct nginx *nginx) {
	char path[128];
	int pid = 0;
	snprintf(path, sizeof(path), "%s/nginx.pid", nginx->dir);
	FILE *file = fopen(path, "re");
	if (!file || fscanf(file, "%d", &pid) != 1)
		pid = 0;
	if (file)
		fclose(file);
	return pid;
}

static void print_log(const struct nginx *nginx) {
	char path[128], line[512];
	snprintf(path, sizeof(path), "%s/error.log", nginx->dir);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		fprintf(stderr, "#   nginx: %s", line);
	if (file)
		fclose(file);
}

static bool answers(const struct nginx *nginx) {
	struct answer answer;
	return nginx_get(nginx, "/free", "", &answer) != 0;
}

/* It goes to the background by itself: only so does it take a new binary. The scene's guard ends what is left. */
static int start(struct nginx *nginx, const char *const *argv) {
	char log[128];
	uint64_t deadline = monotonic_ns() + START_MS * NS_PER_MS;
	snprintf(log, sizeof(log), "%s/start.log", nginx->dir);
	int status = process_run(argv, START_MS, NULL, 0, log);
	while (status == 0 && monotonic_ns() < deadline) {
		nginx->master = read_master(nginx);
		if (nginx->master > 0 && answers(nginx))
			return 0;
		sleep_ms(20);
	}
	fprintf(stderr, "# nginx does not start, status %d:\n", status);
	print_log(nginx);
	return -1;
}

#define ARGUMENTS(nginx) "-p", (nginx)->dir, "-e", "error.log", "-c", "nginx.conf"

int nginx_start(struct nginx *nginx) {
	return start(nginx, (const char *[]){PROGRAM, ARGUMENTS(nginx), NULL});
}

int nginx_start_in_valgrind(struct nginx *nginx) {
	char log[128];
	snprintf(log, sizeof(log), "--log-file=%s/valgrind.%%p", nginx->dir);
	return start(nginx, (const char *[]){"valgrind", "--trace-children=yes", "--leak-check=no", log, PROGRAM,
	                                     ARGUMENTS(nginx), NULL});
}

int nginx_start_in_callgrind(struct nginx *nginx) {
	char log[128], out[128];
	snprintf(log, sizeof(log), "--log-file=%s/valgrind.%%p", nginx->dir);
	snprintf(out, sizeof(out), "--callgrind-out-file=%s/callgrind.%%p", nginx->dir);
	return start(nginx,
	             (const char *[]){"valgrind", "--tool=callgrind", log, out, PROGRAM, ARGUMENTS(nginx), NULL});
}

double nginx_read_instructions(const struct nginx *nginx, pid_t pid) {
	char path[128], line[512];
	double instructions = 0;
	snprintf(path, sizeof(path), "%s/callgrind.%d", nginx->dir, (int)pid);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file) && sscanf(line, "totals: %lf", &instructions) != 1) {
	}
	if (file)
		fclose(file);
	return instructions;
}

pid_t nginx_find_worker(const struct nginx *nginx) {
	char path[64];
	int pid = 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)nginx->master, (int)nginx->master);
	FILE *children = fopen(path, "re");
	if (!children || fscanf(children, "%d", &pid) != 1)
		pid = 0;
	if (children)
		fclose(children);
	return pid;
}

int nginx_test(const struct nginx *nginx, char *said, size_t size) {
	const char *script = "nginx=$1; shift; exec \"$nginx\" -t \"$@\" 2>&1";
	const char *argv[] = {"sh",       "-c", script,   "sh", PROGRAM,      "-p",
	                      nginx->dir, "-e", "stderr", "-c", "nginx.conf", NULL};
	return process_run(argv, START_MS, said, size, NULL);
}

void nginx_reload(const struct nginx *nginx) {
	kill(nginx->master, SIGHUP);
}

static bool wait_until_gone(pid_t pid, int timeout_ms) {
	uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	while (kill(pid, 0) == 0) {
		if (monotonic_ns() >= deadline)
			return false;
		sleep_ms(10);
	}
	return true;
}

pid_t nginx_replace(struct nginx *nginx) {
	uint64_t deadline = monotonic_ns() + START_MS * NS_PER_MS;
	pid_t old = nginx->master, fresh;
	kill(old, SIGUSR2);
	while ((fresh = read_master(nginx)) == old || fresh == 0) {
		if (monotonic_ns() >= deadline)
			return -1;
		sleep_ms(10);
	}
	sleep_ms(200); /* until its workers run; those of the old one answer meanwhile */
	nginx->master = fresh;
	kill(old, SIGQUIT);
	return old;
}

bool nginx_is_replaced(pid_t old) {
	return old > 0 && wait_until_gone(old, STOP_MS);
}

bool nginx_stop(struct nginx *nginx) {
	pid_t master = nginx->master;
	nginx->master = 0;
	if (master <= 0)
		return false;
	kill(master, SIGQUIT);
	return wait_until_gone(master, STOP_MS);
}

int nginx_count(const struct nginx *nginx, const char *file_name, const char *text) {
	char path[128], line[4096];
	int count = 0;
	snprintf(path, sizeof(path), "%s/%s", nginx->dir, file_name);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		count += strstr(line, text) != NULL;
	if (file)
		fclose(file);
	return count;
}

bool nginx_wait_count(const struct nginx *nginx, const char *file_name, const char *text, int count) {
	uint64_t deadline = monotonic_ns() + ANSWER_MS * NS_PER_MS;
	while (nginx_count(nginx, file_name, text) < count && monotonic_ns() < deadline)
		sleep_ms(10);
	return nginx_count(nginx, file_name, text) == count;
}

int nginx_count_faulty(const struct nginx *nginx, int *reports) {
	DIR *dir = opendir(nginx->dir);
	int faulty = 0;
	*reports = 0;
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		if (strncmp(entry->d_name, "valgrind.", 9) != 0)
			continue;
		++*reports;
		faulty += nginx_count(nginx, entry->d_name, "ERROR SUMMARY: 0 errors") != 1;
	}
	if (dir)
		closedir(dir);
	return faulty;
}

void nginx_check_log(const struct nginx *nginx) {
	static const char *const bad[] = {"[alert]", "[crit]", "[emerg]", "exited on signal", "was not called back"};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int count = nginx_count(nginx, "error.log", bad[i]);
		tap_ok(count == 0, "\"%s\" is in %d lines of the log", bad[i], count);
	}
}

/* Where their log goes tells them from others' nginx. */
int nginx_processes(const struct nginx *nginx) {
	DIR *proc = opendir("/proc");
	int count = 0;
	for (struct dirent *entry; proc && (entry = readdir(proc));) {
		char path[300], target[4096];
		snprintf(path, sizeof(path), "/proc/%s/fd/2", entry->d_name);
		ssize_t length = readlink(path, target, sizeof(target) - 1);
		if (length <= 0)
			continue;
		target[length] = '\0';
		count += strncmp(target, nginx->dir, strlen(nginx->dir)) == 0 && strstr(target, "error.log");
	}
	if (proc)
		closedir(proc);
	return count;
}

/* ---- The client ---------------------------------------------------------------- */

int nginx_connect(const struct nginx *nginx) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", nginx->socket);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

bool nginx_ask(int fd, const char *path, const char *headers) {
	char request[2048];
	int length = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: test\r\n%s\r\n", path, headers);
	return send(fd, request, (size_t)length, MSG_NOSIGNAL) == length;
}

bool nginx_is_answered(int fd) {
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	return poll(&ready, 1, 0) > 0;
}

/* Reads up to so many bytes; the number, or 0 at the end or when the time is up. */
static size_t read_some(int fd, char *bytes, size_t size, uint64_t deadline_ns) {
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	uint64_t now = monotonic_ns();
	if (now >= deadline_ns || poll(&ready, 1, (int)((deadline_ns - now) / NS_PER_MS) + 1) <= 0)
		return 0;
	ssize_t got = recv(fd, bytes, size, 0);
	return got > 0 ? (size_t)got : 0;
}

static void skip_body(int fd, size_t length, uint64_t deadline_ns) {
	char bytes[1024];
	size_t got = 1;
	for (; length > 0 && got > 0; length -= got)
		got = read_some(fd, bytes, length < sizeof(bytes) ? length : sizeof(bytes), deadline_ns);
}

void nginx_read(int fd, struct answer *answer, int timeout_ms) {
	uint64_t deadline_ns = monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	size_t length = 0, got;
	char *end = NULL;
	*answer = (struct answer){.status = 0};
	while (!end &&
	       (got = read_some(fd, answer->head + length, sizeof(answer->head) - 1 - length, deadline_ns)) > 0) {
		length += got;
		answer->head[length] = '\0';
		end = strstr(answer->head, "\r\n\r\n");
	}
	if (!end || sscanf(answer->head, "HTTP/1.1 %d", &answer->status) != 1)
		return;
	size_t body = strtoul(nginx_fields(answer, "Content-Length"), NULL, 10);
	size_t have = length - (size_t)(end + 4 - answer->head);
	end[2] = '\0';
	skip_body(fd, body > have ? body - have : 0, deadline_ns);
}

int nginx_get(const struct nginx *nginx, const char *path, const char *headers, struct answer *answer) {
	int fd = nginx_connect(nginx);
	*answer = (struct answer){.status = 0};
	if (fd < 0)
		return 0;
	if (nginx_ask(fd, path, headers))
		nginx_read(fd, answer, ANSWER_MS);
	close(fd);
	return answer->status;
}

const char *nginx_fields(struct answer *answer, const char *name) {
	size_t length = strlen(name);
	answer->fields[0] = '\0';
	for (const char *line = strstr(answer->head, "\r\n"); line; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, name, length) != 0 || strncmp(line + length, ": ", 2) != 0)
			continue;
		size_t used = strlen(answer->fields);
		snprintf(answer->fields + used, sizeof(answer->fields) - used, "%s%.*s", used ? ", " : "",
		         (int)strcspn(line + length + 2, "\r"), line + length + 2);
	}
	return answer->fields;
}

/* ---- Requests that wait ---------------------------------------------------------- */

void nginx_ask_many(const struct nginx *nginx, const char *path, int *fds, int count) {
	char one[128];
	for (int i = 0; i < count; i++) {
		snprintf(one, sizeof(one), "%s-%d", path, i);
		fds[i] = nginx_connect(nginx);
		nginx_ask(fds[i], one, "");
	}
}

/* The request that asks is under way, too, and is not counted. -1: no answer. */
static int read_under_way(const struct nginx *nginx) {
	char text[1024] = "";
	int fd = nginx_connect(nginx), writing = 0;
	nginx_ask(fd, "/count", "Connection: close\r\n");
	uint64_t deadline_ns = monotonic_ns() + ANSWER_MS * NS_PER_MS;
	size_t length = 0, got;
	while ((got = read_some(fd, text + length, sizeof(text) - 1 - length, deadline_ns)) > 0)
		length += got;
	close(fd);
	const char *found = strstr(text, "Writing: ");
	return found && sscanf(found, "Writing: %d", &writing) == 1 ? writing - 1 : -1;
}

bool nginx_wait_under_way(const struct nginx *nginx, int count) {
	uint64_t deadline = monotonic_ns() + ANSWER_MS * NS_PER_MS;
	while (read_under_way(nginx) < count) {
		if (monotonic_ns() >= deadline)
			return false;
		sleep_ms(10);
	}
	return true;
}

int nginx_count_answered(const int *fds, int count) {
	int answered = 0;
	for (int i = 0; i < count; i++)
		answered += nginx_is_answered(fds[i]);
	return answered;
}

int nginx_read_many(int *fds, int count, int status) {
	struct answer answer;
	int right = 0;
	for (int i = 0; i < count; i++) {
		nginx_read(fds[i], &answer, ANSWER_MS);
		right += answer.status == status;
		close(fds[i]);
	}
	return right;
}
