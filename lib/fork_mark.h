/*
 * fork_mark.h - which process this is, of those that share an attachment's past.
 *
 * The number is in a page that the kernel makes zero in the child of a fork
 * (MADV_WIPEONFORK, Linux 4.14), and the child gives itself the next. Process
 * ids don't tell: the first process of a PID namespace has the id 1, like its
 * parent in the namespace above. They are what remains where the kernel has no
 * such pages.
 *
 * vfork() and clone(CLONE_VM) share memory, this page as well: the library
 * takes their children for threads.
 */
#ifndef STINT_FORK_MARK_H
#define STINT_FORK_MARK_H

#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

struct fork_mark {
	_Atomic uint64_t *process; /* the wiped one; NULL: go by process ids */
	_Atomic uint64_t last;     /* the newest number here, or among the ancestors until they forked */
};

/* Never fails. */
void fork_mark_init(struct fork_mark *);
void fork_mark_destroy(struct fork_mark *);

/* Gives a number to a child that has none yet. */
uint64_t fork_mark_renew(struct fork_mark *);

/* The same in all threads of a process; another than in any process that this one descends from. */
static inline uint64_t fork_mark_process(struct fork_mark *mark) {
	uint64_t process;

	if (!mark->process)
		return (uint64_t)getpid();
	process = atomic_load_explicit(mark->process, memory_order_relaxed);
	return process != 0 ? process : fork_mark_renew(mark);
}

#endif
