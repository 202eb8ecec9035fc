/*
 * test_core_recall.c - leases that are called back: what a host does that is refused while others have long
 * leases, and what those do who hear of it.
 */
#include "core_fixture.h"

#define TAKES   (12 * MS) /* until credits may be back */
#define AGAIN   (1000 * MS)
#define BETWEEN (20 * MS) /* two messages */
#define MESSAGE 64u       /* clients in one */
#define PLACES  1024u     /* clients that are called back at a time */
#define MINUTE  60000
#define LONG    8 /* sub-windows */

/* A policy with windows of a minute. The leases of the test end at once. */
static void declare_minute(struct fixture *f) {
	struct core_policy policy = policy_with(100, 20);
	policy.time_window_ms = MINUTE;
	policy_changes(f, policy);
}

/* ---- Who is refused ---------------------------------------------------------------------- */

static void refuses(struct fixture *f, int32_t recallable) {
	assert_int_equal(f->asked_count, 1);
	struct lease_grant grant = grant_of(f, 0, 0, 0);
	grant.recallable = recallable;
	answers(f, LEASE_DONE, &grant);
}

static void is_refused(struct fixture *f, const char *id, int32_t recallable) {
	want(f, 1, id, 1);
	refuses(f, recallable);
	expect_denied(f, 1);
}

/* For how long the table denies the client without a question. */
static int64_t denied_ns(struct fixture *f, const char *id) {
	int64_t from_ns = f->now_ns;
	while (app(f, id, 1).verdict == APP_DENIED)
		f->now_ns += MS / 4;
	int64_t denied = f->now_ns - from_ns;
	f->now_ns = from_ns;
	return denied;
}

static void a_refusal_calls_long_leases_back(void **state) {
	struct fixture *f = *state;
	is_refused(f, "a", 30);
	assert_int_equal(f->recalls, 1);
	assert_string_equal(f->recalled[0], "9 a");
	assert_in_range(denied_ns(f, "a"), TAKES - MS, TAKES + MS);
}

/* What others may return is a hope: an app is told when there will be room in any case. */
static void who_is_refused_is_told_when_there_is_room_for_certain(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	refuses(f, 30);
	assert_int_equal(verdict_of(f, 1).retry_after_ms, 360);
	want(f, 2, "a", 1);
	assert_in_range(verdict_of(f, 2).retry_after_ms, 359, 361);
}

static void without_long_leases_it_is_good_until_the_next_sub_window(void **state) {
	struct fixture *f = *state;
	is_refused(f, "a", 0);
	assert_int_equal(f->recalls, 0);
	assert_in_range(denied_ns(f, "a"), 59 * MS, 61 * MS);
}

static void a_small_part_of_the_limit_is_not_worth_it(void **state) {
	struct fixture *f = *state;
	is_refused(f, "a", 6);
	assert_int_equal(f->recalls, 0);
	is_refused(f, "b", 7);
	assert_int_equal(f->recalls, 1);
	assert_string_equal(f->recalled[0], "9 b");
}

static void who_gets_a_part_of_what_it_needs_calls_back_the_rest(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	grants(f, 1, 0, 50);
	expect_allowed(f, 1);
	for (uint32_t serial = 2; serial < 5; serial++)
		core_want(f->core, f->now_ns, 1, serial, 0, "a", 1, 1, f->now_ns + 1000 * MS);
	pass(f, 0);
	struct lease_grant grant = grant_of(f, 2, 0, 0);
	grant.recallable = 30;
	answers(f, LEASE_DONE, &grant);
	expect_allowed(f, 2);
	expect_allowed(f, 3);
	expect_denied(f, 4);
	assert_int_equal(f->recalls, 1);
}

static void who_gets_all_calls_nothing_back(void **state) {
	struct fixture *f = *state;
	want(f, 1, "a", 1);
	struct lease_grant grant = grant_of(f, 1, 0, 0);
	grant.recallable = 30;
	answers(f, LEASE_DONE, &grant);
	expect_allowed(f, 1);
	assert_int_equal(f->recalls, 0);
}

/* Checks all the time, each of which is refused. Statements that are made. */
static unsigned is_refused_for(struct fixture *f, int64_t ns) {
	unsigned before = f->batches;
	for (int64_t end_ns = f->now_ns + ns; f->now_ns < end_ns; pass(f, MS))
		if (app(f, "a", 1).verdict == APP_ASKS)
			is_refused(f, "a", 30);
	return f->batches - before;
}

static void a_client_is_called_back_once_and_asked_for_more_and_more_rarely(void **state) {
	struct fixture *f = *state;
	declare_minute(f);
	unsigned statements = is_refused_for(f, AGAIN - 10 * MS);
	assert_int_equal(f->recalls, 1);
	assert_in_range(statements, 9, 16); /* one more than in each of ten sub-windows, and some at first */
}

static void recalls_in_vain_are_made_more_and_more_rarely(void **state) {
	struct fixture *f = *state;
	declare_minute(f);
	is_refused_for(f, AGAIN + 200 * MS);
	assert_int_equal(f->recalls, 2);
	is_refused_for(f, 2 * AGAIN - 400 * MS);
	assert_int_equal(f->recalls, 2);
	is_refused_for(f, 400 * MS);
	assert_int_equal(f->recalls, 3);
	is_refused_for(f, 200 * AGAIN);
	assert_in_range(f->recalls, 3 + 4 + 2, 3 + 4 + 4); /* after 4, 8, 16, 32 s, and then once in a minute */
}

static void one_that_was_not_in_vain_may_be_made_again(void **state) {
	struct fixture *f = *state;
	declare_minute(f);
	is_refused_for(f, AGAIN + 200 * MS);
	assert_int_equal(f->recalls, 2);
	pass(f, SUB_MS * MS);
	want(f, 1, "a", 1);
	grants(f, 1, 0, 0);
	expect_allowed(f, 1);
	is_refused_for(f, AGAIN); /* one in vain would be followed by none for two seconds */
	assert_int_equal(f->recalls, 3);
}

static void clients_that_are_refused_together_go_together(void **state) {
	struct fixture *f = *state;
	is_refused(f, "a", 30);
	is_refused(f, "b", 30);
	is_refused(f, "c", 30);
	assert_int_equal(f->recalls, 1);
	assert_true(core_next_ns(f->core) <= f->now_ns + BETWEEN);
	pass(f, BETWEEN - MS);
	assert_int_equal(f->recalls, 1);
	pass(f, MS);
	assert_int_equal(f->recalls, 2);
	assert_string_equal(f->recalled[1], "9 b");
	assert_string_equal(f->recalled[2], "9 c");
	assert_int_equal(f->recalled_count, 3);
}

static void a_crowd_does_without(void **state) {
	struct fixture *f = *state;
	char id[16];
	is_refused(f, "first", 30);
	for (uint32_t i = 0; i < MESSAGE + 1; i++) {
		snprintf(id, sizeof(id), "c%u", i);
		is_refused(f, id, 30);
	}
	assert_true(denied_ns(f, id) > 50 * MS);
	pass(f, BETWEEN);
	assert_int_equal(f->recalls, 2);
	assert_int_equal(f->recalled_count, 1 + MESSAGE);
}

/* Numbers are given in the order in which clients come. */
static void two_that_share_a_place_have_one_recall(void **state) {
	struct fixture *f = *state;
	char id[16];
	for (uint32_t i = 0; i <= PLACES; i++) {
		snprintf(id, sizeof(id), "c%u", i);
		want(f, i, id, 1);
		grants(f, 1, 0, 50);
		expect_allowed(f, i);
	}
	is_refused(f, "c0", 30);
	is_refused(f, id, 30);
	pass(f, BETWEEN);
	assert_int_equal(f->recalled_count, 1);
	is_refused(f, "c1", 30);
	pass(f, BETWEEN);
	assert_int_equal(f->recalled_count, 2);
	pass(f, AGAIN);
	is_refused(f, id, 30);
	assert_int_equal(f->recalled_count, 3);
	assert_string_equal(f->recalled[2], "9 c1024");
}

/* A sub-window of a day's window lasts for hours. */
static void nobody_waits_for_the_next_sub_window_of_a_day(void **state) {
	struct fixture *f = *state;
	struct core_policy policy = policy_with(100, 20);
	policy.time_window_ms = INT64_C(86400000);
	policy.terms.sub_window_us = INT64_C(8640000000);
	policy_changes(f, policy);
	f->end_ns = f->now_ns + policy.terms.sub_window_us * 1000;
	is_refused(f, "a", 30);
	f->now_ns += 6 * AGAIN - MS;
	is_refused(f, "a", 30);
	assert_int_equal(f->recalls, 1);
	f->now_ns += TAKES + MS;
	is_refused(f, "a", 30);
	assert_int_equal(f->recalls, 2);
	f->now_ns += TAKES + MS;
	want(f, 1, "a", 1);
	grants(f, 1, 0, 0);
	expect_allowed(f, 1);
	core_client_changed(f->core, f->now_ns, 0, "a", 1); /* it forgets the denial */
	f->now_ns += 6 * AGAIN;                             /* no longer, as it was not in vain */
	is_refused(f, "a", 30);
	assert_int_equal(f->recalls, 3);
}

static void a_database_that_is_lost_is_told_nothing(void **state) {
	struct fixture *f = *state;
	is_refused(f, "a", 30);
	is_refused(f, "b", 30);
	core_database_lost(f->core, f->now_ns);
	pass(f, BETWEEN);
	assert_int_equal(f->recalls, 1);
	comes_up(f);
	pass(f, BETWEEN);
	assert_int_equal(f->recalls, 1);
}

static void a_fallback_calls_nothing_back(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	for (uint32_t serial = 0; serial < 21; serial++)
		want(f, serial, "a", 1);
	assert_false(f->told[20].verdict.allowed);
	pass(f, BETWEEN);
	assert_int_equal(f->recalls, 0);
}

/* With no database, this host alone has leases: what lies unspent of them is its own. */
static void a_host_without_a_database_asks_nobody(void **state) {
	struct fixture *f = *state;
	core_free(f->core);
	start_core(f, true, 9);
	uint32_t left = 0;
	for (uint32_t i = 0; i < 100 && left < 10; i++, pass(f, SUB_MS / 2 * MS)) {
		struct app_decision decision = app(f, "a", 1);
		left = i > 30 ? decision.left : 0; /* then it is known, and its leases last for long */
		if (decision.verdict == APP_ASKS)
			want(f, i, "a", 1);
	}
	assert_true(left >= 10);
	f->told_count = 0;
	want(f, 200, "a", 95);
	expect_denied(f, 200);
	assert_int_equal(f->recalls, 0);
}

/* ---- Who hears of it ---------------------------------------------------------------------- */

static void hears(struct fixture *f, const char *id) {
	core_recall(f->core, f->now_ns, 0, id, (uint8_t)strlen(id));
	core_advance(f->core, f->now_ns);
}

static void has_lease(struct fixture *f, const char *id, int32_t credits, int span) {
	want(f, 1, id, 1);
	grants_long(f, 1, credits, 50, span);
	expect_allowed(f, 1);
}

static void spends(struct fixture *f, const char *id, uint32_t credits) {
	assert_int_equal(app(f, id, credits).verdict, APP_ALLOWED);
}

static void what_is_unspent_goes_back_at_once(void **state) {
	struct fixture *f = *state;
	has_lease(f, "a", 10, LONG);
	int64_t token = TOKEN + 60000 + LONG * SUB_MS * 1000;
	pass(f, 2 * SUB_MS * MS);
	spends(f, "a", 4);
	hears(f, "a");
	expect_batch(f, "a", 0, 0, 0);
	assert_int_equal(report_of(f, 0, token).unspent, 6);
	assert_int_equal(report_of(f, 0, token).spent, 4);
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
}

/* What is spent of both moves to the present, even if only one has credits left. */
static void both_leases_are_reported(void **state) {
	struct fixture *f = *state;
	has_lease(f, "a", 10, LONG);
	int64_t first = TOKEN + 60000 + LONG * SUB_MS * 1000, second = first + SUB_MS * 1000;
	pass(f, SUB_MS * MS);
	spends(f, "a", 4);
	want(f, 2, "a", 7);
	grants_long(f, 7, 7, 50, LONG);
	expect_allowed(f, 2);
	spends(f, "a", 5); /* of one, and then of the other */
	spends(f, "a", 6);
	hears(f, "a");
	assert_int_equal(unspent_in(f, 0), 2);
	assert_int_equal(spent_in(f, 0), 11);
	assert_true(report_of(f, 0, first).spent >= 5 && report_of(f, 0, second).spent >= 5);
}

static void a_second_recall_finds_nothing(void **state) {
	struct fixture *f = *state;
	has_lease(f, "a", 10, LONG);
	hears(f, "a");
	assert_int_equal(unspent_in(f, 0), 10);
	hears(f, "a");
	grants(f, 0, 0, 60);
	hears(f, "a");
	expect_no_batch(f);
}

static void what_was_sent_and_not_answered_is_not_returned_again(void **state) {
	struct fixture *f = *state;
	has_lease(f, "a", 10, LONG);
	hears(f, "a");
	assert_int_equal(unspent_in(f, 0), 10);
	loses_the_answer(f);
	comes_up(f);
	hears(f, "a");
	expect_no_batch(f);
}

static void a_brief_lease_stays(void **state) {
	struct fixture *f = *state;
	has_lease(f, "a", 10, 1);
	hears(f, "a");
	expect_no_batch(f);
	spends(f, "a", 10);
}

static void a_lease_that_is_about_to_end_stays(void **state) {
	struct fixture *f = *state;
	has_lease(f, "a", 10, LONG);
	pass(f, (LONG - 2) * SUB_MS * MS + 70 * MS);
	hears(f, "a");
	expect_no_batch(f);
	spends(f, "a", 10);
}

static void what_an_ended_lease_left_goes_back(void **state) {
	struct fixture *f = *state;
	has_lease(f, "a", 10, LONG);
	pass(f, (LONG + 1) * SUB_MS * MS);
	expect_no_batch(f); /* the client is far from its limit: it waits for its next request */
	hears(f, "a");
	assert_int_equal(unspent_in(f, 0), 10);
}

static void a_lease_of_which_all_is_spent_costs_no_statement(void **state) {
	struct fixture *f = *state;
	has_lease(f, "a", 10, LONG);
	spends(f, "a", 10);
	hears(f, "a");
	expect_no_batch(f);
}

static void while_a_request_is_under_way_it_goes_with_the_next(void **state) {
	struct fixture *f = *state;
	has_lease(f, "a", 3, LONG);
	want(f, 2, "a", 5);
	assert_int_equal(unspent_in(f, 0), 0);
	hears(f, "a");
	grants(f, 5, 0, 50);
	expect_allowed(f, 2);
	pass(f, 10 * MS);
	assert_int_equal(unspent_in(f, 0), 3);
}

static void who_is_not_here_has_nothing_to_return(void **state) {
	struct fixture *f = *state;
	hears(f, "stranger");
	core_recall(f->core, f->now_ns, 1, "a", 1);
	expect_no_batch(f);
	has_lease(f, "a", 10, LONG);
	restart(f);
	comes_up(f);
	hears(f, "a"); /* an earlier agent's */
	expect_no_batch(f);
}

static void without_the_database_leases_stay(void **state) {
	struct fixture *f = *state;
	has_lease(f, "a", 10, LONG);
	stays_away(f);
	hears(f, "a");
	spends(f, "a", 10);
}

static int make_many(void **state) {
	return make_up_with(state, 2 * PLACES);
}

#define TEST(name)      cmocka_unit_test_setup_teardown(name, make_up, clean)
#define TEST_MANY(name) cmocka_unit_test_setup_teardown(name, make_many, clean)

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(a_refusal_calls_long_leases_back),
		TEST(who_is_refused_is_told_when_there_is_room_for_certain),
		TEST(without_long_leases_it_is_good_until_the_next_sub_window),
		TEST(a_small_part_of_the_limit_is_not_worth_it),
		TEST(who_gets_a_part_of_what_it_needs_calls_back_the_rest),
		TEST(who_gets_all_calls_nothing_back),
		TEST(a_client_is_called_back_once_and_asked_for_more_and_more_rarely),
		TEST(recalls_in_vain_are_made_more_and_more_rarely),
		TEST(one_that_was_not_in_vain_may_be_made_again),
		TEST(clients_that_are_refused_together_go_together),
		TEST_MANY(a_crowd_does_without),
		TEST_MANY(two_that_share_a_place_have_one_recall),
		TEST(nobody_waits_for_the_next_sub_window_of_a_day),
		TEST(a_database_that_is_lost_is_told_nothing),
		TEST(a_fallback_calls_nothing_back),
		TEST(a_host_without_a_database_asks_nobody),
		TEST(what_is_unspent_goes_back_at_once),
		TEST(both_leases_are_reported),
		TEST(a_second_recall_finds_nothing),
		TEST(what_was_sent_and_not_answered_is_not_returned_again),
		TEST(a_brief_lease_stays),
		TEST(a_lease_that_is_about_to_end_stays),
		TEST(what_an_ended_lease_left_goes_back),
		TEST(a_lease_of_which_all_is_spent_costs_no_statement),
		TEST(while_a_request_is_under_way_it_goes_with_the_next),
		TEST(who_is_not_here_has_nothing_to_return),
		TEST(without_the_database_leases_stay),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
