/*
 * test_window.c - in which window the limit of a result counts: the one that applied, whatever was declared.
 */
#include <string.h>

#include "async_fixture.h"

#define POLICYS   7000
#define FALLBACKS 9000

/* An operator has set the windows of f->api's policy, which declares 60000; f->r is garbage. */
static void known(struct fixture *f) {
	assert_true(stint_is_allowed(f->api, "other"));
	struct policy_entry *entry = directory_entries(f->agent.table.directory);
	atomic_store(&entry->max_requests, 50);
	atomic_store(&entry->time_window_ms, POLICYS);
	atomic_store(&entry->fallback_max_requests, 60);
	atomic_store(&entry->fallback_time_window_ms, FALLBACKS);
	memset(&f->r, 0x55, sizeof(f->r));
}

static void expect_window(struct fixture *f, uint32_t cost, int64_t window_ms) {
	assert_int_equal(stint_check(f->api, "c", cost, &f->r), 0);
	assert_int_equal(f->r.time_window_ms, window_ms);
	assert_int_equal(stint_try(f->api, "c", cost, &f->r), 1);
	assert_int_equal(f->r.time_window_ms, window_ms);
	assert_int_equal(stint_peek(f->api, "c", cost, &f->r), 0);
	assert_int_equal(f->r.time_window_ms, window_ms);
}

static void of_leases_it_is_the_policys_or_the_fallbacks(void **state) {
	struct fixture *f = *state;
	known(f);
	struct slot *slot = fake_table_put(&f->agent.table, 0, "c");
	fake_slot_lease(slot, 0, 9, LATER, 0);
	expect_window(f, 1, POLICYS);
	fake_slot_own_limit(&f->agent.table, slot, 2, 11);
	expect_window(f, 1, POLICYS);
	fake_slot_lease(slot, 0, 9, LATER, WORD_FALLBACK_BIT);
	expect_window(f, 1, FALLBACKS);
	const struct stint_part part = {f->api, "c", STINT_STRING, 1, 0};
	assert_int_equal(stint_check_all(&part, 1, &f->r), 0);
	assert_int_equal(f->r.time_window_ms, FALLBACKS);
}

static void of_denials_too(void **state) {
	struct fixture *f = *state;
	known(f);
	struct slot *slot = fake_table_put(&f->agent.table, 0, "c");
	fake_slot_deny(slot, 1, LATER, 0, hint_pack(0, 500, 900));
	expect_window(f, 1, POLICYS);
	expect_window(f, 51, POLICYS);
	assert_int_equal(f->r.retry_after_ms, POLICYS);
	fake_slot_deny(slot, 1, LATER, 0, hint_pack(HINT_FALLBACK_BIT, 500, 900));
	expect_window(f, 1, FALLBACKS);
	expect_window(f, 61, FALLBACKS);
	assert_int_equal(f->r.retry_after_ms, FALLBACKS);
}

static void see_window(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;
	assert_int_equal(status, 0);
	assert_int_equal(result->time_window_ms, FALLBACKS);
	f->called++;
}

static void of_the_agents_verdicts_too(void **state) {
	struct fixture *f = *state;
	known(f);
	assert_int_equal(stint_check(f->api, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_DATABASE);
	assert_int_equal(f->r.time_window_ms, POLICYS);
	fake_agent_lock(&f->agent);
	f->agent.verdict.source = STINT_SOURCE_FALLBACK;
	fake_agent_unlock(&f->agent);
	assert_int_equal(stint_check(f->api, "c", 1, &f->r), 0);
	assert_int_equal(f->r.time_window_ms, FALLBACKS);
	assert_int_equal(stint_check_async(f->api, "c", 1, &f->r, see_window, f), 0);
	loop(f, 1);
}

/* Nobody knows the policy yet but the app. */
static void of_the_process_it_is_what_is_declared(void **state) {
	struct fixture *f = *state;
	struct stint_options options = {.timeout_ms = 1, .fallback_time_window_ms = 5000};
	for (options.on_error = STINT_ON_ERROR_LOCAL; options.on_error <= STINT_ON_ERROR_ALLOW; options.on_error++) {
		struct stint_limiter *limiter = limiter_new(f, options);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(stint_check_alone(limiter, "c", 1, &f->r), 0);
			assert_int_equal(f->r.time_window_ms, options.on_error == STINT_ON_ERROR_LOCAL ? 5000 : 60000);
		}
		assert_int_equal(stint_check(limiter, "c", 1, &f->r), 0);
		assert_int_equal(f->r.time_window_ms, options.on_error == STINT_ON_ERROR_LOCAL ? 5000 : 60000);
		stint_limiter_free(limiter);
	}
}

static void of_a_process_without_an_agent_it_is_what_it_knows(void **state) {
	struct fixture *f = *state;
	known(f);
	assert_int_equal(stint_check_alone(f->api, "c", 1, &f->r), 0);
	assert_int_equal(f->r.time_window_ms, FALLBACKS);
	fake_agent_stop(&f->agent);
	struct stint_limiter *stern = limiter_new(f, (struct stint_options){.must_exist = true, .timeout_ms = 1});
	assert_int_equal(stint_check(stern, "c", 1, &f->r), 0); /* the agent may be back any moment */
	assert_int_equal(f->r.reason, STINT_UNAVAILABLE);
	assert_int_equal(f->r.time_window_ms, 1000); /* nobody has told it */
	stint_limiter_free(stern);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(of_leases_it_is_the_policys_or_the_fallbacks),
		TEST(of_denials_too),
		TEST(of_the_agents_verdicts_too),
		TEST_ABSENT(of_the_process_it_is_what_is_declared),
		TEST(of_a_process_without_an_agent_it_is_what_it_knows),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
