/*
 * test_checker.c - tests the oracle itself: it must find a violation where there is one, and only there. A
 * journal must tell after a SIGKILL what happened before it. The judge of episodes must miss nothing that was
 * admitted while the database was there, whoever admitted it.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "episode.h"
#include "histogram.h"
#include "journal.h"
#include "oracle.h"
#include "random.h"
#include "stint.h"
#include "tap.h"

#define WINDOW UINT64_C(1000)

static const struct oracle_choice everything = {.policy = 0, .client = 0, .host = ORACLE_ANY};

static void add(struct oracle *oracle, uint64_t intent, uint64_t outcome, uint32_t cost) {
	struct oracle_event event = {.intent_ns = intent, .outcome_ns = outcome, .cost = cost, .source = 1};

	oracle_add(oracle, &event);
}

/* The definition, word for word: every interval that begins at an event, every event in it. */
static int64_t slow_certain(const struct oracle *oracle) {
	int64_t most = 0;

	for (size_t i = 0; i < oracle->count; i++) {
		uint64_t from = oracle->events[i].intent_ns;
		int64_t sum = 0;

		for (size_t k = 0; k < oracle->count; k++) {
			const struct oracle_event *event = &oracle->events[k];

			if (event->intent_ns >= from && event->outcome_ns < from + WINDOW)
				sum += event->cost;
		}
		most = sum > most ? sum : most;
	}
	return most;
}

static int64_t slow_by_outcome(const struct oracle *oracle) {
	int64_t most = 0;

	for (size_t i = 0; i < oracle->count; i++) {
		uint64_t from = oracle->events[i].outcome_ns;
		int64_t sum = 0;

		for (size_t k = 0; k < oracle->count; k++)
			if (oracle->events[k].outcome_ns >= from && oracle->events[k].outcome_ns < from + WINDOW)
				sum += oracle->events[k].cost;
		most = sum > most ? sum : most;
	}
	return most;
}

/* Ten admissions are 100 apart; then an eleventh is squeezed in between. */
static void test_violation_is_found(void) {
	struct oracle oracle = {0};
	struct oracle_peak peak;

	for (uint64_t i = 0; i < 30; i++)
		add(&oracle, 5000 + i * 100, 5002 + i * 100, 1);
	oracle_sort(&oracle);
	peak = oracle_peak(&oracle, &everything, WINDOW);
	tap_ok(peak.certain == 10 && peak.by_outcome == 10,
	       "a log that keeps a limit of 10: %lld certain, %lld by outcome", (long long)peak.certain,
	       (long long)peak.by_outcome);
	add(&oracle, 6350, 6351, 1);
	oracle_sort(&oracle);
	peak = oracle_peak(&oracle, &everything, WINDOW);
	tap_ok(peak.certain == 11, "one admission too many is found: %lld", (long long)peak.certain);
	tap_ok(peak.certain_from_ns > 5350 && peak.certain_from_ns <= 6350, "and where: %llu",
	       (unsigned long long)peak.certain_from_ns);
	oracle_free(&oracle);
}

/* The eleventh was under way for so long that it may have happened before: no violation, but the second figure
 * shows it. */
static void test_doubt_is_not_certain(void) {
	struct oracle oracle = {0};
	struct oracle_peak peak;

	for (uint64_t i = 0; i < 10; i++)
		add(&oracle, 5000 + i * 10, 5001 + i * 10, 1);
	add(&oracle, 4000, 5500, 1);
	oracle_sort(&oracle);
	peak = oracle_peak(&oracle, &everything, WINDOW);
	tap_ok(peak.certain == 10 && peak.by_outcome == 11, "a slow admission: %lld certain, %lld by outcome",
	       (long long)peak.certain, (long long)peak.by_outcome);
	oracle_free(&oracle);
}

static void test_random_logs(void) {
	uint64_t random = 20240117;
	int wrong = 0;

	for (int round = 0; round < 300; round++) {
		struct oracle oracle = {0};
		struct oracle_peak peak;
		uint32_t count = 1 + random_below(&random, 120);

		for (uint32_t i = 0; i < count; i++) {
			uint64_t intent = 10000 + random_below(&random, 6000);

			add(&oracle, intent, intent + random_below(&random, round % 2 ? 40 : 1500),
			    1 + random_below(&random, 5));
		}
		oracle_sort(&oracle);
		peak = oracle_peak(&oracle, &everything, WINDOW);
		wrong += peak.certain != slow_certain(&oracle) || peak.by_outcome != slow_by_outcome(&oracle);
		oracle_free(&oracle);
	}
	tap_ok(wrong == 0, "300 random logs agree with the definition, %d don't", wrong);
}

static void test_aligned_windows(void) {
	struct oracle oracle = {0};
	struct oracle_peak peak;

	/* Edges at 300, 1300, 2300 ... Ten just before an edge and ten just behind it are legal. */
	for (uint64_t i = 0; i < 10; i++) {
		add(&oracle, 2250 + i, 2251 + i, 1);
		add(&oracle, 2350 + i, 2351 + i, 1);
	}
	oracle_sort(&oracle);
	peak = oracle_peak_aligned(&oracle, &everything, WINDOW, 300, 5);
	tap_ok(peak.certain == 10 && peak.by_outcome == 10,
	       "10 on each side of an edge: %lld certain, %lld by outcome", (long long)peak.certain,
	       (long long)peak.by_outcome);
	tap_ok(oracle_peak(&oracle, &everything, WINDOW).certain == 20, "and 20 for an interval across it");
	add(&oracle, 2302, 2304, 1);
	oracle_sort(&oracle);
	peak = oracle_peak_aligned(&oracle, &everything, WINDOW, 300, 5);
	tap_ok(peak.certain == 10 && peak.by_outcome == 11, "one within the tolerance of an edge is in doubt");
	add(&oracle, 3000, 3001, 1);
	oracle_sort(&oracle);
	peak = oracle_peak_aligned(&oracle, &everything, WINDOW, 300, 5);
	tap_ok(peak.certain == 11 && peak.certain_from_ns == 2300,
	       "one too many in a window is found, in the window from %llu", (unsigned long long)peak.certain_from_ns);
	oracle_free(&oracle);
}

static void test_choice(void) {
	struct oracle oracle = {0};
	struct oracle_choice choice = {.policy = 1, .client = 7, .host = 2};
	uint64_t first, last;

	for (uint32_t i = 0; i < 1000; i++) {
		struct oracle_event event = {.intent_ns = 100 + i,
		                             .outcome_ns = 101 + i,
		                             .policy = (uint16_t)(i % 2),
		                             .client = i % 10,
		                             .host = (uint8_t)(i % 3),
		                             .cost = 1,
		                             .source = (uint8_t)(1 + i % 4)};

		oracle_add(&oracle, &event);
	}
	oracle_sort(&oracle);
	tap_ok(oracle_sum(&oracle, &choice) == 33, "one client of one policy on one host: %lld",
	       (long long)oracle_sum(&oracle, &choice));
	choice.sources = ORACLE_FALLBACK;
	tap_ok(oracle_sum(&oracle, &choice) == 0, "and by source: odd events are never of source 3");
	choice = (struct oracle_choice){.policy = ORACLE_ANY,
	                                .client = ORACLE_ANY,
	                                .host = ORACLE_ANY,
	                                .from_ns = 200,
	                                .until_ns = 301};
	tap_ok(oracle_sum(&oracle, &choice) == 100, "and by time: %lld", (long long)oracle_sum(&oracle, &choice));
	oracle_span(&oracle, &choice, &first, &last);
	tap_ok(first == 201 && last == 300, "from %llu to %llu", (unsigned long long)first, (unsigned long long)last);
	oracle_free(&oracle);
}

/* Runs in the child: admits until it is killed. */
static void write_for_ever(const char *path) {
	struct journal journal;
	uint64_t now = 0;

	if (journal_open(&journal, path) != 0)
		_exit(1);
	for (;;) {
		struct journal_record *record;

		now += 2;
		record = journal_intend(&journal, 0, 0, 3, now);
		if (record == NULL)
			_exit(3);
		if (now % 3 == 0)
			journal_denied(&journal, record, 2);
		else
			journal_admitted(&journal, record, 1, now + 1);
	}
}

static void test_journal_survives_kill(void) {
	struct journal_plan plan = {.capacity = 1u << 22};
	char path[] = "/tmp/stint-journal.XXXXXX";
	struct oracle oracle = {0};
	struct journal journal;
	size_t open_records = 0, damaged = 0;
	uint64_t random = 7, admitted;

	close(mkstemp(path));
	if (!tap_ok(journal_create(&journal, path, &plan, 0) == 0, "a journal is made"))
		return;
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();

		if (pid == 0)
			write_for_ever(path);
		sleep_until_ns(monotonic_ns() + (200 + random_below(&random, 800)) * NS_PER_US);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	oracle_read(&oracle, &journal);
	for (size_t i = 0; i < oracle.count; i++) {
		open_records += oracle.events[i].outcome_ns == ORACLE_UNKNOWN_NS;
		damaged += oracle.events[i].cost != 3 || oracle.events[i].intent_ns == 0;
	}
	admitted = journal.file->counts.admitted[1];
	tap_ok(damaged == 0 && open_records <= 20, "killed 20 times: %zu records, %zu of them open, none damaged",
	       oracle.count, open_records);
	/* A process may be killed between a record and the count of it. */
	tap_ok(oracle.count - open_records - admitted <= 20, "counts and records agree but for 1 per kill: %llu",
	       (unsigned long long)admitted);
	oracle_free(&oracle);
	journal_close(&journal);
	unlink(path);
}

static void test_histogram(void) {
	struct histogram h = {0};
	char text[128];
	int wrong = 0;

	for (uint64_t value = 0; value < 5000000; value += 1 + value / 50) {
		unsigned class = histogram_class(value);

		wrong += value > histogram_class_end(class) || (class > 0 && value <= histogram_class_end(class - 1));
	}
	tap_ok(wrong == 0, "each value is in its class, %d are not", wrong);
	for (uint64_t value = 1; value <= 10000; value++)
		histogram_add(&h, value);
	histogram_describe(&h, text, sizeof(text));
	tap_ok(histogram_quantile(&h, 500) >= 4900 && histogram_quantile(&h, 500) <= 5400 && h.max == 10000, "%s",
	       text);
}

/* ---- The judge of episodes ------------------------------------------------------------ */

/*
 * Two hosts, a limit of 10 in a second, 20 on a host's own:
 *
 *     seconds  2          10 -- 11 ------- 12 -- 13 ------ 14 -- 15
 *              10 from    fault 20 from    over  in step   10 from
 *              the              each host                  the
 *              database         on its own                 database
 */
static const struct journal_plan episode_plan = {
	.policy_count = 1,
	.policy = {{.name = "api", JOURNAL_LIMITS(10, 20, 1000), .clients = 1}},
	.timeout_ms = 1000,
};

static void admit(struct oracle *oracle, uint8_t source, uint8_t host, uint64_t from_ms, uint64_t until_ms,
                  uint32_t cost) {
	struct oracle_event event = {.intent_ns = from_ms * NS_PER_MS,
	                             .outcome_ns = until_ms * NS_PER_MS,
	                             .cost = cost,
	                             .source = source,
	                             .host = host};

	oracle_add(oracle, &event);
}

static struct episode make_episode(uint64_t began_ms) {
	uint64_t began_ns = began_ms * NS_PER_MS, second = 1000 * NS_PER_MS;

	return (struct episode){.what = "a fault",
	                        .within_ms = 4000,
	                        .began_ns = began_ns,
	                        .away_ns = began_ns,
	                        .over_ns = began_ns + 2 * second,
	                        .in_step_ns = began_ns + 3 * second,
	                        .until_ns = began_ns + 5 * second,
	                        .returned = true};
}

/* Gives what the judge finds. It judges in a process of its own, since "not ok" is what it should say here. */
static int judge_in_child(struct oracle *oracle, struct episode *episodes, uint32_t count) {
	static const struct stage stage = {.host_count = 2};
	int status = -1;
	pid_t pid;

	fflush(stdout);
	oracle_sort(oracle);
	pid = fork();
	if (pid == 0) {
		if (freopen("/dev/null", "w", stdout) == NULL)
			_exit(255);
		_exit((int)episode_judge_all(episodes, count, "all of them", &stage, oracle, &episode_plan));
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Judges the story above with one more admission (`cost` 0: none), and with a change to the episode, if there
 * is one. */
static int judge_story(uint8_t source, uint64_t from_ms, uint64_t until_ms, uint32_t cost,
                       void (*change)(struct episode *)) {
	struct episode episode = make_episode(10000);
	struct oracle oracle = {0};
	int found;

	admit(&oracle, STINT_SOURCE_DATABASE, 0, 2000, 2001, 10);
	admit(&oracle, STINT_SOURCE_FALLBACK, 0, 11000, 11001, 20);
	admit(&oracle, STINT_SOURCE_FALLBACK, 1, 11000, 11001, 20);
	admit(&oracle, STINT_SOURCE_LEASE, 0, 14000, 14001, 10);
	if (cost > 0)
		admit(&oracle, source, 0, from_ms, until_ms, cost);
	if (change != NULL)
		change(&episode);
	found = judge_in_child(&oracle, &episode, 1);
	oracle_free(&oracle);
	return found;
}

static void expect_found(int found, int expected, const char *what) {
	tap_ok(found == expected, "%s: %d violations, %d are there", what, found, expected);
}

static void never_away(struct episode *episode) {
	episode->away_ns = EPISODE_NEVER;
}

static void away_later(struct episode *episode) {
	episode->away_ns += 1500 * NS_PER_MS;
}

static void away_later_but_for_host_1(struct episode *episode) {
	away_later(episode);
	episode->cut_off = 1u << 1;
}

static void test_hosts_on_their_own_are_judged(void) {
	expect_found(judge_story(0, 0, 0, 0, NULL), 0, "hosts on their own while the database is away");
	expect_found(judge_story(STINT_SOURCE_FALLBACK, 5000, 5001, 1, NULL), 1, "one on its own before the fault");
	expect_found(judge_story(STINT_SOURCE_FALLBACK, 2500, 2501, 1, NULL), 2,
	             "one on its own before the fault, over the limit");
	expect_found(judge_story(STINT_SOURCE_FALLBACK, 12900, 13100, 1, NULL), 0,
	             "one that was under way as all were in step");
	expect_found(judge_story(STINT_SOURCE_FALLBACK, 13000, 13001, 1, NULL), 1,
	             "one on its own as all were in step");
	expect_found(judge_story(STINT_SOURCE_FALLBACK, 14500, 14501, 1, NULL), 2,
	             "one on its own later, over the limit");
	expect_found(judge_story(STINT_SOURCE_FALLBACK, 20000, 20001, 1, NULL), 1, "one on its own long after it");
	/* Both admissions of hosts on their own are found, and I1. */
	expect_found(judge_story(0, 0, 0, 0, never_away), 3, "hosts on their own, and the database was never away");
	expect_found(judge_story(0, 0, 0, 0, away_later), 3, "hosts on their own before it was away");
	expect_found(judge_story(0, 0, 0, 0, away_later_but_for_host_1), 1, "the same, but one of them was cut off");
}

static void test_processes_on_their_own_are_judged(void) {
	expect_found(judge_story(STINT_SOURCE_LOCAL, 5000, 5001, 10, NULL), 0,
	             "a process on its own, within the limit");
	expect_found(judge_story(STINT_SOURCE_LOCAL, 2500, 2501, 1, NULL), 1,
	             "a process on its own before the fault, over it");
	/* It is found in windows that touch the episode, and in those of the calm. */
	expect_found(judge_story(STINT_SOURCE_LOCAL, 14500, 14501, 1, NULL), 2,
	             "a process on its own in step again, over it");
}

/* There are two faults, and what is between them belongs to neither. */
static void test_calm_between_is_judged(void) {
	for (uint32_t more = 0; more < 2; more++) {
		struct episode episodes[2] = {make_episode(10000), make_episode(30000)};
		struct oracle oracle = {0};

		admit(&oracle, STINT_SOURCE_DATABASE, 0, 20000, 20001, 10 + more);
		expect_found(judge_in_child(&oracle, episodes, 2), (int)more,
		             more ? "one over the limit between two faults" : "none");
		oracle_free(&oracle);
	}
}

int main(void) {
	alarm(60);
	test_violation_is_found();
	test_doubt_is_not_certain();
	test_random_logs();
	test_aligned_windows();
	test_choice();
	test_journal_survives_kill();
	test_histogram();
	test_hosts_on_their_own_are_judged();
	test_processes_on_their_own_are_judged();
	test_calm_between_is_judged();
	return tap_finish();
}
