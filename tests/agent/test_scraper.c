/*
 * test_scraper.c - the metrics' text is made by turns: others have theirs in between, and whoever waits hears of
 * its end in any case.
 */
#include "agent_fixture.h"

#include <event2/event.h>

#include "scraper.h"

struct reader {
	struct scraper_job *job;
	size_t size;
	int pieces, ends, failures;
	bool is_first; /* of two */
};

static struct scraper *scraper;
static struct event_base *base;
static int ended;

static void read_piece(void *context, const char *text, size_t size, bool more) {
	struct reader *reader = context;
	reader->pieces++;
	reader->size += size;
	reader->failures += !text;
	reader->ends += !more;
	if (!more)
		reader->is_first = ended++ == 0;
}

static int begin_scraping(void **state) {
	begin(state);
	meets("00000001", -1);
	base = event_base_new();
	scraper = scraper_new(base, &agent.status);
	ended = 0;
	return 0;
}

static int end_scraping(void **state) {
	scraper_free(scraper);
	event_base_free(base);
	return end(state);
}

static void turns(int count) {
	for (int i = 0; i < count; i++)
		event_base_loop(base,
		                EVLOOP_ONCE | EVLOOP_NONBLOCK); /* without the first it goes on while anything is due */
}

static void begins(struct reader *reader) {
	reader->job = scraper_begin(scraper, read_piece, reader);
	assert_non_null(reader->job);
}

static void each_turn_makes_one_piece(void **state) {
	struct reader reader = {0};
	(void)state;
	begins(&reader);
	assert_int_equal(reader.pieces, 0);
	for (int i = 1; i <= 60; i++) {
		turns(1);
		assert_int_equal(reader.pieces, i);
	}
	turns(100);
	assert_int_equal(reader.ends, 1);
	assert_int_equal(reader.failures, 0);
	assert_true(reader.size > 5000);
}

static void one_after_the_other(void **state) {
	struct reader first = {0}, second = {0};
	(void)state;
	begins(&first);
	begins(&second);
	turns(1);
	assert_int_equal(first.pieces, 1);
	assert_int_equal(second.pieces, 0);
	turns(200);
	assert_true(first.is_first && second.ends == 1 && !second.is_first);
	assert_in_range(second.size, first.size - 100, first.size + 100); /* numbers of the process differ */
}

static void who_leaves_makes_room_at_once(void **state) {
	struct reader first = {0}, second = {0};
	(void)state;
	begins(&first);
	begins(&second);
	turns(10);
	scraper_cancel(first.job);
	turns(1);
	assert_int_equal(first.ends, 0);
	assert_int_equal(second.pieces, 1);
	scraper_cancel(second.job);
	turns(1);
	assert_int_equal(second.pieces, 1);
}

static void when_the_agent_stops_who_waits_is_told(void **state) {
	struct reader first = {0}, second = {0};
	(void)state;
	begins(&first);
	begins(&second);
	turns(10);
	scraper_free(scraper);
	scraper = NULL;
	assert_int_equal(first.ends + second.ends, 2);
	assert_int_equal(first.failures + second.failures, 2);
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_scraping, end_scraping)

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(each_turn_makes_one_piece),
		TEST(one_after_the_other),
		TEST(who_leaves_makes_room_at_once),
		TEST(when_the_agent_stops_who_waits_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
