/*
 * test_core_lows.c - clients whose credits run low, and whose apps' word of that is lost, since a crowd runs low
 * at the same time. Step by step, against a database that the test plays.
 */
#include "core_fixture.h"

#define CROWD    256
#define PAUSE_MS 100

/* A sweep takes a quarter of the fixture's idle timeout. */
#define SWEEP_STEP_MS 50
#define SWEEP_STEPS   20

/* So many of a lease of twelve are spent; what its app says isn't heard. */
static void spends(struct fixture *f, const char *id, int credits, int32_t remaining) {
	want(f, 1, id, 1);
	grants(f, 12, 0, remaining);
	expect_allowed(f, 1);
	for (int i = 1; i < credits; i++)
		assert_int_equal(app(f, id, 1).verdict, APP_ALLOWED);
}

static void runs_low(struct fixture *f, const char *id) {
	spends(f, id, 11, 90);
}

/* Of one whose lease is ample, so nothing is asked for it. */
static void many_tell(struct fixture *f, int count) {
	if (app(f, "teller", 1).verdict != APP_ALLOWED) {
		want(f, 1, "teller", 1);
		grants(f, 10, 0, 90);
		expect_allowed(f, 1);
	}
	for (int i = 0; i < count; i++)
		low(f, "teller");
}

static bool is_asked_for(const struct fixture *f, const char *id) {
	for (size_t i = 0; i < f->asked_count; i++)
		if (f->asked[i].client_id_len == strlen(id) && memcmp(f->asked[i].client_id, id, strlen(id)) == 0)
			return true;
	return false;
}

static void a_crowd_is_looked_for(void **state) {
	struct fixture *f = *state;
	runs_low(f, "a");
	runs_low(f, "b");
	many_tell(f, CROWD);
	assert_int_equal(f->asked_count, 2);
	assert_true(is_asked_for(f, "a") && is_asked_for(f, "b"));
	assert_int_equal(f->asked[0].need, 0);
	assert_in_range(f->asked[0].want, 11, 25);
}

static void fewer_are_heard_one_by_one(void **state) {
	struct fixture *f = *state;
	runs_low(f, "a");
	many_tell(f, CROWD - 1);
	assert_int_equal(f->asked_count, 0);
}

static void many_in_a_long_time_are_no_crowd(void **state) {
	struct fixture *f = *state;
	f->end_ns = f->now_ns + 5 * PAUSE_MS * MS;
	runs_low(f, "a");
	many_tell(f, CROWD / 2);
	pass(f, 11 * MS);
	many_tell(f, CROWD / 2);
	assert_int_equal(f->asked_count, 0);
}

static void who_has_enough_is_passed_over(void **state) {
	struct fixture *f = *state;
	spends(f, "a", 8, 90); /* the mark is at four */
	many_tell(f, CROWD);
	assert_int_equal(f->asked_count, 0);
}

static void who_is_near_its_limit_gets_no_more(void **state) {
	struct fixture *f = *state;
	spends(f, "a", 12, 10);
	many_tell(f, CROWD);
	assert_int_equal(f->asked_count, 0);
}

/* It asks when it comes again. */
static void whose_lease_is_over_has_not_run_low(void **state) {
	struct fixture *f = *state;
	runs_low(f, "a");
	f->now_ns = f->end_ns;
	f->end_ns += SUB_MS * MS;
	pass(f, MS);
	while (f->asked_count > 0) /* what its timer has to tell */
		grants(f, 0, 0, 90);
	many_tell(f, CROWD);
	assert_int_equal(f->asked_count, 0);
}

static void for_whom_is_asked_already_no_more_is(void **state) {
	struct fixture *f = *state;
	f->end_ns = f->now_ns + 5 * PAUSE_MS * MS;
	runs_low(f, "a");
	many_tell(f, CROWD);
	pass(f, PAUSE_MS * MS);
	many_tell(f, CROWD);
	grants(f, 2, 0, 90);
	assert_int_equal(f->asked_count, 0);
}

static void who_is_idle_is_left_alone(void **state) {
	struct fixture *f = *state;
	f->end_ns = f->now_ns + 100 * SWEEP_STEP_MS * MS;
	runs_low(f, "a");
	for (int i = 0; i < 2 * SWEEP_STEPS; i++)
		pass(f, SWEEP_STEP_MS * MS);
	many_tell(f, CROWD);
	assert_int_equal(f->asked_count, 0);
}

static void not_again_at_once(void **state) {
	struct fixture *f = *state;
	f->end_ns = f->now_ns + 5 * PAUSE_MS * MS;
	many_tell(f, CROWD);
	runs_low(f, "a");
	pass(f, 11 * MS);
	many_tell(f, CROWD);
	pass(f, (PAUSE_MS - 12) * MS);
	assert_int_equal(f->asked_count, 0);
	pass(f, MS);
	assert_true(is_asked_for(f, "a"));
}

static void answer_all(struct fixture *f) {
	struct lease_grant answer[CORE_BATCH_MAX];
	for (size_t i = 0; i < f->asked_count; i++)
		answer[i] = grant_of(f, f->asked[i].need > 0 ? f->asked[i].need : 1, 0, 90);
	answers(f, LEASE_DONE, answer);
	f->told_count = 0;
}

/* At most four batches are before it, and one under way, and what one step of the look adds. */
static void who_waits_is_not_behind_all_of_them(void **state) {
	struct fixture *f = *state;
	char id[16];
	f->end_ns = f->now_ns + 5 * PAUSE_MS * MS;
	for (int i = 0; i < 3000; i++) {
		snprintf(id, sizeof(id), "low-%d", i);
		runs_low(f, id);
	}
	many_tell(f, CROWD);
	for (int i = 0; i < 20; i++)
		pass(f, MS);
	want(f, 1, "waits", 1);
	int batches = 1;
	for (; !is_asked_for(f, "waits"); batches++)
		answer_all(f);
	assert_in_range(batches, 2, 8);
	for (; f->asked_count > 0; batches++, pass(f, MS))
		answer_all(f);
	assert_in_range(batches, 3000 / CORE_BATCH_MAX, 20); /* the others had their turn, too */
}

/* Rows that somebody keeps locked are asked for again later, of however many clients. */
static void what_is_put_off_holds_nobody_up(void **state) {
	struct fixture *f = *state;
	struct lease_grant busy[CORE_BATCH_MAX];
	char id[16];
	for (size_t i = 0; i < CORE_BATCH_MAX; i++)
		busy[i] = (struct lease_grant){.busy = true};
	f->end_ns = f->now_ns + 5 * PAUSE_MS * MS;
	runs_low(f, "a");
	many_tell(f, 1);
	for (uint32_t i = 0; i < 5 * CORE_BATCH_MAX; i++) {
		snprintf(id, sizeof(id), "locked-%u", i);
		want(f, i, id, 1);
	}
	while (f->asked_count > 0)
		answers(f, LEASE_DONE, busy);
	assert_in_range(core_queued(f->core), 4 * CORE_BATCH_MAX, 5 * CORE_BATCH_MAX);
	many_tell(f, CROWD + 20); /* by then all of the table has been looked at */
	assert_true(is_asked_for(f, "a"));
}

static int make_large(void **state) {
	return make_up_with(state, 8192);
}

int main(void) {
#define STEP(name) cmocka_unit_test_setup_teardown(name, make_up, clean)
	const struct CMUnitTest tests[] = {
		STEP(a_crowd_is_looked_for),
		STEP(fewer_are_heard_one_by_one),
		STEP(many_in_a_long_time_are_no_crowd),
		STEP(who_has_enough_is_passed_over),
		STEP(who_is_near_its_limit_gets_no_more),
		STEP(whose_lease_is_over_has_not_run_low),
		STEP(for_whom_is_asked_already_no_more_is),
		STEP(who_is_idle_is_left_alone),
		STEP(not_again_at_once),
		cmocka_unit_test_setup_teardown(what_is_put_off_holds_nobody_up, make_large, clean),
		cmocka_unit_test_setup_teardown(who_waits_is_not_behind_all_of_them, make_large, clean),
	};
	return cmocka_run_group_tests_name("core_lows", tests, NULL, NULL);
}
