/*
 * channel_fixture.h - an app that waits for the agent's answers.
 */
#ifndef CHANNEL_FIXTURE_H
#define CHANNEL_FIXTURE_H

#include <string.h>
#include <unistd.h>

#include "app_fixture.h"

/* What a check says: who decided, or an error. */
static inline int source(struct fixture *f, const char *id) {
	int error = stint_check(f->api, id, 1, &f->r);
	return error ? error : (int)f->r.source;
}

/* Asks until the agent answers this limiter in time. With a short timeout on a slow machine, that takes several
 * checks. */
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

#endif
