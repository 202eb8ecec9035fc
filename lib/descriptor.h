/*
 * descriptor.h - descriptors in a process that is somebody else's.
 *
 * An app may close descriptors that it doesn't know, all at once, and open its
 * own behind their numbers: daemons do, and children of forks. So the library
 * remembers which file was behind a number, and checks that it still is before
 * it writes, reads, closes or replaces anything there. A number that the app has
 * taken is never touched again; the library makes a new descriptor instead.
 *
 * Another thread may close the number between the check and the use: nothing in
 * the kernel prevents that. stint.h asks apps not to.
 *
 * The library never uses the numbers 0 to 2, even when they are free: an app
 * would print into them.
 */
#ifndef STINT_DESCRIPTOR_H
#define STINT_DESCRIPTOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A descriptor whose file has an inode of its own, as a socket has. It is changed under a lock and read without
 * one: a number and an inode that don't belong together match no open file, and what matches was the library's.
 */
struct descriptor {
	_Atomic int number; /* -1: none */
	_Atomic uint64_t device;
	_Atomic uint64_t inode;
};

void descriptor_init(struct descriptor *);

/* Returns the number if the library's file is still behind it, else -1. Needs no lock. */
int descriptor_find(const struct descriptor *);

/*
 * Takes fd over. If the old number is still the library's, fd replaces what is there in one step, so that the
 * number may be used without the lock; else fd keeps its own number. When that fails, closes fd and returns false.
 */
bool descriptor_replace(struct descriptor *, int fd);

/* Closes the descriptor if it is still the library's. */
void descriptor_close(struct descriptor *);

/* Moves fd to a number above 2, close-on-exec, unless it has one. Returns the number, or -1 with errno when there
 * is none. fd may be -1. */
int descriptor_above_stdio(int fd);

/*
 * Occupies those of the numbers 0 to 2 that are free, with descriptors that can neither be read nor written, just
 * as if the numbers were free. Meanwhile nothing that is opened gets these numbers: neither a file nor a
 * descriptor that a message brings. The agent's table is writable, and another thread may be printing.
 */
struct stdio_hold {
	bool held[3];
};

void stdio_hold(struct stdio_hold *);
void stdio_release(const struct stdio_hold *);

#endif
