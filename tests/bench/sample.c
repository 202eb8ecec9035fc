/* sample.c - the median of samples. */
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

double samples_median(const struct samples *s) {
	double sorted[SAMPLES_MAX];

	if (s->count == 0)
		return 0;
	memcpy(sorted, s->value, (size_t)s->count * sizeof(sorted[0]));
	qsort(sorted, (size_t)s->count, sizeof(sorted[0]), compare);
	return sorted[(s->count - 1) / 2];
}
