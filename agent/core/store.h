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

/* Of the credits that were charged to this sub-window and belong to this host: so many were never spent, and are
 * given back; so many were spent by now, and count from the present sub-window on instead. */
struct lease_report {
	int64_t sub_window; /* 0: nothing to report */
	int32_t unspent;
	int32_t spent;
};

#define LEASE_REPORTS 2

/* One client's part of a batch. No two of a batch name the same client. */
struct lease_request {
	int32_t policy_id; /* the store's id of the policy */
	const char *client_id;
	uint8_t client_id_len;
	int32_t need;  /* sum of the costs that wait now; 0: nobody waits */
	int32_t least; /* the smallest of them; less than that is no use */
	int32_t want;  /* at least need: and what is used until the lease ends, if it lasts for all of `span` */
	/* for how many sub-windows after the present one a lease is to last: as many as the limit allows, this at
	 * most, and span_least at least */
	int32_t span;
	int32_t span_least;
	/* from the next sub-window on: granted if only a brief lease would be (see grant.h), in its stead; if there is
	 * a need as well, only where a brief lease ends with the sub-window */
	int32_t next_want;
	int32_t charge; /* already admitted without asking: count it, as far as the limit goes */
	struct lease_report report[LEASE_REPORTS];
	/* the store may not know the client: it never answered for it. There is a need, and nothing but need, want
	 * and spans */
	bool first;
	bool skip; /* the batch is to wait for no row that somebody has locked. Not together with `first` */
};

struct lease_grant {
	bool answered;        /* false: the store doesn't know the policy or refuses the client, or: */
	bool busy;            /* somebody has locked the client's row: nothing of the request was applied */
	int32_t granted;      /* good until valid_us after the grant */
	int32_t granted_next; /* of a lease that lasts longer, or begins with the next sub-window */
	int32_t charged;
	int32_t remaining;
	int32_t recallable;   /* if that was too little: what long leases were charged with, unspent perhaps */
	int32_t max_requests; /* the limit that applied; 0: blocked */
	int64_t sub_window;   /* to which `granted` is charged: the last one in which it is good */
	int64_t valid_us;
	int64_t starts_in_us;    /* the next sub-window */
	int64_t next_sub_window; /* to which granted_next is charged ... */
	int64_t next_valid_us;   /* ... it is good until then, from now on or ... */
	bool next_is_open;       /* ... if this is false, from starts_in_us on */
	/* denied: until `least` could be granted, or a block ends; else, if nothing remains, until 1 could be; -1:
	 * never */
	int64_t retry_us;
	int64_t reset_us; /* until nothing is charged any more */
};

/* A client whose long leases are called back from the hosts that have them. */
struct lease_recall {
	int32_t policy_id;
	const char *client_id;
	uint8_t client_id_len;
};

/* How a batch ended. */
enum lease_outcome {
	LEASE_DONE,
	LEASE_REJECTED, /* certainly not applied: nothing granted, nothing charged, nothing returned */
	LEASE_UNKNOWN,  /* may have been applied: counts as spent; never return the same credits again */
};

#endif
