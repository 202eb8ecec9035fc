/*
 * test_core_told.c - what a verdict tells beside yes and no is the same whoever decides: the library from the
 * table, or the agent from a lease, from a cached denial, from the store's answer. One client; the numbers are
 * compared with a count.
 */
#include <pthread.h>

#include "attachment.h"
#include "channel.h"
#include "clock.h"
#include "core_fixture.h"
#include "policies.h"
#include "policy.h"

#undef NS_PER_MS
#define NS_PER_MS UINT64_C(1000000)

/* As long as may be: no test comes to the end of a sub-window by chance. */
#define WINDOW_MS          STINT_TIME_WINDOW_MS_MAX
#define FALLBACK_WINDOW_MS (STINT_TIME_WINDOW_MS_MAX / 2)
#define LIMIT              100
#define FALLBACK_LIMIT     30

/* An app of this host: the library, on the test's table. No agent listens. */
struct app {
	struct stint *st;
	struct stint_limiter *limiter;
	struct mapping *mapping;
	struct policies *policies;
};

struct world {
	struct fixture f;
	struct app app;
	uint32_t serial;
};

static void set_limits(struct world *w, struct policy_row row) {
	struct core_policy policy;
	policies_set(w->app.policies, 0, &row);
	policy_to_core(&row, true, &policy);
	w->f.now_ns = (int64_t)clock_fine_ns();
	core_set_policy(w->f.core, w->f.now_ns, 0, &policy);
}

static struct policy_row row_with(int64_t limit, int32_t algorithm, int32_t mode) {
	return (struct policy_row){.name = "api",
	                           .policy_id = 9,
	                           .max_requests = limit,
	                           .time_window_ms = WINDOW_MS,
	                           .fallback_max_requests = FALLBACK_LIMIT,
	                           .fallback_time_window_ms = FALLBACK_WINDOW_MS,
	                           .algorithm = algorithm,
	                           .mode = mode,
	                           .resolution = 10};
}

static void open_app(struct world *w) {
	struct stint_options options = {.policy = "api", .must_exist = true, .timeout_ms = 1};
	struct directory_header *d = w->f.table.directory;
	struct app *app = &w->app;
	app->policies = calloc(1, sizeof(*app->policies));
	app->mapping = aligned_alloc(alignof(struct mapping), sizeof(*app->mapping));
	*app->mapping =
		(struct mapping){.tags = w->f.table.table.tags,
	                     .slots = w->f.table.table.slots,
	                     .own_limits = w->f.table.table.own_limits,
	                     .policies = directory_entries(d),
	                     .bucket_count = d->bucket_count,
	                     .policy_capacity = POLICY_CAPACITY,
	                     .tallies = fake_memory((POLICY_CAPACITY + 1) * TALLY_SHARED * sizeof(struct tally)),
	                     .tally_stripes = TALLY_SHARED,
	                     .table = w->f.table.header,
	                     .directory = d};
	memcpy(app->mapping->secret, d->secret, SECRET_SIZE);
	policies_init(app->policies, d, false);
	app->policies->policy[0].used = true;
	assert_int_equal(stint_open(&app->st, "/nonexistent/agent.sock"), 0);
	assert_int_equal(stint_limiter_new(&app->limiter, app->st, &options), 0);
	assert_true(limiter_bind(app->limiter, app->mapping, 0));
}

static int make_world(void **state, bool memory_only) {
	struct world *w = *state = calloc(1, sizeof(*w));
	w->f.now_ns = (int64_t)clock_fine_ns();
	w->f.seed = 1;
	w->f.end_ns = w->f.now_ns + WINDOW_MS / 10 * MS;
	fake_table_make(&w->f.table, 64, 7);
	start_core(&w->f, memory_only, 9);
	open_app(w);
	set_limits(w, row_with(LIMIT, STINT_SLIDING_WINDOW, STINT_STRICT));
	return 0;
}

static int with_memory(void **state) {
	return make_world(state, true);
}

static int with_database(void **state) {
	make_world(state, false);
	struct world *w = *state;
	comes_up(&w->f);
	return 0;
}

static int end_world(void **state) {
	struct world *w = *state;
	stint_limiter_free(w->app.limiter);
	stint_close(w->app.st);
	free(w->app.mapping->tallies);
	free(w->app.mapping);
	free(w->app.policies);
	core_free(w->f.core);
	fake_table_free(&w->f.table);
	free(w);
	return 0;
}

/* ---- Who decides ------------------------------------------------------------------- */

static bool by_table(struct world *w, const char *id, uint32_t cost, struct stint_result *result) {
	return stint_check(w->app.limiter, id, cost, result) == 0 && result->source != STINT_SOURCE_LOCAL;
}

static void ask(struct world *w, const char *id, uint32_t cost) {
	w->f.now_ns = (int64_t)clock_fine_ns();
	want(&w->f, ++w->serial, id, cost);
}

static struct stint_result told(struct world *w) {
	struct core_verdict v = verdict_of(&w->f, w->serial);
	return (struct stint_result){
		.allowed = v.allowed,
		.source = v.source,
		.reason = v.reason,
		.limit = v.limit,
		.remaining = v.remaining,
		.retry_after_ms = v.retry_after_ms,
		.reset_after_ms = v.reset_after_ms,
	};
}

/* The memory store may have to be asked twice; then the agent's event loop has its turn in between. */
static struct stint_result by_agent(struct world *w, const char *id, uint32_t cost) {
	ask(w, id, cost);
	for (int i = 0; i < 2 && w->f.told_count == 0; i++)
		core_advance(w->f.core, w->f.now_ns);
	return told(w);
}

static struct stint_result by_database(struct world *w, const char *id, uint32_t cost, struct lease_grant grant) {
	ask(w, id, cost);
	grant.reset_us = grant.max_requests > 0 ? grant.valid_us + WINDOW_MS * 1000 : 0;
	answers(&w->f, LEASE_DONE, &grant);
	return told(w);
}

static struct lease_grant granted(struct world *w, int32_t credits, int32_t remaining) {
	w->f.now_ns = (int64_t)clock_fine_ns();
	return grant_of(&w->f, credits, 0, remaining);
}

/* ---- What is right ------------------------------------------------------------------ */

/* Times are rounded up by a two-thousandth, windows have slack, clocks their rates; and some ms pass between
 * two checks, more on a slow machine. */
#define ELAPSED_MS 20000

static void expect_near(int64_t ms, int64_t expected_ms) {
	assert_in_range(ms, expected_ms - expected_ms / 1000 - ELAPSED_MS,
	                expected_ms + expected_ms / 100 + ELAPSED_MS);
}

static void expect(struct stint_result r, enum stint_source source, enum stint_reason reason, int64_t limit,
                   int64_t remaining) {
	assert_int_equal(r.source, source);
	assert_int_equal(r.reason, reason);
	assert_int_equal(r.allowed, reason == STINT_ADMITTED);
	assert_int_equal(r.limit, limit);
	assert_int_equal(r.remaining, remaining);
	assert_true(r.allowed ? r.retry_after_ms == 0 : r.retry_after_ms > 0);
	if (reason == STINT_OVER_LIMIT || reason == STINT_UNAVAILABLE)
		assert_true(r.retry_after_ms <= r.reset_after_ms);
}

/* ---- The database plays ------------------------------------------------------------- */

static void a_walk_through_all_who_decide(void **state) {
	struct world *w = *state;
	struct stint_result r;
	int64_t reset_ms = WINDOW_MS + WINDOW_MS / 10;
	expect(r = by_database(w, "c", 1, granted(w, 3, 97)), STINT_SOURCE_DATABASE, STINT_ADMITTED, LIMIT, 99);
	expect_near(r.reset_after_ms, reset_ms);
	assert_true(by_table(w, "c", 1, &r));
	expect(r, STINT_SOURCE_LEASE, STINT_ADMITTED, LIMIT, 98);
	expect_near(r.reset_after_ms, reset_ms);
	expect(r = by_agent(w, "c", 1), STINT_SOURCE_LEASE, STINT_ADMITTED, LIMIT, 97);
	expect_near(r.reset_after_ms, reset_ms);
	assert_false(by_table(w, "c", 1, &r));
	expect(by_database(w, "c", 1, granted(w, 6, 91)), STINT_SOURCE_DATABASE, STINT_ADMITTED, LIMIT, 96);
	/* More than the lease holds: what it holds is still there. */
	expect(by_database(w, "c", 90, granted(w, 90, 1)), STINT_SOURCE_DATABASE, STINT_ADMITTED, LIMIT, 6);
	/* More than there is, but for the agent's and the table's memory of it. */
	expect(r = by_database(w, "c", 60, granted(w, 0, 1)), STINT_SOURCE_DATABASE, STINT_OVER_LIMIT, LIMIT, 6);
	expect_near(r.reset_after_ms, reset_ms);
	int64_t retry_ms = r.retry_after_ms;
	assert_true(by_table(w, "c", 60, &r));
	expect(r, STINT_SOURCE_LEASE, STINT_OVER_LIMIT, LIMIT, 6);
	expect_near(r.retry_after_ms, retry_ms);
	expect_near(r.reset_after_ms, reset_ms);
	expect(r = by_agent(w, "c", 70), STINT_SOURCE_LEASE, STINT_OVER_LIMIT, LIMIT, 6);
	expect_near(r.retry_after_ms, retry_ms);
	expect_near(r.reset_after_ms, reset_ms);
	/* Smaller ones go on meanwhile. */
	assert_true(by_table(w, "c", 1, &r));
	expect(r, STINT_SOURCE_LEASE, STINT_ADMITTED, LIMIT, 5);
	expect(by_agent(w, "c", 2), STINT_SOURCE_LEASE, STINT_ADMITTED, LIMIT, 3);
}

static void never_is_told_by_the_reason_and_not_by_the_time(void **state) {
	struct world *w = *state;
	struct stint_result r;
	struct lease_grant none = granted(w, 0, LIMIT);
	none.retry_us = -1;
	expect(r = by_database(w, "c", LIMIT + 1, none), STINT_SOURCE_DATABASE, STINT_COST_ABOVE_LIMIT, LIMIT, LIMIT);
	assert_int_equal(r.retry_after_ms, WINDOW_MS);
	assert_int_equal(r.reset_after_ms, 0); /* it is free */
	assert_true(by_table(w, "c", LIMIT + 1, &r));
	expect(r, STINT_SOURCE_LEASE, STINT_COST_ABOVE_LIMIT, LIMIT, LIMIT);
	assert_int_equal(r.retry_after_ms, WINDOW_MS);
	assert_int_equal(r.reset_after_ms, 0);
	expect(r = by_agent(w, "c", LIMIT + 1), STINT_SOURCE_LEASE, STINT_COST_ABOVE_LIMIT, LIMIT, LIMIT);
	assert_int_equal(r.retry_after_ms, WINDOW_MS);
	none.max_requests = none.remaining = 0;
	expect(r = by_database(w, "blocked", 1, none), STINT_SOURCE_DATABASE, STINT_BLOCKED, 0, 0);
	assert_int_equal(r.retry_after_ms, WINDOW_MS);
	assert_true(by_table(w, "blocked", 1, &r));
	expect(r, STINT_SOURCE_LEASE, STINT_BLOCKED, 0, 0);
	assert_int_equal(r.retry_after_ms, WINDOW_MS);
	assert_int_equal(r.reset_after_ms, 0);
	expect(by_agent(w, "blocked", 1), STINT_SOURCE_LEASE, STINT_BLOCKED, 0, 0);
	stays_away(&w->f);
	core_advance(w->f.core, w->f.now_ns + 10000 * MS);
	/* as if it were over */
	atomic_store(&w->f.table.table.slots[app_find(&w->f.table, 0, "blocked", 7)].denial, 0);
	expect(r = by_agent(w, "blocked", 1), STINT_SOURCE_FALLBACK, STINT_BLOCKED, 0, 0);
	assert_int_equal(r.retry_after_ms, FALLBACK_WINDOW_MS);
}

/* Of a block that ends, the end is told: also when that is sooner than the table's denial. */
static void the_end_of_a_block_is_told_by_all(void **state) {
	struct world *w = *state;
	const int64_t ends_ms[] = {1, WINDOW_MS / 2, 12 * INT64_C(3600000), 365 * INT64_C(86400000)};
	char id[16];
	for (size_t i = 0; i < sizeof(ends_ms) / sizeof(*ends_ms); i++) {
		struct stint_result r;
		struct lease_grant none = granted(w, 0, 0);
		none.max_requests = 0;
		none.retry_us = 1000 * ends_ms[i];
		snprintf(id, sizeof(id), "blocked%zu", i);
		expect(r = by_database(w, id, 1, none), STINT_SOURCE_DATABASE, STINT_BLOCKED, 0, 0);
		assert_int_equal(r.retry_after_ms, ends_ms[i]);
		assert_int_equal(r.reset_after_ms, 0);
		for (int table = 1; table >= 0; table--) {
			if (table)
				assert_true(by_table(w, id, 1, &r));
			else
				r = by_agent(w, id, 1);
			expect(r, STINT_SOURCE_LEASE, STINT_BLOCKED, 0, 0);
			/* Too long by a denial's 6 s, at most, or by a two-thousandth. */
			assert_true(r.retry_after_ms >= ends_ms[i] - 2);
			assert_true(r.retry_after_ms <= ends_ms[i] + ends_ms[i] / 1000 + 6005);
		}
	}
}

static void a_limit_of_its_own_is_told_by_all(void **state) {
	struct world *w = *state;
	struct stint_result r;
	struct lease_grant own = granted(w, 5, 2);
	own.max_requests = 7;
	expect(by_database(w, "c", 1, own), STINT_SOURCE_DATABASE, STINT_ADMITTED, 7, 6);
	assert_true(by_table(w, "c", 1, &r));
	expect(r, STINT_SOURCE_LEASE, STINT_ADMITTED, 7, 5);
	expect(by_agent(w, "c", 3), STINT_SOURCE_LEASE, STINT_ADMITTED, 7, 2);
	own.granted = own.remaining = 0;
	expect(by_database(w, "c", 3, own), STINT_SOURCE_DATABASE, STINT_OVER_LIMIT, 7, 0);
	assert_true(by_table(w, "c", 8, &r)); /* the policy's limit would allow it some time */
	expect(r, STINT_SOURCE_LEASE, STINT_COST_ABOVE_LIMIT, 7, 0);
	expect(by_agent(w, "c", 7), STINT_SOURCE_LEASE, STINT_OVER_LIMIT, 7, 0);
	/* Until it has none any more. */
	core_client_changed(w->f.core, w->f.now_ns, 0, "c", 1);
	expect(by_database(w, "c", 1, granted(w, 2, 91)), STINT_SOURCE_DATABASE, STINT_ADMITTED, LIMIT, 92);
	assert_true(by_table(w, "c", 1, &r));
	expect(r, STINT_SOURCE_LEASE, STINT_ADMITTED, LIMIT, 91);
}

static void a_row_that_cannot_be_had_is_not_over_the_limit(void **state) {
	struct world *w = *state;
	struct stint_result r;
	expect(by_database(w, "c", 1, granted(w, 1, 50)), STINT_SOURCE_DATABASE, STINT_ADMITTED, LIMIT, 50);
	ask(w, "c", 1);
	while (w->f.told_count == 0) {
		if (w->f.asked_count > 0)
			answers(&w->f, LEASE_REJECTED, NULL);
		pass(&w->f, MS);
	}
	expect(told(w), STINT_SOURCE_DATABASE, STINT_UNAVAILABLE, LIMIT, 50);
	assert_true(by_table(w, "c", 1, &r));
	expect(r, STINT_SOURCE_LEASE, STINT_UNAVAILABLE, LIMIT, 50);
	assert_true(r.retry_after_ms <= 1000 + ELAPSED_MS);
	expect(by_agent(w, "c", 1), STINT_SOURCE_LEASE, STINT_UNAVAILABLE, LIMIT, 50);
}

static void a_fallback_tells_of_its_own_limit(void **state) {
	struct world *w = *state;
	struct stint_result r;
	int64_t used = 0;
	stays_away(&w->f);
	while (used < FALLBACK_LIMIT) {
		if (used % 2 == 0 || !by_table(w, "c", 1, &r))
			r = by_agent(w, "c", 1);
		expect(r, STINT_SOURCE_FALLBACK, STINT_ADMITTED, FALLBACK_LIMIT, FALLBACK_LIMIT - ++used);
		assert_in_range(r.reset_after_ms, FALLBACK_WINDOW_MS, FALLBACK_WINDOW_MS + FALLBACK_WINDOW_MS / 9);
	}
	expect(by_agent(w, "c", 1), STINT_SOURCE_FALLBACK, STINT_OVER_LIMIT, FALLBACK_LIMIT, 0);
	assert_true(by_table(w, "c", 1, &r));
	expect(r, STINT_SOURCE_FALLBACK, STINT_OVER_LIMIT, FALLBACK_LIMIT, 0);
}

static void an_advance_is_taken_off(void **state) {
	struct world *w = *state;
	struct stint_result r;
	set_limits(w, row_with(LIMIT, STINT_SLIDING_WINDOW, STINT_RELAXED)); /* two hosts: an advance of 6 */
	expect(r = by_agent(w, "c", 1), STINT_SOURCE_ADVANCE, STINT_ADMITTED, LIMIT, 99);
	expect_near(r.reset_after_ms, WINDOW_MS + WINDOW_MS / 10);
	expect(by_agent(w, "c", 2), STINT_SOURCE_ADVANCE, STINT_ADMITTED, LIMIT, 97);
	struct lease_grant grant = granted(w, 2, 97);
	grant.charged = 1;
	answers(&w->f, LEASE_DONE, &grant);   /* of the first; the second is under way now */
	assert_true(by_table(w, "c", 1, &r)); /* the table does not know of that */
	expect(r, STINT_SOURCE_LEASE, STINT_ADMITTED, LIMIT, 98);
	expect(by_agent(w, "c", 3), STINT_SOURCE_ADVANCE, STINT_ADMITTED, LIMIT, 98 - 2 - 3);
}

static void a_client_without_a_slot_is_told_the_same(void **state) {
	struct world *w = *state;
	fill_table(&w->f);
	expect(by_database(w, "c", 1, granted(w, 1, 99)), STINT_SOURCE_DATABASE, STINT_ADMITTED, LIMIT, 99);
	expect(by_database(w, "c", 2, granted(w, 2, 97)), STINT_SOURCE_DATABASE, STINT_ADMITTED, LIMIT, 97);
	expect(by_database(w, "c", 99, granted(w, 0, 97)), STINT_SOURCE_DATABASE, STINT_OVER_LIMIT, LIMIT, 97);
}

/* ---- Against a count ------------------------------------------------------------------ */

static struct stint_result by_anybody(struct world *w, uint32_t cost, uint64_t *random) {
	struct stint_result r;
	return random_below(random, 2) == 0 && by_table(w, "c", cost, &r) ? r : by_agent(w, "c", cost);
}

/* Until what was taken of a lease counts no more: a window after the lease's end, whoever took it. */
static void expect_reset_by_lease(struct world *w, struct stint_result r) {
	struct slot *slot = &w->f.table.table.slots[app_find(&w->f.table, 0, "c", 1)];
	int64_t error_ms = INT64_MAX, expected_ms = 0;
	for (int bank = 0; bank < 2; bank++) {
		int64_t left_ms = (int64_t)(atomic_load(&slot->deadline_ns[bank]) - clock_fine_ns()) / MS + WINDOW_MS;
		if (llabs(left_ms - r.reset_after_ms) < error_ms) {
			expected_ms = left_ms;
			error_ms = llabs(left_ms - r.reset_after_ms);
		}
	}
	expect_near(r.reset_after_ms, expected_ms);
}

static void compare_with_a_count(struct world *w, uint64_t random) {
	int64_t limit = 1 + random_below(&random, 60), used = 0, reset_ms = 0;
	int32_t algorithm = (int32_t)random_below(&random, 2);
	bool sliding = algorithm == STINT_SLIDING_WINDOW;
	set_limits(w, row_with(limit, algorithm, STINT_STRICT));
	for (int i = 0; i < 120; i++) {
		uint32_t cost = 1 + random_below(&random, random_below(&random, 4) == 0 ? (uint32_t)limit + 2 : 3);
		struct stint_result r = by_anybody(w, cost, &random);
		assert_int_equal(r.allowed, used + cost <= limit); /* wherever the rest lies */
		used += r.allowed ? cost : 0;
		expect(r, r.source,
		       r.allowed      ? STINT_ADMITTED
		       : cost > limit ? STINT_COST_ABOVE_LIMIT
		                      : STINT_OVER_LIMIT,
		       limit, limit - used);
		if (used > 0 && reset_ms == 0)
			reset_ms = r.reset_after_ms;
		if (used > 0 && !sliding)
			expect_near(r.reset_after_ms, reset_ms);
		else if (r.allowed && r.source == STINT_SOURCE_LEASE)
			expect_reset_by_lease(w, r);
		else if (used > 0) /* leases last for up to a window */
			assert_in_range(r.reset_after_ms, WINDOW_MS - ELAPSED_MS, 2 * WINDOW_MS + WINDOW_MS / 5);
		assert_true(used == limit || r.reset_after_ms == 0 || used > 0);
	}
	assert_in_range(used, 1, limit);
}

static void all_agree_with_a_count(void **state) {
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		void *world = NULL;
		with_memory(&world);
		compare_with_a_count(world, seed);
		end_world(&world);
	}
}

/* ---- Both at once ----------------------------------------------------------------------- */

struct refill {
	struct table *table;
	uint32_t slot;
	_Atomic bool stop;
};

#define ALL 1000000000u /* more than can be granted one by one within the test's time */

/* Grants again and again one of what the store has left, as an answer of the database does. */
static void *refill(void *argument) {
	struct refill *r = argument;
	uint32_t left = ALL;
	while (!atomic_load(&r->stop)) {
		table_unsay(r->table, r->slot);
		table_add(r->table, r->slot, 0, 1);
		table_set_remaining(r->table, r->slot, --left);
	}
	return NULL;
}

/* Whatever the moment, the credits and the hint are of one answer; or nothing is told beside the credits. */
static void credits_and_hint_are_read_together(void **state) {
	struct world *w = *state;
	struct stint_result r;
	pthread_t thread;
	uint64_t alone = 0, missed = 0, taken = 0, burnt = 0, began_ns = clock_fine_ns();
	expect(by_database(w, "c", 1, granted(w, 1, 99)), STINT_SOURCE_DATABASE, STINT_ADMITTED, LIMIT, 99);
	struct refill refilled = {.table = &w->f.table.table, .slot = app_find(&w->f.table, 0, "c", 1)};
	table_set_remaining(refilled.table, refilled.slot, ALL);
	table_publish(refilled.table, refilled.slot, 0, &(struct table_lease){.deadline_ns = w->f.end_ns});
	assert_int_equal(pthread_create(&thread, NULL, refill, &refilled), 0);
	while (taken < 2000000 && clock_fine_ns() - began_ns < 1000 * NS_PER_MS) {
		if (table_credits(refilled.table, refilled.slot, 0) == 0)
			continue;
		if (!by_table(w, "c", 1, &r)) { /* the word was another at each of its tries: it would ask the agent */
			missed++;
			continue;
		}
		taken++;
		if (r.remaining < ALL / 2) {
			alone++;
			continue;
		}
		/* A process that is stopped for a while with a credit in its hands can't always put it back. So there may
		 * be fewer than were granted and not taken; but what is gone is gone for good. */
		uint64_t gone = ALL - taken - (uint64_t)r.remaining;
		if ((uint64_t)r.remaining > ALL - taken || gone < burnt || gone > burnt + 4)
			fail_msg("%lld remaining, not %llu", (long long)r.remaining,
			         (unsigned long long)(ALL - taken - burnt));
		burnt = gone;
	}
	atomic_store(&refilled.stop, true);
	pthread_join(thread, NULL);
	assert_true(taken > 100 * missed);
	print_message("told without the hint: %llu times of %llu\n", (unsigned long long)alone,
	              (unsigned long long)taken);
}

int main(void) {
#define IN(name, make) cmocka_unit_test_setup_teardown(name, make, end_world)
	const struct CMUnitTest tests[] = {
		IN(a_walk_through_all_who_decide, with_database),
		IN(never_is_told_by_the_reason_and_not_by_the_time, with_database),
		IN(the_end_of_a_block_is_told_by_all, with_database),
		IN(a_limit_of_its_own_is_told_by_all, with_database),
		IN(a_row_that_cannot_be_had_is_not_over_the_limit, with_database),
		IN(a_fallback_tells_of_its_own_limit, with_database),
		IN(an_advance_is_taken_off, with_database),
		IN(a_client_without_a_slot_is_told_the_same, with_database),
		cmocka_unit_test(all_agree_with_a_count),
		IN(credits_and_hint_are_read_together, with_database),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
