/*
 * fork_mark.c - makes the page that a fork wipes, and gives out the numbers.
 */
#include <stddef.h>
#include <sys/mman.h>

#include "fork_mark.h"

/* The kernel rounds this up to a page. */
#define MARK_BYTES sizeof(uint64_t)

void fork_mark_init(struct fork_mark *mark) {
	void *page = mmap(NULL, MARK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mark->process = NULL;
	atomic_init(&mark->last, 0);
	if (page == MAP_FAILED)
		return;
	if (madvise(page, MARK_BYTES, MADV_WIPEONFORK) != 0) {
		munmap(page, MARK_BYTES);
		return;
	}
	mark->process = page;
	fork_mark_renew(mark);
}

void fork_mark_destroy(struct fork_mark *mark) {
	if (mark->process)
		munmap(mark->process, MARK_BYTES);
}

/* Several threads of a new child may call this at once: the number of one of them becomes the number of all. */
uint64_t fork_mark_renew(struct fork_mark *mark) {
	uint64_t process = 0, fresh = atomic_fetch_add(&mark->last, 1) + 1;
	return atomic_compare_exchange_strong(mark->process, &process, fresh) ? fresh : process;
}
