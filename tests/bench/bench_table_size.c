/*
 * bench_table_size.c - checks spread over a thousand clients and up to ten million, all with leases: what
 * counts then is how often the memory is waited for. Against one compare-and-swap at the same clients' places
 * in a mapping of the same size, each at an address that depends on what the last one read.
 *
 * Ids are made in advance and lie in the order of their use, as they would come in requests.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "core/table.h"
#include "figure.h"
#include "floor.h"
#include "quick.h"
#include "random.h"
#include "sample.h"
#include "warm_table.h"

#define ROUNDS   10       /* 1 of a quick run */
#define STEPS    2000000u /* of a round; the next round goes on with the next ones */
#define SEQUENCE (2 * STEPS)

struct sequence {
	uint32_t cell[SEQUENCE]; /* where the client is in the bare mapping */
	char id[SEQUENCE][WARM_ID_LENGTH + 1];
};

struct subject {
	struct stint_limiter *limiter;
	struct floor floor;
	const struct sequence *sequence;
	uint32_t wrong; /* checks that failed, or were denied */
};

/* Zipf with exponent 1 over 0 ... n - 1, by inverting the integral of 1 / x: near enough for any n here. */
static uint32_t draw_zipf(uint64_t *random, uint32_t clients) {
	return (uint32_t)pow(clients, random_unit(random)) - 1;
}

static void draw(struct sequence *s, uint32_t clients, size_t cells, bool zipf) {
	uint64_t random = 20260101;

	for (uint32_t i = 0; i < SEQUENCE; i++) {
		uint32_t client = zipf ? draw_zipf(&random, clients) : random_below(&random, clients);

		s->cell[i] = (uint32_t)((client * UINT64_C(0x9e3779b97f4a7c15) >> 32) * cells >> 32);
		warm_id(client, s->id[i]);
	}
}

static double time_checks(struct subject *s, uint32_t from) {
	uint64_t began = monotonic_ns();
	struct stint_result result;

	for (uint32_t i = from; i < from + STEPS; i++)
		s->wrong += stint_check(s->limiter, s->sequence->id[i], 1, &result) != 0 || !result.allowed;
	return (double)(monotonic_ns() - began) / STEPS;
}

static double time_swaps(const struct subject *s, uint32_t from) {
	uint64_t began = monotonic_ns();
	uint64_t last = 0;

	/* Cells start at 0 and are never counted up as far as this bit: it changes nothing, but only the read
	 * tells. */
	for (uint32_t i = from; i < from + STEPS; i++)
		last = floor_swap(&s->floor.cells[s->sequence->cell[i] ^ (uint32_t)(last >> 62 & 1)], (uint64_t)-1);
	return (double)(monotonic_ns() - began) / STEPS;
}

struct measured {
	struct samples check, swap;
};

static void measure(struct measured *m, struct subject *s) {
	memset(m, 0, sizeof(*m));
	for (int round = 0; round < quick_ms(ROUNDS); round++) {
		uint32_t from = round % 2 ? STEPS : 0;

		samples_add(&m->swap, time_swaps(s, from));
		samples_add(&m->check, time_checks(s, from));
	}
}

static void put(uint32_t clients, const char *how, const struct measured *m) {
	char what[96];

	snprintf(what, sizeof(what), "%u clients, %s", clients, how);
	figure_put(&(struct figure){.row = 4,
	                            .what = what,
	                            .unit = "ns",
	                            .value = samples_median(&m->check),
	                            .against = "one dependent random CAS",
	                            .base = samples_median(&m->swap),
	                            .target = clients >= 1000000 ? FIGURE_AT_MOST : FIGURE_STATED,
	                            .bound = 2});
	snprintf(what, sizeof(what), "stint, %s", how);
	figure_point("clients", what, clients, samples_median(&m->check));
	snprintf(what, sizeof(what), "one random CAS, %s", how);
	figure_point("clients", what, clients, samples_median(&m->swap));
}

static size_t slots_for(uint32_t clients) {
	return (size_t)table_geometry_for(clients, 0).bucket_count * SLOTS_PER_BUCKET;
}

static int measure_size(const struct scene *scene, uint32_t number, uint32_t clients) {
	struct sequence *sequence = malloc(sizeof(*sequence));
	struct warm_table warm;
	struct subject s = {.sequence = sequence};
	struct measured m;
	struct stint *st;

	if (!sequence || warm_table_make(&warm, scene, number, clients, WARM_ALLOWED) != 0 ||
	    warm_attach(&warm, &st, &s.limiter) != 0 || floor_open(&s.floor, scene, slots_for(clients)) != 0)
		return -1;
	draw(sequence, clients, s.floor.count, false);
	measure(&m, &s);
	put(clients, "uniform", &m);
	draw(sequence, clients, s.floor.count, true);
	measure(&m, &s);
	put(clients, "Zipf(1.0)", &m);
	stint_limiter_free(s.limiter);
	stint_close(st);
	floor_close(&s.floor);
	warm_table_end(&warm);
	free(sequence);
	if (s.wrong > 0)
		fprintf(stderr, "bench_table_size: %u checks failed or were denied\n", s.wrong);
	return s.wrong > 0 ? -1 : 0;
}

static int play(const struct scene *scene) {
	static const uint32_t clients[] = {1000, 10000, 100000, 1000000, 10000000};

	for (uint32_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++)
		if (measure_size(scene, i, clients[i]) != 0)
			return 1;
	return 0;
}

int main(void) {
	return scene_run(play, 300);
}
