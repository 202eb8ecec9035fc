/*
 * log.h - writes one line an event to stderr. Under systemd each line begins with its
 * priority, which the journal understands; otherwise with a word. The agent never waits
 * for a reader: lines that find no room are lost, and their number is written before the
 * next line that finds room.
 */
#ifndef STINT_LOG_H
#define STINT_LOG_H

/* syslog's numbers */
enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

void log_set_level(enum log_level level);
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
