/*
 * bench_growth.c - what grows with what: the time of a check with the clients in the table and with the
 * processes, the memory with the clients, the agent's work with the resolution; and what an agent does when
 * nobody checks.
 */
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "cluster.h"
#include "core/table.h"
#include "figure.h"
#include "process.h"
#include "quick.h"
#include "sample.h"
#include "team.h"
#include "warm_table.h"

#define HOT_CHECKS   500000u
#define HOT_ROUNDS   15 /* each with another client: the later one came into the table, the rarer it is at home */
#define TEAM_MS      1000
#define IDLE_MS      15000
#define LOADED_MS    4000
#define LOADED_PER_S 1000
#define PIECE        1000u
#define UNDER_WAY    2000u

/* ---- Time per check ------------------------------------------------------------------- */

static double time_hot(struct stint_limiter *limiter, uint32_t clients, int round) {
	struct stint_result result;
	WARM_ID_ALIGNED char id[WARM_ID_SIZE];
	uint64_t began;

	warm_id((uint32_t)((uint64_t)clients * (uint32_t)round / HOT_ROUNDS), id);
	stint_check(limiter, id, 1, &result);
	began = monotonic_ns();
	for (uint32_t i = 0; i < HOT_CHECKS; i++)
		stint_check(limiter, id, 1, &result);
	return (double)(monotonic_ns() - began) / HOT_CHECKS;
}

static int measure_hot(const struct scene *scene) {
	static const uint32_t clients[] = {1000, 10000, 100000, 1000000};
	double first = 0;

	for (uint32_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
		struct samples samples = {0};
		struct stint_limiter *limiter;
		struct warm_table warm;
		struct stint *st;
		char what[96];

		if (warm_table_make(&warm, scene, i, clients[i], WARM_ALLOWED) != 0 ||
		    warm_attach(&warm, &st, &limiter) != 0)
			return -1;
		for (int round = 0; i == 0 && round < HOT_ROUNDS; round++)
			time_hot(limiter, clients[i], round); /* lets the machine come to speed */
		for (int round = 0; round < HOT_ROUNDS; round++)
			samples_add(&samples, time_hot(limiter, clients[i], round));
		if (i == 0)
			first = samples_median(&samples);
		snprintf(what, sizeof(what), "one hot client of %u in the table", clients[i]);
		figure_put(&(struct figure){.row = 12,
		                            .what = what,
		                            .unit = "ns",
		                            .value = samples_median(&samples),
		                            .against = "of 1000",
		                            .base = first,
		                            .target = i > 0 ? FIGURE_AT_MOST : FIGURE_STATED,
		                            .bound = 1.1});
		figure_point("clients", "stint, one hot client", clients[i], samples_median(&samples));
		stint_limiter_free(limiter);
		stint_close(st);
		warm_table_end(&warm);
	}
	return 0;
}

struct crowd_job {
	struct stint_limiter *limiter;
	uint32_t apart;
};

static uint64_t check_piece(void *arg, int index) {
	struct crowd_job *job = arg;
	struct stint_result result;
	WARM_ID_ALIGNED char id[WARM_ID_SIZE];

	warm_id((uint32_t)index * job->apart, id);
	for (uint32_t i = 0; i < PIECE; i++)
		if (stint_check(job->limiter, id, 1, &result) != 0 || !result.allowed)
			_exit(1);
	return PIECE;
}

static int measure_processes(const struct scene *scene) {
	struct warm_table warm;
	struct crowd_job job;
	struct stint *st;

	if (warm_table_make(&warm, scene, 4, 10000, WARM_ALLOWED) != 0 || warm_attach(&warm, &st, &job.limiter) != 0)
		return -1;
	for (int processes = 1; processes <= 64; processes *= 2)
		for (int own = 0; own < 2; own++) {
			const char *label = own ? "each its own client" : "one client";
			char what[96];
			double rate;

			job.apart = own ? 16 : 0;
			rate = team_rate(&(struct team_job){check_piece, &job}, processes, quick_ms(TEAM_MS));
			if (rate <= 0)
				return -1;
			figure_point("processes", label, processes, rate);
			snprintf(what, sizeof(what), "%d processes, %s", processes, label);
			if (processes == 1 || processes == 64)
				figure_put(&(struct figure){.row = 12, .what = what, .unit = "checks/s", .value = rate});
		}
	stint_limiter_free(job.limiter);
	stint_close(st);
	warm_table_end(&warm);
	return 0;
}

/* ---- Memory --------------------------------------------------------------------------- */

struct flood {
	struct stint *stint;
	struct stint_limiter *limiter;
	uint32_t under_way, decided, admitted;
};

static void note(struct flood *flood, bool is_admitted) {
	flood->decided++;
	flood->admitted += is_admitted;
}

static void on_verdict(int status, const struct stint_result *result, void *arg) {
	struct flood *flood = arg;

	flood->under_way--;
	note(flood, status == 0 && result->allowed);
}

static void start(struct flood *flood, uint32_t client) {
	struct stint_result result;
	char id[40];
	int status;

	snprintf(id, sizeof(id), "%032u", client); /* 32 bytes, as keys are */
	status = stint_check_async(flood->limiter, id, 1, &result, on_verdict, flood);
	if (status == 0)
		flood->under_way++;
	else
		note(flood, status == 1 && result.allowed);
}

static int see_all(struct flood *flood, uint32_t clients) {
	for (uint32_t started = 0; flood->decided < clients;) {
		struct pollfd ready = {.fd = stint_fd(flood->stint), .events = POLLIN};

		while (started < clients && flood->under_way < UNDER_WAY)
			start(flood, started++);
		poll(&ready, 1, 100);
		stint_dispatch(flood->stint);
	}
	if (flood->admitted == clients)
		return 0;
	fprintf(stderr, "bench_growth: %u of %u clients were not admitted\n", clients - flood->admitted, clients);
	return -1;
}

static double percent_of_core(pid_t pid, int ms);

static int measure_memory(const struct scene *scene, uint32_t number, uint32_t clients, const char *database,
                          const char *where) {
	struct host_options options = {.database = database, .max_clients = (int)clients, .idle_timeout_s = 600};
	struct stint_options limit = {.policy = "once", .max_requests = 10, .time_window_ms = 600000};
	bool is_in_memory = strcmp(database, "memory:") == 0;
	struct flood flood = {0};
	struct host host;
	char what[96];
	long shared = 0, total;
	double bytes;

	if (host_prepare(&host, scene, number, &options) != 0 || host_start(&host) != 0 ||
	    (!is_in_memory && !host_wait_in_step(&host, 10000)) || stint_open(&flood.stint, host.socket) != 0 ||
	    stint_limiter_new(&flood.limiter, flood.stint, &limit) != 0)
		return -1;
	if (see_all(&flood, clients) != 0)
		return -1;
	total = process_memory_kib(host.agent, &shared);
	/* All of the table's memory was taken at the start, so that what the agent has not touched counts, too. */
	bytes = (double)(total - shared) * 1024 + (double)table_geometry_for(clients, 0).table_bytes;
	snprintf(what, sizeof(what), "%s, %u clients: memory for each, with ids of 32 bytes", where, clients);
	figure_put(&(struct figure){.row = 12,
	                            .what = what,
	                            .unit = "bytes",
	                            .value = bytes / clients,
	                            .target = is_in_memory ? FIGURE_STATED : FIGURE_AT_MOST,
	                            .bound = 192,
	                            .note = "what malloc keeps for doubling its pools weighs more with few clients"});
	snprintf(what, sizeof(what), "%s, %u idle clients: CPU, of a core", where, clients);
	figure_put(
		&(struct figure){.row = 12,
	                     .what = what,
	                     .unit = "%",
	                     .value = percent_of_core(host.agent, quick_ms(IDLE_MS)),
	                     .target = FIGURE_AT_MOST,
	                     .bound = 0.5,
	                     .note = "what it does is to end the leases that nobody used, one timer for each client"});
	stint_limiter_free(flood.limiter);
	stint_close(flood.stint);
	host_stop(&host);
	return 0;
}

/* ---- The agent's work -------------------------------------------------------------------- */

/* By the process' own clock: /proc counts in ticks of 10 ms, and an agent needs a few in a run. */
static double cpu_ms(pid_t pid) {
	clockid_t clock;

	return clock_getcpuclockid(pid, &clock) == 0 ? (double)clock_read_ns(clock) / NS_PER_MS : NAN;
}

static double percent_of_core(pid_t pid, int ms) {
	double before = cpu_ms(pid);

	sleep_ms(ms);
	return (cpu_ms(pid) - before) * 100 / ms;
}

static uint64_t check_slowly(void *arg, int index) {
	static uint64_t due_ns;
	struct stint_result result;

	(void)index;
	if (stint_check(arg, "hot", 1, &result) != 0 || !result.allowed)
		_exit(1);
	due_ns = (due_ns == 0 ? monotonic_ns() : due_ns) + NS_PER_S / LOADED_PER_S;
	sleep_until_ns(due_ns);
	return 1;
}

static int measure_resolution(const struct host *host, int resolution) {
	struct stint_options limit = {.max_requests = 4 * LOADED_PER_S,
	                              .time_window_ms = 1000,
	                              .resolution = resolution};
	struct stint_limiter *limiter;
	struct stint *st;
	char policy[32], what[96];
	double cpu, batches;

	snprintf(policy, sizeof(policy), "resolution-%d", resolution);
	limit.policy = policy;
	if (stint_open(&st, host->socket) != 0 || stint_limiter_new(&limiter, st, &limit) != 0)
		return -1;
	if (team_rate(&(struct team_job){check_slowly, limiter}, 1, 1000) < 0)
		return -1;
	cpu = cpu_ms(host->agent);
	batches = (double)host_number(host, "counters", "batches");
	if (team_rate(&(struct team_job){check_slowly, limiter}, 1, quick_ms(LOADED_MS)) < 0)
		return -1;
	snprintf(what, sizeof(what), "1,000 checks/s of one client, resolution %d: agent's CPU, of a core",
	         resolution);
	figure_put(&(struct figure){.row = 12,
	                            .what = what,
	                            .unit = "%",
	                            .value = (cpu_ms(host->agent) - cpu) * 100 / quick_ms(LOADED_MS)});
	snprintf(what, sizeof(what), "1,000 checks/s of one client, resolution %d: statements", resolution);
	figure_put(&(struct figure){.row = 12,
	                            .what = what,
	                            .unit = "/s",
	                            .value = ((double)host_number(host, "counters", "batches") - batches) * 1000 /
	                                     quick_ms(LOADED_MS)});
	stint_limiter_free(limiter);
	stint_close(st);
	return 0;
}

static int measure_agent(const struct scene *scene) {
	static const int resolution[] = {1, 5, 10, 20, 60};
	struct cluster cluster;
	struct host host;
	int status;

	if (cluster_start(&cluster, scene) != 0 || cluster_install(&cluster) != 0 ||
	    host_prepare(&host, scene, 10, &(struct host_options){.database = cluster.agent}) != 0 ||
	    host_start(&host) != 0 || !host_wait_in_step(&host, 10000))
		return -1;
	for (size_t i = 0; i < sizeof(resolution) / sizeof(resolution[0]); i++)
		if (measure_resolution(&host, resolution[i]) != 0)
			return -1;
	sleep_ms(1000);
	figure_put(&(struct figure){.row = 12,
	                            .what = "idle agent on PostgreSQL: CPU, of a core",
	                            .unit = "%",
	                            .value = percent_of_core(host.agent, quick_ms(IDLE_MS)),
	                            .target = FIGURE_AT_MOST,
	                            .bound = 0.5});
	host_stop(&host);
	status = measure_memory(scene, 5, 100000, cluster.agent, "on PostgreSQL") != 0 ||
	         measure_memory(scene, 6, 1000000, cluster.agent, "on PostgreSQL") != 0;
	cluster_close(&cluster);
	return status ? -1 : 0;
}

static int play(const struct scene *scene) {
	return measure_hot(scene) != 0 || measure_processes(scene) != 0 ||
	       measure_memory(scene, 7, 1000000, "memory:", "without a database") != 0 || measure_agent(scene) != 0;
}

int main(void) {
	return scene_run(play, 240);
}
