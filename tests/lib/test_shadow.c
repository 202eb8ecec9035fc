/*
 * test_shadow.c - shadow policies: whoever would be denied is admitted, and the app is told. What is counted, and
 * of whom, stays as it is.
 */
#include <string.h>

#include "async_fixture.h"

/* The policy of f->api and f->patient has the number 0. */
static void set_shadow(struct fixture *f, uint32_t policy, uint8_t shadow) {
	atomic_store(&directory_entries(f->agent.table.directory)[policy].shadow, shadow);
}

static struct slot *warm(struct fixture *f, uint32_t policy, const char *id, uint32_t credits) {
	struct slot *slot = fake_table_put(&f->agent.table, policy, id);
	fake_slot_lease(slot, 0, credits, LATER, 0);
	atomic_store(&slot->hint, 0);
	return slot;
}

/* The table knows client "c" of f->api, which has nothing left. */
static struct slot *spent(struct fixture *f) {
	assert_true(stint_is_allowed(f->api, "c")); /* the policy is known */
	struct slot *slot = warm(f, 0, "c", 0);
	fake_slot_deny(slot, 1, LATER, 0, hint_pack(0, 500, 900));
	return slot;
}

static uint32_t credits_of(const struct slot *slot) {
	return word_credits(atomic_load(&slot->word[0]));
}

static void expect_excuse(const struct stint_result *r, enum stint_reason reason) {
	assert_true(r->allowed);
	assert_true(r->shadow_denied);
	assert_int_equal(r->reason, reason);
	assert_true(r->retry_after_ms > 0);
	assert_int_equal(r->receipt, 0);
}

static void expect_denial(const struct stint_result *r) {
	assert_false(r->allowed);
	assert_false(r->shadow_denied);
}

static void expect_admission(const struct stint_result *r) {
	assert_true(r->allowed);
	assert_false(r->shadow_denied);
	assert_int_equal(r->reason, STINT_ADMITTED);
}

static void agent_denies(struct fixture *f, enum stint_reason reason, int64_t retry_after_ms) {
	fake_agent_lock(&f->agent);
	f->agent.verdict = (struct wire_verdict){.source = STINT_SOURCE_DATABASE,
	                                         .reason = (uint8_t)reason,
	                                         .limit = 100,
	                                         .retry_after_ms = retry_after_ms};
	fake_agent_unlock(&f->agent);
}

/* ---- By the table ------------------------------------------------------------------------- */

/* An app that was compiled with a later stint.h. */
static int check_as_later(struct stint_limiter *limiter, const char *id, uint32_t cost,
                          struct stint_result *result) {
	struct {
		struct stint_result known;
		int64_t unknown;
	} r;
	memset(&r, 1, sizeof(r));
	int status = stint_check_sized(limiter, id, STINT_STRING, cost, &r.known, sizeof(r));
	*result = r.known;
	return status;
}

static int check_later(struct stint_limiter *limiter, const char *id, uint32_t cost, struct stint_result *result) {
	return stint_check_async(limiter, id, cost, result, NULL, NULL);
}

static int check_alone_here(struct stint_limiter *limiter, const char *id, uint32_t cost,
                            struct stint_result *result) {
	const struct stint_part part = {limiter, id, STINT_STRING, cost, 0};
	return stint_check_all(&part, 1, result);
}

/* All that decide by the table, and what they return then. */
static const struct {
	int (*check)(struct stint_limiter *, const char *, uint32_t, struct stint_result *);
	int status;
} ways[] = {{stint_check, 0}, {stint_try, 1},      {check_later, 1},
            {stint_peek, 0},  {check_as_later, 0}, {check_alone_here, 0}};

/* What is not written stays true, or 1. */
#define FOR_EACH_WAY(f)                                                                                           \
	for (size_t way = 0; way < sizeof(ways) / sizeof(*ways); way++)                                               \
		if (memset(&(f)->r, 1, sizeof((f)->r)), ways[way].check((f)->api, "c", 1, &(f)->r) != ways[way].status)   \
			fail_msg("way %zu", way);                                                                             \
		else

static void whom_the_table_denies_is_admitted(void **state) {
	struct fixture *f = *state;
	struct slot *slot = spent(f);
	set_shadow(f, 0, 1);
	assert_true(stint_is_allowed(f->api, "c"));
	FOR_EACH_WAY(f) {
		expect_excuse(&f->r, STINT_OVER_LIMIT);
		assert_int_equal(f->r.remaining, 0);
	}
	assert_int_equal(credits_of(slot), 0);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.want), 1);
}

static void whom_it_admits_is_admitted_as_ever(void **state) {
	struct fixture *f = *state;
	assert_true(stint_is_allowed(f->api, "c"));
	struct slot *slot = warm(f, 0, "c", 7);
	set_shadow(f, 0, 1);
	FOR_EACH_WAY(f)
	expect_admission(&f->r);
	assert_int_equal(credits_of(slot), 2); /* peek takes nothing */
	assert_int_equal(stint_charge(f->api, "c", 2), 0);
	assert_int_equal(credits_of(slot), 0);
}

/* The next check reads it. */
static void when_the_shadow_is_taken_off_the_limit_is_in_force(void **state) {
	struct fixture *f = *state;
	spent(f);
	for (uint8_t shadow = 1; shadow <= 1; shadow--) {
		set_shadow(f, 0, shadow);
		assert_int_equal(stint_is_allowed(f->api, "c"), shadow);
		FOR_EACH_WAY(f)
		assert_int_equal(f->r.allowed, shadow);
	}
	FOR_EACH_WAY(f)
	expect_denial(&f->r);
}

static void nothing_is_given_back_of_an_excuse(void **state) {
	struct fixture *f = *state;
	spent(f);
	set_shadow(f, 0, 1);
	assert_int_equal(stint_check(f->api, "c", 1, &f->r), 0);
	assert_int_equal(stint_refund(f->api, "c", 1, &f->r), 0);
}

static void blocked_clients_are_admitted_too(void **state) {
	struct fixture *f = *state;
	struct slot *slot = spent(f);
	set_shadow(f, 0, 1);
	fake_slot_own_limit(&f->agent.table, slot, 3, 0);
	assert_true(stint_is_allowed(f->api, "c"));
	FOR_EACH_WAY(f) {
		expect_excuse(&f->r, STINT_BLOCKED);
		assert_int_equal(f->r.limit, 0);
	}
}

static void see_header(const char *name, const char *value, void *arg) {
	(void)value;
	assert_string_not_equal(name, "Retry-After");
	*(int *)arg += strstr(value, "t=900") != NULL;
}

/* Nobody is sent away, so nobody is told when to come again. */
static void headers_tell_of_an_admission(void **state) {
	struct stint_result r = {.allowed = true,
	                         .shadow_denied = true,
	                         .reason = STINT_OVER_LIMIT,
	                         .limit = 5,
	                         .retry_after_ms = 7000,
	                         .reset_after_ms = 900000};
	int seen = 0;
	(void)state;
	assert_int_equal(stint_http_headers(&(struct stint_http_options){.policy = "api"}, &r, see_header, &seen), 0);
	assert_int_equal(seen, 1);
}

/* ---- By the agent -------------------------------------------------------------------------- */

static void see_excuse(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;
	assert_int_equal(status, 0);
	expect_excuse(result, STINT_UNAVAILABLE);
	f->called++;
}

static void whom_the_agent_denies_is_admitted(void **state) {
	struct fixture *f = *state;
	assert_true(stint_is_allowed(f->api, "c"));
	agent_denies(f, STINT_UNAVAILABLE, 5);
	assert_false(stint_is_allowed(f->api, "c"));
	set_shadow(f, 0, 1);
	assert_true(stint_is_allowed(f->api, "c"));
	assert_int_equal(stint_check(f->api, "c", 1, &f->r), 0);
	expect_excuse(&f->r, STINT_UNAVAILABLE);
	assert_int_equal(f->r.source, STINT_SOURCE_DATABASE);
	assert_int_equal(stint_peek(f->api, "c", 1, &f->r), 0);
	expect_excuse(&f->r, STINT_UNAVAILABLE);
	assert_int_equal(stint_check_async(f->api, "c", 1, &f->r, see_excuse, f), 0);
	loop(f, 1);
	assert_int_equal(stint_peek_async(f->api, "c", 1, &f->r, see_excuse, f), 0);
	loop(f, 2);
}

/* ---- By the process ------------------------------------------------------------------------ */

/* The agent may be back any moment. Before it was ever there, what the app has declared is true. */
static void whom_the_process_denies_is_admitted(void **state) {
	struct fixture *f = *state;
	const struct stint_options options[] = {{.timeout_ms = 1, .on_error = STINT_ON_ERROR_DENY},
	                                        {.timeout_ms = 1, .on_error = STINT_ON_ERROR_DENY, .shadow = true}};
	for (int shadow = 0; shadow < 2; shadow++) {
		struct stint_limiter *limiter = limiter_new(f, options[shadow]);
		assert_int_equal(stint_is_allowed(limiter, "c"), shadow);
		assert_int_equal(stint_check(limiter, "c", 1, &f->r), 0);
		assert_int_equal(f->r.shadow_denied, shadow);
		assert_int_equal(f->r.allowed, shadow);
		assert_int_equal(f->r.reason, STINT_UNAVAILABLE);
		assert_int_equal(stint_check_alone(limiter, "c", 1, &f->r), 0);
		assert_int_equal(f->r.shadow_denied, shadow);
		assert_int_equal(stint_check_async(limiter, "c", 1, &f->r, count, f), 1);
		assert_int_equal(f->r.shadow_denied, shadow);
		stint_limiter_free(limiter);
	}
}

/* As long as the policy is known, an operator's word counts. */
static void the_directory_outweighs_the_declaration(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *limiter =
		limiter_new(f, (struct stint_options){.timeout_ms = 300, .on_error = STINT_ON_ERROR_DENY, .shadow = true});
	assert_true(stint_is_allowed(limiter, "c"));
	assert_int_equal(f->agent.last_declare.head.flags, WIRE_DECLARE_SHADOW);
	fake_agent_stop(&f->agent);
	assert_int_equal(stint_check(limiter, "c", 1, &f->r), 0);
	expect_denial(&f->r);
	set_shadow(f, 0, 1);
	assert_int_equal(stint_check(limiter, "c", 1, &f->r), 0);
	expect_excuse(&f->r, STINT_UNAVAILABLE);
	stint_limiter_free(limiter);
}

static void the_limit_inside_the_process_counts_as_ever(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *two =
		limiter_new(f, (struct stint_options){.timeout_ms = 1, .local_max_requests = 2, .shadow = true});
	for (int i = 0; i < 5; i++) {
		assert_int_equal(stint_check_alone(two, "c", 1, &f->r), 0);
		assert_true(f->r.allowed);
		assert_int_equal(f->r.shadow_denied, i >= 2);
		assert_int_equal(f->r.remaining, i >= 2 ? 0 : 1 - i);
	}
	stint_limiter_free(two);
}

/* An error is no verdict; stint_is_allowed() makes one, and an id that is none isn't a client. */
static void errors_stay_errors(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *limiter =
		limiter_new(f,
	                (struct stint_options){.timeout_ms = 60000, .on_error = STINT_ON_ERROR_DENY, .shadow = true});
	f->agent.declared_status = STINT_EFULL;
	assert_int_equal(stint_check(limiter, "c", 1, &f->r), STINT_EFULL);
	assert_true(stint_is_allowed(limiter, "c"));
	assert_false(stint_is_allowed(limiter, ""));
	stint_limiter_free(limiter);
}

/* ---- Beside others --------------------------------------------------------------------------- */

#define PARTS 3
static const char *const names[PARTS] = {"user", "address", "all"};

struct scene {
	struct fixture *f;
	struct stint_limiter *limiter[PARTS]; /* of the policies 0, 1, 2: the last two are shadows */
	struct stint_part part[PARTS];
	struct slot *slot[PARTS]; /* NULL: the table doesn't know the client */
};

/* The clients of the parts have so many credits; 0: and are denied; -1: the table doesn't know them. */
static struct scene scene_of(struct fixture *f, const int credits[static PARTS]) {
	struct scene s = {.f = f};
	for (uint32_t i = 0; i < PARTS; i++) {
		s.limiter[i] = limiter_new(f, (struct stint_options){.policy = names[i], .timeout_ms = 60000});
		fake_agent_lock(&f->agent);
		f->agent.policy = i;
		fake_agent_unlock(&f->agent);
		assert_true(stint_is_allowed(s.limiter[i], "c"));
		set_shadow(f, i, i > 0);
		s.part[i] = (struct stint_part){s.limiter[i], names[i], STINT_STRING, 1, 0};
		if (credits[i] >= 0)
			s.slot[i] = warm(f, i, names[i], (uint32_t)credits[i]);
		if (credits[i] == 0)
			fake_slot_deny(s.slot[i], 1, LATER, 0, hint_pack(0, 100 * (i + 1), 1000));
	}
	return s;
}

static void end(struct scene *s) {
	for (int i = 0; i < PARTS; i++)
		stint_limiter_free(s->limiter[i]);
}

static void expect_credits(const struct scene *s, const int credits[static PARTS]) {
	for (int i = 0; i < PARTS; i++)
		if (credits[i] >= 0)
			assert_int_equal(credits_of(s->slot[i]), credits[i]);
}

#define CREDITS(...) ((const int[PARTS]){__VA_ARGS__})

static void a_shadow_does_not_deny_the_whole(void **state) {
	struct scene s = scene_of(*state, CREDITS(5, 0, 7));
	assert_int_equal(stint_check_all(s.part, PARTS, &s.f->r), 0);
	expect_excuse(&s.f->r, STINT_OVER_LIMIT);
	assert_int_equal(s.f->r.part, 1);
	expect_credits(&s, CREDITS(4, 0, 6));
	assert_int_equal(stint_check_all_async(s.part, PARTS, &s.f->r, count, s.f), 1);
	expect_excuse(&s.f->r, STINT_OVER_LIMIT);
	expect_credits(&s, CREDITS(3, 0, 5));
	end(&s);
}

static void of_two_shadows_the_longest_denial_is_told(void **state) {
	struct scene s = scene_of(*state, CREDITS(5, 0, 0));
	assert_int_equal(stint_check_all(s.part, PARTS, &s.f->r), 0);
	expect_excuse(&s.f->r, STINT_OVER_LIMIT);
	assert_int_equal(s.f->r.part, 2);
	expect_credits(&s, CREDITS(4, 0, 0));
	end(&s);
}

static void when_another_denies_nothing_is_taken_of_a_shadow(void **state) {
	struct scene s = scene_of(*state, CREDITS(0, 0, 7));
	assert_int_equal(stint_check_all(s.part, PARTS, &s.f->r), 0);
	expect_denial(&s.f->r);
	assert_int_equal(s.f->r.part, 0);
	expect_credits(&s, CREDITS(0, 0, 7));
	end(&s);
}

static void when_none_denies_it_is_as_ever(void **state) {
	struct scene s = scene_of(*state, CREDITS(5, 3, 7));
	assert_int_equal(stint_check_all(s.part, PARTS, &s.f->r), 0);
	expect_admission(&s.f->r);
	assert_int_equal(s.f->r.part, 1);
	assert_int_equal(s.f->r.remaining, 2);
	expect_credits(&s, CREDITS(4, 2, 6));
	end(&s);
}

/* It isn't asked about the same part again, though the table knows no more than before. */
static void what_the_agent_denies_of_a_shadow_is_excused(void **state) {
	struct scene s = scene_of(*state, CREDITS(5, -1, -1));
	agent_denies(s.f, STINT_UNAVAILABLE, 5);
	unsigned before = fake_agent_count(&s.f->agent, &s.f->agent.counts.want);
	assert_int_equal(stint_check_all(s.part, PARTS, &s.f->r), 0);
	expect_excuse(&s.f->r, STINT_UNAVAILABLE);
	assert_int_equal(s.f->r.part, 2); /* asked first; both are denied for as long */
	assert_int_equal(fake_agent_count(&s.f->agent, &s.f->agent.counts.want), before + 2);
	expect_credits(&s, CREDITS(4, -1, -1));
	assert_int_equal(stint_check_all_async(s.part, PARTS, &s.f->r, see_excuse, s.f), 0);
	loop(s.f, 1);
	expect_credits(&s, CREDITS(3, -1, -1));
	agent_denies(s.f, STINT_OVER_LIMIT, 0); /* as only an odd agent does */
	assert_int_equal(stint_check_all(s.part, PARTS, &s.f->r), 0);
	assert_true(s.f->r.allowed && s.f->r.shadow_denied);
	end(&s);
}

static void what_the_agent_denies_of_others_is_denied(void **state) {
	struct scene s = scene_of(*state, CREDITS(-1, 0, 7));
	agent_denies(s.f, STINT_OVER_LIMIT, 5);
	assert_int_equal(stint_check_all(s.part, PARTS, &s.f->r), 0);
	expect_denial(&s.f->r);
	assert_int_equal(s.f->r.part, 0);
	expect_credits(&s, CREDITS(-1, 0, 7));
	end(&s);
}

/* Nobody answers it in time, so the process decides. */
static struct stint_limiter *limiter_alone(struct fixture *f, const char *policy, int64_t most, bool shadow) {
	return limiter_new(f, (struct stint_options){.timeout_ms = 1,
	                                             .local_max_requests = most,
	                                             .policy = policy,
	                                             .shadow = shadow});
}

/* Of what the process decides about, the shadow denies, and then the other one. */
static void what_the_process_counted_is_taken_back(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *shadow = limiter_alone(f, "shadow", 1, true);
	struct stint_limiter *three = limiter_alone(f, "three", 3, false);
	struct stint_limiter *two = limiter_alone(f, "two", 2, false);
	struct stint_part parts[] = {{three, "c", 1, 1, 0}, {shadow, "c", 1, 1, 0}, {two, "c", 1, 1, 0}};
	for (int i = 0; i < 4; i++) {
		assert_int_equal(stint_check_all(parts, 3, &f->r), 0);
		assert_int_equal(f->r.allowed, i < 2);
		assert_int_equal(f->r.shadow_denied, i == 1);
		assert_int_equal(f->r.part, i < 2 ? 1 : 2);
	}
	assert_int_equal(stint_peek(three, "c", 1, &f->r), 0);
	assert_int_equal(f->r.remaining, 1);
	stint_limiter_free(shadow);
	stint_limiter_free(three);
	stint_limiter_free(two);
}

/* The process denies a part that the table doesn't know. Nothing was taken of the shadow, so nothing goes back. */
static void what_was_taken_beside_a_shadow_is_put_back(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *stern =
		limiter_new(f,
	                (struct stint_options){.policy = "stern", .timeout_ms = 1, .on_error = STINT_ON_ERROR_DENY});
	struct scene s = scene_of(f, CREDITS(5, 0, 7));
	s.part[2].limiter = stern;
	fake_agent_stop(&f->agent);
	assert_int_equal(stint_check_all(s.part, PARTS, &f->r), 0);
	expect_denial(&f->r);
	assert_int_equal(f->r.part, 2);
	expect_credits(&s, CREDITS(5, 0, 7));
	stint_limiter_free(stern);
	end(&s);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(whom_the_table_denies_is_admitted),
		TEST(whom_it_admits_is_admitted_as_ever),
		TEST(when_the_shadow_is_taken_off_the_limit_is_in_force),
		TEST(nothing_is_given_back_of_an_excuse),
		TEST(blocked_clients_are_admitted_too),
		TEST_ABSENT(headers_tell_of_an_admission),
		TEST(whom_the_agent_denies_is_admitted),
		TEST_ABSENT(whom_the_process_denies_is_admitted),
		TEST(the_directory_outweighs_the_declaration),
		TEST_ABSENT(the_limit_inside_the_process_counts_as_ever),
		TEST(errors_stay_errors),
		TEST(a_shadow_does_not_deny_the_whole),
		TEST(of_two_shadows_the_longest_denial_is_told),
		TEST(when_another_denies_nothing_is_taken_of_a_shadow),
		TEST(when_none_denies_it_is_as_ever),
		TEST(what_the_agent_denies_of_a_shadow_is_excused),
		TEST(what_the_agent_denies_of_others_is_denied),
		TEST_ABSENT(what_the_process_counted_is_taken_back),
		TEST(what_was_taken_beside_a_shadow_is_put_back),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
