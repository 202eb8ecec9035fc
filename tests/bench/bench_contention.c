/*
 * bench_contention.c - several processes at once, at one client and each at its own, against bare
 * compare-and-swaps of as many processes on one line and on lines of their own.
 *
 * A bare compare-and-swap is a tenth of a check, so alone it is far faster. What is compared is how the machine
 * shares the line: the floor of a check (hash, clock, compare-and-swap) is given beside it.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "figure.h"
#include "floor.h"
#include "quick.h"
#include "sample.h"
#include "team.h"
#include "warm_table.h"

#define ROUNDS  7
#define RUN_MS  400
#define CLIENTS 1000u
#define PIECE   1000u /* checks between two looks at whether to stop */

struct subject {
	struct stint_limiter *limiter;
	struct floor floor;
	uint32_t apart; /* 0: all at one client or cell; else how far from one another */
};

static uint64_t swap_bare(void *arg, int index) {
	struct subject *s = arg;
	struct floor_cell *cell = &s->floor.cells[(uint32_t)index * s->apart];

	for (uint32_t i = 0; i < PIECE; i++)
		floor_swap(cell, 1);
	return PIECE;
}

static uint64_t check_floor(void *arg, int index) {
	struct subject *s = arg;
	struct floor_cell *cell = &s->floor.cells[(uint32_t)index * s->apart];
	WARM_ID_ALIGNED char id[WARM_ID_SIZE];

	warm_id((uint32_t)index * s->apart, id);
	for (uint32_t i = 0; i < PIECE; i++)
		floor_check(&s->floor, cell, id, WARM_ID_LENGTH);
	return PIECE;
}

static uint64_t check(void *arg, int index) {
	struct subject *s = arg;
	struct stint_result result;
	WARM_ID_ALIGNED char id[WARM_ID_SIZE];

	warm_id((uint32_t)index * s->apart, id);
	for (uint32_t i = 0; i < PIECE; i++)
		if (stint_check(s->limiter, id, 1, &result) != 0 || !result.allowed)
			_exit(1);
	return PIECE;
}

struct measured {
	struct samples check, bare, floor;
};

static int run(struct samples *rates, uint64_t work(void *, int), struct subject *s, int processes) {
	double rate = team_rate(&(struct team_job){work, s}, processes, quick_ms(RUN_MS));

	samples_add(rates, rate);
	return rate > 0 ? 0 : -1;
}

static int measure(struct measured *m, struct subject *s, int processes) {
	memset(m, 0, sizeof(*m));
	for (int round = 0; round < ROUNDS; round++)
		if (run(&m->bare, swap_bare, s, processes) != 0 || run(&m->check, check, s, processes) != 0 ||
		    run(&m->floor, check_floor, s, processes) != 0)
			return -1;
	return 0;
}

static void put(const char *who, int processes, const struct measured *m, double bound) {
	char what[96];

	snprintf(what, sizeof(what), "%d processes, %s", processes, who);
	figure_put(&(struct figure){
		.row = 2,
		.what = what,
		.unit = "checks/s",
		.value = samples_median(&m->check),
		.against = "bare CAS",
		.base = samples_median(&m->bare),
		.target = processes > 1 ? FIGURE_AT_LEAST : FIGURE_STATED,
		.bound = bound,
		.note = "a check is several times as long as the bare CAS that is in it, even in one process alone"});
	snprintf(what, sizeof(what), "%d processes, %s, against the floor", processes, who);
	figure_put(&(struct figure){.row = 2,
	                            .what = what,
	                            .unit = "checks/s",
	                            .value = samples_median(&m->check),
	                            .against = "hash + coarse clock + CAS",
	                            .base = samples_median(&m->floor)});
}

/* How the throughput of one process grows with more. */
static void put_scaling(const char *who, int processes, const struct measured *one, const struct measured *m) {
	char what[96];

	snprintf(what, sizeof(what), "%d processes, %s: throughput, of one process's", processes, who);
	figure_put(&(struct figure){.row = 2,
	                            .what = what,
	                            .unit = "times",
	                            .value = samples_median(&m->check) / samples_median(&one->check),
	                            .against = "hash + coarse clock + CAS",
	                            .base = samples_median(&m->floor) / samples_median(&one->floor)});
}

static int measure_all(struct subject *s, const char *who, double bound) {
	static const int processes[] = {1, 2, 4};
	struct measured one, m;

	for (size_t i = 0; i < sizeof(processes) / sizeof(processes[0]); i++) {
		if (measure(&m, s, processes[i]) != 0)
			return -1;
		put(who, processes[i], &m, bound);
		if (i == 0)
			one = m;
		else
			put_scaling(who, processes[i], &one, &m);
	}
	return 0;
}

static int play(const struct scene *scene) {
	struct warm_table warm;
	struct subject subject;
	struct stint *st;
	int status;

	if (warm_table_make(&warm, scene, 0, CLIENTS, WARM_ALLOWED) != 0 ||
	    warm_attach(&warm, &st, &subject.limiter) != 0 || floor_open(&subject.floor, scene, CLIENTS) != 0)
		return 1;
	subject.apart = 0;
	status = measure_all(&subject, "one hot client", 0.7);
	subject.apart = 16; /* lines that no prefetcher connects */
	if (status == 0)
		status = measure_all(&subject, "each its own client", 0.9);
	stint_limiter_free(subject.limiter);
	stint_close(st);
	floor_close(&subject.floor);
	warm_table_end(&warm);
	return status != 0;
}

int main(void) {
	return scene_run(play, 300);
}
