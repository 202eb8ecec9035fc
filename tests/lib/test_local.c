/*
 * test_local.c - the limit inside the process: exact with threads, bounded with
 * more clients than it has room for.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "interrupt.h"
#include "local.h"
#include "unit.h"

#define WINDOW_MS 1000
#define NOW       UINT64_C(5000250000000) /* a quarter of a window is over */

static struct stint_result take(struct local *local, const char *id, uint32_t cost, int64_t max, uint64_t now_ns) {
	struct stint_result result;
	local_take(local, max, WINDOW_MS, &(struct question){.id = id, .length = strlen(id), .cost = cost}, now_ns,
	           &result);
	return result;
}

static void admits_the_limit_in_a_window(void **state) {
	struct local *local = local_new();
	struct stint_result r;

	(void)state;
	for (int i = 1; i <= 5; i++) {
		r = take(local, "c", 1, 5, NOW);
		assert_true(r.allowed);
		assert_int_equal(r.source, STINT_SOURCE_LOCAL);
		assert_int_equal(r.limit, 5);
		assert_int_equal(r.remaining, 5 - i);
		assert_int_equal(r.retry_after_ms, 0);
	}
	r = take(local, "c", 1, 5, NOW);
	assert_false(r.allowed);
	assert_int_equal(r.retry_after_ms, 750);
	assert_int_equal(r.reset_after_ms, 750);
	assert_true(take(local, "d", 1, 5, NOW).allowed);
	assert_true(take(local, "c", 1, 5, NOW + 750000000).allowed);
	local_free(local);
}

static void weighs_costs(void **state) {
	struct local *local = local_new();

	(void)state;
	assert_true(take(local, "c", 3, 5, NOW).allowed);
	assert_false(take(local, "c", 3, 5, NOW).allowed);
	assert_true(take(local, "c", 2, 5, NOW).allowed);
	assert_int_equal(take(local, "c", 1, 5, NOW).reason, STINT_OVER_LIMIT);
	assert_int_equal(take(local, "c", 6, 5, NOW).reason, STINT_COST_ABOVE_LIMIT);
	assert_int_equal(take(local, "c", 6, 5, NOW).retry_after_ms, 1000);
	assert_int_equal(take(local, "big", 1000000000, 2000000000, NOW).remaining, 1000000000);
	assert_true(take(local, "big", 1000000000, 2000000000, NOW).allowed);
	assert_false(take(local, "big", 1, 2000000000, NOW).allowed);
	/* The limit is lowered. */
	assert_false(take(local, "big", 1, 10, NOW).allowed);
	assert_int_equal(take(local, "big", 1, 10, NOW).remaining, 0);
	local_free(local);
}

/* The clients that sent most are remembered while a spray of ids goes over the table. */
static void a_spray_frees_nobody_who_sent_much(void **state) {
	struct local *local = local_new();
	char id[32];

	(void)state;
	assert_true(take(local, "heavy", 10, 10, NOW).allowed);
	for (int i = 0; i < 100000; i++) {
		snprintf(id, sizeof(id), "spray-%d", i);
		assert_true(take(local, id, 1, 10, NOW).allowed);
	}
	assert_false(take(local, "heavy", 1, 10, NOW).allowed);
	local_free(local);
}

struct crowd {
	struct local *local;
	_Atomic int admitted;
};

static void *push(void *arg) {
	struct crowd *crowd = arg;

	for (int i = 0; i < 5000; i++)
		atomic_fetch_add(&crowd->admitted, take(crowd->local, "c", 1, 12000, NOW).allowed);
	return NULL;
}

static void threads_keep_the_limit_together(void **state) {
	struct crowd crowd = {.local = local_new()};
	pthread_t thread[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, push, &crowd), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(atomic_load(&crowd.admitted), 12000);
	local_free(crowd.local);
}

/* Two threads see a client for the first time, one in the midst of the other. */
struct first_sight {
	struct local *local;
	uint32_t client;
	bool first, second;
};

static bool take_of_two(const struct first_sight *sight) {
	struct stint_result r;

	struct question q = {.id = (const char *)&sight->client, .length = sizeof(sight->client), .cost = 1};
	local_take(sight->local, 2, WINDOW_MS, &q, NOW, &r);
	return r.allowed;
}

static void take_first(void *arg) {
	struct first_sight *sight = arg;

	sight->first = take_of_two(sight);
}

static void take_second(void *arg) {
	struct first_sight *sight = arg;

	sight->second = take_of_two(sight);
}

static void a_new_clients_count_is_not_lost(void **state) {
	struct first_sight sight = {.local = local_new()};

	(void)state;
	for (; interrupt_after(sight.client + 1, take_first, take_second, &sight); sight.client++) {
		assert_true(sight.first && sight.second);
		assert_false(take_of_two(&sight));
	}
	local_free(sight.local);
	interrupt_or_skip();
	assert_true(sight.client > 50);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(admits_the_limit_in_a_window),       cmocka_unit_test(weighs_costs),
		cmocka_unit_test(a_spray_frees_nobody_who_sent_much), cmocka_unit_test(threads_keep_the_limit_together),
		cmocka_unit_test(a_new_clients_count_is_not_lost),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
