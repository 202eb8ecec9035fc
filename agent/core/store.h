/*
 * store.h - what is asked of a store of counters, and what it answers: the
 * words in which core, PostgreSQL, memory and fallback talk of leases.
 *
 * Durations are microseconds from the store's own time of the grant. `sub_window`
 * is a token of the store's (the start of a sub-window by its clock): hand it back
 * with a return, make nothing else of it.
 */
#ifndef STINT_STORE_H
#define STINT_STORE_H

#include <stdbool.h>
#include <stdint.h>

/* One client's part of a batch. No two of a batch name the same client. */
struct lease_request {
	int32_t policy_id; /* the store's id of the policy */
	const char *client_id;
	uint8_t client_id_len;
	int32_t need;              /* sum of the costs that wait now; 0: nobody waits */
	int32_t least;             /* the smallest of them; less than that is no use */
	int32_t want;              /* for the current sub-window, at least need */
	int32_t next_want;         /* for the next one */
	int32_t charge;            /* already admitted without asking: count it, as far as the limit goes */
	int64_t return_sub_window; /* 0: nothing to return */
	int32_t return_first;      /* unused credits of that sub-window ... */
	int32_t return_second;     /* ... and of the one after it */
	/* the store may not know the client: it never answered for it. There is a need, and nothing but need and
	 * want */
	bool first;
};

struct lease_grant {
	bool answered;   /* false: the store doesn't know the policy or refuses the client */
	int32_t granted; /* good until valid_us after the grant */
	int32_t granted_next;
	int32_t charged;
	int32_t remaining;
	int32_t max_requests; /* the limit that applied; 0: blocked */
	int64_t sub_window;
	int64_t valid_us;
	int64_t starts_in_us;  /* the next sub-window ... */
	int64_t next_valid_us; /* ... and its end */
	/* denied: until `least` could be granted; else, if nothing remains, until 1 could be; -1: never */
	int64_t retry_us;
	int64_t reset_us; /* until nothing is charged any more */
};

/* How a batch ended. */
enum lease_outcome {
	LEASE_DONE,
	LEASE_REJECTED, /* certainly not applied: nothing granted, nothing charged, nothing returned */
	LEASE_UNKNOWN,  /* may have been applied: counts as spent; never return the same credits again */
};

#endif
