/*
 * text.h - writes short texts. Each function returns where the next one goes on; the caller knows that there is
 * room. printf() takes ten times as long, and these are written for every request.
 */
#ifndef STINT_TEXT_H
#define STINT_TEXT_H

#include <stdint.h>
#include <string.h>

static inline char *text_put(char *at, const char *text) {
	size_t length = strlen(text);
	memcpy(at, text, length);
	return at + length;
}

static inline char *text_put_number(char *at, uint64_t number) {
	unsigned count = 1;
	for (uint64_t power = 10; count < 20 && number >= power; power *= 10)
		count++;
	char *end = at + count;
	for (; count > 0; number /= 10)
		at[--count] = (char)('0' + number % 10);
	return end;
}

/* Without zeros before it. */
static inline char *text_put_hex(char *at, unsigned group) {
	unsigned shift = 12;
	while (shift > 0 && group >> shift == 0)
		shift -= 4;
	for (;; shift -= 4) {
		*at++ = "0123456789abcdef"[group >> shift & 15];
		if (shift == 0)
			return at;
	}
}

#endif
