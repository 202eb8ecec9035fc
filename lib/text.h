/*
 * text.h - writes short texts. Each function returns where the next one goes on; the caller knows that there is
 * room. printf() takes ten times as long, and these are written for every request.
 */
#ifndef STINT_TEXT_H
#define STINT_TEXT_H

#include <stdint.h>
#include <string.h>

#include "protocol/hot.h"

static inline char *text_put(char *at, const char *text) {
	size_t length = strlen(text);
	memcpy(at, text, length);
	return at + length;
}

#define TEXT_PAIRS(ten) ten "0" ten "1" ten "2" ten "3" ten "4" ten "5" ten "6" ten "7" ten "8" ten "9"

static inline unsigned text_count_digits(uint64_t number) {
	unsigned count = 1;
	for (; number >= 100; number /= 100)
		count += 2;
	return count + (number >= 10);
}

/* By two digits at once: that halves the divisions. Not inline: whoever writes several numbers needs it once. */
__attribute__((unused)) APART static char *text_put_number(char *at, uint64_t number) {
	static const char pairs[] = TEXT_PAIRS("0") TEXT_PAIRS("1") TEXT_PAIRS("2") TEXT_PAIRS("3") TEXT_PAIRS("4")
		TEXT_PAIRS("5") TEXT_PAIRS("6") TEXT_PAIRS("7") TEXT_PAIRS("8") TEXT_PAIRS("9");
	char *end = at + text_count_digits(number), *place = end;
	for (; number >= 100; number /= 100)
		memcpy(place -= 2, &pairs[2 * (number % 100)], 2);
	if (number >= 10)
		memcpy(place - 2, &pairs[2 * number], 2);
	else
		place[-1] = (char)('0' + number);
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
