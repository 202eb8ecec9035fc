/*
 * test_metrics.c - the metrics' text: its samples, their families, and how much it is for as many policies as
 * there may be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "fake_table.h"
#include "few_descriptors.h"
#include "metrics.h"
#include "metrics_facts.h"
#include "server.h"
#include "stint.h"
#include "tallies.h"

static struct core_counters counters;
static struct durations durations;
static struct metrics_policy policies[2];
static struct metrics_facts facts;
static char *text;
static long largest_slice; /* bytes */

static int setup(void **state) {
	(void)state;
	counters = (struct core_counters){.requests = 11, .granted = 12, .returned = 13, .charged = 14};
	durations = (struct durations){.sum_ns = 0};
	policies[0] =
		(struct metrics_policy){.name = "api", .max_requests = 100, .time_window_ms = 500, .near_limit = 6};
	policies[1] = (struct metrics_policy){.name = "a.b:c/d-e_f", .max_requests = 7, .time_window_ms = 60000};
	facts = (struct metrics_facts){.state = CORE_FALLBACK,
	                               .core = &counters,
	                               .batches = &durations,
	                               .policies = policies,
	                               .policy_count = 2};
	return 0;
}

static int teardown(void **state) {
	(void)state;
	free(text);
	text = NULL;
	return 0;
}

static void write_text(void) {
	size_t size;
	free(text);
	FILE *out = open_memstream(&text, &size);
	struct metrics_position position = {0};
	long before = 0;
	largest_slice = 0;
	for (bool more = true; more; before = ftell(out)) {
		more = metrics_write_slice(out, &facts, &position);
		if (ftell(out) - before > largest_slice)
			largest_slice = ftell(out) - before;
	}
	assert_int_equal(fclose(out), 0);
	assert_int_equal(strlen(text), size);
	assert_int_equal(text[size - 1], '\n');
}

static void expect_line(const char *line) {
	char wanted[256];
	snprintf(wanted, sizeof(wanted), "\n%s\n", line);
	if (!strstr(text, wanted))
		fail_msg("no line \"%s\" in:\n%s", line, text);
}

static void decisions_are_told_by_outcome_and_source(void **state) {
	(void)state;
	for (unsigned i = 0; i < TALLY_SOURCES * TALLY_OUTCOMES; i++)
		policies[0].verdicts[i / TALLY_OUTCOMES][i % TALLY_OUTCOMES] = 100 + i;
	policies[1].verdicts[0][TALLY_ALLOWED] = UINT64_MAX;
	write_text();
	expect_line("stint_decisions_total{policy=\"api\",outcome=\"allowed\",source=\"lease\"} 100");
	expect_line("stint_decisions_total{policy=\"api\",outcome=\"denied\",source=\"database\"} 104");
	expect_line("stint_decisions_total{policy=\"api\",outcome=\"shadow_denied\",source=\"fallback\"} 108");
	expect_line("stint_decisions_total{policy=\"api\",outcome=\"allowed\",source=\"local\"} 109");
	expect_line("stint_decisions_total{policy=\"api\",outcome=\"shadow_denied\",source=\"advance\"} 114");
	expect_line("stint_decisions_total{policy=\"a.b:c/d-e_f\",outcome=\"allowed\",source=\"lease\"} "
	            "18446744073709551615");
	expect_line("stint_shadow_denied_total{policy=\"api\"} 540");
	expect_line("stint_near_limit_total{policy=\"api\"} 6");
	expect_line("stint_policy_limit{policy=\"a.b:c/d-e_f\"} 7");
	expect_line("stint_policy_window_seconds{policy=\"api\"} 0.500");
}

static void one_state_is_the_present_one(void **state) {
	(void)state;
	write_text();
	expect_line("stint_agent_state{state=\"fallback\"} 1");
	expect_line("stint_agent_state{state=\"in_step\"} 0");
	expect_line("stint_agent_state{state=\"resync\"} 0");
	facts.state = CORE_IN_STEP;
	write_text();
	expect_line("stint_agent_state{state=\"fallback\"} 0");
	expect_line("stint_agent_state{state=\"in_step\"} 1");
}

static void errors_have_the_names_of_the_header(void **state) {
	(void)state;
	facts.errors[tally_error_place(STINT_EFULL)] = 3;
	write_text();
	expect_line("stint_check_errors_total{error=\"STINT_EFULL\"} 3");
	expect_line("stint_check_errors_total{error=\"STINT_ECLIENT\"} 0");
}

static void durations_are_counted_up_to_each_bound(void **state) {
	(void)state;
	durations_add(&durations, 500000); /* on the bound */
	durations_add(&durations, 500001);
	durations_add(&durations, 30000000);
	durations_add(&durations, INT64_C(60000000000));
	write_text();
	expect_line("stint_database_batch_duration_seconds_bucket{le=\"0.0005\"} 1");
	expect_line("stint_database_batch_duration_seconds_bucket{le=\"0.001\"} 2");
	expect_line("stint_database_batch_duration_seconds_bucket{le=\"0.025\"} 2");
	expect_line("stint_database_batch_duration_seconds_bucket{le=\"0.05\"} 3");
	expect_line("stint_database_batch_duration_seconds_bucket{le=\"5\"} 3");
	expect_line("stint_database_batch_duration_seconds_bucket{le=\"+Inf\"} 4");
	expect_line("stint_database_batch_duration_seconds_sum 60.031000");
	expect_line("stint_database_batch_duration_seconds_count 4");
	expect_line("stint_database_requests_total 11");
	expect_line("stint_credits_total{event=\"charged\"} 14");
}

static void expect_nothing_of(const char *name) {
	if (strstr(text, name))
		fail_msg("there is %s in:\n%s", name, text);
}

/* Who watches open_fds / max_fds, or memory, is told of no fall that isn't one. */
static void what_is_not_known_of_the_process_is_left_out(void **state) {
	(void)state;
	facts.process = (struct metrics_process){.resident_bytes = 4096, .open_fds = 0, .max_fds = 64, .started = 1.5};
	write_text();
	expect_line("process_resident_memory_bytes 4096");
	expect_line("process_open_fds 0");
	expect_line("process_start_time_seconds 1.500");
	facts.process =
		(struct metrics_process){.resident_bytes = -1, .virtual_bytes = -1, .open_fds = -1, .max_fds = -1};
	write_text();
	expect_line("process_cpu_seconds_total 0.000000");
	expect_nothing_of("process_resident_memory_bytes");
	expect_nothing_of("process_virtual_memory_bytes");
	expect_nothing_of("process_open_fds");
	expect_nothing_of("process_max_fds");
	expect_nothing_of("process_start_time_seconds");
}

static void a_process_without_a_free_descriptor_uses_all_that_it_may(void **state) {
	(void)state;
	struct rlimit before = leave_descriptors(0);
	struct metrics_process process = metrics_process_look();
	give_descriptors_back(&before);
	assert_in_range(process.max_fds, 3, before.rlim_cur - 1);
	assert_int_equal(process.open_fds, process.max_fds);
	assert_int_equal(process.resident_bytes, -1);
	process = metrics_process_look();
	assert_in_range(process.open_fds, 1, before.rlim_cur - 1);
	assert_in_range(process.resident_bytes, 1, process.virtual_bytes);
}

/* ---- As many policies as there may be --------------------------------------------------- */

#define CPUS    64u
#define STRIPES (CPUS + TALLY_SHARED)

/* Lines of one policy: its decisions, shadow denials, near limit, limit and window. */
#define POLICY_LINES (TALLY_SOURCES * TALLY_OUTCOMES + 4)

/* Names are as long as they may be, and so are the numbers, near enough. */
static void count_for(struct metrics_policy *policy, const struct tallies *tallies, int index, const char *name) {
	*policy = (struct metrics_policy){.max_requests = STINT_MAX_REQUESTS_MAX,
	                                  .time_window_ms = STINT_TIME_WINDOW_MS_MAX,
	                                  .near_limit = UINT64_MAX};
	strcpy(policy->name, name);
	for (unsigned source = 0; source < TALLY_SOURCES; source++)
		for (unsigned outcome = 0; outcome < TALLY_OUTCOMES; outcome++)
			policy->verdicts[source][outcome] =
				tallies_verdicts(tallies, index, STINT_SOURCE_LEASE + source, (enum tally_outcome)outcome);
}

static size_t lines(void) {
	size_t count = 0;
	write_text();
	for (const char *at = text; (at = strchr(at, '\n')); at++)
		count++;
	return count;
}

/* Each CPU adds to a sum, and none to the text: a scrape of a large host is as long as that of a small one. And
 * all of it fits into what the agent keeps for an app that has yet to read it, which is as much as the command
 * takes. */
static void the_text_grows_with_the_policies_only(void **state) {
	struct table_geometry g = table_geometry_for(16, STRIPES);
	struct directory_header directory = {.tallies_offset = g.tallies_offset, .tally_stripes = STRIPES};
	struct table_header *table = fake_memory(g.table_bytes);
	struct tallies tallies = tallies_of(&directory, table);
	struct metrics_policy *many = calloc(POLICY_CAPACITY, sizeof(*many));
	char(*names)[STINT_POLICY_NAME_MAX + 1] = calloc(POLICY_CAPACITY, sizeof(*names));
	(void)state;
	facts.policy_count = 0;
	size_t others = lines();
	for (size_t i = 0; i < POLICY_CAPACITY * STRIPES; i++)
		for (unsigned place = 0; place < TALLY_COUNTS; place++)
			atomic_store(&tallies.rows[i].count[place], UINT64_MAX / STRIPES);
	for (int i = 0; i < (int)POLICY_CAPACITY; i++) {
		snprintf(names[i], sizeof(names[i]), "%0*d", STINT_POLICY_NAME_MAX, i);
		count_for(&many[i], &tallies, i, names[i]);
	}
	facts.policies = many;
	facts.policy_count = POLICY_CAPACITY;
	assert_int_equal(lines(), others + POLICY_CAPACITY * POLICY_LINES);
	assert_in_range(strlen(text), 1, SERVER_UNREAD_MAX / 4 * 3);
	assert_in_range(others, 1, 200);
	assert_in_range(largest_slice, 1, strlen(text) / 50); /* apps that ask the agent wait for one */
	free(names);
	free(many);
	free(table);
}

/* The family's own name, or that of a histogram's parts. */
static bool is_of_family(const char *line, const char *family) {
	size_t length = strlen(family);
	return strncmp(line, family, length) == 0 &&
	       (line[length] == ' ' || line[length] == '{' || line[length] == '_');
}

/* Prometheus takes no family twice, and none whose samples are apart. */
static void each_sample_follows_the_head_of_its_family(void **state) {
	char family[128] = "", *rest = NULL, *copy;
	int families = 0;
	(void)state;
	write_text();
	copy = strdup(text);
	for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char head[160];
		if (strncmp(line, "# HELP ", 7) == 0) {
			families++;
			assert_int_equal(sscanf(line + 7, "%127s", family), 1);
			snprintf(head, sizeof(head), "# TYPE %s ", family);
			assert_non_null(strstr(text, head));
			assert_null(strstr(strstr(text, head) + 1, head));
			assert_int_equal(line[strlen(line) - 1], '.');
		} else if (line[0] != '#' && !is_of_family(line, family)) {
			fail_msg("%s: not of %s", line, family);
		}
	}
	assert_true(families > 25);
	free(copy);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(decisions_are_told_by_outcome_and_source),
		TEST(one_state_is_the_present_one),
		TEST(errors_have_the_names_of_the_header),
		TEST(durations_are_counted_up_to_each_bound),
		TEST(each_sample_follows_the_head_of_its_family),
		TEST(what_is_not_known_of_the_process_is_left_out),
		TEST(a_process_without_a_free_descriptor_uses_all_that_it_may),
		TEST(the_text_grows_with_the_policies_only),
	};
	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
