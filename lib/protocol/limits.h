/*
 * limits.h - what a policy may be, in one place: its name, the ranges of its
 * numbers, its defaults, and the words for its algorithm and mode. Library, agent
 * and command go by this; tests/sql/limits.sh holds the database to it.
 */
#ifndef STINT_LIMITS_H
#define STINT_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "stint.h"

/* Each number of a policy, and its range. */
#define LIMITS_NUMBERS(X)                                                                                         \
	X(max_requests, 1, STINT_MAX_REQUESTS_MAX)                                                                    \
	X(time_window_ms, STINT_TIME_WINDOW_MS_MIN, STINT_TIME_WINDOW_MS_MAX)                                         \
	X(fallback_max_requests, 1, STINT_FALLBACK_REQUESTS_MAX)                                                      \
	X(fallback_time_window_ms, STINT_TIME_WINDOW_MS_MIN, STINT_TIME_WINDOW_MS_MAX)                                \
	X(resolution, 1, STINT_RESOLUTION_MAX)

/* The algorithms and modes: stint.h has their numbers, the database uses these words. */
#define LIMITS_ALGORITHMS(X)                                                                                      \
	X(STINT_SLIDING_WINDOW, "sliding_window")                                                                     \
	X(STINT_FIXED_WINDOW, "fixed_window")
#define LIMITS_MODES(X)                                                                                           \
	X(STINT_STRICT, "strict")                                                                                     \
	X(STINT_RELAXED, "relaxed")

/* Returns the default of resolution: 20, or 10 where more would be shorter than 100 ms. SQL has the same. */
static inline int32_t limits_default_resolution(int64_t time_window_ms) {
	return time_window_ms >= 2000 ? 20 : 10;
}

/* Names are made of [A-Za-z0-9_.:/-]. In ASCII the digits and "-./:" are neighbours, from '-' to ':'. */
static inline bool limits_is_name_byte(char byte) {
	unsigned b = (unsigned char)byte;
	return (b | 0x20) - 'a' < 26 || b - '-' < 14 || b == '_';
}

/* Returns how many bytes of the name, from its start, may stand in one. */
static inline size_t limits_span_name(const char *name, size_t length) {
	size_t i = 0;
	while (i < length && limits_is_name_byte(name[i]))
		i++;
	return i;
}

/* The name need not end in a zero. */
static inline bool limits_is_policy_name(const char *name, size_t length) {
	return length >= 1 && length <= STINT_POLICY_NAME_MAX && limits_span_name(name, length) == length;
}

/* Returns the length of a sub-window, rounded up as the database does. */
static inline int64_t limits_sub_window_ms(enum stint_algorithm algorithm, int64_t time_window_ms,
                                           int64_t resolution) {
	return algorithm == STINT_FIXED_WINDOW ? time_window_ms : (time_window_ms + resolution - 1) / resolution;
}

/* Returns the default of fallback_max_requests. A value out of range isn't doubled, which might overflow: it is
 * refused anyway. */
static inline int64_t limits_default_fallback(int64_t max_requests) {
	return max_requests >= 1 && max_requests <= STINT_MAX_REQUESTS_MAX ? 2 * max_requests : max_requests;
}

#define LIMITS_RETURN_WORD(number, word)                                                                          \
	case number:                                                                                                  \
		return word;
#define LIMITS_RETURN_NUMBER(number, text)                                                                        \
	if (!strcmp(word, text))                                                                                      \
		return number;

/* The word of a number, and the number of a word; NULL, or -1, when there is none. */
static inline const char *limits_algorithm_word(int64_t algorithm) {
	switch (algorithm) {
		LIMITS_ALGORITHMS(LIMITS_RETURN_WORD)
	default: return NULL;
	}
}

static inline int32_t limits_algorithm(const char *word) {
	LIMITS_ALGORITHMS(LIMITS_RETURN_NUMBER)
	return -1;
}

static inline const char *limits_mode_word(int64_t mode) {
	switch (mode) {
		LIMITS_MODES(LIMITS_RETURN_WORD)
	default: return NULL;
	}
}

static inline int32_t limits_mode(const char *word) {
	LIMITS_MODES(LIMITS_RETURN_NUMBER)
	return -1;
}

#endif
