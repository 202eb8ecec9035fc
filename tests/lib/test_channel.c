/*
 * test_channel.c - checks that go to an agent that is well.
 */
#include "channel_fixture.h"

/* ---- An agent that is well ------------------------------------------------------------ */

static void asks_the_agent_when_the_table_has_no_answer(void **state) {
	struct fixture *f = *state;
	struct fake_agent *a = &f->agent;

	assert_int_equal(a->connections, 0);
	assert_int_equal(stint_check(f->api, "c\xc3\xa9", 3, &f->r), 0);
	assert_true(f->r.allowed);
	assert_int_equal(f->r.source, STINT_SOURCE_DATABASE);
	assert_int_equal(f->r.limit, 100);
	assert_int_equal(f->r.remaining, 9);
	fake_agent_lock(a);
	assert_int_equal(a->last_want.cost, 3);
	assert_in_range(a->last_want.timeout_ms, 1, TIMEOUT_MS);
	assert_string_equal(a->last_name, "c\xc3\xa9");
	assert_int_equal(a->last_declare.max_requests, 100);
	assert_int_equal(a->last_declare.head.flags, 0);
	a->verdict.allowed = 0;
	a->verdict.reason = STINT_BLOCKED;
	a->verdict.retry_after_ms = 5000;
	a->verdict.limit = 0;
	fake_agent_unlock(a);
	assert_false(stint_is_allowed(f->api, "c"));
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	assert_int_equal(f->r.retry_after_ms, 5000);
	assert_int_equal(f->r.reason, STINT_BLOCKED);
	assert_int_equal(fake_agent_count(a, &a->counts.hello), 1);
	assert_int_equal(fake_agent_count(a, &a->counts.declare), 1);
}

static void tells_when_credits_run_low(void **state) {
	struct fixture *f = *state;
	struct slot *slot;

	source(f, "c");
	slot = fake_table_put(&f->agent.table, 0, "c");
	atomic_store(&slot->low_water, 2);
	fake_slot_lease(slot, 0, 5, LATER, 0);
	for (int i = 0; i < 5; i++)
		assert_true(stint_is_allowed(f->api, "c"));
	fake_agent_await(&f->agent, &f->agent.counts.low, 1);
	source(f, "c");
	fake_agent_lock(&f->agent);
	assert_int_equal(f->agent.counts.low, 1);
	assert_int_equal(f->agent.last_low.policy, 0);
	fake_agent_unlock(&f->agent);
}

/* The same when the clock has to be read first: the lease has begun since it was last read. */
static void tells_so_of_a_lease_that_has_just_begun(void **state) {
	struct fixture *f = *state;
	struct slot *slot;

	source(f, "c");
	slot = fake_table_put(&f->agent.table, 0, "c");
	atomic_store(&slot->low_water, 2);
	fake_slot_lease(slot, 1, 4, LATER, 0);
	atomic_store(&slot->later_start_ns, fake_now_ns());
	assert_true(stint_is_allowed(f->api, "c"));
	fake_agent_await(&f->agent, &f->agent.counts.low, 1);
	source(f, "c");
	fake_agent_lock(&f->agent);
	assert_int_equal(f->agent.counts.want, 1);
	assert_int_equal(f->agent.counts.low, 1);
	fake_agent_unlock(&f->agent);
}

static void each_limiter_is_declared_once(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *other = limiter_new(f, (struct stint_options){.policy = "other"});
	struct stint_result r;

	for (int i = 0; i < 3; i++) {
		source(f, "c");
		assert_int_equal(stint_check(other, "c", 1, &r), 0);
	}
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 2);
	stint_limiter_free(other);
}

static void forgotten_policy(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	struct wire_verdict v = a->verdict;

	(void)id;
	v.status = a->counts.declare < 2 ? STINT_ENOPOLICY : 0;
	fake_answer(a, fd, want->head.serial, v);
}

static void declares_again_what_the_agent_forgot(void **state) {
	struct fixture *f = *state;

	f->agent.want = forgotten_policy;
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 2);
	assert_int_equal(f->agent.last_declare.head.flags, WIRE_DECLARE_AGAIN);
}

static void does_not_declare_what_must_exist(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *existing =
		limiter_new(f, (struct stint_options){.must_exist = true, .timeout_ms = TIMEOUT_MS});

	f->agent.want = forgotten_policy;
	assert_int_equal(stint_check(existing, "c", 1, &f->r), STINT_ENOPOLICY);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 1);
	/* The policy may have been made since: the app asks once more. */
	assert_int_equal(stint_check(existing, "c", 1, &f->r), 0);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 2);
	stint_limiter_free(existing);
}

/* ---- One DECLARE for all who wait for it ------------------------------------------------------ */

static void keep_declarations(struct fake_agent *a) {
	a->mute_declare = true;
}

static void answer_declarations(struct fake_agent *a) {
	a->mute_declare = false;
}

/* Waits for the agent's nth DECLARE, and gives its serial. */
static uint32_t last_declare_of(struct fixture *f, unsigned n) {
	uint32_t serial;

	fake_agent_await(&f->agent, &f->agent.counts.declare, n);
	fake_agent_lock(&f->agent);
	serial = f->agent.last_declare.head.serial;
	fake_agent_unlock(&f->agent);
	return serial;
}

/* The agent may hold a DECLARE back while an operator's transaction lasts, which is longer than anybody waits. */
static void an_answer_that_nobody_waited_for_counts(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 50});

	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	change(f, keep_declarations);
	assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	fake_agent_say_declared(&f->agent, last_declare_of(f, 2));
	/* A check of another limiter receives it. */
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	meet(f, hasty);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 2);
	stint_limiter_free(hasty);
}

static void a_declaration_is_not_repeated_while_it_is_under_way(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 600});
	struct wire_verdict unasked = {.head = {.type = WIRE_VERDICT, .serial = 77777},
	                               .source = STINT_SOURCE_LEASE,
	                               .reason = STINT_OVER_LIMIT};

	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	change(f, keep_declarations);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
		assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
		/* Else the app would have no reason to ask. */
		fake_agent_send_all(&f->agent, &unasked, sizeof(unasked), 0);
	}
	fake_agent_say_declared(&f->agent, last_declare_of(f, 2));
	meet(f, hasty); /* the app has read all that came before */
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 2);
	stint_limiter_free(hasty);
}

static void a_limiter_is_freed_while_it_is_declared(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *other = limiter_new(f, (struct stint_options){.policy = "other", .timeout_ms = 30});
	struct stint_limiter *another = limiter_new(f, (struct stint_options){.policy = "another", .timeout_ms = 30});
	uint32_t serial;

	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	change(f, keep_declarations);
	assert_int_equal(stint_check(other, "c", 1, &f->r), 0);
	serial = last_declare_of(f, 2);
	stint_limiter_free(other);
	fake_agent_say_declared(&f->agent, serial);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	/* The same when the connection is gone. */
	change(f, keep_declarations);
	assert_int_equal(stint_check(another, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	pass(110);
	change(f, answer_declarations);
	fake_agent_hang_up(&f->agent);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	stint_limiter_free(another);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
}

static void unknown_policies_and_full_directories_are_errors(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *unknown =
		limiter_new(f, (struct stint_options){.policy = "unknown", .must_exist = true});

	f->agent.declared_status = STINT_ENOPOLICY;
	assert_int_equal(stint_check(unknown, "c", 1, &f->r), STINT_ENOPOLICY);
	assert_non_null(strstr(stint_error_detail(), "\"unknown\""));
	assert_int_equal(f->agent.last_declare.head.flags, WIRE_DECLARE_MUST_EXIST);
	assert_true(stint_is_allowed(unknown, "c"));
	f->agent.declared_status = STINT_EFULL;
	assert_int_equal(stint_check(unknown, "c", 1, &f->r), STINT_EFULL);
	stint_limiter_free(unknown);
}

/* ---- Verdicts that come too late ---------------------------------------------------------- */

static void void_at_first(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	struct wire_verdict v = a->verdict;

	(void)id;
	v.deadline_ns = a->counts.want < 3 ? fake_now_ns() - 1 : 0;
	fake_answer(a, fd, want->head.serial, v);
}

static void void_always(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	struct wire_verdict v = a->verdict;

	(void)id;
	v.deadline_ns = 1;
	fake_answer(a, fd, want->head.serial, v);
}

static void asks_again_when_the_admission_is_void(void **state) {
	struct fixture *f = *state;

	f->agent.want = void_at_first;
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.want), 3);
}

static void does_not_ask_for_ever(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 50});

	f->agent.want = void_always;
	assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	stint_limiter_free(hasty);
}

struct asker {
	struct fixture *f;
	const char *id;
	pthread_t thread;
};

static void *ask_patiently(void *context) {
	struct asker *asker = context;
	struct stint_result result;

	return stint_check(asker->f->patient, asker->id, 1, &result) == 0 && result.allowed ? asker : NULL;
}

static void set_agent(struct fake_agent *a, bool mute, bool deaf) {
	fake_agent_lock(a);
	a->mute = mute;
	a->deaf = deaf;
	fake_agent_unlock(a);
}

/* The leader sleeps on the socket until an answer comes, and none comes. Then the agent takes nothing, until
 * the socket is full. */
static unsigned lead_and_fill(struct fixture *f, struct asker *leader) {
	struct fake_agent *a = &f->agent;

	assert_true(stint_is_allowed(f->patient, "c"));
	struct slot *slot = fake_table_put(&a->table, 0, "c");
	atomic_store(&slot->low_water, 1);
	unsigned wants = fake_agent_count(a, &a->counts.want);
	set_agent(a, true, false);
	assert_int_equal(pthread_create(&leader->thread, NULL, ask_patiently, leader), 0);
	fake_agent_await(a, &a->counts.want, wants + 1);
	set_agent(a, true, true);
	pass(10);
	for (int i = 0; i < 2000; i++) { /* each sends a LOW */
		fake_slot_lease(slot, 0, 2, LATER, 0);
		assert_true(stint_is_allowed(f->patient, "c"));
		assert_true(stint_is_allowed(f->patient, "c"));
	}
	return wants + 1;
}

static void join(const struct asker *asker) {
	void *told;

	pthread_join(asker->thread, &told);
	assert_ptr_equal(told, asker);
}

static void who_finds_the_socket_full_says_it_when_there_is_room(void **state) {
	struct fixture *f = *state;
	struct fake_agent *a = &f->agent;
	struct asker leader = {.f = f, .id = "first"}, follower = {.f = f, .id = "second"};

	unsigned wants = lead_and_fill(f, &leader);
	assert_int_equal(pthread_create(&follower.thread, NULL, ask_patiently, &follower), 0);
	pass(50);
	set_agent(a, true, false);
	fake_agent_await(a, &a->counts.want, wants + 1); /* none had an answer */
	set_agent(a, false, false);
	fake_agent_hang_up(a); /* so they ask again */
	join(&leader);
	join(&follower);
}

static void ignore(int status, const struct stint_result *result, void *arg) {
	(void)status;
	(void)result;
	(void)arg;
}

static void an_asynchronous_check_says_it_when_there_is_room(void **state) {
	struct fixture *f = *state;
	struct fake_agent *a = &f->agent;
	struct asker leader = {.f = f, .id = "first"};

	assert_true(stint_fd(f->st) >= 0);
	unsigned wants = lead_and_fill(f, &leader);
	assert_int_equal(stint_check_async(f->patient, "second", 1, &f->r, ignore, NULL), 0);
	set_agent(a, true, false);
	while (fake_agent_count(a, &a->counts.want) < wants + 1) {
		stint_dispatch(f->st);
		pass(1);
	}
	set_agent(a, false, false);
	fake_agent_hang_up(a);
	join(&leader);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(asks_the_agent_when_the_table_has_no_answer),
		TEST(tells_when_credits_run_low),
		TEST(tells_so_of_a_lease_that_has_just_begun),
		TEST(each_limiter_is_declared_once),
		TEST(declares_again_what_the_agent_forgot),
		TEST(does_not_declare_what_must_exist),
		TEST(an_answer_that_nobody_waited_for_counts),
		TEST(a_declaration_is_not_repeated_while_it_is_under_way),
		TEST(a_limiter_is_freed_while_it_is_declared),
		TEST(unknown_policies_and_full_directories_are_errors),
		TEST(asks_again_when_the_admission_is_void),
		TEST(does_not_ask_for_ever),
		TEST(who_finds_the_socket_full_says_it_when_there_is_room),
		TEST(an_asynchronous_check_says_it_when_there_is_room),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
