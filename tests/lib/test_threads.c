/*
 * test_threads.c - many threads at once: on one word of the table while the
 * agent changes its epoch, on one socket, and across forks.
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attachment.h"
#include "child.h"
#include "client_id.h"
#include "decision.h"
#include "fake_agent.h"
#include "unit.h"

#define THREADS 4
#define LATER   (fake_now_ns() + MS(60000))

struct fixture {
	struct fake_agent agent;
	struct stint *st;
	struct stint_limiter *api;
	_Atomic bool stop;
	_Atomic unsigned done;  /* checks with a verdict */
	_Atomic unsigned wrong; /* and with something else */
	_Atomic unsigned left;  /* threads that have ended */
	_Atomic uint64_t taken;
	struct mapping *mapping;
};

static int setup(void **state) {
	struct fixture *f = calloc(1, sizeof(*f));
	struct stint_options options = {.policy = "api",
	                                .max_requests = 1000000,
	                                .time_window_ms = 60000,
	                                .timeout_ms = 20000};

	fake_agent_init(&f->agent);
	fake_agent_start(&f->agent);
	assert_int_equal(stint_open(&f->st, f->agent.path), 0);
	assert_int_equal(stint_limiter_new(&f->api, f->st, &options), 0);
	*state = f;
	return 0;
}

static void close_all(struct fixture *f) {
	stint_limiter_free(f->api);
	stint_close(f->st);
}

static int teardown(void **state) {
	struct fixture *f = *state;

	close_all(f);
	fake_agent_destroy(&f->agent);
	free(f);
	return 0;
}

static void start_threads(pthread_t thread[static THREADS], void *(*body)(void *), struct fixture *f) {
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, body, f), 0);
}

static void join_threads(pthread_t thread[static THREADS]) {
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

/* ---- On one word --------------------------------------------------------------------- */

static void *take_by_twos(void *arg) {
	struct fixture *f = arg;
	struct decision d;

	while (!atomic_load(&f->stop)) {
		if (decide(f->mapping, 0, "c", 1, 2, &d) == VERDICT_ALLOWED)
			atomic_fetch_add(&f->taken, 2);
	}
	return NULL;
}

/* What threads may burn that are stopped behind their compare-and-swap for so long that it comes too late, and who
 * can't put it back when the epoch is over. */
#define BURNT_MAX (2 * THREADS) /* each of them once */

/* Each credit that was published is taken once or found again at the epoch's end: none twice, none lost. */
static void epochs_change_under_the_cas(void **state) {
	struct fixture *f = *state;
	struct slot *slot = fake_table_put(&f->agent.table, 0, "c");
	uint64_t published = 0, found = 0;
	struct decision d;
	pthread_t thread[THREADS];

	assert_int_equal(mapping_new(&f->mapping, f->agent.table.directory_fd, f->agent.table.table_fd,
	                             f->agent.generation),
	                 0);
	decide_look_at_clock(&d); /* or the first check would find that its last look was long ago, and put back */
	start_threads(thread, take_by_twos, f);
	for (uint32_t epoch = 1; epoch < 20000 || atomic_load(&f->taken) < 1000; epoch++) {
		int which = (int)(epoch / 2 % 2);
		uint64_t old = atomic_exchange(&slot->word[which], word_make(epoch, 0, 0));

		found += word_credits(old);
		atomic_store(&slot->deadline_ns[which], LATER);
		atomic_store(&slot->word[which], word_make(epoch, 101, 0));
		published += 101;
		/* Within an epoch, the agent adds credits while threads take some. */
		old = atomic_load(&slot->word[which]);
		if (atomic_compare_exchange_strong(&slot->word[which], &old, old + 3))
			published += 3;
	}
	atomic_store(&f->stop, true);
	join_threads(thread);
	for (int i = 0; i < 2; i++)
		found += word_credits(atomic_load(&slot->word[i]));
	assert_in_range(found + atomic_load(&f->taken), published - BURNT_MAX, published);
	mapping_free(f->mapping);
}

/* ---- Beside an id ------------------------------------------------------------------------ */

/* Memory of the app: the id, and beside it what another thread writes. */
struct neighbours {
	char id[8];
	uint64_t counter;
	_Atomic bool stop;
};

static void *count_up(void *arg) {
	struct neighbours *n = arg;

	while (!atomic_load(&n->stop))
		n->counter++;
	return NULL;
}

/* The library reads ids by whole vectors where no sanitizer watches: a thread sanitizer would see a race on the
 * neighbour's bytes. */
static void reads_no_neighbours(void **state) {
	struct neighbours *n = aligned_alloc(16, 32);
	pthread_t thread;

	(void)state;
	assert_non_null(n);
	*n = (struct neighbours){.id = "c"};
	assert_int_equal(pthread_create(&thread, NULL, count_up, n), 0);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(client_id_length(n->id), 1);
	atomic_store(&n->stop, true);
	pthread_join(thread, NULL);
	free(n);
}

/* ---- On one socket ---------------------------------------------------------------------- */

static void *check_until_told(void *arg) {
	struct fixture *f = arg;
	struct stint_result r;
	char id[32];

	for (unsigned i = 0; !atomic_load(&f->stop); i++) {
		snprintf(id, sizeof(id), "client-%u", i % 50);
		/* While the agent is away, the limit inside the process may say no. */
		if (stint_check(f->api, id, 1, &r) == 0 && (r.allowed || r.source == STINT_SOURCE_LOCAL))
			atomic_fetch_add(&f->done, 1);
		else
			atomic_fetch_add(&f->wrong, 1);
	}
	return NULL;
}

static void await_done(struct fixture *f, unsigned more) {
	unsigned from = atomic_load(&f->done);

	while (atomic_load(&f->done) - from < more && atomic_load(&f->wrong) == 0)
		usleep(1000);
}

struct held {
	uint32_t serial;
	int64_t remaining;
};

static void answer_with(struct fake_agent *a, int fd, uint32_t serial, int64_t remaining) {
	struct wire_verdict v = a->verdict;

	v.remaining = remaining;
	fake_answer(a, fd, serial, v);
}

/* Answers two at a time, the later first, each with the number in its id. So answers overtake one another, and
 * one thread receives another's. */
static void swap_answers(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	int64_t number = atoi(id + strlen("client-"));
	struct held *held = a->arg;

	if (held->serial == 0) {
		*held = (struct held){want->head.serial, number};
		return;
	}
	answer_with(a, fd, want->head.serial, number);
	answer_with(a, fd, held->serial, held->remaining);
	held->serial = 0;
}

static void *check_own_answers(void *arg) {
	struct fixture *f = arg;
	struct stint_result r;
	char id[32];

	for (unsigned number = atomic_fetch_add(&f->done, 1) * 1000000; !atomic_load(&f->stop); number++) {
		snprintf(id, sizeof(id), "client-%u", number);
		if (stint_check(f->api, id, 1, &r) == 0 && r.remaining == number)
			atomic_fetch_add(&f->done, 1);
		else
			atomic_fetch_add(&f->wrong, 1);
	}
	atomic_fetch_add(&f->left, 1);
	return NULL;
}

static void each_thread_gets_its_own_answer(void **state) {
	struct fixture *f = *state;
	struct held held = {0};
	pthread_t thread[THREADS];

	f->agent.arg = &held;
	f->agent.want = swap_answers;
	start_threads(thread, check_own_answers, f);
	await_done(f, 2000);
	atomic_store(&f->stop, true);
	/* An answer waits for a second one, which doesn't come at the end: then it is given here. */
	while (atomic_load(&f->left) < THREADS) {
		fake_agent_lock(&f->agent);
		if (held.serial != 0)
			answer_with(&f->agent, f->agent.connection[0], held.serial, held.remaining);
		held.serial = 0;
		fake_agent_unlock(&f->agent);
		usleep(1000);
	}
	join_threads(thread);
	assert_int_equal(atomic_load(&f->wrong), 0);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 1);
}

static void threads_outlive_their_agent(void **state) {
	struct fixture *f = *state;
	pthread_t thread[THREADS];

	start_threads(thread, check_until_told, f);
	for (int i = 0; i < 5; i++) {
		await_done(f, 300);
		fake_agent_stop(&f->agent);
		await_done(f, 300);
		fake_agent_start(&f->agent);
		await_done(f, 300);
		fake_agent_hang_up(&f->agent);
	}
	atomic_store(&f->stop, true);
	join_threads(thread);
	assert_int_equal(atomic_load(&f->wrong), 0);
}

static void *check_once(void *arg) {
	struct fixture *f = arg;
	struct stint_result r;

	if (stint_check(f->api, "c", 1, &r) == 0 && r.source == STINT_SOURCE_DATABASE)
		atomic_fetch_add(&f->done, 1);
	return NULL;
}

/* However many checks come first at the same moment, there is one connection, and none of them is decided
 * locally. */
static void the_first_checks_share_one_connection(void **state) {
	struct fixture *f = *state;
	pthread_t thread[THREADS];

	start_threads(thread, check_once, f);
	join_threads(thread);
	assert_int_equal(atomic_load(&f->done), THREADS);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 1);
}

static void *check_and_be_cancelled(void *arg) {
	check_once(arg);
	pthread_testcancel();
	return NULL;
}

static void a_cancelled_thread_leaves_nothing_behind(void **state) {
	struct fixture *f = *state;
	pthread_t thread;

	stint_is_allowed(f->api, "c");
	fake_agent_lock(&f->agent);
	f->agent.mute = true;
	fake_agent_unlock(&f->agent);
	assert_int_equal(pthread_create(&thread, NULL, check_and_be_cancelled, f), 0);
	fake_agent_await(&f->agent, &f->agent.counts.want, 2);
	pthread_cancel(thread);
	fake_agent_lock(&f->agent);
	f->agent.mute = false;
	fake_answer(&f->agent, f->agent.connection[0], f->agent.last_want.head.serial, f->agent.verdict);
	fake_agent_unlock(&f->agent);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&f->done), 1);
	assert_true(stint_is_allowed(f->api, "c"));
}

/* ---- Beside a thread that holds the lock ---------------------------------------------------- */

static void *charge_one(void *arg) {
	struct fixture *f = arg;
	if (stint_charge(f->api, "c", 1) == 0)
		atomic_fetch_add(&f->done, 1);
	return NULL;
}

/* While the charge waits, the policy gets another number: the old one may be another policy's by now. */
static void a_charge_goes_by_the_number_that_the_policy_has_when_it_is_sent(void **state) {
	struct fixture *f = *state;
	pthread_t thread;

	assert_true(stint_is_allowed(f->api, "c"));
	struct channel *channel = &attachment_find_conversation(f->st)->channel;
	pthread_mutex_lock(&channel->lock);
	assert_int_equal(pthread_create(&thread, NULL, charge_one, f), 0);
	usleep(50000);
	assert_true(limiter_bind(f->api, channel->mapping, 7));
	pthread_mutex_unlock(&channel->lock);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&f->done), 1);
	fake_agent_await(&f->agent, &f->agent.counts.charge, 1);
	assert_int_equal(f->agent.last_charge.policy, 7);
}

static void never(int status, const struct stint_result *result, void *arg) {
	(void)status, (void)result, (void)arg;
}

static void start_one(struct fixture *f) {
	struct stint_result r;
	stint_check_async(f->api, "unknown", 1, &r, never, NULL);
}

static void dispatch_once(struct fixture *f) {
	start_one(f);
	stint_dispatch(f->st);
}

static void charge_alone(struct fixture *f) {
	stint_charge(f->api, "unknown", 1);
}

/* The app has closed its descriptors: the library makes them anew. */
static void watch_again(struct fixture *f) {
	struct conversation *c = attachment_find_conversation(f->st);
	int cancel_state;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	close(atomic_load(&c->async.watch.epoll_fd));
	pthread_setcancelstate(cancel_state, NULL);
	stint_fd(f->st);
}

struct cancelled {
	struct fixture *fixture;
	void (*act)(struct fixture *);
};

static void *act_while_cancelled(void *arg) {
	const struct cancelled *c = arg;
	pthread_cancel(pthread_self());
	c->act(c->fixture);
	pthread_testcancel();
	return NULL;
}

static void a_cancelled_thread_leaves_nothing_locked(void **state) {
	struct fixture *f = *state;
	static void (*const acts[])(struct fixture *) = {start_one, dispatch_once, charge_alone, watch_again};
	assert_true(stint_is_allowed(f->api, "c"));
	assert_true(stint_fd(f->st) >= 0);
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		struct cancelled c = {f, acts[i]};
		pthread_mutex_t *lock = &attachment_find_conversation(f->st)->channel.lock;
		pthread_t thread;
		void *end;
		assert_int_equal(pthread_create(&thread, NULL, act_while_cancelled, &c), 0);
		pthread_join(thread, &end);
		assert_ptr_equal(end, PTHREAD_CANCELED);
		assert_int_equal(pthread_mutex_trylock(lock), 0);
		pthread_mutex_unlock(lock);
	}
	assert_true(stint_is_allowed(f->api, "c"));
}

/* ---- Across forks --------------------------------------------------------------------------- */

/* The child checks, forks a child of its own, and both check and clean up. */
static void go_on_in_child(struct fixture *f, int depth) {
	struct stint_result r;
	pid_t grandchild = 0;

	for (int i = 0; i < 50; i++) {
		expect(stint_check(f->api, "child", 1, &r) == 0);
		expect(r.allowed && r.source == STINT_SOURCE_DATABASE);
	}
	if (depth > 0) {
		grandchild = fork();
		if (grandchild == 0) {
			go_on_in_child(f, depth - 1);
			leave(0);
		}
	}
	expect(stint_is_allowed(f->api, "child"));
	expect(grandchild == 0 || is_well(grandchild));
	close_all(f);
}

static void both_go_on_after_a_fork(void **state) {
	struct fixture *f = *state;
	pthread_t thread[THREADS];

	start_threads(thread, check_until_told, f);
	await_done(f, 100);
	for (int i = 0; i < 10; i++) {
		pid_t child = fork();
		if (child == 0) {
			go_on_in_child(f, 1);
			leave(0);
		}
		assert_true(child > 0);
		await_done(f, 100);
		assert_true(is_well(child));
	}
	atomic_store(&f->stop, true);
	join_threads(thread);
	assert_int_equal(atomic_load(&f->wrong), 0);
	/* The parent's one connection served all along; each child made its own. */
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 21);
}

static void a_child_may_be_the_first_to_check(void **state) {
	struct fixture *f = *state;
	pid_t child = fork();

	if (child == 0) {
		go_on_in_child(f, 0);
		leave(0);
	}
	assert_true(is_well(child));
	assert_true(stint_is_allowed(f->api, "c"));
}

static void a_child_may_just_close(void **state) {
	struct fixture *f = *state;
	pid_t child;

	assert_true(stint_is_allowed(f->api, "c"));
	child = fork();
	if (child == 0) {
		close_all(f);
		leave(0);
	}
	assert_true(is_well(child));
	assert_true(stint_is_allowed(f->api, "c"));
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 1);
}

/* Another thread has counted a chunk of checks, and was about to note where it is. */
static void a_child_may_close_what_was_half_made(void **state) {
	struct fixture *f = *state;
	pid_t child;

	assert_true(stint_is_allowed(f->api, "c"));
	struct async *async = &attachment_find_conversation(f->st)->async;
	assert_int_equal(async->chunk_count, 0);
	child = fork();
	if (child == 0) {
		async->chunk_count = 1;
		close_all(f);
		leave(0);
	}
	assert_true(is_well(child));
}

static void a_child_uses_the_table_at_once(void **state) {
	struct fixture *f = *state;
	struct stint_result r;
	struct slot *slot;
	pid_t child;

	assert_true(stint_is_allowed(f->api, "c"));
	slot = fake_table_put(&f->agent.table, 0, "c");
	fake_slot_lease(slot, 0, 4, LATER, 0);
	atomic_store(&slot->low_water, 1);
	child = fork();
	if (child == 0) {
		expect(stint_check(f->api, "c", 3, &r) == 0);
		expect(r.source == STINT_SOURCE_LEASE);
		leave(0);
	}
	assert_true(is_well(child));
	assert_int_equal(word_credits(atomic_load(&slot->word[0])), 1);
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), 1);
}

static void count_callback(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;

	if (status == 0 && result->source == STINT_SOURCE_DATABASE)
		atomic_fetch_add(&f->done, 1);
	else
		atomic_fetch_add(&f->wrong, 1);
}

static bool loop_until(struct fixture *f, unsigned done) {
	while (atomic_load(&f->done) < done) {
		struct pollfd p = {.fd = stint_fd(f->st), .events = POLLIN};
		if (poll(&p, 1, 20000) != 1 || stint_dispatch(f->st) < 0)
			return false;
	}
	return atomic_load(&f->done) == done && atomic_load(&f->wrong) == 0;
}

static void *check_thrice(void *arg) {
	for (int i = 0; i < 3; i++)
		check_once(arg);
	return NULL;
}

/* Threads that wait and checks that don't wait come before the policy is known, and again after the agent has
 * hung up. */
static void threads_and_a_loop_share_one_declaration(void **state) {
	struct fixture *f = *state;
	pthread_t thread[THREADS];
	struct stint_result r;

	for (unsigned round = 1; round <= 2; round++) {
		unsigned from = atomic_load(&f->done);

		fake_agent_lock(&f->agent);
		f->agent.mute_declare = true;
		fake_agent_unlock(&f->agent);
		start_threads(thread, check_thrice, f);
		for (int i = 0; i < 500; i++)
			assert_int_equal(stint_check_async(f->api, "c", 1, &r, count_callback, f), 0);
		fake_agent_await(&f->agent, &f->agent.counts.declare, round);
		fake_agent_say_declared(&f->agent, f->agent.last_declare.head.serial);
		/* The threads need no event loop, but they may have received the loop's answers. */
		join_threads(thread);
		assert_true(loop_until(f, from + 500 + 3 * THREADS));
		assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), round);
		usleep(110000);
		fake_agent_hang_up(&f->agent);
	}
	assert_int_equal(atomic_load(&f->wrong), 0);
}

/* A child declares the limiter itself when its parent was declaring it, and leaves the parent's list alone. */
static void a_child_declares_for_itself(void **state) {
	struct fixture *f = *state;
	struct stint_result r;
	uint32_t serial;
	pid_t child;

	fake_agent_lock(&f->agent);
	f->agent.mute_declare = true;
	fake_agent_unlock(&f->agent);
	assert_int_equal(stint_check_async(f->api, "c", 1, &r, count_callback, f), 0);
	while (fake_agent_count(&f->agent, &f->agent.counts.declare) == 0)
		assert_int_equal(stint_dispatch(f->st), 0);
	fake_agent_lock(&f->agent);
	serial = f->agent.last_declare.head.serial;
	f->agent.mute_declare = false;
	fake_agent_unlock(&f->agent);
	for (int i = 0; i < 2; i++) {
		child = fork();
		if (child == 0) {
			if (i == 1)
				expect(stint_check(f->api, "c", 1, &r) == 0 && r.source == STINT_SOURCE_DATABASE);
			close_all(f);
			leave(0);
		}
		assert_true(is_well(child));
	}
	fake_agent_say_declared(&f->agent, serial);
	assert_true(loop_until(f, 1));
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.declare), 2);
}

/* Pending checks are the parent's. The child's loop has the same number. */
static void event_loops_go_on_after_a_fork(void **state) {
	struct fixture *f = *state;
	struct stint_result r;
	int fd = stint_fd(f->st);
	pid_t child;

	fake_agent_lock(&f->agent);
	f->agent.mute = true;
	fake_agent_unlock(&f->agent);
	for (int i = 0; i < 3; i++)
		assert_int_equal(stint_check_async(f->api, "c", 1, &r, count_callback, f), 0);
	fake_agent_await(&f->agent, &f->agent.counts.hello, 1);
	fake_agent_lock(&f->agent);
	f->agent.mute = false;
	fake_agent_unlock(&f->agent);
	child = fork();
	if (child == 0) {
		expect(stint_dispatch(f->st) == 0);
		expect(stint_fd(f->st) == fd);
		expect(stint_check_async(f->api, "c", 1, &r, count_callback, f) == 0);
		expect(loop_until(f, 1));
		close_all(f);
		leave(0);
	}
	assert_true(is_well(child));
	/* The parent's HELLO was never answered. Its agent is back when it may try again. */
	usleep(110000);
	fake_agent_hang_up(&f->agent);
	assert_true(loop_until(f, 3));
}

static pid_t forked;

static void fork_at_first(int status, const struct stint_result *result, void *arg) {
	struct fixture *f = arg;

	count_callback(status, result, arg);
	if (atomic_load(&f->done) == 1)
		forked = fork();
}

static void a_callback_may_fork(void **state) {
	struct fixture *f = *state;
	struct stint_result r;

	for (int i = 0; i < 3; i++)
		assert_int_equal(stint_check_async(f->api, "c", 1, &r, fork_at_first, f), 0);
	fake_agent_await(&f->agent, &f->agent.counts.hello, 1);
	forked = -1;
	while (atomic_load(&f->done) < 3 && forked != 0)
		assert_true(stint_dispatch(f->st) >= 0);
	if (forked == 0) {
		/* The other callbacks, if they were due at all, are the parent's. */
		expect(atomic_load(&f->done) == 1);
		expect(stint_is_allowed(f->api, "c"));
		close_all(f);
		leave(0);
	}
	assert_true(is_well(forked));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(epochs_change_under_the_cas),
		cmocka_unit_test(reads_no_neighbours),
		TEST(each_thread_gets_its_own_answer),
		TEST(threads_outlive_their_agent),
		TEST(the_first_checks_share_one_connection),
		TEST(a_cancelled_thread_leaves_nothing_behind),
		TEST(a_charge_goes_by_the_number_that_the_policy_has_when_it_is_sent),
		TEST(a_cancelled_thread_leaves_nothing_locked),
		TEST(both_go_on_after_a_fork),
		TEST(a_child_may_be_the_first_to_check),
		TEST(a_child_may_just_close),
		TEST(a_child_may_close_what_was_half_made),
		TEST(a_child_uses_the_table_at_once),
		TEST(threads_and_a_loop_share_one_declaration),
		TEST(a_child_declares_for_itself),
		TEST(event_loops_go_on_after_a_fork),
		TEST(a_callback_may_fork),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
