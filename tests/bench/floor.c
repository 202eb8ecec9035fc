/* floor.c - the cells of that compare-and-swap, in an object of shared memory. */
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct floor_cell *map_object(const char *name, size_t bytes) {
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	void *memory = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0)
		memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	shm_unlink(name);
	return memory == MAP_FAILED ? NULL : memory;
}

int floor_open(struct floor *floor, const struct scene *scene, size_t count) {
	size_t bytes = count * sizeof(struct floor_cell);
	char name[64];

	*floor = (struct floor){.count = count};
	snprintf(name, sizeof(name), "%s-floor", scene->shm);
	floor->cells = map_object(name, bytes);
	if (!floor->cells) {
		fprintf(stderr, "floor: %zu bytes of shared memory: %s\n", bytes, strerror(errno));
		return -1;
	}
	/* As stint asks for its table; where the machine has none, both go without. */
	madvise(floor->cells, bytes, MADV_HUGEPAGE);
	memset(floor->cells, 0, bytes);
	for (unsigned i = 0; i < SECRET_SIZE; i++)
		floor->secret[i] = (uint8_t)(i * 37 + 11);
	return 0;
}

void floor_close(struct floor *floor) {
	munmap(floor->cells, floor->count * sizeof(struct floor_cell));
}
