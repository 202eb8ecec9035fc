/* tap.c - see tap.h. */
#include "tap.h"

#include <stdarg.h>
#include <stdio.h>

static int made, failed;
static bool quiet;

void tap_quiet(void) {
	quiet = true;
}

static void print_line(const char *head, const char *format, va_list arguments) {
	fputs(head, stdout);
	vprintf(format, arguments);
	putchar('\n');
	fflush(stdout); /* so it is in order with what children print, and isn't lost when the test is killed */
}

bool tap_ok(bool passed, const char *format, ...) {
	char head[32];
	va_list arguments;

	made++;
	failed += !passed;
	if (passed && quiet)
		return true;
	snprintf(head, sizeof(head), "%s %d - ", passed ? "ok" : "not ok", made);
	va_start(arguments, format);
	print_line(head, format, arguments);
	va_end(arguments);
	return passed;
}

void tap_note(const char *format, ...) {
	va_list arguments;

	if (quiet)
		return;
	va_start(arguments, format);
	print_line("# ", format, arguments);
	va_end(arguments);
}

void tap_skip(const char *format, ...) {
	char head[32];
	va_list arguments;

	made++;
	snprintf(head, sizeof(head), "ok %d # SKIP ", made);
	va_start(arguments, format);
	print_line(head, format, arguments);
	va_end(arguments);
}

void tap_count(int *checks_made, int *checks_failed) {
	*checks_made = made;
	*checks_failed = failed;
}

int tap_finish(void) {
	if (!quiet)
		printf("1..%d\n", made);
	fflush(stdout);
	return made == 0 || failed > 0;
}
