/*
 * table.h - the agent's side of the shared-memory table (lib/protocol/layout.h): the only
 * code that places, refills and removes clients. Works on memory that the caller
 * mapped; no clock, no descriptors.
 *
 * Apps may write anything into the table, so nothing read from it is trusted:
 * where a client is comes from a private copy of the tags and a private list of
 * owners, and credits that come back are for the caller to clamp.
 */
#ifndef STINT_TABLE_H
#define STINT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/hash.h"
#include "protocol/layout.h"

#define TABLE_NO_SLOT UINT32_MAX

/* Owners of a slot: an index of the caller's, or one of these. */
#define TABLE_NO_OWNER    UINT32_MAX
#define TABLE_ORPHAN      (UINT32_MAX - 1) /* taken over from an earlier agent; its client's id isn't known yet */
#define TABLE_ORPHAN_IDLE (UINT32_MAX - 2) /* the same, and unused since the last sweep */
#define TABLE_OWNER_MAX   (UINT32_MAX - 3)

struct table {
	struct directory_header *directory;
	struct table_header *header;
	struct tag_row *tags;
	struct slot *slots;
	uint16_t *private_tags;         /* what the tags should be */
	uint32_t *owner;                /* per slot */
	_Atomic uint32_t *own_limits;   /* in the directory ... */
	uint32_t own_users[OWN_LIMITS]; /* ... and how many clients have each; 0: it may be another */
	uint32_t bucket_count;
	uint32_t slot_count;
	uint32_t used;                        /* slots that are not free */
	uint32_t orphans;                     /* of these */
	uint32_t generation[POLICY_CAPACITY]; /* of the policies, see policy_number_make() */
};

/* How many buckets hold `max_clients`, and the sizes that follow. */
struct table_geometry {
	uint32_t bucket_count;
	uint64_t directory_bytes;
	uint64_t table_bytes;
	uint64_t tags_offset;
	uint64_t slots_offset;
	uint64_t tallies_offset;
	uint32_t tally_stripes;
};
/* tally_stripes: see tally.h; 0: nothing is counted. */
struct table_geometry table_geometry_for(uint64_t max_clients, uint32_t tally_stripes);

/*
 * Binds to mapped objects whose headers the caller has filled in or checked. With
 * take_over, clients that are there stay as orphans; otherwise the memory must be zero.
 * Returns 0, or -1 without memory.
 */
int table_init(struct table *, struct directory_header *directory, struct table_header *header, bool take_over);
void table_deinit(struct table *); /* frees what is private; the mappings are the caller's */

struct place table_place(const struct table *, uint32_t policy, const char *id, size_t id_len);

/*
 * Walks the slots where a client at `place` may be: call with *cursor 0 first;
 * TABLE_NO_SLOT when there are no more. The caller compares ids, for an orphan the key.
 */
uint32_t table_next_candidate(const struct table *, const struct place *place, uint32_t *cursor);
bool table_key_matches(const struct table *, uint32_t slot, const struct place *place);

/* The n-th slot of a place's two buckets, n < TABLE_CANDIDATES: for choosing whom to evict. */
#define TABLE_CANDIDATES (2 * SLOTS_PER_BUCKET)
uint32_t table_candidate(const struct place *place, uint32_t n);

/* A free slot in one of the two buckets, at home if possible, now taken; TABLE_NO_SLOT if both are full. */
uint32_t table_claim(struct table *, const struct place *place, uint16_t policy, uint32_t owner);
void table_release(struct table *, uint32_t slot);
void table_adopt(struct table *, uint32_t slot, uint32_t owner, uint16_t policy);

struct table_lease {
	uint32_t credits;
	uint64_t flag; /* WORD_FALLBACK_BIT or 0 */
	int64_t start_ns;
	int64_t deadline_ns;
	bool is_next; /* may not be used before start_ns; the other lease ends before this one starts */
};

/* Replaces what `bank` (0 or 1) holds. Drain it first to know what is lost. */
void table_publish(struct table *, uint32_t slot, int bank, const struct table_lease *lease);
void table_add(struct table *, uint32_t slot, int bank, uint32_t credits);
/* The lease goes on, but what was taken from it before can't be put back any more. Returns what is left. */
uint32_t table_begin_epoch(struct table *, uint32_t slot, int bank);
/* ends the lease, returns the credits that were left */
uint32_t table_drain(struct table *, uint32_t slot, int bank);
uint32_t table_credits(const struct table *, uint32_t slot, int bank);
bool table_is_fallback(const struct table *, uint32_t slot, int bank);
/* A fallback denies the client until *ends_ns, or has denied it until then. */
bool table_is_denied_by_fallback(const struct table *, uint32_t slot, int64_t now_ns, int64_t *ends_ns);
/* True: what the client was told last was a fallback's. *left is what that had left then, or
 * HINT_UNKNOWN, and *ends_ns when the lease or the denial that it gave ends, or has ended. */
bool table_tells_of_fallback(const struct table *, uint32_t slot, int64_t now_ns, uint32_t *left,
                             int64_t *ends_ns);
int64_t table_deadline(const struct table *, uint32_t slot, int bank);
int64_t table_later_start(const struct table *, uint32_t slot); /* of the lease that ends last */
void table_clear_later_start(struct table *, uint32_t slot);
/* Takes `cost` as an app would; false when there are not so many. */
bool table_spend(struct table *, uint32_t slot, int bank, uint32_t cost);

/*
 * What apps are told changes together with the leases, see layout.h: first table_unsay(), then the leases, then
 * table_set_remaining(), or with a denial table_deny().
 */
void table_unsay(struct table *, uint32_t slot);
void table_set_remaining(struct table *, uint32_t slot, uint32_t remaining);
uint32_t table_remaining(const struct table *, uint32_t slot); /* or HINT_UNKNOWN */
/* The low-water mark, see layout.h: of what was granted; 0 leaves it as it is. */
void table_set_mark(struct table *, uint32_t slot, uint32_t granted);
bool table_is_low(const struct table *, uint32_t slot, uint32_t credits); /* so many are below the mark */

/* Requests of at least `cost` are denied until then; cost 0 lifts it. One above 65535 isn't cached: false. */
bool table_deny(struct table *, uint32_t slot, int64_t until_ns, uint32_t cost, uint32_t remaining, uint32_t hint);
/* True: *hint has the times, *left_ms is how long yet. */
bool table_denies(const struct table *, uint32_t slot, int64_t now_ns, uint32_t cost, int64_t *left_ms,
                  uint32_t *hint);

/* The client has a limit of its own, or no longer. */
void table_set_own_limit(struct table *, uint32_t slot, bool own, uint32_t limit);
bool table_own_limit(const struct table *, uint32_t slot, int64_t *limit); /* false: it has none */
uint16_t table_policy(const struct table *, uint32_t slot);                /* whatever stands there */

/* One that is over, or was to end later than is possible. True for the latter. */
bool table_lift_denial(struct table *, uint32_t slot, int64_t now_ns, int64_t latest_ns);

/* Whether apps used the slot since the last call. */
bool table_was_referenced(struct table *, uint32_t slot);
/* Puts back what is fixed in the table's header, in case somebody scribbled over it: apps turn away from a table
 * that says that it is retired. */
void table_repair_header(struct table *);
/* Puts back what somebody scribbled over: tag, key, policy. True if there was anything to repair. */
bool table_repair(struct table *, uint32_t slot, const struct place *place, uint16_t policy);

#endif
