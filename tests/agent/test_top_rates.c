/*
 * test_top_rates.c - decisions per second, from two scrapes: what is a rate, and what is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "command/top_rates.h"

#define SAMPLE(policy, outcome, source, n)                                                                        \
	"stint_decisions_total{policy=\"" policy "\",outcome=\"" outcome "\",source=\"" source "\"} " n "\n"

static struct top_scrape scrape(const char *agent, double at_s, const char *text) {
	struct top_scrape read = {.at_ns = (int64_t)(at_s * 1e9)};
	snprintf(read.agent, sizeof(read.agent), "%s", agent);
	assert_int_equal(top_scrape_read(&read, text, strlen(text)), 0);
	return read;
}

/* The rates between two scrapes, which end here. */
static json_t *rates_of(struct top_scrape before, struct top_scrape now) {
	json_t *rates = top_rates(&before, &now);
	top_scrape_free(&before);
	top_scrape_free(&now);
	return rates;
}

static void check_rate(const json_t *rates, size_t row, const char *key, double wanted) {
	const json_t *value = json_object_get(json_array_get(rates, row), key);
	assert_true(json_is_real(value));
	assert_true(fabs(json_real_value(value) - wanted) < 0.0005);
}

static void check_none(const json_t *rates, size_t row, const char *key) {
	assert_true(json_is_null(json_object_get(json_array_get(rates, row), key)));
}

static void check_policy(const json_t *rates, size_t row, const char *wanted) {
	assert_string_equal(json_string_value(json_object_get(json_array_get(rates, row), "policy")), wanted);
}

static void test_read(void **state) {
	struct top_scrape read =
		scrape("a", 1,
	           "# HELP stint_decisions_total Checks.\n"
	           "stint_near_limit_total{policy=\"api\"} 9\n" SAMPLE("api", "allowed", "lease", "7")
	               SAMPLE("api", "allowed", "database", "2") SAMPLE("api", "denied", "lease", "4")
	                   SAMPLE("b:1", "new_outcome", "new_source", "5")
	                       SAMPLE("api", "shadow_denied", "advance", "18446744073709551615")
	                           SAMPLE("broken", "denied", "lease", "") "half a line");
	(void)state;
	assert_int_equal(read.count, 2);
	assert_string_equal(read.policies[0].name, "api");
	assert_int_equal(read.policies[0].by_outcome[0], 9);
	assert_int_equal(read.policies[0].by_outcome[1], 4);
	assert_true(read.policies[0].by_outcome[2] == UINT64_MAX);
	assert_int_equal(read.policies[0].by_source[0], 11);
	assert_int_equal(read.policies[0].by_source[1], 2);
	assert_string_equal(read.policies[1].name, "b:1");
	assert_int_equal(read.policies[1].decisions, 5); /* and of no outcome that this program knows */
	assert_int_equal(read.policies[1].by_outcome[0], 0);
	top_scrape_free(&read);
	assert_int_equal(read.count, 0);
}

/* A text is cut anywhere, and ends without a newline or a NUL. */
static void test_read_pieces(void **state) {
	static const char text[] = SAMPLE("api", "allowed", "lease", "1234") SAMPLE("b", "denied", "lease", "5");
	(void)state;
	for (size_t size = 0; size <= strlen(text); size++) {
		struct top_scrape read = {.count = 0};
		char copy[sizeof(text)];
		memset(copy, '9', sizeof(copy));
		memcpy(copy, text, size);
		assert_int_equal(top_scrape_read(&read, copy, size), 0);
		assert_true(read.count <= 2);
		assert_true(read.count == 0 || read.policies[0].decisions <= 1234);
		top_scrape_free(&read);
	}
}

static void test_rates(void **state) {
	json_t *rates =
		rates_of(scrape("a", 10,
	                    SAMPLE("api", "allowed", "lease", "100") SAMPLE("api", "denied", "database", "10")),
	             scrape("a", 12.5,
	                    SAMPLE("api", "allowed", "lease", "600") SAMPLE("api", "denied", "database", "11")));
	(void)state;
	assert_int_equal(json_array_size(rates), 1);
	check_rate(rates, 0, "decisions", 200.4); /* by the time that was really between them */
	check_rate(rates, 0, "allowed", 200);
	check_rate(rates, 0, "denied", 0.4);
	check_rate(rates, 0, "shadow_denied", 0);
	check_rate(rates, 0, "lease", 200);
	check_rate(rates, 0, "database", 0.4);
	check_rate(rates, 0, "advance", 0);
	json_decref(rates);
}

static void test_order(void **state) {
	json_t *rates =
		rates_of(scrape("a", 1,
	                    SAMPLE("idle", "allowed", "lease", "5") SAMPLE("busy", "allowed", "lease", "0")
	                        SAMPLE("also idle", "allowed", "lease", "5") SAMPLE("less", "denied", "lease", "0")),
	             scrape("a", 2,
	                    SAMPLE("new", "allowed", "lease", "999999") SAMPLE("idle", "allowed", "lease", "5")
	                        SAMPLE("less", "denied", "lease", "3") SAMPLE("busy", "allowed", "lease", "9")
	                            SAMPLE("also idle", "allowed", "lease", "5")));
	static const char *const order[] = {"busy", "less", "also idle", "idle", "new"};
	(void)state;
	assert_int_equal(json_array_size(rates), 5);
	for (size_t i = 0; i < 5; i++)
		check_policy(rates, i, order[i]);
	check_none(rates, 4, "decisions"); /* what it had decided before isn't of these seconds */
	json_decref(rates);
}

/* An agent that was started anew, or whose counts began anew, isn't a negative rate, nor a large one. */
static void test_no_rates(void **state) {
	static const char less[] = SAMPLE("api", "allowed", "lease", "3"),
					  more[] = SAMPLE("api", "allowed", "lease", "9");
	static const struct {
		const char *what, *agent_before, *agent;
		double before_s, now_s;
		const char *before, *now;
	} cases[] = {
		{"no scrape before", "", "a", 0, 2, "", more},     {"another agent", "a", "b", 1, 2, less, more},
		{"counts began anew", "a", "a", 1, 2, more, less}, {"no time between", "a", "a", 2, 2, less, more},
		{"time goes back", "a", "a", 3, 2, less, more},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		json_t *rates = rates_of(scrape(cases[i].agent_before, cases[i].before_s, cases[i].before),
		                         scrape(cases[i].agent, cases[i].now_s, cases[i].now));
		print_message("%s\n", cases[i].what);
		assert_int_equal(json_array_size(rates), 1);
		check_none(rates, 0, "decisions");
		check_none(rates, 0, "allowed");
		check_none(rates, 0, "lease");
		json_decref(rates);
	}
}

/* One count that went back makes all of its policy unknown, and nothing of another. */
static void test_one_began_anew(void **state) {
	json_t *rates = rates_of(scrape("a", 1,
	                                SAMPLE("api", "allowed", "lease", "5") SAMPLE("api", "denied", "lease", "5")
	                                    SAMPLE("b", "denied", "lease", "1")),
	                         scrape("a", 2,
	                                SAMPLE("api", "allowed", "lease", "4") SAMPLE("api", "denied", "lease", "9")
	                                    SAMPLE("b", "denied", "lease", "2")));
	(void)state;
	check_policy(rates, 0, "b");
	check_rate(rates, 0, "denied", 1);
	check_policy(rates, 1, "api");
	check_none(rates, 1, "denied");
	json_decref(rates);
}

static void test_large(void **state) {
	json_t *rates = rates_of(scrape("a", 1, SAMPLE("api", "allowed", "lease", "0")),
	                         scrape("a", 1.001, SAMPLE("api", "allowed", "lease", "18446744073709551615")));
	(void)state;
	assert_true(json_real_value(json_object_get(json_array_get(rates, 0), "allowed")) > 1e22);
	json_decref(rates);
}

static void test_seconds(void **state) {
	struct top_scrape none = {.at_ns = 0}, before = scrape("a", 1, ""), now = scrape("a", 3.25, "");
	struct top_scrape other = scrape("b", 3.25, "");
	(void)state;
	assert_true(fabs(top_seconds(&before, &now) - 2.25) < 1e-9);
	assert_true(top_seconds(&now, &before) == 0);
	assert_true(top_seconds(&none, &now) == 0);
	assert_true(top_seconds(&before, &none) == 0);
	assert_true(top_seconds(&before, &other) == 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),  cmocka_unit_test(test_read_pieces), cmocka_unit_test(test_rates),
		cmocka_unit_test(test_order), cmocka_unit_test(test_no_rates),    cmocka_unit_test(test_one_began_anew),
		cmocka_unit_test(test_large), cmocka_unit_test(test_seconds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
