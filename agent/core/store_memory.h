/*
 * store_memory.h - counters in this process: the whole store of `database =
 * memory:`, and what fallback counts with while the database is away.
 *
 * Pure: time comes in, nothing is waited for. A hash table of one allocation per
 * client; about 90 bytes for a client seen once, 4 more per sub-window in use.
 */
#ifndef STINT_STORE_MEMORY_H
#define STINT_STORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grant.h"
#include "lease.h"

struct store_memory;

struct store_memory *store_memory_new(uint64_t seed); /* NULL: out of memory */
void store_memory_free(struct store_memory *);

/*
 * Answers one request at time t_us of the caller's monotonic clock. terms->phase_us
 * is ignored: the store spreads the edges itself. Out of memory: answered is false.
 */
void store_memory_take(struct store_memory *, const struct grant_terms *terms, const struct lease_request *request,
                       int64_t t_us, int hosts, struct lease_grant *out);

/*
 * What a client owes the database. Uncharged is what was granted here: grants add to it, returns subtract; what a request
 * charges doesn't count. Owed is what was admitted without a grant of this store's, or has been collected before and came back.
 */
struct debt store_memory_take_owed(struct store_memory *, int32_t policy_id, const char *id, uint8_t id_len);
bool store_memory_owes(struct store_memory *, int32_t policy_id, const char *id, uint8_t id_len);
/* False without memory: nothing was noted. */
bool store_memory_owe(struct store_memory *, int32_t policy_id, const char *id, uint8_t id_len, struct debt debt);

/* No larger than INT32_MAX, and what was advanced no larger than the charge. */
struct debt debt_of(int64_t charge, int64_t advanced, int64_t since_us);
struct debt debt_sum(struct debt a, struct debt b);

struct store_memory_entry {
	int32_t policy_id;
	const char *client_id;
	uint8_t client_id_len;
	int32_t uncharged;
	struct debt owed;
	int64_t sub_window_us;
	int64_t head_us;
	uint8_t length;
	const int32_t *counts; /* newest first */
};

/* Hands every client that owes something to visit, and forgets what it owes. visit must not change the store. */
void store_memory_collect_uncharged(struct store_memory *, void (*visit)(void *, const struct store_memory_entry *), void *);

/* Drops what nothing depends on any more at t_us: looks at `budget` chains from where the last call stopped. What is uncharged
 * or owed is kept for debts_us after it was admitted. */
void store_memory_expire(struct store_memory *, int64_t t_us, int64_t debts_us, size_t budget);
size_t store_memory_count(const struct store_memory *);

#endif
