/*
 * fork_mark.c - gives out the numbers.
 */
#include "fork_mark.h"
#include "wiped_page.h"

#define MARK_BYTES sizeof(uint64_t)

void fork_mark_init(struct fork_mark *mark) {
	atomic_init(&mark->last, 0);
	mark->process = wiped_page_new(MARK_BYTES);
	if (mark->process)
		fork_mark_renew(mark);
}

void fork_mark_destroy(struct fork_mark *mark) {
	wiped_page_free(mark->process, MARK_BYTES);
}

/* Several threads of a new child may call this at once: the number of one of them becomes the number of all. */
uint64_t fork_mark_renew(struct fork_mark *mark) {
	uint64_t process = 0, fresh = atomic_fetch_add(&mark->last, 1) + 1;
	return atomic_compare_exchange_strong(mark->process, &process, fresh) ? fresh : process;
}
