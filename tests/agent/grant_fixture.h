/*
 * grant_fixture.h - one client's counters, and what is asked of them at which time.
 */
#ifndef GRANT_FIXTURE_H
#define GRANT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>

#include "core/grant.h"

#define EPOCH_US INT64_C(1700000000000000)

#define SUB_US  100000  /* of most tests: ten are a second */
#define LONG_US 1000000 /* of others, beside which GRANT_SPEND_LAG_US is short */

static const struct grant_terms ten_in_a_second = {.max_requests = 10, .sub_window_us = SUB_US, .runs = 10};
static struct grant_ring ring;
static struct grant_terms terms;
static struct lease_grant got;

static inline int start(void **state) {
	(void)state;
	ring = (struct grant_ring){0};
	terms = ten_in_a_second;
	return 0;
}

static inline int32_t take_as(int64_t t_us, int host, struct lease_request request) {
	grant_take(&ring, &terms, &request, EPOCH_US + t_us, host, &got);
	assert_true(got.answered);
	return got.granted;
}

static inline int32_t take(int64_t t_us, int32_t cost) {
	return take_as(t_us, 1, (struct lease_request){.need = cost, .least = cost, .want = cost});
}

/* Of a lease that lasts for so many more sub-windows. */
static inline int32_t take_long(int64_t t_us, int32_t credits, int32_t span) {
	take_as(t_us, 1, (struct lease_request){.least = 1, .want = credits, .span = span});
	assert_true(got.next_is_open);
	return got.granted_next;
}

/* The ring knows the client for so long then, so it may have leases as long. One credit counts for a window. */
static inline void come_before(int64_t t_us, int sub_windows) {
	assert_int_equal(take(t_us - sub_windows * terms.sub_window_us, 1), 1);
}

static inline void give_back(int64_t t_us, int64_t sub_window, int32_t unspent, int32_t spent) {
	take_as(t_us, 1, (struct lease_request){.report = {{sub_window, unspent, spent}}});
}

/* How many sub-windows behind the present one it is. */
static inline int64_t distance_of(int64_t sub_window) {
	return (sub_window - ring.current_us) / ring.sub_window_us;
}

#endif
