/*
 * shm.h - makes the two shared-memory objects, or takes them over from an agent
 * that is gone, and holds a lock so that a second agent can't have them.
 *
 * The objects outlive the agent on purpose: apps go on deciding in them, and the
 * next agent finds the leases. They vanish at reboot.
 */
#ifndef STINT_SHM_H
#define STINT_SHM_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/layout.h"

struct shm {
	struct directory_header *directory;
	struct table_header *table;
	int directory_fd; /* read-only, for apps */
	int table_fd;     /* read-write, for apps; another open file than lock_fd, so apps can't hold the lock */
	int lock_fd;
	bool taken_over;
};

#define SHM_ERROR_MAX 256

/* Returns 0, or -1 with a sentence in error: another agent uses them, no space in /dev/shm, another user's, ... */
int shm_objects_open(struct shm *shm, const char *name, uint64_t max_clients, char error[static SHM_ERROR_MAX]);
/* Unmaps and closes; the objects stay. */
void shm_objects_close(struct shm *shm);

#endif
