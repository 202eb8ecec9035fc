/*
 * scene.h - where a system test plays: a temporary folder, and a guard that
 * clears everything away however the play ends.
 *
 * scene_run() forks. The child plays; the parent, which does nothing else, waits
 * for its end, for a signal (Ctrl-C), or for the time limit, and then ends the child
 * (what the child started dies with it, and its daemons are ended), removes the
 * database, the shared memory and the folder. $STINT_KEEP=1 leaves the folder, for
 * the logs.
 *
 * The guard also buries what daemons leave behind: a killed postmaster that nobody
 * waits for would still look alive to the one that takes its place.
 */
#ifndef SCENE_H
#define SCENE_H

#include "own_dir.h"

struct scene {
	char dir[OWN_DIR_MAX]; /* absolute; open to all, since PostgreSQL runs as another user */
	char shm[OWN_SHM_MAX]; /* names of shared-memory objects begin with it, and a '-': "/stint-test.Ab12Cd" */
};

/* Returns the play's exit status; 124 when the time was up, 130 after a signal. */
int scene_run(int (*play)(const struct scene *), int limit_s);

/* Puts "dir/name" into path (size at least 108). */
void scene_path(const struct scene *, const char *name, char path[static 108]);

/* For tests that need disks of their own: call it first in main(), so that guard and play see the same mounts
 * and nobody else does. 0, or -1 with errno: this machine doesn't let us. */
int scene_own_mounts(void);
/* A disk in memory of so many KiB, at dir/name: gone with the scene. Puts its path into path. 0 or -1. */
int scene_mount(const struct scene *, const char *name, int kib, char path[static 108]);

#endif
