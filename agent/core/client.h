/*
 * client.h - the agent's private ledger: one small record per client, the only
 * account of what this host was granted. Records live in a pool and are named by
 * index; ids live beside them.
 */
#ifndef STINT_CLIENT_H
#define STINT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "slab.h"

#define CLIENT_NONE        UINT32_MAX
#define CLIENT_NO_PENDING  0xffffffu
#define CLIENT_GENERATIONS 2048u
#define CLIENT_POLICIES    1024u

enum client_flag {
	CLIENT_TIMED = 1,    /* the core has a timer for it */
	CLIENT_TIGHT = 2,    /* less than a quarter of its limit was left at the last answer: what is idle goes back */
	CLIENT_INDEBTED = 4, /* relaxed: an advance that the database had no room for, or refused to charge */
	CLIENT_LIVE = 8,     /* the record is in use */
	/* where the lease in bank 0 (and, one bit up, in bank 1) comes from */
	CLIENT_BANK_FALLBACK = 16,
	CLIENT_BLOCKED = 64,   /* as far as the database has said */
	CLIENT_ANSWERED = 128, /* the database knows it */
};

/* One lease as the agent knows it. Its credits are in the table. */
struct client_lease {
	int64_t sub_window;  /* the store's token; 0: nothing that can be returned */
	int64_t deadline_ns; /* 0: no lease */
};

/* 64 bytes, since there is one for each client of the table. */
struct client {
	char *id;
	uint32_t slot; /* TABLE_NO_SLOT: the table had no room; each check goes through the agent */
	uint32_t policy : 10;
	uint32_t idle : 3;        /* sweeps since it was last used */
	uint32_t generation : 11; /* of the events for all clients that it has met, see generation.c */
	uint32_t id_len : 8;
	union {
		struct client_lease lease[2];
		uint32_t next_tableless; /* without a slot there are no leases: the list that such a client is found by */
	};
	uint32_t granted[2];   /* what was put into each bank, or served from it, in the present period */
	uint32_t demand : 19;  /* credits used in a sub-window, lately: see client_demand() */
	uint32_t newcomer : 1; /* its last lease was a short one, since the store hasn't known it for long */
	uint32_t since : 12;   /* when the present period began, see demand.c */
	uint32_t pending : 24; /* the request under way or queued; CLIENT_NO_PENDING */
	uint32_t flags : 8;    /* enum client_flag */
};

_Static_assert(sizeof(struct client) == 64, "a client's record is one cache line");

/* A float without its sign and its last twelve bits: exact to a part of 2048. */
static inline double client_demand(const struct client *client) {
	uint32_t bits = client->demand << 12;
	float demand;
	memcpy(&demand, &bits, sizeof(demand));
	return demand;
}

static inline void client_set_demand(struct client *client, double value) {
	float demand = (float)value;
	uint32_t bits;
	memcpy(&bits, &demand, sizeof(bits));
	client->demand = bits >> 12 & 0x7ffff;
}

struct client_pool {
	struct client *clients; /* address space for all, memory as they come */
	uint32_t capacity;
	uint32_t high;      /* records 0 .. high-1 were in use at some time */
	uint32_t free_head; /* list through `slot` of free records */
	uint32_t count;
	uint32_t of_policy[CLIENT_POLICIES]; /* of these */
	struct slab ids;
};

int client_pool_init(struct client_pool *, uint32_t capacity); /* 0, or -1 without memory */
void client_pool_deinit(struct client_pool *);

/* A fresh record without a slot; CLIENT_NONE when the pool is full or memory is. */
uint32_t client_new(struct client_pool *, uint16_t policy, const char *id, uint8_t id_len);
void client_free(struct client_pool *, uint32_t index);

#endif
