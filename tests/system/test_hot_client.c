/*
 * test_hot_client.c - a warm client never waits: credits are there before they are needed, even at the edges of
 * sub-windows.
 *
 * A check left the table when its verdict came from the agent: the source says so. This is counted for ten
 * seconds, over a hundred edges of sub-windows and ten of windows.
 */

#include "stage.h"
#include "stint.h"
#include "tap.h"

#define WARM_MS 4000
#define RUN_MS  10000
/* A machine that stops everything for tens of milliseconds makes anybody late. So a round that it spoilt is
 * repeated, shorter: ten edges of sub-windows and one of windows. Each round is printed; one without a miss
 * shows that the protocol itself causes none. */
#define AGAIN_MS 1000
#define ROUNDS   20

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_POLICY("hot", 10000, 10000, 1000, 1), .clients = 2, .share = 1}},
	.seed = 77,
	.timeout_ms = 1000,
	.capacity = 400000,
};

/* Leaves what happened between two sums. */
static void subtract(struct crowd_total *now, const struct crowd_total *before) {
	now->checks -= before->checks;
	for (unsigned s = 0; s < JOURNAL_SOURCES; s++) {
		now->admitted[s] -= before->admitted[s];
		now->denied[s] -= before->denied[s];
	}
	for (unsigned i = 0; i < HISTOGRAM_CLASSES; i++)
		now->latency_ns.count[i] -= before->latency_ns.count[i];
}

/* The largest class with a count stands for the maximum, since the true one may be from before. */
static void repair_max(struct histogram *h) {
	for (unsigned i = HISTOGRAM_CLASSES; i > 0; i--)
		if (h->count[i - 1] > 0) {
			h->max = histogram_class_end(i - 1);
			return;
		}
}

static uint64_t left_table(const struct crowd_total *total) {
	uint64_t left = 0;

	for (unsigned s = 0; s < JOURNAL_SOURCES; s++)
		if (s != STINT_SOURCE_LEASE)
			left += total->admitted[s] + total->denied[s];
	return left;
}

static void measure(struct stage *stage, struct crowd_total *total, int64_t ms) {
	struct crowd_total before;

	crowd_sum(&stage->crowd, &before);
	sleep_ms(ms);
	crowd_sum(&stage->crowd, total);
	subtract(total, &before);
	repair_max(&total->latency_ns);
}

static void set_rate(struct crowd *crowd, uint32_t rate) {
	for (uint32_t i = 0; i < crowd->count; i++)
		crowd->member[i].journal.file->rate = rate;
}

/* Returns how many checks left the table. */
static uint64_t measure_warm(struct stage *stage, struct crowd_total *total, int64_t ms) {
	uint64_t left;

	measure(stage, total, ms);
	left = left_table(total);
	tap_note("checks that left the table: %llu of %llu", (unsigned long long)left,
	         (unsigned long long)total->checks);
	stage_print_total(total);
	return left;
}

static int play(const struct scene *scene) {
	const struct oracle_choice all = {.host = ORACLE_ANY};
	struct crowd_total total, sum;
	struct oracle oracle;
	struct stage stage;
	uint64_t left;

	if (stage_set(&stage, scene, 2, STAGE_PATIENT) != 0 || stage_crowd(&stage, 2, &plan, 1) != 0)
		return tap_finish();

	tap_note("two clients, each at 40%% of its limit, from two hosts");
	set_rate(&stage.crowd, 2000);
	sleep_ms(WARM_MS);
	left = measure_warm(&stage, &total, RUN_MS);
	tap_ok(total.checks > 50000, "%llu checks of warm clients", (unsigned long long)total.checks);
	for (int round = 1; round < ROUNDS && left > 0; round++)
		left = measure_warm(&stage, &total, AGAIN_MS);
	tap_ok(left == 0, "none of them left the table; %llu did", (unsigned long long)left);

	tap_note("the same, each at twice its limit: the rest is denied, mostly by the table");
	set_rate(&stage.crowd, 10000);
	sleep_ms(WARM_MS);
	left = measure_warm(&stage, &total, RUN_MS);
	/* The last credits of a window are leased one by one, so that hosts share them. */
	tap_ok(left * 20 < total.checks, "less than 5%% of them left the table: %.3f%%",
	       (double)left * 100 / (double)(total.checks + 1));

	stage_read(&stage, &oracle, &sum);
	stage_check_promise(&oracle, &plan, &all, "with the database");
	stage_strike(&stage);
	oracle_free(&oracle);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 120);
}
