/*
 * test_driver.c - what apps send is checked before the core has it, what the core is told of statements, and when
 * it is called next.
 */
#include "agent_fixture.h"

static uint32_t number(void) {
	return policies_number(&agent.policies, 0);
}

/* Of an app that numbers its requests: this is the 70th. */
static void wants_within(uint32_t policy, const char *id, size_t length, uint32_t cost, uint32_t timeout_ms) {
	const struct wire_want want = {.head = {.type = WIRE_WANT, .serial = 70},
	                               .policy = policy,
	                               .cost = cost,
	                               .timeout_ms = timeout_ms};
	driver_on_want(&agent.driver, 7, &want, id, length);
}

static void wants(uint32_t policy, const char *id, size_t length, uint32_t cost) {
	wants_within(policy, id, length, cost, 5000);
}

static void runs_low(uint32_t policy, const char *id, size_t length) {
	const struct wire_low low = {.head = {.type = WIRE_LOW}, .policy = policy};
	driver_on_low(&agent.driver, &low, id, length);
}

/* It is told at once: the core has never heard of it. */
static void expect_refused(int status) {
	struct outbox *outbox = &agent.driver.outbox;
	assert_int_equal(outbox->count, 1);
	assert_int_equal(outbox->entries[0].peer, 7);
	assert_int_equal(outbox->entries[0].verdict.head.serial, 70);
	assert_int_equal(outbox->entries[0].verdict.status, status);
	assert_false(outbox->entries[0].verdict.allowed);
	assert_int_equal(core_counters(agent.driver.core)->wants, 0);
	assert_int_equal(agent.policies.policy[0].used_ns, 0);
	outbox_free(outbox);
}

/* ---- Apps ----------------------------------------------------------------------------------- */

static void what_no_library_asks_is_refused(void **state) {
	(void)state;
	wants(number() + 1, "anna", 4, 1);
	expect_refused(STINT_ENOPOLICY);
	wants(policy_number_make(0, 1), "anna", 4, 1); /* another policy had its place before */
	expect_refused(STINT_ENOPOLICY);
	wants(number(), "an\0na", 5, 1);
	expect_refused(STINT_ECLIENT);
	wants(number(), "anna", 4, 0);
	expect_refused(STINT_ERANGE);
	wants(number(), "anna", 4, STINT_MAX_REQUESTS_MAX + 1);
	expect_refused(STINT_ERANGE);
}

static void the_least_and_the_largest_cost_are_for_the_core(void **state) {
	int64_t before_ns = monotonic_now_ns();
	(void)state;
	wants(number(), "anna", 4, 1);
	wants(number(), "anna", 4, STINT_MAX_REQUESTS_MAX);
	assert_int_equal(agent.driver.outbox.count, 0);
	assert_int_equal(core_counters(agent.driver.core)->wants, 2);
	assert_in_range(agent.policies.policy[0].used_ns, before_ns, monotonic_now_ns());
}

static void a_hint_is_taken_only_for_an_id_that_is_text(void **state) {
	(void)state;
	runs_low(number(), "an\0na", 5);
	runs_low(number() + 1, "anna", 4);
	assert_int_equal(core_counters(agent.driver.core)->lows, 0);
	runs_low(number(), "anna", 4);
	assert_int_equal(core_counters(agent.driver.core)->lows, 1);
}

/* In milliseconds. (Whose time is up gets no verdict.) */
static void who_waits_does_so_for_as_long_as_it_says(void **state) {
	(void)state;
	int64_t now_ns = monotonic_now_ns();
	wants_within(number(), "anna", 4, 1, 1000);
	core_database_down(agent.driver.core, now_ns + 500 * MS);
	core_advance(agent.driver.core, now_ns + 500 * MS);
	assert_int_equal(verdicts, 1);
}

static void and_no_longer(void **state) {
	(void)state;
	int64_t now_ns = monotonic_now_ns();
	wants_within(number(), "anna", 4, 1, 1000);
	core_database_down(agent.driver.core, now_ns + 5000 * MS);
	core_advance(agent.driver.core, now_ns + 5000 * MS);
	assert_int_equal(verdicts, 0);
}

static void wants_since(uint32_t ms, uint16_t flags) {
	const struct wire_want want = {.head = {.type = WIRE_WANT, .flags = flags, .serial = 70},
	                               .policy = number(),
	                               .cost = 1,
	                               .timeout_ms = 1000,
	                               .sent_ms = (uint32_t)(monotonic_now_ns() / MS) - ms};
	driver_on_want(&agent.driver, 7, &want, "anna", 4);
}

/* It was sent while this agent was stopped. What it took would be lost. */
static void nothing_is_taken_for_whom_has_given_up(void **state) {
	(void)state;
	wants_since(30000, 0);
	wants_since(30000, WIRE_WANT_PROVIDE);
	assert_int_equal(core_counters(agent.driver.core)->wants, 0);
	wants_since(30000, WIRE_WANT_PROVIDE | WIRE_WANT_LOOK); /* it takes nothing */
	wants_since(0, 0);
	wants_since((uint32_t)-500, 0); /* a clock that is a little ahead */
	assert_int_equal(core_counters(agent.driver.core)->wants, 3);
}

static void what_was_sent_a_while_ago_waits_so_much_less(void **state) {
	(void)state;
	int64_t now_ns = monotonic_now_ns();
	wants_since(600, 0);
	core_database_down(agent.driver.core, now_ns + 500 * MS);
	core_advance(agent.driver.core, now_ns + 500 * MS);
	assert_int_equal(verdicts, 0);
}

static void nobody_waits_for_ever(void **state) {
	(void)state;
	int64_t now_ns = monotonic_now_ns();
	wants_within(number(), "anna", 4, 1, UINT32_MAX);
	core_database_down(agent.driver.core, now_ns + 2 * STINT_TIMEOUT_MS_MAX * MS);
	core_advance(agent.driver.core, now_ns + 2 * STINT_TIMEOUT_MS_MAX * MS);
	assert_int_equal(verdicts, 0);
}

/* ---- Verdicts ------------------------------------------------------------------------------- */

static void all_of_a_verdict_is_sent(void **state) {
	static const struct core_verdict told = {.allowed = true,
	                                         .source = STINT_SOURCE_DATABASE,
	                                         .reason = STINT_COST_ABOVE_LIMIT,
	                                         .deadline_ns = 11,
	                                         .limit = 12,
	                                         .remaining = 13,
	                                         .retry_after_ms = 14,
	                                         .reset_after_ms = 15};
	(void)state;
	driver_io.verdict(&agent.driver, 7, 70, &told);
	const struct wire_verdict *sent = &agent.driver.outbox.entries[0].verdict;
	assert_int_equal(sent->head.type, WIRE_VERDICT);
	assert_int_equal(sent->head.serial, 70);
	assert_int_equal(sent->allowed, true);
	assert_int_equal(sent->source, STINT_SOURCE_DATABASE);
	assert_int_equal(sent->reason, STINT_COST_ABOVE_LIMIT);
	assert_int_equal(sent->deadline_ns, 11);
	assert_int_equal(sent->limit, 12);
	assert_int_equal(sent->remaining, 13);
	assert_int_equal(sent->retry_after_ms, 14);
	assert_int_equal(sent->reset_after_ms, 15);
	outbox_free(&agent.driver.outbox);
}

/* ---- Statements ----------------------------------------------------------------------------- */

static struct lease_request asked = {.policy_id = 9,
                                     .client_id = "anna",
                                     .client_id_len = 4,
                                     .need = 1,
                                     .want = 1};

/* A batch is sent as the driver sends it, for an app that waits. */
static void sends_a_batch(void) {
	int64_t now_ns = monotonic_now_ns();
	meets("00000001", -1);
	wants(number(), "anna", 4, 1);
	core_advance(agent.driver.core, now_ns);
	assert_int_equal(takes, 1);
	agent.driver.taken_ns = 0;
	driver_io.take(&agent.driver, 3, &asked, 1);
	assert_in_range(agent.driver.taken_ns, now_ns, monotonic_now_ns());
	assert_non_null(taken);
}

static void what_was_granted_is_told_at_once(void **state) {
	struct lease_grant grant = {.answered = true, .granted = 1, .max_requests = 100, .valid_us = 400000};
	(void)state;
	sends_a_batch();
	taken(taken_context, LEASE_DONE, &grant, 1);
	assert_int_equal(verdicts, 1);
	assert_true(verdict.allowed);
}

/* Nobody knows yet whether the tables are locked, or one client's row. */
static void a_batch_that_met_a_lock_is_kept(void **state) {
	(void)state;
	sends_a_batch();
	met_a_lock = true;
	taken(taken_context, LEASE_REJECTED, NULL, 0);
	assert_non_null(awaited);
	core_advance(agent.driver.core, monotonic_now_ns());
	assert_int_equal(core_counters(agent.driver.core)->busy, 0);
}

static void another_that_is_refused_is_for_the_core(void **state) {
	(void)state;
	sends_a_batch();
	taken(taken_context, LEASE_REJECTED, NULL, 0);
	assert_null(awaited);
	assert_int_equal(core_counters(agent.driver.core)->busy, 1);
	core_advance(agent.driver.core, monotonic_now_ns());
	assert_int_equal(takes, 2);
}

/* Its connection may have been lost, which is heard of next: until then it is not sent again. */
static void one_without_an_answer_is_not_sent_again_at_once(void **state) {
	(void)state;
	sends_a_batch();
	met_a_lock = true;
	taken(taken_context, LEASE_UNKNOWN, NULL, 0);
	assert_null(awaited);
	assert_int_equal(takes, 1);
	loses();
	assert_int_equal(takes, 1);
}

/* ---- The core's time ------------------------------------------------------------------------ */

static bool is_planned(void) {
	return event_pending(agent.driver.wakeup, EV_TIMEOUT, NULL);
}

/* Until it is called. */
static int64_t left_ms(void) {
	struct timeval at, now;
	assert_true(event_pending(agent.driver.wakeup, EV_TIMEOUT, &at));
	gettimeofday(&now, NULL);
	return (at.tv_sec - now.tv_sec) * 1000 + (at.tv_usec - now.tv_usec) / 1000;
}

static void has_grace(int64_t ns) {
	static const struct core_io io = {.take = on_take, .verdict = on_verdict};
	const struct core_options options = {.grace_ns = ns, .idle_timeout_ns = 60000 * MS};
	core_free(agent.driver.core);
	assert_int_equal(core_new(&agent.driver.core, &table.table, monotonic_now_ns(), &options, &io, NULL), 0);
}

static void it_is_called_when_it_has_planned_something(void **state) {
	(void)state;
	has_grace(900 * MS);
	driver_pump(&agent.driver);
	assert_true(left_ms() < 10000);
	has_grace(3600900 * MS);
	driver_pump(&agent.driver);
	assert_in_range(left_ms(), 3590000, 3660000);
}

static void is_in_step(void) {
	meets("00000001", -1);
	while (core_is_walking(agent.driver.core))
		driver_pump(&agent.driver);
	driver_pump(&agent.driver);
}

static void it_is_left_alone_when_there_is_nothing_to_do(void **state) {
	(void)state;
	driver_pump(&agent.driver);
	assert_true(is_planned());
	is_in_step();
	assert_false(is_planned());
}

/* Other events have their turn in between. */
static void after_many_verdicts_it_is_called_at_once(void **state) {
	static const struct core_verdict denied = {.source = STINT_SOURCE_DATABASE};
	(void)state;
	is_in_step();
	for (uint32_t serial = 0; serial < 2500; serial++)
		driver_io.verdict(&agent.driver, 7, serial, &denied);
	driver_pump(&agent.driver);
	assert_int_equal(agent.driver.outbox.sent, 1000);
	assert_true(left_ms() < 100);
	driver_pump(&agent.driver);
	driver_pump(&agent.driver);
	assert_int_equal(agent.driver.outbox.count, 0);
	assert_false(is_planned());
	outbox_free(&agent.driver.outbox);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(what_no_library_asks_is_refused),
		TEST(the_least_and_the_largest_cost_are_for_the_core),
		TEST(a_hint_is_taken_only_for_an_id_that_is_text),
		TEST(who_waits_does_so_for_as_long_as_it_says),
		TEST(and_no_longer),
		TEST(nobody_waits_for_ever),
		TEST(nothing_is_taken_for_whom_has_given_up),
		TEST(what_was_sent_a_while_ago_waits_so_much_less),
		TEST(all_of_a_verdict_is_sent),
		TEST(what_was_granted_is_told_at_once),
		TEST(a_batch_that_met_a_lock_is_kept),
		TEST(another_that_is_refused_is_for_the_core),
		TEST(one_without_an_answer_is_not_sent_again_at_once),
		TEST(it_is_called_when_it_has_planned_something),
		TEST(it_is_left_alone_when_there_is_nothing_to_do),
		TEST(after_many_verdicts_it_is_called_at_once),
	};
	return cmocka_run_group_tests_name("driver", tests, NULL, NULL);
}
