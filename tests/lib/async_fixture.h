/*
 * async_fixture.h - an app with an event loop made of poll() and stint_dispatch(), and the agent that it asks, which does what the
 * test says.
 */
#ifndef ASYNC_FIXTURE_H
#define ASYNC_FIXTURE_H

#include <poll.h>
#include <stdlib.h>

#include "fake_agent.h"
#include "unit.h"

#define LATER (fake_now_ns() + MS(60000))

struct fixture {
	struct fake_agent agent;
	struct stint *st;
	struct stint_limiter *api;
	struct stint_limiter *patient; /* where a slow machine must not make the difference */
	struct stint_result r;
	/* What callbacks told. */
	int called, allowed, status, source;
	int again; /* so many callbacks start another check */
};

static inline int setup_absent(void **state) {
	struct fixture *f = calloc(1, sizeof(*f));
	struct stint_options options = {
		.policy = "api", .max_requests = 100000, .time_window_ms = 60000, .timeout_ms = 2000};

	fake_agent_init(&f->agent);
	assert_int_equal(stint_open(&f->st, f->agent.path), 0);
	assert_int_equal(stint_limiter_new(&f->api, f->st, &options), 0);
	options.policy = "patient";
	options.timeout_ms = 60000;
	assert_int_equal(stint_limiter_new(&f->patient, f->st, &options), 0);
	*state = f;
	return 0;
}

static inline int setup(void **state) {
	setup_absent(state);
	fake_agent_start(&((struct fixture *)*state)->agent);
	return 0;
}

static inline int teardown(void **state) {
	struct fixture *f = *state;

	stint_limiter_free(f->api);
	stint_limiter_free(f->patient);
	stint_close(f->st);
	fake_agent_destroy(&f->agent);
	free(f);
	return 0;
}

static inline struct stint_limiter *limiter_new(struct fixture *f, int timeout_ms) {
	struct stint_options options = {
		.policy = "hasty", .max_requests = 100, .time_window_ms = 60000, .timeout_ms = timeout_ms};
	struct stint_limiter *limiter;

	assert_int_equal(stint_limiter_new(&limiter, f->st, &options), 0);
	return limiter;
}

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

/* The event loop, until so many callbacks have run. */
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_ABSENT(name) cmocka_unit_test_setup_teardown(name, setup_absent, teardown)

#endif
