/*
 * test_database_clock.c - the database server's clock is set back by anything from half a second to an hour,
 * again and again, and then forward, while apps are above their limits.
 *
 *     test_database_clock [STEPS [SEED]]      how often it is set back (default 4); 60 for a long run
 *
 * Set back, the promise holds by the true time, too: no count is lost, and nobody is locked out for much longer
 * than usual: two sub-windows, or for a fixed window one window. Set forward, the database must take what was
 * admitted for as old as its clock says: then an interval across the step holds twice the limit at most, and
 * one that begins when the leases of before have ended, no more than the limit.
 */
#include <stdio.h>

#include "books.h"
#include "proof.h"
#include "random.h"
#include "setting.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"
#include "wall_clock.h"

#define HOSTS   2u
#define HOUR_US INT64_C(3600000000)
#define LOOK_MS 150
/* The time from one step to the next: before the first, two of the longest windows and some more. */
#define LONG_MS  10000
#define SHORT_MS 1500
/* What a busy machine may add to a time, and take from a rate. */
#define SLACK_MS         1000
#define CHECK_TIMEOUT_MS 1000

static const struct journal_plan plan = {
	.policy_count = 3,
	.policy =
		{
			{JOURNAL_POLICY("sliding", 200, 200, 1000, 3), .clients = 2, .share = 1},
			{.name = "slow",
             JOURNAL_LIMITS(300, 300, 3000),
             .resolution = 6,
             .cost_min = 1,
             .cost_max = 1,
             .clients = 2,
             .share = 1},
			{.name = "fixed",
             JOURNAL_LIMITS(200, 200, 1000),
             .algorithm = STINT_FIXED_WINDOW,
             .cost_min = 1,
             .cost_max = 1,
             .clients = 2,
             .share = 1},
		},
	.seed = 31,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 400000,
};

static unsigned long steps = 4;
static uint64_t seed = 1;

struct run {
	struct stage stage;
	struct books books;
	struct wall_clock clock;
	struct oracle oracle;
	struct crowd_total total;
	int64_t shift_us;
	uint64_t began_ns, first_ns, forward_ns; /* when the load, the first step and the step forward began */
};

static void watch(struct run *run, int64_t ms) {
	uint64_t until = monotonic_ns() + (uint64_t)ms * NS_PER_MS;

	while (monotonic_ns() < until) {
		books_look(&run->books, &run->stage.cluster);
		sleep_ms(LOOK_MS);
	}
}

static uint64_t step(struct run *run, int64_t by_us) {
	run->shift_us += by_us;
	wall_clock_set(&run->clock, run->shift_us);
	return monotonic_ns();
}

/* By how much it is set back: within what a statement may take, within a window, or beyond both; the first time
 * by an hour. */
static int64_t back_us(uint64_t *random, unsigned long nth) {
	static const int64_t sizes_us[] = {HOUR_US, 400000, 1700000, 5000000};

	if (nth < sizeof(sizes_us) / sizeof(sizes_us[0]))
		return sizes_us[nth];
	return random_below(random, 4) == 0 ? HOUR_US : 1 + random_below(random, 6000000);
}

static void play_steps(struct run *run) {
	uint64_t random = seed;

	watch(run, 2000);
	for (unsigned long i = 0; i < steps; i++) {
		uint64_t at = step(run, -back_us(&random, i));

		if (i == 0)
			run->first_ns = at;
		else if (i % 10 == 0)
			tap_note("%lu of %lu steps", i, steps);
		watch(run, i == 0 ? LONG_MS : SHORT_MS + random_below(&random, 500));
	}
	/* To the true time, and an hour more. */
	run->forward_ns = step(run, HOUR_US - run->shift_us);
	watch(run, LONG_MS);
}

static uint64_t window_ns(uint32_t policy) {
	return (uint64_t)plan.policy[policy].time_window_ms * NS_PER_MS;
}

/* A fixed window promises the limit from edge to edge, so twice that in any interval. */
static int64_t limit_of(uint32_t policy) {
	return plan.policy[policy].max_requests * (plan.policy[policy].algorithm == STINT_FIXED_WINDOW ? 2 : 1);
}

/* Counts the clients that got more than `times` their limit in some interval. */
static uint64_t count_over(const struct run *run, uint64_t from_ns, uint64_t until_ns, int64_t times,
                           const char *what) {
	uint64_t over = 0;

	for (uint32_t p = 0; p < plan.policy_count; p++) {
		int64_t most = 0;

		for (uint32_t c = 0; c < plan.policy[p].clients; c++) {
			const struct oracle_choice choice = {.policy = p,
			                                     .client = c,
			                                     .host = ORACLE_ANY,
			                                     .from_ns = from_ns,
			                                     .until_ns = until_ns};
			int64_t certain = oracle_peak(&run->oracle, &choice, window_ns(p)).certain;

			over += certain > limit_of(p) * times;
			most = certain > most ? certain : most;
		}
		tap_ok(most <= limit_of(p) * times, "I1 %s, %s: at most %lld in any %lld ms; limit %lld", what,
		       plan.policy[p].name, (long long)most, (long long)plan.policy[p].time_window_ms,
		       (long long)(limit_of(p) * times));
	}
	return over;
}

/* How long a client waits that has had all of its limit at once. */
static int64_t period_ms(const struct journal_policy *policy) {
	int64_t window_ms = policy->time_window_ms;

	return policy->algorithm == STINT_FIXED_WINDOW ? window_ms : window_ms + window_ms / policy->resolution;
}

/* The same across a step, where the newest count becomes that of the next sub-window, and the current one
 * begins anew. */
static int64_t longest_ms(const struct journal_policy *policy) {
	int64_t window_ms = policy->time_window_ms;

	return policy->algorithm == STINT_FIXED_WINDOW ? 2 * window_ms
	                                               : window_ms + 3 * window_ms / policy->resolution;
}

/* Whether it was admitted in time after a step, and then got two thirds of its limit in time. */
static bool was_served(const struct run *run, struct oracle_choice choice, int64_t took_ms) {
	const struct journal_policy *policy = &plan.policy[choice.policy];
	int64_t got;

	choice.from_ns += (uint64_t)longest_ms(policy) * NS_PER_MS;
	choice.until_ns = choice.from_ns + (uint64_t)(period_ms(policy) + SLACK_MS) * NS_PER_MS;
	got = oracle_sum(&run->oracle, &choice);
	if (took_ms <= longest_ms(policy) + SLACK_MS && got * 3 >= policy->max_requests * 2)
		return true;
	tap_note("%s, client %u: admitted after %lld ms, then %lld in %lld ms", policy->name, choice.client,
	         (long long)took_ms, (long long)got, (long long)period_ms(policy) + SLACK_MS);
	return false;
}

/* How many ms after a step the last client was admitted again. Counts those that had to wait for too long. */
static int64_t recovery_ms(const struct run *run, uint64_t at_ns, uint64_t *starved) {
	int64_t longest = 0;

	for (uint32_t p = 0; p < plan.policy_count; p++)
		for (uint32_t c = 0; c < plan.policy[p].clients; c++) {
			const struct oracle_choice choice = {.policy = p, .client = c, .host = ORACLE_ANY, .from_ns = at_ns};
			uint64_t first_ns = at_ns + 3600 * NS_PER_S, last_ns;
			int64_t took_ms;

			oracle_span(&run->oracle, &choice, &first_ns, &last_ns);
			took_ms = (int64_t)((first_ns - at_ns) / NS_PER_MS);
			*starved += !was_served(run, choice, took_ms);
			longest = took_ms > longest ? took_ms : longest;
		}
	return longest;
}

/* Counts checks that took longer than their timeout, or failed. */
static uint64_t count_broken(const struct run *run) {
	return !stage_check_latency(&run->total, CHECK_TIMEOUT_MS, SLACK_MS) + run->total.errors;
}

static void judge_back(struct run *run) {
	uint64_t over = count_over(run, run->began_ns, run->forward_ns, 1, "set back"), starved = 0;
	int64_t took_ms = recovery_ms(run, run->first_ns, &starved);

	tap_ok(run->books.over_limit == 0, "I2: charged <= limit in %zu sub-windows read", run->books.count);
	tap_ok(starved == 0,
	       "I5: nobody was locked out by an hour's step back; the last was admitted again after %lld ms",
	       (long long)took_ms);
	proof_print(&(struct proof){"I1 I2 I4 I5", "database clock set back, up to an hour", steps, run->oracle.count,
	                            over + starved + (uint64_t)run->books.over_limit + count_broken(run), took_ms});
}

/* Leases from before the step last for two sub-windows at most. */
static void judge_forward(struct run *run) {
	uint64_t over = count_over(run, run->began_ns, 0, 2, "across a step forward"), starved = 0;
	uint64_t unsaid = 0;
	int64_t took_ms;

	over += count_over(run, run->forward_ns + 2 * NS_PER_S, 0, 1, "after it");
	took_ms = recovery_ms(run, run->forward_ns, &starved);
	tap_ok(starved == 0,
	       "I5: nobody was locked out by the step forward; the last was admitted again after %lld ms",
	       (long long)took_ms);
	for (uint32_t h = 0; h < HOSTS; h++)
		unsaid += host_log_count(&run->stage.host[h], "the database's clock stepped by +") == 0;
	tap_ok(unsaid == 0, "all agents say that the clock was set");
	proof_print(&(struct proof){"I4 I5", "database clock set forward: twice the limit at most, once, and logged",
	                            1, run->oracle.count, over + starved + unsaid, took_ms});
}

static int play(const struct scene *scene) {
	static struct run run;

	if (!tap_ok(wall_clock_make(&run.clock, scene) == 0, "a clock for the database that can be set"))
		return tap_finish();
	wall_clock_export_to_server(&run.clock);
	if (stage_set(&run.stage, scene, HOSTS, STAGE_PATIENT) != 0 || stage_crowd(&run.stage, 2, &plan, 3000) != 0)
		return tap_finish();
	books_init(&run.books);
	run.began_ns = monotonic_ns();
	play_steps(&run);
	stage_read(&run.stage, &run.oracle, &run.total);
	judge_back(&run);
	judge_forward(&run);
	stage_strike(&run.stage);
	books_free(&run.books);
	oracle_free(&run.oracle);
	return tap_finish();
}

int main(int argc, char **argv) {
	steps = setting_argument(argc, argv, 1, steps);
	seed = setting_argument(argc, argv, 2, seed);
	return scene_run(play, 90 + 3 * (int)steps);
}
