/*
 * test_core_fallback.c - the database goes away and comes back, or there is none. Step by step, against a database
 * that the test plays.
 */
#include "core/internal.h"
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

/* The fallback's window is as short as before. */
static void has_limit_per_hour(struct fixture *f, int32_t limit) {
	struct core_policy hour = policy_with(limit, 20);
	hour.time_window_ms = 3600000;
	hour.terms.sub_window_us = 360000000;
	policy_changes(f, hour);
}

/* Its limit is used up for half an hour, which the table knows for six seconds. */
static void is_denied_for_long(struct fixture *f, uint32_t serial, const char *id) {
	want(f, serial, id, 1);
	struct lease_grant denial = grant_of(f, 0, 0, 0);
	denial.valid_us = denial.starts_in_us = INT64_C(360000000);
	denial.retry_us = INT64_C(1800000000);
	answers(f, LEASE_DONE, &denial);
	expect_denied(f, serial);
	assert_int_equal(app(f, id, 1).verdict, APP_DENIED);
}

/* Whether the table still has the denial or not. */
static void who_has_used_up_the_limit_has_that_of_the_fallback(void **state) {
	struct fixture *f = *state;
	has_limit_per_hour(f, 100);
	is_denied_for_long(f, 1, "early");
	pass(f, 7000 * MS);
	is_denied_for_long(f, 2, "late");
	core_database_lost(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
	assert_int_equal(app(f, "late", 1).verdict, APP_DENIED); /* until it is known that the database stays away */
	core_database_down(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
	assert_int_equal(admit_all(f, "early"), 20);
	assert_int_equal(admit_all(f, "late"), 20);
	assert_int_equal(app(f, "late", 1).verdict, APP_DENIED);
}

/* Of an earlier agent, whose table this one has taken over. */
static void nor_does_another_agents_denial_hold_in_a_fallback(void **state) {
	struct fixture *f = *state;
	is_denied_for_long(f, 1, "a");
	restart(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_DENIED);
	stays_away(f);
	assert_int_equal(admit_all(f, "a"), 20);
}

/* An agent that dies in a fallback leaves the clients in the table to the next one. */
static void another_agent_gives_no_new_fallback_limit(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	assert_int_equal(admit_all(f, "a"), 20);
	want(f, 1, "b", 5);
	expect_allowed(f, 1);
	restart(f);
	stays_away(f);
	assert_int_equal(admit_all(f, "a"), 0);
	assert_int_equal(admit_all(f, "b"), 15);
	pass(f, 11 * SUB_MS * MS);
	assert_int_equal(admit_all(f, "a"), 20);
	assert_int_equal(admit_all(f, "b"), 20);
}

/* Also when they come long after a denial is over, and before this agent is on its own. */
static void nor_to_who_comes_after_its_denial_is_over(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	assert_int_equal(admit_all(f, "a"), 20);
	assert_int_equal(admit_all(f, "b"), 20);
	pass(f, 2 * SUB_MS * MS); /* their leases are over */
	assert_int_equal(admit_all(f, "a"), 0);
	assert_int_equal(admit_all(f, "b"), 0);
	restart(f);
	for (int i = 0; i < 4; i++)
		pass(f, SUB_MS / 2 * MS);
	want(f, 1, "a", 1);
	expect_silence(f);
	stays_away(f);
	expect_denied(f, 1);
	for (int i = 0; i < 15; i++) /* the sweep comes round */
		pass(f, SUB_MS / 2 * MS);
	assert_int_equal(admit_all(f, "b"), 0);
}

/* Whatever somebody wrote there, a fallback's limit is granted when its window has passed. */
static void what_is_told_of_an_impossible_fallback_counts_for_a_window(void **state) {
	struct fixture *f = *state;
	const int64_t deadlines_ns[] = {1, -1, INT64_MIN, INT64_MAX, f->now_ns + 3600000 * MS};
	for (size_t i = 0; i < sizeof(deadlines_ns) / sizeof(*deadlines_ns); i++) {
		stays_away(f);
		want(f, 1, "a", 1);
		expect_allowed(f, 1);
		struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
		atomic_store(&slot->word[0], word_make(1, 0, WORD_FALLBACK_BIT));
		atomic_store(&slot->deadline_ns[0], (uint64_t)deadlines_ns[i]);
		atomic_store(&slot->hint, HINT_UNKNOWN);
		restart(f);
		stays_away(f);
		admit_all(f, "a");
		pass(f, 12 * SUB_MS * MS);
		assert_int_equal(admit_all(f, "a"), 20);
		pass(f, 12 * SUB_MS * MS);
	}
}

/* A denial that somebody wrote beside a fallback's lease is of no fallback, and is lifted. */
static void a_denial_is_not_a_fallbacks_by_its_lease(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	want(f, 1, "a", 1);
	expect_allowed(f, 1);
	struct slot *slot = &f->table.table.slots[app_find(&f->table, 0, "a", 1)];
	restart(f);
	atomic_store(&slot->word[0], word_make(1, 0, WORD_FALLBACK_BIT));
	atomic_store(&slot->deadline_ns[0], 1);
	atomic_store(&slot->hint, hint_pack(0, 1, 1));
	atomic_store(&slot->denial, denial_pack((uint64_t)(f->now_ns + 3600000 * MS), 0, 1));
	stays_away(f);
	for (int i = 0; i < 25; i++) { /* the sweep comes round */
		atomic_store(&slot->referenced, 1);
		pass(f, SUB_MS / 2 * MS);
	}
	assert_int_not_equal(app(f, "a", 1).verdict, APP_DENIED);
}

static void what_a_dead_agents_fallback_gave_long_ago_does_not_count(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	assert_int_equal(admit_all(f, "a"), 20);
	restart(f);
	stays_away(f);
	pass(f, 12 * SUB_MS * MS);
	assert_int_equal(admit_all(f, "a"), 20);
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
	assert_int_equal(admit_all(f, "a"), 0);
	pass(f, 2 * SUB_MS * MS);
	assert_int_equal(admit_all(f, "a"), 0);
	assert_int_equal(admit_all(f, "b"), 20);
}

static void who_is_blocked_stays_so_when_another_agent_takes_over(void **state) {
	struct fixture *f = *state;
	who_is_blocked_stays_so_in_fallback(state);
	restart(f);
	stays_away(f);
	pass(f, 12 * SUB_MS * MS);
	assert_int_equal(admit_all(f, "a"), 0);
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	assert_int_equal(admit_all(f, "a"), 20);
}

/* While no agent ran, and nobody has asked about the client since. */
static void who_was_unblocked_meanwhile_is_not_blocked(void **state) {
	struct fixture *f = *state;
	who_is_blocked_stays_so_in_fallback(state);
	restart(f);
	core_client_changed(f->core, f->now_ns, 0, "a", 1);
	stays_away(f);
	pass(f, 12 * SUB_MS * MS);
	assert_int_equal(admit_all(f, "a"), 20);
}

/* Nobody could tell it that the block has ended. */
static void without_a_database_nobody_is_blocked(void **state) {
	struct fixture *f = *state;
	who_is_blocked_stays_so_in_fallback(state);
	succeed(f, true, 9);
	pass(f, 12 * SUB_MS * MS);
	assert_int_equal(admit_all(f, "a"), 100);
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
	has_limit_per_hour(f, 1000);
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
	for (int round = 0; round < 2 + 1000 / 24 && core_state(f->core) == CORE_RESYNC; round++, f->told_count = 0) {
		for (unsigned i = 0; i < CORE_BATCH_MAX + 20; i++) {
			snprintf(id, sizeof(id), "new-%u", ++serial);
			want(f, serial, id, 1);
		}
		struct lease_grant all[CORE_BATCH_MAX];
		for (size_t i = 0; i < f->asked_count; i++)
			all[i] = grant_of(f, f->asked[i].need, 0, 90);
		assert_true(round == 0 || f->asked_count == CORE_BATCH_MAX);
		answers(f, LEASE_DONE, all);
		pass(f, MS);
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

/* A lease that there is no room for beside two others. */
static void what_a_fallback_granted_goes_back_to_it(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	want(f, 1, "a", 15);
	expect_allowed(f, 1);
	uint32_t index = arrival_obtain(f->core, 0, "a", 1);
	const struct client *client = client_at(f->core, index);
	int bank = client->lease[1].deadline_ns > 0;
	lease_note_return(f->core, index, client->lease[bank].sub_window, 5);
	want(f, 2, "a", 10);
	expect_allowed(f, 2);
	want(f, 3, "a", 1);
	expect_denied(f, 3);
}

int main(void) {
#define FIRST(name) cmocka_unit_test_setup_teardown(name, make, clean)
#define STEP(name)  cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		FIRST(at_the_start_who_asks_waits_for_the_grace),
		FIRST(an_attempt_that_fails_ends_the_grace),
		STEP(a_connection_that_is_back_at_once_changes_nothing),
		STEP(fallback_admits_its_limit_and_no_more),
		STEP(what_a_fallback_granted_goes_back_to_it),
		STEP(flapping_gives_no_new_fallback_limit),
		STEP(what_is_spent_of_the_databases_leases_counts_in_fallback),
		STEP(what_is_left_of_the_databases_leases_does_not_count),
		STEP(a_lease_that_ended_before_the_client_asked_counts_too),
		STEP(what_is_spent_of_a_lease_that_lasts_counts_in_fallback),
		STEP(of_both_leases),
		STEP(a_lease_that_outlasts_the_fallback_is_reported_afterwards),
		STEP(one_that_the_fallback_ended_is_not_reported),
		STEP(a_flood_of_ids_shares_a_limit),
		STEP(who_has_used_up_the_limit_has_that_of_the_fallback),
		STEP(nor_does_another_agents_denial_hold_in_a_fallback),
		STEP(another_agent_gives_no_new_fallback_limit),
		STEP(nor_to_who_comes_after_its_denial_is_over),
		STEP(what_is_told_of_an_impossible_fallback_counts_for_a_window),
		STEP(a_denial_is_not_a_fallbacks_by_its_lease),
		STEP(what_a_dead_agents_fallback_gave_long_ago_does_not_count),
		STEP(who_is_blocked_stays_so_in_fallback),
		STEP(who_is_blocked_stays_so_when_another_agent_takes_over),
		STEP(who_was_unblocked_meanwhile_is_not_blocked),
		STEP(without_a_database_nobody_is_blocked),
		STEP(what_fallback_admitted_is_charged_before_anything_is_granted),
		STEP(a_long_window_is_charged_for_all_short_fallback_windows),
		STEP(the_charge_is_clamped_to_the_limit_and_to_what_is_recent),
		STEP(a_charge_whose_answer_is_lost_is_made_again),
		STEP(charges_are_made_while_every_batch_is_full),
		STEP(leases_of_fallback_end_when_it_does),
		STEP(memory_is_the_database),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
