/*
 * admissions.h - when a client was admitted, in the window that ends now: an exact sliding log. The memory grows
 * with what a window holds.
 */
#ifndef ADMISSIONS_H
#define ADMISSIONS_H

#include <stdint.h>
#include <stdlib.h>

struct admissions {
	int64_t *at_ns; /* a ring */
	uint32_t first, count, room;
};

/* How many there were in (now_ns - window_ns, now_ns]. */
static inline uint32_t admissions_count(struct admissions *a, int64_t now_ns, int64_t window_ns) {
	for (; a->count > 0 && a->at_ns[a->first] <= now_ns - window_ns; a->count--)
		a->first = a->first + 1 == a->room ? 0 : a->first + 1;
	return a->count;
}

static inline void admissions_grow(struct admissions *a) {
	uint32_t room = a->room ? 2 * a->room : 4;
	int64_t *at_ns = malloc(room * sizeof(*at_ns));
	if (!at_ns)
		abort();
	for (uint32_t i = 0; i < a->count; i++)
		at_ns[i] = a->at_ns[(a->first + i) % a->room];
	free(a->at_ns);
	*a = (struct admissions){.at_ns = at_ns, .count = a->count, .room = room};
}

static inline void admissions_add(struct admissions *a, int64_t now_ns) {
	if (a->count == a->room)
		admissions_grow(a);
	uint32_t at = a->first + a->count++;
	a->at_ns[at < a->room ? at : at - a->room] = now_ns;
}

#endif
