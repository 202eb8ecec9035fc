#include "sample.h"

#include <stdlib.h>
#include <string.h>

void samples_add(struct samples *s, double value) {
	if (s->count < SAMPLES_MAX)
		s->value[s->count++] = value;
}

static int compare(const void *a, const void *b) {
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static double quantile(const struct samples *s, int numerator, int denominator) {
	double sorted[SAMPLES_MAX];

	if (s->count == 0)
		return 0;
	memcpy(sorted, s->value, (size_t)s->count * sizeof(sorted[0]));
	qsort(sorted, (size_t)s->count, sizeof(sorted[0]), compare);
	return sorted[(s->count - 1) * numerator / denominator];
}

double samples_median(const struct samples *s) {
	return quantile(s, 1, 2);
}

double samples_least(const struct samples *s) {
	return quantile(s, 0, 1);
}
