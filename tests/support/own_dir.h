/*
 * own_dir.h - a temporary folder of a test's own, and a name for its shared-memory objects. Nobody else has
 * either, and tests/support/tidy removes both when the test is killed.
 */
#ifndef OWN_DIR_H
#define OWN_DIR_H

#define OWN_DIR_MAX 64
#define OWN_SHM_MAX 32

/* Makes it in $TMPDIR, for this user alone: "/tmp/stint-test.Ab12Cd", and "/stint-test.Ab12Cd" for the objects. 0,
 * or -1 with errno, and in dir the path that couldn't be made. */
int own_dir_make(char dir[static OWN_DIR_MAX], char shm[static OWN_SHM_MAX]);
void own_dir_remove(const char *dir); /* with all that is in it */
/* Removes the objects whose names begin so, with a '-' or a '.' after it. */
void own_dir_unlink_objects(const char *shm);

#endif
