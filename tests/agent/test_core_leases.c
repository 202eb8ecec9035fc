/*
 * test_core_leases.c - what becomes of a grant: a lease in the table from when to when, one after the other; and
 * what the store is told of what was spent of it. Step by step, against a database that the test plays.
 */
#include "core_fixture.h"

/* ---- From when to when ------------------------------------------------------------------------ */

static void deadlines_count_from_the_send_time(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 5, 5, 90);
	f->now_ns += 20 * MS; /* the answer took so long */
	answers(f, LEASE_DONE, &grant);
	expect_allowed(f, 1);
	for (f->now_ns = START_NS + AT_LEAST(60 * MS) - 1; app(f, "a", 1).verdict == APP_ALLOWED;)
		;
	/* and the next begins at the receive time plus starts_in */
	f->now_ns = START_NS + 20 * MS + AT_MOST(60 * MS) - 1;
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	f->now_ns++;
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	f->now_ns = START_NS + AT_LEAST(160 * MS);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

static void slack_widens_a_lease_by_half_on_each_side(void **state) {
	struct fixture *f = *state;
	struct core_policy policy = policy_with(101, 20);
	policy.terms.slack_us = 4000;
	policy_changes(f, policy);
	want(f, 1, "a", 1);
	grants(f, 3, 5, 90);
	assert_int_equal(verdict_of(f, 1).deadline_ns, START_NS + AT_LEAST(62 * MS));
	f->now_ns = START_NS + AT_LEAST(62 * MS) - 1;
	while (app(f, "a", 1).until_ns == START_NS + AT_LEAST(62 * MS))
		;
	f->now_ns = START_NS + AT_MOST(58 * MS) - 1;
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	f->now_ns++;
	assert_int_equal(app(f, "a", 1).until_ns, START_NS + AT_LEAST(162 * MS));
}

/* The request was on its way for longer than a sub-window: the lease ahead ends before the one that comes with
 * the next answer, and would pass for the earlier of the two. */
static void a_lease_ahead_is_not_opened_by_one_that_ends_after_it(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	f->now_ns = START_NS + 70 * MS;
	f->end_ns = START_NS + 120 * MS;
	struct lease_grant grant = grant_of(f, 1, 5, 50);
	grant.valid_us = grant.starts_in_us = 55000; /* by the database's clock, 5 ms ago */
	grant.next_valid_us = 115000;
	answers(f, LEASE_DONE, &grant); /* too late for who waits */
	f->now_ns += 2 * MS;
	grants(f, 3, 0, 50);
	assert_int_equal(verdict_of(f, 1).allowed, true);
	for (int i = 0; i < 2; i++)
		assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	assert_int_not_equal(app(f, "a", 1).verdict, APP_ALLOWED);
}

static void a_grant_that_comes_too_late_is_returned_and_asked_again(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 1, 0, 99);
	pass(f, 60 * MS);
	answers(f, LEASE_DONE, &grant);
	expect_silence(f);
	assert_int_equal(core_counters(f->core)->late, 1);
	expect_batch(f, "a", 1, 1, 1);
	assert_int_equal(f->asked[0].report[0].sub_window, grant.sub_window);
	assert_int_equal(f->asked[0].report[0].unspent, 1);
	grants(f, 1, 0, 99);
	expect_allowed(f, 1);
}

/* Asks for one ahead, and has it: it begins so many sub-windows after the next, and is good for so many more. */
static struct lease_grant has_one_ahead(struct fixture *f, int32_t credits, int span, int later) {
	low(f, "a");
	assert_int_equal(f->asked_count, 1);
	struct lease_grant grant = grant_of(f, 0, credits, 80);
	grant.starts_in_us += later * SUB_MS * 1000;
	grant.next_sub_window += (later + span) * SUB_MS * 1000;
	grant.next_valid_us += (later + span) * SUB_MS * 1000;
	answers(f, LEASE_DONE, &grant);
	return grant;
}

/* A lease, of which one credit is left. */
static void is_nearly_used_up(struct fixture *f) {
	want(f, 1, "a", 1);
	grants(f, 4, 0, 90);
	expect_allowed(f, 1);
	for (int i = 0; i < 2; i++)
		assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
}

static void uses_up_what_is_open(struct fixture *f) {
	while (app(f, "a", 1).verdict == APP_ALLOWED)
		;
	expect_no_batch(f);
}

/* A far database, whose round trips differ: the second of two leases ahead lasts longer. */
static void a_lease_ahead_is_not_opened_by_another_one_ahead(void **state) {
	struct fixture *f = *state;
	is_nearly_used_up(f);
	has_one_ahead(f, 5, 0, 0);
	struct lease_grant second = has_one_ahead(f, 7, 1, 0);
	uses_up_what_is_open(f);
	pass(f, 50 * MS);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	pass(f, 11 * MS);
	assert_int_equal(app(f, "a", 1).left, 4);
	assert_int_equal(report_of(f, 0, second.next_sub_window).unspent, 7);
}

/* Both end with the same sub-window; the second begins after the first. */
static void a_lease_ahead_is_not_added_to_one_that_begins_sooner(void **state) {
	struct fixture *f = *state;
	is_nearly_used_up(f);
	has_one_ahead(f, 5, 1, 0);
	struct lease_grant second = has_one_ahead(f, 7, 0, 1);
	uses_up_what_is_open(f);
	pass(f, 61 * MS);
	assert_int_equal(app(f, "a", 1).left, 4);
	assert_int_equal(report_of(f, 0, second.next_sub_window).unspent, 7);
}

/* The second begins no later than the first is known to. */
static void a_lease_ahead_is_added_to_one_like_it(void **state) {
	struct fixture *f = *state;
	is_nearly_used_up(f);
	has_one_ahead(f, 5, 1, 0);
	has_one_ahead(f, 7, 1, 0);
	uses_up_what_is_open(f);
	pass(f, 61 * MS);
	assert_int_equal(app(f, "a", 1).left, 11);
}

/* It may begin by the time of its receiving only when it is over by that of its sending. */
static void a_lease_ahead_that_no_time_is_left_for_goes_back(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 1, 5, 50);
	pass(f, (SUB_MS + 50) * MS);
	answers(f, LEASE_DONE, &grant);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(f->asked[0].report[0].sub_window, grant.sub_window);
	assert_int_equal(f->asked[0].report[0].unspent, 1);
	assert_int_equal(report_of(f, 0, grant.next_sub_window).unspent, 5);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

/* Between the end of one and the beginning of the next, each on the safe side, it is neither's turn. */
static void the_agent_itself_takes_nothing_before_the_next_lease_begins(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 1, 5, 90);
	expect_allowed(f, 1);
	pass(f, AT_MOST(60 * MS) - 1);
	want(f, 2, "a", 1);
	expect_silence(f);
	expect_batch(f, "a", 1, 1, f->asked[0].want);
	f->now_ns++;
	want(f, 3, "a", 1);
	assert_int_equal(verdict_of(f, 3).source, STINT_SOURCE_LEASE);
}

/* ---- What was spent -------------------------------------------------------------------------- */

/* A lease of eight that lasts, of which so many are spent. */
static int64_t spend_of_eight(struct fixture *f, int credits) {
	want(f, 1, "a", 1);
	struct lease_grant grant = long_grant_of(f, 1, 8, 80, 10);
	answers(f, LEASE_DONE, &grant);
	expect_allowed(f, 1);
	for (int i = 0; i < credits; i++)
		assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	return grant.next_sub_window;
}

/* It is charged until the lease's end; told, it counts from now on. */
static void what_was_spent_is_told_with_the_next_request(void **state) {
	struct fixture *f = *state;
	int64_t sub_window = spend_of_eight(f, 3);
	f->now_ns += 10 * MS;
	want(f, 2, "a", 20); /* more than there is */
	expect_batch(f, "a", 20, 20, f->asked[0].want);
	assert_int_equal(report_of(f, 0, sub_window).spent, 3);
	assert_int_equal(unspent_in(f, 0), 0);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED); /* while it is under way */
	grants(f, 20, 0, 60);
	expect_allowed(f, 2);
	want(f, 3, "a", 20);
	assert_int_equal(report_of(f, 0, sub_window).spent, 1); /* and not those three again */
	grants(f, 20, 0, 40);
	expect_allowed(f, 3);
	want(f, 4, "a", 20);
	assert_int_equal(spent_in(f, 0), 0);
}

/* An app that was stopped behind its compare-and-swap puts its credit back when it goes on: what was told as spent
 * would then be spent after all. It can't do so in another epoch. */
static void what_was_told_as_spent_does_not_come_back(void **state) {
	struct fixture *f = *state;
	int64_t sub_window = spend_of_eight(f, 3);
	uint32_t slot = app_find(&f->table, 0, "a", 1);
	int bank = table_credits(&f->table.table, slot, 1) == 5;
	uint64_t taken_from = f->table.table.slots[slot].word[bank];
	assert_int_equal(word_credits(taken_from), 5);
	want(f, 2, "a", 20);
	assert_int_equal(report_of(f, 0, sub_window).spent, 3);
	uint64_t now = f->table.table.slots[slot].word[bank];
	assert_int_equal(word_credits(now), 5);
	assert_int_not_equal(word_epoch(now), word_epoch(taken_from));
}

/* The app is told of its credit by the agent, and reads that whenever it likes: perhaps when the lease ends. */
static void what_the_agent_spent_is_not_told(void **state) {
	struct fixture *f = *state;
	int64_t sub_window = spend_of_eight(f, 3);
	want(f, 2, "a", 2);
	assert_int_equal(verdict_of(f, 2).source, STINT_SOURCE_LEASE);
	want(f, 3, "a", 20);
	assert_int_equal(report_of(f, 0, sub_window).spent, 3);
}

/* Nor when it did so in the grace, or in a fallback, where it counts as spent of the fallback's limit, too. */
static void nor_is_what_it_spent_while_the_store_was_away(void **state) {
	struct fixture *f = *state;
	spend_of_eight(f, 3);
	core_database_lost(f->core, f->now_ns);
	want(f, 2, "a", 2);
	assert_int_equal(verdict_of(f, 2).source, STINT_SOURCE_LEASE);
	comes_up(f);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	want(f, 3, "a", 20);
	assert_int_equal(spent_in(f, 0), 0);
	assert_int_equal(app(f, "a", 3).verdict, APP_ALLOWED);
}

static void nor_in_a_fallback(void **state) {
	struct fixture *f = *state;
	spend_of_eight(f, 3);
	stays_away(f);
	want(f, 2, "a", 2);
	assert_int_equal(verdict_of(f, 2).source, STINT_SOURCE_LEASE);
	comes_up(f);
	want(f, 3, "a", 20);
	assert_int_equal(spent_in(f, 0), 0);
}

static void what_may_have_been_told_is_not_told_again(void **state) {
	struct fixture *f = *state;
	int64_t sub_window = spend_of_eight(f, 3);
	want(f, 2, "a", 20);
	assert_int_equal(report_of(f, 0, sub_window).spent, 3);
	loses_the_answer(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	f->now_ns += 10 * MS;
	comes_up(f);
	expect_batch(f, "a", 20, 20, f->asked[0].want);
	assert_in_range(report_of(f, 0, sub_window).spent, 0, 1);
}

static void what_was_certainly_not_told_is_told_again(void **state) {
	struct fixture *f = *state;
	int64_t sub_window = spend_of_eight(f, 3);
	want(f, 2, "a", 20);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	answers(f, LEASE_REJECTED, NULL);
	expect_batch(f, "a", 20, 20, f->asked[0].want);
	assert_int_equal(report_of(f, 0, sub_window).spent, 3 + 1);
}

/* ---- Early, and open ------------------------------------------------------------------------- */

static unsigned spendable(struct fixture *f) {
	unsigned credits = 0;
	while (app(f, "a", 1).verdict == APP_ALLOWED)
		credits++;
	return credits;
}

/* Both are charged to the same sub-window: the one is not to be spent before it, the other is good until then. */
static void a_longer_lease_does_not_open_an_early_one(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 1, 5, 80);
	expect_allowed(f, 1);
	want(f, 2, "a", 1);
	struct lease_grant grant = long_grant_of(f, 1, 3, 80, 1);
	answers(f, LEASE_DONE, &grant);
	expect_allowed(f, 2);
	assert_int_equal(spendable(f), 3);
	pass(f, AT_MOST(60 * MS));
	assert_in_range(spendable(f), 0, 5);
}

static void an_early_lease_is_not_opened_by_a_longer_one(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants_long(f, 1, 3, 80, 1);
	expect_allowed(f, 1);
	want(f, 2, "a", 20);
	grants(f, 20, 5, 60);
	expect_allowed(f, 2);
	assert_int_equal(spendable(f), 3);
	pass(f, AT_MOST(60 * MS));
	assert_in_range(spendable(f), 0, 5);
}

/* The others of the batch get nothing. */
static void answers_one(struct fixture *f, const char *id, struct lease_grant grant) {
	struct lease_grant each[CORE_BATCH_MAX];
	for (size_t i = 0; i < f->asked_count; i++)
		each[i] = strcmp(f->ids[i], id) == 0 ? grant : grant_of(f, 0, 0, 60);
	answers(f, LEASE_DONE, each);
}

/* Whatever the longer one's end. */
static void early_and_longer_leases_keep_apart(void **state) {
	struct fixture *f = *state;
	for (int span = 1; span <= 10; span++)
		for (int early_first = 0; early_first < 2; early_first++) {
			char id[16];
			snprintf(id, sizeof(id), "c-%d-%d", span, early_first);
			f->end_ns = f->now_ns + 50 * MS;
			for (int i = 0; i < 2; i++) {
				f->now_ns += MS;
				want(f, 1, id, 20);
				answers_one(f, id, i == early_first ? long_grant_of(f, 20, 3, 60, span) : grant_of(f, 20, 5, 60));
				expect_allowed(f, 1);
			}
			unsigned now = 0;
			while (app(f, id, 1).verdict == APP_ALLOWED)
				now++;
			assert_in_range(now, 0, 3);
		}
}

int main(void) {
#define STEP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(deadlines_count_from_the_send_time),
		STEP(slack_widens_a_lease_by_half_on_each_side),
		STEP(a_lease_ahead_is_not_opened_by_one_that_ends_after_it),
		STEP(a_grant_that_comes_too_late_is_returned_and_asked_again),
		STEP(a_lease_ahead_is_not_opened_by_another_one_ahead),
		STEP(a_lease_ahead_is_not_added_to_one_that_begins_sooner),
		STEP(a_lease_ahead_is_added_to_one_like_it),
		STEP(a_lease_ahead_that_no_time_is_left_for_goes_back),
		STEP(the_agent_itself_takes_nothing_before_the_next_lease_begins),
		STEP(what_was_spent_is_told_with_the_next_request),
		STEP(what_was_told_as_spent_does_not_come_back),
		STEP(what_the_agent_spent_is_not_told),
		STEP(nor_is_what_it_spent_while_the_store_was_away),
		STEP(nor_in_a_fallback),
		STEP(what_may_have_been_told_is_not_told_again),
		STEP(what_was_certainly_not_told_is_told_again),
		STEP(a_longer_lease_does_not_open_an_early_one),
		STEP(an_early_lease_is_not_opened_by_a_longer_one),
		STEP(early_and_longer_leases_keep_apart),
	};
	return cmocka_run_group_tests_name("core_leases", tests, NULL, NULL);
}
