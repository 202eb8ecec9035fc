/* journal.c - see journal.h. */
#include "journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int map_file(struct journal *j, int fd) {
	struct stat info;

	if (fstat(fd, &info) != 0)
		return -1;
	j->bytes = (uint64_t)info.st_size;
	j->file = mmap(NULL, j->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return j->file == MAP_FAILED ? -1 : 0;
}

static int open_file(struct journal *j, const char *path, int flags, uint64_t bytes) {
	int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0666);
	int status = -1;

	j->file = NULL;
	snprintf(j->path, sizeof(j->path), "%s", path);
	if (fd < 0)
		return -1;
	if (bytes == 0 || ftruncate(fd, (off_t)bytes) == 0)
		status = map_file(j, fd);
	close(fd);
	return status;
}

int journal_create(struct journal *j, const char *path, const struct journal_plan *plan, uint32_t rate) {
	uint64_t bytes = sizeof(struct journal_file) + plan->capacity * sizeof(struct journal_record);

	if (open_file(j, path, O_CREAT | O_TRUNC, bytes) != 0)
		return -1;
	j->file->plan = *plan;
	j->file->rate = rate;
	return 0;
}

/* A record that a killed predecessor left open stays open. This process goes on behind it. */
static void step_over_open_record(struct journal_file *file) {
	if (file->count < file->plan.capacity && file->records[file->count].intent_ns != 0)
		file->count++;
}

int journal_open(struct journal *j, const char *path) {
	if (open_file(j, path, 0, 0) != 0)
		return -1;
	step_over_open_record(j->file);
	j->file->starts++;
	return 0;
}

void journal_close(struct journal *j) {
	if (j->file != NULL)
		munmap(j->file, j->bytes);
	j->file = NULL;
}

struct journal_record *journal_intend(struct journal *j, uint32_t policy, uint32_t client, uint32_t cost,
                                      uint64_t now_ns) {
	uint32_t count = atomic_load_explicit(&j->file->count, memory_order_relaxed);
	struct journal_record *record = &j->file->records[count];

	if (count >= j->file->plan.capacity) {
		j->file->full = 1;
		return NULL;
	}
	record->policy = (uint16_t)policy;
	record->client = client;
	record->cost = cost;
	atomic_store_explicit(&record->intent_ns, now_ns, memory_order_release);
	return record;
}

/* One writer: a load and a store are enough. */
static void add_one(_Atomic uint64_t *count) {
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_relaxed);
}

void journal_admitted(struct journal *j, struct journal_record *record, uint8_t source, uint64_t now_ns) {
	uint32_t count = atomic_load_explicit(&j->file->count, memory_order_relaxed);

	record->source = source;
	atomic_store_explicit(&record->outcome_ns, now_ns, memory_order_release);
	atomic_store_explicit(&j->file->count, count + 1, memory_order_release);
	add_one(&j->file->counts.checks);
	add_one(&j->file->counts.admitted[source % JOURNAL_SOURCES]);
}

void journal_denied(struct journal *j, struct journal_record *record, uint8_t source) {
	atomic_store_explicit(&record->intent_ns, 0, memory_order_release);
	add_one(&j->file->counts.checks);
	add_one(&j->file->counts.denied[source % JOURNAL_SOURCES]);
}

void journal_failed(struct journal *j, struct journal_record *record, int error) {
	atomic_store_explicit(&record->intent_ns, 0, memory_order_release);
	j->file->counts.last_error = error;
	add_one(&j->file->counts.checks);
	add_one(&j->file->counts.errors);
}

void journal_client_id(const struct journal_plan *plan, uint32_t client, char id[static 64]) {
	if (client < JOURNAL_NAMES && plan->names[client][0] != '\0')
		snprintf(id, 64, "%s", plan->names[client]);
	else
		snprintf(id, 64, "client-%025u", client); /* 32 bytes, as an id of the field is (a UUID, a digest) */
}
