/*
 * threads_fixture.h - an app with one limiter, and threads that check with it.
 */
#ifndef THREADS_FIXTURE_H
#define THREADS_FIXTURE_H

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fake_agent.h"
#include "unit.h"

#define THREADS 4
#define LATER   (fake_now_ns() + MS(60000))

struct fixture {
	struct fake_agent agent;
	struct stint *st;
	struct stint_limiter *api;
	_Atomic bool stop;
	_Atomic unsigned done;  /* checks with a verdict */
	_Atomic unsigned wrong; /* and with something else */
	_Atomic unsigned left;  /* threads that have ended */
	_Atomic uint64_t taken;
	struct mapping *mapping;
};

static inline int setup(void **state) {
	struct fixture *f = calloc(1, sizeof(*f));
	struct stint_options options = {.policy = "api",
	                                .max_requests = 1000000,
	                                .time_window_ms = 60000,
	                                .timeout_ms = 20000};

	fake_agent_init(&f->agent);
	fake_agent_start(&f->agent);
	assert_int_equal(stint_open(&f->st, f->agent.path), 0);
	assert_int_equal(stint_limiter_new(&f->api, f->st, &options), 0);
	*state = f;
	return 0;
}

static inline void close_all(struct fixture *f) {
	stint_limiter_free(f->api);
	stint_close(f->st);
}

static inline int teardown(void **state) {
	struct fixture *f = *state;

	close_all(f);
	fake_agent_destroy(&f->agent);
	free(f);
	return 0;
}

static inline void start_threads(pthread_t thread[static THREADS], void *(*body)(void *), struct fixture *f) {
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, body, f), 0);
}

static inline void join_threads(pthread_t thread[static THREADS]) {
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* ---- What threads do --------------------------------------------------------------------- */

static inline void *check_until_told(void *arg) {
	struct fixture *f = arg;
	struct stint_result r;
	char id[32];

	for (unsigned i = 0; !atomic_load(&f->stop); i++) {
		snprintf(id, sizeof(id), "client-%u", i % 50);
		/* While the agent is away, the limit inside the process may say no. */
		if (stint_check(f->api, id, 1, &r) == 0 && (r.allowed || r.source == STINT_SOURCE_LOCAL))
			atomic_fetch_add(&f->done, 1);
		else
			atomic_fetch_add(&f->wrong, 1);
	}
	return NULL;
}

static inline void await_done(struct fixture *f, unsigned more) {
	unsigned from = atomic_load(&f->done);

	while (atomic_load(&f->done) - from < more && atomic_load(&f->wrong) == 0)
		usleep(1000);
}

static inline void *check_once(void *arg) {
	struct fixture *f = arg;
	struct stint_result r;

	if (stint_check(f->api, "c", 1, &r) == 0 && r.source == STINT_SOURCE_DATABASE)
		atomic_fetch_add(&f->done, 1);
	return NULL;
}

/* ---- An event loop ----------------------------------------------------------------------- */

static inline void count_callback(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;

	if (status == 0 && result->source == STINT_SOURCE_DATABASE)
		atomic_fetch_add(&f->done, 1);
	else
		atomic_fetch_add(&f->wrong, 1);
}

static inline bool loop_until(struct fixture *f, unsigned done) {
	while (atomic_load(&f->done) < done) {
		struct pollfd p = {.fd = stint_fd(f->st), .events = POLLIN};
		if (poll(&p, 1, 20000) != 1 || stint_dispatch(f->st) < 0)
			return false;
	}
	return atomic_load(&f->done) == done && atomic_load(&f->wrong) == 0;
}

#endif
