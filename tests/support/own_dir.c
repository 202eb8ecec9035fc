/* own_dir.c - see own_dir.h. */
#include "own_dir.h"

#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

int own_dir_make(char dir[static OWN_DIR_MAX], char shm[static OWN_SHM_MAX]) {
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, OWN_DIR_MAX, "%.40s/stint-test.XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(shm, OWN_SHM_MAX, "%s", strrchr(dir, '/'));
	return 0;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where) {
	(void)info;
	(void)kind;
	(void)where;
	remove(path);
	return 0;
}

void own_dir_remove(const char *dir) {
	nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void own_dir_unlink_objects(const char *shm) {
	char pattern[64];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "/dev/shm%s[-.]*", shm);
	if (glob(pattern, 0, NULL, &found) != 0)
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		shm_unlink(strrchr(found.gl_pathv[i], '/'));
	globfree(&found);
}
