/*
 * test_sized.c - apps that were compiled with another stint.h, whose structs are smaller or larger; and
 * stint_try().
 */
#include <string.h>

#include "async_fixture.h"
#include "sized.h"

/* What a later stint.h might have. */
struct later_options {
	struct stint_options known;
	int64_t unknown;
};

struct later_result {
	struct stint_result known;
	int64_t unknown;
};

/* What the first stint.h had that told sizes. */
#define EARLIER_SIZE (offsetof(struct stint_result, receipt) + sizeof(uint64_t))

static const struct later_options later = {
	.known = {.policy = "api", .max_requests = 100, .time_window_ms = 60000}};

static void an_option_that_is_not_known_must_be_0(void **state) {
	struct fixture *f = *state;
	struct later_options options = later;
	struct stint_limiter *limiter;

	assert_int_equal(stint_limiter_new_sized(&limiter, f->st, &options.known, sizeof(options)), 0);
	stint_limiter_free(limiter);
	options.unknown = 1;
	assert_int_equal(stint_limiter_new_sized(&limiter, f->st, &options.known, sizeof(options)), STINT_ERANGE);
	assert_null(limiter);
	assert_string_equal(stint_error_detail(), "an option is set that version " STINT_VERSION " doesn't know");
}

static void a_size_that_cannot_be_is_refused(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *limiter;
	const size_t sizes[] = {0, 8, SIZE_MAX, sizeof(f->r) + SIZED_LATER_MAX + 1, EARLIER_SIZE - 1};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		assert_int_equal(stint_check_sized(f->api, "c", 1, 1, &f->r, sizes[i]), STINT_EVERSION);
		assert_int_equal(stint_try_sized(f->api, "c", 1, 1, &f->r, sizes[i]), STINT_EVERSION);
		assert_int_equal(stint_check_async_sized(f->api, "c", 1, 1, &f->r, sizes[i], count, f), STINT_EVERSION);
	}
	assert_non_null(strstr(stint_error_detail(), "a struct stint_result of "));
	assert_int_equal(stint_limiter_new_sized(&limiter, f->st, &later.known, 8), STINT_EVERSION);
	assert_int_equal(stint_limiter_new_sized(&limiter, f->st, &later.known, 1000), STINT_EVERSION);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.want), 0);
}

static void assert_admitted(const struct later_result *r) {
	assert_true(r->known.allowed);
	assert_int_equal(r->known.reason, STINT_ADMITTED);
	assert_int_equal(r->unknown, 0);
}

static void a_larger_result_is_filled_with_zeros(void **state) {
	struct fixture *f = *state;
	struct later_result r;

	memset(&r, 0xff, sizeof(r));
	assert_int_equal(stint_check_sized(f->api, "c", STINT_STRING, 1, &r.known, sizeof(r)), 0);
	assert_admitted(&r);
	fake_slot_lease(fake_table_put(&f->agent.table, 0, "warm"), 0, 5, LATER, 0);
	memset(&r, 0xff, sizeof(r));
	assert_int_equal(stint_check_sized(f->api, "warm", STINT_STRING, 1, &r.known, sizeof(r)), 0);
	assert_admitted(&r);
	assert_int_equal(r.known.source, STINT_SOURCE_LEASE);
	memset(&r, 0xff, sizeof(r));
	assert_int_equal(stint_try_sized(f->api, "warm", STINT_STRING, 1, &r.known, sizeof(r)), 1);
	assert_admitted(&r);
	memset(&r, 0xff, sizeof(r));
	assert_int_equal(stint_check_async_sized(f->api, "warm", STINT_STRING, 1, &r.known, sizeof(r), count, f), 1);
	assert_admitted(&r);
}

static void nothing_is_written_beyond_a_smaller_result(void **state) {
	struct fixture *f = *state;
	const int64_t untouched = 0x5555555555555555;

	assert_int_equal(stint_check_sized(f->api, "c", STINT_STRING, 1, &f->r, EARLIER_SIZE), 0);
	fake_slot_lease(fake_table_put(&f->agent.table, 0, "warm"), 0, 5, LATER, 0);
	for (int i = 0; i < 5; i++) {
		memset(&f->r, 0x55, sizeof(f->r));
		const struct stint_part part = {f->api, "warm", STINT_STRING, 1, 0};
		int status = i == 0   ? stint_check_sized(f->api, "warm", 4, 1, &f->r, EARLIER_SIZE)
		             : i == 1 ? stint_try_sized(f->api, "warm", 4, 1, &f->r, EARLIER_SIZE)
		             : i == 2 ? stint_peek_sized(f->api, "warm", 4, 1, &f->r, EARLIER_SIZE)
		             : i == 3 ? stint_check_async_sized(f->api, "warm", 4, 1, &f->r, EARLIER_SIZE, count, f)
		                      : stint_check_all_sized(&part, sizeof(part), 1, &f->r, EARLIER_SIZE);
		assert_int_equal(status, i == 1 || i == 3);
		assert_true(f->r.allowed);
		assert_int_equal(f->r.source, STINT_SOURCE_LEASE);
		assert_int_equal(f->r.time_window_ms, untouched);
	}
	assert_int_equal(stint_check_sized(f->api, "warm", 4, 1, &f->r, EARLIER_SIZE), 0);
	assert_int_equal(stint_refund_sized(f->api, "warm", 4, 1, &f->r, EARLIER_SIZE), 1);
	assert_int_equal(f->r.time_window_ms, untouched);
}

static void see_zeros(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;

	assert_int_equal(status, 0);
	assert_admitted((const struct later_result *)(const void *)result);
	f->called++;
}

static void a_callback_of_a_later_app_sees_zeros(void **state) {
	struct fixture *f = *state;
	struct later_result r;

	assert_int_equal(stint_check_async_sized(f->api, "c", 1, 1, &r.known, sizeof(r), see_zeros, f), 0);
	assert_int_not_equal(r.known.ticket, 0);
	loop(f, 1);
}

/* ---- stint_try() --------------------------------------------------------------------------- */

static void try_asks_nobody(void **state) {
	struct fixture *f = *state;

	assert_int_equal(stint_try(f->api, "c", 1, &f->r), 0); /* its policy isn't known yet */
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 0);
	assert_true(stint_is_allowed(f->api, "c"));
	unsigned wants = fake_agent_count(&f->agent, &f->agent.counts.want);
	assert_int_equal(stint_try(f->api, "c", 1, &f->r), 0);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.want), wants);
	assert_int_equal(stint_try(f->api, "", 1, &f->r), STINT_ECLIENT);
	assert_int_equal(stint_try(f->api, "c", 0, &f->r), STINT_ERANGE);
}

static void try_takes_what_the_table_has(void **state) {
	struct fixture *f = *state;
	struct slot *slot;

	assert_true(stint_is_allowed(f->api, "c"));
	slot = fake_table_put(&f->agent.table, 0, "c");
	fake_slot_lease(slot, 0, 3, LATER, 0);
	assert_int_equal(stint_try(f->api, "c", 4, &f->r), 0); /* it holds less than that */
	assert_int_equal(word_credits(atomic_load(&slot->word[0])), 3);
	assert_int_equal(stint_try(f->api, "c", 3, &f->r), 1);
	assert_true(f->r.allowed);
	assert_int_equal(f->r.remaining, 0);
	fake_slot_deny(slot, 1, LATER, 0, hint_pack(0, 0, 0));
	assert_int_equal(stint_try(f->api, "c", 1, &f->r), 1);
	assert_false(f->r.allowed);
	assert_int_equal(f->r.reason, STINT_OVER_LIMIT);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(an_option_that_is_not_known_must_be_0), TEST(a_size_that_cannot_be_is_refused),
		TEST(a_larger_result_is_filled_with_zeros),  TEST(nothing_is_written_beyond_a_smaller_result),
		TEST(a_callback_of_a_later_app_sees_zeros),  TEST(try_asks_nobody),
		TEST(try_takes_what_the_table_has),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
