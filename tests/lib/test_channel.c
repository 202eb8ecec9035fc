/*
 * test_channel.c - checks that go to the agent: present, absent, late, hung,
 * restarted, hostile.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fake_agent.h"
#include "timens.h"
#include "unit.h"

#define TIMEOUT_MS 2000
#define LATER (fake_now_ns() + MS(60000))

struct fixture {
	struct fake_agent agent;
	struct stint *st;
	struct stint_limiter *api;
	struct stint_result r;
};

static struct stint_limiter *limiter_new(struct fixture *f, struct stint_options options) {
	struct stint_limiter *limiter;

	options.policy = options.policy ? options.policy : "api";
	if (!options.must_exist) {
		options.max_requests = 100;
		options.time_window_ms = 60000;
	}
	assert_int_equal(stint_limiter_new(&limiter, f->st, &options), 0);
	return limiter;
}

static int setup_absent(void **state) {
	struct fixture *f = calloc(1, sizeof(*f));

	fake_agent_init(&f->agent);
	assert_int_equal(stint_open(&f->st, f->agent.path), 0);
	f->api = limiter_new(f, (struct stint_options){.timeout_ms = TIMEOUT_MS});
	*state = f;
	return 0;
}

static int setup(void **state) {
	setup_absent(state);
	fake_agent_start(&((struct fixture *)*state)->agent);
	return 0;
}

static int teardown(void **state) {
	struct fixture *f = *state;

	stint_limiter_free(f->api);
	stint_close(f->st);
	fake_agent_destroy(&f->agent);
	free(f);
	return 0;
}

/* What a check says: who decided, or an error. */
static int source(struct fixture *f, const char *id) {
	int error = stint_check(f->api, id, 1, &f->r);
	return error ? error : (int)f->r.source;
}

static void change(struct fixture *f, void (*how)(struct fake_agent *)) {
	fake_agent_lock(&f->agent);
	how(&f->agent);
	fake_agent_unlock(&f->agent);
}

static void pass(unsigned ms) {
	usleep(ms * 1000);
}

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
	a->verdict.retry_after_ms = -1;
	fake_agent_unlock(a);
	assert_false(stint_is_allowed(f->api, "c"));
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	assert_int_equal(f->r.retry_after_ms, -1);
	assert_int_equal(fake_agent_count(a, &a->counts.hello), 1);
	assert_int_equal(fake_agent_count(a, &a->counts.declare), 1);
}

static void takes_credits_from_the_table_without_a_word(void **state) {
	struct fixture *f = *state;
	struct slot *slot;

	source(f, "c");
	slot = fake_table_put(&f->agent.table, 0, "c");
	atomic_store(&slot->hint, 20);
	fake_slot_lease(slot, 0, 5, LATER, 0);
	for (int left = 4; left >= 0; left--) {
		assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
		assert_true(f->r.allowed);
		assert_int_equal(f->r.remaining, left + 20);
		assert_int_equal(f->r.limit, 100);
		assert_in_range(f->r.reset_after_ms, 60000, 121000);
	}
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	fake_slot_lease(slot, 1, 5, LATER, WORD_FALLBACK_BIT);
	assert_int_equal(source(f, "c"), STINT_SOURCE_FALLBACK);
	assert_int_equal(f->r.limit, 200);
	fake_slot_lease(slot, 1, 0, 0, 0);
	fake_slot_deny(slot, 1, fake_now_ns() + MS(1000), 4000);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_false(f->r.allowed);
	assert_in_range(f->r.retry_after_ms, 4001, 5010);
	fake_slot_deny(slot, 1, LATER, HINT_FOREVER);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_int_equal(f->r.retry_after_ms, -1);
	assert_int_equal(f->r.limit, 0);
	assert_false(stint_is_allowed(f->api, "c"));
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.want), 2);
}

/* What the table remembers of a denial: for how long, by whose limit, and whether it is for good. */
static void denials_in_the_table_say_whose_they_are(void **state) {
	struct fixture *f = *state;
	struct slot *slot;

	source(f, "c");
	slot = fake_table_put(&f->agent.table, 0, "c");
	fake_slot_deny(slot, 1, fake_now_ns() + MS(1000), HINT_FALLBACK_BIT | 5000);
	assert_int_equal(source(f, "c"), STINT_SOURCE_FALLBACK);
	assert_false(f->r.allowed);
	assert_int_equal(f->r.limit, 200);
	assert_int_equal(f->r.reset_after_ms, 30000);
	assert_in_range(f->r.retry_after_ms, 5001, 6010);
	fake_slot_deny(slot, 1, LATER, HINT_FALLBACK_BIT | HINT_FOREVER);
	assert_int_equal(source(f, "c"), STINT_SOURCE_FALLBACK);
	assert_int_equal(f->r.retry_after_ms, -1);
	assert_int_equal(f->r.limit, 0);
	/* A cost above the limit is never admitted either, but smaller ones are: nobody is blocked. */
	fake_slot_deny(slot, 2, LATER, HINT_FOREVER);
	assert_int_equal(stint_check(f->api, "c", 101, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LEASE);
	assert_int_equal(f->r.retry_after_ms, -1);
	assert_int_equal(f->r.limit, 100);
	fake_slot_deny(slot, 1, LATER, HINT_FOREVER - 1);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_true(f->r.retry_after_ms > HINT_FOREVER - 1);
	assert_int_equal(f->r.limit, 100);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.want), 1);
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

/* ---- One DECLARE for all who wait for it ------------------------------------------------------ */

static void keep_declarations(struct fake_agent *a) {
	a->mute_declare = true;
}

static void answer_declarations(struct fake_agent *a) {
	a->mute_declare = false;
}

/* The agent may hold a DECLARE back for seconds, while an operator's transaction lasts: longer than anybody waits. */
static void an_answer_that_nobody_waited_for_counts(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 50});

	change(f, keep_declarations);
	assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	fake_agent_say_declared(&f->agent, f->agent.last_declare.head.serial);
	/* Another limiter's check takes it in. */
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_DATABASE);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 2);
	stint_limiter_free(hasty);
}

static void a_declaration_is_not_repeated_while_it_is_under_way(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 600});
	struct wire_verdict unasked = {.head = {.type = WIRE_VERDICT, .serial = 77777}, .source = STINT_SOURCE_LEASE};

	change(f, keep_declarations);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
		assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
		/* Else nobody would ask. */
		fake_agent_send_all(&f->agent, &unasked, sizeof(unasked), 0);
	}
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 1);
	stint_limiter_free(hasty);
}

static void a_limiter_is_freed_while_it_is_declared(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *other = limiter_new(f, (struct stint_options){.policy = "other", .timeout_ms = 30});
	struct stint_limiter *another = limiter_new(f, (struct stint_options){.policy = "another", .timeout_ms = 30});
	uint32_t serial;

	change(f, keep_declarations);
	assert_int_equal(stint_check(other, "c", 1, &f->r), 0);
	serial = f->agent.last_declare.head.serial;
	stint_limiter_free(other);
	fake_agent_say_declared(&f->agent, serial);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	/* And on a connection that is gone. */
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

/* ---- An agent that is not there -------------------------------------------------------------- */

static void decides_locally_while_the_agent_is_away(void **state) {
	struct fixture *f = *state;
	uint64_t began_ns = fake_now_ns();

	for (int i = 0; i < 200; i++)
		assert_true(stint_is_allowed(f->api, "c"));
	assert_false(stint_is_allowed(f->api, "c"));
	assert_int_equal(source(f, "c"), STINT_SOURCE_LOCAL);
	assert_int_equal(f->r.limit, 200);
	assert_true(fake_now_ns() - began_ns < MS(TIMEOUT_MS));
	/* It comes. At most a second until it is looked for again. */
	fake_agent_start(&f->agent);
	pass(1100);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
}

static void a_full_backlog_is_away(void **state) {
	struct fixture *f = *state;
	int filler[FAKE_CONNECTIONS_MAX + 2];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int n = 0;

	f->agent.deaf = true;
	fake_agent_start(&f->agent);
	strcpy(address.sun_path, f->agent.path);
	for (; n < FAKE_CONNECTIONS_MAX + 2; n++) {
		filler[n] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(filler[n], (struct sockaddr *)&address, sizeof(address)) != 0)
			break;
	}
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LOCAL);
	for (; n >= 0; n--)
		close(filler[n]);
}

static void uses_the_table_while_the_agent_is_away(void **state) {
	struct fixture *f = *state;
	struct slot *slot;

	source(f, "c");
	slot = fake_table_put(&f->agent.table, 0, "c");
	fake_slot_lease(slot, 0, 2, LATER, 0);
	atomic_store(&slot->low_water, 1);
	fake_agent_stop(&f->agent);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LOCAL);
	assert_int_equal(f->r.limit, 200);
	/* Back, with the same table: no new mapping, and the policy is declared as known. */
	fake_slot_lease(slot, 0, 1, LATER, 0);
	fake_agent_start(&f->agent);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	pass(1100);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	assert_int_equal(f->agent.last_declare.head.flags, WIRE_DECLARE_AGAIN);
	fake_slot_lease(slot, 0, 1, LATER, 0);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
}

static void takes_up_a_new_table(void **state) {
	struct fixture *f = *state;
	struct fake_table old = f->agent.table;
	struct slot *slot;

	source(f, "c");
	slot = fake_table_put(&old, 0, "c");
	fake_slot_lease(slot, 0, 9, LATER, 0);
	fake_agent_stop(&f->agent);
	atomic_store(&old.table->state, TABLE_RETIRED);
	f->agent.generation = 7002;
	f->agent.policy = 5;
	fake_table_make(&f->agent.table, f->agent.generation);
	fake_agent_start(&f->agent);
	pass(110);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	fake_slot_lease(fake_table_put(&f->agent.table, 5, "c"), 0, 1, LATER, 0);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_int_equal(word_credits(atomic_load(&slot->word[0])), 9);
	fake_table_destroy(&old);
}

static void attaches_anew_when_its_table_is_retired(void **state) {
	struct fixture *f = *state;

	source(f, "c");
	pass(110);
	atomic_store(&f->agent.table.table->state, TABLE_RETIRED);
	source(f, "c");
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 2);
}

/* As if it had been killed when it got this. */
static void hang_up_at_second(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	(void)id;
	if (a->counts.want == 2)
		shutdown(fd, SHUT_RDWR);
	else
		fake_answer(a, fd, want->head.serial, a->verdict);
}

static void hang_up_always(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	(void)a, (void)want, (void)id;
	shutdown(fd, SHUT_RDWR);
}

static void says_it_again_when_the_connection_breaks(void **state) {
	struct fixture *f = *state;

	f->agent.want = hang_up_at_second;
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	pass(110); /* then the next attempt is free */
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 2);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.want), 3);
}

static void says_it_again_only_once(void **state) {
	struct fixture *f = *state;
	uint64_t began_ns = fake_now_ns();

	f->agent.want = hang_up_always;
	assert_int_equal(source(f, "c"), STINT_SOURCE_LOCAL);
	pass(110);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LOCAL);
	assert_true(fake_now_ns() - began_ns < MS(TIMEOUT_MS));
	assert_in_range(fake_agent_count(&f->agent, &f->agent.counts.hello), 2, 4);
}

/* ---- An agent that hangs --------------------------------------------------------------------- */

static void mute(struct fake_agent *a) {
	a->mute = true;
}

static void speak(struct fake_agent *a) {
	a->mute = false;
}

static void waits_no_longer_than_its_timeout(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 100});
	struct wire_verdict unasked = {.head = {.type = WIRE_VERDICT, .serial = 77777}, .source = STINT_SOURCE_LEASE};
	uint64_t began_ns;

	assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_DATABASE);
	change(f, mute);
	began_ns = fake_now_ns();
	assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	assert_in_range(fake_now_ns() - began_ns, MS(100), MS(1000));
	/* Now it is known to be silent: asked, but not waited for. */
	began_ns = fake_now_ns();
	for (int i = 0; i < 20; i++)
		assert_int_equal(source(f, "c"), STINT_SOURCE_LOCAL);
	assert_true(fake_now_ns() - began_ns < MS(TIMEOUT_MS));
	stint_check(hasty, "c", 1, &f->r);
	fake_agent_await(&f->agent, &f->agent.counts.want, 3);
	/* Any word of its ends that. */
	change(f, speak);
	fake_agent_send_all(&f->agent, &unasked, sizeof(unasked), 0);
	assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_DATABASE);
	stint_limiter_free(hasty);
}

static void an_agent_that_never_welcomes_is_waited_for_once(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 50});

	change(f, mute);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
		assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	}
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 1);
	stint_limiter_free(hasty);
}

/* It takes nothing any more: the socket fills up, and nobody is held up by that. */
static void a_full_socket_holds_nobody_up(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 20});
	struct slot *slot;
	uint64_t began_ns;

	stint_check(hasty, "c", 1, &f->r);
	slot = fake_table_put(&f->agent.table, 0, "c");
	atomic_store(&slot->low_water, 1);
	fake_agent_lock(&f->agent);
	f->agent.deaf = true;
	fake_agent_unlock(&f->agent);
	pass(10);
	for (int i = 0; i < 2000; i++) {
		fake_slot_lease(slot, 0, 2, LATER, 0);
		assert_true(stint_is_allowed(hasty, "c"));
		assert_true(stint_is_allowed(hasty, "c"));
	}
	began_ns = fake_now_ns();
	assert_int_equal(stint_check(hasty, "d", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	assert_true(fake_now_ns() - began_ns < MS(1000));
	fake_agent_lock(&f->agent);
	f->agent.deaf = false;
	fake_agent_unlock(&f->agent);
	stint_limiter_free(hasty);
}

/* ---- An agent of another kind ------------------------------------------------------------------ */

static void tells_why_the_agent_refuses(void **state) {
	struct fixture *f = *state;

	f->agent.welcome_status = STINT_ETIMENS;
	f->agent.welcome_words = "the clocks are 5 s apart\n";
	assert_int_equal(source(f, "c"), STINT_ETIMENS);
	assert_string_equal(stint_error_detail(), "the clocks are 5 s apart ");
	/* Told again without asking it again, and decided all the same. */
	assert_int_equal(source(f, "c"), STINT_ETIMENS);
	assert_true(stint_is_allowed(f->api, "c"));
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 1);
	fake_agent_lock(&f->agent);
	f->agent.welcome_status = 0;
	f->agent.welcome_words = NULL;
	fake_agent_unlock(&f->agent);
	pass(110);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
}

/* The agent doesn't notice a second: it doesn't know how long a HELLO has been under way. */
static void refuses_another_clock(void **state) {
	struct fixture *f = *state;
	uint64_t own = timens_offset();

	if (own == TIMENS_UNKNOWN)
		return; /* the kernel doesn't tell */
	f->agent.table.directory->clock_offset = own + 1;
	assert_int_equal(source(f, "c"), STINT_ETIMENS);
	assert_non_null(strstr(stint_error_detail(), "time namespace"));
	assert_true(stint_is_allowed(f->api, "c"));
	f->agent.table.directory->clock_offset = own;
	pass(110);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
}

static void refuses_another_version(void **state) {
	struct fixture *f = *state;

	f->agent.wire_version = WIRE_VERSION + 1;
	assert_int_equal(source(f, "c"), STINT_EVERSION);
	fake_agent_lock(&f->agent);
	f->agent.wire_version = WIRE_VERSION;
	f->agent.table.directory->version = LAYOUT_VERSION + 1;
	fake_agent_unlock(&f->agent);
	pass(110);
	assert_int_equal(source(f, "c"), STINT_EVERSION);
	assert_non_null(strstr(stint_error_detail(), "layout 3"));
}

static void refuses_a_table_of_another_generation(void **state) {
	struct fixture *f = *state;

	f->agent.generation++;
	assert_int_equal(source(f, "c"), STINT_EPROTOCOL);
}

static void refuses_an_index_outside_the_directory(void **state) {
	struct fixture *f = *state;

	f->agent.policy = POLICY_CAPACITY;
	assert_int_equal(source(f, "c"), STINT_EPROTOCOL);
}

#define VERDICT_FROM(who, ...) {.head = {.type = WIRE_VERDICT}, .source = (who), __VA_ARGS__}
#define VERDICT_OF(...) VERDICT_FROM(STINT_SOURCE_DATABASE, __VA_ARGS__)

static const struct {
	struct wire_verdict bytes; /* or what else this is */
	size_t length;
	int fds;
} garbage[] = {
	{{.head = {.type = WIRE_VERDICT}}, 1, 0},
	{{.head = {.type = WIRE_VERDICT}}, 8, 0},
	{{.head = {.type = 0}}, 8, 0},
	{{.head = {.type = WIRE_WANT}}, 24, 0},
	{{.head = {.type = 65535}}, 56, 0},
	{{.head = {.type = WIRE_WELCOME}}, 32, 2},
	{{.head = {.type = WIRE_DECLARED}}, 15, 0},
	{{.head = {.type = WIRE_DECLARED}}, 17, 0},
	{VERDICT_OF(.allowed = 1), 55, 0},
	{VERDICT_OF(.allowed = 1), 57, 0},
	{VERDICT_OF(.allowed = 1), 56, 1},
	{VERDICT_OF(.allowed = 1), 56, 2},
	{VERDICT_OF(.allowed = 2), 56, 0},
	{VERDICT_FROM(0, .allowed = 1), 56, 0},
	{VERDICT_FROM(6, .allowed = 1), 56, 0},
	{VERDICT_OF(.status = 1), 56, 0},
	{VERDICT_OF(.status = -14), 56, 0},
	{VERDICT_OF(.limit = -1), 56, 0},
	{VERDICT_OF(.remaining = INT64_MIN), 56, 0},
	{VERDICT_OF(.retry_after_ms = -2), 56, 0},
	{VERDICT_OF(.reset_after_ms = -1), 56, 0},
	{VERDICT_OF(.allowed = 1), 5000, 0}, /* longer than any message */
};

static void send_garbage(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	size_t i = *(size_t *)a->arg;
	unsigned char bytes[5000] = {0};
	int null[2] = {open("/dev/null", O_RDONLY | O_CLOEXEC), open("/dev/null", O_RDONLY | O_CLOEXEC)};
	char control[CMSG_SPACE(sizeof(null))] __attribute__((aligned(8))) = {0};
	struct iovec part = {.iov_base = bytes, .iov_len = garbage[i].length};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

	(void)want, (void)id;
	memcpy(bytes, &garbage[i].bytes, sizeof(garbage[i].bytes));
	if (garbage[i].fds > 0) {
		struct cmsghdr *c = (struct cmsghdr *)control;
		m.msg_control = control;
		m.msg_controllen = CMSG_SPACE((size_t)garbage[i].fds * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN((size_t)garbage[i].fds * sizeof(int));
		memcpy(CMSG_DATA(c), null, (size_t)garbage[i].fds * sizeof(int));
	}
	(void)!sendmsg(fd, &m, MSG_NOSIGNAL);
	close(null[0]);
	close(null[1]);
}

static int lowest_free_fd(void) {
	int fd = dup(0);
	close(fd);
	return fd;
}

static void garbage_is_refused(void **state) {
	struct fixture *f = *state;
	int free_fd = -1;
	size_t i;

	f->agent.arg = &i;
	f->agent.want = send_garbage;
	for (i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		assert_int_equal(source(f, "c"), STINT_EPROTOCOL);
		assert_true(stint_is_allowed(f->api, "c"));
		pass(110);
		/* What descriptors came are closed. */
		if (i == 0)
			free_fd = lowest_free_fd();
		else
			assert_in_range(lowest_free_fd(), 0, free_fd);
	}
}

static void answers_to_nobody_are_ignored(void **state) {
	struct fixture *f = *state;
	struct wire_verdict v = VERDICT_OF(.allowed = 1, .deadline_ns = UINT64_MAX);
	struct wire_declared d = {.head = {.type = WIRE_DECLARED}, .policy = 9999};

	source(f, "c");
	for (uint32_t serial = 0; serial < 3000; serial += 1000) {
		v.head.serial = d.head.serial = serial;
		fake_agent_send_all(&f->agent, &v, sizeof(v), 0);
		fake_agent_send_all(&f->agent, &d, sizeof(d), 0);
	}
	f->agent.verdict.allowed = 0;
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	assert_false(f->r.allowed);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_ABSENT(name) cmocka_unit_test_setup_teardown(name, setup_absent, teardown)
	const struct CMUnitTest tests[] = {
		TEST(asks_the_agent_when_the_table_has_no_answer),
		TEST(takes_credits_from_the_table_without_a_word),
		TEST(denials_in_the_table_say_whose_they_are),
		TEST(tells_when_credits_run_low),
		TEST(each_limiter_is_declared_once),
		TEST(declares_again_what_the_agent_forgot),
		TEST(an_answer_that_nobody_waited_for_counts),
		TEST(a_declaration_is_not_repeated_while_it_is_under_way),
		TEST(a_limiter_is_freed_while_it_is_declared),
		TEST(unknown_policies_and_full_directories_are_errors),
		TEST(asks_again_when_the_admission_is_void),
		TEST(does_not_ask_for_ever),
		TEST_ABSENT(decides_locally_while_the_agent_is_away),
		TEST_ABSENT(a_full_backlog_is_away),
		TEST(uses_the_table_while_the_agent_is_away),
		TEST(takes_up_a_new_table),
		TEST(attaches_anew_when_its_table_is_retired),
		TEST(says_it_again_when_the_connection_breaks),
		TEST(says_it_again_only_once),
		TEST(waits_no_longer_than_its_timeout),
		TEST(an_agent_that_never_welcomes_is_waited_for_once),
		TEST(a_full_socket_holds_nobody_up),
		TEST(tells_why_the_agent_refuses),
		TEST(refuses_another_clock),
		TEST(refuses_another_version),
		TEST(refuses_a_table_of_another_generation),
		TEST(refuses_an_index_outside_the_directory),
		TEST(garbage_is_refused),
		TEST(answers_to_nobody_are_ignored),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
