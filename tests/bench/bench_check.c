/*
 * bench_check.c - what one check costs a process that is alone: allowed and denied, against the floor with the
 * same id. Ratios are of times taken in turns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "figure.h"
#include "floor.h"
#include "quick.h"
#include "sample.h"
#include "warm_table.h"

#define ROUNDS  31       /* 3 of a quick run */
#define CHECKS  1000000u /* of a round: some 30 ms */
#define CLIENTS 1000u

struct subject {
	struct stint_limiter *limiter;
	const struct floor *floor;
	const char *id;
	size_t length;
	bool expected;
};

/* verdicts that are not what they should be; and what keeps the compiler from leaving out the floor */
static uint64_t wrong;

static void run_check(const struct subject *s) {
	struct stint_result result;

	for (uint32_t i = 0; i < CHECKS; i++)
		wrong += stint_check(s->limiter, s->id, 1, &result) != 0 || result.allowed != s->expected;
}

static void run_is_allowed(const struct subject *s) {
	for (uint32_t i = 0; i < CHECKS; i++)
		wrong += stint_is_allowed(s->limiter, s->id) != s->expected;
}

static void run_floor(const struct subject *s) {
	for (uint32_t i = 0; i < CHECKS; i++)
		wrong += floor_check(s->floor, &s->floor->cells[0], s->id, s->length) == 1;
}

static void run_swap(const struct subject *s) {
	for (uint32_t i = 0; i < CHECKS; i++)
		wrong += floor_swap(&s->floor->cells[0], 1) == 1;
}

static void run_hash_and_clock(const struct subject *s) {
	for (uint32_t i = 0; i < CHECKS; i++)
		wrong += floor_hash_and_clock(s->floor, s->id, s->length) == 1;
}

static double time_of(void (*run)(const struct subject *), const struct subject *s) {
	uint64_t began = monotonic_ns();

	run(s);
	return (double)(monotonic_ns() - began) / CHECKS;
}

struct measured {
	struct samples check, is_allowed, floor, swap, hash_and_clock;
};

static void measure(struct measured *m, const struct subject *s) {
	*m = (struct measured){{0}, {0}, {0}, {0}, {0}};
	for (int round = 0; round < quick_ms(ROUNDS); round++) {
		samples_add(&m->floor, time_of(run_floor, s));
		samples_add(&m->check, time_of(run_check, s));
		samples_add(&m->is_allowed, time_of(run_is_allowed, s));
		samples_add(&m->swap, time_of(run_swap, s));
		samples_add(&m->hash_and_clock, time_of(run_hash_and_clock, s));
	}
}

static void put_ratio(int row, const char *what, const struct samples *value, const struct samples *base) {
	figure_put(&(struct figure){.row = row,
	                            .what = what,
	                            .unit = "ns",
	                            .value = samples_median(value),
	                            .against = "hash + coarse clock + CAS",
	                            .base = samples_median(base),
	                            .target = FIGURE_AT_MOST,
	                            .bound = 1.5});
}

/* Why the floor costs little more than its CAS: the processor does the rest while that waits. */
static void put_parts(const struct measured *m) {
	figure_put(&(
		struct figure){.row = 1,
	                   .what = "of the floor, the CAS alone",
	                   .unit = "ns",
	                   .value = samples_median(&m->swap),
	                   .note =
	                       "the hash and the clock are worked out while it waits, the look into a table is not"});
	figure_put(&(struct figure){.row = 1,
	                            .what = "of the floor, hash and clock alone",
	                            .unit = "ns",
	                            .value = samples_median(&m->hash_and_clock)});
}

static int measure_kind(const struct scene *scene, enum warm_kind kind) {
	struct warm_table warm;
	struct stint_limiter *limiter;
	struct measured m;
	struct floor floor;
	struct stint *st;
	WARM_ID_ALIGNED char id[WARM_ID_SIZE];

	warm_id(1, id);
	if (warm_table_make(&warm, scene, kind, CLIENTS, kind) != 0 || warm_attach(&warm, &st, &limiter) != 0 ||
	    floor_open(&floor, scene, 1) != 0)
		return -1;
	measure(&m, &(struct subject){limiter, &floor, id, strlen(id), kind == WARM_ALLOWED});
	if (kind == WARM_ALLOWED) {
		put_ratio(1, "one hot client, stint_check", &m.check, &m.floor);
		figure_put(&(struct figure){.row = 1,
		                            .what = "the same, in itself",
		                            .unit = "ns",
		                            .value = samples_median(&m.check),
		                            .target = FIGURE_AT_MOST,
		                            .bound = 40});
		put_ratio(1, "one hot client, stint_is_allowed", &m.is_allowed, &m.floor);
		put_parts(&m);
	} else {
		put_ratio(3, "denied hot client, stint_check", &m.check, &m.floor);
		put_ratio(3, "denied hot client, stint_is_allowed", &m.is_allowed, &m.floor);
	}
	stint_limiter_free(limiter);
	stint_close(st);
	floor_close(&floor);
	warm_table_end(&warm);
	return 0;
}

static int play(const struct scene *scene) {
	if (measure_kind(scene, WARM_ALLOWED) != 0 || measure_kind(scene, WARM_DENIED) != 0)
		return 1;
	if (wrong > 0)
		fprintf(stderr, "bench_check: %llu verdicts were wrong\n", (unsigned long long)wrong);
	return wrong > 0;
}

int main(void) {
	return scene_run(play, 120);
}
