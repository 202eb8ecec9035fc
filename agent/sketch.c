/* sketch.c - see sketch.h. */
#include "sketch.h"

#include <assert.h>
#include <string.h>

static bool is_it(const struct sketch_client *client, const char *id, uint8_t id_len, uint8_t reason) {
	return client->id_len == id_len && client->reason == reason && memcmp(client->id, id, id_len) == 0;
}

static struct sketch_client *find(struct sketch *sketch, const char *id, uint8_t id_len, uint8_t reason) {
	for (unsigned i = 0; i < sketch->used; i++)
		if (is_it(&sketch->client[i], id, id_len, reason))
			return &sketch->client[i];
	return NULL;
}

static struct sketch_client *find_least(struct sketch *sketch) {
	struct sketch_client *least = NULL;
	for (unsigned i = 0; i < sketch->used; i++)
		if (!sketch->client[i].is_told && (!least || sketch->client[i].count < least->count))
			least = &sketch->client[i];
	return least;
}

static struct sketch_client *place(struct sketch *sketch, const char *id, uint8_t id_len, uint8_t reason) {
	struct sketch_client *client =
		sketch->used < SKETCH_CLIENTS ? &sketch->client[sketch->used++] : find_least(sketch);
	*client =
		(struct sketch_client){.count = client->count, .over = client->count, .reason = reason, .id_len = id_len};
	memcpy(client->id, id, id_len);
	return client;
}

void sketch_add(struct sketch *sketch, const char *id, uint8_t id_len, uint8_t reason, uint64_t count,
                double variance) {
	struct sketch_client *client = find(sketch, id, id_len, reason);
	if (!client)
		client = place(sketch, id, id_len, reason);
	client->count += count;
	client->variance += variance;
	client->confirmations = 0;
	client->is_under_way = false;
	sketch->total += count;
}

void sketch_tell(struct sketch *sketch, struct sketch_client *client) {
	sketch->told += !client->is_told;
	client->is_told = true;
	assert(sketch->told <= SKETCH_TOLD_MAX);
}

unsigned sketch_rank(const struct sketch *sketch, const struct sketch_client *client) {
	unsigned rank = 0;
	for (const struct sketch_client *other = sketch->client; other < sketch->client + sketch->used; other++)
		rank += other->count > client->count || (other->count == client->count && other < client);
	return rank;
}
