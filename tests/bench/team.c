/* team.c - starts the processes, lets them begin together, and adds up what they did. */
#include "team.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

#define TEAM_MAX 64

struct member {
	_Alignas(128) uint64_t done; /* a pair of lines each: neighbours are fetched together */
	uint64_t began_ns, ended_ns;
};

struct team {
	atomic_int ready;
	atomic_bool go, stop;
	struct member member[TEAM_MAX];
};

static void work(struct team *team, const struct team_job *job, int index) {
	uint64_t done = 0;

	atomic_fetch_add(&team->ready, 1);
	while (!atomic_load(&team->go))
		sleep_ms(1);
	team->member[index].began_ns = monotonic_ns();
	while (!atomic_load_explicit(&team->stop, memory_order_relaxed))
		done += job->work(job->arg, index);
	team->member[index].ended_ns = monotonic_ns();
	team->member[index].done = done;
}

/* They die with their parent: nobody else would tell them to stop. */
static int start(struct team *team, const struct team_job *job, int processes, pid_t *pids) {
	pid_t parent = getpid();

	for (int i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() == parent)
				work(team, job, i);
			_exit(0);
		}
		if (pid < 0) {
			perror("team: fork");
			return i;
		}
		pids[i] = pid;
	}
	return processes;
}

/* How many ended well. */
static int wait_for(int processes, const pid_t *pids) {
	int well = 0;

	for (int i = 0; i < processes; i++) {
		int status;

		well += waitpid(pids[i], &status, 0) == pids[i] && status == 0;
	}
	if (well < processes)
		fprintf(stderr, "team: %d of %d processes did not end well\n", processes - well, processes);
	return well;
}

/* From the first to begin until the last to end: with more processes than cores not all of them work at any
 * moment. */
static double rate_of(const struct team *team, int processes) {
	uint64_t began_ns = UINT64_MAX, ended_ns = 0, done = 0;

	for (int i = 0; i < processes; i++) {
		const struct member *m = &team->member[i];

		began_ns = m->began_ns < began_ns ? m->began_ns : began_ns;
		ended_ns = m->ended_ns > ended_ns ? m->ended_ns : ended_ns;
		done += m->done;
	}
	return (double)done * 1e9 / (double)(ended_ns - began_ns);
}

double team_rate(const struct team_job *job, int processes, int ms) {
	struct team *team = mmap(NULL, sizeof(*team), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[TEAM_MAX];
	double rate;
	int started, well;

	if (team == MAP_FAILED || processes > TEAM_MAX)
		return -1;
	started = start(team, job, processes, pids);
	while (atomic_load(&team->ready) < started)
		sleep_ms(1);
	atomic_store(&team->go, true);
	sleep_ms(ms);
	atomic_store(&team->stop, true);
	well = wait_for(started, pids);
	rate = well == processes ? rate_of(team, processes) : -1;
	munmap(team, sizeof(*team));
	return rate;
}
