/*
 * test_hot_client.c - a warm client never waits: credits are there before they are needed, even at the edges of
 * sub-windows.
 *
 * A check left the table when its verdict came from the agent: the source says so. This is counted for ten
 * seconds, over a hundred edges of sub-windows and ten of windows.
 */
#include <stdio.h>

#include "stage.h"
#include "stint.h"
#include "tap.h"

#define WARM_MS 4000
#define RUN_MS  10000
/* A machine that stops everything for tens of milliseconds makes anybody late. So a round that it spoilt is
 * repeated, shorter: ten edges of sub-windows and one of windows. Each round is printed; one without a miss
 * shows that the protocol itself causes none. Where none is without a miss, and in each of them some process
 * waited as long as this for a CPU, nothing is known. */
#define AGAIN_MS   1000
#define ROUNDS     20
#define ROUNDS_MS  30000
#define WAIT_MS    5
#define SAMPLE_MS  2
#define IN_STEP_MS 5000

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{.name = "hot",
                JOURNAL_LIMITS(10000, 10000, 1000),
                .resolution = 10,
                .cost_min = 1,
                .cost_max = 1,
                .clients = 2,
                .share = 1}},
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

/* The processes through which credits come: agents, their sessions, and apps. */
struct watch {
	pid_t pid[16];
	uint64_t waited_ns[16];
	uint32_t count;
	uint64_t longest_ns; /* what one of them waited for a CPU between two samples, at most */
};

/* For how long it has waited for a CPU in its life; 0: this kernel doesn't tell. */
static uint64_t waited_ns(pid_t pid) {
	unsigned long long ran, waited = 0;
	char path[48];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	file = fopen(path, "r");
	if (file == NULL)
		return 0;
	if (fscanf(file, "%llu %llu", &ran, &waited) != 2)
		waited = 0;
	fclose(file);
	return waited;
}

static void watch_add(struct watch *watch, pid_t pid) {
	if (pid <= 0 || watch->count == sizeof(watch->pid) / sizeof(watch->pid[0]))
		return;
	watch->pid[watch->count] = pid;
	watch->waited_ns[watch->count++] = waited_ns(pid);
}

static void watch_begin(struct watch *watch, struct stage *stage) {
	char sql[160];

	*watch = (struct watch){0};
	for (uint32_t h = 0; h < stage->host_count; h++) {
		snprintf(sql, sizeof(sql), "select max(pid) from pg_stat_activity where application_name = 'stintd/%s'",
		         stage->host[h].name);
		watch_add(watch, stage->host[h].agent);
		watch_add(watch, (pid_t)cluster_number(&stage->cluster, sql, 0));
	}
	for (uint32_t i = 0; i < stage->crowd.count; i++)
		watch_add(watch, stage->crowd.member[i].pid);
}

static void watch_sample(struct watch *watch) {
	for (uint32_t i = 0; i < watch->count; i++) {
		uint64_t now = waited_ns(watch->pid[i]);

		if (now > watch->waited_ns[i] + watch->longest_ns)
			watch->longest_ns = now - watch->waited_ns[i];
		watch->waited_ns[i] = now;
	}
}

static void measure(struct stage *stage, struct crowd_total *total, struct watch *watch, int64_t ms) {
	struct crowd_total before;
	uint64_t began_ns;

	watch_begin(watch, stage);
	crowd_sum(&stage->crowd, &before);
	began_ns = monotonic_ns();
	while (stage_ms_since(began_ns) < ms) {
		sleep_ms(SAMPLE_MS);
		watch_sample(watch);
	}
	crowd_sum(&stage->crowd, total);
	subtract(total, &before);
	repair_max(&total->latency_ns);
}

static void set_rate(struct crowd *crowd, uint32_t rate) {
	for (uint32_t i = 0; i < crowd->count; i++)
		crowd->member[i].journal.file->rate = rate;
}

/* Returns how many checks left the table. */
static uint64_t measure_warm(struct stage *stage, struct crowd_total *total, int64_t ms, bool *spoilt) {
	struct watch watch;
	uint64_t left;

	measure(stage, total, &watch, ms);
	left = left_table(total);
	*spoilt = watch.longest_ns >= WAIT_MS * NS_PER_MS;
	tap_note("checks that left the table: %llu of %llu; the longest wait for a CPU: %.1f ms",
	         (unsigned long long)left, (unsigned long long)total->checks, (double)watch.longest_ns / 1e6);
	stage_print_total(total);
	return left;
}

static void check_warm(struct stage *stage) {
	uint64_t began_ns = monotonic_ns(), left;
	struct crowd_total total;
	bool spoilt, all_spoilt;

	left = measure_warm(stage, &total, RUN_MS, &all_spoilt);
	tap_ok(total.checks > 50000, "%llu checks of warm clients", (unsigned long long)total.checks);
	for (int round = 1; round < ROUNDS && left > 0 && stage_ms_since(began_ns) < ROUNDS_MS; round++) {
		for (uint32_t h = 0; h < stage->host_count; h++)
			host_wait_in_step(&stage->host[h], IN_STEP_MS);
		left = measure_warm(stage, &total, AGAIN_MS, &spoilt);
		all_spoilt &= spoilt;
	}
	if (left > 0 && all_spoilt)
		tap_skip("none of them left the table: in each round some process waited %d ms for a CPU", WAIT_MS);
	else
		tap_ok(left == 0, "none of them left the table; %llu did", (unsigned long long)left);
}

static int play(const struct scene *scene) {
	const struct oracle_choice all = {.host = ORACLE_ANY};
	struct crowd_total total, sum;
	struct oracle oracle;
	struct stage stage;
	uint64_t left;
	bool spoilt;

	if (stage_set(&stage, scene, 2, STAGE_PATIENT) != 0 || stage_crowd(&stage, 2, &plan, 1) != 0)
		return tap_finish();

	tap_note("two clients, each at 40%% of its limit, from two hosts");
	set_rate(&stage.crowd, 2000);
	sleep_ms(WARM_MS);
	check_warm(&stage);

	tap_note("the same, each at twice its limit: the rest is denied, mostly by the table");
	set_rate(&stage.crowd, 10000);
	sleep_ms(WARM_MS);
	left = measure_warm(&stage, &total, RUN_MS, &spoilt);
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
