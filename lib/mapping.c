/*
 * mapping.c - maps a directory and a table, after looking at every number in
 * their headers as if an enemy had written it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "mapping.h"
#include "stint.h"
#include "protocol/timens.h"

/* Buckets are named by 32 random bits scaled to the count; beyond this, some would hardly be used. 2^24 buckets
 * are 268 million clients and 17 GB: more is a mistake. */
#define BUCKETS_MAX (UINT32_C(1) << 24)

/* Eight times what the agent makes today: room for it to grow without a new library. */
#define POLICIES_MAX (8 * POLICY_CAPACITY)

static int refuse(const char *what) {
	return error_set(STINT_EPROTOCOL, "the agent's table is not usable: %s", what);
}

static int read_header(int fd, void *header, size_t size, uint64_t *object_bytes) {
	struct stat st;
	if (fstat(fd, &st) != 0)
		return error_set(STINT_ESYSTEM, "fstat of the agent's table: %s", strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size < size)
		return refuse("an object is too small");
	ssize_t got = pread(fd, header, size, 0);
	if (got < 0)
		return error_set(STINT_ESYSTEM, "pread of the agent's table: %s", strerror(errno));
	if (got != (ssize_t)size)
		return refuse("a header can't be read");
	*object_bytes = (uint64_t)st.st_size;
	return 0;
}

static int check_version(uint64_t magic, uint32_t version) {
	if (magic != LAYOUT_MAGIC)
		return refuse("no magic number");
	if (version != LAYOUT_VERSION)
		return error_set(STINT_EVERSION, "the agent's table has layout %u, this library knows %u", version,
		                 LAYOUT_VERSION);
	return 0;
}

/* Whether `count` things of `size` bytes from `offset` lie within `bytes`. The product stays below 2^34. */
static bool fits(uint64_t offset, uint64_t count, uint64_t size, uint64_t bytes) {
	return offset <= bytes && count * size <= bytes - offset;
}

static int check_directory(const struct directory_header *d, uint64_t object_bytes) {
	if (d->directory_bytes > object_bytes)
		return refuse("the directory is shorter than it says");
	if (d->policy_capacity == 0 || d->policy_capacity > POLICIES_MAX)
		return refuse("policy_capacity");
	if (!fits(DIRECTORY_ENTRIES_OFFSET + OWN_LIMITS * sizeof(uint32_t), d->policy_capacity,
	          sizeof(struct policy_entry), d->directory_bytes))
		return refuse("the policies and own limits don't fit into the directory");
	return 0;
}

/* They lie behind all else. */
static int check_tallies(const struct directory_header *d) {
	if (d->tally_stripes < TALLY_SHARED || d->tally_stripes > TALLY_CPUS_MAX + TALLY_SHARED)
		return refuse("tally_stripes");
	if (d->tallies_offset < sizeof(struct table_header) || d->tallies_offset % sizeof(struct tally) != 0 ||
	    !fits(d->tallies_offset, (uint64_t)(d->policy_capacity + 1) * d->tally_stripes, sizeof(struct tally),
	          d->table_bytes))
		return refuse("tallies_offset");
	return 0;
}

static int check_geometry(const struct directory_header *d, uint64_t object_bytes) {
	if (d->table_bytes > object_bytes)
		return refuse("the table is shorter than the directory says");
	if (d->bucket_count == 0 || d->bucket_count > BUCKETS_MAX || d->slots_per_bucket != SLOTS_PER_BUCKET)
		return refuse("bucket_count or slots_per_bucket");
	if (d->tags_offset < sizeof(struct table_header) || d->tags_offset % sizeof(struct tag_row) != 0 ||
	    !fits(d->tags_offset, d->bucket_count, sizeof(struct tag_row), d->tallies_offset))
		return refuse("tags_offset");
	if (d->slots_offset < sizeof(struct table_header) || d->slots_offset % sizeof(struct slot) != 0 ||
	    !fits(d->slots_offset, d->bucket_count, SLOTS_PER_BUCKET * sizeof(struct slot), d->tallies_offset))
		return refuse("slots_offset");
	return 0;
}

/* The agent itself sees only clocks that are far apart, by what HELLO says. */
static int check_clock(const struct directory_header *d) {
	if (timens_differ(d->clock_offset, timens_offset()))
		return error_set(STINT_ETIMENS, "CLOCK_MONOTONIC here is another than the agent's: a time namespace");
	return 0;
}

/* Reads and checks both headers; *directory is the copy that is used from here on. */
static int check_objects(struct directory_header *directory, int directory_fd, int table_fd, uint64_t generation) {
	int error;
	uint64_t table_bytes;
	uint64_t directory_bytes;
	struct table_header table;
	if ((error = read_header(directory_fd, directory, sizeof(*directory), &directory_bytes)) != 0 ||
	    (error = check_version(directory->magic, directory->version)) != 0 ||
	    (error = read_header(table_fd, &table, sizeof(table), &table_bytes)) != 0 ||
	    (error = check_version(table.magic, table.version)) != 0 ||
	    (error = check_directory(directory, directory_bytes)) != 0 || (error = check_tallies(directory)) != 0 ||
	    (error = check_geometry(directory, table_bytes)) != 0 || (error = check_clock(directory)) != 0)
		return error;
	if (directory->generation != generation || table.generation != generation)
		return refuse("the objects are of different generations");
	return 0;
}

static void *map(int fd, size_t bytes, int protection) {
	void *address = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
	if (address == MAP_FAILED)
		return NULL;
	madvise(address, bytes, MADV_HUGEPAGE); /* where the agent got any, see agent/shm.c */
	return address;
}

static void fill(struct mapping *m, const struct directory_header *d, char *table) {
	m->tags = (struct tag_row *)(table + d->tags_offset);
	m->slots = (struct slot *)(table + d->slots_offset);
	m->tallies = (struct tally *)(table + d->tallies_offset);
	m->tally_stripes = d->tally_stripes;
	m->table = (const struct table_header *)table;
	m->policies = directory_entries(m->directory);
	m->own_limits = (const _Atomic uint32_t *)(const void *)(m->policies + d->policy_capacity);
	m->bucket_count = d->bucket_count;
	m->policy_capacity = d->policy_capacity;
	m->generation = d->generation;
	m->older = NULL;
	memcpy(m->secret, d->secret, sizeof(m->secret));
}

int mapping_new(struct mapping **out, int directory_fd, int table_fd, uint64_t generation) {
	struct directory_header directory;
	struct mapping *m;
	char *table;
	int error = check_objects(&directory, directory_fd, table_fd, generation);

	if (error)
		return error;
	m = aligned_alloc(alignof(struct mapping), sizeof(*m));
	if (!m)
		return error_set(STINT_ENOMEM, "no memory for a mapping");
	m->directory_bytes = directory.directory_bytes;
	m->table_bytes = directory.table_bytes;
	m->directory = map(directory_fd, m->directory_bytes, PROT_READ);
	table = map(table_fd, m->table_bytes, PROT_READ | PROT_WRITE);
	if (!m->directory || !table) {
		error = error_set(STINT_ESYSTEM, "mmap of the agent's table: %s", strerror(errno));
		m->table = (const struct table_header *)table;
		mapping_free(m);
		return error;
	}
	fill(m, &directory, table);
	*out = m;
	return 0;
}

void mapping_free(struct mapping *m) {
	if (!m)
		return;
	if (m->directory)
		munmap((void *)(uintptr_t)m->directory, m->directory_bytes);
	if (m->table)
		munmap((void *)(uintptr_t)m->table, m->table_bytes);
	free(m);
}
