/*
 * heap.c - the binary heap of timers.
 */
#include "heap.h"

#include <stdlib.h>

#define HEAP_AT_START 64
#define HEAP_KEPT     4096

static void swap(struct heap_entry *a, struct heap_entry *b) {
	struct heap_entry held = *a;
	*a = *b;
	*b = held;
}

static int reserve(struct heap *heap) {
	if (heap->count < heap->capacity)
		return 0;
	size_t capacity = heap->capacity ? heap->capacity * 2 : HEAP_AT_START;
	struct heap_entry *entries = realloc(heap->entries, capacity * sizeof(*entries));
	if (!entries)
		return -1;
	heap->entries = entries;
	heap->capacity = capacity;
	return 0;
}

int heap_push(struct heap *heap, int64_t at_ns, uint32_t value) {
	if (reserve(heap) != 0)
		return -1;
	size_t i = heap->count++;
	heap->entries[i] = (struct heap_entry){.at_ns = at_ns, .value = value};
	for (; i > 0 && heap->entries[i].at_ns < heap->entries[(i - 1) / 2].at_ns; i = (i - 1) / 2)
		swap(&heap->entries[i], &heap->entries[(i - 1) / 2]);
	return 0;
}

/* A crowd's memory isn't kept for ever. */
static void shrink(struct heap *heap) {
	size_t capacity = heap->capacity / 2;
	if (capacity < HEAP_KEPT || heap->count > capacity / 2)
		return;
	struct heap_entry *entries = realloc(heap->entries, capacity * sizeof(*entries));
	if (!entries)
		return;
	heap->entries = entries;
	heap->capacity = capacity;
}

static void sift_down(struct heap *heap) {
	for (size_t i = 0;;) {
		size_t least = i;
		for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < heap->count; child++)
			if (heap->entries[child].at_ns < heap->entries[least].at_ns)
				least = child;
		if (least == i)
			return;
		swap(&heap->entries[i], &heap->entries[least]);
		i = least;
	}
}

bool heap_pop_due(struct heap *heap, int64_t now_ns, uint32_t *value) {
	if (heap->count == 0 || heap->entries[0].at_ns > now_ns)
		return false;
	*value = heap->entries[0].value;
	heap->entries[0] = heap->entries[--heap->count];
	sift_down(heap);
	shrink(heap);
	return true;
}

int64_t heap_next_ns(const struct heap *heap) {
	return heap->count ? heap->entries[0].at_ns : INT64_MAX;
}

void heap_deinit(struct heap *heap) {
	free(heap->entries);
	*heap = (struct heap){0};
}
