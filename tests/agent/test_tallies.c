/*
 * test_tallies.c - the agent reads what apps have counted, of each policy apart; a policy that takes another's
 * place begins at nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "fake_table.h"
#include "policies.h"
#include "tallies.h"

#define STRIPES 7u

struct fixture {
	struct directory_header *directory;
	struct table_header *table;
	struct tallies tallies;
};

static int setup(void **state) {
	struct fixture *f = *state = calloc(1, sizeof(*f));
	struct table_geometry g = table_geometry_for(16, STRIPES);
	f->directory = fake_memory(g.directory_bytes);
	f->table = fake_memory(g.table_bytes);
	f->directory->policy_capacity = POLICY_CAPACITY;
	f->directory->tallies_offset = g.tallies_offset;
	f->directory->tally_stripes = STRIPES;
	f->tallies = tallies_of(f->directory, f->table);
	return 0;
}

static int teardown(void **state) {
	struct fixture *f = *state;
	free(f->directory);
	free(f->table);
	free(f);
	return 0;
}

static void add(const struct fixture *f, size_t row, uint32_t stripe, unsigned place, uint64_t count) {
	atomic_fetch_add(&f->tallies.rows[row * STRIPES + stripe].count[place], count);
}

static uint64_t denied(const struct fixture *f, int policy) {
	return tallies_verdicts(&f->tallies, policy, STINT_SOURCE_LEASE, TALLY_DENIED);
}

static void a_count_is_the_sum_of_all_tallies(void **state) {
	const struct fixture *f = *state;
	for (uint32_t i = 0; i < STRIPES; i++)
		add(f, 3, i, tally_place(STINT_SOURCE_LEASE, TALLY_DENIED), 1 + i);
	assert_int_equal(denied(f, 3), 28);
	assert_int_equal(denied(f, 2), 0);
	assert_int_equal(denied(f, 4), 0);
	assert_int_equal(tallies_verdicts(&f->tallies, 3, STINT_SOURCE_LEASE, TALLY_ALLOWED), 0);
	assert_int_equal(tallies_verdicts(&f->tallies, 3, STINT_SOURCE_LEASE, TALLY_SHADOW_DENIED), 0);
}

/* The last tally of the last row ends with the table. */
static void errors_have_a_row_of_their_own(void **state) {
	const struct fixture *f = *state;
	add(f, POLICY_CAPACITY, STRIPES - 1, tally_error_place(STINT_EADDRESS), 5);
	assert_int_equal(tallies_errors(&f->tallies, STINT_EADDRESS), 5);
	assert_int_equal(tallies_errors(&f->tallies, STINT_ECLIENT), 0);
	const char *end = (const char *)&f->tallies.rows[(POLICY_CAPACITY + 1) * STRIPES];
	assert_true(end <= (const char *)f->table + table_geometry_for(16, STRIPES).table_bytes);
}

static void a_policy_in_anothers_place_begins_at_nothing(void **state) {
	const struct fixture *f = *state;
	struct policies *policies = calloc(1, sizeof(*policies));
	struct policy_row row = {.name = "old",
	                         .max_requests = 10,
	                         .time_window_ms = 1000,
	                         .fallback_time_window_ms = 1000,
	                         .resolution = 10};
	policies_init(policies, f->directory, false);
	policies->tallies = f->tallies;
	assert_int_equal(policies_add(policies, &row), 0);
	strcpy(row.name, "beside");
	assert_int_equal(policies_add(policies, &row), 1);
	for (size_t policy = 0; policy < 2; policy++)
		add(f, policy, STRIPES - 1, tally_place(STINT_SOURCE_LEASE, TALLY_DENIED), 9);
	strcpy(row.name, "new");
	policies_replace(policies, 0, &row);
	assert_int_equal(denied(f, 0), 0);
	assert_int_equal(denied(f, 1), 9);
	free(policies);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_count_is_the_sum_of_all_tallies, setup, teardown),
		cmocka_unit_test_setup_teardown(errors_have_a_row_of_their_own, setup, teardown),
		cmocka_unit_test_setup_teardown(a_policy_in_anothers_place_begins_at_nothing, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
