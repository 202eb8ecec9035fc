/*
 * test_agent_away.c - checks while the agent is absent, restarted, or hangs.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "channel_fixture.h"

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

int main(void) {
	const struct CMUnitTest tests[] = {
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
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
