/*
 * peek.h - looks into a host's table from outside: where a client is, what its leases hold, and an image of the
 * whole. The table is mapped as apps map it, so a test may play an app.
 */
#ifndef PEEK_H
#define PEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include "protocol/layout.h"

struct peek {
	const struct directory_header *directory;
	const struct table_header *table;
	uint64_t directory_bytes;
	uint64_t table_bytes; /* of what decides: without the tallies */
	uint64_t mapped_bytes;
};

int peek_open(struct peek *, const struct host *host); /* 0 or -1 */
void peek_close(struct peek *);

/* The slots of a table, or of an image of it. */
const struct slot *peek_slots(const struct peek *, const void *table);
uint32_t peek_slot_count(const struct peek *);
/* The index of a policy by its name; UINT32_MAX: it isn't there. */
uint32_t peek_policy(const struct peek *, const char *name);
/* The slot of a client in a table or image; NULL: it has none. */
const struct slot *peek_find(const struct peek *, const void *table, uint32_t policy, const char *id);
/* What its leases that are not over hold together. */
uint32_t peek_credits(const struct slot *, uint64_t now_ns);

#endif
