/*
 * descriptor.h - descriptors in a process that is somebody else's.
 *
 * An app may close descriptors that it doesn't know, all at once, and open its
 * own behind their numbers: daemons do, and children of forks. So the library
 * keeps in mind which file was behind a number, and looks whether it still is
 * before it writes, reads, closes or replaces anything there. What the app has
 * taken is never touched again, and not missed: a new one is made.
 *
 * Between looking and using, another thread may close the number: nothing in the
 * kernel prevents that. stint.h asks apps not to.
 *
 * Numbers 0 to 2 are never taken, though they may be free: an app would print
 * into them.
 */
#ifndef STINT_DESCRIPTOR_H
#define STINT_DESCRIPTOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * One whose file has an inode of its own, as a socket has. Changed under a lock, looked at without: a number and an inode that don't
 * belong together don't match, and what matches was the library's.
 */
struct descriptor {
	_Atomic int number; /* -1: none */
	_Atomic uint64_t device;
	_Atomic uint64_t inode;
};

void descriptor_init(struct descriptor *);

/* The number, if the library's file is still behind it; else -1. */
int descriptor_find(const struct descriptor *);

/*
 * Takes fd over: behind the old number, at one instant, if that is still the library's, so that it may be used without the
 * lock; else under its own. False, and fd is closed, when that can't be done.
 */
bool descriptor_replace(struct descriptor *, int fd);

/* Closes what is still the library's. */
void descriptor_close(struct descriptor *);

/* The same file, close-on-exec, under a number above 2; fd may be -1, and -1 is returned, with errno, when there is none. */
int descriptor_above_stdio(int fd);

/*
 * Occupies what is free of 0 to 2, with what can neither be read nor written, just as if it were free. Meanwhile nothing that is
 * opened gets there: neither a file nor what a message brings. The agent's table is writable, and another thread may be printing.
 */
struct stdio_hold {
	bool held[3];
};

void stdio_hold(struct stdio_hold *);
void stdio_release(const struct stdio_hold *);

#endif
