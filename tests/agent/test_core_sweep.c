/*
 * test_core_sweep.c - who leaves the table, when it is full or when nobody asks; and what somebody wrote over it
 * is put back. Step by step, against a database that the test plays.
 */
#include "core_fixture.h"

/* ---- A full table ---------------------------------------------------------------------------- */

static void without_room_the_agent_decides(void **state) {
	struct fixture *f = *state;
	fill_table(f);
	uint32_t clients = core_client_count(f->core);
	want(f, 1, "stranger", 1);
	want(f, 2, "stranger", 1);
	expect_batch(f, "stranger", 1, 1, 1);
	assert_int_equal(core_client_count(f->core), clients + 1); /* the same client, as long as it has a request */
	grants(f, 1, 0, 9);
	expect_allowed(f, 1);
	grants(f, 1, 0, 9);
	expect_allowed(f, 2);
	assert_int_equal(core_client_count(f->core), clients);
	for (int i = 0; i < 100; i++)
		low(f, "stranger"); /* leaves nothing behind either */
	assert_int_equal(core_client_count(f->core), clients);
	assert_int_equal(core_counters(f->core)->evicted_for_room, 0);
}

/* Who has no slot has no lease that could be the old primary's. */
static void without_room_a_promotion_changes_nothing(void **state) {
	struct fixture *f = *state;
	fill_table(f);
	f->asked_count = 0;
	loses_the_answer(f);
	want(f, 1, "stranger", 1);
	core_database_promoted(f->core, f->now_ns, 900 * MS); /* of 1100 ms that the longest leases last */
	comes_up(f);
	pass(f, 300 * MS);
	for (int i = 0; i < 4 && f->told_count == 0; i++) { /* in some batch */
		struct lease_grant all[CORE_BATCH_MAX];
		for (size_t k = 0; k < f->asked_count; k++)
			all[k] = grant_of(f, f->asked[k].want, 0, 9);
		answers(f, LEASE_DONE, all);
	}
	expect_allowed(f, 1);
	want(f, 2, "stranger", 1);
	expect_batch(f, "stranger", 1, 1, 1);
}

static void the_idle_give_way(void **state) {
	struct fixture *f = *state;
	fill_table(f);
	for (int i = 0; i < 60; i++)
		pass(f, 50 * MS); /* most have now been unused for a sweep */
	f->asked_count = 0;
	want(f, 1, "newcomer", 1);
	grants(f, 1, 0, 9);
	expect_allowed(f, 1);
	assert_true(app_find(&f->table, 0, "newcomer", 8) != TABLE_NO_SLOT);
}

static void answer_nothing(struct fixture *f) {
	while (f->asked_count > 0) {
		struct lease_grant all[CORE_BATCH_MAX];
		for (size_t i = 0; i < f->asked_count; i++)
			all[i] = grant_of(f, 0, 0, 90);
		answers(f, LEASE_DONE, all);
	}
}

/* All others are in use. */
static void passes_while_only_this_slot_is_idle(struct fixture *f, uint32_t idle) {
	for (int i = 0; i < 40; i++) {
		for (uint32_t slot = 0; slot < f->table.table.slot_count; slot++)
			atomic_store(&f->table.table.slots[slot].referenced, slot != idle);
		pass(f, 50 * MS);
		answer_nothing(f);
	}
}

/* Each of the places where a client may be is looked at. */
static void whoever_is_idle_gives_way(struct fixture *f, uint32_t candidate) {
	struct place place = table_place(&f->table.table, 0, "newcomer", 8);
	uint32_t slot = table_candidate(&place, candidate);
	passes_while_only_this_slot_is_idle(f, slot);
	want(f, 1, "newcomer", 1);
	assert_int_equal(core_counters(f->core)->evicted_for_room, 1);
	assert_int_equal(app_find(&f->table, 0, "newcomer", 8), slot);
}

static void the_first_gives_way(void **state) {
	fill_table(*state);
	whoever_is_idle_gives_way(*state, 0);
}

static void the_last_gives_way(void **state) {
	fill_table(*state);
	whoever_is_idle_gives_way(*state, TABLE_CANDIDATES - 1);
}

static int make_large(void **state) {
	return make_up_with(state, 200000);
}

/* Steps are bounded, so they come more often. */
static void a_large_table_is_swept_in_time_too(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	f->asked_count = 0;
	uint64_t before = core_counters(f->core)->looked;
	for (int i = 0; i < 1000; i++) /* a quarter of the idle timeout */
		pass(f, MS);
	assert_in_range(core_counters(f->core)->looked - before, f->table.table.slot_count * 9 / 10,
	                f->table.table.slot_count * 11 / 10);
}

/* What comes back until it has left. */
static int32_t back_until_it_leaves(struct fixture *f, unsigned *batches) {
	unsigned before = f->batches;
	int32_t returned = 0;
	for (int i = 0; i < 600 && core_client_count(f->core) > 0; i++) {
		pass(f, 50 * MS);
		if (f->asked_count > 0) {
			returned += unspent_in(f, 0);
			grants(f, 0, 0, 95);
		}
	}
	*batches = f->batches - before;
	assert_int_equal(core_client_count(f->core), 0);
	assert_int_equal(f->table.table.used, 0);
	assert_int_equal(core_counters(f->core)->evicted_idle, 1);
	return returned;
}

/* What it left unspent is in no window any more. */
static void who_is_unused_for_long_leaves(void **state) {
	struct fixture *f = *state;
	unsigned batches;
	want(f, 1, "a", 1);
	grants_long(f, 1, 4, 90, 10);
	expect_allowed(f, 1);
	assert_int_equal(back_until_it_leaves(f, &batches), 0);
	assert_in_range(batches, 0, 1);                     /* for the next lease, which it was expected to use */
	assert_int_equal(core_next_ns(f->core), INT64_MAX); /* and then all is quiet */
}

static void pass_a_sweep(struct fixture *f) {
	for (int i = 0; i < 21; i++)
		pass(f, 50 * MS);
}

static void scribbles_are_repaired(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 1, 0, 90);
	uint32_t slot = app_find(&f->table, 0, "a", 1);
	atomic_store(&f->table.table.slots[slot].key, 5);
	assert_int_equal(app_find(&f->table, 0, "a", 1), TABLE_NO_SLOT);
	pass_a_sweep(f);
	assert_int_equal(app_find(&f->table, 0, "a", 1), slot);
	assert_int_equal(core_counters(f->core)->repaired, 1);
	atomic_store(&f->table.table.slots[slot].key, 6);
	pass_a_sweep(f);
	assert_int_equal(app_find(&f->table, 0, "a", 1), slot);
	assert_int_equal(core_counters(f->core)->repaired, 2);
}

static void declare_long(struct fixture *f) {
	struct core_policy policy = policy_with(100, 20);
	policy.terms.sub_window_us = 60000000;
	policy.time_window_ms = 600000;
	core_set_policy(f->core, f->now_ns, 0, &policy);
	core_advance(f->core, f->now_ns);
}

static void what_still_counts_goes_back_then(void **state) {
	struct fixture *f = *state;
	unsigned batches;
	declare_long(f);
	want(f, 1, "a", 1);
	grants_long(f, 1, 4, 10, 10);
	expect_allowed(f, 1);
	assert_int_equal(back_until_it_leaves(f, &batches), 4);
	assert_in_range(batches, 1, 2);
}

/* Whoever waits for it would wait for ever: an app that finds credits which aren't good yet doesn't take them. */
static void a_start_that_nobody_set_is_taken_back(void **state) {
	struct fixture *f = *state;
	declare_long(f);
	f->end_ns = f->now_ns + 60000 * MS;
	want(f, 1, "a", 1);
	grants(f, 5, 0, 90);
	f->told_count = 0;
	struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
	atomic_store(&slot->later_start_ns, (uint64_t)(f->now_ns + 1000000 * MS));
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	pass_a_sweep(f);
	assert_int_equal(core_counters(f->core)->repaired, 1);
	pass_a_sweep(f);
	assert_int_equal(core_counters(f->core)->repaired, 1); /* once is enough */
	f->asked_count = 0;
	want(f, 2, "a", 1);
	grants(f, 5, 0, 90);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
}

static void also_where_there_is_no_lease(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 1, 0, 90);
	struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
	for (unsigned times = 1; times < 3; times++) {
		atomic_store(&slot->later_start_ns, (uint64_t)(f->now_ns + 1000000 * MS));
		pass_a_sweep(f);
		assert_int_equal(core_counters(f->core)->repaired, times);
	}
	pass_a_sweep(f);
	assert_int_equal(core_counters(f->core)->repaired, 2);
}

/* Apps read it before they trust the table. */
static void the_head_of_the_table_is_repaired(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 1, 0, 90);
	atomic_store(&f->table.header->state, 77);
	f->table.header->magic = 77;
	pass_a_sweep(f);
	assert_int_equal(atomic_load(&f->table.header->state), TABLE_ALIVE);
	assert_int_equal(f->table.header->magic, LAYOUT_MAGIC);
}

static void a_denial_that_nobody_made_is_lifted(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 1, 0, 90);
	struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
	atomic_store(&slot->denial, denial_pack((uint64_t)(f->now_ns + 1000000 * MS), 0, 1));
	/* and so it would stay: an app that is denied asks nobody */
	assert_int_equal(app(f, "a", 1).verdict, APP_DENIED);
	pass_a_sweep(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	assert_int_equal(core_counters(f->core)->repaired, 1);
}

static void a_lease_that_nobody_gave_is_ended(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 1, 0, 90);
	struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
	for (int bank = 0; bank < 2; bank++) {
		atomic_store(&slot->word[bank], word_make(77, 1000000, 0));
		atomic_store(&slot->deadline_ns[bank], (uint64_t)(f->now_ns + 1000000 * MS));
	}
	assert_int_equal(app(f, "a", 1000).verdict, APP_ALLOWED);
	pass_a_sweep(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	expect_no_batch(f); /* nothing of it goes back */
}

/* An agent died, somebody wrote into its table, and apps go on in it without asking. */
static void an_orphans_nonsense_ends_with_the_sweep(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 1, 0, 90);
	struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
	succeed(f, false, 9);
	atomic_store(&slot->word[0], word_make(77, 50, 0));
	atomic_store(&slot->deadline_ns[0], (uint64_t)(f->now_ns + 1000000 * MS));
	atomic_store(&slot->word[1], word_make(77, 1000000, 0));
	atomic_store(&slot->deadline_ns[1], (uint64_t)(f->now_ns + 10 * MS));
	assert_int_equal(app(f, "a", 1000).verdict, APP_ALLOWED);
	pass_a_sweep(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

static void an_orphans_denial_that_nobody_made_is_lifted(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 1, 0, 90);
	struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
	succeed(f, false, 9);
	atomic_store(&slot->denial, denial_pack((uint64_t)(f->now_ns + 1000000 * MS), 0, 1));
	assert_int_equal(app(f, "a", 1).verdict, APP_DENIED);
	pass_a_sweep(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

/* Two leases of an agent that died, a minute each, of which everything is possible. */
static void leave_orphan(struct fixture *f) {
	declare_long(f);
	f->end_ns = f->now_ns + 60000 * MS;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 60, 100, 40);
	grant.next_valid_us = grant.valid_us + 60000000;
	answers(f, LEASE_DONE, &grant);
	static const struct core_io io = {.take = on_take, .verdict = on_verdict};
	const struct core_options options = {.grace_ns = 500 * MS, .idle_timeout_ns = 4000 * MS};
	core_free(f->core);
	f->told_count = 0;
	fake_table_take_over(&f->table);
	/* it knows no policies yet */
	assert_int_equal(core_new(&f->core, &f->table.table, f->now_ns, &options, &io, f), 0);
}

static void an_orphans_leases_outlast_the_sweep(void **state) {
	struct fixture *f = *state;
	leave_orphan(f);
	declare_long(f);
	pass_a_sweep(f);
	assert_int_equal(app(f, "a", 59).verdict, APP_ALLOWED);
	pass_a_sweep(f);
	pass(f, 58800 * MS);
	assert_int_equal(app(f, "a", 100).verdict, APP_ALLOWED);
}

/* Nobody can say what is possible then. */
static void an_orphan_of_no_policy_has_no_leases_after_the_sweep(void **state) {
	struct fixture *f = *state;
	leave_orphan(f);
	pass_a_sweep(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

int main(void) {
#define STEP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(without_room_the_agent_decides),
		STEP(without_room_a_promotion_changes_nothing),
		STEP(the_idle_give_way),
		STEP(the_first_gives_way),
		STEP(the_last_gives_way),
		cmocka_unit_test_setup_teardown(a_large_table_is_swept_in_time_too, make_large, clean),
		STEP(who_is_unused_for_long_leaves),
		STEP(what_still_counts_goes_back_then),
		STEP(scribbles_are_repaired),
		STEP(a_start_that_nobody_set_is_taken_back),
		STEP(also_where_there_is_no_lease),
		STEP(the_head_of_the_table_is_repaired),
		STEP(a_denial_that_nobody_made_is_lifted),
		STEP(a_lease_that_nobody_gave_is_ended),
		STEP(an_orphans_nonsense_ends_with_the_sweep),
		STEP(an_orphans_denial_that_nobody_made_is_lifted),
		STEP(an_orphans_leases_outlast_the_sweep),
		STEP(an_orphan_of_no_policy_has_no_leases_after_the_sweep),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
