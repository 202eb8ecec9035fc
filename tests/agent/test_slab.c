/*
 * test_slab.c - memory for many small things: no two cells overlap, and the memory that is held follows what is
 * in use.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "core/slab.h"
#include "random.h"

#define CELLS 20000u

static struct slab slab;
static unsigned char *cell[CELLS];
static size_t size[CELLS];

static int clean(void **state) {
	(void)state;
	slab_deinit(&slab);
	memset(cell, 0, sizeof(cell));
	return 0;
}

static void take(uint32_t n, size_t bytes) {
	cell[n] = slab_new(&slab, bytes);
	assert_non_null(cell[n]);
	assert_int_equal((uintptr_t)cell[n] % 8, 0);
	size[n] = bytes;
	memset(cell[n], (int)(n % 251), bytes);
}

static void give(uint32_t n) {
	for (size_t i = 0; i < size[n]; i++)
		assert_int_equal(cell[n][i], n % 251);
	slab_free(&slab, cell[n], size[n]);
	cell[n] = NULL;
}

static void cells_keep_apart(void **state) {
	(void)state;
	uint64_t random = 8;
	for (uint32_t step = 0; step < 200000; step++) {
		uint32_t n = random_below(&random, CELLS);
		if (cell[n])
			give(n);
		else
			take(n, 1 + random_below(&random, SLAB_CELL_MAX));
	}
	for (uint32_t n = 0; n < CELLS; n++)
		if (cell[n])
			give(n);
	assert_in_range(slab_bytes(&slab), 0, SLAB_CLASSES * 4096u); /* a page of each size may stay */
}

static void a_cell_costs_hardly_more_than_its_size(void **state) {
	(void)state;
	for (uint32_t n = 0; n < CELLS; n++)
		take(n, 32);
	assert_in_range(slab_bytes(&slab), CELLS * 32, CELLS * 33);
}

/* Ids of one length come after those of another. The memory for them is not the sum of both. */
static void memory_serves_another_size(void **state) {
	(void)state;
	for (size_t bytes = 8; bytes <= 256; bytes += 8) {
		for (uint32_t n = 0; n < CELLS; n++)
			take(n, bytes);
		assert_in_range(slab_bytes(&slab), CELLS * bytes, CELLS * (bytes + bytes / 8) + SLAB_CLASSES * 4096u);
		for (uint32_t n = 0; n < CELLS; n++)
			give(n);
	}
}

static bool is_mapped(const unsigned char *at) {
	void *page = (void *)((uintptr_t)at & ~(uintptr_t)4095);
	return msync(page, 4096, MS_ASYNC) == 0;
}

static void nothing_is_left_in_the_end(void **state) {
	(void)state;
	for (uint32_t n = 0; n < CELLS; n++)
		take(n, 256);
	assert_true(is_mapped(cell[0]) && is_mapped(cell[CELLS - 1]));
	slab_deinit(&slab);
	assert_false(is_mapped(cell[0]) || is_mapped(cell[CELLS / 2]) || is_mapped(cell[CELLS - 1]));
	assert_int_equal(slab_bytes(&slab), 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(cells_keep_apart, clean),
		cmocka_unit_test_teardown(a_cell_costs_hardly_more_than_its_size, clean),
		cmocka_unit_test_teardown(memory_serves_another_size, clean),
		cmocka_unit_test_teardown(nothing_is_left_in_the_end, clean),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
