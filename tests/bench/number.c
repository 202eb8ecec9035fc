/* number.c - rounding, commas and units of numbers in tables. */
#include "number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double three_digits(double value) {
	char text[32];

	snprintf(text, sizeof(text), "%.2e", value);
	return strtod(text, NULL);
}

static void with_commas(char out[static NUMBER_SIZE], double whole) {
	char digits[32];
	int length = snprintf(digits, sizeof(digits), "%.0f", fabs(whole));
	size_t at = 0;

	if (whole < 0)
		out[at++] = '-';
	for (int i = 0; i < length; i++) {
		out[at++] = digits[i];
		if (i + 1 < length && (length - i - 1) % 3 == 0)
			out[at++] = ',';
	}
	out[at] = '\0';
}

static void plain(char out[static NUMBER_SIZE], double value) {
	double rounded = three_digits(value);
	double size = fabs(rounded);

	if (value == floor(value) && fabs(value) < 1e5)
		with_commas(out, value);
	else if (size >= 1e15 || (size < 1e-4 && size > 0))
		snprintf(out, NUMBER_SIZE, "%.2e", value);
	else if (size >= 1e9)
		snprintf(out, NUMBER_SIZE, "%.*f G", size >= 1e11 ? 0 : size >= 1e10 ? 1 : 2, rounded / 1e9);
	else if (size >= 1e6)
		snprintf(out, NUMBER_SIZE, "%.*f M", size >= 1e8 ? 0 : size >= 1e7 ? 1 : 2, rounded / 1e6);
	else if (size >= 1000)
		with_commas(out, rounded);
	else
		snprintf(out, NUMBER_SIZE, "%.*f",
		         size >= 100   ? 0
		         : size >= 10  ? 1
		         : size >= 1   ? 2
		         : size >= 0.1 ? 3
		                       : 4,
		         rounded);
}

/* Durations grow into the next unit at 1,000. */
static const char *scale(double *value, const char *unit) {
	static const char *const units[] = {"ns", "us", "ms", "s"};

	for (size_t i = 0; i + 1 < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(unit, units[i]) == 0 && fabs(three_digits(*value)) >= 1000) {
			*value = three_digits(*value) / 1000;
			unit = units[i + 1];
		}
	}
	return unit;
}

static void add_unit(char out[static NUMBER_SIZE], const char *unit) {
	size_t length = strlen(out);

	if (strcmp(unit, "us") == 0)
		unit = "µs";
	/* "500/s", "500 ns" */
	snprintf(out + length, NUMBER_SIZE - length, "%s%s", *unit == '\0' || *unit == '/' ? "" : " ", unit);
}

void number_format(char out[static NUMBER_SIZE], double value, const char *unit) {
	unit = scale(&value, unit);
	plain(out, value);
	add_unit(out, unit);
}

void number_format_bound(char out[static NUMBER_SIZE], double bound, const char *unit) {
	unit = scale(&bound, unit);
	if (fabs(bound) >= 1000)
		plain(out, bound);
	else
		snprintf(out, NUMBER_SIZE, "%g", bound);
	add_unit(out, unit);
}
