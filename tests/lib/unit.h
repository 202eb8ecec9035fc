/*
 * unit.h - what every program of these tests needs.
 */
#ifndef UNIT_H
#define UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

/* No test takes seconds, and none takes this long, not even under valgrind on a busy machine. */
#define UNIT_SECONDS_MAX 120

/* In a build that counts what is reached (make coverage): writes the counts. Elsewhere NULL. */
void __gcov_dump(void) __attribute__((weak));

/* Ends the child of a fork, of which the framework must not know. */
static inline void leave(int status) {
	if (__gcov_dump)
		__gcov_dump();
	_exit(status);
}

#endif
