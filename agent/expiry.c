/* expiry.c - takes away what has ended or counts nothing any more, see expiry.h. */
#include "expiry.h"

#include <event2/event.h>

/* Rows that one call looks at, in a millisecond or two: this host's leases wait behind it. While calls find much
 * to delete, they follow one another with pauses that leave the database three quarters of the time. Where most
 * rows are to stay, the pauses are longer, and longer still before the next round through the table. For so long,
 * at most, hosts go by a block that has ended. */
#define EXPIRE_ROWS 500
static const struct timeval expiry_busy = {.tv_usec = 10000};
static const struct timeval expiry_passing = {.tv_usec = 100000};
static const struct timeval expiry_idle = {.tv_sec = 2};

static void on_expired(void *context, enum lease_outcome outcome, int64_t examined, int64_t deleted) {
	struct expiry *expiry = context;
	expiry->under_way = false;
	if (outcome == LEASE_DONE && deleted > EXPIRE_ROWS / 4)
		event_add(expiry->timer, &expiry_busy);
	else if (outcome == LEASE_DONE && examined >= EXPIRE_ROWS)
		event_add(expiry->timer, &expiry_passing);
}

void expiry_on_timer(struct expiry *expiry) {
	event_add(expiry->timer, &expiry_idle);
	if (expiry->sync->state != SYNC_DONE || !expiry->is_ours || expiry->under_way || expiry->is_over)
		return;
	expiry->under_way = true;
	database_expire_counters(expiry->driver->database, EXPIRE_ROWS, on_expired, expiry);
}

static void on_timer(evutil_socket_t fd, short what, void *context) {
	(void)fd;
	(void)what;
	expiry_on_timer(context);
}

int expiry_start(struct expiry *expiry, struct event_base *base) {
	expiry->timer = event_new(base, -1, 0, on_timer, expiry);
	if (!expiry->timer)
		return -1;
	event_active(expiry->timer, 0, 0);
	return 0;
}

void expiry_stop(struct expiry *expiry) {
	expiry->is_over = true;
}

void expiry_free(struct expiry *expiry) {
	if (expiry->timer)
		event_free(expiry->timer);
}

void expiry_forget_database(struct expiry *expiry) {
	expiry->under_way = false;
}
