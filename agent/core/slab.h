/*
 * slab.h - memory for very many small things of few sizes: client ids, counters. A cell costs its size rounded up
 * to 8 bytes and a hundredth more; malloc() would take 16 on top of some. Cells of one size share a page, and a
 * page whose last cell is freed serves any other size, its memory given back to the system: whatever sizes come
 * and go, what is held follows what is in use.
 */
#ifndef STINT_SLAB_H
#define STINT_SLAB_H

#include <stddef.h>

#define SLAB_CELL_MAX 832u
#define SLAB_CLASSES  (SLAB_CELL_MAX / 8)

struct slab { /* starts as all zeros */
	struct slab_chunk *chunks;
	struct slab_page *spare;                   /* pages without memory */
	struct slab_page *with_room[SLAB_CLASSES]; /* pages that have a free cell, by size */
	size_t pages;                              /* in use */
};

/* 1 to SLAB_CELL_MAX; NULL without memory. What is in it is undefined */
void *slab_new(struct slab *, size_t bytes);
void slab_free(struct slab *, void *cell, size_t bytes);
size_t slab_bytes(const struct slab *); /* held */
void slab_deinit(struct slab *);

#endif
