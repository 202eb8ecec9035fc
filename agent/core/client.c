#include "client.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "table.h"

/* Ids are carved from blocks of this size. malloc() would round a typical id of 32 bytes up to 48; a cell takes 32. */
#define ID_BLOCK_BYTES (64u * 1024)

struct id_block {
	struct id_block *next;
	char cells[ID_BLOCK_BYTES];
};

int client_pool_init(struct client_pool *pool, uint32_t capacity) {
	*pool = (struct client_pool){.capacity = capacity, .free_head = CLIENT_NONE};
	void *memory = mmap(NULL, (size_t)capacity * sizeof *pool->clients, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -1;
	pool->clients = memory;
	return 0;
}

void client_pool_deinit(struct client_pool *pool) {
	for (struct id_block *block = pool->id_blocks, *next; block; block = next) {
		next = block->next;
		free(block);
	}
	if (pool->clients)
		munmap(pool->clients, (size_t)pool->capacity * sizeof *pool->clients);
	*pool = (struct client_pool){0};
}

static size_t size_class(size_t len) {
	return (len - 1) / 8;
}

static char *id_new(struct client_pool *pool, size_t len) {
	size_t class = size_class(len), bytes = (class + 1) * 8;
	void *cell = pool->id_free[class];
	if (cell) {
		memcpy(&pool->id_free[class], cell, sizeof(void *));
		return cell;
	}
	if (pool->id_left < bytes) {
		struct id_block *block = malloc(sizeof *block);
		if (!block)
			return NULL;
		block->next = pool->id_blocks;
		pool->id_blocks = block;
		pool->id_next = block->cells;
		pool->id_left = sizeof block->cells;
	}
	cell = pool->id_next;
	pool->id_next += bytes;
	pool->id_left -= bytes;
	return cell;
}

static void id_free(struct client_pool *pool, char *id, size_t len) {
	memcpy(id, &pool->id_free[size_class(len)], sizeof(void *));
	pool->id_free[size_class(len)] = id;
}

static uint32_t take_record(struct client_pool *pool) {
	uint32_t index = pool->free_head;
	if (index != CLIENT_NONE)
		pool->free_head = pool->clients[index].slot;
	else if (pool->high < pool->capacity)
		index = pool->high++;
	return index;
}

uint32_t client_new(struct client_pool *pool, uint16_t policy, const char *id, uint8_t id_len) {
	if (pool->count >= pool->capacity)
		return CLIENT_NONE;
	char *copy = id_new(pool, id_len);
	if (!copy)
		return CLIENT_NONE;
	memcpy(copy, id, id_len);
	uint32_t index = take_record(pool);
	pool->clients[index] = (struct client){
		.id = copy,
		.id_len = id_len,
		.policy = policy,
		.slot = TABLE_NO_SLOT,
		.flags = CLIENT_LIVE,
		.op = CLIENT_NO_OP,
	};
	pool->count++;
	return index;
}

void client_free(struct client_pool *pool, uint32_t index) {
	struct client *client = &pool->clients[index];
	id_free(pool, client->id, client->id_len);
	*client = (struct client){.slot = pool->free_head};
	pool->free_head = index;
	pool->count--;
}
