/* peek.c - see peek.h. */
#include "peek.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/hash.h"

static void *map_object(const char *shm, const char *what, uint64_t *bytes) {
	char name[96];
	struct stat st;
	void *memory;
	int fd;

	snprintf(name, sizeof(name), "%s.%s", shm, what);
	fd = shm_open(name, O_RDWR | O_CLOEXEC, 0);
	if (fd < 0)
		return NULL;
	memory = fstat(fd, &st) == 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
	                             : MAP_FAILED;
	close(fd);
	*bytes = (uint64_t)st.st_size;
	return memory == MAP_FAILED ? NULL : memory;
}

int peek_open(struct peek *p, const struct host *host) {
	*p = (struct peek){0};
	p->directory = map_object(host->shm, "directory", &p->directory_bytes);
	p->table = map_object(host->shm, "table", &p->table_bytes);
	if (p->directory == NULL || p->table == NULL)
		return -1;
	p->mapped_bytes = p->table_bytes;
	p->table_bytes = p->directory->tallies_offset;
	return 0;
}

void peek_close(struct peek *p) {
	if (p->directory != NULL)
		munmap((void *)(uintptr_t)p->directory, p->directory_bytes);
	if (p->table != NULL)
		munmap((void *)(uintptr_t)p->table, p->mapped_bytes);
	*p = (struct peek){0};
}

const struct slot *peek_slots(const struct peek *p, const void *table) {
	return (const struct slot *)(const void *)((const char *)table + p->directory->slots_offset);
}

uint32_t peek_slot_count(const struct peek *p) {
	return p->directory->bucket_count * SLOTS_PER_BUCKET;
}

uint32_t peek_policy(const struct peek *p, const char *name) {
	const struct policy_entry *entries = directory_entries(p->directory);

	for (uint32_t i = 0; i < p->directory->policy_capacity; i++)
		if (atomic_load(&entries[i].state) == POLICY_LIVE && strcmp(entries[i].name, name) == 0)
			return i;
	return UINT32_MAX;
}

const struct slot *peek_find(const struct peek *p, const void *table, uint32_t policy, const char *id) {
	struct place place = place_of(p->directory->secret, p->directory->bucket_count, policy, id, strlen(id));
	const struct slot *slots = peek_slots(p, table);

	for (uint32_t i = 0; i < 2 * SLOTS_PER_BUCKET; i++) {
		const struct slot *slot =
			&slots[place_bucket(&place, i >= SLOTS_PER_BUCKET) * SLOTS_PER_BUCKET + i % SLOTS_PER_BUCKET];

		if (atomic_load(&slot->key) == place.key)
			return slot;
	}
	return NULL;
}

uint32_t peek_credits(const struct slot *slot, uint64_t now_ns) {
	uint32_t credits = 0;

	for (int bank = 0; bank < 2; bank++)
		if (atomic_load(&slot->deadline_ns[bank]) > now_ns)
			credits += word_credits(atomic_load(&slot->word[bank]));
	return credits;
}
