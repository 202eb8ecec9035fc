/*
 * slab.c - cells in pages, pages in chunks.
 *
 * A chunk is as large as it is aligned, so a cell's address says which page it is in. What is to be known of a
 * page stands in the first pages of its chunk, since a page that has been given back must not be touched.
 */
#include "slab.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE_BYTES  4096u
#define CHUNK_BYTES ((size_t)1 << 20)
#define CHUNK_PAGES (CHUNK_BYTES / PAGE_BYTES)
#define NO_CELL     UINT16_MAX

struct slab_page {
	struct slab_page *previous, *next; /* in a list of struct slab */
	uint16_t used;                     /* cells */
	uint16_t free;  /* the first free cell that was in use before; each holds the next one's number */
	uint16_t fresh; /* cells from here on were never in use */
};

struct slab_chunk {
	struct slab_chunk *next;
	struct slab_page pages[CHUNK_PAGES]; /* the first ones are this header itself, and not used */
};

#define HEADER_PAGES ((sizeof(struct slab_chunk) + PAGE_BYTES - 1) / PAGE_BYTES)

static size_t class_of(size_t bytes) {
	return (bytes - 1) / 8;
}

static size_t cell_bytes(size_t class) {
	return (class + 1) * 8;
}

static uint16_t cells_per_page(size_t class) {
	return (uint16_t)(PAGE_BYTES / cell_bytes(class));
}

static struct slab_chunk *chunk_of(const void *inside) {
	return (struct slab_chunk *)((uintptr_t)inside & ~(uintptr_t)(CHUNK_BYTES - 1));
}

static struct slab_page *page_of(const void *cell) {
	return &chunk_of(cell)->pages[((uintptr_t)cell & (CHUNK_BYTES - 1)) / PAGE_BYTES];
}

static char *memory_of(const struct slab_page *page) {
	struct slab_chunk *chunk = chunk_of(page);
	return (char *)chunk + (size_t)(page - chunk->pages) * PAGE_BYTES;
}

static void link_page(struct slab_page **list, struct slab_page *page) {
	page->previous = NULL;
	page->next = *list;
	if (*list)
		(*list)->previous = page;
	*list = page;
}

static void unlink_page(struct slab_page **list, struct slab_page *page) {
	*(page->previous ? &page->previous->next : list) = page->next;
	if (page->next)
		page->next->previous = page->previous;
}

/* Twice as much address space is asked for, and what lies before and behind the aligned part returned. */
static struct slab_chunk *map_chunk(void) {
	char *start =
		mmap(NULL, 2 * CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (start == MAP_FAILED)
		return NULL;
	char *chunk = (char *)chunk_of(start + CHUNK_BYTES - 1);
	if (chunk > start)
		munmap(start, (size_t)(chunk - start));
	munmap(chunk + CHUNK_BYTES, CHUNK_BYTES - (size_t)(chunk - start));
	return (struct slab_chunk *)(void *)chunk;
}

static int add_chunk(struct slab *slab) {
	struct slab_chunk *chunk = map_chunk();
	if (!chunk)
		return -1;
	chunk->next = slab->chunks;
	slab->chunks = chunk;
	for (size_t i = CHUNK_PAGES; i-- > HEADER_PAGES;)
		link_page(&slab->spare, &chunk->pages[i]);
	return 0;
}

static struct slab_page *new_page(struct slab *slab, size_t class) {
	if (!slab->spare && add_chunk(slab) != 0)
		return NULL;
	struct slab_page *page = slab->spare;
	unlink_page(&slab->spare, page);
	page->used = page->fresh = 0;
	page->free = NO_CELL;
	link_page(&slab->with_room[class], page);
	slab->pages++;
	return page;
}

void *slab_new(struct slab *slab, size_t bytes) {
	size_t class = class_of(bytes);
	struct slab_page *page = slab->with_room[class] ? slab->with_room[class] : new_page(slab, class);
	if (!page)
		return NULL;
	uint16_t number = page->free != NO_CELL ? page->free : page->fresh++;
	char *cell = memory_of(page) + number * cell_bytes(class);
	if (number == page->free)
		memcpy(&page->free, cell, sizeof(page->free));
	if (++page->used == cells_per_page(class))
		unlink_page(&slab->with_room[class], page);
	return cell;
}

/* The last page with room is kept: else one cell that comes and goes would cost two calls of the system each
 * time. */
static void free_page(struct slab *slab, struct slab_page *page, size_t class) {
	if (!page->previous && !page->next)
		return;
	unlink_page(&slab->with_room[class], page);
	madvise(memory_of(page), PAGE_BYTES, MADV_DONTNEED);
	link_page(&slab->spare, page);
	slab->pages--;
}

void slab_free(struct slab *slab, void *cell, size_t bytes) {
	size_t class = class_of(bytes);
	struct slab_page *page = page_of(cell);
	if (page->used-- == cells_per_page(class))
		link_page(&slab->with_room[class], page);
	memcpy(cell, &page->free, sizeof(page->free));
	page->free = (uint16_t)((size_t)((char *)cell - memory_of(page)) / cell_bytes(class));
	if (page->used == 0)
		free_page(slab, page, class);
}

size_t slab_bytes(const struct slab *slab) {
	return slab->pages * PAGE_BYTES;
}

void slab_deinit(struct slab *slab) {
	for (struct slab_chunk *chunk = slab->chunks, *next; chunk; chunk = next) {
		next = chunk->next;
		munmap(chunk, CHUNK_BYTES);
	}
	*slab = (struct slab){0};
}
