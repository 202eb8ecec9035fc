/*
 * twin.c - random histories of agent/grant.c, as SQL that asks stint.take() the same and compares:
 * tests/sql/twin.sh feeds it to psql. Arguments: a seed, how many histories. Prints one row for each step: the
 * state, the question, the answer, and whether the new state must be written.
 *
 * Half of the histories keep one policy; in the others limit and sub-windows change now and then. Times go on,
 * stand, fall back a little (stale) or a lot (a clock that was set back).
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/grant.h"
#include "random.h"

#define STEPS 20 /* of a history */

static uint64_t state;

static int64_t dice(int64_t low, int64_t high) {
	return low + (int64_t)(random_next(&state) % (uint64_t)(high - low + 1));
}

static void print_rest(const struct grant_ring *ring) {
	printf("%d\t%" PRId32 "\t%" PRId64 "\t%" PRId64 "\t{", ring->ahead, ring->early, ring->servers,
	       ring->servers_before);
	for (int i = 0; i < ring->length; i++)
		printf("%s%" PRId32, i > 0 ? "," : "", ring->counts[i]);
	printf("}\t");
}

/* Columns are tab-separated, in the order of the table that twin.sh makes. */
static void print_question(const struct grant_ring *ring, const struct grant_terms *terms,
                           const struct lease_request *request, int64_t t_us, int host) {
	if (ring->sub_window_us == 0)
		printf("\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t");
	else {
		printf("%" PRId64 "\t%" PRId64 "\t", ring->current_us, ring->sub_window_us);
		print_rest(ring);
	}
	printf("%" PRId64 "\t%" PRId64 "\t%d\t", t_us, terms->phase_us, host);
	printf("%" PRId32 "\t%" PRId64 "\t%d\t", terms->max_requests, terms->sub_window_us, terms->runs);
	printf("%" PRId32 "\t%" PRId32 "\t%" PRId32 "\t", request->need, request->least, request->want);
	printf("%" PRId32 "\t%" PRId32 "\t", request->span, request->span_least);
	printf("%" PRId32 "\t%" PRId32 "\t", request->next_want, request->charge);
	for (int i = 0; i < LEASE_REPORTS; i++)
		printf("%" PRId64 "\t%" PRId32 "\t%" PRId32 "\t", request->report[i].sub_window,
		       request->report[i].unspent, request->report[i].spent);
}

static void print_answer(const struct grant_ring *ring, const struct lease_grant *grant, bool changed) {
	printf("%" PRId64 "\t", ring->current_us);
	print_rest(ring);
	int64_t distance = (grant->next_sub_window - ring->current_us) / ring->sub_window_us;
	int64_t span = grant->next_is_open ? distance : -distance;
	printf("%" PRId32 "\t%" PRId32 "\t%" PRId32 "\t%" PRId32 "\t", grant->granted, grant->granted_next,
	       grant->charged, grant->remaining);
	printf("%" PRId64 "\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\t", span, grant->starts_in_us, grant->retry_us,
	       grant->reset_us);
	printf("%" PRId32 "\t%c\n", grant->recallable, changed ? 't' : 'f');
}

static bool is_same(const struct grant_ring *a, const struct grant_ring *b) {
	return a->current_us == b->current_us && a->sub_window_us == b->sub_window_us && a->ahead == b->ahead &&
	       a->early == b->early && a->servers == b->servers && a->servers_before == b->servers_before &&
	       a->length == b->length && memcmp(a->counts, b->counts, (size_t)a->length * sizeof(a->counts[0])) == 0;
}

/* Time that passes need not be written, since it passes for the old state as well; a clock that was set back
 * must be. */
static bool must_be_written(struct grant_ring before, const struct grant_ring *after,
                            const struct grant_terms *terms, int64_t t_us, const struct lease_grant *grant) {
	const struct lease_request nothing = {.least = 1};
	struct lease_grant ignored;

	if (before.sub_window_us != 0 && t_us < before.current_us - GRANT_STALE_US)
		return true;
	if (grant->charged > 0 || grant->granted > 0 || grant->granted_next > 0)
		return true;
	grant_take(&before, terms, &nothing, t_us, 0, &ignored);
	return !is_same(&before, after);
}

static void choose_terms(struct grant_terms *terms) {
	static const int32_t limits[] = {0, 1, 2, 7, 100, 1000, 1000000000};
	static const int64_t windows_us[] = {10000, 16001, 100100, 1000000, 6030000, 60000000, INT64_C(2678400000000)};
	static const int runs[] = {0, 1, 2, 5, 10, 60};

	*terms = (struct grant_terms){
		.max_requests = limits[dice(0, 6)],
		.sub_window_us = windows_us[dice(0, 6)],
		.runs = runs[dice(0, 5)],
	};
	terms->phase_us = dice(0, terms->sub_window_us - 1);
}

/* Of what was granted lately, or of what never was. */
static void choose_report(struct lease_report *report, const struct grant_terms *terms,
                          const struct lease_grant *last, int32_t most) {
	if (dice(0, 2) > 0 || last->sub_window == 0)
		return;
	report->sub_window = last->sub_window + dice(0, 1) * dice(-2, 2) * terms->sub_window_us;
	report->sub_window += dice(0, 19) == 0 ? 1 : 0;
	report->unspent = dice(0, 1) > 0 ? (int32_t)dice(-1, most) : 0;
	report->spent = dice(0, 1) > 0 ? (int32_t)dice(-1, most) : 0;
	if (dice(0, 99) == 0)
		report->sub_window = dice(0, 1) > 0 ? INT64_MAX : -dice(0, 5);
}

static void choose_request(struct lease_request *request, const struct grant_terms *terms,
                           const struct lease_grant *last) {
	int32_t most = terms->max_requests < 1000000000 ? terms->max_requests + 2 : 1000000000;

	*request = (struct lease_request){.need = dice(0, 2) > 0 ? (int32_t)dice(1, most / 4 + 1) : 0};
	request->least = request->need > 0 ? (int32_t)dice(1, request->need) : 1;
	request->want = (int32_t)dice(0, most);
	request->span = (int32_t)dice(0, 1) * (int32_t)dice(0, terms->runs + 2);
	request->span_least = dice(0, 3) == 0 ? (int32_t)dice(0, terms->runs + 2) : 0;
	request->next_want = dice(0, 1) > 0 ? (int32_t)dice(0, most) : 0;
	request->charge = dice(0, 4) == 0 ? (int32_t)dice(0, most) : 0;
	for (int i = 0; i < LEASE_REPORTS; i++)
		choose_report(&request->report[i], terms, last, most);
}

static int64_t step_time(int64_t t_us, int64_t size_us) {
	switch (dice(0, 19)) {
	case 0: return t_us + dice(0, 70) * size_us;
	case 1: return t_us - dice(0, 3000000);
	case 2: return t_us - dice(0, 4 * size_us);
	case 3: return t_us + size_us - t_us % size_us;
	default: return t_us + dice(0, size_us / 2);
	}
}

static void play(bool one_policy) {
	struct grant_ring ring = {0};
	struct grant_terms terms;
	struct lease_grant grant = {0};
	int64_t t_us = INT64_C(1700000000000000) + dice(0, 1000000000);

	choose_terms(&terms);
	for (int i = 0; i < STEPS; i++) {
		const struct grant_ring before = ring;
		struct lease_request request;
		int host = dice(0, 3) == 0 ? (int)dice(0, GRANT_HOSTS - 1) : (int)dice(0, 3);

		if (!one_policy && dice(0, 5) == 0)
			choose_terms(&terms);
		t_us = step_time(t_us, terms.sub_window_us);
		choose_request(&request, &terms, &grant);
		print_question(&before, &terms, &request, t_us, host);
		grant_take(&ring, &terms, &request, t_us, host, &grant);
		print_answer(&ring, &grant, must_be_written(before, &ring, &terms, t_us, &grant));
	}
}

int main(int argc, char **argv) {
	int histories = argc > 2 ? atoi(argv[2]) : 1;
	state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	for (int i = 0; i < histories; i++)
		play(i % 2 == 0);
	return 0;
}
