/*
 * channel_fixture.h - an app with one limiter, and the agent that it asks, which does what the test says.
 */
#ifndef CHANNEL_FIXTURE_H
#define CHANNEL_FIXTURE_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_agent.h"
#include "unit.h"

#define TIMEOUT_MS 2000
#define LATER (fake_now_ns() + MS(60000))

struct fixture {
	struct fake_agent agent;
	struct stint *st;
	struct stint_limiter *api;
	struct stint_result r;
};

static inline struct stint_limiter *limiter_new(struct fixture *f, struct stint_options options) {
	struct stint_limiter *limiter;

	options.policy = options.policy ? options.policy : "api";
	if (!options.must_exist) {
		options.max_requests = 100;
		options.time_window_ms = 60000;
	}
	assert_int_equal(stint_limiter_new(&limiter, f->st, &options), 0);
	return limiter;
}

static inline int setup_absent(void **state) {
	struct fixture *f = calloc(1, sizeof(*f));

	fake_agent_init(&f->agent);
	assert_int_equal(stint_open(&f->st, f->agent.path), 0);
	f->api = limiter_new(f, (struct stint_options){.timeout_ms = TIMEOUT_MS});
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
	stint_close(f->st);
	fake_agent_destroy(&f->agent);
	free(f);
	return 0;
}

/* What a check says: who decided, or an error. */
static inline int source(struct fixture *f, const char *id) {
	int error = stint_check(f->api, id, 1, &f->r);
	return error ? error : (int)f->r.source;
}

/* Until the agent has answered this limiter in time: with a short timeout, and on a slow machine, not at once. */
static inline void meet(struct fixture *f, struct stint_limiter *limiter) {
	do
		assert_int_equal(stint_check(limiter, "c", 1, &f->r), 0);
	while (f->r.source != STINT_SOURCE_DATABASE);
}

static inline void change(struct fixture *f, void (*how)(struct fake_agent *)) {
	fake_agent_lock(&f->agent);
	how(&f->agent);
	fake_agent_unlock(&f->agent);
}

static inline void pass(unsigned ms) {
	usleep(ms * 1000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_ABSENT(name) cmocka_unit_test_setup_teardown(name, setup_absent, teardown)

#endif
