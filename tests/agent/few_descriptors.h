/*
 * few_descriptors.h - a process that may open a few descriptors more, or none. Include it after cmocka.h.
 */
#ifndef FEW_DESCRIPTORS_H
#define FEW_DESCRIPTORS_H

#include <sys/resource.h>
#include <unistd.h>

/* Leaves so many that may still be opened. Returns the limit before, for give_descriptors_back(), which comes
 * first if it is called again. */
static inline struct rlimit leave_descriptors(rlim_t few) {
	struct rlimit before;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	int lowest = dup(0);
	assert_true(lowest >= 0);
	close(lowest);
	struct rlimit tight = {.rlim_cur = (rlim_t)lowest + few, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	return before;
}

static inline void give_descriptors_back(const struct rlimit *before) {
	assert_int_equal(setrlimit(RLIMIT_NOFILE, before), 0);
}

#endif
