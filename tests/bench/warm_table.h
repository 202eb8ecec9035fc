/*
 * warm_table.h - a host whose table is full of clients with leases that last: filled in through the agent's own
 * table code, as if an earlier agent had done it, and then taken over by a real agent with database = memory:.
 */
#ifndef BENCH_WARM_TABLE_H
#define BENCH_WARM_TABLE_H

#include <stdint.h>

#include "host.h"
#include "stint.h"

struct warm_table {
	struct host host;
	uint32_t clients;
};

enum warm_kind {
	WARM_ALLOWED, /* a lease that nobody can use up */
	WARM_DENIED,
};

/* Clients 0 ... clients - 1. 0 or -1, with a line on stderr. The scene clears it away. */
int warm_table_make(struct warm_table *, const struct scene *scene, uint32_t number, uint32_t clients,
                    enum warm_kind kind);
void warm_table_end(struct warm_table *);

/*
 * The id of a client: 15 bytes. Where one is checked again and again it has a cache line of its own: strlen()
 * reads vectors of up to 64 bytes, and one that overlaps what was just written, as a result beside the id on
 * the stack, waits for that.
 */
#define WARM_ID_LENGTH  15u
#define WARM_ID_SIZE    64u
#define WARM_ID_ALIGNED _Alignas(WARM_ID_SIZE)
void warm_id(uint32_t client, char id[static WARM_ID_LENGTH + 1]);

/* Attaches and binds the calling process's own limiter; the first client is checked once. 0 or -1, with a line
 * on stderr. */
int warm_attach(const struct warm_table *, struct stint **out, struct stint_limiter **limiter);

#endif
