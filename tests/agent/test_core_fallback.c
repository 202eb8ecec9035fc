/*
 * test_core_fallback.c - the database goes away and comes back; agents too; a table that is
 * full. Step by step, against a database that the test plays.
 */
#include "core_fixture.h"

/* Admits what the table and the agent give until they don't. */
static int admit_all(struct fixture *f, const char *id) {
	int admitted = 0;
	for (uint32_t serial = 100;; serial++) {
		struct app_decision d = app(f, id, 1);
		if (d.verdict == APP_DENIED)
			return admitted;
		if (d.verdict == APP_ASKS) {
			want(f, serial, id, 1);
			if (!verdict_of(f, serial).allowed)
				return admitted;
		}
		admitted++;
	}
}

/* ---- Away ------------------------------------------------------------------------------- */

static void at_the_start_who_asks_waits_for_the_grace(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	pass(f, 499 * MS);
	expect_silence(f);
	assert_int_equal(core_next_ns(f->core), START_NS + 500 * MS);
	pass(f, MS);
	assert_int_equal(core_state(f->core), CORE_FALLBACK);
	struct core_verdict v = verdict_of(f, 1);
	assert_true(v.allowed);
	assert_int_equal(v.source, STINT_SOURCE_FALLBACK);
	assert_int_equal(v.limit, 20);
	expect_no_batch(f);
}

static void an_attempt_that_fails_ends_the_grace(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	core_database_down(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
	expect_allowed(f, 1);
}

static void a_connection_that_is_back_at_once_changes_nothing(void **state) {
	struct fixture *f = *state;
	core_database_lost(f->core, f->now_ns);
	want(f, 1, "a", 1);
	pass(f, 100 * MS);
	comes_up(f);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	expect_batch(f, "a", 1, 1, 1);
}

static void fallback_admits_its_limit_and_no_more(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	assert_int_equal(admit_all(f, "a"), 20);
	for (int i = 0; i < 9; i++) {
		pass(f, SUB_MS * MS);
		assert_int_equal(admit_all(f, "a"), 0);
	}
	pass(f, 2 * SUB_MS * MS);
	assert_int_equal(admit_all(f, "a"), 20);
}

static void flapping_gives_no_new_fallback_limit(void **state) {
	struct fixture *f = *state;
	int admitted = 0;
	for (int i = 0; i < 6; i++) {
		stays_away(f);
		admitted += admit_all(f, "a");
		comes_up(f);
		while (f->asked_count > 0)
			grants(f, 0, 0, 0);
		pass(f, 50 * MS);
	}
	assert_int_equal(admitted, 20);
}

static void what_is_spent_of_the_databases_leases_counts_in_fallback(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 10, 0, 90);
	expect_allowed(f, 1);
	stays_away(f);
	/* with the 9 that were left; the one from before is none of the fallback's */
	assert_int_equal(admit_all(f, "a"), 20);
}

/* What is left of them is destroyed then, and counts for nothing. */
static void what_is_left_of_the_databases_leases_does_not_count(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 10, 0, 90);
	expect_allowed(f, 1);
	stays_away(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	want(f, 2, "a", 19);
	expect_allowed(f, 2);
	assert_int_equal(admit_all(f, "a"), 0);
}

static void a_lease_that_ended_before_the_client_asked_counts_too(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 10, 0, 90);
	expect_allowed(f, 1);
	stays_away(f);
	for (int i = 0; i < 9; i++)
		assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	pass(f, 60 * MS);
	assert_int_equal(9 + admit_all(f, "a"), 20);
}

/* Its lease goes on for sub-windows, and it doesn't ask meanwhile. What it used before is none of the fallback's,
 * told or not. */
static void what_is_spent_of_a_lease_that_lasts_counts_in_fallback(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants_long(f, 1, 12, 80, 10);
	expect_allowed(f, 1);
	assert_int_equal(app(f, "a", 2).verdict, APP_ALLOWED);
	pass(f, 100 * MS);
	assert_int_equal(app(f, "a", 3).left, 7);
	stays_away(f);
	for (int i = 0; i < 3; i++) {
		pass(f, 2 * SUB_MS * MS);
		assert_int_equal(app(f, "a", 2).verdict, APP_ALLOWED);
	}
	want(f, 2, "a", 15);
	expect_denied(f, 2);
	want(f, 3, "a", 14);
	expect_allowed(f, 3);
	assert_int_equal(admit_all(f, "a"), 0);
}

/* One of two leases ends meanwhile, one goes on: of neither is anything forgotten. */
static void of_both_leases(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants_long(f, 5, 9, 80, 10);
	expect_allowed(f, 1);
	assert_int_equal(app(f, "a", 1).left, 3);
	core_database_lost(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
	core_database_down(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
	assert_int_equal(app(f, "a", 4).left, 5); /* the other holds no more than 3 */
	assert_int_equal(app(f, "a", 2).left, 1);
	for (int i = 0; i < 5; i++)
		pass(f, SUB_MS * MS);
	want(f, 2, "a", 15);
	expect_denied(f, 2);
	want(f, 3, "a", 14);
	expect_allowed(f, 3);
}

/* Nobody asked in the fallback: the lease goes on, and what was spent of it is told as ever. It was counted by the
 * database, and is charged to nobody. */
static void a_lease_that_outlasts_the_fallback_is_reported_afterwards(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants_long(f, 1, 12, 80, 10);
	expect_allowed(f, 1);
	stays_away(f);
	pass(f, 2 * SUB_MS * MS);
	assert_int_equal(app(f, "a", 4).left, 8);
	comes_up(f);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	assert_int_equal(app(f, "a", 1).left, 7);
	want(f, 2, "a", 20);
	assert_int_equal(f->asked[0].charge, 0);
	assert_int_equal(report_of(f, 0, TOKEN + (60 + 10 * SUB_MS) * 1000).spent, 5);
	assert_int_equal(unspent_in(f, 0), 0);
}

/* What is left of a lease that the fallback ended goes back to nobody: it may be asked for as soon as the database
 * is there, but what it left was destroyed. */
static void one_that_the_fallback_ended_is_not_reported(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants_long(f, 1, 12, 80, 10);
	expect_allowed(f, 1);
	stays_away(f);
	assert_int_equal(app(f, "a", 4).left, 8);
	want(f, 2, "a", 10);
	expect_allowed(f, 2);
	comes_up(f);
	assert_int_equal(f->asked[0].charge, 10);
	assert_int_equal(spent_in(f, 0) + unspent_in(f, 0), 0);
}

/* Ids that are made up cost memory only so far, and what they are admitted together has a limit. */
static void a_flood_of_ids_shares_a_limit(void **state) {
	struct fixture *f = *state;
	char id[16];
	unsigned admitted = 0;
	stays_away(f);
	for (uint32_t i = 0; i < 5000; i++) {
		snprintf(id, sizeof(id), "flood-%u", i);
		want(f, i, id, 1);
		admitted += verdict_of(f, i).allowed;
	}
	assert_int_equal(admitted, f->table.table.slot_count + 20);
	assert_int_equal(core_fallback_clients(f->core), f->table.table.slot_count + 1);
	assert_int_equal(core_shared_granted(f->core), 20);
}

static void who_is_blocked_stays_so_in_fallback(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	struct lease_grant blocked = grant_of(f, 0, 0, 0);
	blocked.max_requests = 0;
	blocked.retry_us = -1;
	answers(f, LEASE_DONE, &blocked);
	expect_denied(f, 1);
	stays_away(f);
	pass(f, 2 * SUB_MS * MS);
	assert_int_equal(admit_all(f, "a"), 0);
	assert_int_equal(admit_all(f, "b"), 20);
}

/* ---- Back ------------------------------------------------------------------------------- */

static void what_fallback_admitted_is_charged_before_anything_is_granted(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	int admitted = admit_all(f, "a");
	want(f, 1, "b", 1);
	expect_allowed(f, 1);
	comes_up(f);
	assert_int_equal(core_state(f->core), CORE_RESYNC);
	assert_int_equal(core_uncharged(f->core), 2);
	assert_int_equal(f->asked_count, 2); /* at once, although nobody waits */
	bool a_first = strcmp(f->ids[0], "a") == 0;
	assert_int_equal(f->asked[!a_first].charge, admitted);
	assert_int_equal(f->asked[a_first].charge, 1);
	want(f, 2, "a", 1);
	expect_silence(f);
	struct lease_grant both[] = {grant_of(f, 0, 0, 80), grant_of(f, 0, 0, 80)};
	answers(f, LEASE_DONE, both);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	expect_batch(f, "a", 1, 1, f->asked[0].want);
	assert_int_equal(f->asked[0].charge, 0);
}

static void the_charge_is_clamped_to_the_limit_and_to_what_is_recent(void **state) {
	struct fixture *f = *state;
	policy_changes(f, policy_with(5, 20));
	stays_away(f);
	admit_all(f, "a");
	want(f, 1, "b", 1);
	expect_allowed(f, 1);
	pass(f, 500 * MS);
	want(f, 2, "c", 1);
	expect_allowed(f, 2);
	pass(f, 700 * MS);
	comes_up(f);
	assert_int_equal(f->asked_count, 1); /* the others' use is a window ago */
	assert_string_equal(f->ids[0], "c");
	assert_int_equal(f->asked[0].charge, 1);
	stays_away(f);
	loses_the_answer(f);
	comes_up(f);
	while (f->asked_count > 0)
		answers(f, LEASE_DONE, (struct lease_grant[]){grant_of(f, 0, 0, 4), grant_of(f, 0, 0, 4)});
	stays_away(f);
	admit_all(f, "a");
	comes_up(f);
	assert_int_equal(f->asked[0].charge, 5);
}

static void a_long_window_is_charged_for_all_short_fallback_windows(void **state) {
	struct fixture *f = *state;
	struct core_policy hour = policy_with(1000, 20);
	hour.time_window_ms = 3600000;
	hour.terms.sub_window_us = 360000000;
	policy_changes(f, hour);
	stays_away(f);
	int admitted = 0;
	for (int i = 0; i < 3; i++) {
		admitted += admit_all(f, "a");
		pass(f, 30 * SUB_MS * MS);
	}
	assert_int_equal(admitted, 60);
	pass(f, 1000 * SUB_MS * MS); /* quiet, for many fallback windows */
	comes_up(f);
	assert_int_equal(f->asked[0].charge, 60);
}

static void a_charge_whose_answer_is_lost_is_made_again(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	int admitted = admit_all(f, "a");
	comes_up(f);
	loses_the_answer(f);
	comes_up(f);
	assert_int_equal(core_state(f->core), CORE_RESYNC);
	assert_int_equal(f->asked[0].charge, admitted);
}

/* More ask, all the time, than a batch has room for. */
static void charges_are_made_while_every_batch_is_full(void **state) {
	struct fixture *f = *state;
	char id[16];
	uint32_t serial = 0;
	stays_away(f);
	for (unsigned i = 0; i < 1000; i++, f->told_count = 0) {
		snprintf(id, sizeof(id), "owes-%u", i);
		want(f, ++serial, id, 1);
	}
	comes_up(f);
	for (int round = 0; round < 1 + 1000 / (CORE_BATCH_MAX / 4) && core_state(f->core) == CORE_RESYNC;
	     round++, f->told_count = 0) {
		for (unsigned i = 0; i < CORE_BATCH_MAX + 20; i++) {
			snprintf(id, sizeof(id), "new-%u", ++serial);
			want(f, serial, id, 1);
		}
		struct lease_grant all[CORE_BATCH_MAX];
		for (size_t i = 0; i < f->asked_count; i++)
			all[i] = grant_of(f, f->asked[i].need, 0, 90);
		assert_true(round == 0 || f->asked_count == CORE_BATCH_MAX);
		answers(f, LEASE_DONE, all);
	}
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

static void leases_of_fallback_end_when_it_does(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	for (uint32_t i = 1; i < 9; i++) {
		want(f, i, "a", 1);
		expect_allowed(f, i);
		if (f->table.table.used && app(f, "a", 1).verdict == APP_ALLOWED)
			break;
		pass(f, 30 * MS);
	}
	comes_up(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

/* ---- Another agent --------------------------------------------------------------------------- */

static void leases_outlive_the_agent(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 90);
	f->told_count = 0;
	restart(f);
	assert_int_equal(app(f, "a", 1).left, 7);
	comes_up(f);
	policy_changes(f, policy_with(100, 20));
	assert_int_equal(app(f, "a", 1).left, 6);
	want(f, 3, "a", 1); /* adopted, without a statement */
	expect_allowed(f, 3);
	core_drain(f->core, f->now_ns);
	expect_no_batch(f); /* nobody knows what it was granted */
}

static void an_orphan_is_adopted_with_its_credits(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 90);
	f->told_count = 0;
	restart(f);
	comes_up(f);
	want(f, 2, "a", 2);
	expect_allowed(f, 2);
	expect_no_batch(f);
	assert_int_equal(core_client_count(f->core), 1);
	assert_int_equal(app(f, "a", 1).left, 5);
}

/* It lasts as long as a lease can: from the start of a sub-window on, and for as many more as the window has. */
static void an_orphans_lease_that_lasts_for_a_window_is_adopted(void **state) {
	struct fixture *f = *state;
	f->end_ns = f->now_ns + SUB_MS * MS;
	want(f, 1, "a", 1);
	grants_long(f, 1, 9, 90, 10);
	expect_allowed(f, 1);
	restart(f);
	comes_up(f);
	want(f, 2, "a", 1);
	expect_allowed(f, 2);
	pass(f, 10 * SUB_MS * MS);
	f->asked_count = 0;
	assert_int_equal(app(f, "a", 3).left, 5);
	want(f, 3, "a", 20); /* nobody knows of which sub-window it is, so nothing is told of it */
	expect_batch(f, "a", 20, 20, f->asked[0].want);
	assert_int_equal(f->asked[0].report[0].sub_window, 0);
}

static void one_that_lasts_longer_is_not(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants_long(f, 1, 9, 90, 10);
	want(f, 2, "b", 1);
	grants_long(f, 1, 9, 90, 10);
	f->told_count = 0;
	const char *const ids[] = {"a", "b"};
	for (int i = 0; i < 2; i++) {
		struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, ids[i], 1)];
		for (int bank = 0; bank < 2; bank++)
			if (word_credits(slot->word[bank]) > 0)
				atomic_store(&slot->deadline_ns[bank], (uint64_t)(f->now_ns + 11 * SUB_MS * MS + i));
	}
	restart(f);
	comes_up(f);
	want(f, 3, "a", 1);
	expect_allowed(f, 3);
	want(f, 4, "b", 1);
	expect_silence(f);
	assert_int_equal(app(f, "b", 1).verdict, APP_ASKS);
}

static void an_orphan_with_nonsense_in_it_gets_nothing(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 9, 90);
	f->told_count = 0;
	struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
	restart(f);
	comes_up(f);
	atomic_store(&slot->word[0], word_make(1, 1000, 0));                       /* above the limit */
	atomic_store(&slot->deadline_ns[1], (uint64_t)(f->now_ns + 3600000 * MS)); /* further off than any lease */
	want(f, 2, "a", 1);
	expect_silence(f);
	expect_batch(f, "a", 1, 1, 1);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

static void fallback_leases_of_a_dead_agent_end_when_the_database_is_there(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 90);
	f->told_count = 0;
	struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
	atomic_fetch_or(&slot->word[0], WORD_FALLBACK_BIT);
	atomic_fetch_or(&slot->word[1], WORD_FALLBACK_BIT);
	restart(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	comes_up(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

/* An app that was quiet for a sweep is one that will use it. */
static void also_those_of_who_was_idle(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 90);
	expect_allowed(f, 1);
	uint32_t index = app_find(&f->table, 0, "a", 1);
	struct slot *slot = &f->table.table.slots[index];
	atomic_fetch_or(&slot->word[0], WORD_FALLBACK_BIT);
	atomic_fetch_or(&slot->word[1], WORD_FALLBACK_BIT);
	restart(f);
	f->table.table.owner[index] = TABLE_ORPHAN_IDLE;
	comes_up(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

/* Its database is memory now: what it admits must not come on top of another limit's. */
static void fallback_leases_mean_nothing_without_a_database(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 9, 0, 90);
	expect_allowed(f, 1);
	struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
	atomic_fetch_or(&slot->word[0], WORD_FALLBACK_BIT);
	atomic_fetch_or(&slot->word[1], WORD_FALLBACK_BIT);
	core_free(f->core);
	fake_table_take_over(&f->table);
	start_core(f, true, 9);
	want(f, 2, "a", 1);
	struct core_verdict v = verdict_of(f, 2);
	assert_true(v.allowed);
	assert_int_not_equal(v.source, STINT_SOURCE_FALLBACK);
	assert_int_equal(v.limit, 100);
}

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
	core_free(f->core);
	fake_table_take_over(&f->table);
	start_core(f, false, 9);
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
	core_free(f->core);
	fake_table_take_over(&f->table);
	start_core(f, false, 9);
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
	static const struct core_io io = {on_take, on_verdict};
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

/* ---- No database at all ------------------------------------------------------------------------ */

static void memory_is_the_database(void **state) {
	struct fixture *f = *state;
	core_free(f->core);
	start_core(f, true, 9);
	int admitted = admit_all(f, "a");
	assert_int_equal(admitted, 100);
	stays_away(f); /* means nothing here */
	assert_int_equal(core_state(f->core), CORE_MEMORY);
	for (int i = 0; i < 9; i++) {
		pass(f, SUB_MS * MS);
		assert_int_equal(admit_all(f, "a"), 0);
	}
	pass(f, 5 * SUB_MS * MS); /* what is spent by now may have been admitted a fifth of a second later */
	assert_int_equal(admit_all(f, "a"), 100);
	expect_no_batch(f);
}

int main(void) {
#define FIRST(name) cmocka_unit_test_setup_teardown(name, make, clean)
#define STEP(name)  cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		FIRST(at_the_start_who_asks_waits_for_the_grace),
		FIRST(an_attempt_that_fails_ends_the_grace),
		STEP(a_connection_that_is_back_at_once_changes_nothing),
		STEP(fallback_admits_its_limit_and_no_more),
		STEP(flapping_gives_no_new_fallback_limit),
		STEP(what_is_spent_of_the_databases_leases_counts_in_fallback),
		STEP(what_is_left_of_the_databases_leases_does_not_count),
		STEP(a_lease_that_ended_before_the_client_asked_counts_too),
		STEP(what_is_spent_of_a_lease_that_lasts_counts_in_fallback),
		STEP(of_both_leases),
		STEP(a_lease_that_outlasts_the_fallback_is_reported_afterwards),
		STEP(one_that_the_fallback_ended_is_not_reported),
		STEP(a_flood_of_ids_shares_a_limit),
		STEP(who_is_blocked_stays_so_in_fallback),
		STEP(what_fallback_admitted_is_charged_before_anything_is_granted),
		STEP(a_long_window_is_charged_for_all_short_fallback_windows),
		STEP(the_charge_is_clamped_to_the_limit_and_to_what_is_recent),
		STEP(a_charge_whose_answer_is_lost_is_made_again),
		STEP(charges_are_made_while_every_batch_is_full),
		STEP(leases_of_fallback_end_when_it_does),
		STEP(leases_outlive_the_agent),
		STEP(an_orphan_is_adopted_with_its_credits),
		STEP(an_orphans_lease_that_lasts_for_a_window_is_adopted),
		STEP(one_that_lasts_longer_is_not),
		STEP(an_orphan_with_nonsense_in_it_gets_nothing),
		STEP(fallback_leases_of_a_dead_agent_end_when_the_database_is_there),
		STEP(also_those_of_who_was_idle),
		STEP(fallback_leases_mean_nothing_without_a_database),
		STEP(without_room_the_agent_decides),
		STEP(without_room_a_promotion_changes_nothing),
		STEP(the_idle_give_way),
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
		STEP(memory_is_the_database),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
