/*
 * error.c - the sentence of each error, and the calling thread's detail.
 */
#include <stdarg.h>
#include <stdio.h>

#include "error.h"
#include "stint.h"

/* The longest detail names an option, a value and two bounds; the agent's words are cut to the same size. */
static _Thread_local char detail[256];

static const char *find_sentence(int error) {
	switch (error) {
	case 0: return "no error";
#define SENTENCE(name, number, sentence)                                                                          \
	case number: return sentence;
		STINT_ERRORS(SENTENCE)
#undef SENTENCE
	default: return NULL;
	}
}

const char *stint_strerror(int error) {
	const char *sentence = find_sentence(error);
	return sentence ? sentence : "unknown error";
}

const char *stint_error_detail(void) {
	return detail;
}

int error_is_known(int error) {
	return error < 0 && find_sentence(error);
}

int error_set(int error, const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(detail, sizeof(detail), format, arguments);
	va_end(arguments);
	return error;
}
