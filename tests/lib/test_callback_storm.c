/*
 * test_callback_storm.c - each check that was started has its callback once, whatever threads do at the same
 * time, and in whatever order things happen.
 */
#include <pthread.h>
#include <stdlib.h>

#include "async_fixture.h"

/* ---- Threads ------------------------------------------------------------------------------- */

struct shared {
	struct fixture *f;
	_Atomic int told, cancelled, started;
	_Atomic bool stop;
};

static void count_shared(int status, const struct stint_result *result, void *arg) {
	struct shared *s = arg;

	(void)result;
	atomic_fetch_add(status == STINT_ECANCELED ? &s->cancelled : &s->told, 1);
}

static void *dispatch_all_the_time(void *arg) {
	struct shared *s = arg;

	while (!atomic_load(&s->stop))
		stint_dispatch(s->f->st);
	return NULL;
}

static void *free_all_the_time(void *arg) {
	struct shared *s = arg;

	for (int i = 0; i < 50; i++) {
		struct stint_limiter *limiter =
			limiter_new(s->f, (struct stint_options){.policy = "hasty", .timeout_ms = 60000});
		struct stint_result r;

		for (int n = 0; n < 20; n++) {
			if (stint_check_async(limiter, "c", 1, &r, count_shared, s) == 0)
				atomic_fetch_add(&s->started, 1);
		}
		while (i % 2 == 0 && atomic_load(&s->told) < i)
			usleep(100);
		stint_limiter_free(limiter);
	}
	return NULL;
}

static void one_thread_frees_while_another_dispatches(void **state) {
	struct shared s = {.f = *state};
	pthread_t dispatcher, freer[2];

	assert_int_equal(pthread_create(&dispatcher, NULL, dispatch_all_the_time, &s), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&freer[i], NULL, free_all_the_time, &s), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(freer[i], NULL);
	atomic_store(&s.stop, true);
	pthread_join(dispatcher, NULL);
	assert_true(s.cancelled > 0);
	assert_true(s.told > 0);
	assert_int_equal(s.told + s.cancelled, s.started);
}

/* ---- Anything --------------------------------------------------------------------------------- */

#define CHECKS   4000
#define LIMITERS 4

struct storm {
	struct fixture *f;
	uint64_t random;
	struct stint *st;
	struct stint_limiter *limiter[LIMITERS];
	unsigned started, depth;
	struct storm_check {
		struct storm *storm;
		int called;
	} check[CHECKS];
};

static unsigned below(struct storm *s, unsigned n) {
	s->random = s->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(s->random >> 33) % n;
}

static void storm_callback(int status, const struct stint_result *result, void *arg);

static void storm_start(struct storm *s) {
	struct stint_limiter *limiter = s->limiter[below(s, LIMITERS)];
	struct storm_check *check;
	struct stint_result r;

	if (!limiter || s->started == CHECKS)
		return;
	check = &s->check[s->started];
	check->storm = s;
	if (stint_check_async(limiter, "c", 1, &r, storm_callback, check) == 0)
		s->started++;
	else
		assert_int_equal(check->called, 0);
}

static void storm_free(struct storm *s, unsigned i) {
	struct stint_limiter *limiter = s->limiter[i];

	s->limiter[i] = NULL;
	stint_limiter_free(limiter);
}

static void storm_close(struct storm *s) {
	struct stint *st = s->st;

	s->st = NULL;
	for (unsigned i = 0; i < LIMITERS; i++)
		storm_free(s, i);
	stint_close(st);
}

static void storm_make(struct storm *s) {
	struct stint_options options = {.max_requests = 100, .time_window_ms = 60000};
	char policy[2] = "a";

	/* A callback may have closed it, and an outer callback may be about to do so. */
	if (!s->st && s->depth > 0)
		return;
	if (!s->st)
		assert_int_equal(stint_open(&s->st, s->f->agent.path), 0);
	options.policy = policy;
	for (unsigned i = 0; i < LIMITERS; i++) {
		policy[0] = (char)('a' + i);
		options.timeout_ms = 1 + (int)below(s, 30);
		if (!s->limiter[i])
			assert_int_equal(stint_limiter_new(&s->limiter[i], s->st, &options), 0);
	}
}

static void storm_callback(int status, const struct stint_result *result, void *arg) {
	struct storm_check *check = arg;
	struct storm *s = check->storm;

	assert_true((status == 0) == (result != NULL));
	check->called++;
	s->depth++;
	switch (below(s, 16)) {
	case 0: storm_free(s, below(s, LIMITERS)); break;
	case 1: storm_make(s); break;
	case 2:
		if (below(s, 8) == 0)
			storm_close(s);
		break;
	case 3:
		if (s->st)
			assert_int_equal(stint_dispatch(s->st) >= 0, 1);
		break;
	case 4:
	case 5:
	case 6: storm_start(s); break;
	default: break;
	}
	s->depth--;
}

static void storm_agent(struct storm *s) {
	switch (below(s, 3)) {
	case 0: set(s->f, &s->f->agent.mute, true); break;
	case 1: set(s->f, &s->f->agent.mute, false); break;
	default: fake_agent_hang_up(&s->f->agent); break;
	}
}

static void storm_step(struct storm *s) {
	unsigned what = below(s, 32);

	storm_make(s);
	if (what < 20)
		storm_start(s);
	else if (what < 28)
		stint_dispatch(s->st);
	else if (what < 30)
		storm_free(s, below(s, LIMITERS));
	else if (what < 31)
		storm_agent(s);
	else if (below(s, 8) == 0)
		storm_close(s);
	if (below(s, 64) == 0)
		usleep(2000);
}

static void each_check_is_told_once_whatever_happens(void **state) {
	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct storm *s = calloc(1, sizeof(*s));

		assert_non_null(s);
		s->f = *state;
		s->random = seed;
		for (int i = 0; i < 2000; i++)
			storm_step(s);
		storm_make(s);
		storm_close(s);
		for (unsigned i = 0; i < s->started; i++) {
			if (s->check[i].called != 1)
				fail_msg("seed %u: check %u was told %d times", (unsigned)seed, i, s->check[i].called);
		}
		assert_true(s->started > 100);
		free(s);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(one_thread_frees_while_another_dispatches),
		TEST(each_check_is_told_once_whatever_happens),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
