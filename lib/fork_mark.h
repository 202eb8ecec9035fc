/*
 * fork_mark.h - which process this is, of those that share an attachment's past.
 *
 * Each process has a number, in a page that the kernel makes zero in the child
 * of a fork (MADV_WIPEONFORK, Linux 4.14); the child gives itself the next
 * number. Process ids don't tell: the first process of a PID namespace has the
 * id 1, like its parent in the namespace above. They are used only where the
 * kernel has no such pages.
 *
 * Children of vfork() and clone(CLONE_VM) share memory with their parent, this
 * page as well: the library takes them for threads.
 */
#ifndef STINT_FORK_MARK_H
#define STINT_FORK_MARK_H

#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

struct fork_mark {
	_Atomic uint64_t *process; /* this process's number, in the page; NULL: use process ids */
	_Atomic uint64_t last;     /* the newest number, here or in the ancestors until they forked */
};

/* Never fails: without such a page, process ids are used. */
void fork_mark_init(struct fork_mark *);
void fork_mark_destroy(struct fork_mark *);

/* Gives a number to a child that has none yet, and returns it. */
uint64_t fork_mark_renew(struct fork_mark *);

/* Returns a number that all threads of a process share, and that differs from those of all its ancestors. */
static inline uint64_t fork_mark_process(struct fork_mark *mark) {
	uint64_t process;

	if (!mark->process)
		return (uint64_t)getpid();
	process = atomic_load_explicit(mark->process, memory_order_relaxed);
	return process != 0 ? process : fork_mark_renew(mark);
}

#endif
