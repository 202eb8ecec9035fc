/*
 * descriptor.c - finds out whose a descriptor is, and replaces, closes and
 * moves the library's.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "descriptor.h"

enum owner {
	OWNER_LIBRARY,
	OWNER_APP,     /* the app's, or nobody's */
	OWNER_UNKNOWN, /* fstat() fails */
};

void descriptor_init(struct descriptor *d) {
	atomic_init(&d->number, -1);
	atomic_init(&d->device, 0);
	atomic_init(&d->inode, 0);
}

static enum owner find_owner(const struct descriptor *d, int *number) {
	uint64_t inode = atomic_load(&d->inode), device = atomic_load(&d->device);
	*number = atomic_load(&d->number);
	if (*number < 0)
		return OWNER_APP;
	struct stat st;
	if (fstat(*number, &st) != 0)
		return errno == EBADF ? OWNER_APP : OWNER_UNKNOWN;
	return st.st_ino == inode && st.st_dev == device ? OWNER_LIBRARY : OWNER_APP;
}

int descriptor_find(const struct descriptor *d) {
	int number;
	return find_owner(d, &number) == OWNER_LIBRARY ? number : -1;
}

bool descriptor_replace(struct descriptor *d, int fd) {
	int number;
	enum owner owner = find_owner(d, &number);
	struct stat st;

	if (owner == OWNER_UNKNOWN || fstat(fd, &st) != 0 ||
	    (owner == OWNER_LIBRARY && dup3(fd, number, O_CLOEXEC) < 0)) {
		close(fd);
		return false;
	}
	if (owner == OWNER_LIBRARY)
		close(fd);
	else
		atomic_store(&d->number, fd);
	atomic_store(&d->device, st.st_dev);
	atomic_store(&d->inode, st.st_ino);
	return true;
}

void descriptor_close(struct descriptor *d) {
	int number = descriptor_find(d);
	atomic_store(&d->number, -1);
	if (number >= 0)
		close(number);
}

int descriptor_above_stdio(int fd) {
	if (fd < 0 || fd > STDERR_FILENO)
		return fd;
	int above = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	close(fd);
	return above;
}

/* A file that is opened with O_PATH can't be read or written: EBADF, as when the number is free. */
void stdio_hold(struct stdio_hold *hold) {
	*hold = (struct stdio_hold){{false}};
	int fd;
	while ((fd = open("/", O_PATH | O_CLOEXEC)) >= 0 && fd <= STDERR_FILENO)
		hold->held[fd] = true;
	if (fd >= 0)
		close(fd);
}

/* Closes what stdio_hold() has opened, unless the app has put something else there meanwhile. */
void stdio_release(const struct stdio_hold *hold) {
	for (int fd = 0; fd <= STDERR_FILENO; fd++) {
		int flags = hold->held[fd] ? fcntl(fd, F_GETFL) : -1;

		if (flags >= 0 && (flags & O_PATH) != 0)
			close(fd);
	}
}
