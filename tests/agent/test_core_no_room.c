/*
 * test_core_no_room.c - leases that end when more is to be returned than there is room for: what is left of them
 * goes back later, and can be spent by nobody until then.
 */
#include "core_fixture.h"

#define CROWD 4200u /* more than requests are made for at a time */

static int make_many(void **state) {
	return make_up_with(state, 8192);
}

static struct core_policy policy_of_sub_windows(int64_t ms, int32_t max_requests) {
	struct core_policy policy = policy_with(max_requests, 20);
	policy.terms.sub_window_us = ms * 1000;
	policy.time_window_ms = 10 * ms;
	return policy;
}

static void moves(struct fixture *f, int64_t ns) {
	f->now_ns += ns;
	core_advance(f->core, f->now_ns);
}

static void answers_all(struct fixture *f, int32_t granted) {
	while (f->asked_count > 0) {
		struct lease_grant each[CORE_BATCH_MAX];
		for (size_t i = 0; i < f->asked_count; i++)
			each[i] = grant_of(f, f->asked[i].need > 0 ? granted : 0, 0, 80);
		answers(f, LEASE_DONE, each);
	}
	f->told_count = 0;
}

/* Many others have leases of another policy, of which they return what is left, and the database is slow. */
static void there_is_no_room(struct fixture *f) {
	struct core_policy other = policy_of_sub_windows(60000, 100);
	char id[16];
	int64_t end_ns = f->end_ns;
	core_set_policy(f->core, f->now_ns, 1, &other);
	f->end_ns = f->now_ns + 60000 * MS;
	for (uint32_t i = 0; i < CROWD; i++) {
		snprintf(id, sizeof(id), "many-%u", i);
		want_under(f, 1, i, id);
		answers_all(f, 3);
	}
	f->end_ns = end_ns;
	other.terms.max_requests = 99;
	core_set_policy(f->core, f->now_ns, 1, &other);
	while (core_is_walking(f->core))
		moves(f, MS);
	assert_true(core_queued(f->core) >= 4096);
}

/* Of what a client was granted in this sub-window, all that goes back in so long, the database answering. */
static int32_t goes_back_within(struct fixture *f, const char *id, int64_t sub_window, int64_t ms) {
	int32_t back = 0;
	for (int64_t end_ns = f->now_ns + ms * MS; f->now_ns < end_ns; moves(f, MS)) {
		for (size_t i = 0; i < f->asked_count; i++)
			if (strcmp(f->ids[i], id) == 0)
				back += report_of(f, i, sub_window).unspent;
		answers_all(f, 0);
	}
	return back;
}

/* For now, and for a window. */
static struct lease_grant has(struct fixture *f, int32_t credits, int32_t lasting) {
	want(f, 1, "a", 1);
	struct lease_grant grant = long_grant_of(f, credits, lasting, 80, 1);
	grant.next_valid_us = grant.valid_us + 9900000;
	grant.next_sub_window = grant.sub_window + 9900000;
	answers(f, LEASE_DONE, &grant);
	f->told_count = 0;
	return grant;
}

static void begins(struct fixture *f) {
	policy_changes(f, policy_of_sub_windows(1000, 100));
	f->end_ns = f->now_ns + 1000 * MS;
}

static void what_is_left_of_a_lease_goes_back_when_there_is_room(void **state) {
	struct fixture *f = *state;
	begins(f);
	struct lease_grant grant = has(f, 1, 7);
	there_is_no_room(f);
	assert_int_equal(app(f, "a", 1).verdict, APP_ALLOWED);
	client_changes(f, "a");
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	assert_int_equal(goes_back_within(f, "a", grant.next_sub_window, 3000), 6);
}

static void also_of_both(void **state) {
	struct fixture *f = *state;
	begins(f);
	struct lease_grant grant = has(f, 5, 7);
	there_is_no_room(f);
	client_changes(f, "a");
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	answers_all(f, 0);
	int32_t back = 0;
	for (int i = 0; i < 3000; i++, moves(f, MS)) {
		for (size_t n = 0; n < f->asked_count; n++)
			if (strcmp(f->ids[n], "a") == 0)
				back += unspent_in(f, n);
		answers_all(f, 0);
	}
	assert_int_equal(back, 4 + 7);
	(void)grant;
}

/* It was unused for so long that it has no timer any more. */
static void also_of_a_client_that_is_nearly_forgotten(void **state) {
	struct fixture *f = *state;
	begins(f);
	core_set_timing(f->core, 500 * MS, 12000 * MS);
	struct lease_grant grant = has(f, 1, 7);
	for (int i = 0; i < 200; i++) {
		moves(f, 50 * MS);
		answers_all(f, 0);
	}
	there_is_no_room(f);
	client_changes(f, "a");
	assert_int_equal(app(f, "a", 1).verdict, APP_ASKS);
	assert_int_equal(goes_back_within(f, "a", grant.next_sub_window, 1500), 7);
}

/* It counts for nothing from a window after its end on, whatever happens to it later. */
static void one_that_was_over_before_does_not_last_longer_for_that(void **state) {
	struct fixture *f = *state;
	begins(f);
	core_set_timing(f->core, 500 * MS, 600000 * MS);
	struct lease_grant grant = has(f, 6, 0);
	moves(f, 9000 * MS);
	answers_all(f, 0);
	there_is_no_room(f);
	client_changes(f, "a");
	moves(f, 3000 * MS); /* since the sub-window in which it ended a window has passed */
	assert_int_equal(goes_back_within(f, "a", grant.sub_window, 2000), 0);
}

int main(void) {
#define MANY(name) cmocka_unit_test_setup_teardown(name, make_many, clean)
	const struct CMUnitTest tests[] = {
		MANY(what_is_left_of_a_lease_goes_back_when_there_is_room),
		MANY(also_of_both),
		MANY(also_of_a_client_that_is_nearly_forgotten),
		MANY(one_that_was_over_before_does_not_last_longer_for_that),
	};
	return cmocka_run_group_tests_name("core_no_room", tests, NULL, NULL);
}
