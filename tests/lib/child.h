/*
 * child.h - what the child of a fork expects. The child tells by its exit status whether that is so: the test
 * framework must not know of it.
 */
#ifndef TEST_CHILD_H
#define TEST_CHILD_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/wait.h>

#include "unit.h"

static int errors = 2; /* a copy of descriptor 2, for the complaints of a child that closes 2 */

#define expect(condition)                                                                                         \
	do {                                                                                                          \
		if (!(condition)) {                                                                                       \
			dprintf(errors, "child, line %d: %s\n", __LINE__, #condition);                                        \
			leave(1);                                                                                             \
		}                                                                                                         \
	} while (0)

static inline bool is_well(pid_t child) {
	int status;

	return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#endif
