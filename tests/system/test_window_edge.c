/*
 * test_window_edge.c - all hosts ask at once, within 5 ms of the edges of windows and sub-windows, and at no
 * other time: where a lease ends and the next one begins, where clocks that are compared wrongly would show,
 * and where an aligned window would let twice its limit through.
 *
 *     test_window_edge [SECONDS [SEED]]      default 12; 600 for a long run
 *
 * Where the edges are the test reads from the database's counters. Each of the hosts has one process for each
 * policy, which makes a number of checks at every edge of its client's, spread over 10 ms by chance: somewhat
 * more than the limit in all, or as many as it can.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "books.h"
#include "check.h"
#include "process.h"
#include "proof.h"
#include "random.h"
#include "setting.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define HOSTS               4u
#define POLICIES            4u
#define LIMIT               300
#define AROUND_NS           (5 * NS_PER_MS)
#define AS_MANY_AS_POSSIBLE 0u
#define CHECK_TIMEOUT_MS    1000
#define SLACK_MS            500

#define POLICY(policy_name, window, sub_windows, kind)                                                            \
	{                                                                                                             \
		.name = policy_name, JOURNAL_LIMITS(LIMIT, LIMIT, window), .resolution = sub_windows, .algorithm = kind,  \
		.cost_min = 1, .cost_max = 1, .clients = 1, .share = 1                                                    \
	}

static const struct journal_plan plan = {
	.policy_count = POLICIES,
	.policy = {POLICY("tenths", 1000, 10, STINT_SLIDING_WINDOW), POLICY("greedy", 1000, 10, STINT_SLIDING_WINDOW),
               POLICY("halves", 1000, 2, STINT_SLIDING_WINDOW), POLICY("fixed", 500, 0, STINT_FIXED_WINDOW)},
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 100000,
};

/* How many checks one process makes at one edge: all hosts together are a third above the limit. */
static const uint32_t shots[POLICIES] = {10, AS_MANY_AS_POSSIBLE, 50, AS_MANY_AS_POSSIBLE};

static unsigned long seconds = 12;
static uint64_t seed = 1;

struct edges {
	uint64_t first_ns, length_ns;
};

struct shooter {
	struct journal journal;
	pid_t pid;
};

/* ---- One process --------------------------------------------------------------- */

/* Makes all checks around one edge. */
static int shoot(struct journal *journal, struct stint_limiter *limiter, uint32_t policy, uint64_t edge_ns,
                 uint64_t *random) {
	const struct load_check check = {.policy = policy, .client = 0, .cost = 1};
	uint64_t from_ns = edge_ns - AROUND_NS, span_ns = 2 * AROUND_NS;

	sleep_until_ns(from_ns);
	if (shots[policy] == AS_MANY_AS_POSSIBLE) {
		while (monotonic_ns() < from_ns + span_ns)
			if (!check_make(journal, limiter, &check))
				return -1;
		return 0;
	}
	for (uint32_t i = 0; i < shots[policy]; i++) {
		sleep_until_ns(from_ns + (span_ns * i + random_below(random, (uint32_t)span_ns)) / shots[policy]);
		if (!check_make(journal, limiter, &check))
			return -1;
	}
	return 0;
}

static int run(const char *path, const struct edges *edges, uint32_t policy, uint64_t until_ns) {
	const struct journal_policy *terms = &plan.policy[policy];
	const struct stint_options options = {.policy = terms->name,
	                                      .must_exist = true,
	                                      .timeout_ms = CHECK_TIMEOUT_MS};
	uint64_t edge_ns = edges->first_ns, random;
	struct stint_limiter *limiter;
	struct journal journal;
	struct stint *stint;

	if (journal_open(&journal, path) != 0 || stint_open(&stint, journal.file->plan.socket) != 0 ||
	    stint_limiter_new(&limiter, stint, &options) != 0)
		return 1;
	random = journal.file->plan.seed;
	while (edge_ns < monotonic_ns() + 2 * AROUND_NS)
		edge_ns += edges->length_ns;
	for (; edge_ns < until_ns; edge_ns += edges->length_ns)
		if (shoot(&journal, limiter, policy, edge_ns, &random) != 0)
			return 3;
	return 0;
}

/* ---- The play ------------------------------------------------------------------- */

/* Makes the first check of each client, by which the database comes to know it. Then its counter tells the
 * edges. */
static int find_edges(struct stage *stage, struct books *books, struct edges edges[static POLICIES]) {
	struct stint *stint;
	char id[64];

	journal_client_id(&plan, 0, id);
	if (stint_open(&stint, stage->host[0].socket) != 0)
		return -1;
	for (uint32_t p = 0; p < POLICIES; p++) {
		const struct journal_policy *terms = &plan.policy[p];
		const struct stint_options options = {.policy = terms->name,
		                                      .max_requests = terms->max_requests,
		                                      .time_window_ms = terms->time_window_ms,
		                                      .fallback_max_requests = terms->fallback_max_requests,
		                                      .algorithm = (enum stint_algorithm)terms->algorithm,
		                                      .resolution = (int32_t)terms->resolution};
		struct stint_limiter *limiter;
		struct stint_result result;

		if (stint_limiter_new(&limiter, stint, &options) != 0 || stint_check(limiter, id, 1, &result) != 0 ||
		    result.source != STINT_SOURCE_DATABASE)
			return -1;
		stint_limiter_free(limiter);
	}
	stint_close(stint);
	if (books_look(books, &stage->cluster) != 0)
		return -1;
	for (uint32_t p = 0; p < POLICIES; p++)
		if (!books_sub_window(books, plan.policy[p].name, id, &edges[p].first_ns, &edges[p].length_ns))
			return -1;
	return 0;
}

static int start_all(const struct stage *stage, struct shooter shooters[HOSTS * POLICIES],
                     const struct edges *edges, uint64_t until_ns) {
	for (uint32_t i = 0; i < HOSTS * POLICIES; i++) {
		struct journal_plan own = plan;
		char file[32], path[108];

		snprintf(own.socket, sizeof(own.socket), "%s", stage->host[i % HOSTS].socket);
		own.host = i % HOSTS;
		own.seed = seed * 1000 + i;
		own.capacity = (uint32_t)(seconds + 2) * 4 * LIMIT;
		snprintf(file, sizeof(file), "%u.journal", i);
		scene_path(stage->scene, file, path);
		if (journal_create(&shooters[i].journal, path, &own, 0) != 0)
			return -1;
		shooters[i].pid = fork();
		if (shooters[i].pid == 0)
			_exit(run(path, &edges[i / HOSTS], i / HOSTS, until_ns));
	}
	return 0;
}

static void look_until(struct books *books, struct cluster *cluster, uint64_t until_ns) {
	uint64_t began = monotonic_ns(), told_s = 60;

	while (monotonic_ns() < until_ns) {
		books_look(books, cluster);
		if ((uint64_t)stage_ms_since(began) / 1000 >= told_s) {
			tap_note("%llu of %lu s", (unsigned long long)told_s, seconds);
			told_s += 60;
		}
		sleep_ms(100);
	}
}

static void read_all(struct shooter shooters[HOSTS * POLICIES], struct oracle *oracle, struct crowd_total *total) {
	uint32_t bad = 0;

	for (uint32_t i = 0; i < HOSTS * POLICIES; i++) {
		int status = -1;

		bad += !process_wait(shooters[i].pid, 5000, &status) || status != 0;
		crowd_total_add(total, &shooters[i].journal.file->counts);
		oracle_read(oracle, &shooters[i].journal);
		journal_close(&shooters[i].journal);
	}
	oracle_sort(oracle);
	tap_ok(bad == 0, "%u processes made their checks, %u did not end well", HOSTS * POLICIES, bad);
	stage_print_total(total);
	tap_ok(total->errors == 0, "no check failed; %llu did", (unsigned long long)total->errors);
}

/* Counts the edges at which more than one host admitted something within AROUND_NS. That shows that the test
 * does what it says. */
static uint64_t count_shared(const struct oracle *oracle, uint32_t policy, const struct edges *edges) {
	uint64_t at = UINT64_MAX, hosts = 0, shared = 0;

	for (size_t i = 0; i < oracle->count; i++) {
		const struct oracle_event *event = &oracle->events[i];
		uint64_t edge;

		if (event->policy != policy)
			continue;
		edge = (event->intent_ns + edges->length_ns / 2 - edges->first_ns) / edges->length_ns;
		if (edge != at)
			hosts = 0;
		shared += __builtin_popcountll(hosts) == 1 && (hosts | UINT64_C(1) << event->host) != hosts;
		hosts |= UINT64_C(1) << event->host;
		at = edge;
	}
	return shared;
}

static uint64_t judge_policy(const struct oracle *oracle, uint32_t policy, const struct edges *edges,
                             uint64_t doubt_ns, uint64_t *shared) {
	const struct oracle_choice choice = {.policy = policy, .client = 0, .host = ORACLE_ANY};
	const struct journal_policy *terms = &plan.policy[policy];
	uint64_t window_ns = (uint64_t)terms->time_window_ms * NS_PER_MS, both = count_shared(oracle, policy, edges);
	struct oracle_peak peak = terms->algorithm == STINT_FIXED_WINDOW
	                              ? oracle_peak_aligned(oracle, &choice, window_ns, edges->first_ns, doubt_ns)
	                              : oracle_peak(oracle, &choice, window_ns);

	tap_ok(peak.certain <= terms->max_requests, "I1 %s: at most %lld in any %lld ms; limit %lld, by outcome %lld",
	       terms->name, (long long)peak.certain, (long long)terms->time_window_ms, (long long)terms->max_requests,
	       (long long)peak.by_outcome);
	tap_ok(peak.by_outcome * 2 >= terms->max_requests && both >= seconds / 2,
	       "%s: half of the limit at least was used, and several hosts were admitted at %llu edges", terms->name,
	       (unsigned long long)both);
	*shared += both;
	return peak.certain > terms->max_requests;
}

static int play(const struct scene *scene) {
	static struct shooter shooters[HOSTS * POLICIES];
	struct edges edges[POLICIES];
	struct crowd_total total = {0};
	struct oracle oracle = {0};
	struct clock_relation after;
	struct books books;
	struct stage stage;
	uint64_t until_ns, doubt_ns, over = 0, shared = 0;
	int64_t drift_ns;

	if (stage_set(&stage, scene, HOSTS, STAGE_PATIENT) != 0)
		return tap_finish();
	books_init(&books);
	until_ns = monotonic_ns() + (seconds + 1) * NS_PER_S;
	if (!tap_ok(find_edges(&stage, &books, edges) == 0 && start_all(&stage, shooters, edges, until_ns) == 0,
	            "%u hosts fire at the edges of %u clients", HOSTS, POLICIES))
		return tap_finish();
	look_until(&books, &stage.cluster, until_ns);
	read_all(shooters, &oracle, &total);
	after = clock_relate();
	drift_ns = llabs(after.offset_ns - books.clock.offset_ns);
	doubt_ns = (uint64_t)drift_ns + after.error_ns + books.clock.error_ns;
	for (uint32_t p = 0; p < POLICIES; p++)
		over += judge_policy(&oracle, p, &edges[p], doubt_ns, &shared);
	tap_ok(books.over_limit == 0, "I2: charged <= limit in %zu sub-windows read", books.count);
	over += !stage_check_latency(&total, CHECK_TIMEOUT_MS, SLACK_MS) + (uint64_t)books.over_limit + total.errors;
	proof_print(&(struct proof){"I1 I2 I4", "all hosts fire within 5 ms of a window's edge", shared, oracle.count,
	                            over, PROOF_NO_RECOVERY});
	stage_strike(&stage);
	books_free(&books);
	oracle_free(&oracle);
	return tap_finish();
}

int main(int argc, char **argv) {
	seconds = setting_argument(argc, argv, 1, seconds);
	seed = setting_argument(argc, argv, 2, seed);
	return scene_run(play, 60 + 2 * (int)seconds);
}
