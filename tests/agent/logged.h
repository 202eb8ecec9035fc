/*
 * logged.h - what the agent logs, for a test that reads it.
 */
#ifndef LOGGED_H
#define LOGGED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static FILE *log_file;
static int standard_error;

static inline void log_is_read(void) {
	log_file = tmpfile();
	assert_non_null(log_file);
	standard_error = dup(STDERR_FILENO);
	dup2(fileno(log_file), STDERR_FILENO);
}

static inline void expect_logged(const char *text, int times) {
	char line[1024];
	int count = 0;
	rewind(log_file);
	while (fgets(line, sizeof(line), log_file))
		count += strstr(line, text) != NULL;
	assert_int_equal(count, times);
}

static inline void expect_logged_once(const char *text) {
	expect_logged(text, 1);
}

static inline void log_is_read_no_more(void) {
	dup2(standard_error, STDERR_FILENO);
	close(standard_error);
	fclose(log_file);
}

#endif
