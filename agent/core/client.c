/*
 * client.c - the pool of clients' records, and their ids.
 */
#include "client.h"

#include <string.h>
#include <sys/mman.h>

#include "table.h"

int client_pool_init(struct client_pool *pool, uint32_t capacity) {
	*pool = (struct client_pool){.capacity = capacity, .free_head = CLIENT_NONE};
	void *memory = mmap(NULL, (size_t)capacity * sizeof(*pool->clients), PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -1;
	pool->clients = memory;
	return 0;
}

void client_pool_deinit(struct client_pool *pool) {
	slab_deinit(&pool->ids);
	if (pool->clients)
		munmap(pool->clients, (size_t)pool->capacity * sizeof(*pool->clients));
	*pool = (struct client_pool){0};
}

/* There is room. */
static uint32_t new_record(struct client_pool *pool) {
	uint32_t index = pool->free_head;
	if (index == CLIENT_NONE)
		return pool->high++;
	pool->free_head = pool->clients[index].slot;
	return index;
}

uint32_t client_new(struct client_pool *pool, uint16_t policy, const char *id, uint8_t id_len) {
	if (pool->count >= pool->capacity)
		return CLIENT_NONE;
	char *copy = slab_new(&pool->ids, id_len);
	if (!copy)
		return CLIENT_NONE;
	memcpy(copy, id, id_len);
	uint32_t index = new_record(pool);
	pool->clients[index] = (struct client){
		.id = copy,
		.id_len = id_len,
		.policy = policy % CLIENT_POLICIES,
		.slot = TABLE_NO_SLOT,
		.flags = CLIENT_LIVE,
		.pending = CLIENT_NO_PENDING,
	};
	pool->count++;
	pool->of_policy[policy % CLIENT_POLICIES]++;
	return index;
}

void client_free(struct client_pool *pool, uint32_t index) {
	struct client *client = &pool->clients[index];
	slab_free(&pool->ids, client->id, client->id_len);
	pool->of_policy[client->policy]--;
	*client = (struct client){.slot = pool->free_head};
	pool->free_head = index;
	pool->count--;
}
