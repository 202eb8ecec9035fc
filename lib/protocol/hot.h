/*
 * hot.h - what a warm check runs through.
 */
#ifndef STINT_HOT_H
#define STINT_HOT_H

/*
 * Functions on the way of a warm check. The linker puts them side by side: a process that wakes up for a single
 * check, with cold caches, pays for each page of code that it comes through.
 */
#define HOT __attribute__((hot))

/* Their parts: one function to the compiler, so that what they find out stays in registers. */
#define HOT_PART __attribute__((always_inline))

#endif
