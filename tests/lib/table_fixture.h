/*
 * table_fixture.h - a table, mapped as an app has it, with one client in it.
 */
#ifndef TABLE_FIXTURE_H
#define TABLE_FIXTURE_H

#include <stdlib.h>

#include "decision.h"
#include "fake_agent.h"
#include "mapping.h"
#include "unit.h"

#define GENERATION 42u

struct fixture {
	struct fake_table table;
	struct mapping *mapping;
	struct slot *slot; /* the slot of client "c" */
	enum verdict verdict;
	uint32_t told;
};

static inline struct fixture *fixture_new(uint32_t policy) {
	struct fixture *f = calloc(1, sizeof(*f));

	fake_table_make(&f->table, GENERATION);
	assert_int_equal(mapping_new(&f->mapping, f->table.directory_fd, f->table.table_fd, GENERATION), 0);
	f->slot = fake_table_put(&f->table, policy, "c");
	return f;
}

static inline int teardown(void **state) {
	struct fixture *f = *state;

	mapping_free(f->mapping);
	fake_table_destroy(&f->table);
	free(f);
	return 0;
}

static inline uint32_t credits(const struct fixture *f, int which) {
	return word_credits(atomic_load(&f->slot->word[which]));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
