/* wall_clock.c - see wall_clock.h. */
#include "wall_clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process.h"

#define COPY_MS 5000

int wall_clock_make(struct wall_clock *clock, const struct scene *scene) {
	const char *argv[] = {"cp", process_built("tests/support/wall_clock_preload.so"), clock->library, NULL};
	void *memory = MAP_FAILED;
	int fd;

	scene_path(scene, "wall_clock.so", clock->library);
	scene_path(scene, "wall_clock", clock->file);
	if (process_run(argv, COPY_MS, NULL, 0, NULL) != 0 || chmod(clock->library, 0755) != 0)
		return -1;
	fd = open(clock->file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -1;
	if (fchmod(fd, 0644) == 0 && ftruncate(fd, sizeof(*clock->shift_us)) == 0)
		memory = mmap(NULL, sizeof(*clock->shift_us), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	clock->shift_us = memory == MAP_FAILED ? NULL : memory;
	return clock->shift_us != NULL ? 0 : -1;
}

void wall_clock_set(struct wall_clock *clock, int64_t shift_us) {
	atomic_store(clock->shift_us, shift_us);
}

void wall_clock_export(const struct wall_clock *clock) {
	setenv("LD_PRELOAD", clock->library, 1);
	setenv(WALL_CLOCK_VARIABLE, clock->file, 1);
}

void wall_clock_export_to_server(const struct wall_clock *clock) {
	char words[320];

	snprintf(words, sizeof(words), "LD_PRELOAD=%s " WALL_CLOCK_VARIABLE "=%s", clock->library, clock->file);
	setenv("STINT_PG_ENV", words, 1);
}
