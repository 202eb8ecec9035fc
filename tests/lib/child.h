/*
 * child.h - what the child of a fork expects. It says so by its exit status: the framework must not know of it.
 */
#ifndef TEST_CHILD_H
#define TEST_CHILD_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/wait.h>

#include "unit.h"

static int errors = 2; /* where a child that closes 2 can still complain */

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
