/*
 * test_process.c - what a process may do with the library, with a real agent: fork while its threads check, be
 * interrupted by signals at any moment, load and unload the library again and again. All of this is as stint.h
 * documents it.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "host.h"
#include "process.h"
#include "proof.h"
#include "scene.h"
#include "stint.h"
#include "tap.h"

#define LIMIT      2000
#define TIMEOUT_MS 3000
#define THREADS    4
#define FORKS      40
#define LOADS      100

static const struct stint_options options = {.policy = "process",
                                             .max_requests = LIMIT,
                                             .time_window_ms = 3600000,
                                             .timeout_ms = TIMEOUT_MS};

/* ---- Fork under load --------------------------------------------------------------- */

struct tally { /* shared by all processes */
	_Atomic uint64_t checks, admitted, wrong;
	_Atomic bool stop;
};

struct load {
	struct tally *tally;
	struct stint_limiter *limiter;
};

static void check_shared(const struct load *load) {
	struct stint_result result;
	int error = stint_check(load->limiter, "shared", 1, &result);

	atomic_fetch_add(&load->tally->checks, 1);
	if (error != 0 || result.source == STINT_SOURCE_LOCAL)
		atomic_fetch_add(&load->tally->wrong, 1);
	else if (result.allowed)
		atomic_fetch_add(&load->tally->admitted, 1);
}

static void *check_all_along(void *context) {
	const struct load *load = context;

	while (!atomic_load(&load->tally->stop)) {
		check_shared(load);
		usleep(300);
	}
	return NULL;
}

/* The child checks a client of its own, for which it has to ask over a connection of its own. */
static int live_as_child(const struct load *load, int number) {
	struct stint_result result;
	char client[32];

	for (int i = 0; i < 10; i++)
		check_shared(load);
	for (int i = 0; i < 10; i++) {
		snprintf(client, sizeof(client), "child-%d-%d", number, i);
		if (stint_check(load->limiter, client, 1, &result) != 0 || result.source != STINT_SOURCE_DATABASE ||
		    !result.allowed)
			return 1;
	}
	return 0;
}

static int fork_some(const struct load *load) {
	pid_t pids[FORKS];
	int bad = 0;

	for (int i = 0; i < FORKS; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(live_as_child(load, i));
		sleep_ms(3);
	}
	for (int i = 0; i < FORKS; i++) {
		int status = -1;

		if (!process_wait(pids[i], 30000, &status))
			process_kill(pids[i]);
		bad += status != 0;
	}
	return bad;
}

static void fork_under_load(const struct host *host) {
	struct load load = {
		.tally = mmap(NULL, sizeof(struct tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)};
	pthread_t threads[THREADS];
	struct stint *stint = NULL;
	uint64_t wrong;
	int bad;

	stint_open(&stint, host->socket);
	stint_limiter_new(&load.limiter, stint, &options);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, check_all_along, &load);
	bad = fork_some(&load);
	for (int i = 0; i < 5000; i++) /* the parent goes on, until the limit is met */
		check_shared(&load);
	atomic_store(&load.tally->stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	stint_limiter_free(load.limiter);
	stint_close(stint);
	wrong = load.tally->wrong;
	tap_ok(bad == 0, "%d children got on by themselves, %d didn't", FORKS, bad);
	tap_ok(wrong == 0, "%" PRIu64 " checks of parent and children, %" PRIu64 " wrong", load.tally->checks, wrong);
	tap_ok(load.tally->admitted <= LIMIT && load.tally->admitted > LIMIT / 2,
	       "together they were admitted %" PRIu64 " times of %d", load.tally->admitted, LIMIT);
	proof_print(&(struct proof){"I1 I4", "fork under load", FORKS, load.tally->checks,
	                            wrong + (uint64_t)bad + (load.tally->admitted > LIMIT), PROOF_NO_RECOVERY});
	munmap(load.tally, sizeof(*load.tally));
}

/* ---- Interrupted by signals ---------------------------------------------------------- */

static volatile sig_atomic_t interruptions;

static void on_alarm(int number) {
	(void)number;
	interruptions++;
}

/* Each check of a new client waits for the agent, and the signal's handler makes every system call end with
 * EINTR. */
static void interrupt(const struct host *host) {
	const struct sigaction action = {.sa_handler = on_alarm};
	const struct itimerval often = {{0, 150}, {0, 150}}, never = {0};
	struct stint_limiter *limiter = NULL;
	struct stint *stint = NULL;
	uint64_t wrong = 0, checks = 4000;

	stint_open(&stint, host->socket);
	stint_limiter_new(&limiter, stint, &options);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (uint64_t i = 0; i < checks; i++) {
		struct stint_result result;
		char client[32];

		snprintf(client, sizeof(client), "signal-%" PRIu64, i);
		wrong += stint_check(limiter, client, 1, &result) != 0 || result.source != STINT_SOURCE_DATABASE ||
		         !result.allowed;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_DFL);
	stint_limiter_free(limiter);
	stint_close(stint);
	tap_ok(wrong == 0 && interruptions > 20, "%" PRIu64 " checks under %d signals, %" PRIu64 " wrong", checks,
	       (int)interruptions, wrong);
	proof_print(&(struct proof){"I4", "signals interrupt checks", (uint64_t)interruptions, checks, wrong,
	                            PROOF_NO_RECOVERY});
}

/* ---- Loaded and unloaded ---------------------------------------------------------------- */

struct library {
	void *handle;
	int (*open)(struct stint **, const char *);
	void (*close)(struct stint *);
	int (*limiter_new)(struct stint_limiter **, struct stint *, const struct stint_options *, size_t);
	void (*limiter_free)(struct stint_limiter *);
	int (*check)(struct stint_limiter *, const char *, size_t, uint32_t, struct stint_result *, size_t);
};

static bool load(struct library *l) {
	l->handle = dlopen(process_built("libstint.so"), RTLD_NOW | RTLD_LOCAL);
	if (l->handle == NULL)
		return false;
	*(void **)&l->open = dlsym(l->handle, "stint_open");
	*(void **)&l->close = dlsym(l->handle, "stint_close");
	*(void **)&l->limiter_new = dlsym(l->handle, "stint_limiter_new_sized");
	*(void **)&l->limiter_free = dlsym(l->handle, "stint_limiter_free");
	*(void **)&l->check = dlsym(l->handle, "stint_check_sized");
	return l->open != NULL && l->close != NULL && l->limiter_new != NULL && l->limiter_free != NULL &&
	       l->check != NULL;
}

static bool use_once(const char *socket_path, int number) {
	struct stint_limiter *limiter = NULL;
	struct stint_result result = {0};
	struct stint *stint = NULL;
	struct library l;
	char client[32];
	bool right;

	if (!load(&l))
		return false;
	snprintf(client, sizeof(client), "loaded-%d", number);
	right = l.open(&stint, socket_path) == 0 && l.limiter_new(&limiter, stint, &options, sizeof(options)) == 0 &&
	        l.check(limiter, client, STINT_STRING, 1, &result, sizeof(result)) == 0 && result.allowed &&
	        result.source == STINT_SOURCE_DATABASE;
	/* the text of an error is in the thread's own memory */
	right = l.check(limiter, "", STINT_STRING, 1, &result, sizeof(result)) == STINT_ECLIENT && right;
	l.limiter_free(limiter);
	l.close(stint);
	return dlclose(l.handle) == 0 && right;
}

/* Gives how many of the process's mappings are the library's or the table's; *all: how many there are. */
static int count_mappings(const struct host *host, int *all) {
	FILE *file = fopen("/proc/self/maps", "re");
	char line[512];
	int count = 0;

	*all = 0;
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		count += strstr(line, "libstint.so") != NULL || strstr(line, host->shm) != NULL;
		*all += 1;
	}
	if (file != NULL)
		fclose(file);
	return count;
}

static void load_and_unload(const struct host *host) {
	int wrong = 0, left, files, all_before, all_after;

	for (int i = 0; i < 10; i++) /* at first, the loader and the C library keep something */
		wrong += !use_once(host->socket, i);
	files = process_descriptors(getpid());
	count_mappings(host, &all_before);
	for (int i = 10; i < 10 + LOADS; i++)
		wrong += !use_once(host->socket, i);
	left = count_mappings(host, &all_after);
	files = process_descriptors(getpid()) - files;
	tap_ok(wrong == 0, "loaded, used and unloaded %d times, %d wrong", LOADS + 10, wrong);
	tap_ok(left == 0, "nothing of the library or of the table stays mapped: %d", left);
	tap_ok(files == 0 && all_after <= all_before, "no descriptor, no mapping is left: %d, %d", files,
	       all_after - all_before);
	proof_print(&(struct proof){"I4 I6", "library loaded and unloaded", LOADS + 10, LOADS + 10,
	                            (uint64_t)wrong + (left != 0) + (files != 0) + (all_after > all_before),
	                            PROOF_NO_RECOVERY});
}

static int play(const struct scene *scene) {
	const struct host_options some = {.database = "memory:", .max_clients = 20000};
	struct host host;
	int before, after;

	if (!tap_ok(host_prepare(&host, scene, 0, &some) == 0 && host_start(&host) == 0, "an agent"))
		return tap_finish();
	sleep_ms(50);
	before = process_descriptors(host.agent);
	load_and_unload(&host);
	interrupt(&host);
	fork_under_load(&host);
	after = process_wait_descriptors(host.agent, before, 5000);
	tap_ok(after == before, "the agent has as many descriptors as before: %d, %d", before, after);
	tap_ok(host_is_running(&host) && host_stop(&host) == 0, "the agent ends well");
	return tap_finish();
}

int main(void) {
	return scene_run(play, 200);
}
