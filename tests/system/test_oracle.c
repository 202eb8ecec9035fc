/*
 * test_oracle.c - the promise itself: 8 hosts, 16 app processes, uneven load, and
 * every interval of every client looked at.
 *
 * Every client is under steady pressure from all hosts: each wants several times its
 * limit, so what it gets is also a measure of what leases and sub-windows cost.
 */
#include <stdio.h>

#include "books.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

/* Six periods of the longest pattern: a client of the 10 s window that spends its limit at once does so every
 * 11 s. */
#define RUN_MS  67000
#define WARM_MS 11000
#define LOOK_MS 500 /* how often the database's books are read; shorter than the shortest ring of sub-windows */

/* A sliding window promises resolution / (resolution + 1) of the limit. The least that a client must get is 90%
 * of that. */
#define SLIDING_LEAST 0.90
#define FIXED_LEAST   0.97

#define POLICY(n, limit, window, kind, costs, count, part)                                                        \
	{                                                                                                             \
		.name = n, JOURNAL_LIMITS(limit, limit, window), .algorithm = kind, .resolution = 10, .cost_min = 1,      \
		.cost_max = costs, .clients = count, .skew = 0.7, .share = part                                           \
	}

static const struct journal_plan plan = {
	.policy_count = 7,
	.policy =
		{
			POLICY("sliding-1s", 100, 1000, STINT_SLIDING_WINDOW, 5, 4, 4),
			POLICY("sliding-10s", 500, 10000, STINT_SLIDING_WINDOW, 5, 4, 3),
			POLICY("fixed-1s", 100, 1000, STINT_FIXED_WINDOW, 5, 4, 4),
			POLICY("fixed-10s", 500, 10000, STINT_FIXED_WINDOW, 5, 4, 3),
			POLICY("many-1s", 500, 1000, STINT_SLIDING_WINDOW, 1, 1, 6),
			POLICY("one-sliding", 1, 1000, STINT_SLIDING_WINDOW, 1, 2, 1),
			POLICY("one-fixed", 1, 1000, STINT_FIXED_WINDOW, 1, 2, 1),
		},
	.seed = 1001,
	.timeout_ms = 1000,
	.capacity = 200000,
};

static void run(struct stage *stage, struct books *books) {
	uint64_t end = monotonic_ns() + RUN_MS * NS_PER_MS;
	int missed = 0;

	while (monotonic_ns() < end && crowd_missing(&stage->crowd) == 0) {
		missed += books_look(books, &stage->cluster) != 0;
		sleep_ms(LOOK_MS);
	}
	tap_ok(missed == 0, "the books were looked at %d times", books->looks);
}

struct geometry {
	uint64_t edge_ns, sub_window_ns;
};

/* 0: the database has no row of this client. */
static bool find_geometry(const struct books *books, uint32_t p, uint32_t client, struct geometry *geometry) {
	char id[64];

	*geometry = (struct geometry){1, 1};
	journal_client_id(&plan, client, id);
	return books_sub_window(books, plan.policy[p].name, id, &geometry->edge_ns, &geometry->sub_window_ns);
}

static void check_fixed(const struct oracle *oracle, const struct books *books, uint32_t p) {
	const struct journal_policy *policy = &plan.policy[p];
	int64_t most = 0, by_outcome = 0;
	uint32_t over = 0, blind = 0;

	for (uint32_t c = 0; c < policy->clients; c++) {
		struct oracle_choice choice = {.policy = p, .client = c, .host = ORACLE_ANY};
		struct geometry at;
		struct oracle_peak peak;

		blind += !find_geometry(books, p, c, &at);
		peak = oracle_peak_aligned(oracle, &choice, at.sub_window_ns, at.edge_ns, books->clock.error_ns);
		over += peak.certain > policy->max_requests;
		most = peak.certain > most ? peak.certain : most;
		by_outcome = peak.by_outcome > by_outcome ? peak.by_outcome : by_outcome;
	}
	tap_ok(over == 0 && blind == 0,
	       "I1 %s: at most %lld in any of its windows for %u clients; limit %lld, by outcome %lld, %u over",
	       policy->name, (long long)most, policy->clients, (long long)policy->max_requests, (long long)by_outcome,
	       over);
}

/* The part of its limit that one client got in whole periods of the steady run. A fixed window is a period; so
 * are the resolution + 1 sub-windows after which what was spent at once may be spent again. */
static double utilisation(const struct oracle *oracle, const struct books *books, uint64_t begin_ns, uint32_t p,
                          uint32_t client) {
	const struct journal_policy *policy = &plan.policy[p];
	bool fixed = policy->algorithm == STINT_FIXED_WINDOW;
	struct oracle_choice choice = {.policy = p, .client = client, .host = ORACLE_ANY};
	uint64_t from = begin_ns + WARM_MS * NS_PER_MS, end = begin_ns + RUN_MS * NS_PER_MS, period;
	struct geometry at;

	find_geometry(books, p, client, &at);
	period = at.sub_window_ns * (fixed ? 1 : policy->resolution + 1);
	choice.from_ns = fixed ? from + period - (from - at.edge_ns % period) % period : from;
	choice.until_ns = choice.from_ns + (end - choice.from_ns) / period * period;
	return (double)oracle_sum(oracle, &choice) * (double)policy->time_window_ms * 1e6 /
	       ((double)policy->max_requests * (double)(choice.until_ns - choice.from_ns));
}

static void check_utilisation(const struct oracle *oracle, const struct books *books, uint64_t begin_ns,
                              uint32_t p) {
	const struct journal_policy *policy = &plan.policy[p];
	bool fixed = policy->algorithm == STINT_FIXED_WINDOW;
	double bound = fixed ? FIXED_LEAST : SLIDING_LEAST * policy->resolution / (policy->resolution + 1);
	double least = 2, most = 0;

	for (uint32_t c = 0; c < policy->clients; c++) {
		double part = utilisation(oracle, books, begin_ns, p, c);

		least = part < least ? part : least;
		most = part > most ? part : most;
	}
	tap_ok(least >= bound, "utilisation %s: %u clients got %.1f%% to %.1f%% of their limit; at least %.1f%%",
	       policy->name, policy->clients, least * 100, most * 100, bound * 100);
}

static int play(const struct scene *scene) {
	const struct oracle_choice strict = {.host = ORACLE_ANY};
	struct crowd_total total;
	struct oracle oracle;
	struct books books;
	struct stage stage;
	uint64_t begin;

	if (stage_set(&stage, scene, 8, STAGE_PATIENT) != 0)
		return tap_finish();
	books_init(&books);
	begin = monotonic_ns();
	if (stage_crowd(&stage, 2, &plan, 1000) == 0)
		run(&stage, &books);
	stage_read(&stage, &oracle, &total);
	tap_ok(total.admitted[STINT_SOURCE_LOCAL] + total.admitted[STINT_SOURCE_FALLBACK] == 0,
	       "every admission was the database's: %llu local, %llu fallback",
	       (unsigned long long)total.admitted[STINT_SOURCE_LOCAL],
	       (unsigned long long)total.admitted[STINT_SOURCE_FALLBACK]);
	stage_check_promise(&oracle, &plan, &strict, "with the database");
	tap_note("edges of fixed windows are known to %llu ns", (unsigned long long)books.clock.error_ns);
	for (uint32_t p = 0; p < plan.policy_count; p++)
		if (plan.policy[p].algorithm == STINT_FIXED_WINDOW)
			check_fixed(&oracle, &books, p);
	for (uint32_t p = 0; p < plan.policy_count; p++)
		check_utilisation(&oracle, &books, begin, p);
	books_check(&books, &oracle, &plan);
	stage_strike(&stage);
	books_free(&books);
	oracle_free(&oracle);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 150);
}
