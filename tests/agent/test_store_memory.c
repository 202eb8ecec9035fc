/*
 * test_store_memory.c - counters in memory: whose they are, what they owe, and when they are freed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "process.h"
#include "random.h"
#include "core/store_memory.h"

#define NOW INT64_C(5000000000)

static const struct grant_terms terms = {.max_requests = 10, .sub_window_us = 100000, .runs = 10};
static struct store_memory *store;
static struct lease_grant got;

static int64_t window_us = 12 * 100000; /* how long it keeps what is owed */

static int64_t window_of(void *context, int32_t policy_id) {
	assert_in_range(policy_id, 1, 2);
	return *(int64_t *)context;
}

static int make_with_room(size_t capacity) {
	window_us = 12 * 100000;
	store = store_memory_new(&(struct store_memory_options){42, capacity, window_of, &window_us});
	return store ? 0 : -1;
}

static int make(void **state) {
	(void)state;
	return make_with_room(10000);
}

#define FEW 50

static int make_small(void **state) {
	(void)state;
	return make_with_room(FEW);
}

static int clean(void **state) {
	(void)state;
	store_memory_free(store);
	return 0;
}

static int32_t take_for(int32_t policy, const char *id, int64_t t_us, struct lease_request request) {
	request.policy_id = policy;
	request.client_id = id;
	request.client_id_len = (uint8_t)strlen(id);
	store_memory_take(store, &terms, &request, t_us, 1, &got);
	assert_true(got.answered);
	return got.granted;
}

static int32_t take(const char *id, int64_t t_us, int32_t cost) {
	return take_for(1, id, t_us, (struct lease_request){.need = cost, .least = cost, .want = cost});
}

static void note_uncharged(void *context, const struct store_memory_entry *entry) {
	*(int64_t *)context = entry->uncharged;
}

/* Gives what the client owes, and forgets it. */
static int64_t uncharged(const char *id) {
	int64_t credits = 0;
	store_memory_collect(store, 1, id, (uint8_t)strlen(id), note_uncharged, &credits);
	return credits;
}

static void expire(int64_t t_us) {
	store_memory_expire(store, t_us, store_memory_chains(store));
}

static void owe(const char *id, int32_t credits) {
	assert_true(store_memory_owe(store, 1, id, (uint8_t)strlen(id), debt_of(credits, 0, NOW)));
}

static int64_t owes(const char *id) {
	return store_memory_collect_owed(store, 1, id, (uint8_t)strlen(id)).charge;
}

static void clients_and_policies_are_told_apart(void **state) {
	(void)state;
	assert_int_equal(take("a", NOW, 10), 10);
	assert_int_equal(take("a", NOW, 1), 0);
	assert_int_equal(take("ab", NOW, 10), 10);
	assert_int_equal(take_for(2, "a", NOW, (struct lease_request){.need = 10, .least = 10, .want = 10}), 10);
	assert_int_equal(store_memory_count(store), 3);
}

static void a_first_denial_is_not_remembered(void **state) {
	(void)state;
	assert_int_equal(take("a", NOW, 11), 0);
	assert_int_equal(store_memory_count(store), 0);
}

static void edges_differ_but_not_for_one_client(void **state) {
	(void)state;
	int64_t valid_us[20];
	char id[32];
	int different = 0;
	for (int i = 0; i < 20; i++) {
		snprintf(id, sizeof(id), "client-%d", i);
		take(id, NOW, 1);
		valid_us[i] = got.valid_us;
		different += got.valid_us != valid_us[0];
		take(id, NOW + 1, 1);
		assert_int_equal(got.valid_us, valid_us[i] > 1 ? valid_us[i] - 1 : terms.sub_window_us);
	}
	assert_true(different > 15);
}

/* On a machine that was started a moment ago most edges are still to come for the first time. */
static void a_sub_window_is_no_longer_than_that_soon_after_a_start(void **state) {
	(void)state;
	char id[32];
	for (int i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "client-%d", i);
		assert_int_equal(take(id, 1000, 1), 1);
		assert_in_range(got.valid_us, 1, terms.sub_window_us);
		int64_t first = got.sub_window, valid_us = got.valid_us;
		assert_int_equal(take(id, 1000 + valid_us - 1, 1), 1);
		assert_int_equal(got.sub_window, first);
		assert_int_equal(take(id, 1000 + valid_us, 1), 1);
		assert_int_equal(got.sub_window, first + terms.sub_window_us);
		assert_int_equal(got.valid_us, terms.sub_window_us);
	}
}

static void a_counter_grows_with_its_history(void **state) {
	(void)state;
	const char *id = "a client id that is rather long, to be moved along";
	for (int i = 0; i < 30; i++)
		assert_int_equal(take(id, NOW + i * 200000, 1), 1);
	assert_int_equal(store_memory_count(store), 1);
	assert_int_equal(uncharged(id), 30);
	assert_int_equal(take(id, NOW + 29 * 200000, 5), 0); /* six of the last eleven have one count */
	assert_int_equal(take(id, NOW + 29 * 200000, 4), 4);
}

static void what_is_uncharged_is_grants_less_returns(void **state) {
	(void)state;
	take_for(1, "a", NOW, (struct lease_request){.need = 4, .least = 4, .want = 4, .next_want = 1});
	take_for(1, "a", NOW, (struct lease_request){.charge = 3});
	take_for(1, "a", NOW,
	         (struct lease_request){.report = {{.sub_window = got.sub_window, .unspent = 1},
	                                           {.sub_window = got.next_sub_window, .unspent = 1, .spent = 0}}});
	assert_int_equal(uncharged("a"), 3);
	take_for(1, "a", NOW, (struct lease_request){.report[0] = {.sub_window = got.sub_window, .spent = 2}});
	assert_int_equal(uncharged("a"), 0);
	assert_int_equal(uncharged("nobody"), 0);
}

static void what_is_owed_is_apart_from_it(void **state) {
	(void)state;
	assert_int_equal(take("a", NOW, 2), 2);
	owe("a", 5);
	owe("b", 7);
	assert_int_equal(take("a", NOW, 8), 8); /* what is owed isn't charged yet */
	assert_int_equal(owes("a"), 5);
	assert_int_equal(owes("a"), 0);
	assert_int_equal(owes("nobody"), 0);
	assert_int_equal(owes("b"), 7);
	owe("b", INT32_MAX);
	owe("b", INT32_MAX);
	assert_int_equal(owes("b"), INT32_MAX);
	assert_int_equal(uncharged("a"), 10);
}

static void what_was_advanced_is_part_of_a_debt(void **state) {
	(void)state;
	struct debt debt = debt_sum(debt_of(5, 2, NOW + 1), debt_of(3, 7, NOW));
	assert_int_equal(debt.charge, 8);
	assert_int_equal(debt.advanced, 5);
	assert_int_equal(debt.since_us, NOW + 1);
	debt = debt_sum(debt_of(INT32_MAX, INT32_MAX, NOW), debt_of(1, 1, NOW));
	assert_int_equal(debt.charge, INT32_MAX);
	assert_int_equal(debt.advanced, INT32_MAX);
}

static void add_up(void *context, const struct store_memory_entry *entry) {
	int64_t sum = 0;
	for (int i = 0; i < entry->length; i++)
		sum += entry->counts[i];
	assert_int_equal(entry->policy_id, 1);
	assert_memory_equal(entry->client_id, "client-", 7);
	assert_int_equal(entry->uncharged, sum);
	assert_int_equal(entry->owed.charge, 0);
	*(int64_t *)context += entry->uncharged;
}

static void collecting_names_every_debtor_once(void **state) {
	(void)state;
	char id[32];
	int64_t sum = 0;
	for (int i = 0; i < 5000; i++) {
		snprintf(id, sizeof(id), "client-%d", i);
		take(id, NOW, 1 + i % 3);
	}
	assert_int_equal(store_memory_owing(store), 5000);
	size_t chain = 0, parts = 0;
	for (size_t before = 5000; chain < store_memory_chains(store); before = store_memory_owing(store), parts++) {
		store_memory_collect_some(store, &chain, 64, 30, add_up, &sum);
		assert_in_range(before - store_memory_owing(store), 0, 30);
	}
	assert_in_range(parts, 5000 / 30, 5000);
	assert_int_equal(store_memory_owing(store), 0);
	assert_int_equal(sum, 1667 * 1 + 1667 * 2 + 1666 * 3);
	for (int i = 0; i < 5000; i++) {
		snprintf(id, sizeof(id), "client-%d", i);
		assert_int_equal(take(id, NOW, 10), 0);
	}
}

/* A step takes no longer than it says, whatever there is. */
static void collecting_looks_at_some_chains_at_a_time(void **state) {
	(void)state;
	int64_t sum = 0;
	size_t chain = 0;
	for (int i = 0; i < 5000; i++) {
		char id[32];
		snprintf(id, sizeof(id), "client-%d", i);
		take(id, NOW, 1);
	}
	store_memory_collect_some(store, &chain, 3, 5000, add_up, &sum);
	assert_int_equal(chain, 3);
	assert_true(sum < 100);
	store_memory_collect_some(store, &chain, 0, 5000, add_up, &sum);
	assert_int_equal(chain, 3);
}

static void the_idle_go_when_nothing_depends_on_them(void **state) {
	(void)state;
	take("a", NOW, 10);
	owe("debtor", 1);
	expire(NOW + 10 * 100000);
	assert_int_equal(store_memory_count(store), 2);
	assert_int_equal(uncharged("a"), 10);
	expire(NOW + 11 * 100000);
	assert_int_equal(store_memory_count(store), 1);
	expire(NOW + 12 * 100000 - 1);
	assert_int_equal(store_memory_count(store), 1);
	expire(NOW + 12 * 100000);
	assert_int_equal(store_memory_count(store), 0);
	assert_int_equal(store_memory_owing(store), 0);
	assert_int_equal(take("a", NOW + 12 * 100000, 10), 10);
}

static void what_is_uncharged_is_kept_for_the_policys_window(void **state) {
	(void)state;
	window_us = 3600 * INT64_C(1000000);
	take("a", NOW, 10);
	expire(NOW + window_us - 1000000);
	assert_int_equal(store_memory_count(store), 1);
	assert_int_equal(uncharged("a"), 10);
	expire(NOW + window_us - 1000000);
	assert_int_equal(store_memory_count(store), 0);
	take("a", NOW, 10);
	expire(NOW + window_us + 100000);
	assert_int_equal(store_memory_count(store), 0);
}

static void expiry_goes_round_in_small_steps(void **state) {
	(void)state;
	char id[32];
	for (int i = 0; i < 500; i++) {
		snprintf(id, sizeof(id), "client-%d", i);
		take(id, NOW, 1);
	}
	for (size_t i = 0; i < store_memory_chains(store) / 16; i++) {
		size_t before = store_memory_count(store);
		store_memory_expire(store, NOW + 100 * 100000, 16);
		assert_true(before - store_memory_count(store) < 32);
	}
	assert_int_equal(store_memory_count(store), 0);
}

static int64_t resident_kib(void) {
	long shared_kib;
	return process_memory_kib(getpid(), &shared_kib);
}

/* Clients come, their counters grow bit by bit, and they go, as many each time. One of them stays: else all
 * would be forgotten at once. */
static void memory_follows_what_is_in_use(void **state) {
	(void)state;
	char id[32];
	int64_t t_us = NOW, before_kib = 0;
	for (int round = 0; round < 20; round++) {
		for (int step = 0; step < 10; step++, t_us += terms.sub_window_us)
			for (int i = 0; i < 5000; i++) {
				snprintf(id, sizeof(id), "client-%d", i);
				assert_int_equal(take(id, t_us, 1), 1);
			}
		t_us += 20 * terms.sub_window_us;
		take("stays", t_us, 1);
		expire(t_us);
		assert_int_equal(store_memory_count(store), 1);
		if (round == 1)
			before_kib = resident_kib();
	}
	assert_in_range(resident_kib(), 0, before_kib + 8 * 1024);
}

static void it_only_stores(void **state) {
	(void)state;
	struct grant_ring rings[40] = {0};
	int64_t edges[40] = {0}, t_us = NOW;
	uint64_t random = 5;
	char id[32];
	for (int i = 0; i < 20000; i++) {
		uint32_t n = random_below(&random, 40);
		struct lease_request request = {.need = 1 + (int32_t)random_below(&random, 3), .least = 1};
		struct grant_terms own = terms;
		struct lease_grant expected;
		request.want = request.need;
		request.next_want = (int32_t)random_below(&random, 3);
		t_us += random_below(&random, 20000);
		snprintf(id, sizeof(id), "client-%u", n);
		take_for(1, id, t_us, request);
		if (rings[n].sub_window_us == 0)
			edges[n] = got.sub_window % terms.sub_window_us;
		own.phase_us = edges[n];
		grant_take(&rings[n], &own, &request, t_us + STORE_MEMORY_AHEAD_US, 1, &expected);
		assert_memory_equal(&got, &expected, sizeof(got));
		if (i % 1000 == 0)
			expire(t_us);
	}
}

/* ---- No room ---------------------------------------------------------------------------- */

static int32_t flood(const char *name, int count, int64_t t_us) {
	char id[32];
	int32_t granted = 0;
	for (int i = 0; i < count; i++) {
		snprintf(id, sizeof(id), "%s-%d", name, i);
		granted += take(id, t_us, 1);
	}
	return granted;
}

static void who_finds_no_room_shares(void **state) {
	(void)state;
	assert_int_equal(flood("known", FEW, NOW), FEW);
	assert_int_equal(flood("flood", 100000, NOW), terms.max_requests);
	assert_int_equal(store_memory_count(store), FEW + 1);
	assert_int_equal(store_memory_shared_granted(store), terms.max_requests);
	assert_int_equal(take("known-7", NOW, 9), 9); /* it is nobody else's */
	assert_int_equal(store_memory_owing(store), FEW);
	take_for(1, "flood-8", NOW + terms.sub_window_us * (terms.runs + 1), (struct lease_request){.next_want = 1});
	assert_int_equal(got.granted_next, 1);
	assert_int_equal(store_memory_shared_granted(store), terms.max_requests + 1);
	/* each policy has one of its own */
	assert_int_equal(take_for(2, "flood-1", NOW, (struct lease_request){.need = 1, .least = 1, .want = 1}), 1);
}

static void a_flood_is_forgotten_with_its_window(void **state) {
	(void)state;
	flood("flood", 1000, NOW);
	int64_t later_us = NOW + 30 * 100000;
	assert_int_equal(flood("known", FEW, later_us), FEW); /* no sweep is needed for it */
	assert_int_equal(store_memory_shared_granted(store), terms.max_requests);
	expire(later_us + 30 * 100000);
	assert_int_equal(store_memory_count(store), 0);
}

/* What a client was granted from the shared counter, it is not granted again from its own. */
static void who_finds_room_again_begins_with_what_was_shared(void **state) {
	(void)state;
	flood("known", FEW, NOW);
	assert_int_equal(take("late", NOW + 500000, 10), 10);
	window_us = 0;
	expire(NOW + 1300000);
	assert_int_equal(store_memory_count(store), 1);
	owe("late", 1); /* the counter has no count */
	assert_int_equal(take("late", NOW + 1300000, 1), 0);
	assert_int_equal(take("somebody", NOW + 1300000, 1), 0); /* nobody knows whose it was */
	expire(NOW + 1800000);
	assert_int_equal(take("late", NOW + 1800000, 10), 10);
	assert_int_equal(store_memory_shared_granted(store), 10);
}

static void a_debt_without_room_is_not_noted(void **state) {
	(void)state;
	flood("known", FEW, NOW);
	owe("known-3", 2);
	assert_false(store_memory_owe(store, 1, "debtor", 6, debt_of(1, 1, NOW)));
	assert_int_equal(owes("debtor"), 0);
	assert_int_equal(owes("known-3"), 2);
}

/* The machine was started a moment ago: most of these sub-windows began before its clock did. */
static void what_goes_back_right_after_the_start_is_there_again(void **state) {
	(void)state;
	for (int i = 0; i < 100; i++) {
		char id[16];
		snprintf(id, sizeof(id), "c%d", i);
		assert_int_equal(take(id, 1000, 10), 10);
		struct lease_request back = {.need = 10, .least = 10, .want = 10};
		back.report[0] = (struct lease_report){.sub_window = got.sub_window, .unspent = 10};
		assert_int_equal(take_for(1, id, 1000, back), 10);
		assert_int_equal(uncharged(id), 10);
	}
}

int main(void) {
#define TEST(name)  cmocka_unit_test_setup_teardown(name, make, clean)
#define SMALL(name) cmocka_unit_test_setup_teardown(name, make_small, clean)
	const struct CMUnitTest tests[] = {
		TEST(clients_and_policies_are_told_apart),
		TEST(what_goes_back_right_after_the_start_is_there_again),
		TEST(a_first_denial_is_not_remembered),
		TEST(edges_differ_but_not_for_one_client),
		TEST(a_sub_window_is_no_longer_than_that_soon_after_a_start),
		TEST(a_counter_grows_with_its_history),
		TEST(what_is_uncharged_is_grants_less_returns),
		TEST(what_is_owed_is_apart_from_it),
		TEST(what_was_advanced_is_part_of_a_debt),
		TEST(collecting_names_every_debtor_once),
		TEST(collecting_looks_at_some_chains_at_a_time),
		TEST(the_idle_go_when_nothing_depends_on_them),
		TEST(what_is_uncharged_is_kept_for_the_policys_window),
		TEST(expiry_goes_round_in_small_steps),
		TEST(memory_follows_what_is_in_use),
		TEST(it_only_stores),
		SMALL(who_finds_no_room_shares),
		SMALL(a_flood_is_forgotten_with_its_window),
		SMALL(who_finds_room_again_begins_with_what_was_shared),
		SMALL(a_debt_without_room_is_not_noted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
