/*
 * setting.h - what a test takes from its environment or its command line: how often, how long, which seed. The
 * long form of a test is the same program with other numbers.
 */
#ifndef SETTING_H
#define SETTING_H

#include <stdint.h>
#include <stdlib.h>

static inline uint64_t setting_number(const char *name, uint64_t otherwise) {
	const char *text = getenv(name);

	return text != NULL && text[0] != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

/* The n-th argument, counted from 1. */
static inline uint64_t setting_argument(int argc, char **argv, int n, uint64_t otherwise) {
	return argc > n ? strtoull(argv[n], NULL, 10) : otherwise;
}

#endif
