#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LINE_MAX_BYTES 1024 /* longer is cut */

static enum log_level most_verbose = LOG_LEVEL_INFO;

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

void log_line(enum log_level level, const char *format, ...) {
	char line[LINE_MAX_BYTES];
	va_list arguments;
	if (level > most_verbose)
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	flatten(line);
	if (getenv("JOURNAL_STREAM"))
		fprintf(stderr, "<%d>%s\n", (int)level, line);
	else
		fprintf(stderr, "stintd: %s%s\n", word_for(level), line);
}
