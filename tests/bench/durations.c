/* durations.c - an array that grows; quantiles by the nearest rank, of the sorted array. */
#include "durations.h"

#include <stdlib.h>
#include <string.h>

int durations_open(struct durations *d, size_t room) {
	*d = (struct durations){.room = room, .ns = malloc(room * sizeof(*d->ns))};
	return d->ns != NULL ? 0 : -1;
}

void durations_close(struct durations *d) {
	free(d->ns);
	*d = (struct durations){0};
}

void durations_add(struct durations *d, uint64_t ns) {
	if (d->count < d->room)
		d->ns[d->count++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

void durations_append(struct durations *d, const uint32_t *ns, size_t count) {
	count = count < d->room - d->count ? count : d->room - d->count;
	memcpy(d->ns + d->count, ns, count * sizeof(*ns));
	d->count += count;
}

static int compare(const void *a, const void *b) {
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

void durations_sort(struct durations *d) {
	qsort(d->ns, d->count, sizeof(*d->ns), compare);
}

double durations_quantile(const struct durations *d, double fraction) {
	size_t at = (size_t)((double)d->count * fraction);

	if (d->count == 0)
		return 0;
	return d->ns[at < d->count ? at : d->count - 1];
}
