/*
 * test_audit.c - what apps have counted is handed in by the minute, each check once, whatever happens to clock,
 * database and agent.
 */
#include "agent_fixture.h"
#include "logged.h"

#define STRIPES   5u
#define MINUTE    INT64_C(60000000000)
#define OFFSET_US (INT64_C(29000000) * 60 * 1000000)

#define SPREAD (30 * NS_PER_S)

static struct tallies tallies;
static int64_t now_ns;

static int begin_counting(void **state) {
	if (begin(state) != 0)
		return -1;
	tallies.stripes = STRIPES;
	size_t size = ((POLICY_CAPACITY + 1) * STRIPES + POLICY_CAPACITY) * sizeof(struct tally);
	tallies.rows = fake_memory(size);
	agent.policies.tallies = tallies;
	now_ns = 100 * MINUTE + NS_PER_S;
	return 0;
}

static int end_counting(void **state) {
	free(tallies.rows);
	return end(state);
}

static void decides(int policy, unsigned source, enum tally_outcome outcome, uint64_t count) {
	struct tally *row = &tallies.rows[(size_t)policy * STRIPES];
	atomic_fetch_add(&row[count % STRIPES].count[tally_place(source, outcome)], count);
}

static void denies(uint64_t count) {
	decides(0, STINT_SOURCE_LEASE, TALLY_DENIED, count);
}

static void tick_by(int64_t clock_offset_us) {
	audit_tick(&agent.audit, now_ns, clock_offset_us);
}

static void tick(void) {
	tick_by(OFFSET_US);
}

/* Until after the end of the minute, and as long as it may be spread over. */
static void a_minute_passes(void) {
	now_ns += MINUTE;
	tick();
	now_ns += SPREAD;
	tick();
	now_ns -= SPREAD;
}

static void answers_report(enum lease_outcome outcome) {
	database_ended *done = decisions_reported;
	assert_non_null(done);
	decisions_reported = NULL;
	done(&agent.audit, outcome);
}

/* All that has been reported of denials by leases, each row once. */
struct seen {
	int64_t minute;
	int run;
	int64_t denied;
};
static struct seen seen[1000];
static size_t seen_count;

static void note(const struct database_decision *row) {
	for (size_t i = 0; i < seen_count; i++)
		if (seen[i].minute == row->minute && seen[i].run == said.run) {
			seen[i].denied = max64(seen[i].denied, row->denied);
			return;
		}
	seen[seen_count++] = (struct seen){row->minute, said.run, row->denied};
}

static int64_t all_seen(void) {
	int64_t sum = 0;
	for (size_t i = 0; i < seen_count; i++)
		sum += seen[i].denied;
	return sum;
}

static void records(void) {
	for (size_t i = 0; i < said.count; i++)
		note(&said.row[i]);
	answers_report(LEASE_DONE);
}

static void a_minute_is_handed_in_after_its_end(void **state) {
	(void)state;
	meets("00000001", -1);
	tick();
	denies(3);
	decides(0, STINT_SOURCE_DATABASE, TALLY_ALLOWED, 4);
	decides(0, STINT_SOURCE_DATABASE, TALLY_SHADOW_DENIED, 5);
	now_ns += MINUTE - NS_PER_S - 1;
	tick();
	assert_int_equal(decision_reports, 0);
	now_ns -= MINUTE - NS_PER_S - 1;
	a_minute_passes();
	assert_int_equal(decision_reports, 1);
	assert_int_equal(said.count, 2);
	assert_int_equal(said.row[0].minute, 29000100);
	assert_string_equal(said.row[0].policy, "api");
	assert_int_equal(said.row[0].source, STINT_SOURCE_LEASE);
	assert_int_equal(said.row[0].denied, 3);
	assert_int_equal(said.row[0].allowed + said.row[0].shadow_denied, 0);
	assert_int_equal(said.row[1].source, STINT_SOURCE_DATABASE);
	assert_int_equal(said.row[1].allowed, 4);
	assert_int_equal(said.row[1].shadow_denied, 5);
	assert_in_range(said.run, 0, INT16_MAX);
}

static void a_minute_without_decisions_is_not(void **state) {
	(void)state;
	meets("00000001", -1);
	tick();
	a_minute_passes();
	a_minute_passes();
	assert_int_equal(decision_reports, 0);
}

static void hosts_dont_come_together(void **state) {
	(void)state;
	int64_t first = INT64_MAX, last = 0;
	meets("00000001", -1);
	tick();
	for (int i = 0; i < 100; i++) {
		now_ns += MINUTE;
		tick();
		int64_t wait_ns = agent.audit.due_ns == INT64_MAX ? 0 : agent.audit.due_ns - now_ns; /* it was at once */
		first = min64(first, wait_ns);
		last = max64(last, wait_ns);
	}
	assert_true(first >= 0 && first < 5 * NS_PER_S);
	assert_true(last <= 30 * NS_PER_S && last > 25 * NS_PER_S);
}

static void an_outage_delays_it_and_no_more(void **state) {
	(void)state;
	seen_count = 0;
	meets("00000001", -1);
	tick();
	loses();
	for (int i = 0; i < 300; i++) {
		denies(2);
		a_minute_passes();
	}
	assert_int_equal(decision_reports, 0);
	meets("00000001", -1);
	now_ns += SPREAD;
	for (int i = 0; i < 10; i++) {
		now_ns += NS_PER_S;
		tick();
		if (decisions_reported)
			records();
	}
	assert_int_equal(decision_reports, 5);
	assert_int_equal(all_seen(), 600);
	assert_int_equal(seen_count, 300);
}

static void a_statement_without_an_answer_is_repeated_alike(void **state) {
	(void)state;
	meets("00000001", -1);
	tick();
	denies(3);
	a_minute_passes();
	denies(4);
	answers_report(LEASE_UNKNOWN);
	now_ns += NS_PER_S;
	tick();
	assert_int_equal(decision_reports, 1); /* not at once */
	a_minute_passes();
	assert_int_equal(decision_reports, 2);
	assert_int_equal(said.row[0].minute, 29000100);
	assert_int_equal(said.row[0].denied, 3);
	assert_int_equal(said.row[1].denied, 4);
}

/* Of seven denials three are recorded. */
static void the_first_three_are_recorded(void) {
	seen_count = 0;
	meets("00000001", -1);
	tick();
	denies(3);
	a_minute_passes();
	records();
	denies(4);
}

/* What an agent was not told to be recorded, the next one hands in; what was, it doesn't. */
static void the_next_agent_goes_on(void **state) {
	(void)state;
	the_first_three_are_recorded();
	audit_free(&agent.audit);
	agent.audit =
		(struct audit){.driver = &agent.driver, .sync = &agent.sync, .witness = {.policies = &agent.policies}};
	denies(5);
	tick();
	a_minute_passes();
	records();
	assert_int_equal(all_seen(), 12);
}

static void who_stops_hands_in_what_there_is(void **state) {
	(void)state;
	the_first_three_are_recorded();
	audit_finish(&agent.audit, now_ns);
	records();
	assert_int_equal(all_seen(), 7);
	denies(5);
	audit_finish(&agent.audit, now_ns);
	records(); /* of the same minute, counted apart */
	assert_int_equal(all_seen(), 12);
}

static void before_the_clock_is_known_nothing_is_handed_in(void **state) {
	(void)state;
	seen_count = 0;
	meets("00000001", -1);
	for (int i = 0; i < 3; i++) {
		tick_by(0);
		denies(2);
		now_ns += MINUTE;
	}
	tick_by(0);
	assert_int_equal(decision_reports, 0);
	tick_by(OFFSET_US + 7000000);
	now_ns += 2 * MINUTE;
	tick_by(0); /* the offset stays known while there is no connection */
	now_ns += SPREAD;
	tick_by(0);
	records();
	assert_int_equal(all_seen(), 6);
	assert_int_equal(seen_count, 3);
	for (size_t i = 0; i < seen_count; i++)
		assert_int_equal(seen[i].minute, 29000100 + i);
}

/* The same minutes come again. */
static void a_clock_that_is_set_back_loses_and_doubles_nothing(void **state) {
	(void)state;
	seen_count = 0;
	meets("00000001", -1);
	int64_t offset_us = OFFSET_US, sum = 0;
	for (int i = 0; i < 20; i++) {
		tick_by(offset_us);
		denies((uint64_t)i + 1);
		sum += i + 1;
		now_ns += MINUTE;
		if (i == 10)
			offset_us -= INT64_C(5) * 60 * 1000000;
	}
	for (int i = 0; i < 20; i++, now_ns += SPREAD) {
		tick_by(offset_us);
		if (decisions_reported)
			records();
	}
	assert_int_equal(all_seen(), sum);
}

static void an_edge_that_is_met_twice_is_one_minute(void **state) {
	(void)state;
	meets("00000001", -1);
	tick();
	int run = agent.audit.run;
	now_ns += MINUTE - NS_PER_S;
	tick_by(OFFSET_US);
	assert_int_equal(agent.audit.minute, 29000101);
	tick_by(OFFSET_US - 1000);
	assert_int_equal(agent.audit.minute, 29000101);
	assert_int_equal(agent.audit.run, run);
}

static void a_policy_that_leaves_is_counted_to_the_end(void **state) {
	(void)state;
	struct policy_row other = api;
	meets("00000001", -1);
	tick();
	denies(3);
	audit_policy_leaves(&agent.audit, 0);
	strcpy(other.name, "other");
	policies_replace(&agent.policies, 0, &other);
	denies(4);
	a_minute_passes();
	assert_string_equal(said.row[0].policy, "api");
	assert_int_equal(said.row[0].denied, 3);
	answers_report(LEASE_DONE);
	now_ns += SPREAD;
	tick();
	assert_string_equal(said.row[0].policy, "other");
	assert_int_equal(said.row[0].denied, 4);
	answers_report(LEASE_DONE);
	/* What was recorded of the old one is not taken for the new one's. */
	assert_int_equal(tallies_handed_in(&tallies, 0, STINT_SOURCE_LEASE, TALLY_DENIED), 4);
}

/* An app that declares too many policies makes them leave again and again. */
static void no_row_is_counted_twice_in_a_minute(void **state) {
	(void)state;
	meets("00000001", -1);
	tick();
	for (int i = 0; i < 2000; i++) {
		denies(1);
		audit_policy_leaves(&agent.audit, 0);
		policies_replace(&agent.policies, 0, &api);
	}
	const struct decisions *decisions = &agent.audit.decisions;
	assert_int_equal(decisions->count, 2000);
	for (size_t i = 0; i < decisions->count; i++)
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(decisions->rows[i].run, decisions->rows[j].run);
}

static void whoever_scribbles_makes_wrong_numbers_and_no_more(void **state) {
	(void)state;
	meets("00000001", -1);
	tick();
	denies(5);
	a_minute_passes();
	answers_report(LEASE_DONE);
	struct tally *row = tallies.rows;
	for (unsigned i = 0; i < STRIPES; i++)
		atomic_store(&row[i].count[tally_place(STINT_SOURCE_LEASE, TALLY_DENIED)], 0);
	denies(2);
	a_minute_passes();
	atomic_store(&row->count[tally_place(STINT_SOURCE_LEASE, TALLY_DENIED)], UINT64_MAX / 2 + 100);
	a_minute_passes();
	for (size_t i = 0; i < said.count; i++)
		assert_true(said.row[i].denied >= 0);
}

static void is_denied(const char *id) {
	const struct core_denied denied = {.id = id, .id_len = (uint8_t)strlen(id), .by = CORE_DENIED_BY_BLOCK};
	driver_io.denied(&agent.driver, &denied);
}

static void clients_are_handed_in_every_five_minutes(void **state) {
	(void)state;
	meets("00000001", -1);
	is_denied("too early: the hour isn't known");
	tick();
	for (int i = 0; i < 3; i++)
		is_denied("anna");
	now_ns += 5 * MINUTE;
	tick();
	assert_int_equal(denial_reports, 1);
	assert_int_equal(accused.count, 1);
	assert_string_equal(accused.client[0], "anna");
	assert_string_equal(accused.row[0].policy, "api");
	assert_int_equal(accused.row[0].reason, CORE_DENIED_BY_BLOCK);
	assert_int_equal(accused.row[0].denied, 3);
	assert_int_equal(accused.row[0].hour, 29000100 / 60);
	denials_reported(&agent.audit, LEASE_DONE);
	is_denied("berta");
	now_ns += NS_PER_S;
	tick();
	assert_int_equal(denial_reports, 2); /* as long as there are more, with each tick */
	denials_reported(&agent.audit, LEASE_UNKNOWN);
	tick();
	assert_int_equal(denial_reports, 2);
	now_ns += 11 * NS_PER_S;
	tick();
	assert_int_equal(denial_reports, 3);
	assert_string_equal(accused.client[0], "berta");
	denials_reported(&agent.audit, LEASE_DONE);
	tick();
	assert_int_equal(denial_reports, 3);
	now_ns += 5 * MINUTE;
	tick();
	assert_int_equal(accused.count, 2); /* once more */
}

/* Whichever: that one may come back within the hour. */
static void policies_that_leave_part_no_clients_denials(void **state) {
	(void)state;
	meets("00000001", -1);
	tick();
	for (int i = 0; i < 3; i++) {
		is_denied("anna");
		audit_policy_leaves(&agent.audit, i % 2);
		if (i % 2 == 0)
			policies_replace(&agent.policies, 0, &api);
	}
	now_ns += 5 * MINUTE;
	tick();
	assert_int_equal(accused.count, 1);
	assert_int_equal(accused.row[0].denied, 3);
}

static void denials_refused_by_the_database(void) {
	now_ns += 11 * NS_PER_S;
	tick();
	denials_reported(&agent.audit, LEASE_REJECTED);
}

static void a_refusal_is_logged_once(void **state) {
	(void)state;
	meets("00000001", -1);
	tick();
	is_denied("anna");
	now_ns += 5 * MINUTE;
	log_is_read();
	denials_refused_by_the_database();
	denials_refused_by_the_database();
	expect_logged_once("who was denied can't be recorded");
	log_is_read_no_more();
	assert_int_equal(denial_reports, 2);
}

static void who_stops_hands_in_its_clients(void **state) {
	(void)state;
	char id[16];
	meets("00000001", -1);
	tick();
	for (int i = 0; i < (int)DENIALS_CLIENTS; i++) {
		snprintf(id, sizeof(id), "c%d", i);
		is_denied(id);
	}
	audit_finish(&agent.audit, now_ns);
	assert_int_equal(denial_reports, 1);
	assert_int_equal(accused.count, DENIALS_CLIENTS);
}

static void in_memory_there_is_nobody_to_tell(void **state) {
	(void)state;
	agent.driver.database = NULL;
	tick();
	denies(1);
	a_minute_passes();
	audit_finish(&agent.audit, now_ns);
	assert_int_equal(decision_reports, 0);
	assert_int_equal(agent.audit.decisions.count, 0);
	agent.driver.database = &the_database;
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_counting, end_counting)

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(a_minute_is_handed_in_after_its_end),
		TEST(a_minute_without_decisions_is_not),
		TEST(hosts_dont_come_together),
		TEST(an_outage_delays_it_and_no_more),
		TEST(a_statement_without_an_answer_is_repeated_alike),
		TEST(the_next_agent_goes_on),
		TEST(who_stops_hands_in_what_there_is),
		TEST(before_the_clock_is_known_nothing_is_handed_in),
		TEST(a_clock_that_is_set_back_loses_and_doubles_nothing),
		TEST(an_edge_that_is_met_twice_is_one_minute),
		TEST(a_policy_that_leaves_is_counted_to_the_end),
		TEST(no_row_is_counted_twice_in_a_minute),
		TEST(whoever_scribbles_makes_wrong_numbers_and_no_more),
		TEST(clients_are_handed_in_every_five_minutes),
		TEST(policies_that_leave_part_no_clients_denials),
		TEST(a_refusal_is_logged_once),
		TEST(who_stops_hands_in_its_clients),
		TEST(in_memory_there_is_nobody_to_tell),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
