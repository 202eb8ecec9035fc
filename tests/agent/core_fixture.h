/*
 * core_fixture.h - a core over a table in ordinary memory, a clock that stands still until
 * the test moves it, and a database that is the test: it sees each batch, and answers it.
 */
#ifndef CORE_FIXTURE_H
#define CORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"
#include "fake_table.h"
#include "stint.h"

#define MS       INT64_C(1000000)
#define START_NS (1000000 * MS)
/* A sub-window of the test's policy; ten are a window; no slack, so that times are round. */
#define SUB_MS       100
#define TOKEN        INT64_C(5000000)
#define VERDICTS_MAX 1024
#define RECALLED_MAX 256

/* So long the database's duration is by this host's clock, whichever of the two is faster: at least, and at
 * most. */
#define AT_LEAST(ns) ((ns) - (ns) / 2000)
#define AT_MOST(ns)  ((ns) + (ns) / 2000)

struct told {
	uint64_t peer;
	uint32_t serial;
	struct core_verdict verdict;
};

struct fixture {
	struct fake_table table;
	struct core *core;
	uint64_t seed;
	uint32_t walk_slots; /* 0: as many as the core likes */
	int64_t now_ns;
	int64_t end_ns; /* of the database's sub-window now */
	struct lease_request asked[CORE_BATCH_MAX];
	char ids[CORE_BATCH_MAX][256];
	size_t asked_count;
	unsigned batches;
	int host; /* that asks */
	struct told told[VERDICTS_MAX];
	size_t told_count;
	unsigned recalls;
	char recalled[RECALLED_MAX][268]; /* "POLICY_ID CLIENT" each */
	size_t recalled_count;
	unsigned denials;
	char denied[256]; /* the last */
};

static inline void on_take(void *context, int host, const struct lease_request *requests, size_t count) {
	struct fixture *f = context;
	assert_int_equal(f->asked_count, 0); /* never two at a time */
	f->asked_count = count;
	f->host = host;
	f->batches++;
	memcpy(f->asked, requests, count * sizeof(*requests));
	for (size_t i = 0; i < count; i++)
		snprintf(f->ids[i], sizeof(f->ids[i]), "%.*s", requests[i].client_id_len, requests[i].client_id);
}

static inline void on_verdict(void *context, uint64_t peer, uint32_t serial, const struct core_verdict *verdict) {
	struct fixture *f = context;
	assert_true(f->told_count < VERDICTS_MAX);
	f->told[f->told_count++] = (struct told){peer, serial, *verdict};
}

static inline void on_recall(void *context, const struct lease_recall *recalls, size_t count) {
	struct fixture *f = context;
	f->recalls++;
	for (size_t i = 0; i < count; i++)
		snprintf(f->recalled[f->recalled_count++ % RECALLED_MAX], sizeof(f->recalled[0]), "%d %.*s",
		         recalls[i].policy_id, recalls[i].client_id_len, recalls[i].client_id);
}

static inline void on_core_denied(void *context, const struct core_denied *denied) {
	struct fixture *f = context;
	f->denials++;
	snprintf(f->denied, sizeof(f->denied), "%.*s", denied->id_len, denied->id);
}

static inline struct core_policy policy_with(int32_t max_requests, int32_t fallback_max) {
	return (struct core_policy){
		.live = true,
		.policy_id = 9,
		.time_window_ms = 10 * SUB_MS,
		.terms = {.max_requests = max_requests, .sub_window_us = SUB_MS * 1000, .runs = 10},
		.fallback_terms = {.max_requests = fallback_max, .sub_window_us = SUB_MS * 1000, .runs = 10},
	};
}

static inline void start_core(struct fixture *f, bool memory_only, int32_t policy_id) {
	static const struct core_io io = {.take = on_take,
	                                  .verdict = on_verdict,
	                                  .recall = on_recall,
	                                  .denied = on_core_denied};
	struct core_options options = {.memory_only = memory_only,
	                               .grace_ns = 500 * MS,
	                               .idle_timeout_ns = 4000 * MS,
	                               .seed = f->seed,
	                               .walk_slots = f->walk_slots};
	assert_int_equal(core_new(&f->core, &f->table.table, f->now_ns, &options, &io, f), 0);
	struct core_policy policy = policy_with(100, 20);
	policy.policy_id = policy_id;
	core_set_policy(f->core, f->now_ns, 0, &policy);
}

static inline int make_with(void **state, uint64_t max_clients, uint32_t walk_slots) {
	struct fixture *f = *state = calloc(1, sizeof(*f));
	assert_non_null(f);
	f->now_ns = START_NS;
	f->seed = 1;
	f->walk_slots = walk_slots;
	f->end_ns = START_NS + 60 * MS;
	fake_table_make(&f->table, max_clients, 7);
	start_core(f, false, 9);
	return 0;
}

static inline int make(void **state) {
	return make_with(state, 64, 0);
}

/* With a database that is up. */
static inline int make_up_with(void **state, uint64_t max_clients) {
	make_with(state, max_clients, 0);
	struct fixture *f = *state;
	core_database_up(f->core, f->now_ns, 2);
	core_advance(f->core, f->now_ns);
	return 0;
}

static inline int make_up(void **state) {
	return make_up_with(state, 64);
}

static inline int clean(void **state) {
	struct fixture *f = *state;
	core_free(f->core);
	fake_table_free(&f->table);
	free(f);
	return 0;
}

/* ---- What happens ------------------------------------------------------------------- */

static inline void pass(struct fixture *f, int64_t ns) {
	f->now_ns += ns;
	while (f->end_ns <= f->now_ns)
		f->end_ns += SUB_MS * MS;
	core_advance(f->core, f->now_ns);
}

static inline void want_until(struct fixture *f, uint32_t serial, const char *id, uint32_t cost,
                              int64_t patience_ns) {
	core_want(f->core, f->now_ns, 1, serial, 0, id, (uint8_t)strlen(id), cost, f->now_ns + patience_ns);
	core_advance(f->core, f->now_ns);
}

static inline void want(struct fixture *f, uint32_t serial, const char *id, uint32_t cost) {
	want_until(f, serial, id, cost, 3600000 * MS);
}

/* Under another policy than the test's own, or as many of them. */
static inline void want_under(struct fixture *f, uint16_t policy, uint32_t serial, const char *id) {
	core_want(f->core, f->now_ns, 1, serial, policy, id, (uint8_t)strlen(id), 1, f->now_ns + 3600000 * MS);
	core_advance(f->core, f->now_ns);
}

static inline void low(struct fixture *f, const char *id) {
	core_low(f->core, f->now_ns, 0, id, (uint8_t)strlen(id));
	core_advance(f->core, f->now_ns);
}

static inline void policy_changes(struct fixture *f, struct core_policy policy) {
	core_set_policy(f->core, f->now_ns, 0, &policy);
	core_advance(f->core, f->now_ns);
}

/* Its limit, or its block. */
static inline void client_changes(struct fixture *f, const char *id) {
	core_client_changed(f->core, f->now_ns, 0, id, (uint8_t)strlen(id));
	core_advance(f->core, f->now_ns);
}

static inline struct app_decision app(struct fixture *f, const char *id, uint32_t cost) {
	return app_decides(&f->table, 0, id, strlen(id), cost, f->now_ns);
}

/* ---- What the database says ----------------------------------------------------------- */

static inline struct lease_grant grant_of(const struct fixture *f, int32_t granted, int32_t granted_next,
                                          int32_t remaining) {
	int64_t valid_us = (f->end_ns - f->now_ns) / 1000;
	return (struct lease_grant){
		.answered = true,
		.granted = granted,
		.granted_next = granted_next,
		.remaining = remaining,
		.max_requests = 100,
		.sub_window = TOKEN + (f->end_ns - START_NS) / 1000,
		.valid_us = valid_us,
		.starts_in_us = valid_us,
		.next_sub_window = TOKEN + (f->end_ns - START_NS) / 1000 + SUB_MS * 1000,
		.next_valid_us = valid_us + SUB_MS * 1000,
		.retry_us = granted ? 0 : valid_us + 300000,
	};
}

/* What is for later is good from now on, until so many sub-windows after this one. */
static inline struct lease_grant long_grant_of(const struct fixture *f, int32_t granted, int32_t granted_next,
                                               int32_t remaining, int span) {
	struct lease_grant grant = grant_of(f, granted, granted_next, remaining);
	grant.next_is_open = true;
	grant.next_sub_window = grant.sub_window + span * SUB_MS * 1000;
	grant.next_valid_us = grant.valid_us + span * SUB_MS * 1000;
	return grant;
}

static inline void answers(struct fixture *f, enum lease_outcome outcome, const struct lease_grant *grants) {
	size_t count = f->asked_count;
	f->asked_count = 0;
	core_on_grants(f->core, f->now_ns, outcome, grants, outcome == LEASE_DONE ? count : 0);
	core_advance(f->core, f->now_ns);
}

/* To a batch of one. */
static inline void grants(struct fixture *f, int32_t granted, int32_t granted_next, int32_t remaining) {
	assert_int_equal(f->asked_count, 1);
	struct lease_grant grant = grant_of(f, granted, granted_next, remaining);
	grant.charged = f->asked[0].charge;
	answers(f, LEASE_DONE, &grant);
}

static inline void grants_long(struct fixture *f, int32_t granted, int32_t granted_next, int32_t remaining,
                               int span) {
	assert_int_equal(f->asked_count, 1);
	struct lease_grant grant = long_grant_of(f, granted, granted_next, remaining, span);
	grant.charged = f->asked[0].charge;
	answers(f, LEASE_DONE, &grant);
}

static inline void loses_the_answer(struct fixture *f) {
	f->asked_count = 0;
	core_on_grants(f->core, f->now_ns, LEASE_UNKNOWN, NULL, 0);
	core_database_lost(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
}

static inline void comes_up(struct fixture *f) {
	core_database_up(f->core, f->now_ns, 2);
	core_advance(f->core, f->now_ns);
}

static inline void stays_away(struct fixture *f) {
	core_database_lost(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
	core_database_down(f->core, f->now_ns);
	core_advance(f->core, f->now_ns);
}

/* Another agent takes the table over. */
static inline void succeed(struct fixture *f, bool memory, int32_t policy_id) {
	core_free(f->core);
	f->asked_count = f->told_count = 0;
	fake_table_take_over(&f->table);
	start_core(f, memory, policy_id);
}

static inline void restart(struct fixture *f) {
	succeed(f, false, 0); /* the directory doesn't hold the database's id */
}

static inline void fill_table(struct fixture *f) {
	char id[16];
	for (uint32_t i = 0; f->table.table.used < f->table.table.slot_count; i++) {
		snprintf(id, sizeof(id), "filler-%u", i);
		want(f, i, id, 1);
		grants(f, 1, 0, 9);
		f->told_count = 0;
		assert_true(i < 4000);
	}
}

/* ---- What must be so -------------------------------------------------------------------- */

/* The next verdict that was told. */
static inline struct core_verdict verdict_of(struct fixture *f, uint32_t serial) {
	assert_true(f->told_count > 0);
	struct told first = f->told[0];
	memmove(f->told, f->told + 1, --f->told_count * sizeof(f->told[0]));
	assert_int_equal(first.serial, serial);
	assert_int_equal(first.peer, 1);
	assert_int_equal(first.verdict.status, 0);
	return first.verdict;
}

#define expect_allowed(f, serial) assert_true(verdict_of(f, serial).allowed)
#define expect_denied(f, serial)  assert_false(verdict_of(f, serial).allowed)
#define expect_silence(f)         assert_int_equal((f)->told_count, 0)
#define expect_no_batch(f)        assert_int_equal((f)->asked_count, 0)

static inline void expect_batch(const struct fixture *f, const char *id, int32_t need, int32_t least,
                                int32_t want) {
	assert_int_equal(f->asked_count, 1);
	assert_string_equal(f->ids[0], id);
	assert_int_equal(f->asked[0].need, need);
	assert_int_equal(f->asked[0].least, least);
	assert_int_equal(f->asked[0].want, want);
}

/* What a request of the batch tells the database of leases: of all, and of those of one sub-window. */
static inline int32_t unspent_in(const struct fixture *f, size_t request) {
	return f->asked[request].report[0].unspent + f->asked[request].report[1].unspent;
}

static inline int32_t spent_in(const struct fixture *f, size_t request) {
	return f->asked[request].report[0].spent + f->asked[request].report[1].spent;
}

static inline struct lease_report report_of(const struct fixture *f, size_t request, int64_t sub_window) {
	for (int i = 0; i < LEASE_REPORTS; i++)
		if (f->asked[request].report[i].sub_window == sub_window)
			return f->asked[request].report[i];
	return (struct lease_report){0};
}

#endif
