/*
 * test_limits.c - real limits are reached: shared memory is full, descriptors are used up, the address space is
 * small. An agent says so at its start, or goes on without harm to those that it serves. An app decides by
 * itself, and attaches again when it can.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "host.h"
#include "peer.h"
#include "process.h"
#include "proof.h"
#include "scene.h"
#include "stint.h"
#include "tap.h"

#define MIB (UINT64_C(1) << 20)

static struct proof shm_full = {.invariants = "I4 I6", .fault = "/dev/shm full", .recovery_ms = PROOF_NO_RECOVERY};
static struct proof agent_files = {.invariants = "I4 I6", .fault = "agent's descriptors used up"};
static struct proof app_files = {.invariants = "I3 I4 I5", .fault = "app's descriptors used up"};
static struct proof small_space = {.invariants = "I4 I6",
                                   .fault = "agent's address space limited",
                                   .recovery_ms = PROOF_NO_RECOVERY};

static bool expect(struct proof *proof, bool holds, const char *what, int64_t value) {
	proof->checked++;
	proof->violations += !holds;
	return tap_ok(holds, "%s: %s (%" PRId64 ")", proof->fault, what, value);
}

static const struct stint_options options = {.policy = "limits",
                                             .max_requests = 8,
                                             .time_window_ms = 3600000,
                                             .fallback_max_requests = 10,
                                             .timeout_ms = 500};

/* Checks a new client. Gives who decided, or 0 for an error. */
static int ask(struct stint_limiter *limiter) {
	static unsigned number;
	struct stint_result result;
	char client[32];

	snprintf(client, sizeof(client), "c-%d-%u", (int)getpid(), number++);
	return stint_check(limiter, client, 1, &result) == 0 ? (int)result.source : 0;
}

/* ---- /dev/shm is full -------------------------------------------------------------- */

/* Runs in a mount namespace of its own: an agent is started for more clients than there is memory for. */
static void start_without_room(const struct scene *scene, uint32_t number, int max_clients) {
	const struct host_options big = {.database = "memory:", .max_clients = max_clients};
	const char *argv[] = {process_built("stintd"), "-c", NULL, NULL};
	char table[108];
	struct host host;
	int status = 0;

	shm_full.runs++;
	if (host_prepare(&host, scene, number, &big) != 0)
		abort();
	argv[2] = host.config;
	host.agent = process_start(argv, host.log);
	if (!expect(&shm_full, process_wait(host.agent, 10000, &status), "the agent ends", max_clients))
		process_kill(host.agent);
	expect(&shm_full, WIFEXITED(status) && WEXITSTATUS(status) == 1, "with an error", status);
	expect(&shm_full, host_log_count(&host, "No space left on device") == 1, "which says why",
	       host_log_count(&host, "error"));
	snprintf(table, sizeof(table), "/dev/shm%s.table", host.shm);
	expect(&shm_full, access(table, F_OK) != 0, "and leaves no table", errno);
}

static void fill_up(void) {
	char *zeros = calloc(1, MIB);
	int fd = open("/dev/shm/filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	size_t piece = MIB;

	while (fd >= 0 && zeros != NULL && piece > 0)
		if (write(fd, zeros, piece) < 0)
			piece /= 2;
	free(zeros);
	close(fd);
}

/* The table already has all of its memory, whatever fills up later. There are enough clients to touch every
 * page. */
static void run_out_of_room(const struct scene *scene) {
	const struct host_options some = {.database = "memory:", .max_clients = 20000};
	struct stint_limiter *limiter = NULL;
	struct stint *stint = NULL;
	struct host host;
	int right = 0;

	shm_full.runs++;
	if (!expect(&shm_full, host_prepare(&host, scene, 3, &some) == 0 && host_start(&host) == 0,
	            "an agent that fits starts", 0))
		return;
	fill_up();
	stint_open(&stint, host.socket);
	stint_limiter_new(&limiter, stint, &options);
	for (int i = 0; i < 10000; i++) {
		int source = ask(limiter);

		right += source == STINT_SOURCE_LEASE || source == STINT_SOURCE_DATABASE;
	}
	expect(&shm_full, right == 10000, "clients are served when the rest fills up", right);
	stint_limiter_free(limiter);
	stint_close(stint);
	expect(&shm_full, host_stop(&host) == 0, "the agent ends well", 0);
}

static int play_shm_full(const struct scene *scene) {
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=4m") != 0) {
		tap_skip("/dev/shm full: no mount namespace of one's own: %s", strerror(errno));
		return 0;
	}
	start_without_room(scene, 1, 1000000);
	start_without_room(scene, 2, 100000);
	run_out_of_room(scene);
	proof_print(&shm_full);
	return 0;
}

/* ---- The agent has no descriptor left ------------------------------------------------ */

#define CROWD 64

static int64_t cpu_ms(pid_t pid) {
	char path[64], text[1024] = "";
	unsigned long user = 0, system = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (file != NULL && fgets(text, sizeof(text), file) != NULL)
		sscanf(strrchr(text, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
	if (file != NULL)
		fclose(file);
	return (int64_t)(user + system) * 1000 / sysconf(_SC_CLK_TCK);
}

static void exhaust_agent(const struct host *host, struct stint_limiter *known) {
	int fd[CROWD], connected = 0, right = 0;
	struct stint_limiter *late = NULL;
	struct stint *stint = NULL;
	int64_t used_ms, took_ms = 0;
	uint64_t began;

	for (int i = 0; i < CROWD; i++)
		connected += (fd[i] = peer_connect(host->socket)) >= 0; /* the others wait in the backlog */
	expect(&agent_files, host_wait_log(host, "Too many open files", 5000), "the agent says that it has none left",
	       connected);
	used_ms = cpu_ms(host->agent);
	for (int i = 0; i < 50; i++, sleep_ms(20))
		right += ask(known) == STINT_SOURCE_DATABASE;
	used_ms = cpu_ms(host->agent) - used_ms;
	expect(&agent_files, right == 50, "those who are attached are served", right);
	expect(&agent_files, used_ms < 300, "and it doesn't spin, ms of a second", used_ms);
	stint_open(&stint, host->socket);
	stint_limiter_new(&late, stint,
	                  &(struct stint_options){.policy = "limits",
	                                          .max_requests = 8,
	                                          .time_window_ms = 3600000,
	                                          .timeout_ms = 100});
	expect(&agent_files, ask(late) == STINT_SOURCE_LOCAL, "a new app decides by itself", 0);
	for (int i = 0; i < CROWD; i++)
		close(fd[i]);
	began = monotonic_ns();
	while (ask(late) != STINT_SOURCE_DATABASE && took_ms < 4000) {
		sleep_ms(5);
		took_ms = (int64_t)((monotonic_ns() - began) / NS_PER_MS);
	}
	expect(&agent_files, took_ms < 4000, "until there are some again, ms", took_ms);
	agent_files.recovery_ms = took_ms;
	stint_limiter_free(late);
	stint_close(stint);
}

static void run_out_of_files(struct host *host) {
	const struct rlimit few = {40, 40};
	struct stint_limiter *limiter = NULL;
	struct stint *stint = NULL;
	int before, after;

	agent_files.runs++;
	stint_open(&stint, host->socket);
	stint_limiter_new(&limiter, stint, &options);
	expect(&agent_files, ask(limiter) == STINT_SOURCE_DATABASE, "an app is attached", 0);
	before = process_descriptors(host->agent);
	expect(&agent_files, prlimit(host->agent, RLIMIT_NOFILE, &few, NULL) == 0, "the agent may have 40", errno);
	exhaust_agent(host, limiter);
	sleep_ms(200);
	after = process_descriptors(host->agent);
	expect(&agent_files, after == before, "it has as many as before", after - before);
	stint_limiter_free(limiter);
	stint_close(stint);
	proof_print(&agent_files);
}

/* ---- The app has none left --------------------------------------------------------------- */

/* Runs in a child, and gives how many of its checks were wrong. At first, `spare` descriptors are left. It is
 * patient: an app that has found an agent which doesn't answer in time denies at first, as on a busy machine. */
static int live_without_files(const struct host *host, unsigned spare, int64_t *recovery_ms) {
	struct stint_options patient = options;
	struct rlimit limit = {0, 64};
	struct stint_limiter *limiter = NULL;
	struct stint_result result;
	struct stint *stint = NULL;
	int admitted = 0, wrong = 0, lowest = dup(0);
	uint64_t began;

	close(lowest);
	limit.rlim_cur = (rlim_t)lowest + spare;
	setrlimit(RLIMIT_NOFILE, &limit);
	patient.timeout_ms = 3000;
	wrong += stint_open(&stint, host->socket) != 0 || stint_limiter_new(&limiter, stint, &patient) != 0;
	for (int i = 0; i < 20; i++) {
		wrong += stint_check(limiter, "starved", 1, &result) != 0 || result.source != STINT_SOURCE_LOCAL;
		admitted += result.allowed;
	}
	wrong += admitted != 10;
	wrong += stint_fd(stint) != STINT_ESYSTEM && spare < 2;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	began = monotonic_ns();
	while (ask(limiter) != STINT_SOURCE_DATABASE && monotonic_ns() < began + 4 * NS_PER_S)
		sleep_ms(5);
	*recovery_ms = (int64_t)((monotonic_ns() - began) / NS_PER_MS);
	wrong += *recovery_ms >= 4000;
	stint_limiter_free(limiter);
	stint_close(stint);
	return wrong > 9 ? 9 : wrong;
}

static void starve_app(const struct host *host) {
	int64_t *took_ms = mmap(NULL, sizeof(*took_ms), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	/* First without any; then with one for the socket, but none for what the agent passes over it; then with
	 * one of those two. */
	for (unsigned spare = 0; spare < 3; spare++) {
		pid_t pid = fork();
		int status = -1;

		app_files.runs++;
		if (pid == 0)
			_exit(live_without_files(host, spare, took_ms));
		process_wait(pid, 30000, &status);
		expect(&app_files, status == 0, "the app decides by itself, and attaches later; left at first", spare);
		if (*took_ms > app_files.recovery_ms)
			app_files.recovery_ms = *took_ms;
	}
	munmap(took_ms, sizeof(*took_ms));
	proof_print(&app_files);
}

/* ---- The address space is small ------------------------------------------------------------- */

static void limit_space(const struct scene *scene, uint64_t bytes, int *served, int *refused) {
	const struct host_options some = {.database = "memory:", .max_clients = 50000};
	const struct rlimit before = {RLIM_INFINITY, RLIM_INFINITY}, limit = {bytes, RLIM_INFINITY};
	const char *argv[] = {process_built("stintd"), "-c", NULL, NULL};
	struct host host;
	int status = 0;
	bool ended = false;

	if (host_prepare(&host, scene, 5, &some) != 0)
		abort();
	argv[2] = host.config;
	small_space.runs++;
	setrlimit(RLIMIT_AS, &limit);
	host.agent = process_start(argv, host.log);
	setrlimit(RLIMIT_AS, &before);
	for (int i = 0; i < 2000 && !ended; i++) {
		int fd = peer_connect(host.socket);

		if (fd >= 0 && peer_hello(fd, 1000) == 0) {
			close(fd);
			break;
		}
		if (fd >= 0)
			close(fd);
		ended = process_wait(host.agent, 2, &status);
	}
	*(ended ? refused : served) += 1;
	if (!ended)
		expect(&small_space, host_stop(&host) == 0, "it serves, and ends well; MiB", (int64_t)(bytes / MIB));
	else
		expect(&small_space, WIFEXITED(status) && WEXITSTATUS(status) > 0, "it ends with an error; MiB",
		       (int64_t)(bytes / MIB));
}

static void limit_spaces(const struct scene *scene) {
	int served = 0, refused = 0;

	for (uint64_t bytes = 2 * MIB; bytes <= 128 * MIB; bytes += 6 * MIB)
		limit_space(scene, bytes, &served, &refused);
	expect(&small_space, served > 0 && refused > 0, "some were enough, some too little", served);
	proof_print(&small_space);
}

/* ---- ------------------------------------------------------------------------------------------- */

static int play(const struct scene *scene) {
	const struct host_options some = {.database = "memory:", .max_clients = 1000};
	struct host host;

	if (!tap_ok(host_prepare(&host, scene, 0, &some) == 0 && host_start(&host) == 0, "an agent"))
		return tap_finish();
	starve_app(&host);
	run_out_of_files(&host);
	tap_ok(host_is_running(&host) && host_stop(&host) == 0, "the agent ends well");
	limit_spaces(scene);
	play_shm_full(scene); /* last: it changes what this process sees */
	return tap_finish();
}

int main(void) {
	return scene_run(play, 300);
}
