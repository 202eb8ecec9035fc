/*
 * test_agent_away.c - checks while the agent is absent or restarted.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "away_fixture.h"

/* ---- An agent that is not there -------------------------------------------------------------- */

/* When a process never had an agent, its first checks wait, together as long as the timeout of one. */
static void decides_locally_while_there_is_no_agent(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty =
		limiter_new(f, (struct stint_options){.timeout_ms = 100, .fallback_time_window_ms = ENDLESS_MS});
	uint64_t began_ns = fake_now_ns();

	assert_true(stint_is_allowed(hasty, "c"));
	assert_true(fake_now_ns() - began_ns >= MS(100));
	for (int i = 1; i < 200; i++)
		assert_true(stint_is_allowed(hasty, "c"));
	assert_false(stint_is_allowed(hasty, "c"));
	assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	assert_int_equal(f->r.limit, 200);
	assert_true(fake_now_ns() - began_ns < MS(TIMEOUT_MS));
	/* The agent comes. The process looks for it again within a second. */
	fake_agent_start(&f->agent);
	pass(1100);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	stint_limiter_free(hasty);
}

/* Leaves a socket as an agent does that is killed. */
static void leave_socket(struct fixture *f, const struct timespec *alive) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, *alive};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, f->agent.path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(utimensat(AT_FDCWD, f->agent.path, times, 0), 0);
	close(fd);
}

static void a_process_that_starts_sees_that_an_agent_was_killed(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 20});
	struct timespec alive;

	clock_gettime(CLOCK_MONOTONIC, &alive);
	leave_socket(f, &alive);
	expect_none_for_two_seconds(f, hasty, (uint64_t)alive.tv_sec * MS(1000) + (uint64_t)alive.tv_nsec);
	/* A process that starts now sees that the agent has been dead for too long. */
	stint_limiter_free(hasty);
	app_close(f);
	app_open(f);
	hasty = limiter_new(f, (struct stint_options){.timeout_ms = 20});
	pass(500);
	assert_true(stint_is_allowed(hasty, "c"));
	stint_limiter_free(hasty);
	assert_int_equal(unlink(f->agent.path), 0);
}

static void what_a_process_decides_by_itself_has_a_limit_of_its_own(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *three = limiter_new(f, (struct stint_options){.timeout_ms = 1,
	                                                                    .local_max_requests = 3,
	                                                                    .fallback_time_window_ms = ENDLESS_MS});
	struct stint_limiter *existing = limiter_new(f, (struct stint_options){.timeout_ms = 1,
	                                                                       .must_exist = true,
	                                                                       .local_max_requests = 2,
	                                                                       .fallback_time_window_ms = ENDLESS_MS});
	struct stint_limiter *nobody =
		limiter_new(f, (struct stint_options){.timeout_ms = 1, .local_max_requests = STINT_DENY});

	for (int i = 0; i < 10; i++) {
		assert_int_equal(stint_is_allowed(three, "c"), i < 3);
		assert_int_equal(stint_is_allowed(existing, "c"), i < 2);
		assert_int_equal(stint_check(nobody, "c", 1, &f->r), 0);
		assert_false(f->r.allowed);
		assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
		assert_in_range(f->r.retry_after_ms, 1, 1000);
	}
	stint_limiter_free(three);
	stint_limiter_free(existing);
	stint_limiter_free(nobody);
}

static void who_decides_on_errors_is_the_apps_choice(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *closed =
		limiter_new(f, (struct stint_options){.timeout_ms = 1, .on_error = STINT_ON_ERROR_DENY});
	struct stint_limiter *open =
		limiter_new(f, (struct stint_options){.timeout_ms = 1, .on_error = STINT_ON_ERROR_ALLOW});

	for (int i = 0; i < 300; i++) {
		assert_true(stint_is_allowed(open, "c"));
		assert_false(stint_is_allowed(closed, "c"));
	}
	assert_int_equal(stint_check(open, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	assert_int_equal(f->r.reason, STINT_ADMITTED);
	assert_int_equal(f->r.limit, 100);
	assert_int_equal(f->r.remaining, 100);
	assert_int_equal(stint_check(closed, "c", 1, &f->r), 0);
	assert_int_equal(f->r.reason, STINT_UNAVAILABLE);
	assert_in_range(f->r.retry_after_ms, 1, 1000);
	stint_limiter_free(open);
	stint_limiter_free(closed);
}

/* While an agent may be back any moment, nobody is admitted, unless the app wants that. */
static void an_agent_that_is_silent_may_let_everybody_in(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *open =
		limiter_new(f, (struct stint_options){.timeout_ms = 20, .on_error = STINT_ON_ERROR_ALLOW});

	assert_true(stint_is_allowed(f->api, "c"));
	fake_agent_lock(&f->agent);
	f->agent.mute = true;
	fake_agent_unlock(&f->agent);
	assert_int_equal(stint_check(open, "c", 1, &f->r), 0);
	assert_true(f->r.allowed);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	stint_limiter_free(open);
}

/* The agent answers with an error, which stint_is_allowed() can't tell. */
static void an_error_is_decided_as_the_app_wants(void **state) {
	struct fixture *f = *state;
	const enum stint_on_error choices[] = {STINT_ON_ERROR_LOCAL, STINT_ON_ERROR_DENY, STINT_ON_ERROR_ALLOW};

	f->agent.declared_status = STINT_EFULL;
	for (int i = 0; i < 3; i++) {
		struct stint_limiter *limiter = limiter_new(f, (struct stint_options){.on_error = choices[i]});

		assert_int_equal(stint_check(limiter, "c", 1, &f->r), STINT_EFULL);
		assert_int_equal(stint_is_allowed(limiter, "c"), choices[i] != STINT_ON_ERROR_DENY);
		assert_int_equal(stint_check_alone(limiter, "c", 1, &f->r), 0);
		assert_int_equal(f->r.allowed, choices[i] != STINT_ON_ERROR_DENY);
		assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
		stint_limiter_free(limiter);
	}
}

/* Of a limit of 3, with 2 taken by "c". */
static void a_look_alone_takes_nothing(struct fixture *f, struct stint_limiter *limiter) {
	for (int i = 0; i < 3; i++) {
		assert_int_equal(stint_peek_alone(limiter, "c", 1, &f->r), 0);
		assert_true(f->r.allowed);
		assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
		assert_int_equal(f->r.remaining, 1);
		assert_int_equal(f->r.receipt, 0);
		assert_int_equal(stint_peek_alone_n(limiter, "cd", 1, 2, &f->r), 0);
		assert_false(f->r.allowed);
	}
	assert_int_equal(stint_peek_alone_n(limiter, "a\0b", 3, 1, &f->r), STINT_ECLIENT);
	assert_int_equal(stint_peek_alone(limiter, "c", 0, &f->r), STINT_ERANGE);
	assert_int_equal(stint_peek_alone_sized(limiter, "c", 1, 1, &f->r, 8), STINT_EVERSION);
}

static void alone_there_is_the_limit_inside_the_process(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *limiter = limiter_new(f, (struct stint_options){.local_max_requests = 3});

	assert_int_equal(stint_check_alone(limiter, "c", 2, &f->r), 0);
	assert_true(f->r.allowed);
	assert_int_equal(f->r.limit, 3);
	assert_int_equal(f->r.remaining, 1);
	assert_int_equal(stint_check_alone_n(limiter, "cd", 1, 2, &f->r), 0);
	assert_false(f->r.allowed);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	assert_int_equal(stint_check_alone(limiter, "cd", 2, &f->r), 0);
	assert_true(f->r.allowed);
	a_look_alone_takes_nothing(f, limiter);
	assert_int_equal(stint_check_alone(limiter, "", 1, &f->r), STINT_ECLIENT);
	assert_int_equal(stint_check_alone_n(limiter, "a\0b", 3, 1, &f->r), STINT_ECLIENT);
	assert_int_equal(stint_check_alone(limiter, "c", 0, &f->r), STINT_ERANGE);
	assert_int_equal(stint_check_alone_sized(limiter, "c", 1, 1, &f->r, 8), STINT_EVERSION);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.want), 0);
	stint_limiter_free(limiter);
}

/* An agent is there, but has no time. That is no reason to admit anybody. */
static void a_full_backlog_is_away(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 50});
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
	assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	assert_false(f->r.allowed);
	for (; n >= 0; n--)
		close(filler[n]);
	stint_limiter_free(hasty);
}

/* ---- An agent that was there, and isn't --------------------------------------------------------- */

static void uses_the_table_while_the_agent_is_away(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 100});
	struct slot *slot;

	source(f, "c");
	meet(f, hasty);
	slot = fake_table_put(&f->agent.table, 0, "c");
	fake_slot_lease(slot, 0, 2, LATER, 0);
	atomic_store(&slot->low_water, 1);
	fake_agent_stop(&f->agent);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	assert_false(f->r.allowed);
	assert_int_equal(f->r.limit, 100);
	assert_in_range(f->r.retry_after_ms, 1, 2500);
	/* The agent is back with the same table: the app doesn't map it anew, and declares the policy as a known
	 * one. */
	fake_slot_lease(slot, 0, 1, LATER, 0);
	fake_agent_start(&f->agent);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	assert_int_equal(f->agent.last_declare.head.flags, WIRE_DECLARE_AGAIN);
	fake_slot_lease(slot, 0, 1, LATER, 0);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	stint_limiter_free(hasty);
}

static void *start_soon(void *agent) {
	usleep(300000);
	fake_agent_start(agent);
	return NULL;
}

static void a_check_waits_for_an_agent_that_is_back_soon(void **state) {
	struct fixture *f = *state;
	pthread_t thread;

	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	for (int i = 0; i < 2; i++) {
		fake_agent_stop(&f->agent);
		assert_int_equal(pthread_create(&thread, NULL, start_soon, &f->agent), 0);
		assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
		pthread_join(thread, NULL);
	}
}

static void *expect_an_answer(void *arg) {
	struct fixture *f = arg;
	struct stint_result r = {0};

	return (void *)(uintptr_t)(stint_check(f->api, "c", 1, &r) == 0 && r.source == STINT_SOURCE_DATABASE);
}

static void threads_that_wait_look_for_it_together(void **state) {
	struct fixture *f = *state;
	pthread_t thread[16], starter;
	unsigned hellos;
	void *answered;

	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	fake_agent_stop(&f->agent);
	hellos = f->agent.counts.hello;
	assert_int_equal(pthread_create(&starter, NULL, start_soon, &f->agent), 0);
	for (int i = 0; i < 16; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, expect_an_answer, f), 0);
	for (int i = 0; i < 16; i++) {
		pthread_join(thread[i], &answered);
		assert_non_null(answered);
	}
	pthread_join(starter, NULL);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), hellos + 1);
}

static void nobody_is_admitted_in_the_first_seconds(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 20,
	                                                                    .local_max_requests = 7,
	                                                                    .fallback_time_window_ms = ENDLESS_MS});
	uint64_t began_ns;
	int status, admitted = 0;
	pid_t child;

	meet(f, hasty);
	began_ns = fake_now_ns();
	fake_agent_stop(&f->agent);
	/* When the parent misses its agent, so does the child. */
	stint_check(hasty, "c", 1, &f->r);
	child = fork();
	if (child == 0) {
		expect_none_for_two_seconds(f, hasty, began_ns);
		leave(0);
	}
	expect_none_for_two_seconds(f, hasty, began_ns);
	for (admitted = 1; stint_is_allowed(hasty, "c"); admitted++)
		;
	assert_int_equal(admitted, 7);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	/* A child that begins after the first seconds doesn't wait for any to pass. */
	began_ns = fake_now_ns();
	child = fork();
	if (child == 0)
		leave(!stint_is_allowed(f->api, "d") || fake_now_ns() - began_ns >= MS(TIMEOUT_MS));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	stint_limiter_free(hasty);
}

static void takes_up_a_new_table(void **state) {
	struct fixture *f = *state;
	struct fake_table old = f->agent.table;
	const uint32_t number = policy_number_make(5, 3);
	struct slot *slot;

	source(f, "c");
	slot = fake_table_put(&old, 0, "c");
	fake_slot_lease(slot, 0, 9, LATER, 0);
	fake_agent_stop(&f->agent);
	atomic_store(&old.table->state, TABLE_RETIRED);
	f->agent.generation = 7002;
	f->agent.policy = number;
	fake_table_make(&f->agent.table, f->agent.generation);
	atomic_store(&directory_entries(f->agent.table.directory)[5].generation, 3);
	fake_agent_start(&f->agent);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	fake_slot_lease(fake_table_put(&f->agent.table, number, "c"), 0, 1, LATER, 0);
	assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_int_equal(word_credits(atomic_load(&slot->word[0])), 9);
	fake_table_destroy(&old);
}

/* This process doesn't know what the number means on the new connection before it has declared the policy
 * there. */
static void tells_nothing_of_a_policy_that_the_agent_was_not_told_of(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *other =
		limiter_new(f, (struct stint_options){.policy = "other", .timeout_ms = TIMEOUT_MS});
	struct slot *slot;

	source(f, "c");
	assert_int_equal(stint_check(other, "d", 1, &f->r), 0);
	slot = fake_table_put(&f->agent.table, 0, "c");
	atomic_store(&slot->low_water, 2);
	fake_agent_stop(&f->agent);
	fake_agent_start(&f->agent);
	pass(110); /* after that it may try again */
	assert_int_equal(stint_check(other, "d", 1, &f->r), 0);
	assert_int_equal(f->r.source, STINT_SOURCE_DATABASE);
	fake_slot_lease(slot, 0, 5, LATER, 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	assert_int_equal(stint_check(other, "d", 1, &f->r), 0); /* a LOW would have come before this check */
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.low), 0);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	fake_slot_lease(slot, 0, 5, LATER, 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(source(f, "c"), STINT_SOURCE_LEASE);
	fake_agent_await(&f->agent, &f->agent.counts.low, 1);
	stint_limiter_free(other);
}

/* The agent has given the policy's place in the directory to another one. What stands there is no longer this
 * policy's. */
static void knows_when_its_policy_has_lost_its_place(void **state) {
	struct fixture *f = *state;
	struct policy_entry *entry = &directory_entries(f->agent.table.directory)[f->agent.policy];
	struct stint_result r;

	source(f, "c");
	atomic_store(&entry->fallback_max_requests, 77);
	atomic_store(&entry->generation, 1);
	fake_agent_stop(&f->agent);
	pass(5000); /* the agent's grace is over */
	assert_int_equal(stint_check(f->api, "c", 1, &r), 0);
	assert_int_equal(r.source, STINT_SOURCE_LOCAL);
	assert_int_not_equal(r.limit, 77);
}

static void attaches_anew_when_its_table_is_retired(void **state) {
	struct fixture *f = *state;

	source(f, "c");
	pass(110);
	atomic_store(&f->agent.table.table->state, TABLE_RETIRED);
	source(f, "c");
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 2);
}

/* Hangs up as if the agent had been killed when it got the second WANT. */
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
	pass(110); /* after that it may try again */
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 2);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.want), 3);
}

static void says_it_again_only_once(void **state) {
	struct fixture *f = *state;
	uint64_t began_ns = fake_now_ns();

	f->agent.want = hang_up_always;
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(source(f, "c"), STINT_SOURCE_LOCAL);
		assert_false(f->r.allowed);
		assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.want), 2 * i);
	}
	assert_true(fake_now_ns() - began_ns < 3 * MS(TIMEOUT_MS));
}

/* False: the machine was so busy that the agent came back too late, when the app no longer looked for it all
 * the time. */
static bool is_back_in_time(struct fixture *f, struct stint_limiter *hasty) {
	uint64_t began_ns = fake_now_ns();
	bool is_back = false;

	fake_agent_stop(&f->agent);
	while (fake_now_ns() - began_ns < MS(4000)) {
		if (!is_back && fake_now_ns() - began_ns >= MS(2300)) {
			is_back = true;
			fake_agent_start(&f->agent);
			if (fake_now_ns() - began_ns >= MS(2400))
				return false;
		}
		assert_int_equal(stint_check(hasty, "c", 1, &f->r), 0);
		if (!is_back && fake_now_ns() - began_ns >= MS(2500))
			continue;
		assert_true(!f->r.allowed || f->r.source == STINT_SOURCE_DATABASE);
		pass(90);
	}
	return true;
}

/* This limiter waits for so short a time that no attempt to connect falls into it, and a check that doesn't
 * wait tries only once a second. */
static void who_asks_now_and_then_looks_before_it_decides(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 10});

	do
		assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	while (!is_back_in_time(f, hasty));
	meet(f, hasty);
	stint_limiter_free(hasty);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST_ABSENT(decides_locally_while_there_is_no_agent),
		TEST_ABSENT(a_process_that_starts_sees_that_an_agent_was_killed),
		TEST_ABSENT(what_a_process_decides_by_itself_has_a_limit_of_its_own),
		TEST_ABSENT(who_decides_on_errors_is_the_apps_choice),
		TEST(an_agent_that_is_silent_may_let_everybody_in),
		TEST(an_error_is_decided_as_the_app_wants),
		TEST(alone_there_is_the_limit_inside_the_process),
		TEST_ABSENT(a_full_backlog_is_away),
		TEST(a_check_waits_for_an_agent_that_is_back_soon),
		TEST(threads_that_wait_look_for_it_together),
		TEST(nobody_is_admitted_in_the_first_seconds),
		TEST(uses_the_table_while_the_agent_is_away),
		TEST(takes_up_a_new_table),
		TEST(tells_nothing_of_a_policy_that_the_agent_was_not_told_of),
		TEST(knows_when_its_policy_has_lost_its_place),
		TEST(attaches_anew_when_its_table_is_retired),
		TEST(says_it_again_when_the_connection_breaks),
		TEST(says_it_again_only_once),
		TEST(who_asks_now_and_then_looks_before_it_decides),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
