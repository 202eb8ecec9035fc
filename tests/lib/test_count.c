/*
 * test_count.c - each verdict is counted once, by outcome and by who decided; and nothing else is. Of many at
 * once: test_count_crowd.c.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "count_fixture.h"

/* ---- Ways to check --------------------------------------------------------------------- */

static void by_is_allowed(struct fixture *f, const char *id) {
	stint_is_allowed(f->api, id);
}

static void by_check(struct fixture *f, const char *id) {
	assert_int_equal(stint_check(f->api, id, 1, &f->r), 0);
}

static void by_try(struct fixture *f, const char *id) {
	if (stint_try(f->api, id, 1, &f->r) == 0)
		by_check(f, id);
}

static void by_async(struct fixture *f, const char *id) {
	f->called = 0;
	if (stint_check_async(f->api, id, 1, &f->r, count, f) == 0)
		loop(f, 1);
}

static void by_check_all(struct fixture *f, const char *id) {
	const struct stint_part part = {f->api, id, STINT_STRING, 1, 0};
	assert_int_equal(stint_check_all(&part, 1, &f->r), 0);
}

static void (*const ways[])(struct fixture *, const char *) = {by_is_allowed, by_check, by_try, by_async,
                                                               by_check_all};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static void go_all_ways(struct fixture *f, const char *id) {
	for (size_t i = 0; i < WAYS; i++)
		ways[i](f, id);
}

/* ---- By whom ---------------------------------------------------------------------------- */

static void leases_admit(void **state) {
	struct fixture *f = *state;
	struct slot *slot = attach(f);
	fake_slot_lease(slot, 0, 100, LATER, 0);
	go_all_ways(f, "c");
	expect_counted(f, STINT_SOURCE_LEASE, TALLY_ALLOWED, WAYS);
}

static void the_fallback_admits(void **state) {
	struct fixture *f = *state;
	struct slot *slot = attach(f);
	fake_slot_lease(slot, 0, 100, LATER, WORD_FALLBACK_BIT);
	go_all_ways(f, "c");
	expect_counted(f, STINT_SOURCE_FALLBACK, TALLY_ALLOWED, WAYS);
}

/* By the database's limit, then by the fallback's. */
static void deny_by_both(struct fixture *f, enum tally_outcome outcome) {
	struct slot *slot = attach(f);
	fake_slot_deny(slot, 1, LATER, 0, HINT);
	go_all_ways(f, "c");
	expect_counted(f, STINT_SOURCE_LEASE, outcome, WAYS);
	forget_all(f);
	fake_slot_deny(slot, 1, LATER, 0, FALLBACK_HINT);
	go_all_ways(f, "c");
	expect_counted(f, STINT_SOURCE_FALLBACK, outcome, WAYS);
}

static void the_table_denies(void **state) {
	deny_by_both(*state, TALLY_DENIED);
}

static void a_shadow_would_deny(void **state) {
	set_shadow(*state, 1);
	deny_by_both(*state, TALLY_SHADOW_DENIED);
}

/* ---- Who was denied last ------------------------------------------------------------------ */

/* Whether any tally says this, or nobody; and what it says is forgotten. */
static bool is_noted(struct fixture *f, uint64_t last) {
	const struct directory_header *d = f->agent.table.directory;
	bool found = last == 0;
	for (uint32_t i = 0; i < d->tally_stripes; i++) {
		uint64_t noted = atomic_exchange(&f->agent.table.tallies[i].count[TALLY_LAST_DENIED], 0);
		if (noted != 0 && noted != last)
			return false;
		found |= noted == last;
	}
	return found;
}

static uint64_t number_of(const struct fixture *f, const struct slot *slot) {
	const struct directory_header *d = f->agent.table.directory;
	const char *slots = (const char *)f->agent.table.table + d->slots_offset;
	return (uint64_t)((const char *)slot - slots) / sizeof(*slot) + 1;
}

static void whom_the_table_denies_is_noted(void **state) {
	struct fixture *f = *state;
	struct slot *slot = attach(f);
	for (uint8_t shadow = 0; shadow <= 1; shadow++) {
		set_shadow(f, shadow);
		fake_slot_deny(slot, 1, LATER, 0, HINT);
		for (size_t i = 0; i < WAYS; i++) {
			ways[i](f, "c");
			assert_true(is_noted(f, number_of(f, slot)));
		}
	}
	set_shadow(f, 0);
	fake_slot_deny(slot, 0, 0, 0, 0);
	fake_slot_lease(slot, 0, 100, LATER, 0);
	go_all_ways(f, "c");
	assert_true(is_noted(f, 0));
}

/* The agent knows of these, and takes what is noted for another. */
static void whom_the_agent_denies_is_not(void **state) {
	struct fixture *f = *state;
	attach(f);
	const struct directory_header *d = f->agent.table.directory;
	fake_agent_lock(&f->agent);
	f->agent.verdict =
		(struct wire_verdict){.source = STINT_SOURCE_DATABASE, .reason = STINT_OVER_LIMIT, .limit = 9};
	fake_agent_unlock(&f->agent);
	for (uint32_t i = d->tally_stripes - TALLY_SHARED; i < d->tally_stripes; i++)
		atomic_store(&f->agent.table.tallies[i].count[TALLY_LAST_DENIED], 7);
	for (int i = 0; i < 4; i++)
		ways[i](f, "unknown");
	unsigned sevens = 0;
	for (uint32_t i = 0; i < d->tally_stripes; i++)
		sevens += atomic_load(&f->agent.table.tallies[i].count[TALLY_LAST_DENIED]) == 7;
	assert_in_range(sevens, 1, TALLY_SHARED - 1);
}

/* A check of several limiters takes from the table alone, so this isn't one of its ways. */
static void the_agent_decides(void **state) {
	struct fixture *f = *state;
	attach(f);
	for (size_t i = 0; i < WAYS - 1; i++)
		ways[i](f, "unknown");
	expect_counted(f, STINT_SOURCE_DATABASE, TALLY_ALLOWED, WAYS - 1);
	forget_all(f);
	fake_agent_lock(&f->agent);
	f->agent.verdict =
		(struct wire_verdict){.source = STINT_SOURCE_FALLBACK, .reason = STINT_OVER_LIMIT, .limit = 9};
	fake_agent_unlock(&f->agent);
	go_all_ways(f, "unknown");
	expect_counted(f, STINT_SOURCE_FALLBACK, TALLY_DENIED, WAYS);
}

static void the_process_decides_while_the_agent_is_away(void **state) {
	struct fixture *f = *state;
	attach(f);
	fake_agent_stop(&f->agent);
	go_all_ways(f, "c");
	uint64_t denied = counted(f, STINT_SOURCE_LOCAL, TALLY_DENIED); /* it may be back any moment */
	assert_int_equal(denied + counted(f, STINT_SOURCE_LOCAL, TALLY_ALLOWED), WAYS);
	assert_int_equal(counted_in_all(f), WAYS);
}

/* ---- Before there is an agent ------------------------------------------------------------- */

static void what_was_decided_before_is_counted_when_the_agent_comes(void **state) {
	struct fixture *f = *state;
	go_all_ways(f, "c");
	assert_int_equal(stint_check(f->api, "", 1, &f->r), STINT_ECLIENT);
	assert_int_equal(counted_in_all(f), 0);
	fake_agent_start(&f->agent);
	while (stint_check(f->api, "d", 1, &f->r) == 0 && f->r.source == STINT_SOURCE_LOCAL)
		f->again++;
	assert_int_equal(counted(f, STINT_SOURCE_LOCAL, TALLY_ALLOWED) + counted(f, STINT_SOURCE_LOCAL, TALLY_DENIED),
	                 WAYS + (size_t)f->again);
	assert_int_equal(counted(f, STINT_SOURCE_DATABASE, TALLY_ALLOWED), 1);
	assert_int_equal(counted_in_all(f), WAYS + (size_t)f->again + 1);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ECLIENT), 1);
}

static void a_child_does_not_count_what_its_parent_has_decided(void **state) {
	struct fixture *f = *state;
	by_check(f, "c");
	pid_t child = fork();
	if (child == 0) {
		by_check(f, "c");
		fake_agent_lock(&f->agent); /* it is the parent's that will answer */
		for (;;)
			if (stint_check(f->api, "d", 1, &f->r) != 0 || f->r.source != STINT_SOURCE_LOCAL)
				_exit(0);
			else
				f->agent.table.tallies[0].count[TALLY_COUNTS - 1]++; /* of these, how many */
	}
	fake_agent_start(&f->agent);
	assert_int_equal(waitpid(child, NULL, 0), child);
	uint64_t more = f->agent.table.tallies[0].count[TALLY_COUNTS - 1];
	assert_int_equal(counted_in_all(f), more + 2); /* the child's first check, and its last */
	while (stint_check(f->api, "d", 1, &f->r) == 0 && f->r.source == STINT_SOURCE_LOCAL)
		more++;
	assert_int_equal(counted_in_all(f), more + 4);
}

/* ---- What isn't counted, and what else is ------------------------------------------------------ */

static void only_checks_are_counted(void **state) {
	struct fixture *f = *state;
	struct slot *slot = attach(f);
	fake_slot_lease(slot, 0, 100, LATER, 0);
	assert_int_equal(stint_peek(f->api, "c", 1, &f->r), 0);
	assert_int_equal(stint_peek(f->api, "unknown", 1, &f->r), 0);
	assert_int_equal(stint_peek(f->api, "", 1, &f->r), STINT_ECLIENT);
	assert_int_equal(stint_peek_async(f->api, "unknown", 1, &f->r, count, f), 0);
	loop(f, 1);
	assert_int_equal(stint_try(f->api, "unknown", 1, &f->r), 0);
	assert_int_equal(stint_charge(f->api, "c", 1), 0);
	assert_int_equal(counted_in_all(f), 0);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ECLIENT), 0);
	by_check(f, "c");
	assert_int_equal(stint_refund(f->api, "c", 1, &f->r), 1);
	expect_counted(f, STINT_SOURCE_LEASE, TALLY_ALLOWED, 1);
}

static void errors_are_counted_by_their_kind(void **state) {
	struct fixture *f = *state;
	attach(f);
	assert_false(stint_is_allowed(f->api, ""));
	assert_int_equal(stint_check(f->api, "\xff", 1, &f->r), STINT_ECLIENT);
	assert_int_equal(stint_try(f->api, "", 1, &f->r), STINT_ECLIENT);
	assert_int_equal(stint_check_async(f->api, "", 1, &f->r, count, f), STINT_ECLIENT);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ECLIENT), 4);
	assert_int_equal(stint_check(f->api, "c", 0, &f->r), STINT_ERANGE);
	const struct stint_part parts[] = {{f->api, "c", STINT_STRING, 1, 0}, {f->api, "c", STINT_STRING, 1, 0}};
	assert_int_equal(stint_check_all(parts, 2, &f->r), STINT_ERANGE);
	assert_int_equal(stint_check_all_async(parts, 2, &f->r, count, f), STINT_ERANGE);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ERANGE), 3);
	assert_int_equal(counted_in_all(f), 0);
}

/* Its limiter is never bound, and yet the process is attached. */
static void an_error_of_a_policy_that_there_is_not_is_counted(void **state) {
	struct fixture *f = *state;
	fake_agent_lock(&f->agent);
	f->agent.declared_status = STINT_ENOPOLICY;
	fake_agent_unlock(&f->agent);
	assert_int_equal(stint_check(f->api, "", 1, &f->r), STINT_ECLIENT); /* before there is a table */
	assert_int_equal(stint_check(f->api, "c", 1, &f->r), STINT_ENOPOLICY);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ENOPOLICY), 1);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ECLIENT), 1);
	assert_int_equal(counted_in_all(f), 0);
}

/* It has no verdict, and yet is_allowed() must say something: so both are counted. */
static void what_is_decided_after_an_error_is_counted_too(void **state) {
	struct fixture *f = *state;
	attach(f);
	fake_agent_lock(&f->agent);
	f->agent.verdict = (struct wire_verdict){.status = STINT_EFULL};
	fake_agent_unlock(&f->agent);
	assert_true(stint_is_allowed(f->api, "unknown"));
	assert_int_equal(stint_check(f->api, "unknown", 1, &f->r), STINT_EFULL);
	assert_int_equal(fake_table_errors(table_of(f), STINT_EFULL), 2);
	expect_counted(f, STINT_SOURCE_LOCAL, TALLY_ALLOWED, 1);
}

/* Such a check decides after an error, too. */
static void what_is_decided_alone_is_counted(void **state) {
	struct fixture *f = *state;
	attach(f);
	assert_int_equal(stint_check_alone(f->api, "c", 1, &f->r), 0);
	assert_int_equal(stint_check_alone(f->api, "", 1, &f->r), STINT_ECLIENT);
	expect_counted(f, STINT_SOURCE_LOCAL, TALLY_ALLOWED, 1);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ECLIENT), 0); /* the check before was told that */
}

static void a_look_alone_is_not(void **state) {
	struct fixture *f = *state;
	attach(f);
	assert_int_equal(stint_peek_alone(f->api, "c", 1, &f->r), 0);
	assert_int_equal(stint_peek_alone(f->api, "", 1, &f->r), STINT_ECLIENT);
	assert_int_equal(counted_in_all(f), 0);
}

static void a_cancelled_check_is_an_error(void **state) {
	struct fixture *f = *state;
	attach(f);
	set(f, &f->agent.mute, true);
	assert_int_equal(stint_check_async(f->patient, "unknown", 1, &f->r, count, f), 0);
	assert_int_equal(stint_cancel(f->st, f->r.ticket), 1);
	assert_int_equal(f->called, 1);
	assert_int_equal(counted_in_all(f), 0);
	assert_int_equal(fake_table_errors(table_of(f), STINT_ECANCELED), 1);
}

/* ---- Several limiters ------------------------------------------------------------------------ */

static void an_admission_counts_for_each_part_and_a_denial_for_one(void **state) {
	struct fixture *f = *state;
	static const char *const ids[] = {"a", "b", "d"};
	struct stint_part parts[3];
	struct slot *slots[3];
	attach(f);
	for (int i = 0; i < 3; i++) {
		slots[i] = fake_table_put(&f->agent.table, 0, ids[i]);
		atomic_store(&slots[i]->hint, 0);
		fake_slot_lease(slots[i], 0, 10, LATER, 0);
		parts[i] = (struct stint_part){f->api, ids[i], STINT_STRING, 1, 0};
	}
	assert_int_equal(stint_check_all(parts, 3, &f->r), 0);
	assert_int_equal(stint_check_all_async(parts, 3, &f->r, count, f), 1);
	expect_counted(f, STINT_SOURCE_LEASE, TALLY_ALLOWED, 6);
	fake_slot_lease(slots[1], 0, 0, LATER, 0);
	fake_slot_deny(slots[1], 1, LATER, 0, HINT);
	assert_int_equal(stint_check_all(parts, 3, &f->r), 0);
	assert_false(f->r.allowed);
	assert_int_equal(counted(f, STINT_SOURCE_LEASE, TALLY_ALLOWED), 6);
	assert_int_equal(counted(f, STINT_SOURCE_LEASE, TALLY_DENIED), 1);
	set_shadow(f, 1);
	assert_int_equal(stint_check_all(parts, 3, &f->r), 0);
	assert_int_equal(counted(f, STINT_SOURCE_LEASE, TALLY_ALLOWED), 8);
	assert_int_equal(counted(f, STINT_SOURCE_LEASE, TALLY_SHADOW_DENIED), 1);
	assert_int_equal(counted_in_all(f), 10);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(leases_admit),
		TEST(the_fallback_admits),
		TEST(the_table_denies),
		TEST(a_shadow_would_deny),
		TEST(whom_the_table_denies_is_noted),
		TEST(whom_the_agent_denies_is_not),
		TEST(the_agent_decides),
		TEST(the_process_decides_while_the_agent_is_away),
		TEST_ABSENT(what_was_decided_before_is_counted_when_the_agent_comes),
		TEST_ABSENT(a_child_does_not_count_what_its_parent_has_decided),
		TEST(only_checks_are_counted),
		TEST(errors_are_counted_by_their_kind),
		TEST(an_error_of_a_policy_that_there_is_not_is_counted),
		TEST(what_is_decided_after_an_error_is_counted_too),
		TEST(what_is_decided_alone_is_counted),
		TEST(a_look_alone_is_not),
		TEST(a_cancelled_check_is_an_error),
		TEST(an_admission_counts_for_each_part_and_a_denial_for_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
