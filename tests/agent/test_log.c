/*
 * test_log.c - each event is one line, whatever its text holds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

static char output[8192];

/* Gives a line as it looks on stderr. */
static void log_into_output(enum log_level level, const char *text) {
	int pipes[2], saved = dup(STDERR_FILENO);
	assert_int_equal(pipe(pipes), 0);
	dup2(pipes[1], STDERR_FILENO);
	close(pipes[1]);
	log_line(level, "%s", text);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	ssize_t got = read(pipes[0], output, sizeof(output) - 1);
	output[got > 0 ? got : 0] = '\0';
	close(pipes[0]);
}

static void a_word_tells_the_level(void **state) {
	(void)state;
	unsetenv("JOURNAL_STREAM");
	log_into_output(LOG_LEVEL_WARNING, "trouble");
	assert_string_equal(output, "stintd: warning: trouble\n");
	log_into_output(LOG_LEVEL_INFO, "news");
	assert_string_equal(output, "stintd: news\n");
}

static void the_journal_gets_a_number(void **state) {
	(void)state;
	setenv("JOURNAL_STREAM", "8:1", 1);
	log_into_output(LOG_LEVEL_ERROR, "trouble");
	assert_string_equal(output, "<3>trouble\n");
	unsetenv("JOURNAL_STREAM");
}

static void what_is_too_verbose_is_left_out(void **state) {
	(void)state;
	log_into_output(LOG_LEVEL_DEBUG, "detail");
	assert_string_equal(output, "");
	log_set_level(LOG_LEVEL_DEBUG);
	log_into_output(LOG_LEVEL_DEBUG, "detail");
	assert_string_equal(output, "stintd: debug: detail\n");
	log_set_level(LOG_LEVEL_INFO);
}

static void nothing_makes_a_second_line(void **state) {
	(void)state;
	log_into_output(LOG_LEVEL_INFO, "a\nb\rc\x1b[0m\x7f"
	                                "d");
	assert_string_equal(output, "stintd: a b c [0m d\n");
}

static void what_is_too_long_is_cut(void **state) {
	(void)state;
	char text[5000];
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_into_output(LOG_LEVEL_INFO, text);
	assert_in_range(strlen(output), 1000, 1100);
	assert_int_equal(output[strlen(output) - 1], '\n');
}

/* If the log waited for its reader, this would never end. */
static void nobody_waits_for_a_reader(void **state) {
	int pipes[2], saved = dup(STDERR_FILENO);
	size_t unread = 0;
	ssize_t got;
	(void)state;
	assert_int_equal(pipe2(pipes, O_NONBLOCK), 0);
	assert_true(fcntl(pipes[1], F_SETFL, 0) == 0);
	dup2(pipes[1], STDERR_FILENO);
	close(pipes[1]);
	alarm(30);
	for (int i = 0; i < 10000; i++)
		log_line(LOG_LEVEL_INFO, "line %d", i);
	while ((got = read(pipes[0], output, sizeof(output))) > 0)
		unread += (size_t)got;
	log_line(LOG_LEVEL_INFO, "after them");
	alarm(0);
	dup2(saved, STDERR_FILENO);
	close(saved);
	got = read(pipes[0], output, sizeof(output) - 1);
	output[got > 0 ? got : 0] = '\0';
	close(pipes[0]);
	assert_true(unread > 10000 && unread < 150000);
	assert_non_null(strstr(output, " lines of the log are lost: it was not read\nstintd: after them\n"));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_word_tells_the_level),          cmocka_unit_test(the_journal_gets_a_number),
		cmocka_unit_test(what_is_too_verbose_is_left_out), cmocka_unit_test(nothing_makes_a_second_line),
		cmocka_unit_test(what_is_too_long_is_cut),         cmocka_unit_test(nobody_waits_for_a_reader),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
