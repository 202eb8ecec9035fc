/*
 * app_fixture.h - an app, and the agent that it asks, which does what the test says.
 */
#ifndef APP_FIXTURE_H
#define APP_FIXTURE_H

#include <stdlib.h>

#include "fake_agent.h"
#include "unit.h"

#define TIMEOUT_MS 2000
#define LATER      (fake_now_ns() + MS(60000))

struct fixture {
	struct fake_agent agent;
	struct stint *st;
	struct stint_limiter *api;
	struct stint_limiter *patient; /* with a timeout that no slow machine reaches */
	struct stint_result r;
	/* What callbacks were told. */
	int called, allowed, status, source;
	int again; /* so many more callbacks start another check */
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

static inline void app_open(struct fixture *f) {
	assert_int_equal(stint_open(&f->st, f->agent.path), 0);
	f->api = limiter_new(f, (struct stint_options){.timeout_ms = TIMEOUT_MS});
	f->patient = limiter_new(f, (struct stint_options){.policy = "patient", .timeout_ms = 60000});
}

static inline void app_close(struct fixture *f) {
	stint_limiter_free(f->api);
	stint_limiter_free(f->patient);
	stint_close(f->st);
	f->api = f->patient = NULL;
	f->st = NULL;
}

static inline int setup_absent(void **state) {
	struct fixture *f = calloc(1, sizeof(*f));

	fake_agent_init(&f->agent);
	app_open(f);
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

	app_close(f);
	fake_agent_destroy(&f->agent);
	free(f);
	return 0;
}

#define TEST(name)        cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_ABSENT(name) cmocka_unit_test_setup_teardown(name, setup_absent, teardown)

#endif
