/*
 * test_client.c - the ledger of clients: records and their ids come and go, and their memory is used again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "core/client.h"
#include "random.h"
#include "core/table.h"

#define CAPACITY 500

static struct client_pool pool;

static int make(void **state) {
	(void)state;
	return client_pool_init(&pool, CAPACITY);
}

static int clean(void **state) {
	(void)state;
	client_pool_deinit(&pool);
	return 0;
}

/* Fills the id so that its bytes tell whose it is. */
static void fill_id(char *id, uint32_t number, size_t length) {
	for (size_t i = 0; i < length; i++)
		id[i] = (char)(number * 7 + i);
}

static void a_fresh_record_is_blank(void **state) {
	(void)state;
	uint32_t index = client_new(&pool, 3, "a", 1);
	struct client *c = &pool.clients[index];
	c->granted[1] = 5;
	c->lease[0].deadline_ns = 9;
	client_free(&pool, index);
	assert_int_equal(client_new(&pool, 4, "b", 1), index);
	assert_int_equal(c->granted[1] | c->lease[0].deadline_ns, 0);
	assert_int_equal(c->flags, CLIENT_LIVE);
	assert_int_equal(c->slot, TABLE_NO_SLOT);
	assert_int_equal(c->pending, CLIENT_NO_PENDING);
	assert_int_equal(c->policy, 4);
	assert_int_equal(c->id[0], 'b');
}

static void a_full_pool_says_so(void **state) {
	(void)state;
	for (uint32_t i = 0; i < CAPACITY; i++)
		assert_int_equal(client_new(&pool, 0, "x", 1), i);
	assert_int_equal(client_new(&pool, 0, "x", 1), CLIENT_NONE);
	client_free(&pool, 7);
	assert_int_equal(client_new(&pool, 0, "x", 1), 7);
	assert_int_equal(pool.count, CAPACITY);
}

static void ids_of_all_lengths_keep_apart(void **state) {
	(void)state;
	uint64_t random = 8;
	uint32_t of[CAPACITY];
	uint8_t length[CAPACITY] = {0};
	char id[255];
	for (uint32_t step = 0; step < 30000; step++) {
		uint32_t n = random_below(&random, CAPACITY);
		if (length[n]) {
			fill_id(id, n, length[n]);
			assert_int_equal(pool.clients[of[n]].id_len, length[n]);
			assert_memory_equal(pool.clients[of[n]].id, id, length[n]);
			client_free(&pool, of[n]);
			length[n] = 0;
		} else {
			length[n] = (uint8_t)(1 + random_below(&random, 255));
			fill_id(id, n, length[n]);
			of[n] = client_new(&pool, 0, id, length[n]);
			assert_true(of[n] != CLIENT_NONE);
		}
	}
}

static void ids_go_with_their_records(void **state) {
	(void)state;
	char id[255];
	size_t bytes = 0;
	for (int round = 0; round < 20; round++) {
		for (uint32_t i = 0; i < CAPACITY; i++) {
			fill_id(id, i, sizeof(id));
			assert_true(client_new(&pool, 0, id, sizeof(id)) != CLIENT_NONE);
		}
		if (round == 0)
			bytes = slab_bytes(&pool.ids);
		assert_int_equal(slab_bytes(&pool.ids), bytes);
		for (uint32_t i = 0; i < CAPACITY; i++)
			client_free(&pool, i);
		assert_int_equal(pool.count, 0);
	}
}

/* A policy's index is given to another policy when it has no client any more. */
static void clients_of_each_policy_are_counted(void **state) {
	(void)state;
	uint32_t a = client_new(&pool, 3, "a", 1), b = client_new(&pool, 3, "b", 1), c = client_new(&pool, 4, "a", 1);
	assert_int_equal(pool.of_policy[3], 2);
	assert_int_equal(pool.of_policy[4], 1);
	client_free(&pool, a);
	client_free(&pool, c);
	assert_int_equal(pool.of_policy[3], 1);
	assert_int_equal(pool.of_policy[4], 0);
	client_free(&pool, b);
	assert_int_equal(pool.of_policy[3], 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clean)
	const struct CMUnitTest tests[] = {
		TEST(a_fresh_record_is_blank),
		TEST(a_full_pool_says_so),
		TEST(ids_of_all_lengths_keep_apart),
		TEST(ids_go_with_their_records),
		TEST(clients_of_each_policy_are_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
