/* nth_control.c - the file that test and victim share: see nth.h. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nth.h"

static struct nth_control *map_file(int fd) {
	struct nth_control *control = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, sizeof(*control)) == 0)
		control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	return control == MAP_FAILED ? NULL : control;
}

struct nth_control *nth_make(const char *path) {
	return map_file(open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
}

struct nth_control *nth_find(void) {
	const char *path = getenv("NTH_CONTROL");

	return path != NULL ? map_file(open(path, O_RDWR | O_CLOEXEC)) : NULL;
}

void nth_arm(struct nth_control *control, const struct nth_plan *plan) {
	control->plan = *plan;
	control->failed[0] = '\0';
	atomic_store(&control->calls, 0);
	atomic_store(&control->failures, 0);
	atomic_store(&control->blocks_then, atomic_load(&control->blocks));
	atomic_store(&control->armed, 1);
}

uint64_t nth_disarm(struct nth_control *control) {
	atomic_store(&control->armed, 0);
	return atomic_load(&control->calls);
}
