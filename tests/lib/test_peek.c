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
	assert_int_equal(f->agent.last_want.head.flags, WIRE_WANT_PROVIDE | WIRE_WANT_LOOK);
	assert_int_equal(f->agent.last_want.cost, 3);
	assert_int_equal(stint_peek_async(f->api, "d", 2, &f->r, count, f), 0);
	assert_int_not_equal(f->r.ticket, 0);
	loop(f, 1);
	assert_int_equal(f->agent.last_want.head.flags, WIRE_WANT_PROVIDE | WIRE_WANT_LOOK);
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
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.charge), 0);
}

static void the_agent_is_told_of_what_no_lease_covers(void **state) {
	struct fixture *f = *state;
	struct slot *slot = warm(f, 7);
	assert_int_equal(stint_charge(f->api, "c", 8), 0);
	fake_agent_await(&f->agent, &f->agent.counts.charge, 1);
	assert_int_equal(f->agent.last_charge.head.type, WIRE_CHARGE);
	assert_int_equal(f->agent.last_charge.cost, 8);
	assert_string_equal(f->agent.last_name, "c");
	assert_int_equal(credits_of(slot), 7);
	assert_int_equal(stint_charge_n(f->api, "client", 3, 2), 0);
	fake_agent_await(&f->agent, &f->agent.counts.charge, 2);
	assert_int_equal(f->agent.last_charge.cost, 2);
	assert_string_equal(f->agent.last_name, "cli");
}

static void who_cannot_tell_says_so(void **state) {
	struct fixture *f = *state;
	assert_int_equal(stint_charge(f->api, "c", 1), STINT_EAGENT); /* no policy is declared yet */
	assert_string_equal(stint_error_detail(), "policy \"api\": the agent can't be told at the moment");
	assert_true(stint_is_allowed(f->api, "c"));
	assert_int_equal(stint_charge(f->api, "c", 1), 0);
	assert_int_equal(stint_charge(f->patient, "c", 1), STINT_EAGENT);
	fake_agent_stop(&f->agent); /* nobody has noticed yet that it is gone */
	assert_int_equal(stint_charge(f->api, "c", 1), STINT_EAGENT);
	assert_int_equal(stint_charge(f->api, "", 1), STINT_ECLIENT);
	assert_int_equal(stint_charge(f->api, "c", 0), STINT_ERANGE);
	assert_int_equal(stint_charge_n(f->api, "a\0b", 3, 1), STINT_ECLIENT);
}

/* The agent has made room for another policy: it would count for nobody. */
static void a_policy_that_was_dropped_is_charged_nothing(void **state) {
	struct fixture *f = *state;
	assert_true(stint_is_allowed(f->api, "c"));
	atomic_fetch_add(&directory_entries(f->agent.table.directory)[0].generation, 1);
	assert_int_equal(stint_charge(f->api, "c", 1), STINT_EAGENT);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.charge), 0);
}

/* ---- Refunds ---------------------------------------------------------------------------------- */

static void what_was_admitted_can_be_given_back_once(void **state) {
	struct fixture *f = *state;
	struct slot *slot = warm(f, 7);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(stint_check(f->api, "c", 5, &f->r), 0);
		assert_true(f->r.allowed);
		assert_int_equal(stint_refund(f->api, "c", 5, &f->r), 1);
		assert_int_equal(f->r.receipt, 0);
		assert_int_equal(stint_refund(f->api, "c", 5, &f->r), 0);
		assert_int_equal(credits_of(slot), 7);
	}
	assert_int_equal(stint_try(f->api, "c", 5, &f->r), 1);
	assert_int_equal(stint_refund(f->api, "c", 2, &f->r), 1); /* a part of it */
	assert_int_equal(credits_of(slot), 4);
}

/* More would be credits that nobody has counted. */
static void no_more_is_given_back_than_was_admitted(void **state) {
	struct fixture *f = *state;
	struct slot *slot = warm(f, 9);
	assert_int_equal(stint_check(f->api, "c", 3, &f->r), 0);
	assert_int_equal(f->r.cost, 3);
	for (uint32_t cost = 4; cost < 1000000000; cost *= 7) {
		assert_int_equal(stint_refund(f->api, "c", cost, &f->r), STINT_ERANGE);
		assert_int_equal(credits_of(slot), 6);
	}
	assert_int_equal(stint_refund(f->api, "c", 4, &f->r), STINT_ERANGE);
	assert_string_equal(stint_error_detail(), "cost is 4, must be 1 to 3: what was admitted");
	assert_int_equal(stint_refund(f->api, "c", 2, &f->r), 1); /* the receipt is still good */
	assert_int_equal(credits_of(slot), 8);
	const struct stint_part part = {f->api, "c", STINT_STRING, 5, 0};
	assert_int_equal(stint_check_all(&part, 1, &f->r), 0);
	assert_int_equal(stint_refund(f->api, "c", 6, &f->r), STINT_ERANGE);
	assert_int_equal(stint_refund(f->api, "c", 5, &f->r), 1);
	assert_int_equal(credits_of(slot), 8);
}

static void nor_than_the_process_has_admitted(void **state) {
	struct fixture *f = *state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(stint_check_alone(f->api, "c", 3, &f->r), 0);
	assert_int_equal(stint_refund(f->api, "c", 4, &f->r), STINT_ERANGE);
	assert_int_equal(stint_refund(f->api, "c", 3, &f->r), 1);
}

/* As a binding does, which has only kept the receipt. */
static void who_does_not_know_the_cost_may_leave_it_out(void **state) {
	struct fixture *f = *state;
	struct slot *slot = warm(f, 9);
	assert_int_equal(stint_check(f->api, "c", 3, &f->r), 0);
	struct stint_result admission = {.receipt = f->r.receipt};
	assert_int_equal(stint_refund(f->api, "c", 3, &admission), 1);
	assert_int_equal(credits_of(slot), 9);
}

static void of_two_leases_it_goes_into_its_own(void **state) {
	struct fixture *f = *state;
	struct slot *slot = warm(f, 1);
	fake_slot_lease(slot, 1, 8, LATER + MS(1000), 0);
	assert_int_equal(stint_check(f->api, "c", 5, &f->r), 0);
	assert_int_equal(stint_refund(f->api, "c", 5, &f->r), 1);
	assert_int_equal(credits_of(slot), 1);
	assert_int_equal(word_credits(atomic_load(&slot->word[1])), 8);
}

/* The agent goes on to another epoch when it reports what was spent, and when it replaces the lease. */
static void what_was_reported_is_not_given_back(void **state) {
	struct fixture *f = *state;
	struct slot *slot = warm(f, 7);
	assert_int_equal(stint_check(f->api, "c", 5, &f->r), 0);
	struct stint_result copy = f->r;
	atomic_fetch_add(&slot->word[0], word_make(1, 0, 0));
	assert_int_equal(stint_refund(f->api, "c", 5, &f->r), 0);
	assert_int_equal(credits_of(slot), 2);
	f->r = copy;
	fake_slot_lease(slot, 0, 3, LATER, 0);
	assert_int_equal(stint_refund(f->api, "c", 5, &f->r), 0);
	assert_int_equal(credits_of(slot), 3);
}

static void a_receipt_is_of_one_client(void **state) {
	struct fixture *f = *state;
	struct slot *slot = warm(f, 7), *other = fake_table_put(&f->agent.table, 0, "d");
	fake_slot_lease(other, 0, 7, LATER, 0);
	assert_int_equal(stint_check(f->api, "c", 5, &f->r), 0);
	assert_int_equal(stint_refund(f->api, "d", 5, &f->r), 0);
	assert_int_equal(credits_of(other), 7);
	assert_int_equal(credits_of(slot), 2);
	assert_int_equal(stint_check(f->api, "c", 1, &f->r), 0);
	fake_table_remove(&f->agent.table, slot);
	assert_int_equal(stint_refund(f->api, "c", 1, &f->r), 0);
}

static void nothing_else_has_a_receipt(void **state) {
	struct fixture *f = *state;
	assert_int_equal(stint_check(f->api, "c", 1, &f->r), 0); /* the agent decides */
	assert_int_equal(f->r.receipt, 0);
	assert_int_equal(stint_refund(f->api, "c", 1, &f->r), 0);
	struct slot *slot = warm(f, 2);
	assert_int_equal(stint_peek(f->api, "c", 1, &f->r), 0);
	assert_int_equal(f->r.receipt, 0);
	fake_slot_deny(slot, 3, LATER, 0, hint_pack(0, 5, 5));
	assert_int_equal(stint_check(f->api, "c", 3, &f->r), 0);
	assert_false(f->r.allowed);
	assert_int_equal(f->r.receipt, 0);
	assert_int_equal(stint_refund(f->api, "", 1, &f->r), STINT_ECLIENT);
	assert_int_equal(stint_refund(f->api, "c", 0, &f->r), STINT_ERANGE);
	assert_int_equal(stint_refund_sized(f->api, "c", 1, 1, &f->r, 8), STINT_EVERSION);
}

static void any_other_receipt_gives_nothing_back(void **state) {
	struct fixture *f = *state;
	struct slot *slot = warm(f, 7);
	assert_int_equal(stint_check(f->api, "c", 5, &f->r), 0);
	uint64_t receipt = f->r.receipt;
	for (int bit = 0; bit < 64; bit++) {
		f->r.receipt = receipt ^ UINT64_C(1) << bit;
		assert_int_equal(stint_refund(f->api, "c", 5, &f->r), 0);
	}
	assert_int_equal(credits_of(slot), 2);
	assert_int_equal(word_credits(atomic_load(&slot->word[1])), 0);
}

static void the_process_takes_back_what_it_counted(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *one = limiter_new(f, (struct stint_options){.timeout_ms = 1, .local_max_requests = 1});
	for (int i = 0; i < 5; i++) {
		assert_int_equal(stint_check(one, "c", 1, &f->r), 0);
		assert_true(f->r.allowed);
		assert_int_equal(stint_refund(one, "c", 1, &f->r), 1);
		assert_int_equal(stint_refund(one, "c", 1, &f->r), 0);
	}
	assert_int_equal(stint_check(one, "c", 1, &f->r), 0);
	struct stint_result copy = f->r;
	copy.receipt += UINT64_C(1) << 32; /* of another window */
	assert_int_equal(stint_refund(one, "c", 1, &copy), 0);
	assert_false(stint_is_allowed(one, "c"));
	stint_limiter_free(one);
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
		TEST(a_policy_that_was_dropped_is_charged_nothing),
		TEST(what_was_admitted_can_be_given_back_once),
		TEST(no_more_is_given_back_than_was_admitted),
		TEST_ABSENT(nor_than_the_process_has_admitted),
		TEST(who_does_not_know_the_cost_may_leave_it_out),
		TEST(of_two_leases_it_goes_into_its_own),
		TEST(what_was_reported_is_not_given_back),
		TEST(a_receipt_is_of_one_client),
		TEST(nothing_else_has_a_receipt),
		TEST(any_other_receipt_gives_nothing_back),
		TEST_ABSENT(the_process_takes_back_what_it_counted),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
