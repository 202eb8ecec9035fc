/*
 * test_threads.c - many threads at once: on one word of the table while the
 * agent changes its epoch, and on one socket.
 */
#include <string.h>

#include "attachment.h"
#include "client_id.h"
#include "decision.h"
#include "threads_fixture.h"

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

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(epochs_change_under_the_cas),
		cmocka_unit_test(reads_no_neighbours),
		TEST(each_thread_gets_its_own_answer),
		TEST(threads_outlive_their_agent),
		TEST(the_first_checks_share_one_connection),
		TEST(threads_and_a_loop_share_one_declaration),
		TEST(a_charge_goes_by_the_number_that_the_policy_has_when_it_is_sent),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
