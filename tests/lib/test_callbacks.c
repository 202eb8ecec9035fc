/*
 * test_callbacks.c - each check that was started has its callback, once, whatever callbacks do: free, close,
 * start, fork.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "async_fixture.h"

/* The limiter has been declared, and the answers to so many of its checks are in the socket. */
static void have_answers(struct fixture *f, struct stint_limiter *limiter, int n, stint_callback *callback) {
	unsigned wants;

	start_many(f, limiter, 1);
	loop(f, f->called + 1);
	f->called = 0;
	wants = fake_agent_count(&f->agent, &f->agent.counts.want);
	for (int i = 0; i < n; i++)
		assert_int_equal(stint_check_async(limiter, "c", 1, &f->r, callback, f), 0);
	fake_agent_await(&f->agent, &f->agent.counts.want, wants + (unsigned)n);
}

/* So many checks are under way, and have no answer. */
static void have_pending(struct fixture *f, struct stint_limiter *limiter, int n, stint_callback *callback) {
	set(f, &f->agent.mute, true);
	for (int i = 0; i < n; i++)
		assert_int_equal(stint_check_async(limiter, "c", 1, &f->r, callback, f), 0);
}

static void free_limiters(struct fixture *f) {
	struct stint_limiter *api = f->api, *patient = f->patient;

	f->api = f->patient = NULL;
	stint_limiter_free(api);
	stint_limiter_free(patient);
}

static void close_all(struct fixture *f) {
	struct stint *st = f->st;

	f->st = NULL; /* callbacks of checks that are cancelled come here as well */
	free_limiters(f);
	stint_close(st);
}

/* ---- Freed from outside ------------------------------------------------------------- */

static void a_limiter_that_is_freed_takes_only_its_own_checks_along(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *other = limiter_new(f, (struct stint_options){.policy = "hasty", .timeout_ms = 60000});

	have_pending(f, f->patient, 3, count);
	have_pending(f, other, 5, count);
	have_pending(f, f->patient, 4, count);
	stint_limiter_free(other);
	assert_int_equal(f->called, 5);
	assert_int_equal(f->status, STINT_ECANCELED);
	assert_string_equal(stint_error_detail(),
	                    "policy \"hasty\": the check was cancelled, or its limiter or attachment is being freed");
	set(f, &f->agent.mute, false);
	fake_agent_hang_up(&f->agent);
	loop(f, 12);
	assert_int_equal(f->status, 0);
	assert_int_equal(stint_dispatch(f->st), 0);
}

/* The agent has answered, but stint_dispatch() hasn't told anybody before the limiter was freed. */
static void answers_that_were_not_told_are_cancelled(void **state) {
	struct fixture *f = *state;

	have_answers(f, f->patient, 3, count);
	/* Another check receives them. */
	assert_true(stint_is_allowed(f->api, "c"));
	stint_limiter_free(f->patient);
	f->patient = NULL;
	assert_int_equal(f->called, 3);
	assert_int_equal(f->status, STINT_ECANCELED);
	assert_int_equal(stint_dispatch(f->st), 0);
	assert_false(is_readable(f, 0));
}

static void free_in_callback(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;

	count(status, result, f);
	free_limiters(f);
}

static void closing_tells_all(void **state) {
	struct fixture *f = *state;
	struct stint *st = f->st;

	have_pending(f, f->patient, 3, free_in_callback);
	have_pending(f, f->api, 4, free_in_callback);
	f->st = NULL;
	stint_close(st);
	assert_int_equal(f->called, 7);
	assert_int_equal(f->status, STINT_ECANCELED);
}

/* ---- Freed by a callback, from stint_dispatch() ---------------------------------------------- */

static void free_patient(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;
	struct stint_limiter *patient = f->patient;

	count(status, result, f);
	assert_int_equal(f->status, patient ? 0 : STINT_ECANCELED);
	f->patient = NULL;
	stint_limiter_free(patient);
}

static void a_callback_may_free_its_own_limiter(void **state) {
	struct fixture *f = *state;

	have_answers(f, f->patient, 3, free_patient);
	assert_int_equal(stint_dispatch(f->st), 1);
	assert_int_equal(f->called, 3);
	assert_int_equal(start(f, "c"), 0);
	loop(f, 4);
}

/* Checks of the other limiter are due in the same stint_dispatch(), and some are still under way. */
static void a_callback_may_free_another_limiter(void **state) {
	struct fixture *f = *state;

	have_answers(f, f->patient, 0, count);
	have_answers(f, f->api, 1, free_patient);
	for (int i = 0; i < 3; i++)
		assert_int_equal(stint_check_async(f->patient, "c", 1, &f->r, count, f), 0);
	fake_agent_await(&f->agent, &f->agent.counts.want, 6);
	have_pending(f, f->patient, 2, count);
	assert_int_equal(stint_dispatch(f->st), 1);
	assert_int_equal(f->called, 6);
	assert_int_equal(f->status, STINT_ECANCELED);
	assert_int_equal(stint_dispatch(f->st), 0);
}

static void close_in_callback(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;

	count(status, result, f);
	if (f->st)
		close_all(f);
}

static void a_callback_may_close_the_attachment(void **state) {
	struct fixture *f = *state;

	have_answers(f, f->api, 0, count);
	have_answers(f, f->patient, 3, close_in_callback);
	have_pending(f, f->api, 2, count);
	assert_int_equal(stint_dispatch(f->st), 1);
	assert_int_equal(f->called, 5);
	assert_int_equal(f->status, STINT_ECANCELED);
	assert_null(f->st);
}

/* The new limiter may lie in memory where the old one was. */
static void close_and_open(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;
	struct stint_options options = {.policy = "new", .max_requests = 9, .time_window_ms = 60000};

	count(status, result, f);
	if (status != 0)
		return;
	close_all(f);
	assert_int_equal(stint_open(&f->st, f->agent.path), 0);
	assert_int_equal(stint_limiter_new(&f->api, f->st, &options), 0);
	assert_int_equal(stint_check_async(f->api, "c", 1, &f->r, count, f), 0);
}

static void a_callback_may_begin_anew(void **state) {
	struct fixture *f = *state;

	have_answers(f, f->patient, 3, close_and_open);
	assert_int_equal(stint_dispatch(f->st), 1);
	assert_int_equal(f->called, 3);
	loop(f, 4);
	assert_int_equal(f->source, STINT_SOURCE_DATABASE);
}

/* ---- Callbacks of what is being freed ------------------------------------------------------ */

static void use_what_ends(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;

	count(status, result, f);
	assert_int_equal(status, STINT_ECANCELED);
	assert_int_equal(stint_check_async(f->patient, "c", 1, &f->r, count, f), STINT_ECANCELED);
	assert_int_equal(stint_check(f->patient, "c", 1, &f->r), STINT_ECANCELED);
	assert_true(stint_is_allowed(f->patient, "c"));
	stint_limiter_free(f->patient);
	assert_int_equal(stint_dispatch(f->st), 0);
	/* Other limiters go on as ever. */
	if (f->called == 1)
		assert_int_equal(start(f, "c"), 0);
}

static void what_is_being_freed_refuses(void **state) {
	struct fixture *f = *state;

	have_pending(f, f->patient, 3, use_what_ends);
	stint_limiter_free(f->patient);
	f->patient = NULL;
	assert_int_equal(f->called, 3);
	set(f, &f->agent.mute, false);
	fake_agent_hang_up(&f->agent);
	loop(f, 4);
}

static void use_what_closes(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;

	count(status, result, f);
	assert_int_equal(status, STINT_ECANCELED);
	if (f->api)
		assert_int_equal(start(f, "c"), STINT_ECANCELED);
	stint_close(f->st);
	free_limiters(f);
}

static void what_is_being_closed_refuses(void **state) {
	struct fixture *f = *state;

	have_pending(f, f->patient, 2, use_what_closes);
	have_pending(f, f->api, 2, use_what_closes);
	stint_close(f->st);
	f->st = NULL;
	assert_int_equal(f->called, 4);
}

static void free_api_in_the_middle(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;
	struct stint_limiter *api = f->api;
	int before = ++f->called;

	(void)result;
	assert_int_equal(status, STINT_ECANCELED);
	f->api = NULL;
	stint_limiter_free(api);
	assert_int_equal(f->called, before + (api ? 2 : 0));
}

/* All of its callbacks run there, and none of another limiter's. */
static void a_limiter_has_its_callbacks_where_it_is_freed(void **state) {
	struct fixture *f = *state;

	have_pending(f, f->patient, 3, free_api_in_the_middle);
	have_pending(f, f->api, 2, count);
	stint_limiter_free(f->patient);
	f->patient = NULL;
	assert_int_equal(f->called, 5);
}

static void close_while_freeing(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;
	struct stint *st = f->st;

	count(status, result, f);
	f->st = NULL;
	stint_close(st);
}

static void a_cancelled_check_may_close_the_attachment(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *patient = f->patient;

	stint_limiter_free(f->api);
	f->api = f->patient = NULL;
	have_pending(f, patient, 5, close_while_freeing);
	stint_limiter_free(patient);
	assert_int_equal(f->called, 5);
	assert_int_equal(f->status, STINT_ECANCELED);
	assert_null(f->st);
}

/* ---- Forks --------------------------------------------------------------------------------- */

static pid_t child;

static void fork_once(int status, const struct stint_result *result, void *arg) {
	count(status, result, arg);
	if (child < 0)
		child = fork();
}

/* The child was told only what came before the fork, and by the callback that forked. */
static void assert_told(struct fixture *f, int in_child, int in_parent) {
	int status;

	if (child == 0) {
		if (f->st)
			close_all(f);
		leave(f->called == in_child ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(f->called, in_parent);
}

static void what_a_forks_child_inherits_is_not_told(void **state) {
	struct fixture *f = *state;
	struct stint *st;

	/* From stint_dispatch(). */
	child = -1;
	have_answers(f, f->patient, 3, fork_once);
	while (child != 0 && f->called < 3)
		assert_true(stint_dispatch(f->st) >= 0);
	assert_told(f, 1, 3);
	/* From stint_limiter_free(). */
	child = -1;
	have_pending(f, f->patient, 3, fork_once);
	stint_limiter_free(f->patient);
	f->patient = NULL;
	assert_told(f, 4, 6);
	/* From stint_close(). */
	child = -1;
	have_pending(f, f->api, 1, free_in_callback);
	have_pending(f, f->api, 2, fork_once);
	st = f->st;
	f->st = NULL;
	stint_close(st);
	assert_told(f, 8, 9);
}

/* ---- Time goes by between callbacks ---------------------------------------------------------- */

static void short_lived_at_first(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	struct wire_verdict v = a->verdict;

	(void)id;
	v.deadline_ns = a->counts.want <= 3 ? fake_now_ns() + MS(300) : 0;
	fake_answer(a, fd, want->head.serial, v);
}

static void take_long(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;

	count(status, result, arg);
	if (f->called == 1)
		usleep(310000);
}

/* An admission that was good when stint_dispatch() began, and is void when its callback's turn comes, is asked
 * for again. */
static void an_admission_is_judged_when_it_is_told(void **state) {
	struct fixture *f = *state;

	f->agent.want = short_lived_at_first;
	have_answers(f, f->patient, 2, take_long);
	loop(f, 2);
	assert_int_equal(f->allowed, 3);
	assert_true(fake_agent_count(&f->agent, &f->agent.counts.want) >= 4);
}

static void start_another(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;

	count(status, result, arg);
	if (status == 0)
		assert_int_equal(stint_check_async(f->patient, "c", 1, &f->r, count, f), 0);
}

/* A callback may start a check in the room of the check that it is told of. */
static void a_callback_has_room_for_another_check(void **state) {
	struct fixture *f = *state;

	have_answers(f, f->patient, 1, start_another);
	set(f, &f->agent.deaf, true);
	for (int i = 1; i < STINT_ASYNC_MAX; i++)
		assert_int_equal(stint_check_async(f->patient, "c", 1, &f->r, count, f), 0);
	assert_int_equal(stint_check_async(f->patient, "c", 1, &f->r, count, f), STINT_EBUSY);
	while (f->called == 0)
		assert_true(stint_dispatch(f->st) >= 0);
	assert_int_equal(stint_check_async(f->patient, "c", 1, &f->r, count, f), STINT_EBUSY);
}

/* ---- One check that is cancelled ----------------------------------------------------- */

static void a_cancelled_check_is_told_at_once(void **state) {
	struct fixture *f = *state;
	uint64_t ticket[3];

	set(f, &f->agent.mute, true);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(stint_check_async(f->patient, "c", 1, &f->r, count, f), 0);
		ticket[i] = f->r.ticket;
	}
	assert_int_equal(stint_cancel(f->st, ticket[1]), 1);
	assert_int_equal(f->called, 1);
	assert_int_equal(f->status, STINT_ECANCELED);
	assert_int_equal(stint_cancel(f->st, ticket[1]), 0);
	set(f, &f->agent.mute, false);
	fake_agent_hang_up(&f->agent);
	loop(f, 3);
	assert_int_equal(f->status, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(stint_cancel(f->st, ticket[i]), 0);
	assert_int_equal(f->called, 3);
}

/* The answers are here, but nobody has been told: some are still in the socket, others have been received. */
static void a_check_can_be_cancelled_until_it_is_told(void **state) {
	struct fixture *f = *state;

	have_answers(f, f->patient, 1, count);
	assert_int_equal(stint_cancel(f->st, f->r.ticket), 1);
	have_answers(f, f->patient, 1, count);
	uint64_t ticket = f->r.ticket;
	assert_true(stint_is_allowed(f->api, "c")); /* receives them */
	assert_int_equal(stint_cancel(f->st, ticket), 1);
	assert_int_equal(f->called, 1);
	assert_int_equal(f->status, STINT_ECANCELED);
	assert_int_equal(stint_dispatch(f->st), 0);
	assert_false(is_readable(f, 0));
}

struct pair {
	struct fixture *f;
	uint64_t ticket[2];
	int called, cancelled;
};

static void cancel_both(int status, const struct stint_result *result, void *arg) {
	struct pair *pair = arg;

	(void)result;
	pair->called++;
	if (status == STINT_ECANCELED)
		return;
	for (int i = 0; i < 2; i++)
		pair->cancelled += stint_cancel(pair->f->st, pair->ticket[i]);
}

static void a_callback_may_cancel_the_check_that_is_due_next(void **state) {
	struct pair pair = {.f = *state};
	struct fixture *f = pair.f;

	set(f, &f->agent.mute, true);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(stint_check_async(f->patient, "c", 1, &f->r, cancel_both, &pair), 0);
		pair.ticket[i] = f->r.ticket;
	}
	set(f, &f->agent.mute, false);
	fake_agent_hang_up(&f->agent);
	while (pair.called < 2) {
		assert_true(is_readable(f, 20000));
		stint_dispatch(f->st);
	}
	assert_int_equal(pair.called, 2);
	assert_in_range(pair.cancelled, 0, 1); /* 1 when both answers came together */
}

static void a_wrong_ticket_cancels_nothing(void **state) {
	struct fixture *f = *state;

	assert_int_equal(stint_cancel(f->st, 0), 0);
	assert_int_equal(stint_cancel(f->st, 1), 0);
	have_pending(f, f->patient, 1, count);
	for (int bit = 0; bit < 64; bit++)
		assert_int_equal(stint_cancel(f->st, f->r.ticket ^ UINT64_C(1) << bit), 0);
	assert_int_equal(f->called, 0);
	assert_int_equal(stint_cancel(f->st, f->r.ticket), 1);
}

/* The child has a check of its own by the time at which it uses its parent's ticket. */
static void a_forks_child_cancels_no_check_by_its_parents_ticket(void **state) {
	struct fixture *f = *state;
	int status;

	have_pending(f, f->patient, 1, count);
	uint64_t ticket = f->r.ticket;
	pid_t process = fork();
	if (process == 0) {
		bool right = stint_cancel(f->st, ticket) == 0 &&
		             stint_check_async(f->patient, "c", 1, &f->r, count, f) == 0 &&
		             stint_cancel(f->st, ticket) == 0 && f->called == 0 && stint_cancel(f->st, f->r.ticket) == 1;
		leave(right ? 0 : 1);
	}
	assert_int_equal(waitpid(process, &status, 0), process);
	assert_int_equal(status, 0);
	assert_int_equal(stint_cancel(f->st, ticket), 1);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(a_limiter_that_is_freed_takes_only_its_own_checks_along),
		TEST(answers_that_were_not_told_are_cancelled),
		TEST(closing_tells_all),
		TEST(a_callback_may_free_its_own_limiter),
		TEST(a_callback_may_free_another_limiter),
		TEST(a_callback_may_close_the_attachment),
		TEST(a_callback_may_begin_anew),
		TEST(what_is_being_freed_refuses),
		TEST(what_is_being_closed_refuses),
		TEST(a_limiter_has_its_callbacks_where_it_is_freed),
		TEST(a_cancelled_check_may_close_the_attachment),
		TEST(what_a_forks_child_inherits_is_not_told),
		TEST(an_admission_is_judged_when_it_is_told),
		TEST(a_callback_has_room_for_another_check),
		TEST(a_cancelled_check_is_told_at_once),
		TEST(a_check_can_be_cancelled_until_it_is_told),
		TEST(a_callback_may_cancel_the_check_that_is_due_next),
		TEST(a_wrong_ticket_cancels_nothing),
		TEST(a_forks_child_cancels_no_check_by_its_parents_ticket),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
