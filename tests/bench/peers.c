/* peers.c - see peers.h. */
#include "peers.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "process.h"
#include "team.h"

#define CLIENTS       100
#define WINDOW_MS     60000
#define PROCESSES_MAX 4
#define WARM_UP_MS    300 /* as limiter.js has it: the agent learns the clients' rate */
#define ROUNDS        10  /* of all clients, before a process looks whether to stop */
#define IN_STEP_MS    10000
#define INSTALL_MS    120000
#define NODE_START_MS 20000

struct member {
	_Alignas(128) struct histogram ns;
	uint64_t by[PEERS_SOURCES];
	uint64_t bad; /* denied, or no verdict at all */
};

struct peers_shared {
	struct member member[PROCESSES_MAX];
};

struct job {
	struct peers *peers;
	struct redisContext *redis; /* each process makes its own */
	bool is_timed;
};

static char ids[CLIENTS][16];

/* ---- The work of a process ------------------------------------------------------ */

static bool check_stint(struct job *job, struct member *member, const char *id) {
	struct stint_result result;

	if (stint_check(job->peers->limiter, id, 1, &result) != 0 || !result.allowed)
		return false;
	member->by[result.source]++;
	return true;
}

static bool check_redis(struct job *job, struct member *member, const char *id) {
	int64_t count = redis_count(&job->peers->redis, job->redis, id);

	(void)member;
	return count > 0 && count <= STINT_MAX_REQUESTS_MAX;
}

/* Each process begins with a client of its own, so that they don't march through them in step. */
static inline const char *id_of(const struct peers *peers, const struct member *member, int i) {
	return ids[((member - peers->shared->member) * CLIENTS / PROCESSES_MAX + i) % CLIENTS];
}

static inline uint64_t work(struct job *job, struct member *member,
                            bool check(struct job *, struct member *, const char *)) {
	for (int i = 0; i < CLIENTS; i++)
		member->bad += !check(job, member, id_of(job->peers, member, i));
	return CLIENTS;
}

static inline uint64_t work_timed(struct job *job, struct member *member,
                                  bool check(struct job *, struct member *, const char *)) {
	for (int i = 0; i < CLIENTS; i++) {
		const char *id = id_of(job->peers, member, i);
		uint64_t before = monotonic_ns();

		member->bad += !check(job, member, id);
		histogram_add(&member->ns, monotonic_ns() - before);
	}
	return CLIENTS;
}

static uint64_t work_stint(void *arg, int index) {
	struct job *job = arg;
	struct member *member = &job->peers->shared->member[index];
	uint64_t done = 0;

	for (int i = 0; i < ROUNDS; i++)
		done += job->is_timed ? work_timed(job, member, check_stint) : work(job, member, check_stint);
	return done;
}

static uint64_t work_redis(void *arg, int index) {
	struct job *job = arg;
	struct member *member = &job->peers->shared->member[index];

	if (job->redis == NULL && (job->redis = redis_connect(&job->peers->redis)) == NULL)
		member->bad++;
	if (member->bad > 0) {
		sleep_ms(1);
		return 0;
	}
	return job->is_timed ? work_timed(job, member, check_redis) : work(job, member, check_redis);
}

/* ---- Runs --------------------------------------------------------------------------- */

/* Adds up what the processes noted. -1 when a check went wrong. */
static int gather(struct peers *peers, struct histogram *ns) {
	uint64_t bad = 0;

	for (int i = 0; i < PROCESSES_MAX; i++) {
		struct member *member = &peers->shared->member[i];

		bad += member->bad;
		histogram_merge(ns, &member->ns);
		for (unsigned s = 0; s < PEERS_SOURCES; s++)
			peers->sources.by[s] += member->by[s];
	}
	if (bad > 0)
		fprintf(stderr, "peers: %llu checks were denied, or failed\n", (unsigned long long)bad);
	return bad > 0 ? -1 : 0;
}

static double run_team(struct peers *peers, uint64_t (*what)(void *, int), int processes, const int ms[static 2],
                       struct histogram *ns) {
	struct job job = {.peers = peers};
	struct team_job team = {what, &job};
	double rate;

	team_rate(&team, processes, WARM_UP_MS);
	memset(peers->shared, 0, sizeof(*peers->shared));
	rate = team_rate(&team, processes, ms[0]);
	job.is_timed = true;
	if (team_rate(&team, processes, ms[1]) < 0 || gather(peers, ns) != 0)
		return -1;
	return rate;
}

double peers_run_stint(struct peers *peers, int processes, int rate_ms, int latency_ms, struct histogram *ns) {
	return run_team(peers, work_stint, processes, (int[]){rate_ms, latency_ms}, ns);
}

double peers_run_redis(struct peers *peers, int processes, int rate_ms, int latency_ms, struct histogram *ns) {
	return run_team(peers, work_redis, processes, (int[]){rate_ms, latency_ms}, ns);
}

/* " CLASS:COUNT CLASS:COUNT ...\n". The largest class with a count stands for the longest duration. */
static int read_classes(char *text, struct histogram *ns) {
	char *rest = NULL;

	for (char *word = strtok_r(text, " \n", &rest); word != NULL; word = strtok_r(NULL, " \n", &rest)) {
		unsigned long long count;
		unsigned class;

		if (sscanf(word, "%u:%llu", &class, &count) != 2 || class >= HISTOGRAM_CLASSES)
			return -1;
		ns->count[class] += count;
		if (histogram_class_end(class) > ns->max)
			ns->max = histogram_class_end(class);
	}
	return histogram_total(ns) > 0 ? 0 : -1;
}

double peers_run_node(struct peers *peers, const struct peers_node *node, int rate_ms, int latency_ms,
                      struct histogram *ns) {
	const char *where = node->store[0] == 'p' ? peers->cluster.conninfo : peers->redis.socket;
	char text[4][16], out[HISTOGRAM_CLASSES * 24], *rest;
	const int number[4] = {node->processes, node->in_flight, rate_ms, latency_ms};
	const char *argv[] = {"node",      process_built("bench/peers/limiter.js"),
	                      node->store, where,
	                      text[0],     text[1],
	                      text[2],     text[3],
	                      NULL};
	double rate;

	for (int i = 0; i < 4; i++)
		snprintf(text[i], sizeof(text[i]), "%d", number[i]);
	if (process_run(argv, rate_ms + latency_ms + NODE_START_MS, out, sizeof(out), NULL) != 0)
		return -1;
	rate = strtod(out, &rest);
	if (read_classes(rest, ns) == 0)
		return rate;
	fprintf(stderr, "peers: limiter.js did not tell what it measured\n");
	return -1;
}

/* ---- All of it ------------------------------------------------------------------------ */

static int open_stint(struct peers *peers, const struct scene *scene) {
	struct stint_options options = {.policy = "peers",
	                                .max_requests = STINT_MAX_REQUESTS_MAX,
	                                .time_window_ms = WINDOW_MS};

	if (cluster_start(&peers->cluster, scene) != 0 || cluster_install(&peers->cluster) != 0)
		return -1;
	if (host_prepare(&peers->host, scene, 0, &(struct host_options){.database = peers->cluster.agent}) != 0 ||
	    host_start(&peers->host) != 0 || !host_wait_in_step(&peers->host, IN_STEP_MS))
		return -1;
	if (stint_open(&peers->stint, peers->host.socket) != 0 ||
	    stint_limiter_new(&peers->limiter, peers->stint, &options) != 0) {
		fprintf(stderr, "peers: %s\n", stint_error_detail());
		return -1;
	}
	return 0;
}

int peers_open(struct peers *peers, const struct scene *scene) {
	const char *install[] = {"tests/bench/peers/install", NULL};

	for (int i = 0; i < CLIENTS; i++)
		snprintf(ids[i], sizeof(ids[i]), "client-%08d", i);
	peers->shared = mmap(NULL, sizeof(*peers->shared), PROT_READ | PROT_WRITE,
	                     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (peers->shared == MAP_FAILED || process_run(install, INSTALL_MS, NULL, 0, NULL) != 0) {
		fprintf(stderr, "peers: can't install what is compared with\n");
		return -1;
	}
	return open_stint(peers, scene) == 0 ? redis_start(&peers->redis, scene, WINDOW_MS) : -1;
}

void peers_close(struct peers *peers) {
	redis_stop(&peers->redis);
	stint_limiter_free(peers->limiter);
	stint_close(peers->stint);
	host_stop(&peers->host);
	cluster_close(&peers->cluster);
}
