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

/* What such a check hardly ever comes to is kept out of its way. */
#define APART __attribute__((noinline))

/* The same; and what leads there is kept out of the way, too. */
#define COLD __attribute__((cold, noinline))

#define SELDOM(condition) __builtin_expect((condition), 0)

/*
 * What comes after this finds the parts of *pointer anew. The compiler works out the addresses of atomic fields
 * only once; over a call, where few registers keep what they hold, each of them would make a trip to the stack.
 */
#define FORGET(pointer) __asm__("" : "+r"(pointer))

#endif
