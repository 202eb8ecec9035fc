/*
 * async_fixture.h - an app with an event loop made of poll() and stint_dispatch().
 */
#ifndef ASYNC_FIXTURE_H
#define ASYNC_FIXTURE_H

#include <poll.h>

#include "app_fixture.h"

static inline void count(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;

	f->called++;
	f->status = status;
	assert_true((status == 0) == (result != NULL));
	if (result) {
		f->allowed += result->allowed;
		f->source = (int)result->source;
	}
	if (f->again > 0) {
		f->again--;
		assert_int_equal(stint_check_async(f->api, "again", 1, &f->r, count, f), 0);
	}
}

static inline bool is_readable(struct fixture *f, int timeout_ms) {
	struct pollfd p = {.fd = stint_fd(f->st), .events = POLLIN};

	assert_true(p.fd >= 0);
	return poll(&p, 1, timeout_ms) == 1;
}

/* Runs the event loop until so many callbacks have run. */
static inline void loop(struct fixture *f, int called) {
	while (f->called < called) {
		assert_true(is_readable(f, 20000));
		assert_true(stint_dispatch(f->st) >= 0);
	}
	assert_int_equal(f->called, called);
}

static inline int start(struct fixture *f, const char *id) {
	return stint_check_async(f->api, id, 1, &f->r, count, f);
}

static inline void set(struct fixture *f, bool *what, bool value) {
	fake_agent_lock(&f->agent);
	*what = value;
	fake_agent_unlock(&f->agent);
}

static inline void start_many(struct fixture *f, struct stint_limiter *limiter, int n) {
	for (int i = 0; i < n; i++)
		assert_int_equal(stint_check_async(limiter, "c", 1, &f->r, count, f), 0);
}

#endif
