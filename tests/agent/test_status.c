/*
 * test_status.c - what the agent says of itself when it is asked: JSON, in pieces.
 */
#include "declaration_fixture.h"
#include "metrics_facts.h"

static char text[1 << 20];
static unsigned pieces;

static int app;

static int begin_with_app(void **state) {
	begin(state);
	app = an_app_connects();
	return 0;
}

static int end_with_app(void **state) {
	close(app);
	return end(state);
}

/* Puts the pieces together. */
static void asks(void) {
	size_t length = 0;
	struct wire_head head;
	agent.shm.directory = table.directory;
	status_on_message(&agent.status, 0, 70);
	pieces = 0;
	do {
		char message[WIRE_MESSAGE_MAX];
		event_base_loop(agent.base, EVLOOP_NONBLOCK); /* what didn't fit is sent by and by */
		ssize_t got = recv(app, message, sizeof(message), 0);
		assert_in_range(got, sizeof(head), sizeof(message));
		memcpy(&head, message, sizeof(head));
		assert_int_equal(head.type, WIRE_STATUS_TEXT);
		assert_int_equal(head.serial, 70);
		memcpy(text + length, message + sizeof(head), (size_t)got - sizeof(head));
		length += (size_t)got - sizeof(head);
		pieces++;
	} while (head.flags & WIRE_STATUS_MORE);
	text[length] = 0;
	assert_int_equal(text[0], '{');
	assert_int_equal(text[length - 1], '}');
}

static const char *value_of(const char *name) {
	char key[64];
	snprintf(key, sizeof(key), "\"%s\":", name);
	const char *at = strstr(text, key);
	assert_non_null(at);
	return at + strlen(key);
}

static int64_t number_of(const char *name) {
	return strtoll(value_of(name), NULL, 10);
}

static void expect_text(const char *name, const char *wanted) {
	assert_memory_equal(value_of(name), wanted, strlen(wanted));
}

static void it_says_which_database_it_has(void **state) {
	(void)state;
	strcpy(agent.config.pooler, "transaction");
	meets("00000001", -1);
	asks();
	expect_text("kind", "\"postgresql\"");
	expect_text("state", "\"in step\"");
	expect_text("server", "\"home\"");
	expect_text("timeline", "\"00000001\"");
	assert_int_equal(number_of("live_hosts"), 2);
	assert_int_equal(number_of("held_ms"), 0);
	expect_text("pooler", "\"transaction\"");
	expect_text("direct", "true");
	agent.driver.database = NULL;
	asks();
	expect_text("kind", "\"memory\"");
	expect_text("direct", "false");
	agent.driver.database = &the_database;
}

static void it_says_for_how_long_grants_are_held_back(void **state) {
	(void)state;
	is_held_in_fallback();
	asks();
	expect_text("state", "\"fallback\"");
	assert_in_range(number_of("held_ms"), 1, LEASE_MS + SLACK_MS);
	assert_int_equal(number_of("fallbacks"), 1);
	expect_text("last_error", "\"it is gone\"");
}

static void times_are_in_milliseconds(void **state) {
	(void)state;
	agent.driver.state_since_ns = monotonic_now_ns() - 5000 * MS;
	agent.status.started_ns = monotonic_now_ns() - 7000 * MS;
	asks();
	assert_in_range(number_of("since_ms"), 5000, 65000);
	assert_in_range(number_of("uptime_ms"), 7000, 67000);
	assert_int_equal(number_of("apps"), 0); /* it hasn't said hello */
	assert_int_equal(number_of("pid"), getpid());
}

/* The metrics' text, for the caller to free. */
static char *scrape(void) {
	struct metrics_scrape *scrape = metrics_scrape_new(&agent.status);
	size_t size, slice_size;
	char *all = NULL;
	FILE *out = open_memstream(&all, &size);
	for (bool more = true; more;) {
		char *slice = metrics_scrape_next(scrape, &slice_size, &more);
		assert_non_null(slice);
		fwrite(slice, 1, slice_size, out);
		free(slice);
	}
	metrics_scrape_free(scrape);
	assert_int_equal(fclose(out), 0);
	return all;
}

/* As if the wall clock had been set by two seconds, or the machine had slept: who counts how often it has changed
 * counts restarts. */
static void its_start_is_the_same_at_each_scrape(void **state) {
	static const char name[] = "\nprocess_start_time_seconds ";
	(void)state;
	meets("00000001", -1);
	char *before = scrape();
	agent.status.started_ns -= 2000 * MS;
	char *after = scrape();
	double started = strtod(strstr(before, name) + strlen(name), NULL);
	assert_true(started > 1e9 && started <= (double)time(NULL) + 1);
	assert_true(strtod(strstr(after, name) + strlen(name), NULL) == started);
	free(before);
	free(after);
}

static void it_says_how_full_its_table_is(void **state) {
	int64_t now_ns = monotonic_now_ns();
	(void)state;
	agent.config.max_clients = 64;
	strcpy(agent.config.shm, "/stint-a");
	meets("00000001", -1);
	core_want(agent.driver.core, now_ns, 1, 1, 0, "anna", 4, 1, now_ns + 1000 * MS);
	table.directory->table_bytes = 1000;
	table.directory->directory_bytes = 11;
	asks();
	expect_text("shm", "\"/stint-a\"");
	assert_int_equal(number_of("clients"), 1);
	assert_int_equal(number_of("capacity"), 64);
	assert_int_equal(number_of("bytes"), 1011);
	assert_int_equal(number_of("wants"), 1);
}

/* Words of a server that speaks no UTF-8, or that were cut in the middle of a character. */
static void words_that_are_not_utf8_lose_what_is_not_ascii(void **state) {
	static const struct {
		const char *words, *wanted;
	} told[] = {
		{"caf\xc3\xa9", "\"caf\xc3\xa9\""},
		{"caf\xc3", "\"caf\""},
		{"caf\xe2\x82", "\"caf\""},
		{"caf\xf0\x9f\x98", "\"caf\""},
		{"caf\xe9 bar", "\"caf? bar\""},
		{"caf\xe9 ba", "\"caf? ba\""},
		{"", "\"\""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
		snprintf(agent.sync.why, sizeof(agent.sync.why), "%s", told[i].words);
		asks();
		expect_text("last_error", told[i].wanted);
	}
}

static void many_policies_take_several_pieces(void **state) {
	struct policy_row row = api;
	char name[96];
	(void)state;
	asks();
	assert_int_equal(pieces, 1);
	for (int i = 1; i < 100; i++) {
		snprintf(row.name, sizeof(row.name), "policy-%d", i);
		assert_int_equal(policies_add(&agent.policies, &row), i);
	}
	asks();
	assert_in_range(pieces, 3, 20);
	for (int i = 1; i < 100; i++) {
		snprintf(name, sizeof(name), "\"name\":\"policy-%d\"", i);
		assert_non_null(strstr(text, name));
	}
}

int main(void) {
#define ASKED(name) cmocka_unit_test_setup_teardown(name, begin_with_app, end_with_app)
	const struct CMUnitTest tests[] = {
		ASKED(it_says_which_database_it_has),     ASKED(it_says_for_how_long_grants_are_held_back),
		ASKED(times_are_in_milliseconds),         ASKED(its_start_is_the_same_at_each_scrape),
		ASKED(it_says_how_full_its_table_is),     ASKED(words_that_are_not_utf8_lose_what_is_not_ascii),
		ASKED(many_policies_take_several_pieces),
	};
	return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
