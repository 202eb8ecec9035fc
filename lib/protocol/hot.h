/*
 * hot.h - attributes for what a warm check runs through, and for what it
 * doesn't.
 */
#ifndef STINT_HOT_H
#define STINT_HOT_H

/*
 * For the functions that a warm check runs through. The linker puts them side by side: a process that wakes up
 * for a single check, with cold caches, pays for each page of code that it comes through.
 */
#define HOT __attribute__((hot)) NO_CANARY

/* No array is on their stack, only what the clock writes: a canary there would guard nothing. (lint holds that; it
 * gives them one to see why they get it.) */
#if !defined(NO_CANARY) && defined(__has_attribute)
#if __has_attribute(no_stack_protector)
#define NO_CANARY __attribute__((no_stack_protector))
#endif
#endif
#ifndef NO_CANARY
#define NO_CANARY
#endif

/* For their parts: the compiler inlines these, so that what they find out stays in registers. */
#define HOT_PART __attribute__((always_inline))

/* For what such a check hardly ever calls: it is kept out of line. */
#define APART __attribute__((noinline))

/* The same; and the compiler moves the code that leads there out of the way, too. */
#define COLD __attribute__((cold, noinline))

#define SELDOM(condition) __builtin_expect((condition), 0)

/*
 * Makes the compiler find the parts of *pointer anew after this. Otherwise it works out the addresses of atomic
 * fields only once; over a call, where few registers keep their value, each address would make a trip to the
 * stack.
 */
#define FORGET(pointer) __asm__("" : "+r"(pointer))

#endif
