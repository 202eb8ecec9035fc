/* process.c - see process.h. */
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

const char *process_built(const char *name) {
	static char paths[8][4096];
	static unsigned next;
	const char *build = getenv("STINT_BUILD");
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", build != NULL ? build : "build", name);
	return path;
}

/* In the child: never returns. */
static void become(const char *const *argv, int out, int err, pid_t parent) {
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent) /* the parent died before prctl() */
		_exit(127);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	fprintf(stderr, "can't run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static pid_t start_with(const char *const *argv, int out, int err) {
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid == 0)
		become(argv, out, err, parent);
	return pid;
}

static int open_log(const char *path) {
	return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

pid_t process_start(const char *const *argv, const char *log_path) {
	int log = log_path == NULL ? STDERR_FILENO : open_log(log_path);
	pid_t pid;

	if (log < 0)
		return -1;
	pid = start_with(argv, log, log);
	if (log_path != NULL)
		close(log);
	return pid;
}

bool process_wait(pid_t pid, int timeout_ms, int *status) {
	uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	int ignored;

	for (;;) {
		pid_t got = waitpid(pid, status != NULL ? status : &ignored, WNOHANG);

		if (got == pid)
			return true;
		if (got < 0 && errno != EINTR)
			return false;
		if (monotonic_ns() >= deadline)
			return false;
		sleep_ms(2);
	}
}

void process_kill(pid_t pid) {
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	process_wait(pid, 10000, NULL);
}

int process_stop(pid_t pid, int timeout_ms) {
	int status = 0;

	if (pid <= 0)
		return -1;
	kill(pid, SIGTERM);
	if (!process_wait(pid, timeout_ms, &status)) {
		process_kill(pid);
		return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Reads to the end or the deadline; keeps what fits. */
static void read_all(int fd, uint64_t deadline_ns, char *out, size_t size) {
	char chunk[4096];
	size_t kept = 0;

	for (;;) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		uint64_t now = monotonic_ns();
		ssize_t got;

		if (now >= deadline_ns || poll(&ready, 1, (int)((deadline_ns - now) / NS_PER_MS) + 1) <= 0)
			break;
		got = read(fd, chunk, sizeof(chunk));
		if (got <= 0)
			break;
		for (ssize_t i = 0; i < got && kept + 1 < size; i++)
			out[kept++] = chunk[i];
	}
	if (size > 0)
		out[kept] = '\0';
}

static pid_t run_reading(const char *const *argv, int err, uint64_t deadline_ns, char *out, size_t size) {
	int pipes[2];
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) != 0)
		return -1;
	pid = start_with(argv, pipes[1], err);
	close(pipes[1]);
	read_all(pipes[0], deadline_ns, out, size);
	close(pipes[0]);
	return pid;
}

int process_run(const char *const *argv, int timeout_ms, char *out, size_t size, const char *log_path) {
	uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	int log = log_path == NULL ? STDERR_FILENO : open_log(log_path);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), status = 0;
	pid_t pid = out == NULL ? start_with(argv, null, log) : run_reading(argv, log, deadline, out, size);

	close(null);
	if (log_path != NULL)
		close(log);
	if (pid < 0)
		return -1;
	timeout_ms = monotonic_ns() < deadline ? (int)((deadline - monotonic_ns()) / NS_PER_MS) : 0;
	if (!process_wait(pid, timeout_ms, &status)) {
		process_kill(pid);
		return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

long process_memory_kib(pid_t pid, long *shared_kib) {
	char path[64], line[256];
	long total = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	if (file == NULL)
		return -1;
	while (fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "VmRSS: %ld", &total) == 1)
			continue;
		if (shared_kib != NULL)
			(void)!sscanf(line, "RssShmem: %ld", shared_kib);
	}
	fclose(file);
	return total;
}

bool process_is_blocked(pid_t pid) {
	char path[48], line[256] = "";
	FILE *file;
	long number;

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	(void)!fgets(line, sizeof(line), file);
	fclose(file);
	if (sscanf(line, "%ld", &number) != 1 || number < 0)
		return false; /* it runs, or has ended */
#ifdef SYS_epoll_wait
	if (number == SYS_epoll_wait)
		return false;
#endif
	return number != SYS_epoll_pwait;
}

int process_descriptors(pid_t pid) {
	char path[64];
	int count = -2; /* "." and ".." */
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (dir == NULL)
		return -1;
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

int process_wait_descriptors(pid_t pid, int most, int timeout_ms) {
	uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	int count;

	while ((count = process_descriptors(pid)) > most && monotonic_ns() < deadline)
		sleep_ms(5);
	return count;
}
