/*
 * wiped_page.c - asks the kernel for memory that a fork wipes.
 */
#include <sys/mman.h>

#include "wiped_page.h"

void *wiped_page_new(size_t bytes) {
	void *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return NULL;
	if (madvise(page, bytes, MADV_WIPEONFORK) == 0)
		return page;
	munmap(page, bytes);
	return NULL;
}

void wiped_page_free(void *page, size_t bytes) {
	if (page)
		munmap(page, bytes);
}
