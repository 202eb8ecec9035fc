/*
 * test_sketch.c - the sketch against exact counts, on streams of seeded chance: no count is too small, none too
 * large by more than it says, and who is denied most is in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"
#include "sketch.h"

#define CLIENTS 5000u

static struct sketch sketch;
static uint64_t exact[CLIENTS];

static int begin(void **state) {
	(void)state;
	memset(&sketch, 0, sizeof(sketch));
	memset(exact, 0, sizeof(exact));
	return 0;
}

static void add(unsigned client, uint64_t count) {
	char id[16];
	int length = snprintf(id, sizeof(id), "client %u", client);
	sketch_add(&sketch, id, (uint8_t)length, 1, count, 0);
	exact[client] += count;
}

static const struct sketch_client *find(unsigned client) {
	char id[16];
	snprintf(id, sizeof(id), "client %u", client);
	for (unsigned i = 0; i < sketch.used; i++)
		if (strcmp(sketch.client[i].id, id) == 0)
			return &sketch.client[i];
	return NULL;
}

/* Draws by Zipf's law: client n with a probability in proportion to 1 / (n + 1). */
static unsigned draw(uint64_t *seed) {
	static double below[CLIENTS];
	if (below[CLIENTS - 1] == 0)
		for (unsigned i = 0; i < CLIENTS; i++)
			below[i] = (i > 0 ? below[i - 1] : 0) + 1.0 / (i + 1);
	return random_by_share(seed, below, CLIENTS);
}

/* What Metwally, Agrawal and El Abbadi prove. */
static void check_bounds(void) {
	uint64_t bound = sketch.total / SKETCH_CLIENTS, sum = 0;
	for (unsigned i = 0; i < CLIENTS; i++) {
		const struct sketch_client *client = find(i);
		assert_true(client || exact[i] <= bound);
		if (!client)
			continue;
		sum += client->count;
		assert_true(client->count >= exact[i]);
		assert_true(client->count - client->over <= exact[i]);
		assert_true(client->over <= bound);
	}
	assert_int_equal(sum, sketch.total);
}

static void a_stream_by_zipfs_law(void **state) {
	(void)state;
	for (uint64_t run = 1; run <= 5; run++) {
		uint64_t seed = run;
		begin(NULL);
		for (int i = 0; i < 50000; i++)
			add(draw(&seed), 1);
		check_bounds();
		for (unsigned i = 0; i < 3; i++) /* most of what is known of these is theirs */
			assert_true(find(i)->over * 2 <= exact[i]);
	}
}

static void counts_of_any_size(void **state) {
	(void)state;
	uint64_t seed = 9;
	for (int i = 0; i < 50000; i++)
		add(draw(&seed), 1 + random_next(&seed) % 1000);
	check_bounds();
}

static void all_alike_are_known_to_be_unknown(void **state) {
	(void)state;
	uint64_t seed = 3;
	for (int i = 0; i < 50000; i++)
		add((unsigned)(random_next(&seed) % CLIENTS), 1);
	check_bounds();
	for (unsigned i = 0; i < sketch.used; i++)
		assert_true(sketch.client[i].over > sketch.client[i].count / 2);
}

static void few_are_counted_exactly(void **state) {
	(void)state;
	uint64_t seed = 4;
	for (int i = 0; i < 10000; i++)
		add((unsigned)(random_next(&seed) % SKETCH_CLIENTS), 3);
	for (unsigned i = 0; i < SKETCH_CLIENTS; i++) {
		assert_int_equal(find(i)->count, exact[i]);
		assert_int_equal(find(i)->over, 0);
	}
}

static void a_client_may_be_denied_for_two_reasons(void **state) {
	(void)state;
	sketch_add(&sketch, "a", 1, 1, 5, 0);
	sketch_add(&sketch, "a", 1, 2, 7, 0);
	sketch_add(&sketch, "ab", 2, 1, 1, 0);
	assert_int_equal(sketch.used, 3);
	assert_int_equal(sketch.client[0].count, 5);
	assert_int_equal(sketch.client[1].count, 7);
}

static void the_longest_id_has_room(void **state) {
	(void)state;
	char id[255];
	memset(id, 'x', sizeof(id));
	sketch_add(&sketch, id, 255, 1, 1, 0);
	assert_int_equal(strlen(sketch.client[0].id), 255);
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(a_stream_by_zipfs_law),
		TEST(counts_of_any_size),
		TEST(all_alike_are_known_to_be_unknown),
		TEST(few_are_counted_exactly),
		TEST(a_client_may_be_denied_for_two_reasons),
		TEST(the_longest_id_has_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
