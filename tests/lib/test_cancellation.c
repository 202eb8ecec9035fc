/*
 * test_cancellation.c - threads that are cancelled while they are in the library: it leaves nothing locked, and
 * nothing behind.
 */
#include "attachment.h"
#include "threads_fixture.h"

/* ---- While it waits ------------------------------------------------------------------------ */

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

/* ---- Whatever it is about to call ----------------------------------------------------------- */

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

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(a_cancelled_thread_leaves_nothing_behind),
		TEST(a_cancelled_thread_leaves_nothing_locked),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
