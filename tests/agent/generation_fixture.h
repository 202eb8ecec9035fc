/*
 * generation_fixture.h - a core whose walk round the table takes its time: a slot in a millisecond. What the test
 * does meanwhile.
 */
#ifndef GENERATION_FIXTURE_H
#define GENERATION_FIXTURE_H

#include "core_fixture.h"

#define LOOKS_MAX  6000u /* a step of a walk, of a sweep, timers */
#define QUEUED_MAX 8600u /* what there is room for in the background, a step more, and a batch */

static inline int make_slow(void **state) {
	make_with(state, 64, 1);
	struct fixture *f = *state;
	core_database_up(f->core, f->now_ns, 2);
	core_advance(f->core, f->now_ns);
	while (core_is_walking(f->core))
		pass(f, MS);
	return 0;
}

static inline int64_t walk(struct fixture *f) {
	int64_t began_ns = f->now_ns;
	while (core_is_walking(f->core))
		pass(f, MS);
	return f->now_ns - began_ns;
}

static inline void lease(struct fixture *f, const char *id, int32_t credits) {
	want(f, 1, id, 1);
	grants(f, credits, 0, 90);
	f->told_count = 0;
}

/* Its walk has hardly begun. */
static inline void policy_changes_for(struct fixture *f, const char *id, struct core_policy policy) {
	policy_changes(f, policy);
	assert_true(core_is_walking(f->core));
	assert_int_equal(app(f, id, 1).verdict, APP_ALLOWED); /* the table doesn't know yet */
}

/* One that the first step of a walk doesn't meet. */
static inline const char *far_id(struct fixture *f) {
	static char id[16];
	for (int i = 0;; i++) {
		snprintf(id, sizeof(id), "far-%d", i);
		struct place place = table_place(&f->table.table, 0, id, strlen(id));
		if (place.home[0] > 40 && place.home[0] < 70) /* it begins at the first slot, and ends before that */
			return id;
	}
}

static inline void falls_back(struct fixture *f) {
	core_database_lost(f->core, f->now_ns);
	walk(f);
	core_database_down(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
}

/* Of a client that sends: two are admitted, and its lease holds more. */
static inline void is_lenient_to(struct fixture *f, const char *id) {
	want(f, 1, id, 1);
	expect_allowed(f, 1);
	low(f, id);
	assert_int_equal(app(f, id, 1).verdict, APP_ALLOWED);
	assert_true(core_counters(f->core)->fallback_granted > 2);
}

static inline uint64_t looked(const struct fixture *f) {
	return core_counters(f->core)->looked;
}

/* What somebody asks of all clients looks at few of them at once. */
#define BOUNDED(f, call)                                                                                          \
	do {                                                                                                          \
		uint64_t before = looked(f);                                                                              \
		call;                                                                                                     \
		assert_in_range(looked(f) - before, 0, LOOKS_MAX);                                                        \
		assert_in_range(core_queued((f)->core), 0, QUEUED_MAX);                                                   \
		(f)->told_count = 0;                                                                                      \
	} while (0)

/* All in flight is answered; each client who waits gets so many, and so many remain. What goes back meanwhile. */
static inline uint64_t answer_each(struct fixture *f, int32_t credits, int32_t remaining) {
	uint64_t back = 0;
	while (f->asked_count > 0) {
		struct lease_grant all[CORE_BATCH_MAX];
		for (size_t i = 0; i < f->asked_count; i++) {
			all[i] = grant_of(f, f->asked[i].need ? credits : 0, 0, remaining);
			all[i].charged = f->asked[i].charge;
			back += (uint64_t)unspent_in(f, i);
		}
		BOUNDED(f, answers(f, LEASE_DONE, all));
	}
	return back;
}

static inline uint64_t answer_all(struct fixture *f, int32_t credits) {
	return answer_each(f, credits, 80);
}

#endif
