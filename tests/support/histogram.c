/* histogram.c - see histogram.h. */
#include "histogram.h"

#include <stdio.h>

void histogram_merge(struct histogram *into, const struct histogram *from) {
	uint64_t max = atomic_load(&from->max);

	for (unsigned i = 0; i < HISTOGRAM_CLASSES; i++)
		into->count[i] += from->count[i];
	if (max > into->max)
		into->max = max;
}

uint64_t histogram_total(const struct histogram *h) {
	uint64_t total = 0;

	for (unsigned i = 0; i < HISTOGRAM_CLASSES; i++)
		total += h->count[i];
	return total;
}

uint64_t histogram_quantile(const struct histogram *h, unsigned per_mille) {
	uint64_t total = histogram_total(h), seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_CLASSES; i++) {
		seen += h->count[i];
		if (total > 0 && seen * 1000 >= total * per_mille) {
			uint64_t end = histogram_class_end(i);

			return end < h->max ? end : h->max;
		}
	}
	return 0;
}

uint64_t histogram_above(const struct histogram *h, uint64_t value) {
	uint64_t above = 0;

	for (unsigned i = histogram_class(value) + 1; i < HISTOGRAM_CLASSES; i++)
		above += h->count[i];
	return above;
}

static const char *duration_text(uint64_t ns, char text[static 24]) {
	if (ns < 1000)
		snprintf(text, 24, "%llu ns", (unsigned long long)ns);
	else if (ns < 1000000)
		snprintf(text, 24, "%.1f us", (double)ns / 1e3);
	else
		snprintf(text, 24, "%.1f ms", (double)ns / 1e6);
	return text;
}

void histogram_describe(const struct histogram *h, char *text, unsigned long size) {
	char p50[24], p99[24], p999[24], max[24];

	snprintf(text, size, "n %llu, p50 %s, p99 %s, p99.9 %s, max %s", (unsigned long long)histogram_total(h),
	         duration_text(histogram_quantile(h, 500), p50), duration_text(histogram_quantile(h, 990), p99),
	         duration_text(histogram_quantile(h, 999), p999), duration_text(h->max, max));
}
