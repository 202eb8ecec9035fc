/*
 * test_peek.c - beside checks: a look at what is left, charges and refunds. What the agent makes of them is
 * tests/agent/test_core_corrections.c's.
 */
#include <string.h>

#include "async_fixture.h"

static struct slot *warm(struct fixture *f, uint32_t credits) {
	assert_true(stint_is_allowed(f->api, "c")); /* the policy is known */
	struct slot *slot = fake_table_put(&f->agent.table, 0, "c");
	fake_slot_lease(slot, 0, credits, LATER, 0);
	atomic_store(&slot->hint, 30);
	return slot;
}

static uint32_t credits_of(const struct slot *slot) {
	return word_credits(atomic_load(&slot->word[0]));
}

/* ---- Looks ------------------------------------------------------------------------------------ */

static void a_look_takes_nothing(void **state) {
	struct fixture *f = *state;
	struct slot *slot = warm(f, 7);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(stint_peek(f->api, "c", 7, &f->r), 0);
		assert_true(f->r.allowed);
		assert_int_equal(f->r.source, STINT_SOURCE_LEASE);
		assert_int_equal(f->r.remaining, 37);
	}
	assert_int_equal(credits_of(slot), 7);
	assert_int_equal(stint_check(f->api, "c", 1, &f->r), 0);
	assert_int_equal(f->r.remaining, 36);
	assert_int_equal(stint_peek_async(f->api, "c", 6, &f->r, count, f), 1);
	assert_int_equal(f->r.remaining, 36);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.want), 1);
}

static void a_look_tells_of_denials(void **state) {
	struct fixture *f = *state;
	struct slot *slot = warm(f, 2);
	fake_slot_deny(slot, 3, LATER, 0, hint_pack(0, 500, 900));
	assert_int_equal(stint_peek(f->api, "c", 2, &f->r), 0);
	assert_true(f->r.allowed);
	assert_int_equal(stint_peek(f->api, "c", 3, &f->r), 0);
	assert_false(f->r.allowed);
	assert_int_equal(f->r.reason, STINT_OVER_LIMIT);
	assert_true(f->r.retry_after_ms >= 500);
	assert_int_equal(credits_of(slot), 2);
}

static void the_agent_is_asked_for_a_look_alone(void **state) {
	struct fixture *f = *state;
	assert_int_equal(stint_peek(f->api, "c", 3, &f->r), 0);
	assert_true(f->r.allowed);
	assert_int_equal(f->agent.last_want.head.flags, WIRE_WANT_PROVIDE);
	assert_int_equal(f->agent.last_want.cost, 3);
	assert_int_equal(stint_peek_async(f->api, "d", 2, &f->r, count, f), 0);
	assert_int_not_equal(f->r.ticket, 0);
	loop(f, 1);
	assert_int_equal(f->agent.last_want.head.flags, WIRE_WANT_PROVIDE);
	assert_true(stint_is_allowed(f->api, "e"));
	assert_int_equal(f->agent.last_want.head.flags, 0);
}

static void looks_refuse_what_checks_refuse(void **state) {
	struct fixture *f = *state;
	assert_int_equal(stint_peek(f->api, "", 1, &f->r), STINT_ECLIENT);
	assert_int_equal(stint_peek(f->api, "c", 0, &f->r), STINT_ERANGE);
	assert_int_equal(stint_peek_n(f->api, "a\0b", 3, 1, &f->r), STINT_ECLIENT);
	assert_int_equal(stint_peek_async(f->api, "c", STINT_MAX_REQUESTS_MAX + 1u, &f->r, count, f), STINT_ERANGE);
	assert_int_equal(stint_peek_sized(f->api, "c", 1, 1, &f->r, 8), STINT_EVERSION);
	assert_int_equal(stint_peek_async_sized(f->api, "c", 1, 1, &f->r, 8, count, f), STINT_EVERSION);
}

/* No agent was ever here: the process decides by its own limit, and a look leaves its count as it is. */
static void a_look_without_an_agent_takes_nothing(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *three = limiter_new(f, (struct stint_options){.timeout_ms = 1, .local_max_requests = 3});
	for (int i = 0; i < 3; i++) {
		assert_int_equal(stint_peek(three, "c", 1, &f->r), 0);
		assert_true(f->r.allowed);
		assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
		assert_int_equal(f->r.remaining, 3 - i);
		assert_int_equal(stint_peek(three, "c", (uint32_t)(4 - i), &f->r), 0);
		assert_false(f->r.allowed);
		assert_true(stint_is_allowed(three, "c"));
	}
	assert_int_equal(stint_peek(three, "c", 1, &f->r), 0);
	assert_false(f->r.allowed);
	stint_limiter_free(three);
}

/* ---- Corrections ------------------------------------------------------------------------------ */

static void a_charge_is_taken_from_the_lease(void **state) {
	struct fixture *f = *state;
	struct slot *slot = warm(f, 7);
	assert_int_equal(stint_charge(f->api, "c", 5), 0);
	assert_int_equal(credits_of(slot), 2);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.correction), 0);
}

static void the_agent_is_told_of_what_no_lease_covers(void **state) {
	struct fixture *f = *state;
	struct slot *slot = warm(f, 7);
	assert_int_equal(stint_charge(f->api, "c", 8), 0);
	fake_agent_await(&f->agent, &f->agent.counts.correction, 1);
	assert_int_equal(f->agent.last_correction.head.type, WIRE_CHARGE);
	assert_int_equal(f->agent.last_correction.cost, 8);
	assert_string_equal(f->agent.last_name, "c");
	assert_int_equal(credits_of(slot), 7);
	assert_int_equal(stint_refund_n(f->api, "client", 3, 2), 0);
	fake_agent_await(&f->agent, &f->agent.counts.correction, 2);
	assert_int_equal(f->agent.last_correction.head.type, WIRE_REFUND);
	assert_int_equal(f->agent.last_correction.cost, 2);
	assert_string_equal(f->agent.last_name, "cli");
}

static void who_cannot_tell_says_so(void **state) {
	struct fixture *f = *state;
	assert_int_equal(stint_charge(f->api, "c", 1), STINT_EAGENT); /* no policy is declared yet */
	assert_int_equal(stint_refund(f->api, "c", 1), STINT_EAGENT);
	assert_string_equal(stint_error_detail(), "policy \"api\": the agent can't be told at the moment");
	assert_true(stint_is_allowed(f->api, "c"));
	assert_int_equal(stint_charge(f->api, "c", 1), 0);
	assert_int_equal(stint_charge(f->patient, "c", 1), STINT_EAGENT);
	fake_agent_stop(&f->agent);
	while (stint_charge(f->api, "c", 1) == 0) /* until the hang-up is noticed */
		stint_is_allowed(f->api, "c");
	assert_int_equal(stint_refund(f->api, "c", 1), STINT_EAGENT);
	assert_int_equal(stint_charge(f->api, "", 1), STINT_ECLIENT);
	assert_int_equal(stint_charge(f->api, "c", 0), STINT_ERANGE);
	assert_int_equal(stint_refund_n(f->api, "a\0b", 3, 1), STINT_ECLIENT);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(a_look_takes_nothing),
		TEST(a_look_tells_of_denials),
		TEST(the_agent_is_asked_for_a_look_alone),
		TEST(looks_refuse_what_checks_refuse),
		TEST_ABSENT(a_look_without_an_agent_takes_nothing),
		TEST(a_charge_is_taken_from_the_lease),
		TEST(the_agent_is_told_of_what_no_lease_covers),
		TEST(who_cannot_tell_says_so),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
