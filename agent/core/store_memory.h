/*
 * store_memory.h - counters in this process: the whole store of `database =
 * memory:`, and what fallback counts with while the database is away.
 *
 * Pure: time comes in, nothing is waited for. A hash table; about 90 bytes for a client
 * seen once, 4 more per sub-window in use, until the client's window is over.
 *
 * There is room for so many clients. Who finds none shares a counter with some of the others
 * under its policy who find none: together they are granted what one client may have. What a shared counter
 * granted is charged to nobody, since nobody knows whose it was.
 */
#ifndef STINT_STORE_MEMORY_H
#define STINT_STORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grant.h"
#include "store.h"

struct store_memory;

/* What was admitted before the database counted it. */
struct debt {
	int32_t charge;   /* to be counted, as far as the limit goes */
	int32_t advanced; /* of that, what a relaxed policy admitted in advance: owed until it fits */
	int64_t since_us; /* when the last of it was admitted: a window later it is of no consequence */
};

/* Its counters go by a clock that is ahead of the machine's by this, which is longer than any window: so no
 * sub-window of theirs starts before 1, not even right after the machine has. Others are taken for none. */
#define STORE_MEMORY_AHEAD_US (INT64_C(1) << 42)

struct store_memory_options {
	uint64_t seed;
	size_t capacity; /* clients there is room for */
	/* for so long after it was admitted what a client owes is kept */
	int64_t (*window_us)(void *context, int32_t policy_id);
	void *context;
};

struct store_memory *store_memory_new(const struct store_memory_options *); /* NULL: out of memory */
void store_memory_free(struct store_memory *);

/*
 * Answers one request at time t_us of the caller's monotonic clock. terms->phase_us
 * is ignored: the store spreads the edges itself. Out of memory: answered is false.
 */
void store_memory_take(struct store_memory *, const struct grant_terms *terms, const struct lease_request *request,
                       int64_t t_us, int host, struct lease_grant *out);

/*
 * What a client owes the database is kept as two numbers. Uncharged is what was granted here: grants add to it and
 * returns subtract from it, while what a request charges doesn't count. Owed is what was admitted without a grant
 * of this store, or was collected before and came back.
 */
struct debt store_memory_collect_owed(struct store_memory *, int32_t policy_id, const char *id, uint8_t id_len);
bool store_memory_owes(struct store_memory *, int32_t policy_id, const char *id, uint8_t id_len);
/* False without memory, or room: nothing was noted. */
bool store_memory_owe(struct store_memory *, int32_t policy_id, const char *id, uint8_t id_len, struct debt debt);

/* No larger than INT32_MAX, and what was advanced no larger than the charge. */
struct debt debt_of(int64_t charge, int64_t advanced, int64_t since_us);
struct debt debt_sum(struct debt a, struct debt b);

struct store_memory_entry {
	int32_t policy_id;
	char client_id[UINT8_MAX];
	uint8_t client_id_len;
	int32_t uncharged;
	struct debt owed;
	int64_t sub_window_us;
	int64_t head_us; /* start of the newest sub-window */
	uint8_t length;
	int32_t counts[GRANT_RING_MAX]; /* newest first */
};

/* Hands what a client owes to visit, which may change the store, and forgets it. The first does so for one client
 * (false: it owes nothing); the second for the clients in so many chains from *chain on, for `most` clients at
 * most. Then *chain is where to go on; with store_memory_chains() there is no more. */
typedef void store_memory_visit(void *context, const struct store_memory_entry *);
bool store_memory_collect(struct store_memory *, int32_t policy_id, const char *id, uint8_t id_len,
                          store_memory_visit *visit, void *context);
void store_memory_collect_some(struct store_memory *, size_t *chain, size_t chains, size_t most,
                               store_memory_visit *visit, void *context);
size_t store_memory_owing(const struct store_memory *); /* clients that owe something */

/* Drops what nothing depends on any more at t_us. It looks at so many chains, from where the last call stopped. */
void store_memory_expire(struct store_memory *, int64_t t_us, size_t chains);
size_t store_memory_chains(const struct store_memory *);           /* in all */
size_t store_memory_count(const struct store_memory *);            /* counters */
uint64_t store_memory_shared_granted(const struct store_memory *); /* credits, ever, of shared counters */

#endif
