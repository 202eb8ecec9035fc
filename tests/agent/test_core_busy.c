/*
 * test_core_busy.c - clients whose rows somebody has locked: they alone wait, are asked for again, and are denied
 * in the end; nobody else notices. Step by step, against a database that the test plays: like the real one it
 * refuses a statement that waits for a locked row, unless the statement says not to wait.
 */
#include "core_fixture.h"

#define LOCKED     "locked"
#define PATIENCE   (250 * MS)
#define SKIPPING   (30000 * MS)
#define LOCKS_LAST (100 * MS)

static bool is_locked(const char *id) {
	return strncmp(id, LOCKED, strlen(LOCKED)) == 0;
}

static bool skips(const struct fixture *f) {
	return f->asked[0].skip;
}

/* What is asked and not locked is granted. */
static void answers_batch(struct fixture *f, bool rows_are_locked) {
	struct lease_grant each[CORE_BATCH_MAX];
	bool refuses = false;
	for (size_t i = 0; i < f->asked_count; i++) {
		bool busy = rows_are_locked && is_locked(f->ids[i]);
		assert_int_equal(f->asked[i].skip, skips(f));
		assert_false(f->asked[i].skip && f->asked[i].first);
		refuses |= busy && !skips(f);
		each[i] = grant_of(f, f->asked[i].need, 0, 80);
		each[i].charged = f->asked[i].charge;
		if (busy)
			each[i] = (struct lease_grant){.busy = true};
	}
	answers(f, refuses ? LEASE_REJECTED : LEASE_DONE, refuses ? NULL : each);
}

static void serve(struct fixture *f, bool rows_are_locked) {
	for (int n = 0; f->asked_count > 0; n++) {
		assert_true(n < 64);
		answers_batch(f, rows_are_locked);
	}
}

/* Moves on to when the core wants to be called, until the time is over. The statements that were asked. */
static unsigned for_a_while(struct fixture *f, int64_t ns, bool rows_are_locked) {
	unsigned before = f->batches;
	int64_t end_ns = f->now_ns + ns;
	serve(f, rows_are_locked);
	while (f->now_ns < end_ns) {
		int64_t next_ns = core_next_ns(f->core);
		next_ns = next_ns > f->now_ns ? next_ns : f->now_ns + 1;
		pass(f, (next_ns < end_ns ? next_ns : end_ns) - f->now_ns);
		serve(f, rows_are_locked);
	}
	return f->batches - before;
}

static void meets_a_lock(struct fixture *f) {
	want(f, 100, LOCKED "-0", 1);
	for_a_while(f, PATIENCE + 30 * MS, true);
	expect_denied(f, 100);
}

static void returns(struct fixture *f, const char *id) {
	core_client_changed(f->core, f->now_ns, 0, id, (uint8_t)strlen(id));
	core_advance(f->core, f->now_ns);
}

/* ---- Who waits ---------------------------------------------------------------------------------- */

static void after_a_refusal_it_is_asked_at_once_without_waiting_for_locks(void **state) {
	struct fixture *f = *state;
	want(f, 1, "locked", 1);
	assert_false(skips(f));
	assert_true(f->asked[0].first);
	answers_batch(f, true);
	expect_batch(f, "locked", 1, 1, 1);
	assert_true(skips(f));
	assert_false(f->asked[0].first);
	expect_silence(f);
}

static void who_waits_is_served_when_the_row_is_free(void **state) {
	struct fixture *f = *state;
	want(f, 1, "locked", 1);
	assert_in_range(for_a_while(f, 100 * MS, true), 6, 14);
	expect_silence(f);
	for_a_while(f, 24 * MS, false);
	expect_allowed(f, 1);
	expect_no_batch(f);
	assert_int_equal(core_counters(f->core)->unserved, 0);
	assert_in_range(core_counters(f->core)->busy, 6, 14);
}

/* First after two milliseconds or three, then after twice as much. */
static void it_is_asked_again_soon_and_then_less_often(void **state) {
	struct fixture *f = *state;
	int64_t waits_ns = 2 * MS;
	meets_a_lock(f);
	want(f, 1, "locked-1", 1);
	assert_true(skips(f));
	for (int n = 0; n < 4; n++, waits_ns *= 2) {
		answers_batch(f, true);
		pass(f, waits_ns - 1);
		expect_no_batch(f);
		pass(f, waits_ns / 2 + 1);
		expect_batch(f, "locked-1", 1, 1, 1);
	}
	answers_batch(f, true);
	pass(f, 16 * MS - 1);
	expect_no_batch(f);
	pass(f, 8 * MS + 1);
	expect_batch(f, "locked-1", 1, 1, 1);
}

/* Two that have met at a row don't meet there again and again. */
static void each_host_comes_back_at_another_time(void **state) {
	struct fixture *f = *state;
	f->seed = UINT64_C(255) << 56;
	core_free(f->core);
	start_core(f, false, 9);
	comes_up(f);
	meets_a_lock(f);
	want(f, 1, "locked-1", 1);
	answers_batch(f, true);
	pass(f, 2900 * MS / 1000);
	expect_no_batch(f);
	pass(f, 100 * MS / 1000);
	expect_batch(f, "locked-1", 1, 1, 1);
}

static void who_has_waited_for_long_is_denied(void **state) {
	struct fixture *f = *state;
	want(f, 1, "locked", 1);
	for_a_while(f, PATIENCE - MS, true);
	expect_silence(f);
	for_a_while(f, 30 * MS, true);
	struct core_verdict v = verdict_of(f, 1);
	assert_false(v.allowed);
	assert_int_equal(v.reason, STINT_UNAVAILABLE);
	assert_int_equal(v.source, STINT_SOURCE_DATABASE);
	assert_int_equal(v.retry_after_ms, 1000);
	assert_int_equal(core_counters(f->core)->unserved, 1);
}

/* For a second, or its window if that is shorter. */
static void then_its_row_is_left_alone_for_a_while(void **state) {
	struct fixture *f = *state;
	meets_a_lock(f);
	for_a_while(f, 940 * MS, true);
	want(f, 2, "locked-0", 1);
	expect_denied(f, 2);
	expect_no_batch(f);
	for_a_while(f, 60 * MS, true);
	want(f, 3, "locked-0", 1);
	serve(f, false);
	expect_allowed(f, 3);
}

/* Until its window has passed it may have used all of its limit, as far as anybody knows. */
static void what_it_used_may_count_for_a_window(void **state) {
	struct fixture *f = *state;
	struct core_policy policy = policy_with(100, 20);
	policy.time_window_ms = 10000;
	policy_changes(f, policy);
	meets_a_lock(f);
	pass(f, 300 * MS);
	want(f, 2, "locked-0", 1);
	struct core_verdict v = verdict_of(f, 2);
	assert_false(v.allowed);
	assert_in_range(v.retry_after_ms, 500, 700);
	assert_int_equal(v.reset_after_ms - v.retry_after_ms, 9000);
}

/* An app whose time is up decides by itself: it is told before. */
static void who_cannot_wait_is_denied_in_time(void **state) {
	struct fixture *f = *state;
	want_until(f, 1, "locked", 1, 30 * MS);
	want(f, 2, "locked", 1);
	for_a_while(f, 24 * MS, true);
	expect_denied(f, 1);
	expect_silence(f);
	for_a_while(f, 24 * MS, false);
	expect_allowed(f, 2);
}

static void who_is_gone_is_told_nothing(void **state) {
	struct fixture *f = *state;
	want_until(f, 1, "locked", 1, 30 * MS);
	pass(f, 40 * MS);
	for_a_while(f, 400 * MS, true);
	expect_silence(f);
	assert_int_equal(core_counters(f->core)->unserved, 0);
}

static void a_lock_that_was_short_is_forgotten(void **state) {
	struct fixture *f = *state;
	for (uint32_t serial = 0; serial < 5; serial++) {
		want(f, serial, "locked", 1);
		for_a_while(f, PATIENCE - 40 * MS, true);
		for_a_while(f, 24 * MS, false);
		expect_allowed(f, serial);
		pass(f, SUB_MS * MS);
	}
}

/* Who came while the row was had at last: that one has all the patience there is. */
static void and_the_next_one_waits_as_long_as_the_first(void **state) {
	struct fixture *f = *state;
	want(f, 1, "locked", 1);
	for_a_while(f, PATIENCE - 20 * MS, true);
	while (f->asked_count == 0)
		pass(f, MS);
	want(f, 2, "locked", 1);
	grants(f, 1, 0, 80);
	expect_allowed(f, 1);
	for_a_while(f, PATIENCE - 20 * MS, true);
	expect_silence(f);
	for_a_while(f, 50 * MS, true);
	expect_denied(f, 2);
}

/* ---- Others ---------------------------------------------------------------------------------------- */

static void those_in_the_same_batch_are_served_at_once(void **state) {
	struct fixture *f = *state;
	want(f, 1, "first", 1);
	want(f, 2, "a", 1);
	want(f, 3, "locked", 1);
	want(f, 4, "b", 1);
	serve(f, true);
	expect_allowed(f, 1);
	expect_allowed(f, 2);
	expect_allowed(f, 4);
	expect_silence(f);
}

/* A crowd asks all the time, and a hundred rows are locked. Only the first statement waits for one. */
static void nobody_else_waits_or_is_denied(void **state) {
	struct fixture *f = *state;
	unsigned refused = 0, denied = 0, allowed = 0;
	char id[16];
	for (uint32_t n = 0; n < 1000; n++) {
		snprintf(id, sizeof(id), "%s-%u", n % 10 == 0 ? LOCKED : "c", n);
		pass(f, MS);
		want(f, n, id, 1);
		refused += f->asked_count > 0 && !skips(f) && is_locked(f->ids[0]);
		serve(f, true);
		for (size_t i = 0; i < f->told_count; i++) {
			assert_int_equal(f->told[i].verdict.allowed, f->told[i].serial % 10 != 0);
			allowed += f->told[i].verdict.allowed;
			denied += !f->told[i].verdict.allowed;
		}
		f->told_count = 0;
	}
	assert_int_equal(refused, 1);
	assert_int_equal(allowed, 900);
	assert_in_range(denied, 70, 76); /* who came in the last quarter of a second waits */
	assert_in_range(f->batches, 1000, 2100);
}

/* ---- When statements wait for locks ------------------------------------------------------------------- */

static void while_there_are_long_locks_none_waits_for_a_lock(void **state) {
	struct fixture *f = *state;
	meets_a_lock(f);
	for_a_while(f, SKIPPING - 300 * MS, true);
	want(f, 1, "a", 1);
	assert_true(skips(f));
	serve(f, true);
	for_a_while(f, 300 * MS, true);
	want(f, 2, "b", 1);
	assert_false(skips(f));
	assert_true(f->asked[0].first);
}

static void that_goes_on_while_they_are_met(void **state) {
	struct fixture *f = *state;
	meets_a_lock(f);
	for (uint32_t n = 0; n < 4; n++) {
		for_a_while(f, SKIPPING / 2, true);
		want(f, n, "locked-1", 1);
		assert_true(skips(f));
		for_a_while(f, PATIENCE + 30 * MS, true);
		expect_denied(f, n);
	}
}

/* Another agent's statement: in its line there is no need to jump. */
static void but_not_for_short_ones(void **state) {
	struct fixture *f = *state;
	meets_a_lock(f);
	for_a_while(f, SKIPPING - LOCKS_LAST, true);
	want(f, 1, "locked-1", 1);
	for_a_while(f, LOCKS_LAST - 25 * MS, true);
	for_a_while(f, 24 * MS, false);
	expect_allowed(f, 1);
	for_a_while(f, 100 * MS, true);
	want(f, 2, "b", 1);
	assert_false(skips(f));
}

/* What has met a lock is asked for together with others, and then they don't wait either; nor does that say
 * anything of how long it lasts. */
static void one_that_skips_is_enough_for_all(void **state) {
	struct fixture *f = *state;
	meets_a_lock(f);
	for_a_while(f, SKIPPING - 60 * MS, true);
	want(f, 1, "locked-1", 1);
	for_a_while(f, 55 * MS, true);
	want(f, 2, "a", 1);
	assert_false(skips(f));
	pass(f, 24 * MS);
	want(f, 3, "b", 1);
	grants(f, 1, 0, 90);
	expect_allowed(f, 2);
	assert_int_equal(f->asked_count, 2);
	answers_batch(f, true);
	expect_allowed(f, 3);
	want(f, 4, "c", 1);
	assert_false(skips(f));
	assert_true(f->asked[0].first);
}

/* ---- Nobody waits ------------------------------------------------------------------------------------- */

static void has_five_to_return(struct fixture *f, const char *id) {
	want(f, 1, id, 1);
	grants(f, 6, 0, 90);
	expect_allowed(f, 1);
	returns(f, id);
}

static void a_return_is_kept_until_the_row_is_free(void **state) {
	struct fixture *f = *state;
	has_five_to_return(f, "locked");
	for_a_while(f, 400 * MS, true);
	int32_t returned = 0;
	for (int ms = 0; ms < 600; ms++) {
		pass(f, MS);
		for (size_t i = 0; i < f->asked_count; i++)
			returned += unspent_in(f, i);
		serve(f, false);
	}
	assert_int_equal(returned, 5);
	assert_int_equal(core_queued(f->core), 0);
}

/* What is tried no longer is of no consequence any more: the window has passed. */
static void it_is_tried_more_and_more_rarely_and_then_dropped(void **state) {
	struct fixture *f = *state;
	has_five_to_return(f, "locked");
	assert_in_range(for_a_while(f, 1900 * MS, true), 9, 12);
	assert_int_equal(core_queued(f->core), 1);
	assert_in_range(for_a_while(f, 60000 * MS, true), 1, 2);
	assert_int_equal(core_queued(f->core), 0);
}

static void many_of_them_leave_room_for_others(void **state) {
	struct fixture *f = *state;
	char id[16];
	for (uint32_t n = 0; n < 40; n++) {
		snprintf(id, sizeof(id), LOCKED "-%u", n);
		want(f, n, id, 1);
		grants(f, 6, 0, 90);
		expect_allowed(f, n);
	}
	for (uint32_t n = 0; n < 40; n++) {
		snprintf(id, sizeof(id), LOCKED "-%u", n);
		returns(f, id);
	}
	for_a_while(f, 60 * MS, true);
	assert_int_equal(core_queued(f->core), 40);
	want(f, 1, "a", 1);
	expect_batch(f, "a", 1, 1, 1);
	serve(f, true);
	expect_allowed(f, 1);
}

static int make_large(void **state) {
	return make_up_with(state, 8192);
}

/* What is put off takes room, too: no more is made of what can as well be made later. */
static void they_take_no_more_room_than_others(void **state) {
	struct fixture *f = *state;
	char id[16];
	for (uint32_t n = 0; n < 4500; n++) {
		snprintf(id, sizeof(id), LOCKED "-%u", n);
		want(f, n, id, 1);
		grants(f, 6, 0, 90);
		f->told_count = 0;
	}
	core_void_policy(f->core, f->now_ns, 0);
	for_a_while(f, 700 * MS, true);
	assert_int_equal(core_queued(f->core), 4096);
}

/* It has been put off for a second by then. */
static void who_comes_meanwhile_does_not_wait_as_long(void **state) {
	struct fixture *f = *state;
	has_five_to_return(f, "locked");
	for_a_while(f, 1200 * MS, true);
	want(f, 2, "locked", 1);
	expect_no_batch(f);
	for_a_while(f, 24 * MS, false);
	expect_allowed(f, 2);
}

static void what_was_told_of_leases_is_told_again(void **state) {
	struct fixture *f = *state;
	meets_a_lock(f);
	want(f, 1, "locked-1", 1);
	grants_long(f, 1, 10, 80, 5);
	expect_allowed(f, 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(app(f, "locked-1", 1).verdict, APP_ALLOWED);
	want(f, 2, "locked-1", 20);
	assert_int_equal(spent_in(f, 0), 3);
	answers_batch(f, true);
	pass(f, 3 * MS);
	assert_int_equal(f->asked_count, 1);
	assert_int_equal(spent_in(f, 0), 3);
}

/* Credits run low, nobody waits yet. */
static void what_was_asked_ahead_is_asked_again_for_a_while(void **state) {
	struct fixture *f = *state;
	meets_a_lock(f);
	low(f, "locked-1");
	assert_in_range(f->asked[0].want, 1, 100);
	answers_batch(f, true);
	pass(f, 3 * MS);
	assert_int_equal(f->asked_count, 1);
	assert_in_range(f->asked[0].want, 1, 100);
	for_a_while(f, PATIENCE + 30 * MS, true);
	assert_int_equal(core_queued(f->core), 0);
}

static void so_is_the_next_lease(void **state) {
	struct fixture *f = *state;
	meets_a_lock(f);
	want(f, 1, "locked-1", 1);
	grants(f, 10, 0, 80);
	expect_allowed(f, 1);
	for (int i = 0; i < 6; i++)
		assert_int_equal(app(f, "locked-1", 1).verdict, APP_ALLOWED);
	for (int ms = 0; ms < SUB_MS && f->asked_count == 0; ms++)
		pass(f, MS);
	expect_batch(f, "locked-1", 0, 0, f->asked[0].want);
	assert_in_range(f->asked[0].next_want, 1, 100);
	answers_batch(f, true);
	pass(f, 2 * MS + 10000);
	assert_int_equal(f->asked_count, 1);
	assert_in_range(f->asked[0].next_want, 1, 100);
}

static void a_fallbacks_charge_is_tried_on_but_not_waited_for(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	want(f, 1, "locked", 3);
	expect_allowed(f, 1);
	comes_up(f);
	assert_int_equal(core_state(f->core), CORE_RESYNC);
	for_a_while(f, PATIENCE - 30 * MS, true);
	assert_int_equal(core_state(f->core), CORE_RESYNC);
	for_a_while(f, 60 * MS, true);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
	for_a_while(f, 400 * MS, false);
	assert_int_equal(core_counters(f->core)->charged, 3);
	assert_int_equal(core_queued(f->core), 0);
}

/* ---- The end of it ---------------------------------------------------------------------------------------- */

static void when_the_database_goes_away_it_is_the_fallbacks(void **state) {
	struct fixture *f = *state;
	want(f, 1, "locked", 1);
	for_a_while(f, 50 * MS, true);
	f->asked_count = 0;
	loses_the_answer(f);
	expect_silence(f);
	core_database_down(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
	expect_allowed(f, 1);
}

static void an_agent_that_stops_does_not_wait_for_a_row(void **state) {
	struct fixture *f = *state;
	has_five_to_return(f, "locked");
	for_a_while(f, 50 * MS, true);
	core_drain(f->core, f->now_ns);
	for_a_while(f, 150 * MS, true);
	assert_false(core_is_drained(f->core));
	for_a_while(f, 100 * MS, true);
	assert_true(core_is_drained(f->core));
}

/* Though it would have been tried again in a second. */
static void nor_for_one_that_is_put_off_for_long(void **state) {
	struct fixture *f = *state;
	has_five_to_return(f, "locked");
	for_a_while(f, 1200 * MS, true);
	assert_int_equal(core_queued(f->core), 1);
	core_drain(f->core, f->now_ns);
	for_a_while(f, 10 * MS, true);
	assert_true(core_is_drained(f->core));
}

/* Tries come every 16 ms or so while somebody waits. When nobody does any more they get rarer from there on, and
 * not as if they had been getting rarer all the time: a resync waits for this charge. */
static void when_nobody_waits_any_more_it_is_still_asked_soon(void **state) {
	struct fixture *f = *state;
	stays_away(f);
	want(f, 1, "locked", 1);
	expect_allowed(f, 1);
	comes_up(f);
	want_until(f, 2, "locked", 1, 220 * MS);
	for_a_while(f, 230 * MS, true);
	expect_denied(f, 2);
	assert_int_equal(core_state(f->core), CORE_RESYNC);
	for_a_while(f, 100 * MS, false);
	assert_int_equal(core_state(f->core), CORE_IN_STEP);
}

int main(void) {
#define STEP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(after_a_refusal_it_is_asked_at_once_without_waiting_for_locks),
		STEP(who_waits_is_served_when_the_row_is_free),
		STEP(it_is_asked_again_soon_and_then_less_often),
		STEP(when_nobody_waits_any_more_it_is_still_asked_soon),
		STEP(each_host_comes_back_at_another_time),
		STEP(who_has_waited_for_long_is_denied),
		STEP(then_its_row_is_left_alone_for_a_while),
		STEP(what_it_used_may_count_for_a_window),
		STEP(who_cannot_wait_is_denied_in_time),
		STEP(who_is_gone_is_told_nothing),
		STEP(a_lock_that_was_short_is_forgotten),
		STEP(and_the_next_one_waits_as_long_as_the_first),
		STEP(those_in_the_same_batch_are_served_at_once),
		STEP(nobody_else_waits_or_is_denied),
		STEP(while_there_are_long_locks_none_waits_for_a_lock),
		STEP(that_goes_on_while_they_are_met),
		STEP(but_not_for_short_ones),
		STEP(one_that_skips_is_enough_for_all),
		STEP(a_return_is_kept_until_the_row_is_free),
		STEP(it_is_tried_more_and_more_rarely_and_then_dropped),
		STEP(many_of_them_leave_room_for_others),
		cmocka_unit_test_setup_teardown(they_take_no_more_room_than_others, make_large, clean),
		STEP(who_comes_meanwhile_does_not_wait_as_long),
		STEP(what_was_told_of_leases_is_told_again),
		STEP(what_was_asked_ahead_is_asked_again_for_a_while),
		STEP(so_is_the_next_lease),
		STEP(a_fallbacks_charge_is_tried_on_but_not_waited_for),
		STEP(when_the_database_goes_away_it_is_the_fallbacks),
		STEP(an_agent_that_stops_does_not_wait_for_a_row),
		STEP(nor_for_one_that_is_put_off_for_long),
	};
	return cmocka_run_group_tests_name("core_busy", tests, NULL, NULL);
}
