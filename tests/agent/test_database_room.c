/*
 * test_database_room.c - what agent/database does without room: in the kernel, in memory, for descriptors.
 */
#include "database/errand.h"
#include "database_stub.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- The kernel's room ------------------------------------------------------------------------------ */

static int adds_to_fail;

/* Takes the place of the C library's, which libevent calls: the kernel may have no room to watch another
 * descriptor. */
int epoll_ctl(int fd, int operation, int other, struct epoll_event *event) {
	if (operation == EPOLL_CTL_ADD && adds_to_fail > 0) {
		adds_to_fail--;
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_epoll_ctl, fd, operation, other, event);
}

/* If it were kept, each answer would be read only when a deadline has passed. */
static void a_connection_that_cannot_be_watched_is_dropped(void **state) {
	struct fixture *f = *state;
	open_database(f, "dbname=stub", TIMEOUT_MS);
	adds_to_fail = 1;
	expect(f, "DU");
	expect_why(f, "no memory to watch the connection with");
	beat(f, "in step", 0);
	expect(f, "DUd");
	assert_int_equal(adds_to_fail, 0);
	close_database(f);
}

/* ---- Memory and descriptors ------------------------------------------------------------------------ */

static int count_descriptors(void) {
	DIR *open_ones = opendir("/proc/self/fd");
	int count = 0;
	while (readdir(open_ones))
		count++;
	closedir(open_ones);
	return count;
}

/* A lookup that nobody waits for any more has its thread, and a descriptor, until it is over. */
static void wait_for_errands(void) {
	for (int i = 0; i < 20000 && errand_is_any(); i++)
		usleep(1000);
	assert_false(errand_is_any());
}

static void closes_what_it_opened(void **state) {
	struct fixture *f = *state;
	wait_for_errands();
	int before = count_descriptors();
	for (int i = 0; i < 3; i++) {
		open_database(f, "dbname=stub", TIMEOUT_MS);
		expect(f, "U");
		close_database(f);
	}
	wait_for_errands();
	assert_int_equal(count_descriptors(), before);
}

static int allocations_left; /* of libevent; then one fails */

static void *allocate(size_t size) {
	return allocations_left-- == 0 ? NULL : malloc(size);
}

/* Whether there is one. */
static bool try_database(struct event_base *base) {
	static const struct database_events events = {on_up, on_down, on_notified, on_recalled};
	const struct database_options options = {.conninfo = "dbname=stub",
	                                         .host = "a",
	                                         .instance = "one",
	                                         .version = "0.1",
	                                         .timeout_ms = TIMEOUT_MS};
	struct database *db;
	bool made = database_new(&db, base, &options, &events, NULL) == 0;
	assert_int_equal(db != NULL, made);
	database_free(db);
	return made;
}

static void without_memory_for_an_event_there_is_none(void **state) {
	struct event_base *base = event_base_new();
	int tried = 0;
	(void)state;
	assert_true(try_database(base)); /* what the base keeps, it has now */
	event_set_mem_functions(allocate, realloc, free);
	do
		allocations_left = tried++;
	while (!try_database(base));
	event_set_mem_functions(malloc, realloc, free);
	assert_int_equal(tried, 7); /* it has six events */
	event_base_free(base);
}

static void without_a_descriptor_there_is_none(void **state) {
	struct event_base *base = event_base_new();
	struct rlimit before, none;
	int tried = 0, next = dup(0);
	(void)state;
	assert_true(try_database(base));
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	close(next);
	do {
		none = (struct rlimit){(rlim_t)(next + tried++), before.rlim_max};
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	} while (!try_database(base) && tried < 20);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(tried, 3); /* two of its own */
	event_base_free(base);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connection_that_cannot_be_watched_is_dropped),
		cmocka_unit_test(closes_what_it_opened),
		cmocka_unit_test(without_memory_for_an_event_there_is_none),
		cmocka_unit_test(without_a_descriptor_there_is_none),
	};
	return cmocka_run_group_tests(tests, setup, remove_cluster);
}
