/* log.c - writes lines to stderr without waiting for a reader, see log.h. */
#include "log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024 /* longer is cut */

static enum log_level most_verbose = LOG_LEVEL_INFO;
static unsigned lost; /* lines lost since one was written */

void log_set_level(enum log_level level) {
	most_verbose = level;
}

static const char *word_for(enum log_level level) {
	switch (level) {
	case LOG_LEVEL_ERROR: return "error: ";
	case LOG_LEVEL_WARNING: return "warning: ";
	case LOG_LEVEL_DEBUG: return "debug: ";
	case LOG_LEVEL_INFO: break;
	}
	return "";
}

/* A client's id or a server's message must not be able to make a second line. */
static void flatten(char *line) {
	for (; *line; line++)
		if ((unsigned char)*line < ' ' || *line == 0x7f)
			*line = ' ';
}

/* A pipe or a journal that nobody reads must not stop the agent. A descriptor that poll() calls writable takes a
 * whole line (a pipe takes PIPE_BUF bytes). */
static bool would_block(void) {
	struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
	return poll(&out, 1, 0) == 0;
}

static void write_line(enum log_level level, const char *text) {
	char line[LINE_MAX_BYTES + 32];
	int length = getenv("JOURNAL_STREAM") ? snprintf(line, sizeof(line), "<%d>%s\n", (int)level, text)
	                                      : snprintf(line, sizeof(line), "stintd: %s%s\n", word_for(level), text);
	if (write(STDERR_FILENO, line, (size_t)length) < 0)
		return; /* there is nobody to tell */
}

static void tell_of_lost(void) {
	char text[64];
	snprintf(text, sizeof(text), "%u lines of the log are lost: it was not read", lost);
	lost = 0;
	write_line(LOG_LEVEL_WARNING, text);
}

void log_line(enum log_level level, const char *format, ...) {
	char text[LINE_MAX_BYTES];
	va_list arguments;
	if (level > most_verbose)
		return;
	if (would_block()) {
		lost++;
		return;
	}
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	flatten(text);
	if (lost > 0)
		tell_of_lost();
	write_line(level, text);
}
