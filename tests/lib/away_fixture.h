/*
 * away_fixture.h - an agent that is lost: who asks then, and when somebody is admitted again.
 */
#ifndef AWAY_FIXTURE_H
#define AWAY_FIXTURE_H

#include "channel_fixture.h"

/* A window that doesn't end while a test runs: the next window would begin another count. */
#define ENDLESS_MS STINT_TIME_WINDOW_MS_MAX

/* Asks until a check is admitted. None may be for two seconds and a half after the agent was lost, which
 * happened at began_ns or later. */
static inline void expect_none_for_two_seconds(struct fixture *f, struct stint_limiter *limiter,
                                               uint64_t began_ns) {
	uint64_t asked_ns;

	do {
		asked_ns = fake_now_ns();
		assert_int_equal(stint_check(limiter, "c", 1, &f->r), 0);
		assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
		assert_true(f->r.allowed || (f->r.retry_after_ms >= 1 && f->r.retry_after_ms <= 2500));
		assert_true(fake_now_ns() - began_ns < MS(20000));
		pass(5);
	} while (!f->r.allowed);
	assert_true(fake_now_ns() - began_ns >= MS(2500));
	/* The check that is admitted then doesn't wait. */
	assert_true(fake_now_ns() - asked_ns < MS(TIMEOUT_MS));
}

#endif
