/*
 * test_table.c - the agent's side of the shared table: places, leases, what is left after somebody scribbled
 * over it; and threads that take credits as apps do while another thread refills and drains.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

#include "fake_table.h"
#include "protocol/tally.h"
#include "stint.h"

#define NOW  INT64_C(1000000000)
#define TICK (INT64_C(1) << DENIAL_TICK_SHIFT)

static struct fake_table fake;
static struct table *table;

static int make(void **state) {
	(void)state;
	fake_table_make(&fake, 100, 3);
	table = &fake.table;
	return 0;
}

static int clean(void **state) {
	(void)state;
	fake_table_free(&fake);
	return 0;
}

static uint32_t claim(const char *id, uint32_t owner) {
	struct place place = table_place(table, 0, id, strlen(id));
	return table_claim(table, &place, 0, owner);
}

static struct app_decision app(const char *id, uint32_t cost, int64_t now_ns) {
	return app_decides(&fake, 0, id, strlen(id), cost, now_ns);
}

static void publish(uint32_t slot, int bank, uint32_t credits, int64_t start_ns, int64_t deadline_ns) {
	table_publish(table, slot, bank,
	              &(struct table_lease){.credits = credits,
	                                    .start_ns = start_ns,
	                                    .deadline_ns = deadline_ns,
	                                    .is_next = start_ns > 0});
}

/* ---- Places --------------------------------------------------------------------------------- */

static void the_table_has_room_for_as_many_as_it_says(void **state) {
	(void)state;
	for (uint64_t clients = 16; clients < 100000000; clients = clients * 3 + 7) {
		struct table_geometry g = table_geometry_for(clients, 6);
		assert_true((uint64_t)g.bucket_count * SLOTS_PER_BUCKET >= clients);
		assert_true(g.slots_offset >= g.tags_offset + g.bucket_count * sizeof(struct tag_row));
		assert_true(g.slots_offset % 64 == 0);
		assert_true(g.tallies_offset >=
		            g.slots_offset + (uint64_t)g.bucket_count * SLOTS_PER_BUCKET * sizeof(struct slot));
		assert_true(g.tallies_offset % sizeof(struct tally) == 0);
		assert_true(g.table_bytes >= g.tallies_offset + (POLICY_CAPACITY + 1) * 6 * sizeof(struct tally));
		assert_true(g.directory_bytes >= DIRECTORY_ENTRIES_OFFSET + POLICY_CAPACITY * sizeof(struct policy_entry));
	}
	char id[16];
	for (uint32_t i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "client-%u", i);
		assert_true(claim(id, i) != TABLE_NO_SLOT);
	}
	assert_int_equal(table->used, 100);
}

static void a_claimed_slot_is_found_by_agent_and_app(void **state) {
	(void)state;
	struct place place = table_place(table, 0, "a", 1), other = table_place(table, 1, "a", 1);
	uint32_t slot = table_claim(table, &place, 0, 77), cursor = 0;
	assert_int_equal(table_next_candidate(table, &place, &cursor), slot);
	assert_int_equal(table->owner[slot], 77);
	assert_true(table_key_matches(table, slot, &place));
	assert_false(table_key_matches(table, slot, &other)); /* the same id under another policy */
	assert_int_equal(app_find(&fake, 0, "a", 1), slot);
	assert_int_equal(app_find(&fake, 1, "a", 1), TABLE_NO_SLOT);
	table_release(table, slot);
	assert_int_equal(app_find(&fake, 0, "a", 1), TABLE_NO_SLOT);
	assert_int_equal(table->used, 0);
	cursor = 0;
	assert_int_equal(table_next_candidate(table, &place, &cursor), TABLE_NO_SLOT);
}

/* The table is as full as it is made for. */
static void most_clients_are_at_home_and_all_have_room(void **state) {
	(void)state;
	uint32_t clients = table->slot_count / 100 * 85, at_home = 0;
	char id[16];
	for (uint32_t i = 0; i < clients; i++) {
		int length = snprintf(id, sizeof(id), "client-%u", i);
		struct place place = table_place(table, 0, id, (size_t)length);
		uint32_t slot = table_claim(table, &place, 0, i);
		assert_true(slot != TABLE_NO_SLOT);
		at_home += slot == place.home[0] || slot == place.home[1];
	}
	assert_true(at_home > clients / 100 * 70);
}

static void both_buckets_fill_up_and_then_there_is_no_room(void **state) {
	(void)state;
	struct place place = table_place(table, 0, "a", 1);
	uint32_t room = place_bucket(&place, 0) == place_bucket(&place, 1) ? SLOTS_PER_BUCKET : 2 * SLOTS_PER_BUCKET;
	for (uint32_t i = 0; i < room; i++) {
		uint32_t slot = table_claim(table, &place, 0, i);
		assert_true(slot / SLOTS_PER_BUCKET == place_bucket(&place, 0) ||
		            slot / SLOTS_PER_BUCKET == place_bucket(&place, 1));
	}
	assert_int_equal(table_claim(table, &place, 0, 99), TABLE_NO_SLOT);
	uint32_t freed = table_candidate(&place, TABLE_CANDIDATES - 1);
	table_release(table, freed);
	assert_int_equal(table_claim(table, &place, 0, 99), freed);
}

static void nothing_of_the_last_client_is_left_for_the_next(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1);
	publish(slot, 0, 10, 0, NOW + 100);
	publish(slot, 1, 10, NOW + 50, NOW + 200);
	table_deny(table, slot, NOW + 5 * TICK, 1, 9, hint_pack(0, 1, 2));
	table_set_mark(table, slot, 9);
	table_set_own_limit(table, slot, true, 5);
	uint32_t epoch = word_epoch(atomic_load(&table->slots[slot].word[0]));
	table_release(table, slot);
	for (uint32_t i = 2; claim("a", i) != slot; i++)
		assert_true(i < 40);
	assert_int_equal(app("a", 1, NOW).verdict, APP_ASKS);
	assert_true(word_epoch(atomic_load(&table->slots[slot].word[0])) > epoch); /* a late CAS of an app fails */
	assert_int_equal(atomic_load(&table->slots[slot].low_water), 0);
}

/* ---- Leases ----------------------------------------------------------------------------------- */

static void a_lease_is_good_until_its_deadline(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1);
	publish(slot, 0, 3, 0, NOW + 10);
	assert_int_equal(app("a", 4, NOW).verdict, APP_ASKS);
	assert_int_equal(app("a", 2, NOW + 9).left, 1);
	assert_int_equal(app("a", 1, NOW + 10).verdict, APP_ASKS);
	table_add(table, slot, 0, 5);
	assert_int_equal(table_credits(table, slot, 0), 6);
	assert_int_equal(table_drain(table, slot, 0), 6);
	assert_int_equal(table_drain(table, slot, 0), 0);
	assert_int_equal(app("a", 1, NOW).verdict, APP_ASKS);
}

static void what_was_drained_does_not_open_the_next_lease_early(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1);
	publish(slot, 1, 5, 0, NOW + 58000000000); /* as when a policy with long sub-windows has changed */
	table_drain(table, slot, 1);
	publish(slot, 0, 5, NOW + 1000, NOW + 100000);
	assert_int_equal(app("a", 1, NOW).verdict, APP_ASKS);
	assert_int_equal(app("a", 1, NOW + 1000).verdict, APP_ALLOWED);
}

static void without_its_next_lease_the_current_one_stays_open(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1);
	publish(slot, 0, 5, 0, NOW + 1000);
	publish(slot, 1, 5, NOW + 1000, NOW + 2000);
	table_drain(table, slot, 1);
	assert_int_equal(app("a", 1, NOW).verdict, APP_ALLOWED);
}

static void the_next_lease_waits_for_its_start(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1);
	for (int bank = 0; bank < 2; bank++) {
		publish(slot, bank, 1, 0, NOW + 100);
		publish(slot, !bank, 2, NOW + 90, NOW + 200);
		assert_int_equal(app("a", 1, NOW).verdict, APP_ALLOWED);
		assert_int_equal(app("a", 1, NOW + 89).verdict, APP_ASKS);
		assert_int_equal(app("a", 2, NOW + 90).verdict, APP_ALLOWED);
		assert_int_equal(table_later_start(table, slot), NOW + 90);
	}
	publish(slot, 1, 1, 0, NOW + 100); /* the current one again: the later one keeps its start */
	assert_int_equal(table_later_start(table, slot), NOW + 90);
	publish(slot, 1, 1, 0, NOW + 300); /* the later one is now good at once */
	assert_int_equal(table_later_start(table, slot), 0);
	assert_int_equal(app("a", 1, NOW).verdict, APP_ALLOWED);
}

static void fallback_credits_are_marked(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1);
	table_publish(table, slot, 1,
	              &(struct table_lease){.credits = 4, .flag = WORD_FALLBACK_BIT, .deadline_ns = NOW + 10});
	assert_true(table_is_fallback(table, slot, 1));
	assert_false(table_is_fallback(table, slot, 0));
	struct app_decision d = app("a", 1, NOW);
	assert_true(d.fallback);
	assert_int_equal(d.left, 3);
	assert_int_equal(table_drain(table, slot, 1), 3);
	assert_false(table_is_fallback(table, slot, 1));
}

static void what_the_store_has_left_is_told_beside_one_lease_or_both(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1);
	for (uint32_t credits = 0; credits < 2; credits++) {
		publish(slot, 0, 3, 0, NOW + 10);
		publish(slot, 1, credits, 0, NOW + 20);
		table_set_remaining(table, slot, STINT_MAX_REQUESTS_MAX);
		assert_int_equal(table_remaining(table, slot), STINT_MAX_REQUESTS_MAX);
		assert_int_equal(atomic_load(&table->slots[slot].hint),
		                 STINT_MAX_REQUESTS_MAX | (credits > 0 ? HINT_BOTH_BIT : 0));
	}
}

static void the_agent_takes_like_an_app(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1);
	publish(slot, 0, 3, 0, NOW + 10);
	assert_false(table_spend(table, slot, 0, 4));
	assert_true(table_spend(table, slot, 0, 3));
	assert_false(table_spend(table, slot, 0, 1));
}

static void the_low_water_mark_lies_between_a_quarter_and_a_half(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1);
	for (uint32_t granted = 2; granted < 5000; granted += granted / 7 + 1) {
		table_set_mark(table, slot, granted);
		uint32_t mark = 1u << atomic_load(&table->slots[slot].low_water);
		assert_true(mark * 4 > granted || mark == 2);
		assert_true(mark * 2 <= granted || mark == 2);
	}
	table_set_mark(table, slot, 0);
	assert_true(atomic_load(&table->slots[slot].low_water) > 0); /* the leases are the same as before */
	table_set_mark(table, slot, 1);
	assert_int_equal(atomic_load(&table->slots[slot].low_water), 0);
}

/* ---- Denials ------------------------------------------------------------------------------------- */

static void a_denial_holds_for_its_costs_and_its_time(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1), hint;
	int64_t left_ms, now_ns = (NOW / TICK + 1) * TICK;
	assert_true(table_deny(table, slot, now_ns + 5 * TICK, 3, 70, hint_pack(0, 11, 12)));
	assert_false(table_denies(table, slot, now_ns, 2, &left_ms, &hint));
	assert_true(table_denies(table, slot, now_ns, 3, &left_ms, &hint));
	assert_int_equal(left_ms, 6); /* a tick is a little more than a millisecond */
	assert_int_equal(hint_retry_ms(hint), 11);
	assert_int_equal(table_remaining(table, slot), 70);
	assert_int_equal(app("a", 65536, now_ns + 5 * TICK - 1).verdict, APP_DENIED);
	assert_int_equal(app("a", 3, now_ns + 5 * TICK).verdict, APP_ASKS);
	assert_false(table_denies(table, slot, now_ns + 5 * TICK, 3, &left_ms, &hint));
	assert_false(table_deny(table, slot, now_ns + 5 * TICK, 0, 70, hint));
	assert_int_equal(app("a", 3, now_ns).verdict, APP_ASKS);
	assert_false(table_deny(table, slot, now_ns + 5 * TICK, 65536, 70, hint));
	assert_int_equal(app("a", 65536, now_ns).verdict, APP_ASKS); /* too large to be cached */
	assert_true(table_deny(table, slot, now_ns + 5 * TICK, 65535, UINT32_MAX / 2, hint));
	assert_int_equal(app("a", 65535, now_ns).verdict, APP_DENIED);
	assert_int_equal(table_remaining(table, slot), UINT16_MAX);
}

/* Time is counted modulo 2^32 ticks. What is over must not come again half a turn later. */
static void a_denial_that_is_over_is_lifted(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1);
	table_deny(table, slot, NOW + 5 * TICK, 1, 7, hint_pack(0, 1, 2));
	assert_false(table_lift_denial(table, slot, NOW, NOW + 100 * TICK));
	assert_true(atomic_load(&table->slots[slot].denial) != 0);
	for (int64_t turn = 0; turn < 4; turn++) {
		int64_t later_ns = NOW + 6 * TICK + turn * (TICK << 30);
		assert_int_equal(app("a", 1, later_ns).verdict, APP_ASKS);
	}
	assert_false(table_lift_denial(table, slot, NOW + 6 * TICK, NOW + 100 * TICK));
	assert_int_equal(atomic_load(&table->slots[slot].denial), 0);
	assert_int_equal(table_remaining(table, slot), 7);
	table_deny(table, slot, NOW + 200 * TICK, 1, 7, hint_pack(0, 1, 2));
	assert_true(table_lift_denial(table, slot, NOW, NOW + 100 * TICK)); /* for longer than any denial lasts */
}

static void where_nothing_is_denied_nothing_is_lifted(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1);
	table_set_remaining(table, slot, 7);
	assert_false(table_lift_denial(table, slot, NOW, NOW + 100 * TICK));
	assert_int_equal(table_remaining(table, slot), 7);
}

/* ---- Limits of clients' own ------------------------------------------------------------------------ */

static int64_t own_limit_of(uint32_t slot) {
	int64_t limit;
	return table_own_limit(table, slot, &limit) ? limit : -1;
}

static void clients_share_own_limits_until_nobody_has_them(void **state) {
	(void)state;
	uint32_t a = claim("a", 1), b = claim("b", 2), c = claim("c", 3);
	table_set_mark(table, a, 64);
	uint8_t mark = atomic_load(&table->slots[a].low_water);
	assert_int_equal(own_limit_of(a), -1);
	for (uint32_t limit = 0; limit < 3 * OWN_LIMITS; limit++) { /* each limit is given up for the next */
		table_set_own_limit(table, a, true, limit);
		assert_int_equal(own_limit_of(a), limit);
		assert_int_equal(table_policy(table, a), 0);
	}
	table_set_mark(table, a, 64);
	assert_int_equal(atomic_load(&table->slots[a].low_water) & LOW_WATER_MARK_MASK, mark);
	table_set_own_limit(table, b, true, 7);
	table_set_own_limit(table, c, true, 7);
	table_set_own_limit(table, a, true, 8);
	table_set_own_limit(table, b, false, 0);
	table_set_own_limit(table, a, true, 9);
	assert_int_equal(own_limit_of(b), -1);
	assert_int_equal(own_limit_of(c), 7);
	fake_table_take_over(&fake); /* the next agent knows whose these limits are */
	table_set_own_limit(table, b, true, 10);
	assert_int_equal(own_limit_of(a), 9);
	assert_int_equal(own_limit_of(c), 7);
	table_release(table, c);
	assert_int_equal(own_limit_of(c), -1);
}

static void more_own_limits_than_there_is_room_for_are_not_told(void **state) {
	(void)state;
	for (uint32_t i = 0; i < OWN_LIMITS; i++)
		table->own_users[i] = 1;
	uint32_t slot = claim("a", 1);
	table_set_own_limit(table, slot, true, 12345);
	assert_int_equal(own_limit_of(slot), -1);
	table->own_users[200] = 0;
	table_set_own_limit(table, slot, true, 12345);
	assert_int_equal(own_limit_of(slot), 12345);
}

static void credits_go_before_a_denial(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1);
	publish(slot, 0, 1, 0, NOW + 10);
	table_deny(table, slot, NOW + 5 * TICK, 1, 0, hint_pack(0, 0, 0));
	assert_int_equal(app("a", 1, NOW).verdict, APP_ALLOWED);
	assert_int_equal(app("a", 1, NOW).verdict, APP_DENIED);
}

/* ---- After an agent's death, and after scribbles ------------------------------------------------ */

static void a_new_agent_finds_orphans(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1), cursor = 0;
	publish(slot, 0, 5, 0, NOW + 10);
	fake_table_take_over(&fake);
	struct place place = table_place(table, 0, "a", 1);
	assert_int_equal(table->used, 1);
	assert_int_equal(table_next_candidate(table, &place, &cursor), slot);
	assert_int_equal(table->owner[slot], TABLE_ORPHAN);
	assert_int_equal(table->orphans, 1);
	assert_int_equal(app("a", 1, NOW).left, 4);
	table_adopt(table, slot, 8, 0);
	assert_int_equal(table->owner[slot], 8);
	assert_int_equal(table->orphans, 0);
	table_release(table, slot);
	assert_int_equal(table->used, 0);
}

/* The page of the tags is read-only until somebody writes to it. At that moment the handler notes the slot's
 * key. */
static const struct slot *watched;
static uint64_t key_at_fault;
static int faults;

static void protect_tags(int protection) {
	size_t bytes = table->directory->slots_offset - table->directory->tags_offset;
	assert_int_equal(mprotect(table->tags, bytes, protection), 0);
}

static void on_fault(int number) {
	(void)number;
	faults++;
	key_at_fault = atomic_load(&watched->key);
	protect_tags(PROT_READ | PROT_WRITE);
}

static void no_instruction_leaves_a_key_without_a_tag(void **state) {
	(void)state;
	struct sigaction action = {.sa_handler = on_fault}, old;
	uint32_t slot = claim("a", 1);
	watched = &table->slots[slot];
	assert_int_equal(sigaction(SIGSEGV, &action, &old), 0);
	for (int claiming = 0; claiming < 2; claiming++) {
		protect_tags(PROT_READ);
		if (claiming)
			assert_int_equal(claim("a", 1), slot);
		else
			table_release(table, slot);
		assert_int_equal(faults, claiming + 1);
		assert_int_equal(key_at_fault, 0);
	}
	sigaction(SIGSEGV, &old, NULL);
}

/* Apps look at all of it before they use the table. */
static void each_field_of_the_head_is_put_right(void **state) {
	struct table_header *header = table->header;
	(void)state;
	table->directory->generation = 12;
	for (int field = 0; field < 4; field++) {
		table_repair_header(table);
		if (field == 0)
			header->magic++;
		else if (field == 1)
			header->version++;
		else if (field == 2)
			header->generation++;
		else
			atomic_store(&header->state, 77);
		table_repair_header(table);
		assert_true(header->magic == LAYOUT_MAGIC);
		assert_int_equal(header->version, LAYOUT_VERSION);
		assert_int_equal(header->generation, 12);
		assert_int_equal(atomic_load(&header->state), TABLE_ALIVE);
	}
}

static void use_is_noticed_once(void **state) {
	(void)state;
	uint32_t slot = claim("a", 1);
	table_was_referenced(table, slot);
	assert_false(table_was_referenced(table, slot));
	app("a", 1, NOW);
	assert_true(table_was_referenced(table, slot));
	assert_false(table_was_referenced(table, slot));
}

static void scribbles_are_put_right(void **state) {
	(void)state;
	struct place place = table_place(table, 0, "a", 1);
	uint32_t slot = table_claim(table, &place, 0, 1);
	struct slot *s = &table->slots[slot];
	assert_false(table_repair(table, slot, &place, 0));
	for (int field = 0; field < 3; field++) {
		publish(slot, 0, 5, 0, NOW + 10);
		if (field == 0)
			atomic_store(&s->key, 1);
		else if (field == 1)
			atomic_store(&s->policy, 999);
		else
			atomic_store(&table->tags[slot / SLOTS_PER_BUCKET].tag[slot % SLOTS_PER_BUCKET], 0);
		assert_true(table_repair(table, slot, &place, 0));
		assert_int_equal(app_find(&fake, 0, "a", 1), slot);
		assert_int_equal(app("a", 1, NOW).verdict, APP_ASKS); /* nobody knows whose credits those were */
		assert_false(table_repair(table, slot, &place, 0));
	}
}

/* Whatever stands in the table, the agent goes by its own memory of who is where. */
static void garbage_moves_nobody(void **state) {
	(void)state;
	uint64_t random = 11;
	uint32_t slot = claim("a", 1);
	struct place place = table_place(table, 0, "a", 1);
	unsigned char *bytes = (unsigned char *)table->tags;
	for (size_t i = 0; i < table->slot_count * (sizeof(struct slot) + 2); i++)
		bytes[i] = (unsigned char)random_next(&random);
	uint32_t cursor = 0;
	assert_int_equal(table_next_candidate(table, &place, &cursor), slot);
	publish(slot, 0, 5, 0, NOW + 10);
	table_add(table, slot, 1, 3);
	assert_true(table_drain(table, slot, 1) <= WORD_CREDITS_MASK);
	table_repair(table, slot, &place, 0);
	publish(slot, 0, 5, 0, NOW + 10);
	assert_int_equal(app("a", 1, NOW).left, 4);
	assert_true(claim("b", 2) != TABLE_NO_SLOT);
}

/* ---- Threads ---------------------------------------------------------------------------------------- */

#define TAKERS 3
#define ROUNDS 20000

static atomic_bool over;
static pthread_barrier_t ready;

struct taker {
	pthread_t thread;
	uint64_t random;
	int64_t taken;
};

static void *take_all_the_time(void *context) {
	struct taker *taker = context;
	pthread_barrier_wait(&ready);
	while (!atomic_load(&over)) {
		uint32_t cost = 1 + random_below(&taker->random, 3);
		if (app("hot", cost, NOW).verdict == APP_ALLOWED)
			taker->taken += cost;
	}
	return NULL;
}

/* Every credit is taken once or comes back once. */
static void credits_are_neither_made_nor_lost(void **state) {
	(void)state;
	struct taker takers[TAKERS] = {0};
	uint64_t random = 99;
	uint32_t slot = claim("hot", 1);
	int64_t granted = 0, drained = 0, taken = 0;
	atomic_store(&over, false);
	pthread_barrier_init(&ready, NULL, TAKERS + 1);
	for (int i = 0; i < TAKERS; i++) {
		takers[i].random = (uint64_t)i;
		assert_int_equal(pthread_create(&takers[i].thread, NULL, take_all_the_time, &takers[i]), 0);
	}
	pthread_barrier_wait(&ready);
	for (int i = 0; i < ROUNDS; i++) {
		int bank = (int)random_below(&random, 2);
		uint32_t credits = random_below(&random, 50);
		granted += credits;
		if (random_below(&random, 3)) {
			table_add(table, slot, bank, credits);
		} else {
			drained += table_drain(table, slot, bank);
			publish(slot, bank, credits, 0, NOW + 1000);
		}
		taken += table_spend(table, slot, bank, 1);
	}
	atomic_store(&over, true);
	for (int i = 0; i < TAKERS; i++) {
		pthread_join(takers[i].thread, NULL);
		taken += takers[i].taken;
	}
	pthread_barrier_destroy(&ready);
	drained += table_drain(table, slot, 0) + (int64_t)table_drain(table, slot, 1);
	assert_int_equal(taken + drained, granted);
	assert_true(taken > 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clean)
	const struct CMUnitTest tests[] = {
		TEST(the_table_has_room_for_as_many_as_it_says),
		TEST(a_claimed_slot_is_found_by_agent_and_app),
		TEST(most_clients_are_at_home_and_all_have_room),
		TEST(both_buckets_fill_up_and_then_there_is_no_room),
		TEST(nothing_of_the_last_client_is_left_for_the_next),
		TEST(a_lease_is_good_until_its_deadline),
		TEST(what_was_drained_does_not_open_the_next_lease_early),
		TEST(without_its_next_lease_the_current_one_stays_open),
		TEST(the_next_lease_waits_for_its_start),
		TEST(fallback_credits_are_marked),
		TEST(what_the_store_has_left_is_told_beside_one_lease_or_both),
		TEST(the_agent_takes_like_an_app),
		TEST(the_low_water_mark_lies_between_a_quarter_and_a_half),
		TEST(a_denial_holds_for_its_costs_and_its_time),
		TEST(a_denial_that_is_over_is_lifted),
		TEST(where_nothing_is_denied_nothing_is_lifted),
		TEST(each_field_of_the_head_is_put_right),
		TEST(clients_share_own_limits_until_nobody_has_them),
		TEST(more_own_limits_than_there_is_room_for_are_not_told),
		TEST(credits_go_before_a_denial),
		TEST(a_new_agent_finds_orphans),
		TEST(no_instruction_leaves_a_key_without_a_tag),
		TEST(use_is_noticed_once),
		TEST(scribbles_are_put_right),
		TEST(garbage_moves_nobody),
		TEST(credits_are_neither_made_nor_lost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
