/*
 * test_heap.c - timers come up in the order of their times.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "core/heap.h"
#include "random.h"

static void an_empty_heap_has_nothing_due(void **state) {
	(void)state;
	struct heap heap = {0};
	uint32_t value;
	assert_false(heap_pop_due(&heap, INT64_MAX, &value));
	assert_int_equal(heap_next_ns(&heap), INT64_MAX);
	heap_deinit(&heap);
}

static void nothing_comes_before_its_time(void **state) {
	(void)state;
	struct heap heap = {0};
	uint32_t value = 0;
	heap_push(&heap, 20, 2);
	heap_push(&heap, 10, 1);
	assert_int_equal(heap_next_ns(&heap), 10);
	assert_false(heap_pop_due(&heap, 9, &value));
	assert_true(heap_pop_due(&heap, 10, &value));
	assert_int_equal(value, 1);
	assert_false(heap_pop_due(&heap, 19, &value));
	assert_true(heap_pop_due(&heap, 25, &value));
	assert_int_equal(value, 2);
	heap_deinit(&heap);
}

static void all_come_up_in_order(void **state) {
	(void)state;
	struct heap heap = {0};
	uint64_t random = 4;
	uint32_t seen[3000] = {0}, value;
	int64_t times[3000], last_ns = 0;
	for (uint32_t i = 0; i < 3000; i++) {
		times[i] = random_below(&random, 1000); /* many times are equal */
		assert_int_equal(heap_push(&heap, times[i], i), 0);
		if (i % 7 == 0 && heap_pop_due(&heap, 300, &value))
			seen[value]++;
	}
	while (heap_pop_due(&heap, INT64_MAX, &value)) {
		assert_true(times[value] >= last_ns);
		last_ns = times[value];
		seen[value]++;
	}
	for (int i = 0; i < 3000; i++)
		assert_int_equal(seen[i], 1);
	heap_deinit(&heap);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_heap_has_nothing_due),
		cmocka_unit_test(nothing_comes_before_its_time),
		cmocka_unit_test(all_come_up_in_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
