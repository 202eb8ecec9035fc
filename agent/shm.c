/* shm.c - makes, checks, and takes over the shared-memory objects; see shm.h. */
#include "shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/table.h"
#include "protocol/tally.h"
#include "protocol/timens.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* since Linux 5.14; older kernels refuse it */
#endif

#define NAME_BYTES  256
#define OBJECT_MODE 0600

/* Another agent that starts or stops at the same moment may swap the objects under us: we look again, a few
 * times. */
#define OPEN_TRIES 8

struct names {
	char directory[NAME_BYTES];
	char table[NAME_BYTES];
};

static int fail(char *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int fail(char *error, const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(error, SHM_ERROR_MAX, format, arguments);
	va_end(arguments);
	return -1;
}

static void close_fd(int *fd) {
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int read_boot_id(uint8_t id[static 16]) {
	char text[64] = "";
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t got = read(fd, text, sizeof(text) - 1);
	close(fd);
	int digits = 0;
	memset(id, 0, 16);
	for (ssize_t i = 0; i < got && digits < 32; i++) {
		const char *hex = "0123456789abcdef", *at = strchr(hex, text[i]);
		if (!at) /* a dash */
			continue;
		id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | (at - hex));
		digits++;
	}
	return digits == 32 ? 0 : -1;
}

/* Whether the name still leads to this object: somebody may have unlinked it before we had the lock. */
static bool is_current(int fd, const char *name) {
	struct stat ours, named;
	int other = shm_open(name, O_RDONLY | O_CLOEXEC, 0);
	if (other < 0)
		return false;
	bool same = fstat(fd, &ours) == 0 && fstat(other, &named) == 0 && ours.st_ino == named.st_ino &&
	            ours.st_dev == named.st_dev;
	close(other);
	return same;
}

static int check_owner(int fd, const char *name, char *error) {
	struct stat st;
	if (fstat(fd, &st) != 0)
		return fail(error, "%s: %s", name, strerror(errno));
	if (st.st_uid != geteuid())
		return fail(error, "shared memory %s belongs to user %u, not to this agent's user %u", name, st.st_uid,
		            geteuid());
	if ((st.st_mode & 0777) != OBJECT_MODE && fchmod(fd, OBJECT_MODE) != 0)
		return fail(error, "%s: %s", name, strerror(errno));
	return 0;
}

/* Opens the object, and makes it only if it isn't there: where fs.protected_regular is set, not even root may open
 * another user's object with O_CREAT, and the error wouldn't say whose it is. */
static int open_or_make(const char *name) {
	int fd = shm_open(name, O_RDWR | O_CLOEXEC, 0);
	return fd >= 0 || errno != ENOENT ? fd : shm_open(name, O_RDWR | O_CREAT | O_CLOEXEC, OBJECT_MODE);
}

/* Opens the table object, or makes it if there is none, and takes the lock. */
static int open_locked(const struct names *names, char *error) {
	for (int tries = 0; tries < OPEN_TRIES; tries++) {
		int fd = open_or_make(names->table);
		if (fd < 0)
			return fail(error, "cannot open shared memory %s: %s", names->table, strerror(errno));
		if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
			close(fd);
			return fail(error, "another agent is running on shared memory %s", names->table);
		}
		if (is_current(fd, names->table))
			return check_owner(fd, names->table, error) == 0 ? fd : (close(fd), -1);
		close(fd);
	}
	return fail(error, "shared memory %s keeps changing under us", names->table);
}

static void *map_object(int fd, uint64_t bytes) {
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory != MAP_FAILED)
		madvise(memory, bytes, MADV_HUGEPAGE); /* where there are huge pages */
	return memory == MAP_FAILED ? NULL : memory;
}

static uint64_t size_of(int fd) {
	struct stat st;
	return fstat(fd, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

static bool directory_fits(const struct directory_header *d, const struct table_geometry *g,
                           const uint8_t *boot_id) {
	return d->magic == LAYOUT_MAGIC && d->version == LAYOUT_VERSION && d->policy_capacity == POLICY_CAPACITY &&
	       d->directory_bytes == g->directory_bytes && d->table_bytes == g->table_bytes &&
	       d->tags_offset == g->tags_offset && d->slots_offset == g->slots_offset &&
	       d->bucket_count == g->bucket_count && d->slots_per_bucket == SLOTS_PER_BUCKET &&
	       d->tallies_offset == g->tallies_offset && d->tally_stripes == g->tally_stripes &&
	       !timens_differ(d->clock_offset, timens_offset()) &&
	       memcmp(d->boot_id, boot_id, sizeof(d->boot_id)) == 0;
}

static bool table_fits(const struct table_header *t, const struct directory_header *d) {
	return t->magic == LAYOUT_MAGIC && t->version == LAYOUT_VERSION && t->generation == d->generation &&
	       atomic_load(&t->state) == TABLE_ALIVE;
}

static void unmap(struct shm *shm, const struct table_geometry *g) {
	if (shm->directory)
		munmap(shm->directory, g->directory_bytes);
	if (shm->table)
		munmap(shm->table, g->table_bytes);
	shm->directory = NULL;
	shm->table = NULL;
}

/*
 * Reads the header before anything is mapped: an agent that was killed in make_object() leaves an object without
 * memory, and to touch its mapping when no memory is free is a SIGBUS, on every start. The machine may have more
 * CPUs by now: those share tallies then, and the leases stay.
 */
static bool is_filled(int directory_fd, struct table_geometry *g, uint64_t max_clients, const uint8_t *boot_id) {
	struct directory_header d;
	if (pread(directory_fd, &d, sizeof(d), 0) != sizeof(d) || d.tally_stripes < TALLY_SHARED ||
	    d.tally_stripes > TALLY_CPUS_MAX + TALLY_SHARED)
		return false;
	*g = table_geometry_for(max_clients, d.tally_stripes);
	return directory_fits(&d, g, boot_id);
}

/* Maps what an earlier agent left, if this agent can go on with it as it is. */
static bool take_over(struct shm *shm, const struct names *names, uint64_t max_clients, const uint8_t *boot_id) {
	char ignored[SHM_ERROR_MAX];
	struct table_geometry g = {0};
	int directory_fd = shm_open(names->directory, O_RDWR | O_CLOEXEC, 0);
	if (directory_fd < 0)
		return false;
	if (check_owner(directory_fd, names->directory, ignored) == 0 &&
	    is_filled(directory_fd, &g, max_clients, boot_id) && size_of(directory_fd) == g.directory_bytes &&
	    size_of(shm->lock_fd) == g.table_bytes) {
		shm->directory = map_object(directory_fd, g.directory_bytes);
		shm->table = map_object(shm->lock_fd, g.table_bytes);
	}
	close(directory_fd);
	shm->taken_over = shm->directory && shm->table && table_fits(shm->table, shm->directory);
	if (shm->taken_over)
		shm->directory->clock_offset = timens_offset(); /* an older agent, without this field, has left 0 */
	else
		unmap(shm, &g);
	return shm->taken_over;
}

/* Apps that still have the old table learn from its state that there is another. The state is written by pwrite()
 * and not through a mapping, since the object may be without memory. */
static void retire(int fd) {
	uint32_t state = TABLE_RETIRED;
	if (size_of(fd) >= sizeof(struct table_header))
		(void)!pwrite(fd, &state, sizeof(state), offsetof(struct table_header, state));
}

/*
 * Takes the memory in huge pages if the system has them for shared memory (a tmpfs mounted with huge=advise): a
 * table of a gigabyte then needs a few hundred translations instead of a quarter of a million. Only a mapping can
 * ask for huge pages, so this comes before the memory is taken for certain, and may fail. It isn't even begun
 * where there is no room: page by page, it would drive the machine out of memory before it failed.
 */
static void take_in_huge_pages(int fd, uint64_t bytes) {
	struct statvfs fs;
	if (fstatvfs(fd, &fs) != 0 || bytes > (uint64_t)fs.f_bavail * fs.f_bsize || ftruncate(fd, (off_t)bytes) != 0)
		return;
	void *memory = map_object(fd, bytes);
	if (!memory)
		return;
	if (madvise(memory, bytes, MADV_HUGEPAGE) == 0)
		(void)!madvise(memory, bytes, MADV_POPULATE_WRITE);
	munmap(memory, bytes);
}

static int make_object(const char *name, uint64_t bytes, char *error) {
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, OBJECT_MODE);
	if (fd < 0)
		return fail(error, "cannot make shared memory %s: %s", name, strerror(errno));
	take_in_huge_pages(fd, bytes);
	/* Takes the memory now: a full /dev/shm is an error here instead of a SIGBUS in some app later. */
	int failure;
	do
		failure = posix_fallocate(fd, 0, (off_t)bytes);
	while (failure == EINTR);
	if (failure) {
		shm_unlink(name);
		close(fd);
		return fail(error, "cannot take %llu bytes of shared memory for %s: %s", (unsigned long long)bytes, name,
		            strerror(failure));
	}
	return fd;
}

static int fill_headers(struct shm *shm, const struct table_geometry *g, const uint8_t *boot_id) {
	struct directory_header *d = shm->directory;
	*d = (struct directory_header){
		.version = LAYOUT_VERSION,
		.policy_capacity = POLICY_CAPACITY,
		.directory_bytes = g->directory_bytes,
		.table_bytes = g->table_bytes,
		.tags_offset = g->tags_offset,
		.slots_offset = g->slots_offset,
		.bucket_count = g->bucket_count,
		.slots_per_bucket = SLOTS_PER_BUCKET,
		.tallies_offset = g->tallies_offset,
		.tally_stripes = g->tally_stripes,
		.clock_offset = timens_offset(),
		.change_id = -1,
	};
	memcpy(d->boot_id, boot_id, sizeof(d->boot_id));
	if (getrandom(d->secret, sizeof(d->secret), 0) != sizeof(d->secret) ||
	    getrandom(&d->generation, sizeof(d->generation), 0) != sizeof(d->generation))
		return -1;
	shm->table->magic = LAYOUT_MAGIC;
	shm->table->version = LAYOUT_VERSION;
	shm->table->generation = d->generation;
	atomic_store(&shm->table->state, TABLE_ALIVE);
	d->magic = LAYOUT_MAGIC;
	return 0;
}

static int make_new(struct shm *shm, const struct names *names, const struct table_geometry *g,
                    const uint8_t *boot_id, char *error) {
	int directory_fd = -1, table_fd = -1, result = -1;
	retire(shm->lock_fd);
	shm_unlink(names->directory);
	shm_unlink(names->table);
	directory_fd = make_object(names->directory, g->directory_bytes, error);
	if (directory_fd < 0)
		goto out;
	table_fd = make_object(names->table, g->table_bytes, error);
	if (table_fd < 0)
		goto out;
	if (flock(table_fd, LOCK_EX | LOCK_NB) != 0) {
		fail(error, "another agent is starting on shared memory %s", names->table);
		goto out;
	}
	shm->directory = map_object(directory_fd, g->directory_bytes);
	shm->table = map_object(table_fd, g->table_bytes);
	if (!shm->directory || !shm->table || fill_headers(shm, g, boot_id) != 0) {
		fail(error, "cannot set up shared memory %s: %s", names->table, strerror(errno));
		shm_unlink(names->table);
		goto out;
	}
	close_fd(&shm->lock_fd);
	shm->lock_fd = table_fd;
	table_fd = -1;
	result = 0;
out:
	close_fd(&directory_fd);
	close_fd(&table_fd);
	if (result != 0) {
		unmap(shm, g);
		shm_unlink(names->directory);
	}
	return result;
}

/* Returns how many CPUs the machine may have. Those beyond it, if any, share tallies. */
static uint32_t count_cpus(void) {
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	return cpus < 1 ? 1 : cpus > (long)TALLY_CPUS_MAX ? TALLY_CPUS_MAX : (uint32_t)cpus;
}

int shm_objects_open(struct shm *shm, const char *name, uint64_t max_clients, char error[static SHM_ERROR_MAX]) {
	struct names names;
	struct table_geometry geometry = table_geometry_for(max_clients, TALLY_SHARED + count_cpus());
	uint8_t boot_id[16];
	*shm = (struct shm){.directory_fd = -1, .table_fd = -1, .lock_fd = -1};
	snprintf(names.directory, sizeof(names.directory), "%s.directory", name);
	snprintf(names.table, sizeof(names.table), "%s.table", name);
	if (read_boot_id(boot_id) != 0)
		return fail(error, "cannot read the kernel's boot id");
	shm->lock_fd = open_locked(&names, error);
	if (shm->lock_fd < 0)
		return -1;
	if (!take_over(shm, &names, max_clients, boot_id) && make_new(shm, &names, &geometry, boot_id, error) != 0)
		goto fail;
	shm->directory_fd = shm_open(names.directory, O_RDONLY | O_CLOEXEC, 0);
	shm->table_fd = shm_open(names.table, O_RDWR | O_CLOEXEC, 0);
	if (shm->directory_fd >= 0 && shm->table_fd >= 0)
		return 0;
	fail(error, "cannot open shared memory %s: %s", name, strerror(errno));
fail:
	shm_objects_close(shm);
	return -1;
}

void shm_objects_close(struct shm *shm) {
	if (shm->table)
		munmap(shm->table, shm->directory->table_bytes);
	if (shm->directory)
		munmap(shm->directory, shm->directory->directory_bytes);
	shm->directory = NULL;
	shm->table = NULL;
	close_fd(&shm->directory_fd);
	close_fd(&shm->table_fd);
	close_fd(&shm->lock_fd);
}
