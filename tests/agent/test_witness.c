/*
 * test_witness.c - which clients are denied is known: of those that the agent denies itself, and of those that
 * apps deny by the table, each of which says who was the last.
 */
#include "agent_fixture.h"
#include "witness.h"

#define STRIPES 3u

static struct witness witness;
static struct tally *row; /* of policy 0 */
static struct {
	char client[256];
	uint64_t count;
	double variance;
	uint8_t reason;
} told;
static unsigned tellings;

static void tell(void *context, const struct denial *denial) {
	(void)context;
	assert_string_equal(denial->policy, "api");
	snprintf(told.client, sizeof(told.client), "%.*s", denial->client_id_len, denial->client_id);
	told.count = denial->count;
	told.variance = denial->variance;
	told.reason = denial->reason;
	tellings++;
}

static void on_denied(void *context, const struct core_denied *denied) {
	(void)context;
	snprintf(told.client, sizeof(told.client), "%.*s", denied->id_len, denied->id);
	told.reason = (uint8_t)denied->by;
	tellings++;
}

static void look(void) {
	tellings = 0;
	witness_look(&witness, agent.driver.core, monotonic_now_ns(), tell, NULL);
}

static int begin_watching(void **state) {
	if (begin(state) != 0)
		return -1;
	/* One that tells of denials. */
	const struct core_io io = {.take = on_take, .verdict = on_verdict, .denied = on_denied};
	const struct core_options options = {.memory_only = true, .idle_timeout_ns = 60000 * MS};
	core_free(agent.driver.core);
	assert_int_equal(core_new(&agent.driver.core, &table.table, monotonic_now_ns(), &options, &io, NULL), 0);
	driver_apply_policy(&agent.driver, 0, true);
	size_t size = ((POLICY_CAPACITY + 1) * STRIPES + POLICY_CAPACITY) * sizeof(struct tally);
	row = fake_memory(size);
	agent.policies.tallies = (struct tallies){.rows = row, .stripes = STRIPES};
	witness = (struct witness){.policies = &agent.policies};
	tellings = 0;
	return 0;
}

static int end_watching(void **state) {
	witness_free(&witness);
	free(row);
	return end(state);
}

static void wants(const char *id, uint32_t cost) {
	int64_t now_ns = monotonic_now_ns();
	core_want(agent.driver.core, now_ns, 1, 1, 0, id, (uint8_t)strlen(id), cost, now_ns + 1000 * MS);
	core_advance(agent.driver.core, now_ns);
}

/* Uses up its limit. Returns its slot. */
static uint32_t is_denied(const char *id) {
	wants(id, 100);
	wants(id, 1);
	assert_false(verdict.allowed);
	uint32_t slot = app_find(&table, policies_number(&agent.policies, 0), id, strlen(id));
	assert_true(slot != TABLE_NO_SLOT);
	return slot;
}

/* An app on this CPU denies so often, this client last. */
static void denies(unsigned cpu, enum tally_outcome outcome, uint64_t count, uint64_t last) {
	atomic_fetch_add(&row[cpu].count[tally_place(STINT_SOURCE_LEASE, outcome)], count);
	atomic_store(&row[cpu].count[TALLY_LAST_DENIED], last);
}

static void whom_the_agent_denies_it_knows(void **state) {
	(void)state;
	is_denied("anna");
	assert_int_equal(tellings, 1);
	assert_string_equal(told.client, "anna");
	assert_int_equal(told.reason, CORE_DENIED_BY_LIMIT);
	wants("berta", 1);
	assert_true(verdict.allowed);
	assert_int_equal(tellings, 1);
}

/* An app that asks for several limits notes that in the table. */
static void whom_the_table_denies_to_a_taker_isnt_told(void **state) {
	(void)state;
	int64_t now_ns = monotonic_now_ns();
	is_denied("anna");
	tellings = 0;
	core_provide(agent.driver.core, now_ns, 1, 1, 0, "anna", 4, 1, now_ns + 1000 * MS);
	assert_false(verdict.allowed);
	assert_int_equal(tellings, 0);
}

static void whom_apps_deny_is_told_by_the_last(void **state) {
	(void)state;
	uint32_t anna = is_denied("anna"), berta = is_denied("berta");
	look();
	assert_int_equal(tellings, 0);
	denies(0, TALLY_DENIED, 10, anna + 1);
	look();
	assert_int_equal(tellings, 1);
	assert_string_equal(told.client, "anna");
	assert_int_equal(told.count, 10);
	assert_true(told.variance == 81); /* of the last one it is certain */
	assert_int_equal(told.reason, CORE_DENIED_BY_LIMIT);
	look();
	assert_int_equal(tellings, 0);
	denies(2, TALLY_SHADOW_DENIED, 1, berta + 1);
	look();
	assert_int_equal(tellings, 1);
	assert_string_equal(told.client, "berta");
	assert_true(told.variance == 0);
}

static void admissions_are_nobodys(void **state) {
	(void)state;
	uint32_t anna = is_denied("anna");
	look();
	denies(0, TALLY_ALLOWED, 10, anna + 1);
	look();
	assert_int_equal(tellings, 0);
}

static void what_was_before_is_nobodys(void **state) {
	(void)state;
	uint32_t anna = is_denied("anna");
	denies(0, TALLY_DENIED, 10, anna + 1);
	look();
	assert_int_equal(tellings, 0);
	denies(0, TALLY_DENIED, 2, anna + 1);
	look();
	assert_int_equal(told.count, 2);
}

/* Its counts began with it. */
static void a_policy_that_comes_later_is_known_from_its_beginning(void **state) {
	(void)state;
	uint32_t anna = is_denied("anna");
	look();
	agent.policies.policy[0].generation++;
	denies(0, TALLY_DENIED, 10, anna + 1);
	look();
	assert_int_equal(tellings, 1);
	assert_string_equal(told.client, "anna");
	assert_int_equal(told.count, 10);
	look();
	assert_int_equal(tellings, 0);
}

/* An older library leaves 0 there; and anybody may write anything. */
static void what_cant_be_is_nobodys(void **state) {
	(void)state;
	const uint64_t wrong[] = {0, UINT32_MAX, UINT64_MAX, (uint64_t)UINT32_MAX + 2, table.table.slot_count + 1};
	is_denied("anna");
	look();
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		denies(0, TALLY_DENIED, 1, wrong[i]);
		look();
		assert_int_equal(tellings, 0);
	}
	for (uint32_t slot = 0; slot < table.table.slot_count; slot++) {
		denies(0, TALLY_DENIED, 1, slot + 1);
		look();
		assert_true(tellings == 0 || strcmp(told.client, "anna") == 0);
	}
}

static void another_policys_client_is_not_meant(void **state) {
	(void)state;
	struct policy_row other = api;
	strcpy(other.name, "other");
	uint32_t anna = is_denied("anna");
	assert_int_equal(policies_add(&agent.policies, &other), 1);
	look();
	atomic_store(&row[STRIPES].count[tally_place(STINT_SOURCE_LEASE, TALLY_DENIED)], 5);
	atomic_store(&row[STRIPES].count[TALLY_LAST_DENIED], anna + 1);
	look();
	assert_int_equal(tellings, 0);
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_watching, end_watching)

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(whom_the_agent_denies_it_knows),      TEST(whom_the_table_denies_to_a_taker_isnt_told),
		TEST(whom_apps_deny_is_told_by_the_last),  TEST(admissions_are_nobodys),
		TEST(what_was_before_is_nobodys),          TEST(what_cant_be_is_nobodys),
		TEST(another_policys_client_is_not_meant), TEST(a_policy_that_comes_later_is_known_from_its_beginning),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
