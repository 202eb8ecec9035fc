/*
 * layout.h - the two shared-memory objects, as library and agent both see them.
 *
 * The directory (policies, geometry, hash secret) is mapped read-only by apps;
 * the table (tags and slots) read-write. Everything an app needs to stay inside
 * the mappings comes from the directory, so garbage in the table can mislead a
 * verdict, never an address.
 *
 *     directory:  struct directory_header, then policy_capacity x struct policy_entry, then OWN_LIMITS x uint32_t
 *     table:      struct table_header, then at tags_offset  bucket_count x struct tag_row
 *                                       and at slots_offset bucket_count x SLOTS_PER_BUCKET x struct slot
 *                                       and at tallies_offset what has been decided, see tally.h
 *
 * Finding a client. XXH3-128 of the id, keyed by the table's secret and mixed
 * with the policy's number, names two buckets, a slot in each that is the client's home, a tag and a key (see
 * hash.h). A client lives in one of the two buckets, in a slot whose tag and key match. It lives at home if the
 * home was free, as for three of four clients in a full table; there it is found without a look at the tags.
 * Only the agent places and removes clients.
 *
 * Why a decision is safe without a lock. All that decides is one 64-bit word per
 * lease: an epoch, and how many credits are left.
 *
 *   - An app loads the word (acquire), then the deadline, the start and the key,
 *     and then subtracts its cost by one CAS on the word. If the CAS succeeds,
 *     the word did not change in between, thus neither did its epoch, and what
 *     was loaded after it belongs to that epoch.
 *   - The agent, the only writer of the rest, first ends the epoch (word := next
 *     epoch, no credits), then writes deadline, start and key, then publishes
 *     (word := next epoch, credits; release). A late CAS on the old epoch fails.
 *   - Within an epoch only credits change: apps subtract, and put back what they
 *     took too late, or were admitted for and didn't use. The agent adds credits by
 *     going on to the next epoch.
 *   - After its CAS the app reads the clock. If the deadline has passed (the process
 *     was stopped, or had an old time in mind when it chose the lease), or that old time
 *     is long ago, the credits admit nobody. They are put back, by CAS and within their
 *     epoch only: the agent begins another epoch when it tells the database what was
 *     spent of a lease, and when it forgets how much that was, so nothing that was told,
 *     or isn't known of, comes back.
 *
 * So a process that is killed anywhere leaves either an untouched word or a word
 * with its credits taken, which is counted and unspent: never too much.
 *
 * An epoch has 32 bits and moves at most a few times per sub-window of 10 ms; a
 * process would have to sleep for months between its load and its CAS, and wake
 * at the same credits, to mistake one for another; the clock check after the CAS
 * would still not admit what it took.
 *
 * What a verdict tells beside that (`remaining`, `limit`, times) decides nothing, but must
 * belong together. The agent lifts the denial and takes the hint away (HINT_UNKNOWN),
 * writes leases, and then puts denial and hint back. An app that finds its lease still in
 * the epoch in which it took from it, or its denial still there, has read of one answer what lies in between.
 */
#ifndef STINT_LAYOUT_H
#define STINT_LAYOUT_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYOUT_MAGIC   UINT64_C(0x31746e6974730a1a) /* ends in control bytes: no text file starts so */
#define LAYOUT_VERSION 4u

#define SLOTS_PER_BUCKET 16u  /* 16 two-byte tags: half a cache line, two SSE compares */
#define SECRET_SIZE      192u /* what XXH3 uses of a secret at most */
#define POLICY_CAPACITY  1024u

/*
 * An entry of the directory is reused for another policy when nobody uses its own. A process that still has the
 * old policy in mind must not take the new one's credits. So a policy is known by a number, made of its entry's
 * index and of how many policies the entry was for before. The keys of clients are made from this number, and the
 * agent is asked by it.
 */
static inline uint32_t policy_number_make(uint32_t index, uint32_t generation) {
	return generation * POLICY_CAPACITY + index;
}

static inline uint32_t policy_number_index(uint32_t number) {
	return number % POLICY_CAPACITY;
}

static inline uint32_t policy_number_generation(uint32_t number) {
	return number / POLICY_CAPACITY;
}

/* ---- The table --------------------------------------------------------- */

enum table_state {
	TABLE_INITIALISING = 1,
	TABLE_ALIVE = 2,
	TABLE_RETIRED = 3, /* another table has taken its place: attach again */
};

struct table_header {
	uint64_t magic;
	uint32_t version;
	_Atomic uint32_t state; /* enum table_state */
	uint64_t generation;    /* the directory's must be the same */
	uint8_t reserved[4072]; /* tags start on a page of their own */
};

/* Tags of one bucket; 0 means that the slot is free. */
struct tag_row {
	_Atomic uint16_t tag[SLOTS_PER_BUCKET];
};

/* Lease word: epoch in the upper half, then the fallback flag, then credits. */
#define WORD_EPOCH_SHIFT  32
#define WORD_FALLBACK_BIT (UINT64_C(1) << 31) /* credits of the local fallback, not of the database */
#define WORD_CREDITS_MASK (WORD_FALLBACK_BIT - 1)

/*
 * Denial word. Upper half: when the denial ends, in ticks of 2^20 ns (about a millisecond) of CLOCK_MONOTONIC,
 * modulo 2^32; a time that is further off than DENIAL_TICKS_MAX has passed. (The agent's sweep lifts a denial that
 * is over long before it could be mistaken for one to come, 52 days later.) Next 16 bits: what the store had left
 * when it denied, 65535 for more. Lowest 16 bits: the lowest cost that is denied; 0: nothing is denied. What both
 * leases hold together isn't denied. A denial of a cost above 65535 is not cached.
 */
#define DENIAL_TICK_SHIFT  20
#define DENIAL_UNTIL_SHIFT 32
#define DENIAL_LEFT_SHIFT  16
#define DENIAL_COST_MASK   UINT64_C(0xffff)
#define DENIAL_TICKS_MAX   (UINT32_C(1) << 22) /* an hour, far more than any denial lasts */

/*
 * The hint. Without a denial, it is what the store had left after its last answer, which is below 2^30. Bit 30
 * says that each lease held credits then: an app that tells what is left looks at both. With a denial, the hint
 * has two times that begin when the denial ends: until the denied cost could be granted (of a client that is
 * blocked: until that ends; 0: not by itself), and until the whole limit is free. Bits 0 to 4: n; the unit of both
 * times is 2^n ms, as small as the longer one allows, so that they are exact below 4096 ms and else too long by a
 * two-thousandth of the longer one at most. Bits 5 to 16: the first time; 17 to 28: the second; 29: the store
 * couldn't look; 30: the limit is the fallback's; 31: it has times.
 */
#define HINT_TIMES_BIT       (UINT32_C(1) << 31)
#define HINT_FALLBACK_BIT    (UINT32_C(1) << 30)
#define HINT_BOTH_BIT        (UINT32_C(1) << 30) /* in a hint without times */
#define HINT_UNAVAILABLE_BIT (UINT32_C(1) << 29)
#define HINT_UNKNOWN         UINT32_MAX /* the store has not answered yet, or the hint is just being changed */
#define HINT_UNIT_MASK       31u
#define HINT_TIME_MASK       4095u
#define HINT_RETRY_SHIFT     5
#define HINT_RESET_SHIFT     17

/*
 * Bit 7 of slot.low_water: the client has a limit of its own (0 if it is blocked). Its index among the directory's
 * own limits is in bits 5 and 6 of slot.low_water and bits 10 to 15 of slot.policy. Few different limits serve
 * many clients; a client whose limit finds no room in the directory is told the policy's.
 */
#define OWN_LIMITS          256u
#define LOW_WATER_OWN_LIMIT 0x80u
#define LOW_WATER_MARK_MASK 0x1fu
#define SLOT_POLICY_MASK    0x3ffu

/*
 * One client under one policy: one cache line.
 *
 * The two leases may overlap, or follow one another; either may be the later.
 * The one with the greater deadline is the later, and it may not be used before
 * later_start_ns; 0: it may be used now. Times are CLOCK_MONOTONIC nanoseconds. A deadline of 0 means
 * that there is no lease.
 */
struct slot {
	alignas(64) _Atomic uint64_t key; /* 0: free */
	_Atomic uint64_t word[2];
	_Atomic uint64_t deadline_ns[2];
	_Atomic uint64_t later_start_ns;
	_Atomic uint64_t denial;
	_Atomic uint32_t hint;      /* what goes with a verdict, see above */
	_Atomic uint16_t policy;    /* index into the directory, and part of an own limit's index */
	_Atomic uint8_t referenced; /* apps set it to 1, the agent clears it to find idle clients */
	/* n: a CAS that takes the credits from at least 2^n to below tells the agent; 0: none. And the bits of an
	 * own limit */
	_Atomic uint8_t low_water;
};

/* ---- The directory ------------------------------------------------------ */

enum policy_state {
	POLICY_FREE = 0,
	POLICY_LIVE = 1,
};

/* What an app needs to know of a policy for its answers. Each field is atomic by itself; while a policy changes,
 * an answer may mix old and new. */
struct policy_entry {
	_Atomic uint32_t state;
	_Atomic uint32_t algorithm;
	_Atomic int64_t max_requests;
	_Atomic int64_t time_window_ms;
	_Atomic int64_t fallback_max_requests;
	_Atomic int64_t fallback_time_window_ms;
	_Atomic int64_t sub_window_ms;
	_Atomic uint16_t resolution;
	_Atomic uint8_t mode;
	_Atomic uint8_t shadow;      /* 1: what is denied is admitted, by whoever tells an app of the verdict */
	_Atomic uint32_t generation; /* how many policies the entry was for before this one */
	char name[64];
	/* how long an admission counts on after the end of its lease; then the whole limit is free again */
	_Atomic uint32_t weighs_ms;
	_Atomic uint32_t fallback_weighs_ms;
};

struct directory_header {
	uint64_t magic;
	uint32_t version;
	uint32_t policy_capacity;
	uint64_t generation;      /* random; a new one for each table made */
	uint64_t directory_bytes; /* sizes of the whole objects */
	uint64_t table_bytes;
	uint64_t tags_offset;
	uint64_t slots_offset;
	uint32_t bucket_count;
	uint32_t slots_per_bucket;
	uint8_t boot_id[16];   /* CLOCK_MONOTONIC means something within one boot only */
	uint64_t clock_offset; /* of the agent's CLOCK_MONOTONIC, see timens.h; 0: unknown */
	uint8_t secret[SECRET_SIZE];
	/* For the next agent: the server that granted the leases in the table, and up to which of its changes they are
	 * in force. */
	_Atomic int64_t change_id; /* -1: unknown */
	int64_t wal_end;
	char timeline[16];
	char server[40];
	uint64_t tallies_offset;
	uint32_t tally_stripes; /* tallies of a row: one for each CPU, and TALLY_SHARED */
	uint32_t reserved;
};

_Static_assert(sizeof(_Atomic uint64_t) == 8 && sizeof(_Atomic uint16_t) == 2,
               "atomics have no lock of their own");
_Static_assert(sizeof(struct table_header) == 4096, "table header");
_Static_assert(offsetof(struct table_header, version) == 8, "table header");
_Static_assert(offsetof(struct table_header, state) == 12, "table header");
_Static_assert(offsetof(struct table_header, generation) == 16, "table header");
_Static_assert(sizeof(struct tag_row) == 32, "tag row");
_Static_assert(sizeof(struct slot) == 64, "slot");
_Static_assert(offsetof(struct slot, key) == 0, "slot");
_Static_assert(offsetof(struct slot, word) == 8, "slot");
_Static_assert(offsetof(struct slot, deadline_ns) == 24, "slot");
_Static_assert(offsetof(struct slot, later_start_ns) == 40, "slot");
_Static_assert(offsetof(struct slot, denial) == 48, "slot");
_Static_assert(offsetof(struct slot, hint) == 56, "slot");
_Static_assert(offsetof(struct slot, policy) == 60, "slot");
_Static_assert(offsetof(struct slot, referenced) == 62, "slot");
_Static_assert(offsetof(struct slot, low_water) == 63, "slot");
_Static_assert(sizeof(struct policy_entry) == 128, "policy entry");
_Static_assert(offsetof(struct policy_entry, max_requests) == 8, "policy entry");
_Static_assert(offsetof(struct policy_entry, sub_window_ms) == 40, "policy entry");
_Static_assert(offsetof(struct policy_entry, name) == 56, "policy entry");
_Static_assert(offsetof(struct policy_entry, shadow) == 51, "policy entry");
_Static_assert(offsetof(struct policy_entry, generation) == 52, "policy entry");
_Static_assert(offsetof(struct policy_entry, weighs_ms) == 120, "policy entry");
_Static_assert(sizeof(struct directory_header) == 368, "directory header");
_Static_assert(offsetof(struct directory_header, generation) == 16, "directory header");
_Static_assert(offsetof(struct directory_header, bucket_count) == 56, "directory header");
_Static_assert(offsetof(struct directory_header, boot_id) == 64, "directory header");
_Static_assert(offsetof(struct directory_header, clock_offset) == 80, "directory header");
_Static_assert(offsetof(struct directory_header, secret) == 88, "directory header");
_Static_assert(offsetof(struct directory_header, change_id) == 280, "directory header");
_Static_assert(offsetof(struct directory_header, tallies_offset) == 352, "directory header");
_Static_assert(POLICY_CAPACITY <= SLOT_POLICY_MASK + 1, "a policy's index fits beside that of an own limit");

#define DIRECTORY_ENTRIES_OFFSET 384u /* entries start on a cache line */

static inline uint64_t word_make(uint32_t epoch, uint32_t credits, uint64_t flag) {
	return (uint64_t)epoch << WORD_EPOCH_SHIFT | flag | credits;
}

static inline uint32_t word_epoch(uint64_t word) {
	return (uint32_t)(word >> WORD_EPOCH_SHIFT);
}

static inline uint32_t word_credits(uint64_t word) {
	return (uint32_t)(word & WORD_CREDITS_MASK);
}

/* Both times are in ms from the end of the denial; retry_ms <= reset_ms. */
static inline uint32_t hint_pack(uint32_t flags, uint64_t retry_ms, uint64_t reset_ms) {
	uint32_t unit = 0;

	for (; reset_ms > HINT_TIME_MASK && unit < HINT_UNIT_MASK - 1; unit++) {
		reset_ms = reset_ms / 2 + reset_ms % 2;
		retry_ms = retry_ms / 2 + retry_ms % 2;
	}
	return HINT_TIMES_BIT | flags | (uint32_t)(reset_ms & HINT_TIME_MASK) << HINT_RESET_SHIFT |
	       (uint32_t)(retry_ms & HINT_TIME_MASK) << HINT_RETRY_SHIFT | unit;
}

static inline int64_t hint_retry_ms(uint32_t hint) {
	return (int64_t)((uint64_t)(hint >> HINT_RETRY_SHIFT & HINT_TIME_MASK) << (hint & HINT_UNIT_MASK));
}

static inline int64_t hint_reset_ms(uint32_t hint) {
	return (int64_t)((uint64_t)(hint >> HINT_RESET_SHIFT & HINT_TIME_MASK) << (hint & HINT_UNIT_MASK));
}

/* Whether the denial that the hint goes with is by the fallback's limit. */
static inline bool hint_is_fallback(uint32_t hint) {
	return (hint & (HINT_TIMES_BIT | HINT_FALLBACK_BIT)) == (HINT_TIMES_BIT | HINT_FALLBACK_BIT) &&
	       hint != HINT_UNKNOWN;
}

static inline uint64_t denial_pack(uint64_t until_ns, uint64_t left, uint32_t cost) {
	return until_ns >> DENIAL_TICK_SHIFT << DENIAL_UNTIL_SHIFT |
	       (left > UINT16_MAX ? UINT16_MAX : left) << DENIAL_LEFT_SHIFT | cost;
}

static inline uint32_t denial_left(uint64_t denial) {
	return (uint16_t)(denial >> DENIAL_LEFT_SHIFT);
}

/* Returns when the denial ends; a time up to now_ns means that it is over. */
static inline uint64_t denial_until_ns(uint64_t denial, uint64_t now_ns) {
	uint64_t now = now_ns >> DENIAL_TICK_SHIFT;
	uint32_t left = (uint32_t)(denial >> DENIAL_UNTIL_SHIFT) - (uint32_t)now;
	return left > DENIAL_TICKS_MAX ? 0 : (now + left) << DENIAL_TICK_SHIFT;
}

static inline uint32_t own_limit_index(uint16_t policy, uint8_t low_water) {
	return (uint32_t)(policy >> 10) << 2 | (low_water >> 5 & 3u);
}

static inline _Atomic uint32_t *directory_own_limits(const struct directory_header *directory) {
	return (_Atomic uint32_t *)((char *)(uintptr_t)directory + DIRECTORY_ENTRIES_OFFSET +
	                            directory->policy_capacity * sizeof(struct policy_entry));
}

static inline struct policy_entry *directory_entries(const struct directory_header *directory) {
	return (struct policy_entry *)((char *)(uintptr_t)directory + DIRECTORY_ENTRIES_OFFSET);
}

#endif
