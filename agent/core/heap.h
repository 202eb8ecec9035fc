/*
 * heap.h - timers: a binary heap of (time, value), the earliest first. An entry
 * can't be taken out; who set it decides, when it comes up, whether it still
 * means anything.
 */
#ifndef STINT_HEAP_H
#define STINT_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_entry {
	int64_t at_ns;
	uint32_t value;
};

struct heap {
	struct heap_entry *entries;
	size_t count;
	size_t capacity;
};

int heap_push(struct heap *, int64_t at_ns, uint32_t value); /* 0, or -1 without memory */
/* The earliest entry, if it is due at now_ns. */
bool heap_pop_due(struct heap *, int64_t now_ns, uint32_t *value);
int64_t heap_next_ns(const struct heap *); /* INT64_MAX: empty */
void heap_deinit(struct heap *);

#endif
